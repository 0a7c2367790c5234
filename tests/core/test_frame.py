"""FrameCodec reads any bytes as wsproto does, and RFC 6455 to the letter.

Bounds and holding are in test_frame_limits.py, frames out in test_encode.py.
"""

import zlib

import pytest
from frame_helpers import READINGS, Reference, codes_only, cut, feed_all, negotiated, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_frames import (
    BINARY,
    CLOSE,
    COMPRESSED_VIOLATIONS,
    CONT,
    FAILED,
    FIN,
    KEY,
    PING,
    PONG,
    RSV1,
    TEXT,
    VIOLATIONS,
    deflated,
    raw,
)

from wsrelay_core._frame import FrameCodec

moderate = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# -- equality with wsproto


@st.composite
def streams(draw: st.DrawFn, client: bool, compressing: bool) -> bytes:
    """Frames, most of them right, and now and then something that is not."""
    key = None if client else KEY
    compressor = zlib.compressobj(wbits=-15)
    out = bytearray()
    for _ in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(["message"] * 6 + ["control"] * 2 + ["close", "odd", "junk"])):
            case "message":
                out += draw(messages(key, compressor if compressing else None))
            case "control":
                out += draw(controls(key))
            case "close":
                out += raw(FIN | CLOSE, draw(close_bodies), key=key)
            case "odd":
                out += draw(odd_frames(key))
            case "junk":
                out += draw(st.binary(max_size=8))
    return draw(mutations(bytes(out)))


close_bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=4),
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason,
        st.one_of(st.sampled_from([999, 1000, 1004, 1005, 1015, 1016, 2999, 3000, 4999, 5000])),
        st.one_of(st.text(max_size=9).map(str.encode), st.binary(max_size=9)),
    ),
)

texts = st.one_of(
    st.text(max_size=24).map(str.encode),
    st.text(alphabet="aé漢😀", max_size=12).map(str.encode),
    st.binary(max_size=6),
    st.sampled_from([b"x" * 125, b"x" * 126, "é".encode() * 70, b"\xed\xa0\x80", b"\xf4\x90"]),
)


@st.composite
def controls(draw: st.DrawFn, key: bytes | None) -> bytes:
    opcode = draw(st.sampled_from([PING, PONG]))
    return raw(FIN | opcode, draw(st.binary(max_size=5) | st.just(b"p" * 125)), key=key)


