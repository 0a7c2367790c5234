"""A connection without a socket: a transport that the test plays, a clock that it moves."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from wsrelay_core import (
    Connection,
    ConnectionSettings,
    CoroutineProcess,
    Host,
    Message,
    Scheduler,
    send,
    watch_exit,
)
from wsrelay_core._frame import FrameCodec

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HIGH = 1024  # messages in a mailbox that pause who feeds it
START = 1000.0


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    """Let the loop run until nothing more is ready."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


class Clock:
    """Stands still until the test moves it, or goes on by `step` whenever somebody looks at it."""

    def __init__(self) -> None:
        self.now = START
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Wire(asyncio.Transport):
    """A transport in the test's hands: `room` is what the kernel still takes, None is all."""

    def __init__(self, room: int | None = None, half_close: bool = True) -> None:
        super().__init__()
        self.protocol: Any = None
        self.room = room
        self.half_close = half_close
        self.taken = bytearray()
        self.backlog = bytearray()
        self.writes = 0
        self.reading = True
        self.calls: list[str] = []
        self.error: Exception | None = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return len(self.backlog)

    def write(self, data: Any) -> None:
        if self.error is not None:
            raise self.error
        assert "abort" not in self.calls and "write_eof" not in self.calls
        self.writes += 1
        self._take(bytes(data))
        if self.backlog:
            self.protocol.pause_writing()

    def _take(self, data: bytes) -> None:
        fits = len(data) if self.room is None else max(0, min(len(data), self.room))
        if self.backlog:
            fits = 0
        if self.room is not None:
            self.room -= fits
        self.taken += data[:fits]
        self.backlog += data[fits:]

    def drain(self, room: int | None = None) -> None:
        """The client reads."""
        self.room = room
        data, self.backlog = bytes(self.backlog), bytearray()
        self._take(data)
        if not self.backlog and data:
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def can_write_eof(self) -> bool:
        return self.half_close

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class Stage:
    """A scheduler, a target that keeps its mail, and connections on wires."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reports: list[tuple[str, Any, Any]] = []
        self.scheduler = Scheduler(
            asyncio.get_running_loop(),
            lambda *report: self.reports.append(report),
            None,
            self.clock,
        )
        self.scheduler.start()
        self.host = Host("app:test")
        self.mail: list[Message] = []
        self.target = self.spawn(self._record)
        self.exits: list[Any] = []

    def spawn(self, function: Callable[..., Any], *args: Any) -> CoroutineProcess:
        """Start a process; the function gets its record first."""
        box: list[CoroutineProcess] = []

        async def body() -> None:
            await function(box[0], *args)

        process = CoroutineProcess(self.scheduler, self.host, body(), function.__name__)
        box.append(process)
        process.start()
        return process

    def spawn_waiting(self) -> tuple[CoroutineProcess, asyncio.Event]:
        """A target that keeps its mail, but begins only when the event is set."""
        begin = asyncio.Event()

        async def waits(process: CoroutineProcess) -> None:
            await begin.wait()
            await self._record(process)

        return self.spawn(waits), begin

    async def _record(self, process: CoroutineProcess) -> None:
        async for message in process.inbox():
            self.mail.append(message)

    def connect(
        self,
        target: CoroutineProcess | None = None,
        wire: Wire | None = None,
        kind: type[Connection] = Connection,
        rest: bytes = b"",
        deflate: Any = None,
        **settings: Any,
    ) -> tuple[Connection, Wire]:
        """An open connection; the messages' topic and metadata are the defaults."""
        connection = kind(
            self.scheduler, self.host, "websocket", ConnectionSettings(**settings), deflate
        )
        wire = wire or Wire()
        wire.protocol = connection
        assert connection.watch_target((target or self.target).pid)
        watch_exit(self.scheduler, connection.pid, self.exits.append)
        connection.start(wire, rest)
        return connection, wire

    def read(self, connection: Connection, data: bytes) -> None:
        """Bytes from the client."""
        view = connection.get_buffer(-1)
        view[: len(data)] = data
        connection.buffer_updated(len(data))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.scheduler.timers.advance()

    def topics(self) -> list[str]:
        return [message.topic for message in self.mail]

    def data(self) -> list[Any]:
        return [one.payload["data"] for one in self.mail if one.topic == "ws.message"]

    @property
    def record(self) -> dict[str, Any]:
        """The close record of the only EXIT."""
        (event,) = self.exits
        return event.result.value

    @property
    def leave(self) -> dict[str, Any]:
        """The payload of the only `ws.leave`."""
        (message,) = [one for one in self.mail if one.topic == "ws.leave"]
        return message.payload

    async def stop(self) -> None:
        for process in self.scheduler.table.processes():
            process.terminate()
        await settle()
        self.scheduler.stop()


def client_frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    """A masked frame."""
    return FrameCodec(client=True).encode_frame(opcode, payload, fin)


def client_text(*texts: str) -> bytes:
    return b"".join(client_frame(TEXT, text.encode()) for text in texts)


def client_close(code: int = 1005, reason: str = "") -> bytes:
    return FrameCodec(client=True).encode_close(code, reason)


def frames(wire: Wire) -> list[tuple[int, Any]]:
    """What the client has got since the last call, frame by frame."""
    data, wire.taken = bytes(wire.taken), bytearray()
    return FrameCodec(client=True).feed(data)


def say(connection: Connection, data: Any, **more: Any) -> bool:
    return send(connection.pid, "ws.send", {"data": data, **more})


# -- targets, and what a client does ---------------------------------------------------------------


async def echo(process: CoroutineProcess) -> None:
    """A target that answers without waiting."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            send(message.sender, "ws.send", {"data": message.payload["data"]})


async def hang(process: CoroutineProcess) -> None:
    """A target that takes nothing."""
    await asyncio.get_running_loop().create_future()


def flood(stage: Stage, connection: Connection, count: int, start: int = 0) -> None:
    """Numbered messages in one read."""
    stage.read(connection, client_text(*(str(number) for number in range(start, start + count))))
