"""h11 as a second reader of a stream of requests: both must see the same ones."""

import re
from typing import Any

import h11
from fuzz_answers import Reading

__all__ = ["check_against_h11"]

_ABSOLUTE = re.compile(rb"https?://[^/?]*(.*)", re.IGNORECASE | re.DOTALL)


def check_against_h11(readings: list[Reading], stream: bytes) -> None:
    """As far as h11 reads a stream, its requests are those that the server saw.

    The server refuses more than h11, and ends a connection sooner; it never sees another request.
    """
    theirs, complete = requests_of(stream)
    for reading in readings:
        for ours, their in zip(reading.requests, theirs, strict=False):
            assert ours[:2] == [their[0], reduced(their[1])], (ours, their)
            assert not isinstance(ours[2], bytes) or ours[2] == their[2], (ours, their)
        if complete:
            assert len(reading.requests) <= len(theirs), (reading.requests, theirs)


def reduced(target: bytes) -> bytes:
    """Path and query of a target in absolute form (RFC 9112 3.2.2); others as they are."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return target
    return match[1] if match[1].startswith(b"/") else b"/" + match[1]


def requests_of(stream: bytes) -> tuple[list[list[Any]], bool]:
    """Method, target and body of each request, and whether h11 had no objection to the stream."""
    connection = h11.Connection(h11.SERVER)
    requests: list[list[Any]] = []
    try:
        connection.receive_data(stream)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                requests.append([event.method.decode(), event.target, b""])
            elif isinstance(event, h11.Data):
                requests[-1][2] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if not _next_one(connection):
                    return requests, False
            else:
                return requests, event is h11.NEED_DATA
    except h11.RemoteProtocolError:
        return requests, False


def _next_one(connection: h11.Connection) -> bool:
    """Answer, and begin to read the next request; False where none can follow."""
    if connection.their_state is not h11.DONE:
        return False
    connection.send(h11.Response(status_code=204, headers=[]))
    connection.send(h11.EndOfMessage())
    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True
