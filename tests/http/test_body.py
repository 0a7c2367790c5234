import asyncio

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http import HTTPError
from wsrelay.http.body import ChunkedReader, LengthReader, RequestBody


def read(reader, data, how="whole", behind=b""):
    """Read a body and return it with what the buffer keeps; None where it is incomplete."""
    buffer, out = bytearray(), bytearray()
    pieces = [data + behind] if how == "whole" else [data[i : i + 1] for i in range(len(data))]
    for index, piece in enumerate(pieces):
        buffer += piece
        if reader.read(buffer, out):
            assert index == len(pieces) - 1
            buffer += behind if how != "whole" else b""
            return bytes(out), bytes(buffer)
    return None


def status_of(data, how, limit=1000):
    with pytest.raises(HTTPError) as caught:
        read(ChunkedReader(limit), data, how)
    return caught.value.status_code


def test_a_body_of_a_length(how):
    assert read(LengthReader(5), b"12345", how, b"GET") == (b"12345", b"GET")
    assert read(LengthReader(6), b"12345", how) is None


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"A\r\n0123456789\r\n1\r\n\n\r\n000\r\n\r\n", b"0123456789\n"),
        (b'1;name=value;q="\xff"\r\na\r\n0;x\r\n\r\n', b"a"),
        (b"1\r\na\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n", b"a"),
    ],
)
def test_a_chunked_body(data, body, how):
    assert read(ChunkedReader(1000), data, how, b"GET / \r\n") == (body, b"GET / \r\n")
    assert read(ChunkedReader(1000), data[:-1], how) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1 ;x\r\na\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1;a\nb\r\na\r\n",
        b"1;\ra\r\n",
        b"1;\0\r\n",
        b"1" * 17 + b"\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n\r\n",
        b"1\r\na\r\r",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"1" + b";" * 5000,
        b"0\r\n" + b"X" * 9000,
    ],
)
def test_malformed_chunks(data, how):
    assert status_of(data, how) == 400


def test_the_limit_is_on_what_is_announced(how):
    assert status_of(b"3E9\r\n", how) == 413
    assert status_of(b"1\r\na\r\n3E8\r\n", how) == 413
    assert status_of(b"F" * 16 + b"\r\n", how) == 413
    assert read(ChunkedReader(3), b"3\r\nabc\r\n0\r\n\r\n", how) == (b"abc", b"")


def test_trailers_are_bounded():
    assert status_of(b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n", "whole") == 431


def test_framing_may_not_cost_more_than_the_body():
    assert status_of(b"1\r\na\r\n" * 20_000, "whole", 1 << 20) == 400
    assert status_of((b"1;" + b"x" * 4000 + b"\r\na\r\n") * 5, "whole", 1 << 20) == 400
    chunks = b"10\r\n0123456789abcdef\r\n" * 20_000 + b"0\r\n\r\n"
    body, _ = read(ChunkedReader(1 << 20), chunks)
    assert len(body) == 320_000


CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=5)


@given(CHUNKS, st.binary(max_size=10))
def test_h11_reads_the_same(chunks, behind):
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body = b"".join(chunks)
    assert read(ChunkedReader(1000), data, "whole", behind) == (body, behind)
    assert read(ChunkedReader(1000), data, "bytes", behind) == (body, behind)
    assert h11_body(data + behind) == body


@given(st.lists(st.sampled_from([b"0", b"1", b"a", b";", b"\r\n", b"\n", b"\r", b" ", b"X: y"])))
def test_what_is_accepted_h11_accepts_too(parts):
    data = b"".join(parts)
    try:
        result = read(ChunkedReader(1000), data)
    except HTTPError as error:
        assert error.status_code in (400, 413, 431)
    else:
        if result is not None:
            assert h11_body(data) == result[0]


def h11_body(data):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data
    )
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            body += event.data
    return body


def test_those_who_wait_get_the_whole_body():
    async def main():
        asked = []
        body = RequestBody(LengthReader(4), lambda: asked.append(1))
        body.feed(bytearray(b"ab"))
        readers = [asyncio.create_task(body.read()) for _ in range(2)]
        await asyncio.sleep(0)
        assert asked
        body.feed(bytearray(b"cd"))
        assert await asyncio.gather(*readers) == [b"abcd", b"abcd"]
        assert await body.read() == b"abcd"
        assert not body.pending

    asyncio.run(main())


def test_one_who_stops_waiting_takes_nothing_from_the_other():
    async def main():
        body = RequestBody(LengthReader(1), lambda: None)
        quitter, reader = asyncio.create_task(body.read()), asyncio.create_task(body.read())
        await asyncio.sleep(0)
        quitter.cancel()
        await asyncio.sleep(0)
        body.feed(bytearray(b"x"))
        assert await reader == b"x"
        assert quitter.cancelled()

    asyncio.run(main())


def test_an_error_reaches_those_who_wait_and_those_who_come():
    async def main():
        body = RequestBody(ChunkedReader(10), lambda: None)
        reader = asyncio.create_task(body.read())
        await asyncio.sleep(0)
        body.feed(bytearray(b"ff\r\n"))
        for late in (reader, body.read()):
            with pytest.raises(HTTPError) as caught:
                await late
            assert caught.value.status_code == 413

    asyncio.run(main())
