"""Slowloris in every phase: ended within its limit, and an ordinary client does not notice.

CVE-2007-6750 (Apache) is the first of its kind. Time is the App's and moved by the test; the limits
are the defaults.
"""

import pytest
from attack_helpers import GET, handshake, target
from raw_frames import BINARY, CONT, FIN, PING, PONG, TEXT, raw

HEADER, READ, IDLE, MESSAGE, PINGS = 10, 30, 75, 60, 40  # seconds; pings: interval and timeout


async def trickle(here, peer, pieces, seconds):
    """Send a piece each second, and let the server read each by itself."""
    for piece in pieces:
        await peer.send(piece, "bytes")
        here.pass_time(seconds)


def test_connect_and_silence(run):
    async def main():
        async with target() as here:
            peer = await here.connect()
            await here.holds(1)
            here.pass_time(HEADER - 0.1)
            assert here.connections == 1
            here.pass_time(0.1)
            assert await peer.rest() == b""
            await here.has_only(0)

    run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        [GET[i : i + 1] for i in range(10)],
        [handshake()[i : i + 1] for i in range(10)],
        [b"GET / HTTP/1.1\r\n", b"Host: a\r\n", *[b"X: y\r\n"] * 8],
        [b"\r", b"\n", *[GET[i : i + 1] for i in range(8)]],
    ],
    ids=["a byte a second", "a byte of a handshake a second", "a header a second", "a blank line"],
)
def test_a_head_that_trickles_in(run, pieces):
    async def main():
        async with target() as here:
            peer = await here.connect()
            await trickle(here, peer, pieces, 0.99)
            assert here.connections == 1
            here.pass_time(0.2)
            answer = await peer.head()
            assert (answer.status, answer.fields["connection"]) == (408, "close")
            assert await peer.rest() == b""
            await here.has_only(0)

    run(main())


def test_a_later_head_that_trickles_in(run):
    """Between requests there is more time, but not within the next one."""

    async def main():
        async with target() as here:
            peer = await here.ask(GET)
            assert (await peer.head()).status == 200
            here.pass_time(IDLE - 1)
            await trickle(here, peer, [b"G", b"E", b"T"], 3)
            assert here.connections == 1
            here.pass_time(1)
            assert (await peer.head()).status == 408

    run(main())


def test_a_connection_kept_open_for_nothing(run):
    async def main():
        async with target() as here:
            peer = await here.ask(GET)
            assert (await peer.head()).status == 200
            here.pass_time(IDLE - 0.1)
            assert here.connections == 1
            here.pass_time(0.1)
            assert await peer.rest() == b""
            await here.has_only(0)

    run(main())


@pytest.mark.parametrize(
    ("framing", "piece"),
    [
        (b"Content-Length: 99", b"x"),
        (b"Transfer-Encoding: chunked", b"1\r\nx\r\n"),
        (b"Transfer-Encoding: chunked", b"1;"),
    ],
    ids=["a byte a second", "a chunk a second", "a chunk header a second"],
)
def test_a_body_that_trickles_in(run, framing, piece):
    async def main():
        async with target() as here:
            peer = await here.ask(b"POST /body HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
            await trickle(here, peer, [piece] * 6, 4.9)
            assert here.connections == 1
            here.pass_time(1)
            assert (await peer.head()).status == 408
            assert await peer.rest() == b""
            await here.has_only(0)

    run(main())


@pytest.mark.parametrize("hello", [b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_tls_hello_on_a_plain_port(run, hello):
    """It needs no time at all: its first byte begins no request."""

    async def main():
        async with target() as here:
            peer = await here.ask(hello)
            assert (await peer.head()).status == 400
            assert await peer.rest() == b""
            await here.has_only(0)

    run(main())


HALVES = {
    "one byte of a header": raw(FIN | TEXT, b"x")[:1],
    "half a header": raw(FIN | TEXT, b"x" * 300)[:3],
    "a header without its key": raw(FIN | BINARY, b"x" * 70_000)[:11],
    "a header and no payload": raw(FIN | TEXT, b"x" * 300)[:8],
    "half a frame": raw(FIN | TEXT, b"x" * 300)[:100],
    "half a ping": raw(FIN | PING, b"x" * 100)[:50],
    "a first fragment": raw(TEXT, b"x"),
    "a first fragment of nothing": raw(TEXT),
    "fragments": raw(TEXT, b"x") + raw(CONT, b"x") * 10,
}


@pytest.mark.parametrize("name", HALVES)
def test_half_a_frame_and_silence(run, name):
    """No pong comes: the connection ends with the first ping that nobody answers."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            await peer.send(HALVES[name])
            await peer.arrived()
            for _ in range(PINGS // 10 + 1):
                here.pass_time(9.9)
            assert here.websockets == [peer.pid]
            here.pass_time(12)
            assert await peer.closed_with() == 1011
            await here.has_only(0)

    run(main())


@pytest.mark.parametrize(
    "piece",
    [b"x", None, raw(CONT, b"x"), raw(CONT), raw(CONT, b"x") + raw(FIN | PONG)],
    ids=[
        "a byte of a payload",
        "a byte of a header",
        "a fragment",
        "an empty fragment",
        "a fragment and a pong",
    ],
)
def test_half_a_frame_that_goes_on_for_ever(run, piece):
    """Bytes of a message are signs of life; its age is what ends it."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            header = raw(FIN | BINARY, announce=2**19, key=None)[:1] + b"\xff"
            if piece is None:
                pieces = [bytes([one]) for one in header + (2**19).to_bytes(8, "big")]
            else:
                first = raw(TEXT, b"x") if len(piece) > 1 else raw(FIN | BINARY, announce=2**19)
                pieces = [first, *[piece] * 9]
            for one in pieces:
                await peer.send(one)
                await peer.arrived()
                here.pass_time(MESSAGE / len(pieces) - 0.01)
            assert here.websockets == [peer.pid]
            here.pass_time(1)
            assert await peer.closed_with() == 1008
            await here.has_only(0)

    run(main())


def test_a_client_that_says_nothing_after_the_handshake(run):
    async def main():
        async with target() as here:
            peer = await here.upgraded()
            here.pass_time(PINGS / 2 + 1)
            kind, _ = await peer.receive()
            assert kind == PING
            here.pass_time(PINGS / 2 + 1)
            assert await peer.closed_with() == 1011
            await here.has_only(0)

    run(main())


PHASES = [
    b"",
    b"G",
    GET[:20],
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n",
    handshake()[:40],
    b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
    b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
    handshake() + raw(FIN | TEXT, b"x" * 300)[:1],
    handshake() + raw(FIN | TEXT, b"x" * 300)[:100],
    handshake() + raw(TEXT, b"x"),
]


def test_three_hundred_in_all_phases_while_an_ordinary_client_is_served(run):
    async def main():
        async with target() as here:
            chat = await here.upgraded()
            for index in range(300):
                await here.ask(PHASES[index % len(PHASES)])
                if index % 50 == 0:
                    await chat.echoes(1)
            await here.holds(301)
            await chat.echoes(20)
            await here.serves()
            for _ in range(8):
                here.pass_time(10)
                await chat.answers_pings()
            await here.has_only(1)
            await chat.answers_pings()

    run(main())
