"""The access log: which line each request gets, and that nothing raw gets into it."""

import asyncio
import logging

import pytest

from wsrelay.errors import reason_phrase
from wsrelay.http import HTTPError, Limits, Request, Response, Router, StreamingResponse, Upgrade
from wsrelay.http.access import log_request


@pytest.fixture
def lines(caplog):
    """The records of the access log so far."""
    caplog.set_level(logging.INFO, "wsrelay.access")
    return lambda: [one for one in caplog.records if one.name == "wsrelay.access"]


def get(path, method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


def app(clock=None):
    router = Router()
    router.get("/")(lambda request: "hello")
    router.get("/none")(lambda request: None)
    router.get("/boom")(lambda request: 1 / 0)
    router.get("/nonsense")(lambda request: Response(status_code=99))

    @router.get("/slow")
    async def slow(request):
        clock().now += 0.25
        await asyncio.sleep(0)
        return "slow"

    @router.post("/refused")
    async def refused(request):
        raise HTTPError(403, "no")

    return router


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (get("/"), "127.0.0.1 GET / 200 5B 0.0ms"),
        (get("/", "HEAD"), "127.0.0.1 HEAD / 200 0B 0.0ms"),
        (get("/none"), "127.0.0.1 GET /none 204 0B 0.0ms"),
        (get("/boom"), "127.0.0.1 GET /boom 500 21B 0.0ms"),
        (get("/nonsense"), "127.0.0.1 GET /nonsense 500 21B 0.0ms"),
        (get("/absent"), "127.0.0.1 GET /absent 404 9B 0.0ms"),
        (get("/", "PUT"), "127.0.0.1 PUT / 405 18B 0.0ms"),
        (get("/?token=secret&x=/y"), "127.0.0.1 GET / 200 5B 0.0ms"),
        (get("http://a/none?token=secret"), "127.0.0.1 GET /none 204 0B 0.0ms"),
        (get("/refused", "POST"), "127.0.0.1 POST /refused 403 2B 0.0ms"),
        (get("*", "OPTIONS"), "127.0.0.1 OPTIONS * 204 0B 0.0ms"),
        # What never becomes a request.
        (b"GET / HTTP/1.1\r\n\r\n", "127.0.0.1 - - 400 11B 0.0ms"),
        (b"\x16\x03\x01\x00", "127.0.0.1 - - 400 22B 0.0ms"),
        (
            b"POST /big?token=secret HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n",
            f"127.0.0.1 POST /big 413 {len(reason_phrase(413))}B 0.0ms",
        ),
    ],
)
def test_lines(run, serve, lines, data, line):
    async def main():
        async with serve(app(), limits=Limits(body=10)) as server:
            await server.ask(data)

    run(main())
    assert [one.getMessage() for one in lines()] == [line]
    assert lines()[0].levelno == logging.INFO


def test_fields_and_time(run, serve, lines):
    async def main():
        async with serve(app(lambda: server.clock)) as server:
            await server.ask(get("/slow?a=b"))

    run(main())
    (line,) = lines()
    fields = ("client", "method", "path", "status", "bytes", "duration_ms")
    assert [getattr(line, name) for name in fields] == [
        "127.0.0.1",
        "GET",
        "/slow",
        200,
        4,
        250.0,
    ]


def test_each_request_of_a_connection_has_its_line(run, serve, lines):
    async def main():
        async with serve(app()) as server:
            await server.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 40)

    run(main())
    assert [one.status for one in lines()] == [200] * 40


def test_a_client_that_does_not_wait(run, serve, lines):
    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def endpoint(request):
            begun.set()
            await go_on.wait()
            return "late"

        router = Router()
        router.get("/x")(endpoint)
        async with serve(router) as server:
            client = await server.connect()
            await client.send(get("/x"))
            await begun.wait()
            client.reset()
            await server.until(lambda: not server.state.connections)
            go_on.set()
            await server.until(lambda: not server.state.tasks)

    run(main())
    assert [one.getMessage() for one in lines()] == ["127.0.0.1 GET /x 499 0B 0.0ms"]


