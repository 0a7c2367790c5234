"""Open and end connections in all ways; what the server holds must stay flat.

    python tests/conformance/soak.py [--connections 100000] [--at-once 20]

The server runs in an OS process of its own. After each tenth of the connections it must have no
process and no descriptor more than before, and after the first tenth its memory must not grow.
The exit status is 0 then, else 1. Linux only: the memory is that of /proc.
"""

import argparse
import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvloop

HERE = Path(__file__).parent
TENTHS = 10
PATIENCE = 20.0  # seconds for one connection, or for the server to come to rest
RSS_ALLOWED = 2 * 1024 * 1024  # bytes that the memory may differ, for the allocators' sake
BLOCKS_ALLOWED = 600  # blocks of Python: what caches fill up to
BLOCKS_A_CONNECTION = 0.01  # more of them are a leak, be it in one way of many

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%b\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT, CLOSE, PING = 0x81, 0x88, 0x89
RSV1 = 0x40
NO_CODE = -1  # a close frame without one


class Wrong(Exception):
    """A connection ended otherwise than it must, or the server held on to something."""


@dataclass
class Client:
    """One raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, first: int, payload: bytes = b"") -> None:
        """Write a frame with a masking key of zeros."""
        self.writer.write(frame(first, payload))

    def order(self, text: str) -> None:
        """Write a text message."""
        self.send(TEXT, text.encode())

    async def upgrade(self, more: bytes = b"") -> None:
        """Shake hands, and read the greeting."""
        self.writer.write(HANDSHAKE % more)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Wrong(f"no upgrade: {head!r}")
        await self.expect(TEXT | RSV1 if more else TEXT)

    async def expect(self, first: int) -> bytes:
        """Read one small frame that begins so."""
        begin, length = await self.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        payload = await self.reader.readexactly(length)
        if begin != first:
            raise Wrong(f"frame {begin:#x} {payload!r} instead of {first:#x}")
        return payload

    async def closed(self, code: int, reason: bytes | None = None) -> None:
        """Read the server's close frame, answer it, read the end of TCP."""
        body = await self.expect(CLOSE)
        found = int.from_bytes(body[:2], "big") if body else NO_CODE
        if found != code or reason not in (None, body[2:]):
            raise Wrong(f"close {found} {body[2:]!r} instead of {code} {reason or b''!r}")
        self.send(CLOSE, body[:2])
        await self.ended()

    async def ended(self) -> None:
        """Read the end of TCP, an orderly one or a reset."""
        with contextlib.suppress(ConnectionError):
            rest = await self.reader.read()
            if rest:
                raise Wrong(f"bytes behind the end: {rest[:40]!r}")

    def reset(self) -> None:
        """Cut TCP without an orderly end."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def frame(first: int, payload: bytes) -> bytes:
    """A frame of a client, masked with zeros."""
    if len(payload) < 126:
        return bytes((first, 0x80 | len(payload))) + bytes(4) + payload
    return bytes((first, 0x80 | 126)) + len(payload).to_bytes(2, "big") + bytes(4) + payload


def ordered(order: str, code: int, reason: bytes) -> Callable[[Client], Awaitable[None]]:
    """The target ends it, with a close frame of this code and reason."""

    async def end(client: Client) -> None:
        await client.upgrade()
        client.order(order)
        await client.closed(code, reason)

    return end


def broken(data: bytes, code: int) -> Callable[[Client], Awaitable[None]]:
    """The client breaks a rule, and is closed with this code."""

    async def end(client: Client) -> None:
        await client.upgrade()
        client.writer.write(data)
        await client.closed(code)

    return end


def dropped(data: bytes, reset: bool) -> Callable[[Client], Awaitable[None]]:
    """The client goes away in the middle of something: without a word, or with a reset."""

    async def end(client: Client) -> None:
        await client.upgrade()
        client.writer.write(data)
        if reset:
            client.reset()

    return end


async def close_politely(client: Client) -> None:
    """An echo, then the client's own closing handshake."""
    await client.upgrade()
    client.order("an echo")
    await client.expect(TEXT)
    client.send(CLOSE, b"\x03\xe8")
    await client.closed(1000)


async def close_compressed(client: Client) -> None:
    """The same with compression: the message is one stored block, "hi"."""
    await client.upgrade(DEFLATE)
    client.send(TEXT | RSV1, b"\xca\xc8\x04\x00")
    await client.expect(TEXT | RSV1)
    client.send(CLOSE)
    await client.closed(NO_CODE)


async def close_after_transfer(client: Client) -> None:
    """Another target joins before the client closes."""
    await client.upgrade()
    client.order("transfer")
    await client.expect(TEXT)
    client.send(CLOSE, b"\x0b\xb8")
    await client.closed(3000)


async def close_half(client: Client) -> None:
    """The end of the client's half of TCP."""
    await client.upgrade()
    client.writer.write_eof()
    await client.ended()


async def cut_off(client: Client) -> None:
    """The target terminates the connection: TCP is aborted."""
    await client.upgrade()
    client.order("terminate")
    await client.ended()


async def drown(client: Client) -> None:
    """More than the client reads, which then goes away."""
    await client.upgrade()
    client.order("flood")
    await client.reader.readexactly(64 * 1024)
    client.reset()


