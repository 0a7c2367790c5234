"""What trusted proxies say of a client, read from the right."""

import contextlib
import time
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsrelay.http import HTTPError, Request
from wsrelay.http.addresses import TrustedPeers
from wsrelay.http.forwarded import (
    FORWARDED,
    HOPS,
    X_FORWARDED,
    ProxyHeaders,
    elements,
    find_client,
    parse_forwarded,
)

TRUSTED = TrustedPeers([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def applied(kind, *fields):
    """Client and scheme of a request that `10.0.0.1` sent."""
    request = Request("GET", "/", fields, client=("10.0.0.1", 7))
    ProxyHeaders(TRUSTED, kind).apply(request)
    assert request.peer == "10.0.0.1"
    return request.client, request.scheme


def client_of(*lines):
    return applied(X_FORWARDED, *(("X-Forwarded-For", line) for line in lines))[0]


PEER = ("10.0.0.1", 7)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PEER),
        (["192.0.2.1"], ("192.0.2.1", 0)),
        (["192.0.2.1:99"], ("192.0.2.1", 99)),
        (["[2001:db8::1]:99"], ("2001:db8::1", 99)),
        (["::ffff:192.0.2.1"], ("192.0.2.1", 0)),
        # what stands left of the first stranger is that stranger's
        (["6.6.6.6, 192.0.2.1"], ("192.0.2.1", 0)),
        (["6.6.6.6, 192.0.2.1, 10.0.0.9"], ("192.0.2.1", 0)),
        (["10.0.0.3, 192.0.2.1, fd00::1, 10.0.0.9"], ("192.0.2.1", 0)),
        # lines are one list, in their order
        (["6.6.6.6", "192.0.2.1"], ("192.0.2.1", 0)),
        (["192.0.2.1", "10.0.0.9", "10.0.0.8, 10.0.0.7"], ("192.0.2.1", 0)),
        (["6.6.6.6, 192.0.2.1", "10.0.0.9"], ("192.0.2.1", 0)),
        # behind rubbish nothing is believed
        (["6.6.6.6, unknown, 10.0.0.9"], ("10.0.0.9", 0)),
        (["6.6.6.6, _hidden"], PEER),
        (["6.6.6.6, <script>"], PEER),
        (["6.6.6.6, 999.1.1.1, ::ffff:10.0.0.9"], ("10.0.0.9", 0)),
        # all of them trusted: the farthest
        (["10.0.0.3, 10.0.0.9"], ("10.0.0.3", 0)),
        ([" ,, 192.0.2.1 ,\t,"], ("192.0.2.1", 0)),
        (["", ","], PEER),
    ],
)
def test_x_forwarded_for(lines, client):
    assert client_of(*lines) == client


@pytest.mark.parametrize(
    ("hops", "schemes", "scheme"),
    [
        ("", "https", "https"),
        ("192.0.2.1", "https", "https"),
        ("192.0.2.1", "HTTPS", "https"),
        ("192.0.2.1", "wss", "https"),
        ("192.0.2.1", "ws", "http"),
        ("192.0.2.1", "gopher", "http"),
        ("192.0.2.1", "", "http"),
        # the client wrote the left one of each
        ("6.6.6.6, 192.0.2.1", "https, http", "http"),
        ("6.6.6.6, 192.0.2.1", "http, https", "https"),
        # behind two proxies: TLS ended at the outer one
        ("192.0.2.1, 10.0.0.9", "https, http", "https"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.9", "http, https, http", "https"),
        # lists that don't go together: what the nearest proxy wrote
        ("6.6.6.6, 192.0.2.1, 10.0.0.9", "https", "https"),
        ("192.0.2.1", "https, http", "http"),
    ],
)
def test_x_forwarded_proto(hops, schemes, scheme):
    fields = [("X-Forwarded-For", hops), ("X-Forwarded-Proto", schemes)]
    assert applied(X_FORWARDED, *fields)[1] == scheme


def test_a_scheme_that_is_not_named_stays():
    request = Request("GET", "/", scheme="https", client=("10.0.0.1", 7))
    for kind in (X_FORWARDED, FORWARDED):
        ProxyHeaders(TRUSTED, kind).apply(request)
        assert (request.client, request.scheme) == (("10.0.0.1", 7), "https")


def test_only_the_kind_that_the_proxies_write_is_read():
    """The other one is from the client."""
    fields = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "http"),
        ("Forwarded", "for=192.0.2.2;proto=https"),
        ("X-Real-IP", "192.0.2.3"),
        ("X-Forwarded-Host", "evil.example"),
        ("Host", "good.example"),
    ]
    assert applied(X_FORWARDED, *fields) == (("192.0.2.1", 0), "http")
    assert applied(FORWARDED, *fields) == (("192.0.2.2", 0), "https")
    request = Request("GET", "/", fields)
    ProxyHeaders(TRUSTED).apply(request)
    assert request.url == "http://good.example/"


