"""nginx in front of wsrelay, with the files of docs/deployment.md."""

import asyncio
import io
import json
import signal
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from commands import Command
from proxies import CLIENT, HOST, changed, nginx, until, write_app
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from wsrelay import App, Response, process, relay_to

UPSTREAM = "/etc/nginx/conf.d/upstream.conf"
TCP = f"{UPSTREAM} over TCP"
SOCKET = "/run/wsrelay-1/ws.sock"
ANSWER = bytes(range(256)) * (8 * 2**20 // 256)
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6, 6.6.6.7",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example.com",
    "X-Real-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;proto=http",
}


async def echo():
    async for message in process.inbox():
        if message.topic == "ws.message":
            process.send(message.sender, "ws.send", message.payload)


class Site:
    """The guide's app and, under `/probe`, routes of the test.

    Attributes:
        pings: connections by `wsrelay.ping.interval`.
    """

    def __init__(self, folder):
        self.app = App.from_file(write_app(folder))
        probe = self.app.router("/probe")
        probe.get("/who")(self.who)
        probe.get("/answer")(lambda request: Response(ANSWER))
        probe.post("/length")(self.length)
        named = self.app.router("/probe/real_ip", middleware=["real_ip"])
        named.get("/who")(self.who)
        for interval in ("0", "100ms"):
            options = {"wsrelay.ping.interval": interval}
            router = self.app.router(
                f"/probe/pings/{interval}",
                post_middleware=["websocket_relay"],
                post_options=options,
            )
            router.get("/")(lambda request: relay_to(process.spawn(echo)))

    def who(self, request):
        return {"client": request.client[0], "scheme": request.scheme, "url": request.url}

    async def length(self, request):
        return {"length": len(await request.body())}


@asynccontextmanager
async def proxied(folder, monkeypatch, kind="tcp", **site):
    """wsrelay and nginx; gives both. `kind` is how they are connected."""
    path = folder / "ws.sock"
    monkeypatch.setenv("ADDR", f"unix:{path}" if kind == "unix" else "127.0.0.1:0")
    async with Site(folder).app.running() as server:
        if kind == "unix":
            upstream, changes = UPSTREAM, {SOCKET: str(path)}
        else:
            upstream, changes = TCP, {"127.0.0.1:8080": f"127.0.0.1:{server.port}"}
        with nginx(folder, upstream, changes, **site) as proxy:
            yield proxy, server


def dial(proxy, path="/ws/rooms/kitchen", **settings):
    """Connect as a browser does, whose page has the address of the site."""
    settings.setdefault("origin", f"https://{HOST}")
    return connect(
        f"wss://{HOST}{path}",
        host="127.0.0.1",
        port=proxy.port,
        ssl=proxy.tls,
        server_hostname="localhost",
        local_addr=(CLIENT, 0),
        compression=None,
        **settings,
    )


async def said(client, text):
    """Say something in a room; what comes back."""
    await client.send(text)
    return json.loads(await client.recv())


