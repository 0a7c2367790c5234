"""Malformed HTTP: answered 4xx, 501 or 505, never read twice, and the server goes on."""

import pytest
from attack_helpers import BEHIND, GET, target
from malformed_heads import MALFORMED, OTHERS

from wsrelay.http import Limits


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


HOST = b"Host: a.example"

# What the tables of heads do not have: the limits, and what is no HTTP at all.
MORE = {
    "bad methods: none": (400, head(b"/ HTTP/1.1", HOST)),
    "bad methods: with a control character": (400, head(b"G\0T / HTTP/1.1", HOST)),
    "bad methods: without end": (414, b"G" * 9000),
    "bad versions: HTTP/3.0": (505, head(b"GET / HTTP/3.0", HOST)),
    "bad versions: the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "bad versions: another protocol": (400, head(b"GET / RTSP/1.0", HOST)),
    "bad targets: out of the root": (400, head(b"GET /../x HTTP/1.1", HOST, b"Connection: close")),
    "bad targets: without end": (414, b"GET /" + b"a" * 9000),
    "bad targets: over the limit": (414, head(b"GET /" + b"a" * 9000 + b" HTTP/1.1", HOST)),
    "bytes above 127: in a target": (400, head(b"GET /\xc3\xa4 HTTP/1.1", HOST)),
    "TLS hello on a plain port": (400, b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"),
    "too many header fields": (431, head(b"GET / HTTP/1.1", HOST, *[b"X: y"] * 101)),
    "too large a header block": (431, head(b"GET / HTTP/1.1", HOST, b"X: " + b"y" * 20_000)),
    "too large a header block, without end": (
        431,
        b"GET / HTTP/1.1\r\nHost: a.example\r\nX: " + b"y" * 20_000,
    ),
    "too large a body, announced": (
        413,
        head(b"POST / HTTP/1.1", HOST, b"Content-Length: 1048577"),
    ),
}
CASES = {name: (400, data) for name, data in MALFORMED.items()} | OTHERS | MORE


# Large ones byte by byte: `tests/http/test_head.py`, without a socket.
WAYS = [(name, "whole") for name in CASES]
WAYS += [(name, "bytes") for name, (_, data) in CASES.items() if len(data) < 1000]


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_malformed_http(run, caplog, name, how):
    """A status of its kind, `Connection: close`, and no word of what comes behind."""
    status, data = CASES[name]
    ended = b"\r\n\r\n" in data

    async def main():
        async with target() as here:
            peer = await here.ask(data + (BEHIND if ended else b""), how)
            answer = await peer.head()
            assert (answer.status, answer.fields["connection"]) == (status, "close")
            assert await peer.rest() == b""
            assert (here.paths, here.upgrades) == ([], 0)
            assert (await (await here.ask(GET)).head()).status == 200

    run(main())
    assert not caplog.records


@pytest.mark.parametrize("first", [b"\x16", b"\0", b"\xff", b"\n", b" ", b"("])
def test_what_can_be_no_request_is_refused_at_its_first_byte(run, first):
    async def main():
        async with target() as here:
            assert (await (await here.ask(first)).head()).status == 400

    run(main())


@pytest.mark.parametrize("ahead", [b"GET /\n", b"GET /\rX", b"GET / HTTP/1.1\r\nA: b\n"])
def test_bare_cr_and_bare_lf_are_refused_before_the_head_is_complete(run, ahead):
    async def main():
        async with target() as here:
            assert (await (await here.ask(ahead)).head()).status == 400

    run(main())


def test_bytes_above_127_in_a_field_value_are_data(run):
    async def main():
        async with target() as here:
            peer = await here.ask(GET[:-2] + b"X: \xc3\xa4\xff\r\n\r\n")
            assert (await peer.head()).status == 200

    run(main())


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"g\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x1\r\nx\r\n0\r\n\r\n", 400),
        (b" 1\r\nx\r\n0\r\n\r\n", 400),
        (b"1\nx\n0\n\n", 400),
        (b"1\r\nxx\r\n0\r\n\r\n", 400),
        (b"1\r\nx\n\r\n0\r\n\r\n", 400),
        (b"1;a\nb\r\nx\r\n0\r\n\r\n", 400),
        (b"0\r\n X: y\r\n\r\n", 400),
        (b"0\r\nX\r\n\r\n", 400),
        (b"0\r\nX: \0\r\n\r\n", 400),
        (b"1" * 17 + b"\r\n", 400),
        (b"ffffffffffffffff\r\n", 413),
        (b"1\r\nx\r\n" * 6000, 400),
        (b"0\r\n" + b"X: y\r\n" * 4000, 431),
    ],
)
def test_malformed_chunks(run, chunks, status):
    post = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def main():
        async with target(limits=Limits(body=2**20)) as here:
            peer = await here.ask(post + chunks + BEHIND)
            answer = await peer.head()
            assert (answer.status, answer.fields["connection"]) == (status, "close")
            assert await peer.rest() == b""
            assert "/behind" not in here.paths

    run(main())
