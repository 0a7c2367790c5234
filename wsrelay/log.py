"""Logging: what may be written of what strangers send, and how often."""

import logging
import time
from collections.abc import Callable

__all__ = ["Limited", "describe", "escape"]

_SHOWN = 200  # characters of foreign text in one line


def escape(text: str | bytes) -> str:
    """Foreign text for a log line: control characters escaped, cut at 200 characters."""
    if isinstance(text, bytes):
        text = text[: 4 * _SHOWN].decode("utf-8", "backslashreplace")
    shown = text[:_SHOWN].encode("unicode_escape").decode("ascii")
    return shown[:_SHOWN] + "…" if len(shown) > _SHOWN or len(text) > _SHOWN else shown


def describe(error: BaseException) -> str:
    """An exception in one line, even one whose own text fails."""
    try:
        text = str(error)
    except Exception:
        text = "(its text can't be shown)"
    return escape(f"{type(error).__name__}: {text}")


class Limited:
    """Lets a few lines a second through, and says later how many it kept back.

    Args:
        most: lines in each period.
        period: seconds.
        clock: returns seconds.
    """

    def __init__(
        self, most: int = 5, period: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.period = period
        self._clock = clock
        self._start = clock() - period
        self._written = 0
        self._kept_back = 0

    def warning(self, logger: logging.Logger, message: str, *args: object) -> None:
        """Write a warning, unless there were too many of them just now."""
        now = self._clock()
        if now - self._start >= self.period:
            if self._kept_back:
                logger.warning("%d more lines like the last were left out", self._kept_back)
            self._start, self._written, self._kept_back = now, 0, 0
        if self._written < self.most:
            self._written += 1
            logger.warning(message, *args)
        else:
            self._kept_back += 1
