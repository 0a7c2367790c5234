"""An App that listens, raw sockets that attack it, and an ordinary client beside them."""

import asyncio
import base64
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raw_frames import CLOSE, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, raw

from wsrelay import App, Response, process, relay_to
from wsrelay.http import Limits, Timeouts
from wsrelay.server import Server
from wsrelay_core import PID, resolve

KIB = 1024
MIB = 1024 * KIB
PATIENCE = 5.0  # seconds for one event
CLOSING = 6.0  # seconds of the server's time, more than a client has to answer an end

GET = b"GET /ok HTTP/1.1\r\nHost: a.example\r\n\r\n"
BEHIND = b"GET /behind HTTP/1.1\r\nHost: a.example\r\n\r\n"
"""A request that only a second reading of what comes before it would serve."""


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what no event tells of."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):
            await asyncio.sleep(0.001)
        return value


# -- bytes of a client -----------------------------------------------------------------------------


Fields = str | bytes | list[str | bytes] | None


def handshake(path: str = "/chat/ws", method: str = "GET", **changes: Fields) -> bytes:
    """A handshake; `changes` name fields (`_` is `-`): None leaves out, a list repeats."""
    fields: dict[str, Fields] = {
        "Host": "a.example",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)),
    }
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{method} {path} HTTP/1.1".encode()]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        lines += [b"%b: %b" % (name.encode(), _bytes(one)) for one in values]
    return b"\r\n".join([*lines, b"", b""])


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


# -- the served App --------------------------------------------------------------------------------


class Clock:
    """The time of the App and of its server, moved by the test, and by `step` at each look."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def echo() -> None:
    """A target that answers each message with itself."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            kind, data = message.payload["type"], message.payload["data"]
            process.send(message.sender, "ws.send", {"type": kind, "data": data})


@dataclass
class Target:
    """What is attacked: `/ok` and all other paths are plain, `/chat/ws` and `/chat/slow` relay.

    Attributes:
        paths: what plain handlers were asked for.
        upgrades: how often the handler of a relayed route ran.
        inside, go: `/chat/slow` tells that it runs, and waits.
    """

    app: App
    clock: Clock
    server: Server
    room: PID
    paths: list[str] = field(default_factory=list)
    upgrades: int = 0
    inside: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Callable[[Any], Any] | None = None
    peers: "list[Peer]" = field(default_factory=list)

    @property
    def websockets(self) -> list[PID]:
        return [one.pid for one in self.app.processes() if one.entry == "websocket"]

    @property
    def connections(self) -> int:
        """All open connections, of both kinds."""
        return len(self.server.state.connections) + len(self.websockets)

    async def connect(self, receive: int | None = None) -> "Peer":
        """Open a connection; `receive`: bytes of its kernel's buffer, for one that reads little."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.server.port))
        limit = 2**16 if receive is None else KIB
        peer = Peer(*await asyncio.open_connection(sock=sock, limit=limit))
        self.peers.append(peer)
        return peer

    async def ask(self, data: bytes, how: str = "whole") -> "Peer":
        """Send bytes on a connection of their own."""
        peer = await self.connect()
        await peer.send(data, how)
        return peer

    async def upgraded(self, receive: int | None = None, **changes: Fields) -> "Peer":
        """A WebSocket; its `pid` is that of the connection."""
        before = set(self.websockets)
        peer = await self.connect(receive)
        peer.write(handshake(**changes))
        head = await peer.head()
        assert head.status == 101, head
        (peer.pid,) = set(self.websockets) - before
        peer.fields = head.fields
        return peer

    async def serves(self) -> None:
        """An ordinary client of each kind is served."""
        plain = await self.ask(GET)
        assert (await plain.head()).status == 200
        plain.end()
        chat = await self.upgraded()
        await chat.echoes(1)
        chat.end()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the timers notice."""
        self.clock.now += seconds
        self.server.state.sweep()
        if self.app.scheduler is not None:
            self.app.scheduler.timers.advance()

    async def holds(self, connections: int) -> None:
        """Wait until so many are open."""
        await until(lambda: self.connections == connections)

    async def has_only(self, connections: int = 0) -> None:
        """The others are gone when they had the time to close, and with them what was theirs."""
        self.pass_time(CLOSING)
        await until(lambda: self.connections == connections and not self.server.state.tasks)

    async def forget_peers(self) -> None:
        """End all clients, and let go of them."""
        for peer in self.peers:
            peer.end()
            with suppress(ConnectionError):
                await peer.writer.wait_closed()
        self.peers.clear()