async def leave_before_the_answer(client: Client) -> None:
    """A handshake whose client does not wait."""
    client.writer.write(HANDSHAKE % b"")
    client.reset()


async def leave_in_the_head(client: Client) -> None:
    """Half a handshake."""
    client.writer.write(HANDSHAKE[:60])


async def be_refused(client: Client) -> None:
    """A page of another origin."""
    client.writer.write(HANDSHAKE % b"Origin: https://evil.example\r\n")
    head = await client.reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 403"):
        raise Wrong(f"not refused: {head!r}")


WAYS: dict[str, Callable[[Client], Awaitable[None]]] = {
    "the client closes": close_politely,
    "the client closes, compressed": close_compressed,
    "the client closes after a transfer": close_after_transfer,
    "the client ends its half of TCP": close_half,
    "the client goes away": dropped(b"", reset=False),
    "the client resets": dropped(b"", reset=True),
    "the client goes away in a frame": dropped(frame(TEXT, b"x" * 100)[:50], reset=False),
    "the client resets in a message": dropped(frame(0x01, b"x" * 1000), reset=True),
    "the client resets behind a message": dropped(frame(TEXT, b"late") * 20, reset=True),
    "an unmasked frame": broken(b"\x81\x00", 1002),
    "bad UTF-8": broken(frame(TEXT, b"\xff"), 1007),
    "too much is announced": broken(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4), 1009),
    "the target exits": ordered("exit", 1000, b"target process exited"),
    "the target fails": ordered("fail", 1011, b"target process failed"),
    "a linked process fails": ordered("fail linked", 1011, b"linked process failed"),
    "the target closes": ordered("close", 4000, b"bye"),
    "cancelled": ordered("cancel", 1001, b""),
    "terminated": cut_off,
    "a slow consumer": drown,
    "gone before the answer": leave_before_the_answer,
    "gone in the head": leave_in_the_head,
    "refused": be_refused,
}


async def live(port: int, way: str) -> None:
    """One connection, from its opening to its end."""
    try:
        async with asyncio.timeout(PATIENCE):
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            try:
                await WAYS[way](client)
            finally:
                client.writer.close()
    except (EOFError, ConnectionError, TimeoutError, Wrong) as error:
        raise Wrong(f"{way}: {error!r}") from error


async def live_many(port: int, begin: int, end: int, at_once: int) -> None:
    """Connections of these numbers, in all ways in turn, so many at a time."""
    names = list(WAYS)
    numbers = iter(range(begin, end))

    async def work() -> None:
        for number in numbers:
            await live(port, names[number % len(names)])

    await asyncio.gather(*(work() for _ in range(at_once)))


async def read_facts(port: int) -> dict[str, int]:
    """What the server says of itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /facts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
    finally:
        writer.close()
    facts: dict[str, int] = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    return facts


async def at_rest(port: int, descriptors: int | None = None) -> dict[str, int]:
    """The facts as soon as every connection has ended; raises Wrong if one does not."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                facts = await read_facts(port)
                if facts["processes"] == facts["lingering"] == 0 and (
                    descriptors is None or facts["descriptors"] <= descriptors
                ):
                    return facts
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise Wrong(f"the server does not come to rest: {facts}") from None


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The server's port, while it runs."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "soak_app.py"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # its log tells of thousands of failures that were ordered
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        yield int(await server.stdout.readline())
    finally:
        server.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await server.wait()
        except TimeoutError:
            server.kill()
            await server.wait()


async def soak(
    connections: int, at_once: int, tell: Callable[[str], object] = print
) -> list[dict[str, int]]:
    """Open and end connections.

    Args:
        connections: how many, all together.
        at_once: how many at a time.
        tell: gets a line for each tenth.

    Returns:
        What the server held after each tenth.

    Raises:
        Wrong: a connection ended otherwise than it must, or the server did not come to rest.
    """
    samples: list[dict[str, int]] = []
    began = time.monotonic()
    async with serving() as port:
        descriptors = (await at_rest(port))["descriptors"]
        for tenth in range(TENTHS):
            begin, end = (connections * part // TENTHS for part in (tenth, tenth + 1))
            await live_many(port, begin, end, at_once)
            facts = await at_rest(port, descriptors)
            samples.append(facts)
            tell(f"{end:7} in {time.monotonic() - began:4.0f} s: {facts}")
    return samples


def growth(samples: Sequence[dict[str, int]], connections: int) -> list[str]:
    """What grew after the first tenth; nothing if all is flat."""
    first, last = samples[0], samples[-1]
    rest = connections - connections // TENTHS
    found = []
    if last["rss"] - first["rss"] > RSS_ALLOWED:
        found.append(f"resident memory grew by {last['rss'] - first['rss']} bytes")
    if last["blocks"] - first["blocks"] > BLOCKS_ALLOWED + BLOCKS_A_CONNECTION * rest:
        found.append(f"{last['blocks'] - first['blocks']} blocks of Python more")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=20)
    asked = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            samples = runner.run(soak(asked.connections, asked.at_once))
        except Wrong as error:
            print(error, file=sys.stderr)
            return 1
    found = growth(samples, asked.connections)
    print("\n".join(found) or f"flat after the first tenth, {len(WAYS)} ways to end")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
