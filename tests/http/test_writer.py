import pytest

from wsrelay.http import Response, StreamingResponse
from wsrelay.http.writer import encode_response, encode_stream_head, says_close


def test_the_whole_response():
    response = Response("ä", 201, {"X-A": "b"})
    assert encode_response(response, b"Date: now\r\n") == (
        b"HTTP/1.1 201 Created\r\nDate: now\r\nX-A: b\r\nContent-Length: 2\r\n\r\n\xc3\xa4"
    )


def test_head_has_the_headers_of_get_alone():
    assert encode_response(Response("abc"), b"", head=True) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_content(status):
    data = encode_response(Response("abc", status), b"")
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in data


def test_framing_is_not_the_handlers():
    headers = {"Content-Length": "99", "transfer-encoding": "chunked", "Keep-Alive": "timeout=9"}
    headers |= {"Date": "never", "X-WS-Relay": "{}"}
    assert encode_response(Response("abc", headers=headers), b"") == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    )


@pytest.mark.parametrize(
    ("given", "close", "sent"),
    [
        (None, False, None),
        (None, True, b"close"),
        ("close", True, b"close"),
        ("Upgrade", False, b"Upgrade"),
        ("upgrade, close", True, b"Upgrade, close"),
        ("keep-alive", False, None),
        ("X-Private", True, b"close"),
    ],
)
def test_the_connection_header(given, close, sent):
    response = Response(headers={"Connection": given} if given else None)
    lines = encode_response(response, b"", close=close).split(b"\r\n")
    found = [line for line in lines if line.startswith(b"Connection")]
    assert found == ([b"Connection: " + sent] if sent else [])


def test_a_handler_may_ask_for_the_end():
    assert says_close(Response(headers={"connection": "Close"}))
    assert not says_close(Response(headers={"connection": "closed"}))
    assert not says_close(Response())


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, -1])
def test_a_status_that_no_final_response_has(status):
    with pytest.raises(ValueError, match="status"):
        encode_response(Response(status_code=status), b"")


def test_an_unknown_status_is_sent():
    assert encode_response(Response(status_code=299), b"").startswith(b"HTTP/1.1 299 Unknown\r\n")


async def nothing():
    return
    yield


@pytest.mark.parametrize(
    ("status", "length", "chunked", "line"),
    [
        (200, 5, False, b"Content-Length: 5\r\n"),
        (200, 0, True, b"Content-Length: 0\r\n"),
        (200, None, True, b"Transfer-Encoding: chunked\r\n"),
        (200, None, False, b""),
        (204, None, True, b""),
        (304, 5, False, b""),
    ],
)
def test_the_head_of_a_stream(status, length, chunked, line):
    response = StreamingResponse(nothing(), status, {"Transfer-Encoding": "gzip", "X-A": "b"})
    response.content_length = length
    data = encode_stream_head(response, b"Date: now\r\n", chunked=chunked, close=True)
    _, rest = data.split(b"\r\n", 1)
    assert rest == b"Date: now\r\nX-A: b\r\nConnection: close\r\n" + line + b"\r\n"


def test_a_status_that_no_stream_has():
    with pytest.raises(ValueError, match="status"):
        encode_stream_head(StreamingResponse(nothing(), 99), b"", chunked=True)
