"""For the tests of services: time that the test moves, and processes that do as they are told."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from wsrelay import App, Restart, process

EXACT = Restart(initial_delay=1.0, max_delay=90.0, backoff_factor=2.0, jitter=0.0)


async def settle(turns: int = 10) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Handle:
    """A timer that can be cancelled."""

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Time:
    """Stands for the loop's time: it goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Handle]] = []
        self._count = 0

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Handle:
        assert context is not None, "a timer runs outside of all processes"
        handle = Handle(callback, args)
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, handle))
        return handle

    @property
    def due(self) -> list[float]:
        """Seconds from now on of all that is to come."""
        return sorted(when - self.now for when, _, handle in self._heap if not handle.cancelled)

    async def pass_by(self, seconds: float) -> None:
        """Let time go on; what becomes due runs, in order."""
        end = self.now + seconds
        await settle()
        while self._heap and self._heap[0][0] <= end:
            self.now, _, handle = heapq.heappop(self._heap)
            if not handle.cancelled:
                handle.callback(*handle.args)
            await settle()
        self.now = end


def new_app(
    time: Time | None = None, uniform: Callable[[float, float], float] | None = None
) -> App:
    """An App whose services live in the test's time."""
    app = App()
    app.supervisor.call_later = None if time is None else time.call_later
    if uniform is not None:
        app.supervisor.uniform = uniform
    return app


async def obeys() -> str:
    """Do as told, once: `return`, `raise`, `exit` with a reason, or `answer` for ever."""
    async for message in process.inbox():
        match message.topic:
            case "return":
                return "done"
            case "raise":
                raise ValueError(message.payload)
            case "exit":
                process.exit(message.payload)
            case _:
                message.reply((message.topic, process.pid()))
    raise AssertionError


class Diary:
    """Services that write down when they start and when they stop."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def keeper(self, name: str) -> Callable[[], Any]:
        async def keep() -> None:
            self.lines.append(f"+{name}")
            try:
                await asyncio.Event().wait()
            finally:
                self.lines.append(f"-{name}")

        return keep

    def take(self) -> list[str]:
        """What has been written since the last call."""
        lines, self.lines = self.lines, []
        return lines
