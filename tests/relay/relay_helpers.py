"""An App with a relay, clients of two libraries, and requests byte by byte."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import websockets
from wsproto.frame_protocol import FrameProtocol, Opcode

from wsrelay import App, Message, Response, process, relay_to
from wsrelay.server import Server
from wsrelay_core import PID

CLIENTS = ["websockets", "aiohttp"]
ANY_ORIGIN = {"wsrelay.allowed.origins": "*"}


async def until(condition: Callable[[], object]) -> None:
    """Wait for what sends no event."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# -- the server's side -----------------------------------------------------------------------------


class Mail:
    """What processes got, in the order of arrival."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message] = asyncio.Queue()

    async def record(self) -> None:
        """A process function: keeps what comes."""
        async for message in process.inbox():
            self._queue.put_nowait(message)

    def put(self, message: Message) -> None:
        self._queue.put_nowait(message)

    async def next(self, topic: str | None = None) -> Message:
        """The next message, or the next one of a topic."""
        while True:
            message = await asyncio.wait_for(self._queue.get(), 5)
            if topic is None or message.topic == topic:
                return message

    def __len__(self) -> int:
        return self._queue.qsize()


def with_options(**options: str) -> dict[str, str]:
    """Options by their names without `wsrelay.`, `_` for `.`; any origin."""
    return {**ANY_ORIGIN, **{f"wsrelay.{k.replace('_', '.')}": v for k, v in options.items()}}


@dataclass
class Stage:
    """A running App with one relayed route, `/ws`."""

    app: App
    server: Server
    mail: Mail
    spawned: list[PID] = field(default_factory=list)
    calls: int = 0

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def connections(self) -> list[PID]:
        return [one.pid for one in self.app.processes() if one.entry == "websocket"]

    async def until_alone(self) -> None:
        """Wait until no process and no connection is left; a monitor would keep an orphan."""
        await until(lambda: not self.app.processes())


@asynccontextmanager
async def stage(
    handler: Callable[[Any, Stage], Any] | None = None,
    *,
    options: Mapping[str, str] = ANY_ORIGIN,
    middleware: Sequence[Any] = (),
    relay_outside: bool = False,
    clock: Callable[[], float] | None = None,
    **fields: Any,
) -> AsyncIterator[Stage]:
    """Run an App whose handler relays to a process that keeps its mail.

    Args:
        handler: `(request, stage)`, sync or async, instead of the usual one.
        options: of the relay.
        middleware: around the relay.
        clock: of the App, for tests of timers.
        relay_outside: the relay is in `middleware`, not behind the match.
        fields: further arguments of `relay_to`.
    """
    app = App(clock=clock)
    mail = Mail()
    if relay_outside:
        router = app.router("", middleware=[*middleware, "websocket_relay"], options=options)
    else:
        router = app.router(
            "",
            middleware=middleware,
            post_middleware=["websocket_relay"],
            post_options=options,
        )

    def usual(request: Any, here: Stage) -> Any:
        return relay_to(spawn_recorder(here), **fields)

    chosen = handler or usual
    here: Stage

    if asyncio.iscoroutinefunction(chosen):

        @router.get("/ws")
        async def connect_async(request: Any) -> Any:
            here.calls += 1
            return await chosen(request, here)
    else:

        @router.get("/ws")
        def connect(request: Any) -> Any:
            here.calls += 1
            return chosen(request, here)

    async with app.running() as server:
        here = Stage(app, server, mail)
        yield here


def spawn_recorder(here: Stage) -> PID:
    """Spawn a process that keeps its mail."""
    pid = process.spawn(here.mail.record)
    here.spawned.append(pid)
    return pid


def with_header(here: Stage, value: str | bytes | None = None, **fields: Any) -> Response:
    """A response with the relay's header, built by hand."""
    response = Response()
    if value is None:
        value = orjson.dumps({"target_pid": str(spawn_recorder(here)), **fields})
    response.headers["X-WS-Relay"] = value
    return response


# -- clients ---------------------------------------------------------------------------------------


class Client:
    """What tests ask of a client, whatever its library."""

    async def send(self, data: str | bytes) -> None: ...

    async def receive(self) -> str | bytes: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason of the server's close frame, once it has come."""


