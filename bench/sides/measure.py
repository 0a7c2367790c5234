"""What the part of a work that counts has cost."""

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import machine

SENDERS = 100
BURST = 100  # messages that a sender sends before it lets others run


class WrongResult(Exception):
    """A side did something else than it was asked for."""


@dataclass(slots=True)
class Cost:
    """CPU seconds of this OS process (all its threads), bytes that it grew, and noise.

    `others` is the share of its core that anybody else used, None where it may use several.
    """

    operations: int
    cpu: float = 0.0
    grown: int = 0
    others: float | None = None


@contextlib.contextmanager
def costs(operations: int) -> Iterator[Cost]:
    """Measure what the body costs."""
    gc.collect()
    cost = Cost(operations)
    resident, before = resident_bytes(), machine.Sample.now(None)
    yield cost
    spent = machine.Sample.now(None) - before
    gc.collect()
    cost.cpu, cost.others = spent.own_cpu, spent.own_core_others
    cost.grown = resident_bytes() - resident


def resident_bytes() -> int:
    """Tell how much memory this process has (RSS)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check(what: str, got: object, wanted: object) -> None:
    """Raise `WrongResult` unless both are the same."""
    if got != wanted:
        raise WrongResult(f"{what}: {got!r} instead of {wanted!r}")
