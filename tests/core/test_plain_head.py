import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsrelay_core import read_plain_head

LIMITS = (8192, 16384, 100)
HANDSHAKE = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nX:\r\nSec-WebSocket-Version:13\r\n"
    b"x: \t a \xff b\t \r\n\r\n"
)


def test_a_handshake():
    assert read_plain_head(HANDSHAKE, *LIMITS) == (
        "GET",
        b"/chat?room=1",
        [
            (b"host", b"localhost:8080"),
            (b"upgrade", b"websocket"),
            (b"connection", b"keep-alive, Upgrade"),
            (b"x", b""),
            (b"sec-websocket-version", b"13"),
            (b"x", b"a \xff b"),
        ],
        {
            b"host": [b"localhost:8080"],
            b"upgrade": [b"websocket"],
            b"connection": [b"keep-alive, Upgrade"],
            b"x": [b"", b"a \xff b"],
            b"sec-websocket-version": [b"13"],
        },
    )


def test_the_method_is_any_token():
    method, target, *_ = read_plain_head(b"Get-It! * HTTP/1.1\r\nHost: a\r\n\r\n", *LIMITS)
    assert (method, target) == ("Get-It!", b"*")


NOT_PLAIN = {
    "nothing": b"",
    "no method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method that is no token": b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte above 127 in the target": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "http in lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "a request line alone": b"GET / HTTP/1.1\r\n",
    "no field": b"GET / HTTP/1.1\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "two of Host": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "a line without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
    "a field without a name": b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0\r\n\r\n",
    "a DEL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\r\nHost: a\nX: a\r\n\r\n",
    "a bare CR": b"GET / HTTP/1.1\r\nHost: a\rX: a\r\n\r\n",
    "an end of CR CR": b"GET / HTTP/1.1\r\nHost: a\r\n\r\r",
    "no empty line": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "half an empty line": b"GET / HTTP/1.1\r\nHost: a\r\n\r",
    "bytes behind the empty line": b"GET / HTTP/1.1\r\nHost: a\r\n\r\nX",
    "a length": b"GET / HTTP/1.1\r\nHost: a\r\nContent-LENGTH: 0\r\n\r\n",
    "a transfer coding": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an expectation": b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_others(name):
    assert read_plain_head(NOT_PLAIN[name], *LIMITS) is None


def test_every_cut_of_a_head_is_not_plain():
    for size in range(len(HANDSHAKE)):
        assert read_plain_head(HANDSHAKE[:size], *LIMITS) is None


def test_the_limits():
    line = HANDSHAKE.index(b"\r\n")
    fields = len(HANDSHAKE) - line - 4
    assert read_plain_head(HANDSHAKE, line, fields, 6) is not None
    assert read_plain_head(HANDSHAKE, line - 1, fields, 6) is None
    assert read_plain_head(HANDSHAKE, line, fields - 1, 6) is None
    assert read_plain_head(HANDSHAKE, line, fields, 5) is None


def test_names_of_one_letter_do_not_change_what_is_everybodys():
    read_plain_head(b"GET / HTTP/1.1\r\nHost: a\r\nX: Y\r\n\r\n", *LIMITS)
    assert bytes([88]) == b"X"
    assert bytes([88]).hex() == "58"


PIECES = [
    *("GET", "POST", "/", "/a", "*", "HTTP/1.1", "HTTP/1.0", "Host", "a", "5", "chunked"),
    *("Content-Length", "Transfer-Encoding", "Expect: ", ":", ": ", ",", "#", " ", "  ", "\t"),
    *("GET / HTTP/1.1\r\n", "Host: a\r\n", "X: y\r\n", "\r\n", "\r\n\r\n", "\n", "\r"),
    *("\0", "\x7f", "\xff"),
]
PARTS = st.sampled_from([piece.encode("latin-1") for piece in PIECES])
FIELDS = st.lists(st.tuples(PARTS, PARTS, PARTS), max_size=6).map(
    lambda rows: b"".join(b"%b:%b%b\r\n" % row for row in rows)
)


@given(
    st.one_of(
        st.lists(PARTS, max_size=30).map(b"".join),
        FIELDS.map(b"GET /a HTTP/1.1\r\nHost: a\r\n%b\r\n".__mod__),
    )
)
@example(HANDSHAKE)
def test_h11_reads_what_is_plain_the_same(data):
    found = read_plain_head(data, *LIMITS)
    if found is None:
        return
    method, target, pairs, index = found
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert (event.method.decode(), event.target, event.http_version) == (method, target, b"1.1")
    assert list(event.headers) == pairs
    assert isinstance(connection.next_event(), h11.EndOfMessage), "it has a body"
    assert connection.trailing_data[0] == b""
    for name, values in index.items():
        assert values == [value for key, value in pairs if key == name]
    assert {name for name, _ in pairs} == set(index)
