"""Compression bombs: 1009 at the limit, and never twice the limit in memory.

CVE-2016-10544, GHSA-frh3-6pv6-rc8j, CVE-2018-1000518 (websockets), CVE-2026-1526 (undici): what
came out had no limit, or one that was asked of the compressed size alone.
"""

import zlib

import pytest
from attack_helpers import KIB, MIB, resident, target
from memory import memory_below
from raw_frames import BINARY, CONT, FIN, PING, RSV1, TEXT, deflated, raw

PMD = "permessage-deflate"
OFFER = {"Sec_WebSocket_Extensions": PMD}


@pytest.fixture(scope="module")
def packed():
    """64 MiB in 64 KiB."""
    return deflated(bytes(64 * MIB))


def fragments(packed, count, opcode=BINARY):
    size = len(packed) // count + 1
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    frames = [raw(opcode | RSV1, pieces[0]), *(raw(CONT, piece) for piece in pieces[1:])]
    return b"".join(frames) + raw(FIN | CONT)


SHAPES = {
    "one frame": lambda packed: raw(FIN | BINARY | RSV1, packed),
    "one frame of text": lambda packed: raw(FIN | TEXT | RSV1, packed),
    "in three fragments": lambda packed: fragments(packed, 3),
    "in a thousand fragments": lambda packed: fragments(packed, 1000),
    "in fragments of text": lambda packed: fragments(packed, 50, TEXT),
    "in fragments with pings between": lambda packed: fragments(packed, 3).replace(
        raw(CONT), raw(FIN | PING) + raw(CONT)
    ),
    "a frame that never ends": lambda packed: raw(BINARY | RSV1, packed),
}


@pytest.mark.parametrize("name", SHAPES)
def test_compression_bombs(run, packed, name):
    stream = SHAPES[name](packed)

    async def main():
        async with target({"compression": PMD}) as here:
            other, peer = await here.upgraded(), await here.upgraded(**OFFER)
            with memory_below(2 * MIB):
                peer.writer.write(stream)
                assert await peer.closed_with() == 1009
            await other.echoes(1)

    run(main())


@pytest.mark.parametrize("before", [b"x", b"0123456789abcdef" * 2048], ids=["small", "a window"])
def test_with_context_takeover(run, before):
    """The bomb is in what a message before it left behind."""

    async def main():
        async with target({"compression": PMD}) as here:
            peer = await here.upgraded(**OFFER)
            compressor = zlib.compressobj(9, wbits=-15)
            first = deflated(before, compressor)
            second = deflated(before * (4 * MIB // len(before)), compressor)
            peer.write(raw(FIN | BINARY | RSV1, first))
            kind, _ = await peer.receive(compressed=None)
            assert kind == BINARY
            with memory_below(2 * MIB):
                peer.write(raw(FIN | BINARY | RSV1, second))
                assert await peer.closed_with() == 1009

    run(main())


def test_text_of_wide_characters(run):
    """One of four bytes makes the str around it as wide."""

    async def main():
        async with target({"compression": PMD}) as here:
            peer = await here.upgraded(**OFFER)
            text = bytes(900 * KIB) + (b"a" * 2000 + "\U0001f600".encode()) * 9000
            stream = raw(FIN | TEXT | RSV1, deflated(text))
            with memory_below(2 * MIB):
                peer.write(stream)
                assert await peer.closed_with() == 1009

    run(main())


def test_the_limit_is_on_what_comes_out(run):
    """A mebibyte in a kibibyte is allowed, a byte more is not."""

    async def main():
        async with target({"compression": PMD}) as here:
            peer = await here.upgraded(**OFFER)
            peer.write(raw(FIN | BINARY | RSV1, deflated(bytes(MIB))))
            kind, answer = await peer.receive(compressed=True)
            assert (kind, zlib.decompressobj(wbits=-15).decompress(answer)) == (BINARY, bytes(MIB))
            peer.write(raw(FIN | BINARY | RSV1, deflated(bytes(MIB + 1))))
            assert await peer.closed_with() == 1009

    run(main())


def test_bombs_from_many_at_once(run, packed):
    """Resident memory of the whole process, zlib's own included."""

    async def main():
        async with target({"compression": PMD}) as here:
            other = await here.upgraded()
            stream = raw(FIN | BINARY | RSV1, packed[: 32 * KIB])
            peers = [await here.upgraded(**OFFER) for _ in range(20)]
            before = resident()
            for peer in peers:
                peer.write(stream)
            await other.echoes(5)
            for peer in peers:
                assert await peer.closed_with() == 1009
            assert resident() - before < 32 * MIB
            await other.echoes(1)

    run(main())


def test_a_body_of_http_is_never_inflated(run):
    """`Content-Encoding` is the handler's: what it gets is what was sent."""

    async def main():
        async with target() as here:
            squeezed = zlib.compress(bytes(MIB))
            peer = await here.ask(
                b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Encoding: deflate\r\n"
                b"Content-Length: %d\r\n\r\n" % len(squeezed) + squeezed
            )
            assert (await peer.head()).body == squeezed

    run(main())
