"""HAProxy in front of wsrelay, with the files of docs/deployment.md."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from proxies import CLIENT, HOST, haproxy, until, write_app
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from wsrelay import App

HTTP = "/etc/haproxy/haproxy.cfg"
TCP = f"{HTTP} with the PROXY protocol"
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6, 6.6.6.7",
    "X-Forwarded-Proto": "http",
    "X-Real-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;proto=http",
}


class Watch:
    """A middleware that keeps what requests are like."""

    def __init__(self):
        self.seen = []

    async def __call__(self, request, call_next):
        client = request.client[0]
        self.seen.append((request.path, client, request.scheme, "x-real-ip" in request.headers))
        return await call_next(request)


@asynccontextmanager
async def proxied(folder, monkeypatch, title, **changes):
    """wsrelay and HAProxy; gives HAProxy, the App, and what it sees."""
    monkeypatch.setenv("ADDR", "127.0.0.1:0")
    fragment = {"gateway": "gateway, with the PROXY protocol"} if title == TCP else {}
    app = App.from_file(write_app(folder, **fragment))
    watch = Watch()
    for router in app.services["app:gateway"].routers:
        router.middleware = (watch, *router.middleware)
    async with app.running() as server:
        with haproxy(folder, title, server.port, **changes) as proxy:
            yield proxy, app, watch


def dial(proxy, **settings):
    return connect(
        f"wss://{HOST}/ws/rooms/kitchen",
        host="127.0.0.1",
        port=proxy.port,
        ssl=proxy.tls,
        server_hostname="localhost",
        local_addr=(CLIENT, 0),
        additional_headers=SPOOFED,
        **{"origin": f"https://{HOST}", **settings},
    )


@pytest.mark.parametrize("title", [HTTP, TCP])
def test_the_client_is_who_it_is(run_both, tmp_path, monkeypatch, title):
    async def main():
        async with proxied(tmp_path, monkeypatch, title) as (proxy, _, watch):
            async with dial(proxy) as client:
                await client.send("hello")
                assert json.loads(await client.recv()) == {"from": CLIENT, "text": "hello"}
            (request,) = [one for one in watch.seen if one[0].startswith("/ws/")]
            # The PROXY protocol lets headers pass, and nobody reads them.
            assert request == ("/ws/rooms/kitchen", CLIENT, "https", title == TCP)
            with pytest.raises(InvalidStatus, match="403"):
                await dial(proxy, origin="https://evil.example.com")

    run_both(main())


@pytest.mark.parametrize(
    ("title", "refusal"), [(HTTP, "HTTP 503"), (TCP, "did not receive a valid HTTP response")]
)
def test_health_is_asked_for(run, tmp_path, monkeypatch, title, refusal):
    """By HAProxy, as itself. What has stopped is down, and HAProxy refuses clients."""

    async def main():
        async with proxied(tmp_path, monkeypatch, title) as (proxy, app, watch):
            health = ("/healthz", "127.0.0.1", "http", False)
            await until(lambda: watch.seen.count(health) >= 2)
            await app.stop()
            await asyncio.to_thread(proxy.line, "Server wsrelay/one is DOWN")
            with pytest.raises(InvalidHandshake, match=refusal):
                await dial(proxy)

    run(main())


@pytest.mark.parametrize(("title", "timeout"), [(HTTP, "tunnel"), (TCP, "server")])
def test_silence_is_cut_by_the_timeout(run, tmp_path, monkeypatch, title, timeout):
    """The guide's timeouts are the ones that count; pings keep below them."""

    async def main():
        changes = {f"timeout {timeout} 60s": f"timeout {timeout} 200ms"}
        async with (
            proxied(tmp_path, monkeypatch, title, **changes) as (proxy, *_),
            dial(proxy, ping_interval=None) as client,
        ):
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1006

    run(main())
