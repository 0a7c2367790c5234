"""How an App runs and stops, and what it writes to its log on the way."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from wsrelay.config import Address, ConfigError
from wsrelay.log import describe, logger_of
from wsrelay.relay_connection import RelayConnection
from wsrelay_core import Connection, CoroutineProcess, Process, Scheduler, watch_exit

if TYPE_CHECKING:
    from wsrelay.app import App

__all__ = ["Reporter", "run", "stop"]

logger = logger_of("wsrelay.process")
app_logger = logging.getLogger("wsrelay.app")

DRAIN_BATCH = 100  # connections that are told to go at once
DRAIN_STEPS = 20  # batches, if there are enough connections for so many
CLOSE_SHARE = 0.8  # of the shutdown time; the rest is for the processes
CLOSE_SECONDS = 2.0  # for tasks and threads that are left when all has stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
DELIVERY = 0.1  # seconds for the last mail
LINGER_STEP = 0.01  # seconds between two looks at what still has to be written


class Reporter:
    """Writes what the core tells: one line, with PID and entry.

    Args:
        app: stopped in order when a process raises SystemExit or KeyboardInterrupt.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, kind: str, process: Process | None, detail: Any) -> None:
        """`kind` is `crash`, `late`, `interrupt` or `fault`; `detail` the exception."""
        who = "the App" if process is None else f"process {process.pid} ({process.entry})"
        if kind == "interrupt":
            self._app.interrupt(detail)
        elif kind == "crash" and not isinstance(detail, (SystemExit, KeyboardInterrupt)):
            logger.error("%s failed: %s", who, describe(detail), exc_info=detail)
        elif kind == "late":
            logger.warning("%s failed after its end: %s", who, describe(detail), exc_info=detail)
        elif kind == "fault":
            logger.error("a fault of the server in %s", who, exc_info=detail)


# -- stop ------------------------------------------------------------------------------------------


async def stop(app: App, restart: bool) -> None:
    """Listeners, then connections (1001, or 1012), then processes; none is left (rule 8).

    Services stop in the reverse order of their start, after what they have not started.
    """
    scheduler = app.scheduler
    assert scheduler is not None
    loop = asyncio.get_running_loop()
    limit = max([service.shutdown for service in app.services.values()], default=10.0)
    deadline = loop.time() + limit
    for server in app.servers:
        server.close_listeners()
    if app.servers:
        app_logger.info("draining: %d connections to close", len(_connections(scheduler)))
    await _end_connections(scheduler, restart, limit * CLOSE_SHARE)
    await _end_others(app, deadline)
    await app.supervisor.close(deadline)
    await _end_processes(scheduler, deadline)
    await _end_transports(scheduler, deadline)
    for server in app.servers:
        await server.finish(max(0.0, deadline - loop.time()))
    _report_leftovers(scheduler)


async def _end_connections(scheduler: Scheduler, restart: bool, limit: float) -> None:
    """Close all connections in jittered batches; `limit` seconds later none is left."""
    code, reason = (1012, "service restart") if restart else (1001, "server shutting down")
    loop = scheduler.loop
    begin = loop.time()
    for moment, batch in _batches(_connections(scheduler), limit):
        if moment:
            await asyncio.sleep(begin + moment - loop.time())
        for connection in batch:
            connection.close(code, reason, "server_shutdown")
    while connections := _connections(scheduler):
        for connection in connections:  # also one whose handshake was under way
            connection.close(code, reason, "server_shutdown")
        left = begin + limit - loop.time()
        if left <= 0:
            break
        await asyncio.wait([_exit_of(scheduler, one) for one in connections], timeout=left)
    for connection in connections:
        connection.cut_off()
    await _deliver(scheduler)


async def _deliver(scheduler: Scheduler) -> None:
    """Let processes take their last mail, if that is not too much, before they are cancelled."""
    limit = scheduler.loop.time() + DELIVERY
    while not scheduler.idle and scheduler.loop.time() < limit:  # noqa: ASYNC110 - turns count
        await asyncio.sleep(0)


async def _end_transports(scheduler: Scheduler, deadline: float) -> None:
    """Let go out what ended connections have still to write; at the deadline they are cut off."""
    while scheduler.lingering and scheduler.loop.time() < deadline:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(LINGER_STEP)
    for connection in list(scheduler.lingering):
        connection.cut_off()
    await asyncio.sleep(0)  # `connection_lost` comes in the loop's next turn


def _connections(scheduler: Scheduler) -> list[Connection]:
    return [one for one in scheduler.table.processes() if isinstance(one, Connection)]