@asynccontextmanager
async def target(
    options: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    files: Path | None = None,
) -> AsyncIterator[Target]:
    """Run an App with a listener; its time stands still until the test moves it.

    Args:
        options: of the relay, names without `wsrelay.`.
        limits, timeouts: of the service.
        files: a folder to serve under `/files`.
    """
    clock = Clock()
    app = App(clock=clock)
    app.service(limits=limits, timeouts=timeouts)
    given = {"allowed.origins": "https://app.example", **(options or {})}
    named = {f"wsrelay.{name}": value for name, value in given.items()}
    relayed = app.router("/chat", post_middleware=["websocket_relay"], post_options=named)
    plain = app.router("")
    if files is not None:
        app.static("/files", files)
    here: Target

    @relayed.get("/ws")
    def connect(request: Any) -> Any:
        here.upgrades += 1
        return relay_to(here.room) if here.answer is None else here.answer(request)

    @relayed.get("/slow")
    async def connect_slowly(request: Any) -> Any:
        here.inside.set()
        await here.go.wait()
        return connect(request)

    @plain.post("/json")
    async def read_json(request: Any) -> Any:
        await request.json()

    @plain.route("/{rest...}", ["GET", "POST"])
    async def record(request: Any) -> Any:
        here.paths.append(request.path)
        return Response(await request.body() or b"ok")

    async with app.running() as server:
        server.state.clock = clock
        here = Target(app, clock, server, process.spawn(echo))
        try:
            yield here
        finally:
            for peer in here.peers:
                peer.end()


# -- a client --------------------------------------------------------------------------------------


@dataclass
class Head:
    """A response as it came; repeated fields are joined by a comma."""

    status: int
    fields: dict[str, str]
    body: bytes = b""


class Peer:
    """One raw connection; it does nothing by itself."""

    pid: PID
    fields: dict[str, str]

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.written = 0
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self.writer.write(data)

    async def send(self, data: bytes, how: str = "whole") -> None:
        """Send bytes; `bytes`: each in a segment of its own. An end of the server is no error."""
        with suppress(ConnectionError):
            if how == "whole":
                self.write(data)
            else:
                for index in range(len(data)):
                    self.write(data[index : index + 1])
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
            await self.writer.drain()

    async def arrived(self, count: int | None = None) -> None:
        """Wait until the WebSocket has read so many bytes (None: all written) since its 101."""
        connection = resolve(self.pid)
        before = len(handshake())
        wanted = self.written - before if count is None else count
        await until(lambda: not connection.is_open or connection.bytes_in >= wanted)

    def half_close(self) -> None:
        """End this side, unless all has ended."""
        if not self.writer.is_closing():
            self.writer.write_eof()

    def reset(self) -> None:
        """Go away with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def end(self) -> None:
        self.writer.transport.abort()

    # -- in

    async def head(self, *, body: bool = True) -> Head:
        """One response."""
        async with asyncio.timeout(PATIENCE):
            block = await self.reader.readuntil(b"\r\n\r\n")
            line, *lines = block.decode("latin-1").split("\r\n")[:-2]
            head = Head(int(line.split(" ")[1]), {})
            for one in lines:
                name, _, value = one.partition(": ")
                earlier = head.fields.get(name.lower())
                head.fields[name.lower()] = value if earlier is None else f"{earlier}, {value}"
            length = int(head.fields.get("content-length", "0"))
            if length and body:
                head.body = await self.reader.readexactly(length)
            return head

    async def rest(self) -> bytes:
        """All until the end of TCP, orderly or not."""
        found = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while data := await self.reader.read(2**16):
                    found += data
        return found

    async def receive(self, compressed: bool | None = False) -> tuple[int, bytes] | None:
        """The next frame, which must be whole and unmasked; None at the end of TCP.

        Args:
            compressed: whether it must be; None: it may be, and is returned as it came.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                first, second = await self.reader.readexactly(2)
                assert first & FIN and not first & (RSV2 | RSV3) and second < 0x80
                assert compressed is None or bool(first & RSV1) == compressed
                size = second
                if second >= 126:
                    size = int.from_bytes(
                        await self.reader.readexactly(2 if second == 126 else 8), "big"
                    )
                return first & 0x0F, await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def echoes(self, count: int) -> None:
        """The target answers."""
        for number in range(count):
            text = b"%d" % number
            self.write(raw(FIN | TEXT, text))
            assert await self.receive() == (TEXT, text)

    async def answers_pings(self) -> None:
        """Answer what pings there are, then get an echo."""
        self.write(raw(FIN | TEXT, b"alive"))
        while (found := await self.receive()) != (TEXT, b"alive"):
            assert found is not None and found[0] == PING
            self.write(raw(FIN | PONG, found[1]))
        await self.arrived()

    async def closed_with(self) -> int:
        """The code of the only close frame, behind which there is nothing but the end of TCP.

        The close is not answered: bytes of ours could be taken for the rest of a half-sent frame.
        """
        found = await self.receive()
        while found is not None and found[0] != CLOSE:
            found = await self.receive()
        assert found is not None, "TCP ended without a close frame"
        assert len(found[1]) >= 2
        return int.from_bytes(found[1][:2], "big")


# -- bounds ----------------------------------------------------------------------------------------


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Bytes of resident memory of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def work_of(attack: Callable[[], Any], times: int = 3) -> int:
    """The least processor time of a few runs, in nanoseconds."""
    costs = []
    for _ in range(times):
        start = time.process_time_ns()
        await attack()
        costs.append(time.process_time_ns() - start)
    return min(costs)
