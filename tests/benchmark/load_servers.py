"""Servers for the tests of `wsrelay bench`: of the library websockets, and byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from wsproto.utilities import generate_accept_token

from wsrelay.benchmark.target import parse_target
from wsrelay.benchmark.works import Plan, Result, measure

Handler = Callable[[ServerConnection], Awaitable[None]]
CLOSE = 0x88  # first byte of such a frame
WAIT = 5.0  # seconds; an upper bound, never what a test takes


@asynccontextmanager
async def server(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server of websockets; gives its port."""
    async with serve(
        handler, "127.0.0.1", 0, ssl=context, compression=None, ping_interval=None
    ) as running:
        yield next(iter(running.sockets)).getsockname()[1]


@asynccontextmanager
async def raw_server(
    answer: Callable[[bytes], bytes], reply: Callable[[bytes], bytes] = lambda data: b""
) -> AsyncIterator[int]:
    """A server that answers the head of a request, and what comes behind it, with given bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        try:
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            while data := await reader.read(65536):
                writer.write(reply(data))
                if data[0] == CLOSE:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    talks: list[Any] = []
    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
        if talks:
            await asyncio.wait(talks, timeout=WAIT)


def switching(head: bytes, *more: bytes, accept: bytes | None = None) -> bytes:
    """A right answer to the head of a handshake, with further fields."""
    key = next(line for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
    token = generate_accept_token(key.partition(b": ")[2]) if accept is None else accept
    fields = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + token]
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *fields, *more, b"", b""])


def plan_for(port: int, scheme: str = "ws", headers: tuple[str, ...] = (), **more: Any) -> Plan:
    """A short plan."""
    few = {"connections": 3, "seconds": 0.02, "timeout": WAIT, "patience": WAIT, **more}
    return Plan(parse_target(f"{scheme}://127.0.0.1:{port}/path?q", headers), **few)


async def load(port: int, **more: Any) -> Result:
    """Load a server."""
    return await measure(plan_for(port, **more), lambda phase, share: None)
