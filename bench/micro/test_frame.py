"""The frame codec alone: bytes to messages, messages to bytes."""

from typing import Any

import pytest
from wsproto.extensions import PerMessageDeflate

from wsrelay_core import FrameCodec

CONTINUATION, TEXT, BINARY, PING = 0, 1, 2, 9
SIZES = [16, 64, 125, 126, 4096, 65536, 1 << 20]
BATCH = 16  # frames of one read

Benchmark = Any  # the fixture of pytest-benchmark, which has no types


def client() -> FrameCodec:
    """Make the codec of a client, whose frames are masked."""
    return FrameCodec(client=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_decode_text(benchmark: Benchmark, size: int, masked: bool) -> None:
    text = "x" * size
    sender, reader = (client(), FrameCodec()) if masked else (FrameCodec(), client())
    assert benchmark(reader.feed, sender.encode_message(text)) == [(TEXT, text)]


def test_decode_text_beyond_ascii(benchmark: Benchmark) -> None:
    text = "žluťoučký kůň ☃ " * 256
    assert benchmark(FrameCodec().feed, client().encode_message(text)) == [(TEXT, text)]


@pytest.mark.parametrize("size", [64, 65536])
def test_decode_binary(benchmark: Benchmark, size: int) -> None:
    data = bytes(size)
    assert benchmark(FrameCodec().feed, client().encode_message(data)) == [(BINARY, data)]


def test_decode_a_read_of_many_frames(benchmark: Benchmark) -> None:
    data = b"".join(client().encode_message("x" * 64) for _ in range(BATCH))
    assert benchmark(FrameCodec().feed, data) == [(TEXT, "x" * 64)] * BATCH


@pytest.mark.parametrize("fragments", [2, 64])
def test_decode_fragments(benchmark: Benchmark, fragments: int) -> None:
    writer, part = client(), b"x" * 64
    opcodes = [TEXT] + [CONTINUATION] * (fragments - 1)
    data = b"".join(
        writer.encode_frame(opcode, part, fin=number == fragments)
        for number, opcode in enumerate(opcodes, 1)
    )
    assert benchmark(FrameCodec().feed, data) == [(TEXT, "x" * 64 * fragments)]


def test_decode_a_frame_cut_in_pieces(benchmark: Benchmark) -> None:
    data = client().encode_message("x" * 4096)
    pieces = [data[at : at + 512] for at in range(0, len(data), 512)]
    reader = FrameCodec()

    def read() -> list[tuple[int, Any]]:
        return [event for piece in pieces for event in reader.feed(piece)]

    assert benchmark(read) == [(TEXT, "x" * 4096)]


def test_decode_compressed(benchmark: Benchmark) -> None:
    def negotiated() -> PerMessageDeflate:
        extension = PerMessageDeflate(client_no_context_takeover=True)
        extension.finalize("permessage-deflate; client_no_context_takeover")
        return extension

    text = '{"from": "ann", "text": "hello"}' * 32
    data = FrameCodec(client=True, deflate=negotiated()).encode_message(text)
    assert benchmark(FrameCodec(deflate=negotiated()).feed, data) == [(TEXT, text)]


def test_decode_ping(benchmark: Benchmark) -> None:
    assert benchmark(FrameCodec().feed, client().encode_frame(PING, b"12345678")) == [
        (PING, b"12345678")
    ]


@pytest.mark.parametrize("size", SIZES)
def test_encode_text(benchmark: Benchmark, size: int) -> None:
    frame = benchmark(FrameCodec().encode_message, "x" * size)
    assert frame.endswith(b"x" * size)


def test_encode_text_beyond_ascii(benchmark: Benchmark) -> None:
    text = "žluťoučký kůň ☃ " * 256
    assert benchmark(FrameCodec().encode_message, text).endswith(text.encode())


def test_encode_masked(benchmark: Benchmark) -> None:
    frame = benchmark(client().encode_message, "x" * 64)
    assert FrameCodec().feed(frame) == [(TEXT, "x" * 64)]
