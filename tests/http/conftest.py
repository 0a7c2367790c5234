"""Runs coroutines on stock asyncio and on uvloop, and servers on real sockets."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from wsrelay.http import Dispatcher, HTTPProtocol, Limits, Request, Router, ServerState, Timeouts

PATIENCE = 10.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes, how: str = "whole") -> None:
        """Send the bytes; `bytes`: one by one, each read by the server by itself."""
        if how == "whole":
            self.writer.write(data)
        else:
            for index in range(len(data)):
                self.writer.write(data[index : index + 1])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        await self.settle()

    async def settle(self) -> None:
        """Wait until what was written is with the kernel; a closed connection is no error."""
        try:
            await self.writer.drain()
        except ConnectionError:
            return

    async def response(self, *, head: bool = False) -> "Answer":
        """Read one response; `head`: it answers a HEAD."""
        block = await self.reader.readuntil(b"\r\n\r\n")
        answer = Answer(block)
        length = int(answer.headers.get("content-length", "0"))
        if not head:
            answer.body = await self.reader.readexactly(length)
        return answer

    async def rest(self) -> bytes:
        """All until the server closes; a reset ends it too."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Go away with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


class Answer:
    """A response as read: status, headers in lower case (joined by a comma), body."""

    def __init__(self, block: bytes) -> None:
        line, *fields = block.decode("latin-1").split("\r\n")[:-2]
        self.status = int(line.split(" ")[1])
        self.headers: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(": ")
            name = name.lower()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.body = b""


class Server:
    """A server under test."""

    def __init__(self, state: ServerState, clock: Clock, port: int) -> None:
        self.state = state
        self.clock = clock
        self.port = port
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def ask(self, data: bytes, how: str = "whole") -> bytes:
        """Send bytes on a new connection, then end of file, and return all that comes back."""
        client = await self.connect()
        await client.send(data, how)
        if not client.writer.is_closing():
            client.writer.write_eof()
        return await client.rest()

    async def exchange(self, data: bytes, how: str = "whole") -> Answer:
        """Send bytes on a new connection and read one response."""
        client = await self.connect()
        await client.send(data, how)
        return await client.response()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until a condition holds; `run` limits the time."""
        while not condition():
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock and let the server notice."""
        self.clock.now += seconds
        self.state.sweep(self.clock.now)
        await asyncio.sleep(0)


Handler = Callable[[Request], Awaitable[Any]]


@asynccontextmanager
async def serving(
    handler: Any,
    *,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    context: Any = None,
    **state: Any,
) -> AsyncIterator[Server]:
    """Serve a `Router`, or any handler, on a free port."""
    clock = Clock()
    server_state = ServerState(clock=clock, **state)
    target = Dispatcher([handler]) if isinstance(handler, Router) else handler
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: HTTPProtocol(
            target, server=server_state, limits=limits, timeouts=timeouts, context=context
        ),
        "127.0.0.1",
        0,
    )
    server = Server(server_state, clock, listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for client in server.clients:
            await client.close()
        server_state.abort()
        await asyncio.wait_for(server_state.wait_closed(), PATIENCE)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine on each kind of loop, with a limit on its time."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        def execute(coroutine: Coroutine[Any, Any, Any]) -> Any:
            async def limited() -> Any:
                async with asyncio.timeout(PATIENCE):
                    return await coroutine

            return runner.run(limited())

        yield execute


@pytest.fixture
def serve() -> Any:
    """`async with serve(handler, limits=…) as server`; see `serving`."""
    return serving


@pytest.fixture(params=["whole", "bytes"])
def how(request: pytest.FixtureRequest) -> str:
    """How a client's bytes arrive."""
    return str(request.param)
