"""Any bytes as WebSocket frames: `FrameCodec.feed`, in both roles, with and without compression.

Input: a byte of settings, then a stream and its cuts (see `fuzz_input.pieces_of`). Settings: 1 the
role of a client; 2 permessage-deflate; 4 without context takeover; 8 all through wsproto; 16 small
limits.
"""

from core.frame_helpers import (
    BINARY,
    CLOSE,
    FAILED,
    PING,
    PONG,
    TEXT,
    Event,
    Reference,
    codes_only,
    feed_all,
    negotiated,
)
from fuzz_input import pieces_of, taken

from wsrelay_core._frame import FrameCodec

__all__ = ["target"]

CLIENT, DEFLATE, NO_CONTEXT, BY_WSPROTO, SMALL = 1, 2, 4, 8, 16
MESSAGE_MAX, FRAGMENTS_MAX = 48, 3
TOO_BIG = (FAILED, 1009)
INVALID_DATA = (FAILED, 1007)
ERRORS = {1002, 1007, 1009}
TYPES = {TEXT: str, BINARY: bytes, PING: bytes, PONG: bytes, CLOSE: tuple, FAILED: tuple}
MORE = b"\x81\x00" * 3


def target(data: bytes) -> None:
    """Read a stream in four cuts, compare it with wsproto, and with small limits."""
    (settings,), rest = taken(data, 1)
    stream, pieces = pieces_of(rest)
    bytewise = [stream[at : at + 1] for at in range(len(stream))]
    readings = [
        read(settings, [stream]),
        read(settings, bytewise),
        read(settings, pieces),
        read(settings, pieces, stop_after=1),
    ]
    for reading in readings[1:]:
        assert reading == readings[0] or (
            settings & SMALL and settings & DEFLATE and differ_in_a_slice(reading, readings[0])
        ), (readings[0], reading)
    unbounded = readings[0]
    if settings & SMALL:
        unbounded = read(settings & ~SMALL, [stream])
        check_small_limits(readings[0], unbounded)
    check_against_wsproto(settings, stream, unbounded)


def differ_in_a_slice(one: list[Event], other: list[Event]) -> bool:
    """What is unpacked at once is too big, and broken behind that: the cut decides what is told."""
    ends = {INVALID_DATA, TOO_BIG}
    return one[:-1] == other[:-1] and {*one[-1:], *other[-1:]} <= ends


def codec_of(settings: int) -> FrameCodec:
    small = settings & SMALL
    return FrameCodec(
        client=bool(settings & CLIENT),
        max_message=MESSAGE_MAX if small else 0,
        max_fragments=FRAGMENTS_MAX if small else 0,
        deflate=negotiated(bool(settings & NO_CONTEXT)) if settings & DEFLATE else None,
        native=not settings & BY_WSPROTO,
    )


def read(settings: int, pieces: list[bytes], stop_after: int | None = None) -> list[Event]:
    """All events, checked one by one; errors by their code."""
    codec = codec_of(settings)
    events = feed_all(codec, pieces, stop_after)
    for kind, subject in events:
        assert type(subject) is TYPES[kind], (kind, subject)
        assert kind not in (PING, PONG) or len(subject) <= 125
        assert not settings & SMALL or kind not in (TEXT, BINARY) or size(subject) <= MESSAGE_MAX
    check_end(codec, events)
    return list(codes_only(events))


def size(message: object) -> int:
    return len(message.encode() if isinstance(message, str) else message)  # type: ignore[arg-type]


def check_end(codec: FrameCodec, events: list[Event]) -> None:
    """After an error there is only that error, after a close nothing; no memory is kept."""
    ends = [event for event in events if event[0] in (FAILED, CLOSE)]
    assert ends in ([], events[-1:]), events
    if not ends:
        return
    failed = ends[0][0] == FAILED
    assert not failed or (codec.error_code, codec.error_reason) == ends[0][1]
    assert not failed or codec.error_code in ERRORS
    for more in (b"", MORE):
        assert codec.feed(more) == (ends if failed else [])
    assert (codec.pinned, codec.in_message) == (0, False)


def check_against_wsproto(settings: int, stream: bytes, events: list[Event]) -> None:
    """The same events as wsproto's, as far as none of its known faults is met."""
    deflate = negotiated(bool(settings & NO_CONTEXT)) if settings & DEFLATE else None
    reference = Reference(bool(settings & CLIENT), deflate).read(stream)
    if not reference.comparable:
        events = events[: len(reference.events)]
    assert events == reference.events, (events, reference.events)


def check_small_limits(small: list[Event], unbounded: list[Event]) -> None:
    """A limit ends the stream with 1009, and changes nothing before that."""
    if small and small[-1] == TOO_BIG:
        assert small[:-1] == unbounded[: len(small) - 1], (small, unbounded)
    else:
        assert small == unbounded, (small, unbounded)