class WebsocketsClient(Client):
    def __init__(self, connection: Any) -> None:
        self.raw = connection

    async def send(self, data: str | bytes) -> None:
        await self.raw.send(data)

    async def receive(self) -> str | bytes:
        return await asyncio.wait_for(self.raw.recv(), 5)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.raw.close(code, reason)

    async def closed(self) -> tuple[int | None, str | None]:
        await asyncio.wait_for(self.raw.wait_closed(), 5)
        frame = self.raw.protocol.close_rcvd
        return (None, None) if frame is None else (frame.code, frame.reason)

    @property
    def subprotocol(self) -> str | None:
        return self.raw.subprotocol

    @property
    def headers(self) -> Any:
        return self.raw.response.headers


class AiohttpClient(Client):
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = connection

    async def send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            await self.raw.send_str(data)
        else:
            await self.raw.send_bytes(data)

    async def receive(self) -> str | bytes:
        message = await self.raw.receive(timeout=5)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.raw.close(code=code, message=reason.encode())

    async def closed(self) -> tuple[int | None, str | None]:
        message = await self.raw.receive(timeout=5)
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return message.data, message.extra

    @property
    def subprotocol(self) -> str | None:
        return self.raw.protocol

    @property
    def headers(self) -> Any:
        return self.raw._response.headers


@asynccontextmanager
async def dial(kind: str, url: str, **settings: Any) -> AsyncIterator[Any]:
    """Connect with one of the CLIENTS; settings are `subprotocols` and `compression`."""
    subprotocols = settings.pop("subprotocols", ())
    compression = settings.pop("compression", None)
    if kind == "websockets":
        async with websockets.connect(
            url, subprotocols=subprotocols or None, compression=compression, **settings
        ) as connection:
            yield WebsocketsClient(connection)
        return
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=subprotocols, compress=15 if compression else 0) as raw,
    ):
        yield AiohttpClient(raw)


@asynccontextmanager
async def connected(
    kind: str = "websockets", **settings: Any
) -> AsyncIterator[tuple[Stage, Any, PID]]:
    """A stage, a client, and the client's PID."""
    async with stage(**settings) as here, dial(kind, here.url) as client:
        yield here, client, (await here.mail.next("ws.join")).sender


# -- requests byte by byte -------------------------------------------------------------------------


@asynccontextmanager
async def dial_raw(port: int, **changes: Any) -> AsyncIterator["RawClient"]:
    """Upgrade a connection that then does only what it is told."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(handshake_bytes(**changes))
        yield RawClient(reader, writer, await read_answer(reader))
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@dataclass
class RawClient:
    """A client without a mind of its own; wsproto reads its frames."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: "Answer"

    async def frames(self) -> list[tuple[Opcode, Any]]:
        """Opcode and payload of all frames up to the end of TCP, orderly or not."""
        data = b""
        with suppress(ConnectionError):
            while chunk := await asyncio.wait_for(self.reader.read(65536), 5):
                data += chunk
        parser = FrameProtocol(True, [])
        parser.receive_bytes(data)
        return [(frame.opcode, frame.payload) for frame in parser.received_frames()]


@dataclass
class Answer:
    """A response as it came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    closed: bool

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def text(self) -> str:
        return self.body.decode()


HANDSHAKE: dict[str, str | list[str] | None] = {
    "Host": "127.0.0.1",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
}


def handshake_bytes(
    path: str = "/ws", method: str = "GET", version: str = "1.1", body: bytes = b"", **changes: Any
) -> bytes:
    """A handshake; `changes` name headers (`_` is `-`): None leaves out, a list repeats."""
    fields: dict[str, Any] = dict(HANDSHAKE)
    fields["Sec-WebSocket-Key"] = base64.b64encode(os.urandom(16)).decode()
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{method} {path} HTTP/{version}"]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        lines += [f"{name}: {one}" for one in values]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def ask(port: int, data: bytes, *, head: bool = False) -> Answer:
    """Send bytes, read one response; says whether the server then closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await read_answer(reader, head=head)
    finally:
        writer.close()
        await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """One response of a stream."""
    block = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    status_line, *lines = block.decode("latin-1").split("\r\n")[:-2]
    status = int(status_line.split(" ")[1])
    fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    length = int(dict(fields).get("content-length", "0"))
    body = b"" if head or status == 101 else await reader.readexactly(length)
    closes = any(name == "connection" and "close" in value for name, value in fields)
    if closes:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    return Answer(status, fields, body, closes)


async def refused(here: Stage, data: bytes, status: int, **settings: Any) -> Answer:
    """Ask, and check what every refusal of a handshake has in common."""
    answer = await ask(here.port, data, **settings)
    assert answer.status == status, answer
    assert answer.closed
    assert answer.all("x-ws-relay") == []
    return answer
