"""The start of a service, as the process in it sees it: `process.starting()`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wsrelay.errors import NotAProcess
from wsrelay_core import PID, current_process, resolve, start_var

__all__ = ["Family", "Start", "starting"]


class Family:
    """PIDs of what the services of an App have spawned, and of what that has spawned."""

    _SPARE = 64

    def __init__(self) -> None:
        self._pids: set[PID] = set()
        self._limit = self._SPARE

    def add(self, pid: PID) -> None:
        """Take in a newcomer; the dead leave when they are about half."""
        if len(self._pids) >= self._limit:
            self._pids = {each for each in self._pids if resolve(each) is not None}
            self._limit = 2 * len(self._pids) + self._SPARE
        self._pids.add(pid)

    def __contains__(self, pid: PID) -> bool:
        return pid in self._pids

    def __len__(self) -> int:
        return len(self._pids)


class Start:
    """The start of one process of a service. All that it spawns inherits this object.

    Args:
        family: takes in what is spawned.
        on_left: called when the process leaves its last `starting()` block.

    Attributes:
        pid: of the process; None until it is spawned.
        blocks: `starting()` blocks that it is in.
    """

    def __init__(self, family: Family, on_left: Callable[[Start], object]) -> None:
        self.family = family
        self.pid: PID | None = None
        self.blocks = 0
        self._on_left = on_left

    def enter(self) -> None:
        """A `starting()` block begins."""
        self.blocks += 1

    def leave(self) -> None:
        """A `starting()` block is over."""
        self.blocks -= 1
        if self.blocks == 0:
            self._on_left(self)


@contextmanager
def starting() -> Iterator[None]:
    """What the calling service must have done before it counts as started (OTP: `init/1`).

    A service is started when it first waits outside of such a block. Around its first lines,

        async def cache() -> None:
            with process.starting():
                database = await connect()
            async for msg in process.inbox(): ...

    makes the services that require it, and the App's listeners, wait for the connection, at most
    its `start_timeout`; an error in the block is a failed start. In a process that is no service
    the block does nothing.

    Raises:
        NotAProcess: there is no process around it.
    """
    me = current_process()
    if me is None:
        raise NotAProcess("this call needs a process around it: make it inside a spawned function")
    start: Start | None = start_var.get()
    if start is None or start.pid != me.pid:  # inherited from a service
        yield
        return
    start.enter()
    try:
        yield
    finally:
        start.leave()