HANDSHAKE = (
    b"GET /ws?token=secret HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)


def test_an_upgrade_is_a_101(run, serve, lines):
    class Target(asyncio.Protocol):
        def start(self, transport, trailing_data, descriptor):
            transport.abort()

    async def main():
        async with serve(answering(lambda: Upgrade(b"x", Target()))) as server:
            await server.ask(HANDSHAKE)

    run(main())
    assert [one.getMessage() for one in lines()] == ["127.0.0.1 GET /ws 101 0B 0.0ms"]


def test_an_upgrade_that_fails_is_one_line(run, serve, lines):
    class Failing(Upgrade):
        def head(self):
            raise RuntimeError

    async def main():
        async with serve(answering(lambda: Failing(b"x", None))) as server:
            await server.ask(HANDSHAKE)

    run(main())
    assert [one.status for one in lines()] == [500]


def answering(response):
    router = Router()
    router.get("/ws")(lambda request: response())
    return router


def test_the_client_that_middleware_found(run, serve, lines):
    async def behind_a_proxy(request, call_next):
        request.client = ("203.0.113.7", 0)
        return await call_next(request)

    async def main():
        router = Router(middleware=[behind_a_proxy])
        router.get("/")(lambda request: None)
        async with serve(router) as server:
            await server.ask(get("/"))

    run(main())
    assert [one.client for one in lines()] == ["203.0.113.7"]


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_client_that_goes_away_amid_a_stream(run, serve, lines, caplog, version, stubborn):
    """One line, however its body ends and takes notice; and nothing else in the log."""

    async def main():
        never = asyncio.Event()

        async def body():
            yield b"x"
            try:
                await never.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise
            yield b"y"

        async with serve(answering(lambda: StreamingResponse(body()))) as server:
            client = await server.connect()
            await client.send(get("/ws").replace(b"1.1", version))
            await client.reader.readuntil(b"x")
            client.reset()
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())
    assert [one.status for one in lines()] == [200]
    assert caplog.records == lines()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/%0d%0aforged%1b[31m", "/%0d%0aforged%1b[31m"),  # as sent, so still one line
        ("/%e2%80%ae", "/%e2%80%ae"),
        ("/" + "x" * 7000, "/" + "x" * 199 + "..."),
        ("/back\\slash", r"/back\\slash"),
    ],
)
def test_what_a_client_sends_stays_escaped(run, serve, lines, path, shown):
    async def main():
        async with serve(app()) as server:
            await server.ask(get(path))

    run(main())
    assert [one.path for one in lines()] == [shown]


def test_a_long_method(run, serve, lines):
    async def main():
        async with serve(app()) as server:
            await server.ask(get("/", "M" * 5000))

    run(main())
    assert lines()[0].method == "M" * 200 + "..."


HOSTILE = "a\r\nb\x1b[31m\u202e\x00"


def test_a_request_that_no_server_checked(lines):
    """Somebody else's server may pass on more than ours does."""
    target = f"/{HOSTILE}?{HOSTILE}".encode()
    log_request(Request(HOSTILE, target, client=(HOSTILE, 1)), 200, 0, 0.0)
    (line,) = lines()
    escaped = r"a\r\nb\x1b[31m\u202e\x00"
    assert line.getMessage() == f"{escaped} {escaped} /{escaped} 200 0B 0.0ms"
    assert (line.client, line.method, line.path) == (escaped, escaped, f"/{escaped}")


def test_a_unix_socket_has_no_client(lines):
    log_request(Request("GET", "/"), 200, 3, 0.0123)
    assert lines()[0].getMessage() == "- GET / 200 3B 12.3ms"


def test_without_a_reader_nothing_is_made(run, serve, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "wsrelay.access")
    asked = []
    logger = logging.getLogger("wsrelay.access")
    monkeypatch.setattr(logger, "isEnabledFor", lambda level: asked.append(level))
    monkeypatch.setattr("wsrelay.http.access._write", None)

    async def main():
        async with serve(app()) as server:
            await server.ask(get("/"))

    run(main())
    assert asked == [logging.INFO]  # once for a request
