"""Options of a process, and what they may be."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["check_options"]


def _checked_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False")
    return value


def _checked_count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of messages, 0 for no bound")
    if not 0 <= value <= _MOST_MESSAGES:
        raise ValueError(f"{name} is a number of messages, 0 for no bound")
    return value


_MOST_MESSAGES = 2**62
_OPTIONS: dict[str, Callable[[str, object], Any]] = {
    "mailbox_max": _checked_count,
    "trap_links": _checked_flag,
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for an unknown option or a bad value; the message names it."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise TypeError(f"unknown option {name!r}: options are {', '.join(_OPTIONS)}")
        _OPTIONS[name](name, value)
