"""Conditional and range requests (RFC 9110 13 and 14), as functions of header fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from .headers import Headers

__all__ = [
    "RangeNotSatisfiable",
    "Validators",
    "failed_precondition",
    "range_applies",
    "requested_range",
]

_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*+")')
_TAGS = re.compile(rb'(?:[ \t,]*+(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"[ \t]*+(?:,|\Z))*+[ \t,]*+')
_RANGE = re.compile(rb"bytes=[ \t,]*+([0-9]*+)-([0-9]*+)[ \t,]*+", re.IGNORECASE)
_DATE_CHARACTERS = 40  # the longest form has 33
# More digits than any size has: what they say is "beyond the end".
_SIZE_DIGITS = 18


class RangeNotSatisfiable(Exception):
    """The range begins behind the end: 416 (RFC 9110 15.5.17)."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a file from another.

    Attributes:
        tag: the opaque part of the entity tag, with its quotes.
        modified: seconds since 1970 of the last change, whole; None: it can't be told.
        strong: whether two states that have the same validators are the same bytes. A weak one
            serves for `If-None-Match` and `If-Modified-Since` only.
    """

    tag: bytes
    modified: int | None
    strong: bool

    @property
    def etag(self) -> bytes:
        """The value of `ETag`."""
        return self.tag if self.strong else b"W/" + self.tag


def failed_precondition(headers: Headers, current: Validators) -> int | None:
    """Evaluate the preconditions of a GET or HEAD for a file that exists (RFC 9110 13.2.2).

    Returns:
        412, 304, or None where the request goes on.
    """
    if match := headers.values_of(b"if-match"):
        if not _tag_in(match, current, strong=True):
            return 412
    elif (since := _date_of(headers.values_of(b"if-unmodified-since"))) is not None and (
        current.modified is not None and current.modified > since
    ):
        return 412
    if none_match := headers.values_of(b"if-none-match"):
        return 304 if _tag_in(none_match, current, strong=False) else None
    since = _date_of(headers.values_of(b"if-modified-since"))
    if since is not None and current.modified is not None and current.modified <= since:
        return 304
    return None


def range_applies(headers: Headers, current: Validators) -> bool:
    """Whether a part may be sent in the light of `If-Range` (RFC 9110 13.1.5)."""
    values = headers.values_of(b"if-range")
    if not values:
        return True
    if len(values) > 1 or not current.strong:
        return False
    if values[0].startswith((b'"', b"W/")):
        return values[0] == current.tag
    return current.modified is not None and _date_of(values) == current.modified


def requested_range(values: Sequence[bytes], size: int) -> tuple[int, int] | None:
    """The part that a `Range` asks for.

    One range is served as it is. A request for several gets the whole, as does one that is
    malformed or in another unit (RFC 9110 14.2 allows it): a multipart answer helps no player and
    no download manager, and many small ranges would cost more than the whole.

    Args:
        values: all of the request's `Range`.
        size: bytes of the file.

    Returns:
        First byte and the one behind the last; None: all of it.

    Raises:
        RangeNotSatisfiable: it begins behind the end.
    """
    match = _RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return _suffix(_number(match[2]), size)
    first = _number(match[1])
    if match[2] and _number(match[2]) < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable
    return first, min(_number(match[2]) + 1, size) if match[2] else size


def _suffix(length: int, size: int) -> tuple[int, int] | None:
    if length == 0:
        raise RangeNotSatisfiable
    # Of an empty file there is no part that Content-Range could name.
    return (max(0, size - length), size) if size else None


def _number(digits: bytes) -> int:
    return int(digits) if len(digits) <= _SIZE_DIGITS else 10**_SIZE_DIGITS


def _tag_in(values: Sequence[bytes], current: Validators, *, strong: bool) -> bool:
    """Whether a list of entity tags has the current one (RFC 9110 8.8.3.2), or is `*`."""
    text = b", ".join(values)
    if text == b"*":
        return True
    if (strong and not current.strong) or _TAGS.fullmatch(text) is None:
        return False
    return any(tag == current.tag and not (strong and weak) for weak, tag in _TAG.findall(text))


def _date_of(values: Sequence[bytes]) -> int | None:
    """Seconds since 1970 of an HTTP date (RFC 9110 5.6.7); None where it is no single date."""
    if len(values) != 1 or len(values[0]) > _DATE_CHARACTERS:
        return None
    try:
        moment = parsedate_to_datetime(values[0].decode("ascii"))
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
