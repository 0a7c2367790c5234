"""From a handshake to what takes over, over real sockets."""

import asyncio
import gc

import pytest
from certificates import tls_contexts

from wsrelay.http import (
    Dispatcher,
    HTTPError,
    HTTPProtocol,
    Response,
    Router,
    ServerState,
    Upgrade,
    check_opening,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
SECRET = b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n"


class Recorder(asyncio.BufferedProtocol):
    """Takes a connection over, keeps its bytes, and answers `!` with an echo of all."""

    def __init__(self):
        self.received = bytearray()
        self.buffer = bytearray(1024)
        self.lost = asyncio.Event()
        self.started = False

    def start(self, transport, trailing_data, descriptor):
        assert transport.get_protocol() is self
        self.transport = transport
        self.started = True
        self.data_received(trailing_data)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(self.buffer[:nbytes])

    def data_received(self, data):
        self.received += data
        if self.received.endswith(b"!"):
            self.transport.write(bytes(self.received))

    def connection_lost(self, exc):
        self.lost.set()


class App:
    """A router whose /ws upgrades, with everything that happened to it."""

    def __init__(self, *, asynchronous=False):
        self.connections = []
        self.abandoned = 0
        self.secrets = 0
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.router = Router()
        self.router.get("/ws")(self.upgrade_later if asynchronous else self.upgrade)
        self.router.get("/secret")(self.secret)

    def upgrade(self, request):
        opening = check_opening(request)
        self.connections.append(Recorder())
        return Upgrade(
            opening.accept,
            self.connections[-1],
            headers={"Set-Cookie": "a=b"},
            abandon=self.abandon,
        )

    async def upgrade_later(self, request):
        self.waiting.set()
        await self.gate.wait()
        return self.upgrade(request)

    def secret(self, request):
        self.secrets += 1

    def abandon(self):
        self.abandoned += 1


@pytest.fixture(params=["sync", "async"])
def make_app(request):
    """Makes an `App` of each kind; the asynchronous one does not wait."""

    def make():
        app = App(asynchronous=request.param == "async")
        app.gate.set()
        return app

    return make


async def head_of(client):
    return await client.reader.readuntil(b"\r\n\r\n")


def test_the_101_and_what_follows(run, serve, make_app, how):
    async def main():
        app = make_app()
        async with serve(app.router) as server:
            client = await server.connect()
            await client.send(HANDSHAKE, how)
            assert await head_of(client) == (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: a=b\r\n\r\n"
            )
            assert not server.state.connections
            assert server.state.upgrades == 1
            await client.send(b"frames!", how)
            assert await client.reader.readexactly(7) == b"frames!"
            await client.close()
            await app.connections[0].lost.wait()
            assert app.abandoned == 0

    run(main())


@pytest.mark.parametrize("size", [1, 100, 300_000])
def test_bytes_behind_the_handshake_are_not_lost(run, serve, make_app, size):
    async def main():
        app = make_app()
        frames = bytes(range(32)) * (size // 32) + b"x" * (size % 32) + SECRET + b"!"
        async with serve(app.router) as server:
            client = await server.connect()
            client.writer.write(HANDSHAKE + frames)
            await head_of(client)
            assert await client.reader.readexactly(len(frames)) == frames
            assert app.secrets == 0
            await client.close()

    run(main())


def test_bytes_that_arrive_while_the_handler_runs_are_not_lost(run, serve):
    async def main():
        app = App(asynchronous=True)
        frames = b"x" * 300_000 + b"!"
        async with serve(app.router) as server:
            client = await server.connect()
            await client.send(HANDSHAKE)
            await app.waiting.wait()
            client.writer.write(frames)
            for _ in range(50):
                await asyncio.sleep(0)
            app.gate.set()
            await head_of(client)
            assert await client.reader.readexactly(len(frames)) == frames
            await client.close()

    run(main())


def test_a_handshake_behind_other_requests(run, serve, make_app):
    async def main():
        app = make_app()
        async with serve(app.router) as server:
            client = await server.connect()
            await client.send(SECRET * 2 + HANDSHAKE + b"!")
            for _ in range(2):
                assert (await client.response()).status == 204
            await head_of(client)
            assert await client.reader.readexactly(1) == b"!"
            await client.close()

    run(main())


BAD_HANDSHAKES = {
    "no key": (400, HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X")),
    "version": (426, HANDSHAKE.replace(b": 13", b": 8")),
    "length": (400, HANDSHAKE[:-2] + b"Content-Length: %d\r\n\r\n" % len(SECRET)),
    "chunks": (400, HANDSHAKE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "no route": (404, HANDSHAKE.replace(b"/ws", b"/no")),
    "method": (405, HANDSHAKE.replace(b"GET", b"POST")),
    "head": (405, HANDSHAKE.replace(b"GET", b"HEAD")),
    "plain answer": (204, HANDSHAKE.replace(b"/ws", b"/secret")),
}


@pytest.mark.parametrize("name", BAD_HANDSHAKES)
def test_a_refused_handshake_ends_the_connection(run, serve, make_app, how, name):
    """The request behind it is never read: smuggling round the upgrade."""

    async def main():
        app = make_app()
        status, data = BAD_HANDSHAKES[name]
        async with serve(app.router) as server:
            client = await server.connect()
            await client.send(data + SECRET, how)
            answer = await client.response(head=name == "head")
            assert answer.status == status
            assert "close" in answer.headers["connection"]
            if status == 426:
                assert answer.headers["connection"] == "Upgrade, close"
                assert answer.headers["upgrade"] == "websocket"
                assert answer.headers["sec-websocket-version"] == "13"
            assert await client.rest() == b""
            assert app.secrets == (name == "plain answer")
            assert not app.connections

    run(main())


@pytest.mark.parametrize(
    "change",
    [
        (b"keep-alive, Upgrade", b"notupgrade"),
        (b"Upgrade: websocket", b"Upgrade: xwebsocket"),
        (b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_near_miss_is_a_plain_request(run, serve, change):
    async def main():
        requests = []

        async def handler(request):
            requests.append(request.is_handshake)
            return Response("plain")

        async with serve(handler) as server:
            answers = await server.ask(HANDSHAKE.replace(*change) + SECRET)
            assert answers.count(b"plain") == (1 if b"1.0" in change[1] else 2)
            assert not any(requests)

    run(main())


def test_a_client_that_resets_while_the_handler_runs(run, serve):
    async def main():
        app = App(asynchronous=True)
        async with serve(app.router) as server:
            client = await server.connect()
            await client.send(HANDSHAKE)
            await app.waiting.wait()
            (task,) = server.state.tasks
            client.reset()
            await asyncio.wait([task])
            assert task.cancelled()
            assert not app.connections

    run(main())


def test_a_client_that_ends_while_the_handler_runs(run, serve):
    """Half a connection is none that a WebSocket could use."""

    async def main():
        app = App(asynchronous=True)
        async with serve(app.router) as server:
            client = await server.connect()
            await client.send(HANDSHAKE)
            await app.waiting.wait()
            (task,) = server.state.tasks
            client.writer.write_eof()
            assert await client.rest() == b""
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())


def test_an_upgrade_that_comes_too_late_is_abandoned(run, serve):
    async def main():
        abandoned = asyncio.Event()
        started = asyncio.Event()

        async def handler(request):
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return Upgrade(b"t", Recorder(), abandon=abandoned.set)

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(HANDSHAKE)
            await started.wait()
            client.reset()
            await abandoned.wait()
            assert server.state.upgrades == 0

    run(main())


@pytest.mark.parametrize("data", [SECRET, HANDSHAKE[:-2] + b"Content-Length: 1\r\n\r\nx"])
def test_an_upgrade_of_what_is_no_handshake(run, serve, caplog, data):
    async def main():
        abandoned, recorder = [], Recorder()

        async def handler(request):
            return Upgrade(b"t", recorder, abandon=lambda: abandoned.append(1))

        async with serve(handler) as server:
            answer = await server.exchange(data)
            assert answer.status == 500
            assert abandoned == [1]
            assert not recorder.started

    run(main())
    assert "Upgrade" in caplog.text


def test_an_abandon_that_fails_is_logged(run, serve, caplog):
    async def main():
        async def handler(request):
            return Upgrade(b"t", Recorder(), abandon=lambda: 1 / 0)

        async with serve(handler) as server:
            assert (await server.exchange(SECRET)).status == 500

    run(main())
    assert "cleaned up" in caplog.text


def test_a_connection_that_cant_start_is_aborted(run, serve, caplog):
    async def main():
        class Broken(Recorder):
            def start(self, transport, trailing_data, descriptor):
                raise RuntimeError("internal")

        broken = Broken()

        async def handler(request):
            return Upgrade(b"t", broken)

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(HANDSHAKE)
            assert b"internal" not in await client.rest()
            await broken.lost.wait()

    run(main())
    assert "could not be started" in caplog.text


def test_a_middleware_sees_the_drain_before_the_handler_runs(run, serve):
    async def main():
        app = App()

        async def refuse(request, call_next):
            if request.is_handshake and request.server.draining:
                raise HTTPError(503, headers={"Retry-After": "5"})
            return await call_next(request)

        router = Router(middleware=[refuse])
        router.get("/ws")(app.upgrade)
        async with serve(router) as server:
            client = await server.connect()
            await client.send(HANDSHAKE[:5], "bytes")
            server.state.drain()
            await client.send(HANDSHAKE[5:])
            answer = await client.response()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert not app.connections

    run(main())


def living_parts():
    gc.collect()
    kinds = ("HTTPProtocol", "Exchange", "Request", "HeadReader")
    return sorted(name for each in gc.get_objects() if (name := type(each).__name__) in kinds)


def test_nothing_of_http_is_left_after_the_handover(run, serve, make_app):
    async def main():
        app = make_app()
        async with serve(app.router) as server:
            before = living_parts()
            client = await server.connect()
            await client.send(HANDSHAKE)
            await head_of(client)
            assert living_parts() == before
            await client.close()

    run(main())


def test_requests_and_an_upgrade_over_tls(run, tmp_path, caplog):
    server_side, client_side = tls_contexts(tmp_path)

    async def main():
        dispatcher, state = Dispatcher([App().router]), ServerState(scheme="https")
        listener = await asyncio.get_running_loop().create_server(
            lambda: HTTPProtocol(dispatcher, state), "127.0.0.1", 0, ssl=server_side
        )
        port = listener.sockets[0].getsockname()[1]

        async def ask(data, end):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_side, server_hostname="localhost"
            )
            writer.write(data)
            answer = await (reader.readuntil(end) if end else reader.read())
            writer.close()
            await writer.wait_closed()
            return answer

        closing = SECRET.replace(b"Host", b"Connection: close\r\nHost")
        assert (await ask(SECRET + closing, b"")).count(b"HTTP/1.1 204 ") == 2
        assert (await ask(b"nonsense\r\n\r\n", b"")).startswith(b"HTTP/1.1 400 ")
        upgraded = await ask(HANDSHAKE + b"frames!", b"!")
        assert upgraded.startswith(b"HTTP/1.1 101 ")
        assert upgraded.endswith(b"\r\n\r\nframes!")
        listener.close()
        await state.wait_closed()

    run(main())
    assert not caplog.records