async def refusal(opening):
    """The status of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as raised:
        await opening
    return raised.value.response.status_code


@asynccontextmanager
async def browser(proxy):
    """A client for ordinary requests, and the URL of the site."""
    connector = aiohttp.TCPConnector(ssl=proxy.tls, local_addr=(CLIENT, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session, f"https://localhost:{proxy.port}"


# -- what goes through -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_websocket_of_the_site(run_both, tmp_path, monkeypatch, kind):
    """The upgrade passes, the page is one of the same host, the client is who it is."""

    async def main():
        async with proxied(tmp_path, monkeypatch, kind) as (proxy, _):
            async with dial(proxy) as client:
                assert await said(client, "hello") == {"from": CLIENT, "text": "hello"}
                assert (await said(client, "x" * 100_000))["text"] == "x" * 100_000
            assert client.close_code == 1000
            async with dial(proxy, additional_headers=SPOOFED) as client:
                assert await said(client, "x") == {"from": CLIENT, "text": "x"}
            assert await refusal(dial(proxy, origin="https://evil.example.com")) == 403

    run_both(main())


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_who_asks_and_how(run, tmp_path, monkeypatch, kind):
    async def main():
        async with (
            proxied(tmp_path, monkeypatch, kind) as (proxy, _),
            browser(proxy) as (
                session,
                url,
            ),
        ):
            for path in ("/probe/who", "/probe/real_ip/who"):
                for headers in ({}, SPOOFED):
                    async with session.get(f"{url}{path}", headers=headers) as answer:
                        assert await answer.json() == {
                            "client": CLIENT,
                            "scheme": "https",
                            "url": f"{url}{path}",
                        }

    run(main())


def test_a_host_of_another_name_is_refused_without_the_host_line(run, tmp_path, monkeypatch):
    """Why the guide passes `Host` on."""

    async def main():
        site = {"proxy_set_header Host": "$proxy_host"}
        async with proxied(tmp_path, monkeypatch, **site) as (proxy, _):
            assert await refusal(dial(proxy)) == 403
            async with dial(proxy, origin=None) as client:
                assert (await said(client, "x"))["text"] == "x"

    run(main())


def test_plain_http_is_sent_to_https(run, tmp_path, monkeypatch):
    async def main():
        async with proxied(tmp_path, monkeypatch) as (proxy, _), aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{proxy.plain_port}/ws/rooms/x?y=1"
            request = session.get(url, headers={"Host": HOST}, allow_redirects=False)
            async with request as answer:
                assert answer.status == 301
                assert answer.headers["Location"] == f"https://{HOST}/ws/rooms/x?y=1"

    run(main())


def test_large_bodies_and_answers_over_one_connection(run, tmp_path, monkeypatch):
    """To wsrelay, all of them: the `map` leaves `Connection` out for what is no upgrade."""

    async def main():
        async with (
            proxied(tmp_path, monkeypatch) as (proxy, server),
            browser(proxy) as (
                session,
                url,
            ),
        ):
            async with session.get(f"{url}/probe/answer") as answer:
                assert await answer.read() == ANSWER
            for size, status in ((2**20, 200), (2**20 + 1, 413)):
                async with session.post(
                    f"{url}/probe/length", data=io.BytesIO(bytes(size))
                ) as answer:
                    assert answer.status == status
                    if status == 200:
                        assert await answer.json() == {"length": size}
            async with session.get(f"{url}/healthz") as answer:
                assert await answer.json() == {"status": "ok"}
            assert server.state.accepted == 1
            assert server.state.requests == 3  # nginx refused the fourth itself

    run(main())


def test_pings_keep_a_silent_websocket_open(run, tmp_path, monkeypatch):
    """The one without pings tells when nginx's timeout was over."""

    async def main():
        async with (
            proxied(tmp_path, monkeypatch, proxy_read_timeout="1s") as (proxy, _),
            dial(proxy, "/probe/pings/100ms/", ping_interval=None) as kept,
            dial(proxy, "/probe/pings/0/", ping_interval=None) as silent,
        ):
            with pytest.raises(ConnectionClosed):
                await silent.recv()
            assert silent.close_code == 1006
            await kept.send("x")
            assert await kept.recv() == "x"

    run(main())


# -- reload, stop, restart -------------------------------------------------------------------------


