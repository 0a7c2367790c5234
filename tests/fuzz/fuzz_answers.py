"""What became of one HTTP connection, and its answers taken apart."""

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Reading", "statuses_of"]

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\x20-\x7e]*")
_FIELD = re.compile(rb"([A-Za-z-]+): ([\x20-\x7e]*)")


@dataclass
class Reading:
    """How a server read a stream.

    Attributes:
        requests: method, target and body of each; the body None where it was not read, the status
            of the error where it could not be.
        messages: of the WebSocket that it became.
        sent: all that the client got.
        upgraded: whether it became a WebSocket.
    """

    requests: list[list[Any]] = field(default_factory=list)
    messages: list[str | bytes] = field(default_factory=list)
    sent: bytes = b""
    upgraded: bool = False

    def same_as(self, other: "Reading") -> bool:
        """Whether the stream had the same meaning."""
        return self._meaning() == other._meaning()

    def _meaning(self) -> tuple[Any, ...]:
        statuses: list[Any] = statuses_of(self)
        if len(statuses) > len(self.requests):
            # Of several things that are wrong with a head, the cut decides which is seen first.
            statuses[-1] = "refused"
        return self.requests, self.messages, self.upgraded, statuses


def statuses_of(reading: Reading) -> list[int]:
    """The statuses of the answers, without `100 Continue`; fails on bytes that are none."""
    statuses: list[int] = []
    rest = reading.sent
    while rest and 101 not in statuses:
        status, fields, rest = _head(rest)
        if status == 100:
            continue
        number = len(statuses)
        statuses.append(status)
        asked = reading.requests[number][0] if number < len(reading.requests) else None
        if asked != "HEAD" and status not in (101, 204, 304):
            rest = _behind_body(fields, rest)
    served = len(reading.requests)
    assert len(statuses) <= served + 1, (statuses, reading.requests)
    assert len(statuses) <= served or statuses[-1] >= 400
    assert reading.upgraded == (101 in statuses)
    return statuses


def _head(data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, data
    line, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(line)
    assert match, line
    fields = {}
    for each in lines:
        found = _FIELD.fullmatch(each)
        assert found, each
        fields[found[1].lower()] = found[2]
    return int(match[1]), fields, rest


def _behind_body(fields: dict[bytes, bytes], rest: bytes) -> bytes:
    length = fields.get(b"content-length")
    if length is not None:
        assert len(rest) >= int(length) and b"transfer-encoding" not in fields
        return rest[int(length) :]
    if fields.get(b"transfer-encoding") != b"chunked":
        return b""  # up to the end of the connection, for HTTP/1.0
    size = -1
    while size and rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        rest = rest[size + 2 :]
    return rest