@pytest.mark.parametrize(
    ("lines", "client", "scheme"),
    [
        (["for=192.0.2.1"], ("192.0.2.1", 0), "http"),
        (["For=192.0.2.1;Proto=HTTPS;by=10.0.0.1"], ("192.0.2.1", 0), "https"),
        (['for="[2001:db8::1]:99"; proto=https'], ("2001:db8::1", 99), "https"),
        (['for="192.0.2.1:_x";proto="https"'], ("192.0.2.1", 0), "https"),
        (["for=[2001:db8::1]:99"], ("2001:db8::1", 99), "http"),
        (["for=6.6.6.6;proto=https, for=192.0.2.1;proto=http"], ("192.0.2.1", 0), "http"),
        (["for=6.6.6.6", "for=192.0.2.1;proto=https"], ("192.0.2.1", 0), "https"),
        (["for=192.0.2.1;proto=https, for=10.0.0.9;proto=http"], ("192.0.2.1", 0), "https"),
        (["for=6.6.6.6;proto=http, for=_secret;proto=https"], PEER, "https"),
        (["for=6.6.6.6, for=unknown, for=10.0.0.9"], ("10.0.0.9", 0), "http"),
        (["for=6.6.6.6, proto=https"], PEER, "https"),
        (["for=6.6.6.6, for=10.0.0.2, by=x"], PEER, "http"),
        ([" ,; , for=192.0.2.1;, ;"], ("192.0.2.1", 0), "http"),
        ([""], PEER, "http"),
    ],
)
def test_forwarded(lines, client, scheme):
    assert applied(FORWARDED, *(("Forwarded", line) for line in lines)) == (client, scheme)


@pytest.mark.parametrize(
    "text",
    [
        *("192.0.2.1", "for", "for=", "=192.0.2.1", "for =192.0.2.1", "for= 192.0.2.1", "for=a=b"),
        *('for="', 'for="a', 'for="a\\"', 'for="a"b', 'for=a"b"', "for=1.1.1.1 proto=https"),
        *("for=1.1.1.1;for=2.2.2.2", "for=1.1.1.1;FOR=1.1.1.1", 'for="a\x00b"', "for=\xff"),
        # a client opens a string around what the proxy appends
        'for="6.6.6.6, for=192.0.2.1',
        'for="6.6.6.6, for="[2001:db8::1]"',
        'for=6.6.6.6;x=", for="[2001:db8::1]:5";proto=https',
    ],
)
def test_malformed_forwarded_is_refused(text):
    with pytest.raises(HTTPError) as caught:
        parse_forwarded(text)
    assert caught.value.status_code == 400


def test_forwarded_is_taken_apart():
    text = r'for="a\"\\,;";by=b,  ,For=c;secret="";'
    assert parse_forwarded(text) == [{"for": 'a"\\,;', "by": "b"}, {"for": "c", "secret": ""}]


quoted_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
tokens = st.text("abcXYZ019!#$%&'*+.^_`|~-", min_size=1, max_size=6)


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    st.lists(
        st.dictionaries(tokens.map(str.lower), quoted_text, min_size=1, max_size=4), max_size=4
    ),
    st.sampled_from([",", " , ", ",,", ", ;,"]),
    st.sampled_from([";", " ; ", ";;"]),
)
def test_what_is_written_is_what_is_read(hops, comma, semicolon):
    text = comma.join(
        semicolon.join(f"{name}={quote(value)}" for name, value in hop.items()) for hop in hops
    )
    assert parse_forwarded(text) == hops


@given(st.text(st.sampled_from('for=;,"\\ \t1.[]:_é'), max_size=40))
@example('for="\\')
def test_any_text_is_read_or_refused(text):
    try:
        hops = parse_forwarded(text)
    except HTTPError as error:
        assert error.status_code == 400
    else:
        assert all(hops)


@given(st.lists(st.lists(st.sampled_from(["", "a", " b ", "c"]), min_size=1), max_size=5))
def test_elements_are_those_of_the_joined_lines(lines):
    values = [",".join(line).encode() for line in lines]
    parts = [part.strip() for part in b",".join(values).decode().split(",")] if values else []
    assert elements(values) == [part for part in reversed(parts[-HOPS:]) if part]


def test_a_long_list_is_looked_at_from_its_end_only():
    ours = [b"10.0.0.1"] * (HOPS - 1)
    assert find_client(elements([b",".join([b"192.0.2.1", *ours])]), TRUSTED)[0][0] == "192.0.2.1"
    beyond = elements([b",".join([b"192.0.2.1", *ours, b"10.0.0.2"])])
    assert find_client(beyond, TRUSTED)[0] == ("10.0.0.1", 0)
    assert len(elements([b"10.0.0.1," * 5000] * 50)) <= HOPS


@pytest.mark.parametrize(
    "field",
    [
        *(b"," * 10**6, b"1," * 10**6, b" " * 10**6, b"1.1.1.1" * 10**5, b"[" * 10**6),
        *(b"10.0.0.1:" * 10**5, b"10.0.0.1," * 10**5),
    ],
)
def test_the_time_for_x_forwarded_for_is_linear(field):
    request = Request("GET", "/", [("X-Forwarded-For", field)] * 10)
    begin = time.process_time()
    ProxyHeaders(TRUSTED).apply(request)
    assert time.process_time() - begin < 1  # a square of 10⁶ would be minutes


@pytest.mark.parametrize(
    "field",
    [
        *(b"," * 10**6, b" " * 10**6, b"for=" + b"a" * 10**6, b'for="' + b"\\" * 10**6),
        *(b'for="' + b"a" * 10**6, b"for=a " + b" " * 10**6, b'for="",' * 10**5 + b"for"),
        b";".join(b"%d=a" % number for number in range(10**5)),
    ],
)
def test_the_time_for_forwarded_is_linear(field):
    request = Request("GET", "/", [("Forwarded", field)])
    begin = time.process_time()
    with contextlib.suppress(HTTPError):
        ProxyHeaders(TRUSTED, FORWARDED).apply(request)
    assert time.process_time() - begin < 2


def test_an_unknown_kind():
    with pytest.raises(KeyError):
        ProxyHeaders(TRUSTED, "via")
