"""Every frame violation: its close code at the first byte that proves it, and nothing behind it."""

import zlib

import pytest
from attack_helpers import KIB, MIB, target
from memory import memory_below
from raw_frames import (
    BINARY,
    CLOSE,
    COMPRESSED_VIOLATIONS,
    CONT,
    FIN,
    PING,
    RSV1,
    TEXT,
    VIOLATIONS,
    deflated,
    raw,
)

from wsrelay_core import resolve

PMD = "permessage-deflate"
AFTER = raw(FIN | TEXT, b"after") + raw(FIN | CLOSE, b"\x03\xe8") + b"\xff\x00" * 20


async def only_close(peer, code):
    """One close frame, then the end of TCP, whatever else was sent."""
    assert await peer.closed_with() == code
    peer.half_close()
    assert await peer.receive() is None


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("name", VIOLATIONS)
def test_frame_violations(run, name, how):
    """What came before is answered, what comes after is not, and the others are served."""
    stream, code = VIOLATIONS[name]
    if how == "bytes" and len(stream) > KIB:
        stream = stream[:KIB]

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            await peer.send(raw(FIN | TEXT, b"before"))
            assert await peer.receive() == (TEXT, b"before")
            await peer.send(stream + AFTER, how)
            await only_close(peer, code)
            await other.echoes(1)
            await here.has_only(1)

    run(main())


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("name", COMPRESSED_VIOLATIONS)
def test_frame_violations_with_compression(run, name, how):
    stream, code = COMPRESSED_VIOLATIONS[name]

    async def main():
        async with target({"compression": PMD}) as here:
            peer = await here.upgraded(Sec_WebSocket_Extensions=PMD)
            await peer.send(stream + AFTER, how)
            await only_close(peer, code)

    run(main())


HEADER = 2  # bytes that tell opcode, reserved bits, mask and short length
MASKED = 6  # bytes of a short header with its key

# A stream whose end never comes, and how many bytes of it prove the violation.
PROOFS = {
    "unmasked": (raw(FIN | TEXT, b"x" * 100, key=None), HEADER, 1002),
    "reserved bit": (raw(FIN | TEXT | RSV1, b"x" * 100), HEADER, 1002),
    "reserved opcode": (raw(FIN | 3, b"x" * 100), HEADER, 1002),
    "reserved opcode of control": (raw(FIN | 11, b"x" * 100), HEADER, 1002),
    "reserved opcode with a long length": (raw(FIN | 3, announce=2**40), HEADER, 1002),
    "fragmented control frame": (raw(PING, b"x" * 100), HEADER, 1002),
    "long control frame": (raw(FIN | PING, b"x" * 126), HEADER, 1002),
    "non-minimal length of 16 bits": (raw(FIN | TEXT, b"x" * 125, form=2), 4, 1002),
    "non-minimal length of 64 bits": (raw(FIN | TEXT, b"x" * 65535, form=8), 10, 1002),
    "top-bit length": (raw(FIN | BINARY, announce=1 << 63), 10, 1002),
    "too long": (raw(FIN | BINARY, announce=MIB + 1), 14, 1009),
    "continuation without start": (raw(FIN | CONT, b"x" * 100), MASKED + 1, 1002),
    "new start inside a message": (
        raw(TEXT, b"x") + raw(FIN | TEXT, b"y" * 100),
        MASKED + 1 + MASKED + 1,
        1002,
    ),
    "bad UTF-8": (raw(FIN | TEXT, b"caf\xe9 " + b"x" * 100), MASKED + 5, 1007),
    "bad UTF-8 in a first fragment": (raw(TEXT, b"\xff" + b"x" * 100), MASKED + 1, 1007),
    "bad UTF-8 in a second fragment": (
        raw(TEXT, b"x") + raw(CONT, b"\xc0" + b"x" * 100),
        MASKED + 1 + MASKED + 1,
        1007,
    ),
    "bad UTF-8 cut across fragments": (
        raw(TEXT, b"\xe6\xbc") + raw(CONT, b"A" * 100),
        MASKED + 2 + MASKED + 1,
        1007,
    ),
    "bad UTF-8 far inside": (
        raw(TEXT, b"x" * 300_000 + b"\xf5" + b"x" * 300_000),
        14 + 300_001,
        1007,
    ),
}