@st.composite
def messages(draw: st.DrawFn, key: bytes | None, compressor: "zlib._Compress | None") -> bytes:
    """One message, whole or in fragments with control frames between."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload, rsv = draw(texts), 0
    if compressor and draw(st.booleans()):
        rsv = RSV1
        payload = draw(st.one_of(st.just(deflated(payload, compressor)), st.just(payload)))
    pieces = cut(payload, draw(st.lists(st.integers(0, 150), max_size=3))) or [b""]
    if draw(st.booleans()):
        pieces.insert(draw(st.integers(0, len(pieces))), b"")
    out = bytearray()
    for i, piece in enumerate(pieces):
        first = (opcode | rsv if i == 0 else CONT) | (FIN if i == len(pieces) - 1 else 0)
        out += raw(first, piece, key=key)
        if draw(st.integers(0, 3)) == 0:
            out += draw(controls(key))
    return bytes(out)


@st.composite
def odd_frames(draw: st.DrawFn, key: bytes | None) -> bytes:
    """Any header at all, now and then with the wrong mask or a length in the wrong form."""
    payload = draw(st.binary(max_size=6) | st.just(b"y" * 126))
    form = draw(st.sampled_from([None, None, 2, 8])) if len(payload) < 126 else 2
    wrong = draw(st.integers(0, 4)) == 0
    return raw(
        draw(st.integers(0, 255)), payload, key=(None if key else KEY) if wrong else key, form=form
    )


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "drop", "insert", "end"])):
            case "flip" if place < len(data):
                changed = bytes([data[place] ^ 1 << draw(st.integers(0, 7))])
                data = data[:place] + changed + data[place + 1 :]
            case "drop":
                data = data[:place] + data[place + 1 :]
            case "insert":
                data = data[:place] + draw(st.binary(max_size=2)) + data[place:]
            case "end":
                data = data[:place]
    return data


def assert_equal_to_wsproto(
    data: bytes, places: list[int], stop_after: int | None, client: bool, deflate: int, native: bool
) -> None:
    extension = [None, negotiated, lambda: negotiated(no_context_takeover=True)][deflate]
    reference = Reference(client, extension and extension()).read(data)
    codec = FrameCodec(client=client, deflate=extension and extension(), native=native)
    events = list(codes_only(feed_all(codec, cut(data, places), stop_after)))
    if reference.comparable:
        assert events == reference.events
    else:
        assert events[: len(reference.events)] == reference.events


@moderate
@given(
    data=st.data(),
    places=st.lists(st.integers(0, 400), max_size=8),
    stop_after=st.sampled_from([None, None, 1, 2]),
    client=st.booleans(),
    deflate=st.integers(0, 2),
    native=st.sampled_from([True, True, True, False]),
)
def test_any_frames_cut_anywhere_read_as_by_wsproto(
    data: st.DataObject,
    places: list[int],
    stop_after: int | None,
    client: bool,
    deflate: int,
    native: bool,
) -> None:
    stream = data.draw(streams(client, deflate > 0))
    assert_equal_to_wsproto(stream, places, stop_after, client, deflate, native)


@moderate
@given(
    st.binary(max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
    st.booleans(),
    st.integers(0, 2),
)
def test_any_bytes_read_as_by_wsproto(
    stream: bytes, places: list[int], client: bool, deflate: int
) -> None:
    assert_equal_to_wsproto(stream, places, None, client, deflate, native=True)


@moderate
@given(st.data(), st.booleans(), st.integers(0, 2), st.lists(st.integers(0, 400), max_size=12))
def test_cuts_and_holds_change_nothing(
    data: st.DataObject, client: bool, deflate: int, places: list[int]
) -> None:
    stream = data.draw(streams(client, deflate > 0))
    readings = []
    for pieces, stop_after in [
        ([stream], None),
        ([stream[i : i + 1] for i in range(len(stream))], None),
        (cut(stream, places), 1),
        (cut(stream, places), 3),
    ]:
        codec = FrameCodec(client=client, deflate=negotiated(deflate == 2) if deflate else None)
        readings.append(feed_all(codec, pieces, stop_after))
    assert all(list(codes_only(r)) == list(codes_only(readings[0])) for r in readings)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 125, 126, 127, 65535, 65536, 70001])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_every_length_reads_as_by_wsproto(length: int, kind: int) -> None:
    stream = raw(FIN | kind, bytes(i % 96 + 32 for i in range(length))) + raw(FIN | PING, b"!")
    reference = Reference(client=False)
    reference.connection.receive_data(stream)
    for event in reference.connection.events():
        reference._add(event, False)
    for pieces in ([stream], [stream[i : i + 1009] for i in range(0, len(stream), 1009)]):
        assert feed_all(FrameCodec(), pieces) == reference.events


# -- UTF-8: the codec's own check of a text on its way, against CPython's


@pytest.mark.parametrize("prefix", [b"", b"ascii ", b"eight by" * 3, "é".encode(), "漢😀".encode()])
def test_utf8_is_what_python_says_it_is(prefix: bytes) -> None:
    """All one-byte and two-byte sequences, and the edges of the longer ones, byte by byte."""
    edges = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
    leads = [0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5]
    sequences = [bytes([a]) for a in range(128, 256)]
    sequences += [bytes([a, b]) for a in leads for b in edges]
    sequences += [bytes([a, b, 0x80]) for a in leads for b in edges]
    sequences += [bytes([a, b, c, 0xBF]) for a in leads[3:] for b in edges[2:8] for c in edges]
    for sequence in sequences:
        payload = prefix + sequence
        try:
            expected: tuple = (TEXT, payload.decode())
        except UnicodeDecodeError:
            expected = (FAILED, 1007)
        frame = raw(FIN | TEXT, payload)
        for size in (len(frame), 1, 9):
            pieces = [frame[i : i + size] for i in range(0, len(frame), size)]
            assert list(codes_only(feed_all(FrameCodec(), pieces))) == [expected], payload


@pytest.mark.parametrize(
    ("good", "proof"),
    [
        (b"abc", b"\xff"),
        (b"", b"\x80"),
        ("é".encode(), b"\xc0"),
        (b"\xe0", b"\x9f"),
        (b"\xf0", b"\x8f"),
        (b"\xf4", b"\x90"),
        (b"\xe6\xbc", b"A"),
        (b"", b"\xf5"),
    ],
)
@pytest.mark.parametrize("first", [FIN | TEXT, TEXT])
def test_bad_utf8_is_told_at_the_byte_that_proves_it(good: bytes, proof: bytes, first: int) -> None:
    frame = raw(first, good + proof + b"never comes")
    before = frame[: 6 + len(good)]
    codec = FrameCodec()
    assert codec.feed(before) == []
    assert list(codes_only(codec.feed(frame[len(before) : len(before) + 1]))) == [(FAILED, 1007)]


def test_a_surrogate_is_told_at_once_only_outside_fragments() -> None:
    """CPython's incremental decoder, so wsproto too, waits for one byte more."""
    assert FrameCodec().feed(raw(FIN | TEXT, b"\xed\xa0", announce=9)) == [
        (FAILED, (1007, "invalid UTF-8"))
    ]
    codec = FrameCodec()
    assert codec.feed(raw(TEXT, b"\xed\xa0")) == []
    assert codec.feed(raw(CONT, b"\x80")) == [(FAILED, (1007, "invalid UTF-8"))]


