"""What a peer can make FrameCodec hold: bounded, and told to the caller."""

import functools
import os
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from frame_helpers import READINGS, cut, negotiated, read
from raw_frames import BINARY, CLOSE, CONT, FAILED, FIN, KEY, PING, RSV1, TEXT, deflated, raw

from wsrelay_core._frame import FrameCodec

KIB = 1024
MIB = 1024 * KIB
SLACK = 96 * KIB  # zlib's window and buffers, wsproto's slices


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes"


@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("length", [101, 65536, 1 << 32, 1 << 62, (1 << 63) - 1])
def test_a_message_is_too_big_by_its_header(how: str, native: bool, length: int) -> None:
    codec = FrameCodec(max_message=100, native=native)
    header = raw(FIN | TEXT, announce=length)
    with peak_below(SLACK):
        assert read(codec, header, how) == [(FAILED, (1009, "message too big"))]
    assert codec.feed(b"x" * 200) == [(FAILED, (1009, "message too big"))]


@pytest.mark.parametrize("native", [True, False])
def test_the_limit_itself_is_allowed(native: bool) -> None:
    codec = FrameCodec(max_message=126, native=native)
    fragments = raw(BINARY, b"x" * 100) + raw(FIN | CONT, b"y" * 26)
    assert codec.feed(raw(FIN | TEXT, b"x" * 126)) == [(TEXT, "x" * 126)]
    assert codec.feed(fragments) == [(BINARY, b"x" * 100 + b"y" * 26)]


@pytest.mark.parametrize("how", READINGS)
def test_fragments_are_too_big_by_their_headers(how: str) -> None:
    stream = raw(BINARY, b"x" * 100) + raw(CONT, b"") + raw(FIN | CONT, announce=27)
    codec = FrameCodec(max_message=126)
    assert read(codec, stream, how) == [(FAILED, (1009, "message too big"))]