@pytest.mark.parametrize("name", PROOFS)
def test_the_close_code_comes_at_the_first_byte_that_proves_it(run, name):
    """Not a byte earlier, and without a byte more."""
    stream, size, code = PROOFS[name]

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            await peer.send(stream[: size - 1])
            await peer.arrived()
            assert resolve(peer.pid).is_open
            await peer.send(stream[size - 1 : size])
            assert await peer.closed_with() == code

    run(main())


@pytest.mark.parametrize(
    ("body", "code"), [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)]
)
def test_bad_close_codes_and_bodies_at_the_end_of_their_frame(run, body, code):
    """A control frame is judged whole; it has no more than 125 bytes, and no more is waited for."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            await peer.send(raw(FIN | CLOSE, body)[:-1])
            await peer.arrived()
            assert resolve(peer.pid).is_open
            await peer.send(raw(FIN | CLOSE, body)[-1:])
            await only_close(peer, code)

    run(main())


def test_bad_utf8_in_a_compressed_first_fragment_is_not_waited_out(run):
    async def main():
        async with target({"compression": PMD}) as here:
            peer = await here.upgraded(Sec_WebSocket_Extensions=PMD)
            await peer.send(raw(TEXT | RSV1, deflated(b"abc\xff" + bytes(range(128)))))
            assert await peer.closed_with() == 1007

    run(main())


# -- limits are decided on the announced length, before a byte is stored ---------------------------

ANNOUNCED = {
    "one byte over": raw(FIN | BINARY, announce=MIB + 1),
    "a gibibyte": raw(FIN | TEXT, announce=2**30),
    "all that 63 bits allow": raw(FIN | BINARY, announce=2**63 - 1),
    "in a first fragment": raw(BINARY, announce=MIB + 1),
    "in a second fragment": raw(BINARY, b"x" * 100) + raw(FIN | CONT, announce=MIB - 99),
    "in a second fragment, near 2 ** 63": raw(BINARY, b"x") + raw(CONT, announce=2**63 - 1),
    "in a fragment behind a ping": raw(TEXT, b"x")
    + raw(FIN | PING)
    + raw(FIN | CONT, announce=MIB),
}


@pytest.mark.parametrize("name", ANNOUNCED)
def test_limits_are_decided_on_the_announced_length(run, name):
    async def main():
        async with target() as here:
            peer = await here.upgraded()
            with memory_below(64 * KIB):
                await peer.send(ANNOUNCED[name])
                assert await peer.closed_with() == 1009

    run(main())


def test_an_announced_length_of_a_compressed_frame(run):
    """It may be a little more than the limit, for what can't be compressed; not more than that."""

    async def main():
        async with target({"compression": PMD}) as here:
            peer = await here.upgraded(Sec_WebSocket_Extensions=PMD)
            with memory_below(64 * KIB):
                await peer.send(raw(FIN | BINARY | RSV1, announce=MIB + MIB // 100 + 65))
                assert await peer.closed_with() == 1009

    run(main())


def test_what_is_only_announced_takes_no_memory(run):
    """Thirty clients that announce a mebibyte each and send nothing of it."""

    async def main():
        async with target() as here:
            peers = [await here.upgraded() for _ in range(30)]
            with memory_below(MIB):
                for peer in peers:
                    await peer.send(raw(FIN | BINARY, announce=MIB))
                for peer in peers:
                    await peer.arrived()
                await here.serves()
            assert len(here.websockets) >= 30

    run(main())


def test_the_limit_itself_is_allowed(run):
    async def main():
        async with target({"message.max": "100KiB", "compression": PMD}) as here:
            plain = await here.upgraded()
            text = b"x" * (100 * KIB)
            for stream in (raw(FIN | TEXT, text), raw(TEXT, text[:-1]) + raw(FIN | CONT, b"x")):
                await plain.send(stream)
                assert await plain.receive() == (TEXT, text)
            packed = await here.upgraded(Sec_WebSocket_Extensions=PMD)
            await packed.send(raw(FIN | TEXT | RSV1, deflated(text)))
            kind, answer = await packed.receive(compressed=True)
            assert (kind, zlib.decompressobj(wbits=-15).decompress(answer)) == (TEXT, text)
            await packed.send(raw(FIN | TEXT | RSV1, deflated(text + b"x")))
            assert await packed.closed_with() == 1009

    run(main())
