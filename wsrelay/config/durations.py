"""Durations and sizes, read and written.

Durations have Go's syntax (https://pkg.go.dev/time#ParseDuration): `300ms`, `1m30s`, `1.5h`.
Sizes are whole numbers with `KiB`, `MiB`, `GiB`, `TiB` (1024) or `KB`, `MB`, `GB`, `TB` (1000).

Which number means what depends on the caller, so there is one function for each rule:
`parse_duration` (text only), `seconds` (process API), `duration_ms` (relay header).
"""

import math
import re

from wsrelay._text import did_you_mean, listed, quoted

__all__ = [
    "DURATION",
    "SIZE",
    "duration_ms",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
    "seconds",
]

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign, which Go prints
    "μs": 10**3,  # U+03BC, the Greek letter, which Go reads as well
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_UNITS = "ns, us, ms, s, m, h"
_BYTES = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
}
_BYTES_UNITS = [unit for unit in _BYTES if unit]

# Go keeps a duration in 64 bits of nanoseconds; what it can't hold is refused here too.
_LONGEST = 2**63 - 1
_MOST_DIGITS = 19

_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_SIZE = re.compile(r"([0-9]+)(.*)", re.DOTALL)

# What JSON Schema can say of both. A plain 0 is a duration, and needs no quotes.
DURATION = {
    "type": ["string", "integer"],
    "pattern": rf"^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_NANOSECONDS)}))+)$",
    "minimum": 0,
    "maximum": 0,
    "examples": ["30s", "1m30s", "500ms"],
}
SIZE = {
    "type": ["string", "integer"],
    "pattern": f"^[0-9]+({'|'.join(_BYTES)})$",
    "minimum": 0,
    "examples": ["16KiB", "1MiB"],
}


def parse_duration(text: str) -> float:
    """Seconds of a Go duration.

    Args:
        text: For example `300ms`, `30s`, `1m30s`, `2h`, `1.5h`, `-5s`; also `us`, `µs`, `ns`,
            and `0` without a unit.

    Raises:
        ValueError: not a duration, a number without a unit, or more than 292 years.
    """
    return _nanoseconds(text) / 1e9


def duration_ms(value: object) -> float:
    """Milliseconds of a duration in a relay header: a Go duration or a number of milliseconds.

    Raises:
        TypeError: neither a text nor a number; `True` and `False` are no numbers.
        ValueError: unreadable, negative, not finite, or more than 292 years.
    """
    if isinstance(value, str):
        return _not_negative(_nanoseconds(value) / 1e6, value)
    return _number(value, scale=1e3)


def seconds(value: object) -> float:
    """Seconds of a duration in the process API: a number of seconds or a Go duration.

    Raises:
        TypeError: neither a text nor a number; `True` and `False` are no numbers.
        ValueError: unreadable, negative, not finite, or more than 292 years.
    """
    if isinstance(value, str):
        return _not_negative(parse_duration(value), value)
    return _number(value, scale=1.0)


