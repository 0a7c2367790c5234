from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http import Headers
from wsrelay.http.static_conditions import (
    RangeNotSatisfiable,
    Validators,
    failed_precondition,
    range_applies,
    requested_range,
)

MODIFIED = 784111777  # the date of the RFC's examples
STRONG = Validators(b'"abc"', MODIFIED, strong=True)
WEAK = Validators(b'"abc"', MODIFIED, strong=False)
THEN, BEFORE = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


def test_a_weak_tag_says_so():
    assert (STRONG.etag, WEAK.etag) == (b'"abc"', b'W/"abc"')


@pytest.mark.parametrize(
    ("fields", "strong", "weak"),
    [
        ({}, None, None),
        # RFC 9110 13.1.1: strong comparison
        ({"If-Match": '"abc"'}, None, 412),
        ({"If-Match": 'W/"abc"'}, 412, 412),
        ({"If-Match": "*"}, None, None),
        ({"If-Match": '"x", "abc"'}, None, 412),
        ({"If-Match": '"x"'}, 412, 412),
        ({"If-Match": ""}, 412, 412),
        # 13.1.2: weak comparison
        ({"If-None-Match": '"abc"'}, 304, 304),
        ({"If-None-Match": 'W/"abc"'}, 304, 304),
        ({"If-None-Match": '"x" ,W/"abc"'}, 304, 304),
        ({"If-None-Match": "*"}, 304, 304),
        ({"If-None-Match": '"x"'}, None, None),
        ({"If-None-Match": "abc"}, None, None),
        ({"If-None-Match": '"abc'}, None, None),
        ({"If-None-Match": '"x, "abc"'}, None, None),
        ({"If-None-Match": 'w/"abc"'}, None, None),
        ({"If-None-Match": '"x""abc"'}, None, None),
        ({"If-None-Match": ',"x",, "abc",'}, 304, 304),
        # 13.1.3, 13.1.4
        ({"If-Modified-Since": THEN}, 304, 304),
        ({"If-Modified-Since": LATER}, 304, 304),
        ({"If-Modified-Since": BEFORE}, None, None),
        ({"If-Modified-Since": "yesterday"}, None, None),
        ({"If-Unmodified-Since": THEN}, None, None),
        ({"If-Unmodified-Since": LATER}, None, None),
        ({"If-Unmodified-Since": BEFORE}, 412, 412),
        ({"If-Unmodified-Since": "yesterday"}, None, None),
        # 13.2.2: what comes first
        ({"If-Match": '"abc"', "If-Unmodified-Since": BEFORE}, None, 412),
        ({"If-Match": '"x"', "If-None-Match": '"abc"'}, 412, 412),
        ({"If-None-Match": '"x"', "If-Modified-Since": THEN}, None, None),
        ({"If-Unmodified-Since": THEN, "If-None-Match": '"abc"'}, 304, 304),
    ],
)
def test_preconditions(fields, strong, weak):
    assert failed_precondition(Headers(fields), STRONG) == strong
    assert failed_precondition(Headers(fields), WEAK) == weak


@pytest.mark.parametrize(
    "date", [THEN, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_forms_of_a_date(date):
    assert failed_precondition(Headers({"If-Modified-Since": date}), STRONG) == 304


def test_two_dates_are_none():
    twice = Headers([("If-Modified-Since", THEN), ("If-Modified-Since", THEN)])
    assert failed_precondition(twice, STRONG) is None


def test_a_file_without_a_date():
    undated = Validators(b'"abc"', None, strong=True)
    for name in ("If-Modified-Since", "If-Unmodified-Since"):
        assert failed_precondition(Headers({name: THEN}), undated) is None
    assert not range_applies(Headers({"If-Range": THEN}), undated)


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        ('"abc"', True, False),
        ('W/"abc"', False, False),
        ('"x"', False, False),
        ('"abc", "x"', False, False),
        (THEN, True, False),
        (LATER, False, False),  # 13.1.5: an exact match
        (BEFORE, False, False),
        ("nonsense", False, False),
    ],
)
def test_if_range(value, strong, weak):
    assert range_applies(Headers({"If-Range": value}), STRONG) is strong
    assert range_applies(Headers({"If-Range": value}), WEAK) is weak
    assert range_applies(Headers(), WEAK)
    assert not range_applies(Headers([("If-Range", value)] * 2), STRONG)


UNSATISFIABLE = object()


@pytest.mark.parametrize(
    ("value", "size", "part"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=2-5", 10, (2, 6)),
        ("Bytes=2-5", 10, (2, 6)),
        ("bytes= 2-5 ", 10, (2, 6)),
        ("bytes=,2-5,", 10, (2, 6)),
        ("bytes=2-", 10, (2, 10)),
        ("bytes=2-99", 10, (2, 10)),
        ("bytes=2-" + "9" * 5000, 10, (2, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-30", 10, (0, 10)),
        ("bytes=-" + "9" * 5000, 10, (0, 10)),
        ("bytes=9-", 10, (9, 10)),
        ("bytes=10-", 10, UNSATISFIABLE),
        ("bytes=10-20", 10, UNSATISFIABLE),
        ("bytes=" + "9" * 5000 + "-", 10, UNSATISFIABLE),
        ("bytes=-0", 10, UNSATISFIABLE),
        ("bytes=0-", 0, UNSATISFIABLE),
        ("bytes=-5", 0, None),
        # malformed, several, other units: the whole
        ("bytes=5-2", 10, None),
        ("bytes=-", 10, None),
        ("bytes=", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=" + ",".join(["0-"] * 1000), 10, None),
        ("bytes 0-1", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=+0-1", 10, None),
        ("bytes=0-1-2", 10, None),
        ("", 10, None),
    ],
)
def test_ranges(value, size, part):
    values = [value.encode()]
    if part is UNSATISFIABLE:
        with pytest.raises(RangeNotSatisfiable):
            requested_range(values, size)
    else:
        assert requested_range(values, size) == part


def test_no_range_and_two():
    assert requested_range([], 10) is None
    assert requested_range([b"bytes=0-1", b"bytes=0-1"], 10) is None


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_range_is_the_slice_that_it_names(first, last, size):
    content = bytes(range(size))
    try:
        part = requested_range([f"bytes={first}-{last}".encode()], size)
    except RangeNotSatisfiable:
        assert content[first:] == b""
        return
    if part is None:
        assert last < first
    else:
        assert content[slice(*part)] == content[first : last + 1] != b""


any_value = st.one_of(
    st.binary(max_size=60),
    st.text(alphabet='bytes=0123456789-, W/"*', max_size=60).map(str.encode),
    st.integers(-(2**40), 2**40).map(lambda moment: str(moment).encode()),
    st.integers(0, 2**33).map(lambda moment: formatdate(moment, usegmt=True).encode()),
    st.text(alphabet="SunNovGMT06819-:, +", max_size=40).map(str.encode),
)


@given(any_value, st.integers(0, 100))
def test_no_header_is_more_than_it_can_take(value, size):
    names = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
    for name in names:
        fields = [(name.encode(), value)]
        headers = Headers.indexed(fields, {name.encode(): [value]})
        for current in (STRONG, WEAK):
            assert failed_precondition(headers, current) in (None, 304, 412)
            assert range_applies(headers, current) in (True, False)
    try:
        part = requested_range([value], size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part[0] < part[1] <= size
