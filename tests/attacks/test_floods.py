"""Floods: bounded memory and processor time, and the others are served meanwhile."""

import asyncio
from contextlib import suppress

import pytest
from attack_helpers import KIB, MIB, target
from memory import memory_below
from raw_frames import BINARY, CLOSE, CONT, FIN, PING, PONG, RSV1, TEXT, deflated, raw

from wsrelay import process
from wsrelay_core import resolve

PMD = "permessage-deflate"
FIRST = raw(BINARY, b"x")
LOOK = 0.00001  # seconds by which a look moves the clock: that of a few cheap frames
# What comes first, the piece, and how many of it.
FLOODS = {
    "pings": (b"", raw(FIN | PING, b"x" * 125), 20_000),
    "empty pings": (b"", raw(FIN | PING), 20_000),
    "pongs": (b"", raw(FIN | PONG, b"x" * 125), 20_000),
    "empty pongs": (b"", raw(FIN | PONG), 20_000),
    "pings inside a message": (FIRST, raw(FIN | PING, b"x"), 20_000),
    "empty messages": (b"", raw(FIN | TEXT), 5_000),
    "one-byte messages": (b"", raw(FIN | BINARY, b"x"), 5_000),
    "empty messages of two fragments": (b"", raw(TEXT) + raw(FIN | CONT), 2_000),
}


async def flood(peer, piece, count, reads):
    """As fast as TCP takes them; `reads`: and takes what comes back."""

    async def take():
        while await peer.reader.read(2**16):
            pass

    taking = asyncio.ensure_future(take()) if reads else None
    try:
        with suppress(ConnectionError):
            for _ in range(count // 500):
                peer.write(piece * 500)
                await peer.writer.drain()
    finally:
        if taking is not None:
            taking.cancel()


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "never reads"])
@pytest.mark.parametrize("name", FLOODS)
def test_floods(run, name, reads):
    start, piece, count = FLOODS[name]

    async def main():
        async with target({"queue.policy": "drop_newest"}) as here:
            other = await here.upgraded()
            peer = await here.upgraded(receive=None if reads else 4 * KIB)
            await peer.send(start)
            await peer.arrived()
            with memory_below(4 * MIB):
                flooding = asyncio.ensure_future(flood(peer, piece, count, reads))
                while not flooding.done():
                    await other.echoes(1)
                await flooding
                await peer.arrived()
                await other.echoes(5)
            assert process.info(peer.pid).queue_bytes <= MIB + KIB
            assert resolve(peer.pid).is_open

    run(main())


async def turns_during(other, bursts):
    """How often another client is served until these are decoded, each up to the ping behind it."""

    async def answered(peer):
        while await peer.receive(compressed=None) != (PONG, b"end"):
            pass

    tasks = []
    for peer, data in bursts:
        peer.write(data + raw(FIN | PING, b"end"))
        tasks.append(asyncio.ensure_future(answered(peer)))
    turns = 0
    while not all(task.done() for task in tasks):
        await other.echoes(1)
        turns += 1
    await asyncio.gather(*tasks)
    return turns


def test_a_burst_of_fragments_leaves_the_others_their_turns(run):
    """A hundred kilobytes of them are as dear as many megabytes of messages."""

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            here.clock.step = LOOK
            burst = raw(BINARY, b"x") + raw(CONT, b"x") * 14_000
            assert await turns_during(other, [(peer, burst)]) >= 10
            peer.write(raw(FIN | CONT, b"!"))
            assert await peer.receive() == (BINARY, b"x" * 14_001 + b"!")

    run(main())


def test_bursts_of_small_compressed_messages_leave_the_others_their_turns(run):
    async def main():
        async with target({"compression": PMD}) as here:
            other = await here.upgraded()
            peers = [await here.upgraded(Sec_WebSocket_Extensions=PMD) for _ in range(5)]
            here.clock.step = LOOK
            burst = raw(FIN | TEXT | RSV1, deflated(b"x")) * 1000
            assert await turns_during(other, [(peer, burst) for peer in peers]) >= 10

    run(main())


@pytest.mark.parametrize("way", ["half-close", "reset"])
def test_a_burst_of_fragments_and_then_the_end_of_tcp(run, way):
    """What was read is still worked off in turns, and the connection ends behind it."""

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            here.clock.step = LOOK
            await peer.send(raw(BINARY, b"x") + raw(CONT, b"x") * 14_000)
            peer.half_close() if way == "half-close" else peer.reset()
            turns = 0
            while peer.pid in here.websockets:
                await other.echoes(1)
                turns += 1
            assert turns >= 10

    run(main())


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "one-byte"])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_flood_of_fragments_of_one_message(run, kind, piece):
    """1009 when they pin what a whole message may, and no earlier than an honest one needs."""

    async def main():
        async with target({"message.max": "64KiB"}) as here:
            other, peer = await here.upgraded(), await here.upgraded()
            with memory_below(MIB):
                await peer.send(raw(kind, piece) + raw(CONT, piece) * 2047)
                await peer.arrived()
                assert resolve(peer.pid).is_open
                await peer.send(raw(CONT, piece))
                assert await peer.closed_with() == 1009
            await other.echoes(1)

    run(main())


def test_one_frame_in_single_byte_segments(run):
    """Its cost is that of its bytes, not of their square, and the others have their turns."""

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            text = b"x" * 2000
            sending = asyncio.ensure_future(peer.send(raw(FIN | TEXT, text), "bytes"))
            with memory_below(256 * KIB):
                await other.echoes(20)
                await sending
                assert await peer.receive() == (TEXT, text)

    run(main())


def test_many_frames_in_single_byte_segments(run):
    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            frames = b"".join(raw(FIN | PING, b"%d" % number) for number in range(200))
            sending = asyncio.ensure_future(peer.send(frames, "bytes"))
            await other.echoes(20)
            for number in range(200):
                assert await peer.receive() == (PONG, b"%d" % number)
            await sending

    run(main())


@pytest.mark.parametrize("body", [b"", b"\x03\xe8", b"\x03\xe8" + b"x" * 123, b"\x03"])
def test_close_after_close(run, body):
    """The first one is answered, once; the rest is dropped, whatever it is."""

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            closes = raw(FIN | CLOSE, body)
            with memory_below(4 * MIB):
                peer.write(closes * (MIB // len(closes)))
                kind, answer = await peer.receive()
                assert (kind, answer[:2]) == (CLOSE, b"\x03\xea" if len(body) == 1 else body[:2])
                assert await peer.receive() is None
            await other.echoes(1)
            await here.has_only(1)

    run(main())


def test_frames_after_a_close_that_the_server_began(run):
    """They are dropped, and the end comes at its time for a client that floods on."""

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            process.send(peer.pid, "ws.close")
            flooding = asyncio.ensure_future(flood(peer, raw(FIN | TEXT, b"x" * 100), 10**9, True))
            await other.echoes(20)
            await here.has_only(1)
            await flooding

    run(main())
