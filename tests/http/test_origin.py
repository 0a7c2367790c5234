import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http import HandshakeError, OriginPolicy, Request


def allows(policy, *origins, host="example.com"):
    """Ask a policy, and hold it to one kind of refusal."""
    request = Request("GET", "/", [("Host", host), *(("Origin", each) for each in origins)])
    try:
        policy.check(request)
    except HandshakeError as error:
        assert error.status_code == 403
        return False
    return True


SAME = OriginPolicy(None)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("HTTPS://EXAMPLE.com", "example.COM"),
        ("http://example.com", "example.com:80"),
        ("http://example.com:80", "example.com"),
        ("https://example.com", "example.com:443"),
        ("https://example.com:443", "example.com"),
        ("http://example.com:8080", "example.com:8080"),
        ("app://example.com", "example.com"),
        ("http://[::1]:81", "[0:0:0:0:0:0:0:1]:81"),
        ("http://example.com.", "example.com."),
        ("http://127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_same_origin_is_allowed(origin, host):
    assert allows(SAME, origin, host=host)
    assert allows(OriginPolicy("https://other.example"), origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com:8080"),
        ("http://example.com", "example.com:443"),
        ("https://example.com", "example.com:80"),
        ("http://example.com:81", "example.com"),
        ("http://example.com.", "example.com"),
        ("http://evil.com", "example.com"),
        ("http://example.com.evil.com", "example.com"),
        ("http://evilexample.com", "example.com"),
        ("http://www.example.com", "example.com"),
        ("http://example.com@evil.com", "example.com"),
        ("http://evil.com#example.com", "example.com"),
        ("http://[::1]", "[::2]"),
        ("app://example.com", "example.com:80"),
    ],
)
def test_another_origin_is_refused(origin, host):
    assert not allows(SAME, origin, host=host)


NO_ORIGIN = [
    "",
    " ",
    "example.com",
    "//example.com",
    "http:example.com",
    "http://",
    "http://example.com/",
    "http://example.com/path",
    "http://example.com?",
    "http://example.com#",
    "http://user@example.com",
    "http://user:password@example.com",
    "http://@example.com",
    "http://example.com:",
    "http://example.com:x",
    "http://example.com:99999",
    "http://example.com example.com",
    "http://example.com,http://example.com",
    "http://::1",
    "http://[::1",
    "http://exam%70le.com",
    "1http://example.com",
    "://example.com",
    "http://http://example.com",
    "http://example.com\\",
    b"http://\xe4.com",
    "NULL",
]


@pytest.mark.parametrize("origin", NO_ORIGIN)
def test_what_is_no_origin_is_refused_even_where_all_are_allowed(origin):
    assert not allows(SAME, origin)
    assert not allows(OriginPolicy("*"), origin)
    assert not allows(OriginPolicy("*.com, http://*"), origin)


def test_several_origins_are_refused():
    assert not allows(SAME, "http://example.com", "http://example.com")
    assert not allows(OriginPolicy("*"), "http://a.com", "http://b.com")


def test_null_is_allowed_by_a_lone_asterisk_only():
    assert not allows(SAME, "null", host="null")
    assert not allows(OriginPolicy("*.com, http://*"), "null")
    assert allows(OriginPolicy("*"), "null")
    assert allows(OriginPolicy("https://a.com, *"), "null")


