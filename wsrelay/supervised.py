"""One service: a process that is kept alive, and the states that it goes through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wsrelay import process
from wsrelay.backoff import Backoff
from wsrelay.config import format_duration
from wsrelay.errors import NameTaken, StartFailed, WSRelayError
from wsrelay.log import describe, escape
from wsrelay.starting import Family, Start
from wsrelay_core import PID, CoroutineProcess, Event, Scheduler, resolve, start_var, watch_exit

if TYPE_CHECKING:
    from wsrelay.config import Lifecycle

__all__ = ["ServiceStatus", "Supervised", "Surroundings"]

logger = logging.getLogger("wsrelay.service")

State = Literal["stopped", "starting", "running", "waiting", "stopping", "failed"]

# From a state to those that may follow it. `waiting` is the time before a restart.
_MOVES: dict[State, tuple[State, ...]] = {
    "stopped": ("starting",),
    "starting": ("running", "stopping", "stopped", "waiting", "failed"),
    "running": ("stopping", "stopped", "waiting", "failed"),
    "waiting": ("starting", "stopped"),
    "stopping": ("stopped",),
    "failed": ("starting", "stopped"),
}

# What is wrong with the call, and not with what was called: a line says enough.
_PLAIN_MISTAKES = (WSRelayError, TypeError, ImportError, SyntaxError)


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How a service is.

    Attributes:
        name: its id, `namespace:name`.
        state: `stopped`, `starting`, `running`, `waiting` (for its restart), `stopping`, or
            `failed` (it did not start, or has used up its attempts).
        pid: of its process; None if it has none.
        attempts: restarts in a row; 0 again when one has lived for the `stable_threshold`.
        reason: why its last process ended, or could not start; None if none has ended.
    """

    name: str
    state: State
    pid: PID | None
    attempts: int
    reason: str | None


@dataclass
class Surroundings:
    """What the services of one run of an App share.

    Attributes:
        scheduler: of the App.
        context: in a copy of which each process runs.
        call_later: as the loop's; all waiting is done by it.
        family: of all services together.
        closing: whether what ends stays ended, because the App stops.
    """

    scheduler: Scheduler
    context: Context
    call_later: Callable[..., Any]
    family: Family
    closing: bool = False