@pytest.mark.parametrize("length", [1 << 32, 1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_no_memory_for_what_is_only_announced(length: int, native: bool, opcode: int) -> None:
    codec = FrameCodec(native=native)
    with peak_below(SLACK):
        assert codec.feed(raw(FIN | opcode, b"x" * 1000, announce=length)) == []
        assert codec.in_message and 1000 <= codec.pinned <= 2048
    del codec


@pytest.mark.parametrize("fragment", [b"", b"x"])
@pytest.mark.parametrize("limits", [{"max_message": 64 * KIB}, {"max_fragments": 2048}])
def test_fragments_are_counted(fragment: bytes, limits: dict[str, int]) -> None:
    codec = FrameCodec(**limits)
    allowed = 2048  # 1024, and 64 KiB / 64
    events = codec.feed(raw(BINARY, fragment) + raw(CONT, fragment) * (allowed - 1))
    assert events == []
    assert 64 * allowed <= codec.pinned <= 66 * allowed
    assert codec.feed(raw(CONT, fragment)) == [(FAILED, (1009, "too many fragments"))]
    assert codec.pinned == 0


def test_fragments_are_counted_for_each_message() -> None:
    codec = FrameCodec(max_fragments=3)
    message = raw(BINARY, b"a") + raw(CONT, b"b") + raw(FIN | CONT, b"c")
    single = raw(FIN | BINARY, b"d")
    assert len(codec.feed((message + single) * 5)) == 10


@functools.cache
def bomb_after(context: bytes) -> tuple[bytes, bytes]:
    """Deflate a message, and a bomb in its context."""
    compressor = zlib.compressobj(wbits=-15)
    return deflated(context, compressor), deflated(bytes(64 * MIB), compressor)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fragments", [1, 7])
@pytest.mark.parametrize("context", [b"", b"before"])
def test_compression_bomb(opcode: int, fragments: int, context: bytes) -> None:
    before, packed = bomb_after(context)
    start = raw(FIN | BINARY | RSV1, before)
    assert len(packed) < 70 * KIB
    pieces = cut(packed, range(0, len(packed), len(packed) // fragments + 1))
    stream = b"".join(
        raw((CONT if i else opcode | RSV1) | (FIN if i == len(pieces) - 1 else 0), piece)
        for i, piece in enumerate(pieces)
    )
    codec = FrameCodec(max_message=MIB, deflate=negotiated())
    codec.feed(start)
    with peak_below(2 * MIB):
        assert codec.feed(stream) == [(FAILED, (1009, "message too big"))]


@pytest.mark.parametrize("where", ["start", "end"])
def test_compression_bomb_of_wide_text(where: str) -> None:
    """One wide character makes a str of four bytes for each other character of its slice."""
    text = bytes(900 * KIB)
    bomb = (b"a" * 2000 + "😀".encode()) * 9000
    packed = deflated(bomb if where == "start" else text + bomb)
    codec = FrameCodec(max_message=MIB, deflate=negotiated())
    with peak_below(2 * MIB):
        assert codec.feed(raw(FIN | TEXT | RSV1, packed)) == [(FAILED, (1009, "message too big"))]


@pytest.mark.parametrize("limit", [1, 1000, 20 * KIB, 300 * KIB])
def test_compression_bomb_against_a_small_limit(limit: int) -> None:
    stream = raw(FIN | BINARY | RSV1, deflated(bytes(limit + 1)))
    allowed = raw(FIN | BINARY | RSV1, deflated(bytes(limit)))
    codec = FrameCodec(max_message=limit, deflate=negotiated())
    with peak_below(2 * limit + SLACK):
        assert codec.feed(allowed) == [(BINARY, bytes(limit))]
        assert codec.feed(stream) == [(FAILED, (1009, "message too big"))]


class Watched:
    """A decompressor that remembers what went in and came out at once."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=-15)
        self.eof = False
        self.slices: list[tuple[int, int]] = []

    def decompress(self, data: bytes) -> bytes:
        out = self._inflate.decompress(data)
        self.slices.append((len(data), len(out)))
        return out

    def flush(self) -> bytes:
        return self._inflate.flush()


def test_slices_are_small_for_what_expands_much() -> None:
    """Nobody is served while one is unpacked; wsproto's end of a message is the one of 4 bytes."""
    deflate = negotiated()
    codec = FrameCodec(max_message=4 * MIB, deflate=deflate)
    deflate._decompressor = watched = Watched()
    bomb = raw(FIN | BINARY | RSV1, deflated(bytes(MIB)))
    ordinary = os.urandom(3000)
    assert codec.feed(bomb) == [(BINARY, bytes(MIB))]
    assert max(out for _, out in watched.slices) < 80 * KIB
    assert max(out for _, out in watched.slices[5:]) < 20 * KIB
    del watched.slices[:]
    for _ in range(100):
        assert codec.feed(raw(FIN | BINARY | RSV1, deflated(ordinary))) == [(BINARY, ordinary)]
    assert watched.slices[0][0] == 16  # trusted again only after a while
    assert max(size for size, _ in watched.slices) == 512
    assert len(watched.slices) < 1200
    assert codec.feed(bomb) == [(BINARY, bytes(MIB))]
    assert watched.slices[-10][1] < 20 * KIB


@pytest.mark.parametrize(
    "empty",
    [
        raw(FIN | BINARY | RSV1, deflated(b"")),
        raw(BINARY | RSV1, deflated(b"")) + raw(CONT) * 3 + raw(FIN | CONT),
    ],
)
def test_what_is_empty_earns_no_trust(empty: bytes) -> None:
    deflate = negotiated()
    codec = FrameCodec(max_message=4 * MIB, deflate=deflate)
    deflate._decompressor = watched = Watched()
    bomb = raw(FIN | BINARY | RSV1, deflated(bytes(MIB)))
    codec.feed(bomb)
    for _ in range(4000):
        codec.feed(empty)
    del watched.slices[:]
    assert codec.feed(bomb) == [(BINARY, bytes(MIB))]
    assert max(size for size, _ in watched.slices[:10]) == 16


def test_the_bound_on_a_compressed_frame_leaves_room_for_deflate() -> None:
    noise = os.urandom(100 * KIB)
    packed = deflated(noise)
    assert len(packed) > len(noise)
    bound = 100 * KIB + KIB + 64
    codec = FrameCodec(max_message=100 * KIB, deflate=negotiated())
    assert codec.feed(raw(FIN | BINARY | RSV1, packed)) == [(BINARY, noise)]
    assert codec.feed(raw(FIN | BINARY | RSV1, announce=bound)) == []
    codec = FrameCodec(max_message=100 * KIB, deflate=negotiated())
    assert codec.feed(raw(FIN | BINARY | RSV1, announce=bound + 1)) == [
        (FAILED, (1009, "message too big"))
    ]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fragmented", [False, True])
def test_a_big_message_in_small_reads(opcode: int, fragmented: bool) -> None:
    payload = b"0123456789abcdef" * (64 * KIB)
    half = len(payload) // 2
    frames = (
        raw(opcode, payload[:half], key=None) + raw(FIN | CONT, payload[half:], key=None)
        if fragmented
        else raw(FIN | opcode, payload, key=None)
    )
    codec = FrameCodec(client=True, max_message=MIB)
    with peak_below(2 * MIB):
        for at in range(0, len(frames) - 1, 4001):
            assert codec.feed(frames[at : min(at + 4001, len(frames) - 1)]) == []
            arrived = min(at + 4001, len(frames) - 1)
            assert arrived - 20 <= codec.pinned <= min(1.5 * arrived, MIB) + 1024
        event = codec.feed(frames[-1:])
    assert event == [(opcode, payload.decode() if opcode == TEXT else payload)]
    assert (codec.pinned, codec.in_message) == (0, False)


def test_pinned_tells_the_memory_that_is_held() -> None:
    codec = FrameCodec(max_message=MIB)
    frame = raw(FIN | BINARY, b"x" * (900 * KIB), key=KEY)[: 700 * KIB]
    window = raw(FIN | PING, b"1") + raw(FIN | BINARY, b"x" * 300_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        codec.feed(frame)
        now, _ = tracemalloc.get_traced_memory()
        assert abs(now - before - codec.pinned) < 4 * KIB
    finally:
        tracemalloc.stop()
    held = FrameCodec()
    assert held.feed(window, stop_after=1) == [(PING, b"1")]
    assert len(window) - 7 <= held.pinned <= len(window)
    held.feed(b"")
    assert held.pinned == 0


def test_the_payload_is_let_go_of() -> None:
    """After NEED_MORE the codec has no share in a message."""
    codec = FrameCodec()
    stream = raw(FIN | BINARY, b"x" * MIB, key=None)
    client = FrameCodec(client=True)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert len(client.feed(stream)) == 1
        assert tracemalloc.get_traced_memory()[0] - before < 4 * KIB
    finally:
        tracemalloc.stop()
    assert codec.pinned == 0


# -- holding


def test_held_bytes_come_before_new_ones() -> None:
    codec = FrameCodec()
    words = [b"%d" % i for i in range(20)]
    frames = [raw(FIN | BINARY, word) for word in words]
    events = codec.feed(b"".join(frames[:9]), stop_after=2)
    events += codec.feed(b"".join(frames[9:15])[:-3], stop_after=4)
    events += codec.feed(b"".join(frames[9:15])[-3:], stop_after=0)
    assert len(events) == 6
    events += codec.feed(b"".join(frames[15:]))
    assert events == [(BINARY, word) for word in words]


def test_holding_copies_in_proportion_to_what_is_read() -> None:
    """A held window that is read frame by frame is not copied for each of them."""
    frame = raw(FIN | BINARY, b"x" * 26)
    codec = FrameCodec()
    codec.feed(frame * 4096, stop_after=1)
    sizes = set()
    for _ in range(4095):
        assert len(codec.feed(b"", stop_after=1)) == 1
        sizes.add(codec.pinned)
    assert len(sizes) < 20 and 0 in sizes


@pytest.mark.parametrize(
    ("stream", "unfinished"),
    [
        (b"", False),
        (b"\x81", True),
        (b"\x81\x85", True),
        (raw(FIN | TEXT, b"hi"), False),
        (raw(FIN | TEXT, b"hi")[:-1], True),
        (raw(FIN | PING, b"hi")[:-1], True),
        (raw(TEXT, b"hi"), True),
        (raw(TEXT, b""), True),
        (raw(TEXT, b"hi") + raw(FIN | PING), True),
        (raw(TEXT, b"hi") + raw(FIN | CONT), False),
        (raw(TEXT, b"hi") + raw(FIN | CLOSE), False),
    ],
)
def test_in_message(stream: bytes, unfinished: bool) -> None:
    for how in READINGS:
        codec = FrameCodec()
        read(codec, stream, how)
        assert codec.in_message is unfinished