def format_duration(seconds: float) -> str:
    """A duration as Go prints it: `1m30s`, `1.5s`, `300ms`, `2h0m0s`, `0s`.

    Args:
        seconds: Any finite number; it is rounded to whole nanoseconds.

    Raises:
        ValueError: not a finite number.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is not a duration")
    # Split first: multiplied as a whole, a number of weeks would lose its nanoseconds.
    fraction, whole = math.modf(abs(seconds))
    nanoseconds = int(whole) * 10**9 + round(fraction * 1e9)
    sign = "-" if seconds < 0 and nanoseconds else ""
    return sign + (_below_second(nanoseconds) if nanoseconds < 10**9 else _clock(nanoseconds))


def parse_size(value: str | int) -> int:
    """Bytes of a size.

    Args:
        value: `16KiB`, `1MiB`, `1KB` (1000 bytes), a plain number of bytes as text or `int`.

    Raises:
        TypeError: neither a text nor an `int`; `True` and `False` are no numbers.
        ValueError: not a size, negative, or beyond 8 EiB.
    """
    if isinstance(value, str):
        return _size_of_text(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a size is a text or a whole number, not {type(value).__name__}")
    if value < 0:
        raise ValueError("a size can't be negative")
    return _bounded_size(value)


def format_size(size: int) -> str | int:
    """A size as people write it: `16KiB`, `1MiB`; other numbers of bytes as they are."""
    for power, letter in reversed(list(enumerate("KMGT", start=1))):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{letter}iB"
    return size


def _nanoseconds(text: str) -> int:
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0
    total = _sum_of_parts(body, text)
    if total > _LONGEST:
        raise ValueError(f"{quoted(text)} is too long for a duration; the most is 292 years")
    return -total if text[0] == "-" else total


def _sum_of_parts(body: str, text: str) -> int:
    if not body:
        raise _no_duration(text)
    # The pattern also matches the empty text at the end, which is no part.
    return sum(_part(match, text) for match in _PART.finditer(body) if match.group())


def _part(match: re.Match[str], text: str) -> int:
    whole, fraction, unit = match.groups()
    if not whole and not fraction:
        raise _no_duration(text)
    if not unit:
        raise _no_unit(text, last=match.end() == len(match.string))
    scale = _NANOSECONDS.get(unit)
    if scale is None:
        raise ValueError(
            f"{quoted(text)} has the unknown unit {quoted(unit)}; the units are {_UNITS}"
        )
    return _scaled(whole, fraction or "", scale)


def _scaled(whole: str, fraction: str, scale: int) -> int:
    digits = whole.lstrip("0")
    if len(digits) > _MOST_DIGITS:
        return _LONGEST + 1
    # Digits beyond the nineteenth are less than a nanosecond even of hours.
    kept = fraction[:_MOST_DIGITS]
    below: int = int(kept or "0") * scale // 10 ** len(kept)
    return int(digits or "0") * scale + below


def _no_duration(text: str) -> ValueError:
    return ValueError(f'{quoted(text)} is not a duration; write one such as "30s"')


def _no_unit(text: str, last: bool) -> ValueError:
    if not last or len(text) > _MOST_DIGITS:
        return _no_duration(text)
    return ValueError(f"{quoted(text)} has no unit; write {quoted(text + 's')} for seconds")


def _not_negative(number: float, shown: object) -> float:
    if number < 0:
        raise ValueError(f"{quoted(str(shown))} is negative")
    return number


def _number(value: object, scale: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a duration is a text or a number, not {type(value).__name__}")
    if value != value:
        raise ValueError("not a number (NaN) is not a duration")
    if value < 0:
        raise ValueError("a duration can't be negative")
    if value > _LONGEST / 1e9 * scale:
        raise ValueError("the duration is too long; the most is 292 years")
    return float(value)


def _below_second(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 10**3:
        return f"{nanoseconds}ns"
    unit = "µs" if nanoseconds < 10**6 else "ms"
    return _decimal(nanoseconds, _NANOSECONDS[unit]) + unit


def _clock(nanoseconds: int) -> str:
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    text = _decimal(rest, 10**9) + "s"
    if minutes == 0:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def _decimal(number: int, scale: int) -> str:
    whole, rest = divmod(number, scale)
    if rest == 0:
        return str(whole)
    fraction = str(rest).rjust(len(str(scale)) - 1, "0").rstrip("0")
    return f"{whole}.{fraction}"


def _size_of_text(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'{quoted(text)} is not a size; write one such as "16KiB" or "1MiB"')
    digits, unit = match.group(1).lstrip("0"), match.group(2)
    if unit not in _BYTES:
        raise ValueError(_unknown_size_unit(text, unit))
    if len(digits) > _MOST_DIGITS:
        return _bounded_size(_LONGEST + 1)
    return _bounded_size(int(digits or "0") * _BYTES[unit])


def _unknown_size_unit(text: str, unit: str) -> str:
    if unit.startswith("."):
        return f'{quoted(text)} is not a whole number; write a smaller unit, such as "1536KiB"'
    hint = did_you_mean(unit, _BYTES_UNITS) or f"; the units are {listed(_BYTES_UNITS)}"
    return f"{quoted(text)} has the unknown unit {quoted(unit)}{hint}"


def _bounded_size(size: int) -> int:
    if size > _LONGEST:
        raise ValueError("the size is too large; the most is 8 EiB")
    return size
