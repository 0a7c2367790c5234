"""Logging: what may be written of what strangers send, and how often."""

import codecs
import logging
import time
import traceback
from collections.abc import Callable

__all__ = ["Limited", "describe", "escape", "indented", "logger_of", "printable"]

# Python would load it when it is first used, which fails while there is no descriptor left.
codecs.lookup("unicode_escape")

LOGGED_CHARACTERS = 200
TRACEBACK_LINES = 200
TRACEBACK_CHARACTERS = 500  # of a line, which may be one of source code


def logger_of(name: str) -> logging.Logger:
    """The logger of code that logs errors of handlers and processes.

    Their texts often repeat what a client sent, so the lines of its tracebacks are indented (what
    follows a line end in a text can't pass for a line of the log), cut, and without control
    characters. It is done here and not in a formatter, so that it holds for each handler.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_escape_traceback)
    return logger


def _escape_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = indented("".join(traceback.format_exception(record.exc_info[1])))
    return True


def indented(text: str) -> str:
    """A traceback, fit for the log as `logger_of` says."""
    lines = text.rstrip("\n").split("\n")
    if len(lines) > TRACEBACK_LINES:
        half = TRACEBACK_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} more lines ...", *lines[-half:]]
    return "\n".join("  " + printable(_cut(line)) for line in lines)


def _cut(line: str) -> str:
    return line if len(line) <= TRACEBACK_CHARACTERS else line[:TRACEBACK_CHARACTERS] + "..."


def escape(text: str | bytes, limit: int = LOGGED_CHARACTERS) -> str:
    """Make text from outside fit for one log line.

    Args:
        text: what a stranger sent; bytes are read as UTF-8, or as Latin-1 if they are none.
        limit: characters kept, counted after escaping; what was cut shows as `...`.

    Returns:
        Printable ASCII: all else, and the backslash, is escaped as in a Python literal.
    """
    head = text[: limit + 1]
    escaped = (_decoded(head) if isinstance(head, bytes) else head).encode("unicode_escape")
    return escaped.decode("ascii") if len(escaped) <= limit else escaped[:limit].decode() + "..."


def printable(line: str) -> str:
    """The line with all that people can't read in it escaped: controls, line ends, bidi marks."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() or one == "\t" else escape(one) for one in line)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def describe(error: BaseException) -> str:
    """An exception in one line, even one whose own text fails."""
    try:
        text = str(error)
    except BaseException:  # as the traceback module does: what a text raises is nobody's order
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