def _batches(connections: list[Connection], limit: float) -> list[tuple[float, list[Connection]]]:
    """Batches, each with its moment in seconds from now; few connections are one batch, now."""
    random.shuffle(connections)
    size = max(DRAIN_BATCH, -(-len(connections) // DRAIN_STEPS))
    batches = [connections[at : at + size] for at in range(0, len(connections), size)]
    drains = [one.relay.drain for one in connections if isinstance(one, RelayConnection)]
    each = min(max(drains, default=0.0), limit / 2) / max(1, len(batches))
    return [
        (each * (at + random.uniform(-0.5, 0.5)) if at else 0.0, batch)
        for at, batch in enumerate(batches)
    ]


def _exit_of(scheduler: Scheduler, process: Process) -> asyncio.Future[None]:
    future: asyncio.Future[None] = scheduler.loop.create_future()
    watch_exit(scheduler, process.pid, lambda _: None if future.done() else future.set_result(None))
    return future


async def _end_others(app: App, deadline: float) -> None:
    """Cancel what no service has started, before the services: its last work may need them.

    It has half of what is left of the time. What a service has started is the service's to end;
    if it does not, that ends with the rest.
    """
    scheduler = app.scheduler
    assert scheduler is not None
    others = [one for one in _processes(scheduler) if not app.supervisor.owns(one)]
    if not others or app.supervisor.is_idle:
        return
    ended = [_exit_of(scheduler, process) for process in others]
    for process in reversed(others):
        process.cancel("the App stops")
    await asyncio.wait(ended, timeout=max(0.0, (deadline - scheduler.loop.time()) / 2))
    await _deliver(scheduler)


async def _end_processes(scheduler: Scheduler, deadline: float) -> None:
    """Cancel the processes, youngest first; what does not end in time is terminated.

    A process may start others for its last work; those are cancelled in the next round.
    """
    loop = scheduler.loop
    while (processes := _processes(scheduler)) and loop.time() < deadline:
        ended = [_exit_of(scheduler, process) for process in processes]
        for process in reversed(processes):
            process.cancel("the App stops")
        await asyncio.wait(ended, timeout=max(0.0, deadline - loop.time()))
    scheduler.stop()
    for process in reversed(_processes(scheduler)):
        process.terminate()
    tasks = [process.task for process in scheduler.unfinished if process.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=max(0.2, deadline - loop.time()))


def _processes(scheduler: Scheduler) -> list[CoroutineProcess]:
    return [one for one in scheduler.table.processes() if isinstance(one, CoroutineProcess)]


def _report_leftovers(scheduler: Scheduler) -> None:
    for process in scheduler.unfinished:
        logger.error(
            "process %s (%s) did not end: it goes on after CancelledError",
            process.pid,
            process.entry,
        )


# -- run -------------------------------------------------------------------------------------------


def run(
    app: App,
    addr: str | Address | None,
    port: int | None,
    host: str | None,
    use_uvloop: bool,
) -> None:
    """`App.run`: a loop of its own, with signals."""
    factory = None
    if use_uvloop and sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    runner = asyncio.Runner(loop_factory=factory)
    try:
        runner.run(_main(app, addr, port, host))
    finally:
        with _last_resort():
            runner.close()


@contextmanager
def _last_resort() -> Iterator[None]:
    """End the OS process if the loop can't be closed: a task or a thread does not let go of it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # it is not ours to end
        return
    timer = threading.Timer(CLOSE_SECONDS, _abandon)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _abandon() -> None:
    app_logger.error("a task or a thread that is left does not end: ended by force")
    os._exit(1)


async def _main(app: App, addr: str | Address | None, port: int | None, host: str | None) -> None:
    with _signals(app):
        await app.serve(addr, port, host)


@contextmanager
def _signals(app: App) -> Iterator[None]:
    """The first signal stops the App in order; a second one ends the OS process, by itself.

    SIGHUP reloads certificates; without TLS it keeps its meaning, the end of the terminal.

    These are not the loop's own handlers, so that the second one works when nothing else does: a
    process that never awaits keeps the loop from everything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    loop = asyncio.get_running_loop()
    seen = False

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal seen
        if seen or app.stop_requested:
            _end_by(number)
        seen = True
        loop.call_soon_threadsafe(_stop_by, app, number)

    def on_hangup(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(_reload, app)

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]
    handlers = dict.fromkeys(_SIGNALS, on_signal)
    if any(service.tls is not None for service in app.services.values()):
        handlers[signal.SIGHUP] = on_hangup
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload(app: App) -> None:
    try:
        app.reload_certificates()
    except ConfigError as error:
        told = "; ".join(map(str, error.problems))
        app_logger.error("SIGHUP: the certificate in use stays: %s", told)


def _stop_by(app: App, number: int) -> None:
    app_logger.info("%s: stopping", signal.Signals(number).name)
    app.request_stop(restart=number == signal.SIGUSR2)


def _end_by(number: int) -> None:
    try:
        app_logger.warning("%s while stopping: ended by force", signal.Signals(number).name)
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
