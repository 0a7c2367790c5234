import contextlib
import time

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from malformed_heads import GET, MALFORMED, OTHERS

from wsrelay.http import HTTPError, Limits
from wsrelay.http.head import HeadReader, read_head, take_whole

LIMITS = Limits()


def read(data, how="whole", limits=LIMITS, behind=b""):
    """Read one head and return it with what the buffer keeps."""
    reader, buffer, head = HeadReader(limits), bytearray(), None
    pieces = [data + behind] if how == "whole" else [data[i : i + 1] for i in range(len(data))]
    for piece in pieces:
        buffer += piece
        head = reader.take(buffer)
        if head is not None:
            break
    else:
        return None, bytes(buffer)
    if how != "whole":
        assert piece is pieces[-1]
        buffer += behind
    return head, bytes(buffer)


def status_of(data, how="whole", limits=LIMITS):
    with pytest.raises(HTTPError) as caught:
        head, _ = read(data, how, limits)
        assert head is None, "accepted"
        raise AssertionError("not complete")
    return caught.value.status_code


def test_a_head_leaves_what_is_behind(how):
    data = b"POST /a%20b?c HTTP/1.1\r\nHost: A:80\r\nX:  y \t\r\nx: z\r\nContent-Length: 7\r\n\r\n"
    head, rest = read(data, how, behind=b"GET / \0")
    assert rest == b"GET / \0"
    assert (head.method, head.target, head.http_version) == ("POST", b"/a%20b?c", "1.1")
    assert head.headers.raw == [
        (b"host", b"A:80"),
        (b"x", b"y"),
        (b"x", b"z"),
        (b"content-length", b"7"),
    ]
    assert head.content_length == 7
    assert head.has_body
    assert head.keep_alive
    assert not head.expects_continue


def test_one_reader_reads_one_head_after_another(how):
    reader, buffer = HeadReader(LIMITS), bytearray()
    targets = []
    stream = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(3))
    pieces = [stream] if how == "whole" else [stream[i : i + 1] for i in range(len(stream))]
    for piece in pieces:
        buffer += piece
        while (head := reader.take(buffer)) is not None:
            targets.append(head.target)
    assert targets == [b"/0", b"/1", b"/2"]
    assert not buffer


def test_one_empty_line_before_a_request_is_ignored(how):
    head, rest = read(b"\r\n" + GET, how)
    assert head.target == b"/"
    assert rest == b""
    assert read(b"\r\n", how) == (None, b"")
    assert read(b"\r", how) == (None, b"\r")
    assert status_of(b"\r\n\r\n" + GET, how) == 400


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_heads(name, how):
    assert status_of(MALFORMED[name], how) == 400


@pytest.mark.parametrize("name", OTHERS)
def test_heads_that_are_not_served(name, how):
    status, data = OTHERS[name]
    assert status_of(data, how) == status


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02", b"\0", b"\xff", b"\n", b" ", b"(", b"\rX"])
def test_what_can_be_no_request_is_refused_at_its_first_byte(data, how):
    assert status_of(data, how) == 400


@pytest.mark.parametrize("data", [b"GET /\n", b"GET /\rX", b"GET / HTTP/1.1\r\nA: b\n"])
def test_a_bare_line_end_is_refused_before_the_head_is_complete(data, how):
    assert status_of(data, how) == 400


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    ("fields", "keep_alive"),
    [
        (b"", True),
        (b"Connection: close\r\n", False),
        (b"Connection: keep-alive, CLOSE\r\n", False),
        (b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"Connection: closed\r\n", True),
    ],
)
def test_keep_alive(version, fields, keep_alive):
    head, _ = read(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + fields + b"\r\n")
    assert head.keep_alive is (keep_alive and version == b"1.1")


def test_http_1_0_needs_no_host():
    head, _ = read(b"GET / HTTP/1.0\r\n\r\n")
    assert head.http_version == "1.0"
    assert not head.has_body


def test_the_framing_of_a_body():
    assert read(GET[:-2] + b"Content-Length: 0\r\n\r\n")[0].content_length == 0
    assert read(GET[:-2] + b"Content-Length: 0012\r\n\r\n")[0].content_length == 12
    head, _ = read(GET[:-2] + b"Content-Length: 7\r\ncontent-length: 7\r\n\r\n")
    assert head.headers.values_of(b"content-length") == [b"7"]
    assert head.content_length == 7
    head, _ = read(GET[:-2] + b"Transfer-Encoding: Chunked\r\n\r\n")
    assert head.content_length is None
    assert head.has_body


def test_expectations():
    assert read(GET[:-2] + b"Expect: 100-Continue\r\n\r\n")[0].expects_continue
    head, _ = read(b"GET / HTTP/1.0\r\nExpect: miracles\r\n\r\n")
    assert not head.expects_continue


@pytest.mark.parametrize(
    ("target", "reduced", "host"),
    [
        (b"http://b:81/x?y", b"/x?y", b"b:81"),
        (b"HTTPS://b", b"/", b"b"),
        (b"http://b?y", b"/?y", b"b"),
        (b"http://[::1]/x", b"/x", b"[::1]"),
        (b"//b/x", b"//b/x", b"a"),
        (b"/http://b/", b"/http://b/", b"a"),
    ],
)
def test_absolute_targets(target, reduced, host):
    head, _ = read(b"GET " + target + b" HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n")
    assert head.target == reduced
    assert head.headers.values_of(b"host") == [host]
    assert head.headers["x"] == "y"


