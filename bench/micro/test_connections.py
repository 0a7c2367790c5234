"""The real protocol classes over a transport in memory: all of our own road, and no kernel."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.micro.conftest import Run
from bench.micro.test_requests import BROWSER, head_of
from bench.micro.transport import MemoryTransport
from wsrelay import App, Request, Response, process, relay_to
from wsrelay_core import PID, FrameCodec

Benchmark = Any  # the fixture of pytest-benchmark, which has no types

TEXT, CLOSE = 1, 8


class Clients:
    """Clients of an App's only service, each with a transport in memory."""

    def __init__(self, app: App) -> None:
        self.factory: Callable[[], Any] = app.protocol_factory()
        self._open: list[MemoryTransport] = []

    def connect(self) -> MemoryTransport:
        """Open a connection that speaks HTTP."""
        transport = MemoryTransport()
        transport.protocol = self.factory()
        transport.protocol.connection_made(transport)
        self._open.append(transport)
        return transport

    def upgrade(self) -> MemoryTransport:
        """Open a connection that is a WebSocket."""
        transport = self.connect()
        read(transport, UPGRADE)
        assert transport.take().startswith(b"HTTP/1.1 101 ")
        return transport

    async def leave(self) -> None:
        """Go away, all of them: the App need not wait for their closing handshakes."""
        for transport in self._open:
            transport.close()
        await asyncio.sleep(0)


UPGRADE = head_of(BROWSER)
GET = b"GET /ws/hello HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"


def client_message(text: str) -> bytes:
    """Make a frame of a client."""
    return FrameCodec(client=True).encode_message(text)


def read(transport: MemoryTransport, data: bytes) -> None:
    """Let a connection read bytes, as a loop does."""
    transport.protocol.get_buffer(-1)[: len(data)] = data
    transport.protocol.buffer_updated(len(data))


async def answer(transport: MemoryTransport) -> bytes:
    """Wait for what a connection writes; nothing is ready before the loop has turned."""
    while not (data := transport.take()):
        await asyncio.sleep(0)
    return data


members: list[PID] = []


async def echo() -> None:
    """Send every message back."""
    async for msg in process.inbox():
        if msg.topic == "ws.join":
            members.append(msg.sender)
        elif msg.topic == "ws.message":
            process.send(msg.sender, "ws.send", {"type": "text", "data": msg.payload["data"]})


@pytest.fixture
def clients(app: App, run: Run) -> Iterator[Clients]:
    """Clients of an App that echoes."""
    members.clear()
    app.service("gateway")
    router = app.router("/ws", post_middleware=["websocket_relay"])

    @router.get("/hello")
    def hello(request: Request) -> str:
        return "hello"

    @router.get("/rooms/{name}")
    def connect(request: Request) -> Response:
        return relay_to(process.spawn(echo), metadata={"room": request.path_params["name"]})

    async def make() -> Clients:
        return Clients(app)

    made: Clients = run(make())
    yield made
    run(made.leave())


def test_http_get(benchmark: Benchmark, clients: Clients, run: Run) -> None:
    async def open_one() -> MemoryTransport:
        return clients.connect()

    async def ask() -> bytes:
        read(transport, GET)
        return await answer(transport)

    transport = run(open_one())
    assert benchmark(lambda: run(ask())).endswith(b"\r\n\r\nhello")


def test_session(benchmark: Benchmark, clients: Clients, run: Run) -> None:
    """Handshake, handler, spawn, join, one echo, close."""

    async def session() -> list[tuple[int, Any]]:
        transport, codec = clients.upgrade(), FrameCodec(client=True)
        read(transport, client_message("hello"))
        events = codec.feed(await answer(transport))
        read(transport, codec.encode_close(1000))
        events += codec.feed(await answer(transport))
        transport.close()
        await asyncio.sleep(0)
        return events

    assert benchmark(lambda: run(session())) == [(TEXT, "hello"), (CLOSE, (1000, ""))]


@pytest.mark.parametrize("in_flight", [1, 16])
def test_echo_through_a_process(
    benchmark: Benchmark, clients: Clients, run: Run, in_flight: int
) -> None:
    """100 windows, each of them one read."""
    window = client_message("x" * 64) * in_flight
    expected = FrameCodec().encode_message("x" * 64) * in_flight

    async def open_one() -> MemoryTransport:
        return clients.upgrade()

    async def exchange() -> int:
        good = 0
        for _ in range(100):
            read(transport, window)
            good += await answer(transport) == expected
        return good

    transport = run(open_one())
    assert benchmark(lambda: run(exchange())) == 100


def test_broadcast_to_connections(benchmark: Benchmark, clients: Clients, run: Run) -> None:
    expected = FrameCodec().encode_message("x" * 64)

    async def open_all() -> list[MemoryTransport]:
        transports = [clients.upgrade() for _ in range(100)]
        while len(members) < len(transports):
            await asyncio.sleep(0)
        return transports

    async def publish() -> int:
        accepted = process.broadcast(members, "ws.send", {"type": "text", "data": "x" * 64})
        received = [await answer(transport) for transport in transports]
        return accepted if received == [expected] * accepted else 0

    transports = run(open_all())
    assert benchmark(lambda: run(publish())) == 100