class Supervised:
    """A service. It is no process, so nothing that goes wrong with processes can end it.

    Args:
        names: those of its process in the registry; the first is the id of the service.
        target: what `process.spawn` takes.
        args: for the target. Dicts and lists are copied for each process.
        host: as in `process.spawn`.
        lifecycle: see `wsrelay.config.Lifecycle`.
        backoff: delays of the restarts.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        target: process.Target,
        args: tuple[Any, ...],
        host: str | None,
        lifecycle: Lifecycle,
        backoff: Backoff,
    ) -> None:
        self.id = names[0]
        self.lifecycle = lifecycle
        self.state: State = "stopped"
        self.record: CoroutineProcess | None = None
        self._names = names
        self._target = target
        self._args = args
        self._host = host
        self._backoff = backoff
        self._around: Surroundings | None = None
        self._reason: str | None = None
        self._start: Start | None = None
        self._late = False
        self._timer: Any = None
        self._starters: list[asyncio.Future[StartFailed | None]] = []
        self._stoppers: list[asyncio.Future[None]] = []

    def enter(self, around: Surroundings) -> None:
        """A run of the App begins."""
        self._around = around
        self.state = "stopped"
        self._reason = None
        self._backoff.reset()

    def status(self) -> ServiceStatus:
        """How it is now."""
        pid = None if self.record is None else self.record.pid
        return ServiceStatus(self.id, self.state, pid, self._backoff.attempts, self._reason)

    # -- start -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it, or wait until it has started; a running one is left as it is.

        Raises:
            StartFailed: it did not.
        """
        around = self._around
        if around is None or around.closing:
            raise StartFailed(self.id, "the App is not running")
        if self.state == "running":
            return
        if self.state == "stopping":
            raise StartFailed(self.id, "it is being stopped")
        future: asyncio.Future[StartFailed | None] = around.scheduler.loop.create_future()
        self._starters.append(future)
        if self.state in ("stopped", "failed"):
            self._backoff.reset()
        if self.state != "starting":
            self._spawn()
        failure = await future
        if failure is not None:
            raise failure

    def _spawn(self) -> None:
        assert self._around is not None
        self._move("starting")
        self._late = False
        self._start = Start(self._around.family, self._look_soon)
        try:
            self._around.context.copy().run(self._new_process, self._around.scheduler, self._start)
        except Exception as error:
            if not isinstance(error, _PLAIN_MISTAKES):
                logger.error("service %s: %s", self.id, describe(error), exc_info=error)
            self._fail(describe(error), error)
            return
        self._look_soon(self._start)
        if self.lifecycle.start_timeout:
            self._arm(self.lifecycle.start_timeout, self._be_late)

    def _new_process(self, scheduler: Scheduler, start: Start) -> None:
        for name in self._names:
            if (holder := scheduler.table.lookup(name)) is not None:
                raise NameTaken(f"the name {name!r} is registered to {holder.pid}")
        start_var.set(start)
        args = _fresh(list(self._args))
        pid = process.spawn(self._target, self._host, *args, name=self.id)
        record = resolve(pid)
        assert isinstance(record, CoroutineProcess)
        for name in self._names[1:]:
            record.register(name)
        start.pid = pid
        self.record = record
        watch_exit(scheduler, pid, self._on_exit)

    def _look_soon(self, start: Start) -> None:
        """Look when the step is over that the process makes next, or now."""
        assert self._around is not None
        scheduler = self._around.scheduler
        scheduler.loop.call_soon(self._look, start, context=scheduler.context)

    def _look(self, start: Start) -> None:
        """A step is over: a process that has not ended in it, and is in no block, has started."""
        if self._start is not start or self.state != "starting" or start.blocks:
            return
        self._move("running")
        assert self.record is not None
        logger.info("service %s started: %s", self.id, self.record.pid)
        self._tell_starters(None)
        self._arm(self.lifecycle.stable_threshold, self._backoff.reset)

    def _be_late(self) -> None:
        assert self.record is not None
        self._late = True
        self.record.terminate()

    def _tell_starters(self, why: str | None, cause: BaseException | None = None) -> None:
        starters, self._starters = self._starters, []
        for future in starters:
            if future.done():
                continue
            failure = None if why is None else StartFailed(self.id, why)
            if failure is not None:
                failure.__cause__ = cause
            future.set_result(failure)

    def release(self) -> None:
        """Let those go who wait for its start, whatever comes of it."""
        self._tell_starters(None)

    # -- end -------------------------------------------------------------------------------------

    def _on_exit(self, event: Event) -> None:
        assert self._around is not None
        error = event.result.error
        self.record = None
        self._start = None
        self._reason = self._told(event)
        if self.state == "stopping" or self._around.closing:
            self._move("stopped")
            self._tell_starters("it was stopped")
        elif isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._move("stopped")  # and the App stops
            self._tell_starters(self._reason, error)
        elif event.reason in ("normal", "cancelled"):
            logger.info("service %s ended (%s)", self.id, self._reason)
            self._move("stopped")
            self._tell_starters(None if event.reason == "normal" else self._reason)
        else:
            self._fail(self._reason, error)
        if self.state == "stopped":
            stoppers, self._stoppers = self._stoppers, []
            for future in stoppers:
                if not future.done():
                    future.set_result(None)

    def _told(self, event: Event) -> str:
        if self._late:
            limit = format_duration(self.lifecycle.start_timeout)
            return f"not started within its start_timeout of {limit}"
        error = event.result.error
        if error is None:
            return escape(event.reason)
        return describe(error) if event.reason == "error" else f"{event.reason}: {describe(error)}"

    def _fail(self, why: str, error: BaseException | None) -> None:
        """A process ended with an error, or could not be made: a restart, or the end."""
        assert self._around is not None
        self._reason = why
        backoff, awaited = self._backoff, bool(self._starters)
        if self.state == "starting" and backoff.attempts == 0:
            self._move("failed")
            if not awaited:  # those who wait are told
                logger.error("service %s did not start: %s", self.id, why)
        elif backoff.exhausted:
            self._move("failed")
            logger.error(
                "service %s failed (%s): given up after %d restarts", self.id, why, backoff.attempts
            )
        else:
            self._move("waiting")
            delay = backoff.next_delay()
            logger.warning(
                "service %s failed (%s): restart %d in %.3g s",
                self.id,
                why,
                backoff.attempts,
                delay,
            )
            self._arm(delay, self._spawn)
        self._tell_starters(why, error)

    # -- stop ------------------------------------------------------------------------------------

    async def stop(self, limit: float | None = None) -> None:
        """Cancel its process, and terminate it if it does not end in time; it is not restarted.

        Args:
            limit: seconds; None: its `stop_timeout`.
        """
        if self.state in ("waiting", "failed"):
            self._move("stopped")
        if self.state == "stopped" or self.record is None:
            return
        assert self._around is not None
        if self.state != "stopping":
            self._move("stopping")
        if limit is None:
            limit = self.lifecycle.stop_timeout or None  # 0: none
        if limit is not None:
            self._arm(limit, self._kill, limit)
        future: asyncio.Future[None] = self._around.scheduler.loop.create_future()
        self._stoppers.append(future)
        self.record.cancel("the service is stopped")
        await future

    def _kill(self, limit: float) -> None:
        if self.record is not None:
            logger.warning(
                "service %s did not stop within %s: terminated", self.id, format_duration(limit)
            )
            self.record.terminate()

    # -- help ------------------------------------------------------------------------------------

    def _move(self, state: State) -> None:
        """The one door from state to state; the timer of the old one is dropped."""
        if state not in _MOVES[self.state]:
            raise AssertionError(f"service {self.id}: {self.state} → {state}")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.state = state

    def _arm(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        assert self._around is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._around.call_later(
            delay, callback, *args, context=self._around.scheduler.context
        )


def _fresh(value: Any) -> Any:
    """A copy of dicts and lists: a process must not find what an earlier one did to them."""
    if type(value) is dict:
        return {key: _fresh(each) for key, each in value.items()}
    if type(value) is list:
        return [_fresh(each) for each in value]
    return value