def test_a_reload_of_nginx_drops_nothing(run, tmp_path, monkeypatch):
    async def status(proxy):
        async with browser(proxy) as (session, url), session.get(f"{url}/healthz") as answer:
            return answer.status

    async def main():
        async with proxied(tmp_path, monkeypatch) as (proxy, server), dial(proxy) as before:
            await said(before, "a")
            assert await status(proxy) == 200
            site = tmp_path / "conf.d" / "app.conf"
            site.write_text(changed(site.read_text(), {"location / {": "location /ws/ {"}))
            proxy.signal(signal.SIGHUP)
            while await status(proxy) != 404:  # an old worker still accepts
                pass
            assert server.state.upgrades == 1
            async with dial(proxy) as after:
                for client, text in ((before, "b"), (after, "c")):
                    assert (await said(client, text))["text"] == text
                    other = after if client is before else before
                    assert json.loads(await other.recv())["text"] == text

    run(main())


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 1001, "server shutting down"),
        (signal.SIGUSR2, 1012, "service restart"),
    ],
    ids=["stop", "restart"],
)
def test_a_restart_behind_nginx(run, tmp_path, number, code, reason):
    """Both end with status 0; until the next one is there, nginx answers 502."""
    write_app(tmp_path)
    path = tmp_path / "ws.sock"
    arguments = ("-m", "wsrelay", "run", "app.yaml")

    def serve():
        return Command(*arguments, cwd=tmp_path, ADDR=f"unix:{path}")

    async def main():
        with nginx(tmp_path, UPSTREAM, {SOCKET: str(path)}) as proxy:
            with serve() as first:
                await asyncio.to_thread(first.line, "listening on unix:")
                async with dial(proxy) as client:
                    await said(client, "x")
                    first.signal(number)
                    with pytest.raises(ConnectionClosed):
                        await client.recv()
                    assert (client.close_code, client.close_reason) == (code, reason)
                assert await asyncio.to_thread(first.status) == 0
            assert await refusal(dial(proxy)) == 502
            with serve() as second:
                await asyncio.to_thread(second.line, "listening on unix:")
                async with dial(proxy) as client:
                    assert await said(client, "y") == {"from": CLIENT, "text": "y"}

    run(main())


# -- several instances -----------------------------------------------------------------------------


@asynccontextmanager
async def two_instances(folder, monkeypatch, title):
    """nginx in front of two Apps; gives it and a list of them."""
    paths = [folder / f"{number}.sock" for number in (1, 2)]
    servers = []
    async with AsyncExitStack() as stack:
        for path in paths:
            monkeypatch.setenv("ADDR", f"unix:{path}")
            app = App.from_file(write_app(folder))
            servers.append(await stack.enter_async_context(app.running()))
            stack.push_async_callback(app.stop)
            servers[-1].app = app
        changes = {
            f"/run/wsrelay-{number}/ws.sock": str(path) for number, path in enumerate(paths, 1)
        }
        yield stack.enter_context(nginx(folder, title, changes)), servers


def connections(servers):
    """How many WebSockets each has."""
    return [sum(one.entry == "websocket" for one in server.app.processes()) for server in servers]


def test_rooms_stay_together(run, tmp_path, monkeypatch):
    """Each room is on one instance; while that is away, it is nowhere else."""

    async def main():
        title = f"{UPSTREAM} for rooms"
        async with two_instances(tmp_path, monkeypatch, title) as (proxy, servers):
            places = {}
            for name in "abcdefgh":
                path, earlier = f"/ws/rooms/{name}", connections(servers)
                async with dial(proxy, path) as ann, dial(proxy, path) as bob:
                    await said(ann, "x")
                    assert json.loads(await bob.recv())["text"] == "x"
                    now = connections(servers)
                    places[path] = [new - old for new, old in zip(now, earlier, strict=True)]
                await until(lambda earlier=earlier: connections(servers) == earlier)
            assert {*map(tuple, places.values())} == {(2, 0), (0, 2)}
            await servers[0].app.stop()
            for _ in range(2):  # a failure is not remembered either
                for path, place in places.items():
                    if place == [2, 0]:
                        assert await refusal(dial(proxy, path)) == 502
                    else:
                        async with dial(proxy, path) as client:
                            await said(client, "x")

    run(main())


def test_connections_that_need_no_other_go_anywhere(run, tmp_path, monkeypatch):
    """Evenly; and while one instance is away, to the other."""

    async def main():
        title = f"{UPSTREAM} for any"
        async with (
            two_instances(tmp_path, monkeypatch, title) as (proxy, servers),
            AsyncExitStack() as stack,
        ):
            clients = [await stack.enter_async_context(dial(proxy)) for _ in range(6)]
            assert connections(servers) == [3, 3]
            await servers[0].app.stop(restart=True)
            await until(lambda: sum(one.state is State.CLOSED for one in clients) == 3)
            codes = [one.close_code for one in clients if one.state is State.CLOSED]
            assert codes == [1012] * 3
            for _ in range(3):
                await stack.enter_async_context(dial(proxy))
            assert connections(servers[1:]) == [6]

    run(main())