def test_a_character_may_be_cut_by_fragments() -> None:
    text = "a漢😀é".encode()
    frames = [raw(TEXT, text[:1])] + [raw(CONT, text[i : i + 1]) for i in range(1, len(text))]
    stream = b"".join(frames) + raw(FIN | CONT)
    for how in READINGS:
        assert read(FrameCodec(), stream, how) == [(TEXT, "a漢😀é")]


# -- violations of RFC 6455


@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize(
    "trailing", [b"", raw(FIN | TEXT, b"later") + b"\xff\x00" * 9], ids=["end", "trailing"]
)
@pytest.mark.parametrize("native", [True, False])
def test_violation(name: str, how: str, trailing: bytes, native: bool) -> None:
    stream, code = VIOLATIONS[name]
    before = raw(FIN | TEXT, b"before")
    codec = FrameCodec(native=native)
    events = read(codec, before + stream + trailing, how)
    assert list(codes_only(events)) == [(TEXT, "before"), (FAILED, code)]
    assert (codec.error_code, codec.pinned, codec.in_message) == (code, 0, False)
    reason = events[-1][1]
    for more in (b"", raw(FIN | TEXT, b"more"), raw(FIN | CLOSE)):
        assert codec.feed(more) == [(FAILED, reason)]


@pytest.mark.parametrize("how", READINGS)
def test_a_continuation_after_the_end_of_a_message(how: str) -> None:
    stream = raw(TEXT, b"a") + raw(FIN | CONT, b"b") + raw(FIN | CONT, b"c")
    assert list(codes_only(read(FrameCodec(), stream, how))) == [(TEXT, "ab"), (FAILED, 1002)]


@pytest.mark.parametrize("how", READINGS)
def test_a_client_refuses_masked_frames(how: str) -> None:
    assert list(codes_only(read(FrameCodec(client=True), raw(FIN | TEXT, b"hi"), how))) == [
        (FAILED, 1002)
    ]


@pytest.mark.parametrize("name", COMPRESSED_VIOLATIONS)
@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize("trailing", [b"", b"\xff\x00" * 9], ids=["end", "trailing"])
def test_violation_with_compression(name: str, how: str, trailing: bytes) -> None:
    stream, code = COMPRESSED_VIOLATIONS[name]
    codec = FrameCodec(deflate=negotiated())
    assert list(codes_only(read(codec, stream + trailing, how))) == [(FAILED, code)]
    assert list(codes_only(codec.feed(b"more"))) == [(FAILED, code)]


