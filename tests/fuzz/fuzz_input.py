"""What the fuzz targets share: how a target takes its bytes apart, and where its corpus is.

A target reads its settings from the first bytes and leaves the rest as it is, so that a mutation of
one part changes nothing of another, and an input can be written by hand.
"""

from pathlib import Path

__all__ = ["CORPUS", "MOST_PIECES", "TARGETS", "pieces_of", "taken", "with_pieces"]

CORPUS = Path(__file__).with_name("corpus")

# Name of a target → the longest input that is worth its time, in bytes. Its module is `fuzz_NAME`.
TARGETS = {"frames": 512, "relay_header": 512, "pid": 128, "http": 1024, "config": 2048}

MOST_PIECES = 8


def taken(data: bytes, count: int) -> tuple[bytes, bytes]:
    """The first bytes, zeros where there are none, and the rest."""
    return data[:count].ljust(count, b"\0"), data[count:]


def pieces_of(data: bytes) -> tuple[bytes, list[bytes]]:
    """A stream, and its pieces as they arrive.

    Args:
        data: a byte that says how many cuts there are, at most seven; for each a byte with the
            length of the piece in front of it; the stream.

    Returns:
        The stream; and its pieces, none of them empty.
    """
    head, rest = taken(data, 1)
    lengths, stream = taken(rest, head[0] % MOST_PIECES)
    pieces, at = [], 0
    for length in lengths:
        pieces.append(stream[at : at + length])
        at += length
    return stream, [piece for piece in [*pieces, stream[at:]] if piece]


def with_pieces(stream: bytes, *lengths: int) -> bytes:
    """The input that `pieces_of` reads as this stream, cut into pieces of these lengths."""
    return bytes([len(lengths), *lengths]) + stream