def test_the_asterisk_is_for_options():
    assert read(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")[0].target == b"*"


def test_the_limit_of_the_request_line(how):
    longest = b"GET /" + b"a" * (8192 - 14) + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert longest.index(b"\r\n") == 8192
    assert read(longest, how)[0] is not None
    assert status_of(longest.replace(b"GET", b"POST"), how) == 414
    assert status_of(b"G" * 9000, how) == 414


def test_the_limit_of_the_header_block(how):
    limits = Limits(header_bytes=100)
    fields = b"Host: a\r\nX: " + b"b" * 86 + b"\r\n"
    assert len(fields) == 100
    assert read(b"GET / HTTP/1.1\r\n" + fields + b"\r\n", how, limits)[0] is not None
    longer = fields.replace(b"X", b"XX")
    assert status_of(b"GET / HTTP/1.1\r\n" + longer + b"\r\n", how, limits) == 431
    assert status_of(b"GET / HTTP/1.1\r\nX: " + b"b" * 110, how, limits) == 431
    assert status_of(b"GET / HTTP/1.1\r\n" + b"X: b\r\n" * 20, how, limits) == 431


def test_the_limit_of_the_number_of_headers(how):
    limits = Limits(headers=3)
    assert read(GET[:-2] + b"X: y\r\n" * 2 + b"\r\n", how, limits)[0] is not None
    assert status_of(GET[:-2] + b"X: y\r\n" * 3 + b"\r\n", how, limits) == 431


PIECES = """GET| |/|http://a|*|HTTP/1.1|HTTP/1.0|:|Host|a|Content-Length|Transfer-Encoding|chunked
|5|,|\t|#|GET / HTTP/1.1\r\n|Host: a\r\n|\r\n|\r\n\r\n|\n|\r|\0|\xff|Expect: """
PARTS = st.sampled_from([piece.encode("latin-1") for piece in PIECES.split("|")])


@given(st.one_of(st.binary(max_size=80), st.lists(PARTS, max_size=30).map(b"".join)))
@example(GET)
@example(b"OPTIONS * HTTP/1.0\r\n\r\n")
@example(GET[:-2] + b"X: \xff a\r\n\r\n")
def test_any_bytes_give_a_head_or_an_error_and_h11_agrees(data):
    outcomes = set()
    for how in ("whole", "bytes"):
        try:
            head, _ = read(data, how)
        except HTTPError as error:
            assert error.status_code in (400, 414, 417, 431, 501, 505)
            outcomes.add(error.status_code)
        else:
            outcomes.add(None if head is None else (head.method, head.target))
    if isinstance(outcome := outcomes.pop(), tuple):
        assert_h11_reads_the_same(data.removeprefix(b"\r\n"), *outcome)


def assert_h11_reads_the_same(data, method, target):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert event.method.decode() == method
    assert event.target.endswith(target) or target.startswith(b"/")
    block = data[: data.index(b"\r\n\r\n") + 4]
    assert dict(event.headers) == dict(read_head(block, LIMITS).headers.raw) or b"://" in block


def test_the_work_grows_with_the_length_only():
    limits = Limits(header_bytes=1 << 24, headers=1 << 20, request_line=1 << 24)
    shapes = [
        lambda n: GET[:-2] + b"X: " + b" \t" * n + b"\r\n\r\n",
        lambda n: GET[:-2] + b"X: " + b" a" * n + b"\x7f\r\n\r\n",
        lambda n: GET[:-2] + b"Connection: " + b" ," * n + b"\r\n\r\n",
        lambda n: GET[:-2] + b"a" * 2 * n + b"\r\n\r\n",
        lambda n: b"GET /" + b"%" * 2 * n + b"\r\n\r\n",
        lambda n: b"GET http://" + b"a." * n + b"@ HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    for shape in shapes:
        small, large = (work(shape(n), limits) for n in (2_000, 128_000))
        assert large < 64 * small * 6, shape(1)


def work(data, limits):
    """The least of a few processor times: what the reading itself costs."""
    times = []
    for _ in range(3):
        start = time.process_time_ns()
        with contextlib.suppress(HTTPError):
            read(data, limits=limits)
        times.append(time.process_time_ns() - start)
    return max(min(times), 20_000)


def outcome(take, buffer):
    try:
        head = take(buffer)
    except HTTPError as error:
        return error.status_code, error.detail, bytes(buffer)
    return head and (head.method, head.target, head.headers.raw, bytes(buffer))


@pytest.mark.parametrize(
    "data", [*MALFORMED.values(), GET, GET + GET, b"\r\n" + GET, GET[:-1], b""]
)
def test_a_head_in_one_piece_is_taken_as_a_reader_takes_it(data):
    whole, read = bytearray(data), bytearray(data)
    found = outcome(lambda buffer: take_whole(buffer, LIMITS), whole)
    if found is None:  # left to the reader, untouched
        assert whole == data
    else:
        assert found == outcome(HeadReader(LIMITS).take, read)