def test_a_request_without_origin():
    assert allows(SAME)
    assert allows(OriginPolicy("https://a.com"))
    assert not allows(OriginPolicy(None, require=True))
    assert not allows(OriginPolicy("*", require=True))
    assert allows(OriginPolicy(None, require=True), "http://example.com")


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://app.com", "https://app.com"),
        ("https://app.com", "https://APP.com:443"),
        ("HTTPS://App.Com:443", "https://app.com"),
        ("app.com", "http://app.com"),
        ("app.com", "https://app.com"),
        ("app.com:443", "https://app.com"),
        ("app.com:81", "http://app.com:81"),
        ("*.app.com", "https://a.app.com"),
        ("*.app.com", "https://a.b.app.com"),
        ("*app.com", "https://myapp.com"),
        ("a*c.com", "https://abc.com"),
        ("*.*.app.com", "https://a.b.app.com"),
        ("app.*", "https://app.example.org"),
        ("https://*", "https://anything.example"),
        ("*://app.com", "http://app.com"),
        ("http*://app.com", "https://app.com"),
        ("*:8080", "http://app.com:8080"),
        ("localhost:*", "http://localhost:5173"),
        ("localhost:80*", "http://localhost:8081"),
        ("[::1]", "http://[::1]"),
        ("http://[0::1]:3000", "http://[::1]:3000"),
        ("[::1]:*", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        (" a.com , b.com ", "https://b.com"),
    ],
)
def test_patterns_that_match(pattern, origin):
    assert allows(OriginPolicy(pattern), origin)


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://app.com", "http://app.com"),
        ("https://app.com", "https://app.com:80"),
        ("https://app.com", "https://app.com:8443"),
        ("https://app.com", "https://app.com."),
        ("app.com", "http://app.com:81"),
        ("app.com:443", "http://app.com"),
        ("app.com:80", "https://app.com"),
        ("*.app.com", "https://app.com"),
        ("*.app.com", "https://.app.com"),
        ("*.app.com", "https://aapp.com"),
        ("*.app.com", "https://a.app.com.evil.com"),
        ("*.app.com", "https://a.app.com:81"),
        ("*.app.com", "https://a.app.com."),
        ("a*c.com", "https://ac.com"),
        ("*.*.app.com", "https://a.app.com"),
        ("*a*", "https://a"),
        ("a*b*c", "https://abxc"),
        ("a*b*c", "https://axbc"),
        ("*.app.com", "https://evil.com:81.app.com"),
        ("app.com", "https://app-com"),
        ("a.p", "https://axp"),
        ("*:8080", "http://app.com"),
        ("localhost:*", "http://localhost"),
        ("https://*", "http://app.com"),
        ("https://*", "https://[::1]"),
        ("https://*", "https://app.com:444"),
        ("[::1]", "http://[::2]"),
    ],
)
def test_patterns_that_do_not(pattern, origin):
    assert not allows(OriginPolicy(pattern), origin)


@pytest.mark.parametrize(
    ("pattern", "mend"),
    [
        ("a.com,,b.com", "comma"),
        ("a.com,", "comma"),
        ("null", "lone"),
        ("bücher.example", "xn--"),
        ("**.example.com", "single"),
        ("https://u@a.com", "user info"),
        ("https://a.com/", "write https://a.com"),
        ("a.com/path", "write a.com"),
        ("https:/a.com", "no path"),
        ("::1", "brackets"),
        ("[::1", "write host"),
        ("[::*]", "write host"),
        ("[::1::]", "IPv6"),
        ("a.com:", "write host"),
        ("a.com:x", "write host"),
        ("a.com:99999", "65535"),
        ("a.com:0", "65535"),
        ("https://", "write host"),
        ("://a.com", "write host"),
        ("ht tp://a.com", "write host"),
        ("a b.com", "write host"),
        ("https://a.com?x", "write host"),
    ],
)
def test_a_bad_pattern_is_named_with_its_mend(pattern, mend):
    with pytest.raises(ValueError, match="bad origin pattern") as caught:
        OriginPolicy(pattern)
    assert mend in str(caught.value)


@pytest.mark.parametrize("patterns", [None, "", "  "])
def test_no_pattern_means_the_same_origin_only(patterns):
    policy = OriginPolicy(patterns)
    assert policy.same_origin_only
    assert not allows(policy, "https://other.com")
    assert not OriginPolicy("*").same_origin_only


LABELS = st.text("ab-", min_size=1, max_size=4)


@given(st.lists(LABELS, min_size=1, max_size=4), st.data())
def test_a_wildcard_stands_for_any_characters_of_a_name(labels, data):
    host = ".".join(labels) + ".example"
    start = data.draw(st.integers(0, len(host) - 1))
    end = data.draw(st.integers(start + 1, len(host)))
    pattern = host[:start] + "*" + host[end:]
    assert allows(OriginPolicy(pattern), f"https://{host}")
    assert not allows(OriginPolicy(pattern), f"https://{host[:start]}{host[end:]}")


@given(st.one_of(st.binary(max_size=40), st.text("htp:/[]1.a@*", max_size=30).map(str.encode)))
def test_any_origin_is_allowed_or_refused(origin):
    value = bytes(byte for byte in origin if byte >= 32 and byte != 127)
    for policy in (SAME, OriginPolicy("*.a, [::1]"), OriginPolicy("*")):
        allows(policy, value)


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*b", "*.a.a.a.*.b", "https://*a*a*a*:8*"])
def test_the_work_grows_with_the_length_only(pattern):
    policy = OriginPolicy(pattern)
    small, large = (work(policy, "https://" + "a." * n + "c:81") for n in (1_000, 64_000))
    assert large < 64 * small * 6


def work(policy, origin):
    times = []
    for _ in range(3):
        start = time.process_time_ns()
        allows(policy, origin)
        times.append(time.process_time_ns() - start)
    return max(min(times), 20_000)