# -- what is right


@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize(
    "trailing", [b"", b"\xff" * 20, raw(FIN | TEXT, b"late")], ids=["end", "junk", "frame"]
)
@pytest.mark.parametrize(
    ("body", "subject"),
    [
        (b"", (1005, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x03\xf5caf\xc3\xa9", (1013, "café")),
        (b"\x0b\xb8bye", (3000, "bye")),
        (b"\x13\x87" + b"x" * 123, (4999, "x" * 123)),
    ],
)
def test_close(how: str, trailing: bytes, body: bytes, subject: tuple[int, str]) -> None:
    codec = FrameCodec()
    stream = raw(FIN | TEXT, b"last") + raw(FIN | CLOSE, body) + trailing
    assert read(codec, stream, how) == [(TEXT, "last"), (CLOSE, subject)]
    assert (codec.close_code, codec.close_reason) == subject
    assert codec.feed(raw(FIN | TEXT, b"more")) == []
    assert codec.pinned == 0


@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_control_frames_inside_a_fragmented_message(how: str, deflate: bool, opcode: int) -> None:
    """wsproto forgets that a message is compressed when a control frame comes inside it."""
    packed = deflated(b"hello hello hello") if deflate else b"hello hello hello"
    stream = (
        raw(opcode | (RSV1 if deflate else 0), packed[:3])
        + raw(FIN | PING, b"one")
        + raw(CONT, packed[3:5])
        + raw(FIN | PONG)
        + raw(FIN | CONT, packed[5:])
        + raw(FIN | TEXT, b"next")
    )
    expected = "hello hello hello" if opcode == TEXT else b"hello hello hello"
    codec = FrameCodec(deflate=negotiated() if deflate else None)
    assert read(codec, stream, how) == [
        (PING, b"one"),
        (PONG, b""),
        (opcode, expected),
        (TEXT, "next"),
    ]


def test_wsproto_still_has_the_control_frame_fault() -> None:
    """When this fails, the fault is mended: take it off the list in README.md."""
    packed = deflated(b"hello")
    stream = raw(TEXT | RSV1, packed[:3]) + raw(FIN | PING) + raw(FIN | CONT, packed[3:])
    reference = Reference(client=False, deflate=negotiated()).read(stream)
    assert not reference.comparable


def final_block(payload: bytes) -> bytes:
    """Compressed with BFINAL set, and the zero byte of RFC 7692 section 7.2.3.4."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(payload) + compressor.flush(zlib.Z_FINISH) + b"\x00"


@pytest.mark.parametrize("how", READINGS)
def test_messages_after_a_final_block_are_not_lost(how: str) -> None:
    """wsproto reads every compressed message after such a one as empty."""
    stream = b"".join(
        raw(FIN | TEXT | RSV1, final_block(word)) for word in (b"one", b"two", b"three")
    ) + raw(FIN | TEXT | RSV1, deflated(b"four"))
    codec = FrameCodec(deflate=negotiated())
    assert [subject for _, subject in read(codec, stream, how)] == ["one", "two", "three", "four"]


@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize("no_context_takeover", [True, False])
def test_compressed_messages(how: str, no_context_takeover: bool) -> None:
    words = [b"hello hello", b"", b"", b"x" * 3000, "é漢😀".encode() * 99, b"hello hello"]
    compressor = zlib.compressobj(wbits=-15)
    stream = b""
    for word in words:
        packed = deflated(word) if no_context_takeover else deflated(word, compressor)
        stream += raw(FIN | TEXT | RSV1, packed) + raw(FIN | BINARY, word)
    codec = FrameCodec(max_message=4000, deflate=negotiated(no_context_takeover))
    events = read(codec, stream, how)
    assert events == [e for word in words for e in [(TEXT, word.decode()), (BINARY, word)]]
    assert (codec.pinned, codec.in_message) == (0, False)
