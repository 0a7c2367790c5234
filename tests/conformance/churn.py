"""Open and end a million connections without a socket, and see that nothing of them stays.

    PYTHONPATH=. python tests/conformance/churn.py

The real protocol classes, App, processes and frames, over a transport in memory: what the soak does
with sockets in minutes for a hundred thousand connections, ten times as often. After each tenth
there must be no process left and, in a build with `WSRELAY_DEBUG=1`, no object of the core more;
after the first tenth resident memory and Python's blocks must stay where they are.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop
from soak import TENTHS, growth

from bench.micro.transport import MemoryTransport
from wsrelay import App, Request, Response, process, relay_to
from wsrelay_core import FrameCodec

try:
    from wsrelay_core import _live
except ImportError:  # a release build counts nothing
    _live = None

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CODEC = FrameCodec(client=True)
TEXT = CODEC.encode_message("hello")
STOP = CODEC.encode_message("stop")
PART = CODEC.encode_frame(1, b"half", fin=False)
PING = CODEC.encode_frame(9, b"?")
CLOSE = CODEC.encode_frame(8, b"\x03\xe8")
UNMASKED = b"\x81\x01a"


class Client:
    """The other side of one connection."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.transport = MemoryTransport()
        self.transport.protocol = factory()
        self.transport.protocol.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """The loop reads these bytes."""
        protocol = self.transport.protocol
        protocol.get_buffer(-1)[: len(data)] = data
        protocol.buffer_updated(len(data))

    async def answer(self, begin: bytes) -> None:
        """Wait until what was written begins so, as it must."""
        while not (data := self.transport.take()):
            await asyncio.sleep(0)
        if not data.startswith(begin):
            raise AssertionError(f"{data!r} does not begin with {begin!r}")

    def leave(self, error: Exception | None = None) -> None:
        """TCP ends."""
        if not self.transport.is_closing():
            self.transport.close()


async def closes(client: Client) -> None:
    """An echo, and a closing handshake."""
    client.send(HEAD)
    client.send(TEXT)
    await client.answer(b"HTTP/1.1 101 ")
    client.send(CLOSE)
    await client.answer(b"\x81\x05hello\x88\x02\x03\xe8")


async def is_gone(client: Client) -> None:
    """TCP ends amid a message."""
    client.send(HEAD + PART + PING)


async def is_stopped(client: Client) -> None:
    """The target ends."""
    client.send(HEAD + STOP)
    await client.answer(b"HTTP/1.1 101 ")
    await client.answer(b"\x88")


async def breaks_a_rule(client: Client) -> None:
    """An unmasked frame."""
    client.send(HEAD)
    client.send(UNMASKED)
    await client.answer(b"HTTP/1.1 101 ")


async def asks(client: Client) -> None:
    """An ordinary request, and half of another."""
    client.send(b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD[:40])
    await client.answer(b"HTTP/1.1 200 ")


async def is_refused(client: Client) -> None:
    """A handshake without a key."""
    client.send(HEAD.replace(b"Sec-WebSocket-Key", b"Key"))
    await client.answer(b"HTTP/1.1 400 ")


WAYS: tuple[Callable[[Client], Awaitable[None]], ...] = (
    closes,
    is_gone,
    is_stopped,
    breaks_a_rule,
    asks,
    is_refused,
)


def make_app() -> App:
    """An App whose /ws is relayed to an echo process of its own, which `stop` ends."""
    app = App()
    app.service()
    router = app.router("", post_middleware=["websocket_relay"])

    async def echo() -> None:
        async for message in process.inbox():
            if message.topic == "ws.message":
                data = message.payload["data"]
                if data == "stop":
                    return
                process.send(message.sender, "ws.send", {"type": "text", "data": data})
            elif message.topic == "ws.leave":
                return

    @router.get("/ws")
    def connect(request: Request) -> Response:
        return relay_to(process.spawn(echo))

    @router.get("/plain")
    def plain(request: Request) -> str:
        return "plain"

    return app


def sample(before: "Counter[str]") -> dict[str, int]:
    """What this OS process holds: bytes, Python's blocks, objects of the core above `before`."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    facts = {"rss": pages * os.sysconf("SC_PAGE_SIZE"), "blocks": sys.getallocatedblocks()}
    if _live is not None:
        facts["live"] = sum((Counter(_live.alive()) - before).values())
    return facts


async def churn(connections: int, tell: Callable[[str], object] = print) -> list[dict[str, int]]:
    """Open and end connections, one after the other, in all ways in turn.

    Args:
        connections: how many, all together.
        tell: gets a line for each tenth.

    Returns:
        What this OS process held after each tenth.

    Raises:
        AssertionError: a connection ended otherwise than it must, or a process is left.
    """
    samples: list[dict[str, int]] = []
    began = time.monotonic()
    async with make_app() as app:
        factory = app.protocol_factory()
        before: Counter[str] = Counter()
        for tenth in range(TENTHS):
            begin, end = (connections * part // TENTHS for part in (tenth, tenth + 1))
            for number in range(begin, end):
                client = Client(factory)
                await WAYS[number % len(WAYS)](client)
                client.leave()
                await asyncio.sleep(0)
            while left := app.processes():
                await asyncio.sleep(0)
                if time.monotonic() - began > 3600:
                    raise AssertionError(f"processes are left: {left[:3]}")
            if tenth == 0 and _live is not None:
                before = Counter(_live.alive())
            samples.append(sample(before))
            tell(f"{end:8} in {time.monotonic() - began:4.0f} s: {samples[-1]}")
    return samples


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=1_000_000)
    asked = parser.parse_args(arguments)
    if _live is not None:
        _live.watch()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        samples = runner.run(churn(asked.connections))
    found = growth(samples, asked.connections)
    if samples[-1].get("live", 0) > 0:
        found.append(f"{samples[-1]['live']} objects of the core more")
    print("\n".join(found) or f"flat after the first tenth, {len(WAYS)} ways to end")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
