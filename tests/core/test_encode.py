"""Frames out: readable by wsproto and by the codec, to the byte."""

import os

import pytest
from frame_helpers import Reference, cut, feed_all, negotiated
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_frames import BINARY, CLOSE, CONT, FIN, PING, RSV1, TEXT, masked, raw
from wsproto.extensions import PerMessageDeflate

from wsrelay_core._frame import FrameCodec


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(max_size=40) | st.binary(max_size=200), max_size=6),
    st.booleans(),
    st.integers(0, 2),
    st.lists(st.integers(0, 500), max_size=4),
)
def test_what_is_encoded_is_decoded(
    messages: list[str | bytes], client: bool, deflate: int, places: list[int]
) -> None:
    extension = [lambda: None, negotiated, lambda: negotiated(no_context_takeover=True)][deflate]
    writer = FrameCodec(client=client, deflate=extension())
    stream = b"".join(writer.encode_message(message) for message in messages)
    stream += writer.encode_frame(PING, b"ping") + writer.encode_close(1000, "done")
    expected = [(TEXT if isinstance(m, str) else BINARY, m) for m in messages]
    expected += [(PING, b"ping"), (CLOSE, (1000, "done"))]
    assert Reference(not client, extension()).read(stream).events == expected
    for native in (True, False):
        reader = FrameCodec(client=not client, deflate=extension(), native=native)
        assert feed_all(reader, cut(stream, places)) == expected


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_a_server_frame_byte_by_byte(length: int) -> None:
    payload = os.urandom(length)
    assert FrameCodec().encode_message(payload) == raw(FIN | BINARY, payload, key=None)
    assert FrameCodec().encode_frame(CONT, payload, fin=False) == raw(CONT, payload, key=None)


def test_a_client_masks_with_fresh_keys() -> None:
    client = FrameCodec(client=True)
    keys = set()
    for _ in range(3000):
        frame = client.encode_message("hello")
        key = frame[2:6]
        assert frame[:2] == b"\x81\x85" and masked(frame[6:], key) == b"hello"
        keys.add(key)
    assert len(keys) > 2990  # a birthday among 2^32 is possible, ten are not


def test_a_forked_child_has_its_own_keys() -> None:
    client = FrameCodec(client=True)
    client.encode_message(b"")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, client.encode_message(b""))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 99) != client.encode_message(b"")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("code", "reason", "body"),
    [
        (1000, "", b"\x03\xe8"),
        (1001, "bye", b"\x03\xe9bye"),
        (1005, "ignored", b""),
        (1006, "lost", b"\x03\xe8lost"),
        (1015, "", b"\x03\xe8"),
        (4999, "x" * 123, b"\x13\x87" + b"x" * 123),
        (1000, "x" * 124, b"\x03\xe8" + b"x" * 123),
        (1000, "é" * 62, b"\x03\xe8" + "é".encode() * 61),
        (1000, "漢" * 50, b"\x03\xe8" + "漢".encode() * 41),
        (1000, "x" * 120 + "😀", b"\x03\xe8" + b"x" * 120),
        (1000, "x" * 119 + "😀", b"\x03\xe8" + b"x" * 119 + "😀".encode()),
        (1000, "\ud800", b"\x03\xe8?"),
    ],
)
def test_close_frames_out(code: int, reason: str, body: bytes) -> None:
    assert FrameCodec().encode_close(code, reason) == raw(FIN | CLOSE, body, key=None)


def test_data_frames_out_are_compressed_and_control_frames_not() -> None:
    server = FrameCodec(deflate=negotiated())
    assert server.encode_message("hello")[0] == FIN | TEXT | RSV1
    assert server.encode_message(b"") == raw(FIN | BINARY | RSV1, b"\x00", key=None)
    assert server.encode_message(b"") == raw(FIN | BINARY | RSV1, b"\x00", key=None)
    assert server.encode_close(1000, "hello")[0] == FIN | CLOSE
    assert FrameCodec(deflate=PerMessageDeflate()).encode_message("hello")[0] == FIN | TEXT


@pytest.mark.parametrize(
    ("opcode", "payload", "fin"),
    [
        (3, b"", True),
        (16, b"", True),
        (-1, b"", True),
        (PING, b"x" * 126, True),
        (PING, b"", False),
    ],
)
def test_frames_that_can_not_be_encoded(opcode: int, payload: bytes, fin: bool) -> None:
    with pytest.raises(ValueError):
        FrameCodec().encode_frame(opcode, payload, fin)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError):
        FrameCodec(max_message=-1)
    with pytest.raises(ValueError):
        FrameCodec(max_fragments=-1)
