"""Any bytes as an HTTP connection, with a relay behind some paths: `HTTPProtocol` over a wire that
is played.

Input: a byte of settings, then a stream and its cuts (see `fuzz_input.pieces_of`). Settings: the
lowest two bits are how it ends (0 the client ends its side, 1 it vanishes, 2 it is silent, 3 as 0
over TLS); 4 a client that reads slowly; 8 every body is read before a handler runs.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from fuzz_answers import Reading, statuses_of
from fuzz_h11 import check_against_h11
from fuzz_input import MOST_PIECES, pieces_of, taken
from fuzz_wire import Clock, Wire, turns

from wsrelay import App, HTTPError, Request, Response, StreamingResponse, process, relay_to
from wsrelay.http import Dispatcher, HTTPProtocol, Limits, ServerState, Timeouts

__all__ = ["target"]

ENDING, SLOW, BODIES_FIRST = 3, 4, 8
HALF_CLOSE, VANISH, SILENCE, TLS = range(4)
LIMITS = Limits(header_bytes=512, headers=12, body=256, request_line=96)
TIMEOUTS = Timeouts()
MOST_TURNS = 3000  # of the loop for at most 1 KiB, a byte at a time
LATER = 100.0  # seconds; longer than each of the timeouts
SERVER_ERRORS = {501, 505}


def target(data: bytes) -> None:
    """Serve a stream in three cuts: each must be read in the same way, and as h11 reads it."""
    (settings,), rest = taken(data, 1)
    stream, pieces = pieces_of(rest)
    bytewise = [stream[at : at + 1] for at in range(len(stream))]
    with Complaints() as complaints:
        readings = on_loop(serve_all(settings, [[stream], bytewise, pieces]), complaints)
    assert not complaints.texts, complaints.texts
    check_against_h11(readings, stream)
    for reading in readings:
        statuses = statuses_of(reading)
        assert all(status < 500 or status in SERVER_ERRORS for status in statuses), statuses
    # Whether a body that was to be asked for is there already decides if the connection goes on.
    if b"100-continue" not in stream.lower():
        for reading in readings[1:]:
            assert reading.same_as(readings[0]), (readings[0], reading)


def on_loop(work: Coroutine[Any, Any, list[Reading]], complaints: "Complaints") -> list[Reading]:
    loop = asyncio.new_event_loop()
    try:
        loop.set_exception_handler(complaints.of_loop)
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Complaints(logging.Handler):
    """Errors and tracebacks in the log, and what the loop complains of."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.texts.append(f"{record.getMessage()} {record.exc_text}")

    def of_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.texts.append(repr(context))

    def __enter__(self) -> "Complaints":
        # Neither do lines of the access log or warnings go anywhere.
        self._loggers = [logging.getLogger(name) for name in ("wsrelay", "asyncio")]
        self._propagated = [each.propagate for each in self._loggers]
        for each in self._loggers:
            each.addHandler(self)
            each.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        for each, propagated in zip(self._loggers, self._propagated, strict=True):
            each.removeHandler(self)
            each.propagate = propagated


# -- the App ---------------------------------------------------------------------------------------


class Noting:
    """Keeps what a dispatcher is asked for."""

    def __init__(self, dispatcher: Dispatcher, reading: Reading, bodies_first: bool) -> None:
        self._dispatcher = dispatcher
        self._reading = reading
        if not bodies_first:
            self.dispatch_sync = self._dispatch_sync

    def _note(self, request: Request) -> list[Any]:
        noted = [request.method, request.target, None]
        self._reading.requests.append(noted)
        return noted

    def _dispatch_sync(self, request: Request) -> Response | None:
        self._note(request)
        response = self._dispatcher.dispatch_sync(request)
        if response is None:  # then it is called
            self._reading.requests.pop()
        return response

    async def __call__(self, request: Request) -> Response:
        noted = self._note(request)
        if not hasattr(self, "dispatch_sync"):
            try:
                noted[2] = await request.body()
            except HTTPError as error:
                noted[2] = error.status_code
                raise
        return await self._dispatcher(request)


