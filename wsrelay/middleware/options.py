"""Options of middleware: texts with dotted names, read by each middleware's own table."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wsrelay._text import did_you_mean, quoted
from wsrelay.config import parse_duration, parse_size
from wsrelay.http.headers import is_token

__all__ = [
    "Option",
    "OptionError",
    "choice",
    "count",
    "duration",
    "flag",
    "names",
    "read_options",
    "size",
    "tokens",
    "with_keywords",
]

SHORTEST = 0.001  # seconds; a clock that fires without end would stop the loop


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a middleware.

    Attributes:
        name: in full, with its dots.
        read: turns its text into its value; a ValueError says what is wrong and how to mend it.
        default: its value when it is absent.
        about: what it does, one or two sentences for the documentation.
    """

    name: str
    read: Callable[[str], Any]
    default: Any
    about: str = ""


class OptionError(ValueError):
    """What is wrong with the options of one middleware.

    Attributes:
        problems: pairs of the option's key and what is wrong with it.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


def read_options(
    table: Iterable[Option], given: Mapping[str, str], prefixes: tuple[str, ...]
) -> dict[str, Any]:
    """Values of all options of one middleware.

    Args:
        table: the options that it knows.
        given: all options of the router; keys of other middleware are passed over.
        prefixes: what this middleware's keys begin with, such as `wsrelay.`.

    Raises:
        OptionError: unknown keys under the prefixes, and values that can't be read, all of them.
    """
    known = {option.name: option for option in table}
    values = {option.name: option.default for option in known.values()}
    problems = []
    for key, text in given.items():
        option = known.get(key)
        if option is None:
            if key.startswith(prefixes):
                hint = did_you_mean(key, known)
                problems.append((key, f"unknown option {quoted(key)}{hint}"))
            continue
        try:
            values[key] = option.read(str(text).strip())
        except ValueError as error:
            problems.append((key, f"{key}: {error}"))
    if problems:
        raise OptionError(problems)
    return values


def with_keywords(
    options: Mapping[str, str] | None, keywords: Mapping[str, object]
) -> dict[str, str]:
    """Options as texts, with those among them that Python code gives as keyword arguments.

    Args:
        options: texts by dotted name.
        keywords: values by dotted name; None is absent, all else wins over the text. A list is
            joined by commas, `True` is `true`.
    """
    given = {name: _as_text(value) for name, value in keywords.items() if value is not None}
    return {**(options or {}), **given}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)


def duration(text: str) -> float:
    """Seconds of a Go duration that is not negative; `0` is off, less than 1 ms is 1 ms."""
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError("a duration can't be negative")
    return max(seconds, SHORTEST) if seconds else 0.0


def size(text: str) -> int:
    """Bytes, more than none."""
    value = parse_size(text)
    if value == 0:
        raise ValueError("a size of 0 would let nothing through")
    return value


def count(text: str) -> int:
    """A whole number from 0; 0 is off."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{quoted(text)} is no whole number")
    return int(text)


def flag(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError(f"{quoted(text)} is neither true nor false")
    return text == "true"


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list; blanks around its parts do not count."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def tokens(text: str) -> tuple[str, ...]:
    """A comma-separated list of different tokens (RFC 9110 5.6.2), in their order."""
    found = names(text)
    for at, name in enumerate(found):
        if not is_token(name.encode()):
            raise ValueError(f"{quoted(name)} is no token: letters, digits and -_.")
        if name in found[:at]:
            raise ValueError(f"{quoted(name)} is there twice")
    return found


def choice(*choices: str) -> Callable[[str], str]:
    """A reader for one of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            hint = did_you_mean(text, choices) or f"; write {', '.join(choices)}"
            raise ValueError(f"{quoted(text)} is unknown{hint}")
        return text

    return read
