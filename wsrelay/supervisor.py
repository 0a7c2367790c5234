"""The services of an App: their order, and what the App and its user ask of them."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable
from contextvars import Context
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from wsrelay._text import did_you_mean, listed, quoted
from wsrelay.backoff import Backoff
from wsrelay.errors import UnknownEntry
from wsrelay.process import Target
from wsrelay.registry import Registry, checked_name
from wsrelay.starting import Family
from wsrelay.supervised import ServiceStatus, Supervised, Surroundings
from wsrelay_core import CoroutineProcess, Scheduler, current_process

if TYPE_CHECKING:
    from wsrelay.config import Lifecycle

__all__ = ["ServiceStatus", "Supervisor", "check_input"]


def check_input(function: Callable[..., Any], input: Any) -> None:
    """Raise TypeError if a service can't call a function with its `input` (None: no argument)."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a callable that tells nothing of itself
        return
    signature.bind(*_args_of(input))


def _args_of(input: Any) -> tuple[Any, ...]:
    return () if input is None else (input,)


class Supervisor:
    """Keeps processes alive: OTP's `one_for_one`, each with a back-off of its own.

    Args:
        registry: of the App.

    Attributes:
        call_later: waits for all of them, from the App's next start on; None: the loop's own. For
            tests of time.
        uniform: returns a random number between two others, for the jitter of services that are
            declared from now on.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.call_later: Callable[..., Any] | None = None
        self.uniform: Callable[[float, float], float] = random.uniform
        self._services: dict[str, Supervised] = {}
        self._started: list[Supervised] = []  # the first first
        self._around: Surroundings | None = None
        self._opening: Supervised | None = None
        self._halted = False

    def add(
        self, name: str, target: Target, input: Any, host: str | None, lifecycle: Lifecycle
    ) -> None:
        """Declare a service; see `App.supervise`."""
        entry = self._registry.id_of(checked_name(name))
        if entry in self._services:
            raise ValueError(f"there is already a process.service {quoted(entry)}")
        known: Any = target
        if isinstance(target, str):  # an import path is for the start to find
            known = self._registry.processes.get(self._registry.id_of(target))
        if known is not None:
            try:
                check_input(known, input)
            except TypeError as error:
                raise TypeError(f"process.service {quoted(entry)}: {error}") from None
        bare = entry.removeprefix(f"{self._registry.namespace}:")
        names = tuple(dict.fromkeys((entry, bare)))
        backoff = Backoff(lifecycle.restart, self.uniform)
        service = Supervised(names, target, _args_of(input), host, lifecycle, backoff)
        self._services[entry] = service
        if self._around is not None:
            service.enter(self._around)

    # -- what users ask ----------------------------------------------------------------------------

    def status(self) -> list[ServiceStatus]:
        """How the services are, in the order of their declaration."""
        return [service.status() for service in self._services.values()]

    async def start(self, name: str) -> None:
        """Start a service, and before it those that it requires; running ones stay as they are.

        A service that waits for its restart gets it now.

        Raises:
            StartFailed: it, or one that it requires, did not start; what this call had started
                is stopped again.
            UnknownEntry: no such service.
        """
        begun: list[Supervised] = []
        try:
            for service in self._order([self._find(name).id]):
                if service.state in ("stopped", "failed"):
                    begun.append(service)
                await self._start(service)
        except BaseException:
            for service in reversed(begun):
                if service.state != "failed":
                    await self._stop(service)
            raise

    async def stop(self, name: str) -> None:
        """Stop a service, and before it those that require it; they stay stopped.

        Raises:
            UnknownEntry: no such service.
            RuntimeError: called by the process of one of them, which ends by returning.
        """
        first = self._find(name)
        going = [service for service in self._started if self._needs(service, first)]
        for service in going or [first]:
            _refuse_own(service)
        for service in reversed(going or [first]):
            await self._stop(service)

    async def restart(self, name: str) -> None:
        """Stop a service and start it again; those that require it live on, as after a failure.

        Raises:
            StartFailed, UnknownEntry, RuntimeError: as `start` and `stop` do.
        """
        service = self._find(name)
        _refuse_own(service)
        await service.stop()
        await self.start(name)

    def _find(self, name: str) -> Supervised:
        entry = self._registry.id_of(name)
        if entry not in self._services:
            hint = did_you_mean(entry, self._services)
            raise UnknownEntry(f"there is no process.service {quoted(entry)}{hint}")
        return self._services[entry]

    # -- what the App asks -------------------------------------------------------------------------

    async def open(self, scheduler: Scheduler, context: Context) -> None:
        """Start what starts with the App, one after the other, in order.

        Raises:
            StartFailed: one did not start. The others are as they are then; `close` stops them.
            ValueError: services that require each other.
            UnknownEntry: one requires what is no service.
        """
        self._halted = False
        self._started.clear()
        call_later = self.call_later or scheduler.loop.call_later
        self._around = Surroundings(scheduler, context, call_later, Family())
        for service in self._services.values():
            service.enter(self._around)
        names = [one.id for one in self._services.values() if one.lifecycle.auto_start]
        for service in self._order(names):
            if self._halted:
                return
            self._opening = service
            try:
                await self._start(service)
            finally:
                self._opening = None

    def halt(self) -> None:
        """The App is to stop: an `open` under way starts no more, and returns."""
        self._halted = True
        if self._opening is not None:
            self._opening.release()

    def owns(self, process: CoroutineProcess) -> bool:
        """Whether it is the process of a service, or was spawned by one, or by its children."""
        return self._around is not None and process.pid in self._around.family

    @property
    def is_idle(self) -> bool:
        """Whether no service has a process."""
        return all(service.record is None for service in self._services.values())

    async def close(self, deadline: float) -> None:
        """Stop all services, the last started first.

        Args:
            deadline: on the loop's clock. Each has its `stop_timeout`, but no more than an equal
                part of what is left: one that does not end takes nothing from the others.
        """
        if self._around is None:
            return
        self._around.closing = True
        loop = self._around.scheduler.loop
        while self._started:
            service = self._started[-1]
            part = max(0.0, deadline - loop.time()) / len(self._started)
            await self._stop(service, min(service.lifecycle.stop_timeout or part, part))
        self._around = None

    async def _start(self, service: Supervised) -> None:
        if service not in self._started:
            self._started.append(service)
        await service.start()

    async def _stop(self, service: Supervised, limit: float | None = None) -> None:
        try:
            await service.stop(limit)
        finally:
            if service in self._started:
                self._started.remove(service)

    # -- order -------------------------------------------------------------------------------------

    def _order(self, names: Iterable[str]) -> list[Supervised]:
        """Services and all that they require, what is required first, else as declared."""
        from wsrelay.config.references import cycle  # see `wsrelay.serving`

        requires = {
            name: [self._registry.id_of(each) for each in service.lifecycle.requires]
            for name, service in self._services.items()
        }
        if circle := cycle(requires):
            raise ValueError(f"process.service: {' → '.join(circle)} is a circle of `requires`")
        wanted = list(names)
        for name in wanted:  # grows while it is walked
            if name not in requires:
                asking = [one for one in requires if name in requires[one]]
                hint = did_you_mean(name, self._services)
                raise UnknownEntry(
                    f"process.service {listed(map(quoted, asking))}: requires: there is no "
                    f"process.service {quoted(name)}{hint}"
                )
            wanted += [each for each in requires[name] if each not in wanted]
        # Of what may start next, the sorter gives first what it was given first.
        declared = [name for name in requires if name in wanted]
        sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(declared, ()))
        for name in declared:
            sorter.add(name, *requires[name])
        return [self._services[name] for name in sorter.static_order()]

    def _needs(self, service: Supervised, other: Supervised) -> bool:
        return other in self._order([service.id])


def _refuse_own(service: Supervised) -> None:
    if service.record is not None and service.record is current_process():
        raise RuntimeError(f"service {service.id} can't wait for its own end: return, or exit()")