def app_of(clock: Clock) -> App:
    """Routes of all kinds, and two relays."""
    app = App(clock=clock)
    plain = app.router("")
    plain.get("/")(lambda request: "root")
    plain.post("/ignore")(lambda request: "ignored")
    plain.get("/n/{n}")(lambda request: request.path_params["n"])
    plain.post("/echo")(echo)
    plain.get("/later")(later)
    plain.get("/stream")(stream)
    for prefix, compression in (("/ws", "off"), ("/wz", "permessage-deflate")):
        options = {"wsrelay.compression": compression, "wsrelay.message.max": "128B"}
        relayed = app.router(
            prefix,
            post_middleware=["websocket_relay"],
            post_options={"wsrelay.allowed.origins": "*", **options},
        )
        relayed.get("/")(lambda request: relay_to("echo"))
    return app


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def later(request: Request) -> str:
    await asyncio.sleep(0)
    return str(request.query_params.getlist("q"))


def stream(request: Request) -> Response:
    async def parts() -> Any:
        for part in ("one", "two", "three"):
            yield part

    return StreamingResponse(parts())


async def echo_process(messages: list[str | bytes]) -> None:
    async for message in process.inbox():
        if message.topic == "ws.message":
            messages.append(message.payload["data"])
            process.send(message.sender, "ws.send", message.payload["data"])


@dataclass
class Stage:
    """What the readings of one input share."""

    app: App
    clock: Clock
    dispatcher: Dispatcher


# -- one connection --------------------------------------------------------------------------------


async def serve_all(settings: int, cuts: list[list[bytes]]) -> list[Reading]:
    """One connection after another, of the same stream in different cuts."""
    clock = Clock()
    app = app_of(clock)
    dispatcher = Dispatcher(app.service_of(None).routers, ())
    readings = []
    async with app:
        for pieces in cuts:
            reading = Reading()
            pid = process.spawn(echo_process, None, reading.messages, name="echo")
            await serve(settings, pieces, reading, Stage(app, clock, dispatcher))
            process.terminate(pid)
            await until_alone(app, 0)
            readings.append(reading)
    return readings


async def serve(settings: int, pieces: list[bytes], reading: Reading, stage: Stage) -> None:
    """One connection from its first byte to its end."""
    state = ServerState(name="app:gateway", clock=stage.clock, wall_clock=lambda: 0.0)
    handler = Noting(stage.dispatcher, reading, bool(settings & BODIES_FIRST))
    protocol = HTTPProtocol(handler, state, LIMITS, TIMEOUTS, stage.app.context())
    ending = settings & ENDING
    wire = Wire(half_close=ending != TLS, slow=bool(settings & SLOW))
    wire.set_protocol(protocol)
    protocol.connection_made(wire)
    await send(wire, pieces)
    await end(wire, state, stage.clock, ending)
    reading.sent = bytes(wire.sent)
    reading.upgraded = state.upgrades > 0
    assert not state.connections and not state.tasks
    await until_alone(stage.app, 1)


async def send(wire: Wire, pieces: list[bytes]) -> None:
    """Send the pieces, each once the server reads; a closed connection takes no more."""
    for number, piece in enumerate(pieces):
        if wire.is_closing():
            break
        wire.deliver(piece)
        if len(pieces) <= MOST_PIECES or number % MOST_PIECES == 0:  # for the time it takes
            await asyncio.sleep(0)
            wire.drain()
        if not wire.reading:
            await turns(wire, MOST_TURNS)
        assert wire.reading or wire.is_closing(), "not read any more"
    await turns(wire, MOST_TURNS)


async def end(wire: Wire, state: ServerState, clock: Clock, ending: int) -> None:
    if ending in (HALF_CLOSE, TLS):
        wire.end()
        await turns(wire, MOST_TURNS)
    elif ending == VANISH:
        wire.lose()
        await turns(wire, MOST_TURNS)
    for _ in range(3):  # a request that is overdue, its answer, its close
        clock.now += LATER
        state.sweep()
        await turns(wire, MOST_TURNS)
    assert wire.is_lost or state.upgrades, "open for ever"
    if not wire.is_lost:
        wire.lose()
        await turns(wire, MOST_TURNS)


async def until_alone(app: App, rest: int) -> None:
    """Wait until only so many processes live: a connection's ends with the connection."""
    for _ in range(100):
        if len(app.records()) == rest:
            return
        await asyncio.sleep(0)
    raise AssertionError(app.processes())
