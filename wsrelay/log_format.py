"""Formatters for the log of `wsrelay run`, and for a logging configuration of one's own.

Both keep a record from passing for several, or from steering a terminal: what can't be printed is
escaped, also in the text of exceptions, which may quote what a client sent.
"""

import logging
import re
import sys
import time
from typing import Any

import orjson

from wsrelay.log import describe, printable

__all__ = ["FORMATS", "JSONFormatter", "TextFormatter", "configure"]

# What every record has; all else came as `extra`.
_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "asctime", "message", "taskName"))
_INDENT = "\n    "
_BEYOND_ASCII = re.compile(r"[^\x20-\x7e]")


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO    wsrelay.app: listening on …`, for people.

    Further lines of a message, and those of a traceback, are indented: a line that begins with a
    time is always a record.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, without the line end."""
        return _INDENT.join(map(printable, super().format(record).split("\n")))


class JSONFormatter(logging.Formatter):
    """One JSON object in one line of ASCII, for machines.

    `time` (ISO 8601, UTC), `level`, `logger`, `message`; then the fields that were given as
    `extra`, under their own names (`extra_` is put in front of one that would hide another); then
    `exception` and `stack`, the texts of a traceback and of a stack, where there are any.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, without the line end."""
        fields: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        taken = {*fields, "exception", "stack"}
        for key, value in vars(record).items():
            if key not in _STANDARD:
                fields[f"extra_{key}" if key in taken else key] = value
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        return _json(fields)


FORMATS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JSONFormatter}


def configure(level: str = "info", format: str = "text", access: bool = True) -> None:
    """Send the log to stderr; what `wsrelay run` does.

    Where the root logger has handlers already, level and format are left as they are: an app whose
    modules set up logging knows better.

    Args:
        level: least level of a line, in any case: `debug`, `info`, `warning` or `error`.
        format: `text` or `json`.
        access: whether requests are logged (`wsrelay.access`, level info).

    Raises:
        ValueError: no such level.
        KeyError: no such format.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[format]())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("wsrelay.access").disabled = not access


def _utc(moment: float) -> str:
    seconds, milliseconds = divmod(int(moment * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def _json(fields: dict[str, Any]) -> str:
    try:
        data = _dumps(fields)
    except (TypeError, RecursionError):
        data = _dumps({_unicode(name): _dumpable(value) for name, value in fields.items()})
    # In JSON, what is not ASCII stands inside of texts only, where `\uXXXX` means the same.
    return _BEYOND_ASCII.sub(_escaped, data.decode())


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, default=_text_of, option=orjson.OPT_NON_STR_KEYS)


def _dumpable(value: object) -> object:
    """The value; its text for half of a surrogate pair, a number of 65 bits, or a circle."""
    try:
        _dumps(value)
    except (TypeError, RecursionError):
        return _unicode(_text_of(value))
    return value


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _text_of(value: object) -> str:
    """What stands for a value that JSON has no form for."""
    try:
        return str(value)
    except Exception as error:
        return f"({type(value).__name__}, whose text can't be shown: {describe(error)})"


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
