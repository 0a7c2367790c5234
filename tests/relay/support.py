"""A running App with relayed targets, and a client that sees every frame."""

import asyncio
import base64
import logging
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from wsproto.extensions import PerMessageDeflate

from wsrelay import App, process, relay_to
from wsrelay_core import PID, resolve, watch_exit
from wsrelay_core._frame import FrameCodec

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LONGEST = 20  # seconds for one test
PATIENCE = 5  # seconds for one event

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}
both_loops = pytest.mark.parametrize("loop", LOOPS)


def run_on(loop: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run on a loop of its own; the stock one in debug mode."""

    async def limited() -> Any:
        async with asyncio.timeout(LONGEST):
            return await coroutine

    with asyncio.Runner(loop_factory=LOOPS[loop], debug=loop == "asyncio") as runner:
        return runner.run(limited())


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition of the server's inside, of which no event tells."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):
            await asyncio.sleep(0.001)
        return value


class Clock:
    """The App's time, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Mail:
    """What a target got, in the order of arrival."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._new = asyncio.Event()

    def put(self, message: Any) -> None:
        self.all.append(message)
        self._new.set()

    async def until(self, count: int) -> list[Any]:
        """Wait until there are `count` messages."""
        async with asyncio.timeout(PATIENCE):
            while len(self.all) < count:
                self._new.clear()
                await self._new.wait()
        return self.all

    async def until_topic(self, topic: str) -> Any:
        """Wait for the first message of a topic; its payload."""
        async with asyncio.timeout(PATIENCE):
            while not (found := self.of(topic)):
                self._new.clear()
                await self._new.wait()
        return found[0].payload

    def of(self, topic: str) -> list[Any]:
        return [message for message in self.all if message.topic == topic]

    def topics(self) -> list[str]:
        return [message.topic for message in self.all]

    def data(self) -> list[Any]:
        return [message.payload["data"] for message in self.of("ws.message")]


class Records(logging.Handler):
    """The lines that connections log at their ends."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)

    def of(self, pid: str) -> list[dict[str, Any]]:
        return [line.record for line in self.lines if line.pid == pid]  # type: ignore[attr-defined]


class Room:
    """A running App; `/` relays to `here.target`, `/slow` does when it is let `go`."""

    def __init__(self, app: App, clock: Clock | None) -> None:
        self.app = app
        self.clock = clock
        self.port = 0
        self.mail = Mail()
        self.fields: dict[str, Any] = {}
        self.target: PID | None = None
        self.exits: dict[str, list[Any]] = {}
        self.records = Records()
        self.tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    def spawn(self, function: Callable[..., Any] | None = None, *args: Any) -> PID:
        """Spawn a target; by default one that keeps its mail and obeys `do`."""
        if function is None:
            return process.spawn(keeper, None, self.mail)
        return process.spawn(function, None, *args)

    def keeper(self) -> tuple[PID, Mail]:
        mail = Mail()
        return process.spawn(keeper, None, mail), mail

    def connect(self, request: Any) -> Any:
        assert self.target is not None
        return relay_to(self.target, **self.fields)

    async def connect_slowly(self, request: Any) -> Any:
        self.entered.set()
        await self.go.wait()
        return self.connect(request)

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator["Client"]:
        """A connected client; its `pid` is that of the connection."""
        before = set(self.websockets())
        if self.tls is not None:
            settings.update(ssl=self.tls[1], server_hostname="localhost")
        client = await Client.open(self.port, **settings)
        try:
            (client.pid,) = set(self.websockets()) - before
            self.watch(client.pid)
            yield client
        finally:
            await client.end()

    def websockets(self) -> list[PID]:
        return [one.pid for one in self.app.processes() if one.entry == "websocket"]

    def watch(self, pid: PID) -> None:
        exits = self.exits.setdefault(pid, [])
        watch_exit(self.app.scheduler, pid, exits.append)

    async def exit_of(self, client: "Client") -> Any:
        """The one EXIT of a client's connection."""
        exits = self.exits[client.pid]
        await until(lambda: exits)
        (event,) = exits
        return event

    def advance(self, seconds: float) -> None:
        """Let time pass for the App."""
        assert self.clock is not None and self.app.scheduler is not None
        self.clock.now += seconds
        self.app.scheduler.timers.advance()


@asynccontextmanager
async def room(
    options: Mapping[str, str] | None = None,
    *,
    clock: bool = False,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    middleware: Sequence[Any] = (),
    **service: Any,
) -> AsyncIterator[Room]:
    """Run an App with one relayed route.

    Args:
        options: of the relay.
        clock: whether the App's time is the test's.
        tls: contexts of server and client.
        middleware: outside of the relay.
        service: settings of the `http.service`.
    """
    time = Clock() if clock else None
    app = App(clock=time)
    app.service(**service)
    here = Room(app, time)
    router = app.router(
        "",
        middleware=middleware,
        post_middleware=["websocket_relay"],
        post_options={"wsrelay.allowed.origins": "*", **(options or {})},
    )
    router.get("/")(here.connect)
    router.get("/slow")(here.connect_slowly)
    log = logging.getLogger("wsrelay.connection")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(here.records)
    try:
        async with app:
            here.tls = tls
            if tls is None:
                here.port = (await app.listen(port=0))[0].port
            else:
                loop = asyncio.get_running_loop()
                server = await loop.create_server(
                    app.protocol_factory(), "127.0.0.1", 0, ssl=tls[0]
                )
                here.port = server.sockets[0].getsockname()[1]
            here.target = here.spawn()
            yield here
            if tls is not None:
                server.close()
    finally:
        log.removeHandler(here.records)
        log.setLevel(level)


async def keeper(mail: Mail) -> None:
    """A target that keeps its mail; what `do` brings is called."""
    async for message in process.inbox():
        if message.topic == "do":
            if message.payload is None:
                return
            message.payload()
        else:
            mail.put(message)


async def echo() -> None:
    """A target that answers without waiting."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            kind, data = message.payload["type"], message.payload["data"]
            process.send(message.sender, "ws.send", {"type": kind, "data": data})


class Client:
    """A client that does just what it is told, and sees every frame."""

    pid: PID

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.codec = FrameCodec(client=True)
        self.events: list[tuple[int, Any]] = []
        self.closing = False
        self.written = 0

    @classmethod
    async def open(
        cls,
        port: int,
        trailing: bytes = b"",
        receive: int | None = None,
        path: str = "/",
        deflate: bool = False,
        **settings: Any,
    ) -> "Client":
        """Connect and shake hands.

        Args:
            trailing: bytes right behind the handshake.
            receive: bytes of the kernel's receive buffer, for a client that does not read.
            deflate: offer compression, and use it.
        """
        sock = socket.socket()
        sock.setblocking(False)
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        limit = 2**16 if receive is None else 1024
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit, **settings)
        key = base64.b64encode(os.urandom(16)).decode()
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        writer.write(
            (
                f"GET {path} HTTP/1.1\r\nHost: test\r\n"
                f"{offer}Connection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
            + trailing
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 101 "), head
        client = cls(reader, writer)
        if deflate:
            chosen = re.search(rb"\r\nSec-WebSocket-Extensions: (.*)\r\n", head)
            assert chosen is not None, head
            extension = PerMessageDeflate()
            extension.finalize(chosen[1].decode())
            client.codec = FrameCodec(client=True, deflate=extension)
        return client

    # -- out

    def frame(self, opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
        return self.codec.encode_frame(opcode, payload, fin)

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self.writer.write(data)

    async def read_by_server(self) -> None:
        """Wait until the server has read all that was written."""
        connection = resolve(self.pid)
        await until(lambda: connection.bytes_in >= self.written)

    def send(self, *texts: str) -> None:
        self.write(b"".join(self.frame(TEXT, text.encode()) for text in texts))

    def close(self, code: int = 1005, reason: str = "") -> None:
        """Send a close frame."""
        self.closing = True
        self.write(self.codec.encode_close(code, reason))

    def reset(self) -> None:
        """End TCP with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    # -- in

    async def receive(self) -> tuple[int, Any] | None:
        """The next frame; None at the end of TCP."""
        while not self.events:
            try:
                data = await asyncio.wait_for(self.reader.read(2**16), PATIENCE)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.events = self.codec.feed(data)
        return self.events.pop(0)

    async def texts(self, count: int) -> list[str]:
        found = []
        for _ in range(count):
            event = await self.receive()
            assert event is not None and event[0] == TEXT, event
            found.append(event[1])
        return found

    async def rest(self) -> list[tuple[int, Any]]:
        """Every frame until the server ends TCP; its close frame is answered."""
        found = []
        while (event := await self.receive()) is not None:
            found.append(event)
            if event[0] == CLOSE and not self.closing:
                self.close(event[1][0])
        self.writer.close()
        return found

    async def end(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return
