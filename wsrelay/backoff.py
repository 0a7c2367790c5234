"""Delays between attempts that fail: exponential, capped, and spread at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsrelay.config import Restart

__all__ = ["Backoff"]


class Backoff:
    """The delays of one service.

    Args:
        restart: their rule.
        uniform: returns a random number between two others.

    Attributes:
        attempts: delays given since the last reset.
    """

    def __init__(
        self, restart: Restart, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self.attempts = 0
        self._restart = restart
        self._uniform = uniform
        self._base = restart.initial_delay

    @property
    def exhausted(self) -> bool:
        """Whether there is no attempt left."""
        return 0 < self._restart.max_attempts <= self.attempts

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt, which is counted.

        The delay is multiplied by `backoff_factor` each time, up to `max_delay`; by up to
        `jitter`, as a part of itself, it is longer or shorter, and never longer than `max_delay`.
        """
        rule, base = self._restart, self._base
        self.attempts += 1
        # Not a power of the factor, which would leave the range of floats in an endless row.
        self._base = min(base * rule.backoff_factor, rule.max_delay)
        spread = base * rule.jitter
        return self._uniform(base - spread, min(base + spread, rule.max_delay))

    def reset(self) -> None:
        """Count anew."""
        self.attempts = 0
        self._base = self._restart.initial_delay
