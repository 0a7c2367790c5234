"""Request smuggling round the upgrade, and in the framing of bodies.

A refused upgrade ends the connection; bytes behind a good one are frames, nothing else.
"""

import pytest
from attack_helpers import BEHIND, GET, handshake, target
from raw_frames import CLOSE, FIN, PING, PONG, TEXT, raw

both_ways = pytest.mark.parametrize("how", ["whole", "bytes"])

LENGTH = b"%d" % len(BEHIND)

# Status, and the refused handshake.
REFUSED = {
    "a body of a length on the GET": (400, handshake(Content_Length=LENGTH)),
    "a chunked body on the GET": (400, handshake(Transfer_Encoding="chunked") + b"0\r\n\r\n"),
    "a body of a length and chunks": (
        400,
        handshake(Content_Length="5", Transfer_Encoding="chunked") + b"0\r\n\r\n",
    ),
    "no key": (400, handshake(Sec_WebSocket_Key=None)),
    "version 8": (426, handshake(Sec_WebSocket_Version="8")),
    "no version": (400, handshake(Sec_WebSocket_Version=None)),
    "an origin that is not allowed": (403, handshake(Origin="https://evil.example")),
    "another method": (405, handshake(method="POST")),
    "malformed extensions": (400, handshake(Sec_WebSocket_Extensions="a;")),
    "malformed subprotocols": (400, handshake(Sec_WebSocket_Protocol="a,a")),
    "a route that does not upgrade": (200, handshake("/ok")),
}


@both_ways
@pytest.mark.parametrize("name", REFUSED)
def test_a_request_behind_a_refused_upgrade_is_never_read(run, name, how):
    async def main():
        status, data = REFUSED[name]
        async with target() as here:
            peer = await here.ask(data + BEHIND, how)
            answer = await peer.head()
            assert answer.status == status
            assert "close" in answer.fields["connection"]
            assert await peer.rest() == b""
            assert here.upgrades == 0
            assert "/behind" not in here.paths

    run(main())


@both_ways
def test_a_request_behind_a_good_upgrade_is_a_bad_frame(run, how):
    """`GET` is a frame with reserved bits: 1002, and no handler runs."""

    async def main():
        async with target() as here:
            peer = await here.ask(handshake() + BEHIND, how)
            assert (await peer.head()).status == 101
            assert await peer.closed_with() == 1002
            assert here.paths == []

    run(main())


@both_ways
def test_bytes_behind_a_good_upgrade_are_frames(run, how):
    """Also those that look like a request."""

    async def main():
        async with target() as here:
            peer = await here.ask(handshake() + raw(FIN | TEXT, BEHIND), how)
            assert (await peer.head()).status == 101
            assert await peer.receive() == (TEXT, BEHIND)
            assert here.paths == []

    run(main())


def test_a_request_sent_while_the_handler_of_an_upgrade_runs_is_never_read(run):
    async def main():
        async with target() as here:
            peer = await here.ask(handshake("/chat/slow"))
            await here.inside.wait()
            await peer.send(BEHIND)
            here.go.set()
            assert (await peer.head()).status == 101
            assert await peer.closed_with() == 1002
            assert here.paths == []

    run(main())


@both_ways
def test_pipelining_an_upgrade_behind_plain_requests(run, how):
    """They are answered in their order, and the frames behind the handshake are its own."""

    async def main():
        async with target() as here:
            peer = await here.ask(GET * 3 + handshake() + raw(FIN | PING, b"!"), how)
            assert [(await peer.head()).status for _ in range(3)] == [200] * 3
            assert (await peer.head()).status == 101
            assert await peer.receive() == (PONG, b"!")

    run(main())


def test_two_upgrades_on_one_connection(run):
    async def main():
        async with target() as here:
            peer = await here.ask(handshake() * 2)
            assert (await peer.head()).status == 101
            assert await peer.closed_with() == 1002
            assert here.upgrades == 1

    run(main())


def test_an_upgrade_to_h2c_is_a_plain_request(run):
    async def main():
        async with target() as here:
            fields = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}
            peer = await here.ask(handshake("/ok", **fields, HTTP2_Settings="AAMAAABkAAQAAP__"))
            answer = await peer.head()
            assert answer.status == 200
            assert "upgrade" not in answer.fields

    run(main())


# -- in the framing of bodies ----------------------------------------------------------------------

POST = b"POST /first HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
AFTER_CHUNKS = b"0\r\n\r\n" + BEHIND

# What must not be read as a request of its own is in `/behind`.
SMUGGLED = {
    "CL.TE": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + AFTER_CHUNKS,
    "TE.CL": CHUNKED + b"Content-Length: 6\r\n\r\n" + AFTER_CHUNKS,
    "TE.TE, a near-miss": CHUNKED + b"Transfer-Encoding: xchunked\r\n\r\n" + AFTER_CHUNKS,
    "TE.TE, twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n" + AFTER_CHUNKS,
    "TE with a tab": POST + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n" + AFTER_CHUNKS,
    "TE behind a space": POST + b"Transfer-Encoding : chunked\r\n\r\n" + AFTER_CHUNKS,
    "TE on a folded line": POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + AFTER_CHUNKS,
    "TE behind a bare LF": POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n" + AFTER_CHUNKS,
    "TE behind a bare CR": POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n" + AFTER_CHUNKS,
    "TE of HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"\r\n" + AFTER_CHUNKS,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 99\r\n\r\n" + BEHIND,
    "two lengths in one": POST + b"Content-Length: 0, 99\r\n\r\n" + BEHIND,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + BEHIND,
    "a length with an underscore": POST + b"Content-Length: 0_0\r\n\r\n" + BEHIND,
    "a length in other digits": POST + "Content-Length: \u0660\r\n\r\n".encode() + BEHIND,
    "within a length": POST + b"Content-Length: " + LENGTH + b"\r\n\r\n" + BEHIND,
    "within a chunk": CHUNKED + b"\r\n%x\r\n" % len(BEHIND) + BEHIND + b"\r\n0\r\n\r\n",
    "within trailers": CHUNKED + b"\r\n0\r\n" + BEHIND,
    "behind a bare LF in a chunk extension": CHUNKED + b"\r\n0;a\n" + BEHIND,
    "behind a bare LF after a last chunk": CHUNKED + b"\r\n0\r\n\n" + BEHIND,
    "behind a chunk without its end": CHUNKED + b"\r\n1\r\nxXX0\r\n\r\n" + BEHIND,
    "behind a bare CR": b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\r\r\n" + BEHIND,
    "behind HTTP/1.0": b"GET /first HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + BEHIND,
}


@both_ways
@pytest.mark.parametrize("name", SMUGGLED)
def test_no_second_reading_of_one_request(run, name, how):
    """The request, if it is served at all, is one; what is inside it is its body."""

    async def main():
        async with target() as here:
            peer = await here.ask(SMUGGLED[name], how)
            peer.half_close()
            await peer.rest()
            assert here.paths in ([], ["/first"])

    run(main())


def test_close_frames_and_requests_behind_a_close_frame(run):
    async def main():
        async with target() as here:
            peer = await here.upgraded()
            await peer.send(raw(FIN | CLOSE, b"\x03\xe8") + BEHIND)
            assert await peer.closed_with() == 1000
            assert await peer.receive() is None
            assert here.paths == []

    run(main())
