"""For the tests of the core: a scheduler without an App."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

from wsrelay_core import CoroutineProcess, Event, Host, Process, Scheduler, watch_exit


class Core:
    """A running scheduler with one host; `reports` is what it told its log."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.reports: list[tuple[str, Any, Any]] = []
        self.scheduler = Scheduler(asyncio.get_running_loop(), self._report, self, clock)
        self.host = Host("app:processes")

    def _report(self, kind: str, process: Process | None, detail: Any) -> None:
        self.reports.append((kind, process, detail))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.reports]

    def spawn(self, function: Callable[..., Any], *args: Any) -> CoroutineProcess:
        process = CoroutineProcess(
            self.scheduler, self.host, function(*args), function.__qualname__
        )
        process.start()
        return process

    def exit_of(self, process: Process) -> asyncio.Future[Event]:
        future: asyncio.Future[Event] = self.scheduler.loop.create_future()
        watch_exit(self.scheduler, process.pid, future.set_result)
        return future

    async def __aenter__(self) -> Self:
        self.scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.scheduler.table.processes():
            process.terminate()
        tasks = [process.task for process in self.scheduler.unfinished]
        if tasks:
            await asyncio.wait(tasks)
        self.scheduler.stop()
        assert self.scheduler.unfinished == {}
        assert len(self.scheduler.table) == 0
        assert self.host.count == 0


async def settle(turns: int = 6) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
