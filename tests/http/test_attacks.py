"""Rows of the attack table that concern HTTP, against a whole server."""

import asyncio

import pytest
from certificates import tls_contexts

from wsrelay.http import (
    Dispatcher,
    HTTPProtocol,
    OriginPolicy,
    Response,
    Router,
    ServerState,
    Timeouts,
    Upgrade,
    check_opening,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED = {
    400: [
        b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /.. HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ],
    414: [b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"],
    431: [
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
    501: [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"],
    505: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"],
}
CASES = [(status, data) for status, many in REFUSED.items() for data in many]


def recording():
    """A handler that keeps the paths it was asked for."""
    paths = []
    router = Router()

    @router.route("/{rest...}", ["GET", "POST"])
    def endpoint(request):
        paths.append(request.path)
        return "ok"

    return router, paths


@pytest.mark.parametrize(("status", "data"), CASES)
def test_malformed_http(run, serve, status, data, how, caplog):
    async def main():
        router, paths = recording()
        async with serve(router) as server:
            client = await server.connect()
            await client.send(data + BEHIND, how)
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert await client.rest() == b""
            assert paths == []
            # The server goes on.
            assert (await server.exchange(GET)).status == 200

    run(main())
    assert not caplog.records


SMUGGLES = {
    "behind a length": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n" + BEHIND,
    "behind a last chunk": (
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n" + BEHIND
    ),
    "in a chunk": (
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n21\r\n"
        + BEHIND
        + b"\r\n0\r\n\r\n"
    ),
    "in a trailer": (
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + BEHIND
    ),
    "in a chunk extension": (
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;\n" + BEHIND
    ),
    "behind a bare CR": b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\r\n" + BEHIND,
    "of 1.0": b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + BEHIND,
}


@pytest.mark.parametrize("name", SMUGGLES)
def test_no_second_reading_of_one_request(run, serve, name, how):
    async def main():
        router, paths = recording()
        async with serve(router) as server:
            await server.ask(SMUGGLES[name], how)
            assert paths in (["/a"], [])

    run(main())


def handshake(*fields):
    lines = [
        b"GET /ws HTTP/1.1",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *fields,
    ]
    return b"\r\n".join([*lines, b"", b""])


class Greeter(asyncio.Protocol):
    def start(self, transport, trailing_data):
        transport.write(trailing_data)
        transport.close()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"Host: a.com"], 101),
        ([b"Host: a.com", b"Origin: http://a.com"], 101),
        ([b"Host: a.com:81", b"Origin: http://A.COM:81"], 101),
        ([b"Host: a.com", b"Origin: https://x.b.com"], 101),
        ([b"Host: a.com", b"Origin: null"], 403),
        ([b"Host: a.com", b"Origin:"], 403),
        ([b"Host: a.com", b"Origin: http://a.com.evil.com"], 403),
        ([b"Host: a.com", b"Origin: http://a.com:81"], 403),
        ([b"Host: a.com", b"Origin: http://a.com."], 403),
        ([b"Host: a.com", b"Origin: http://u@a.com"], 403),
        ([b"Host: a.com", b"Origin: http://a.com", b"Origin: http://a.com"], 403),
        ([b"Host: a.com", b"Origin: http://x.b.com"], 403),
        ([b"Host: a.com", b"Origin: https://b.com"], 403),
        ([b"Host: a.com", b"Origin: https://xb.com"], 403),
        ([b"Host: a.com", b"Origin: http://[::1]"], 403),
    ],
)
def test_origins_are_checked_before_the_handler_runs(run, serve, fields, status):
    policy = OriginPolicy("https://*.b.com")
    ran = []

    async def check(request, call_next):
        check_opening(request)
        policy.check(request)
        return await call_next(request)

    router = Router(post_middleware=[check])

    @router.get("/ws")
    def endpoint(request):
        ran.append(1)
        return Upgrade(check_opening(request).accept, Greeter())

    async def main():
        async with serve(router) as server:
            answer = await server.ask(handshake(*fields))
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert bool(ran) is (status == 101)

    run(main())


def test_three_hundred_slow_clients(run, serve):
    async def main():
        router, _ = recording()
        async with serve(router, timeouts=Timeouts(header=10)) as server:
            slow = [await server.connect() for _ in range(300)]
            for index, client in enumerate(slow):
                client.writer.write(GET[: index % 20])
            await server.until(lambda: server.state.accepted == 300)
            assert (await server.exchange(GET)).status == 200
            await server.pass_time(10)
            await server.pass_time(2)
            await server.until(lambda: len(server.state.connections) == 1)  # the ordinary one

    run(main())


def test_resets_in_every_state(run, serve):
    async def main():
        async def handler(request):
            return Response(await request.body())

        stream = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789" + GET
        async with serve(handler) as server:
            for length in range(0, len(stream), 5):
                client = await server.connect()
                await client.send(stream[:length])
                client.reset()
            await server.until(lambda: server.state.accepted == 1 + (len(stream) - 1) // 5)
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_over_tls(run, tmp_path, caplog):
    server_side, client_side = tls_contexts(tmp_path)

    async def main():
        router, _ = recording()
        router.get("/ws")(lambda request: Upgrade(check_opening(request).accept, Greeter()))
        dispatcher, state = Dispatcher([router]), ServerState(scheme="https")
        listener = await asyncio.get_running_loop().create_server(
            lambda: HTTPProtocol(dispatcher, state), "127.0.0.1", 0, ssl=server_side
        )
        port = listener.sockets[0].getsockname()[1]

        async def ask(data):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_side, server_hostname="localhost"
            )
            writer.write(data)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        closing = GET.replace(b"Host", b"Connection: close\r\nHost")
        assert (await ask(GET + closing)).count(b"HTTP/1.1 200 OK") == 2
        assert (await ask(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        upgraded = await ask(handshake(b"Host: a") + b"frames")
        assert upgraded.startswith(b"HTTP/1.1 101 ")
        assert upgraded.endswith(b"\r\n\r\nframes")
        listener.close()
        await state.wait_closed()

    run(main())
    assert not caplog.records
