"""Durations and sizes: what is read, what is refused, and how a duration is written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config import duration_ms, format_duration, parse_duration, parse_size, seconds
from wsrelay.config.durations import format_size

MONTHS = 2**23 * 10**9  # as long as a float of seconds holds every nanosecond


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("300ms", 0.3),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1.5h", 5400.0),
        ("1h15m30.918s", 4530.918),
        ("10us", 1e-5),
        ("10µs", 1e-5),  # the micro sign
        ("10\u03bcs", 1e-5),  # the Greek letter
        ("7ns", 7e-9),
        ("0", 0.0),
        ("-0", 0.0),
        ("+0", 0.0),
        ("0s", 0.0),
        ("-1.5s", -1.5),
        ("+5s", 5.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("1s1s", 2.0),
        ("1s1m", 61.0),
        ("0.3333333333333333333h", 1200.0),
        ("0." + "1" * 5000 + "s", 0.111111111),
        ("0" * 5000 + "1s", 1.0),
        ("9223372036854775807ns", 9223372036.854775807),
    ],
)
def test_durations_are_read(text, result):
    assert parse_duration(text) == pytest.approx(result, rel=1e-9)


NOT_ONE = 'is not a duration; write one such as "30s"'
TOO_LONG = "is too long for a duration; the most is 292 years"
UNITS = "the units are ns, us, ms, s, m, h"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f'"" {NOT_ONE}'),
        ("+", f'"+" {NOT_ONE}'),
        ("s", f'"s" {NOT_ONE}'),
        (".s", f'".s" {NOT_ONE}'),
        ("--5s", f'"--5s" {NOT_ONE}'),
        (" 5s", f'" 5s" {NOT_ONE}'),
        ("soon", f'"soon" {NOT_ONE}'),
        ("1.2.3s", f'"1.2.3s" {NOT_ONE}'),
        ("٣s", f'"٣s" {NOT_ONE}'),
        ("30", '"30" has no unit; write "30s" for seconds'),
        ("1m30", '"1m30" has no unit; write "1m30s" for seconds'),
        ("00", '"00" has no unit; write "00s" for seconds'),
        ("9" * 30, f'"{"9" * 30}" {NOT_ONE}'),
        ("3d", f'"3d" has the unknown unit "d"; {UNITS}'),
        ("30S", f'"30S" has the unknown unit "S"; {UNITS}'),
        ("5 s", f'"5 s" has the unknown unit " s"; {UNITS}'),
        ("5s\n", f'"5s\\n" has the unknown unit "s\\n"; {UNITS}'),
        ("9223372036854775808ns", f'"9223372036854775808ns" {TOO_LONG}'),
        ("2562048h", f'"2562048h" {TOO_LONG}'),
        ("2562047h48m", f'"2562047h48m" {TOO_LONG}'),
        ("9" * 5000 + "s", f'"{"9" * 79}…" {TOO_LONG}'),
    ],
)
def test_durations_are_refused(text, message):
    with pytest.raises(ValueError) as raised:
        parse_duration(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0s"),
        (-0.0, "0s"),
        (1e-10, "0s"),
        (-1e-10, "0s"),
        (1e-9, "1ns"),
        (1.1e-6, "1.1µs"),
        (2.2e-3, "2.2ms"),
        (0.3, "300ms"),
        (1e-6, "1µs"),
        (0.999999999, "999.999999ms"),
        (0.9999999999, "1s"),
        (1.5, "1.5s"),
        (3.3, "3.3s"),
        (60, "1m0s"),
        (90, "1m30s"),
        (7200, "2h0m0s"),
        (4530.918, "1h15m30.918s"),
        (-90, "-1m30s"),
        (245.000000001, "4m5.000000001s"),
        (10**9, "277777h46m40s"),
    ],
)
def test_durations_are_written_as_go_writes_them(number, text):
    assert format_duration(number) == text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_written(number):
    with pytest.raises(ValueError, match=f"{number} is not a duration"):
        format_duration(number)


@given(st.integers(-MONTHS, MONTHS))
def test_written_durations_read_back_to_the_nanosecond(nanoseconds):
    number = nanoseconds / 1e9
    assert parse_duration(format_duration(number)) == number


@given(st.floats(-9e9, 9e9))
def test_writing_what_was_read_changes_nothing(number):
    assert parse_duration(format_duration(number)) == pytest.approx(number, abs=1e-6, rel=1e-15)


@given(st.text(alphabet="0123456789.hmsnuµ-+e ", max_size=40))
def test_any_text_is_a_duration_or_a_value_error(text):
    try:
        assert abs(parse_duration(text)) <= 2**63 / 1e9
    except ValueError as error:
        assert str(error).startswith('"')


@pytest.mark.parametrize(
    ("value", "result"), [("30s", 30_000.0), ("1ns", 1e-6), (250, 250.0), (0.5, 0.5), (0, 0.0)]
)
def test_milliseconds_of_a_relay_header(value, result):
    assert duration_ms(value) == result


@pytest.mark.parametrize(
    ("value", "result"), [("30s", 30.0), ("0", 0.0), (5, 5.0), (0.25, 0.25), (0, 0.0)]
)
def test_seconds_of_the_process_api(value, result):
    assert seconds(value) == result


@pytest.mark.parametrize("function", [duration_ms, seconds])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (True, TypeError, "a duration is a text or a number, not bool"),
        (False, TypeError, "a duration is a text or a number, not bool"),
        (None, TypeError, "a duration is a text or a number, not NoneType"),
        ([5], TypeError, "a duration is a text or a number, not list"),
        (b"5s", TypeError, "a duration is a text or a number, not bytes"),
        (math.nan, ValueError, "not a number (NaN) is not a duration"),
        (math.inf, ValueError, "the duration is too long; the most is 292 years"),
        (-math.inf, ValueError, "a duration can't be negative"),
        (10**400, ValueError, "the duration is too long; the most is 292 years"),
        (-1, ValueError, "a duration can't be negative"),
        ("-1s", ValueError, '"-1s" is negative'),
        ("5", ValueError, '"5" has no unit; write "5s" for seconds'),
    ],
)
def test_values_that_are_no_durations(function, value, error, message):
    with pytest.raises(error) as raised:
        function(value)
    assert str(raised.value) == message


def test_the_longest_number_depends_on_its_unit():
    assert duration_ms(9e12) == 9e12
    with pytest.raises(ValueError):
        seconds(9e12)
    with pytest.raises(ValueError):
        duration_ms(9.3e15)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("16KiB", 16_384),
        ("1MiB", 1_048_576),
        ("64MiB", 67_108_864),
        ("1GiB", 2**30),
        ("1TiB", 2**40),
        ("1KB", 1000),
        ("2MB", 2_000_000),
        ("1GB", 10**9),
        ("1TB", 10**12),
        ("5B", 5),
        ("12", 12),
        ("007", 7),
        ("0", 0),
        (0, 0),
        (4096, 4096),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_sizes(value, result):
    assert parse_size(value) == result


SIZE_UNITS = "the units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("", ValueError, '"" is not a size; write one such as "16KiB" or "1MiB"'),
        ("-1", ValueError, '"-1" is not a size; write one such as "16KiB" or "1MiB"'),
        ("MiB", ValueError, '"MiB" is not a size; write one such as "16KiB" or "1MiB"'),
        ("1mib", ValueError, '"1mib" has the unknown unit "mib", did you mean "MiB"?'),
        ("1 parsec", ValueError, f'"1 parsec" has the unknown unit " parsec"; {SIZE_UNITS}'),
        (
            "1.5MiB",
            ValueError,
            '"1.5MiB" is not a whole number; write a smaller unit, such as "1536KiB"',
        ),
        ("8388608TiB", ValueError, "the size is too large; the most is 8 EiB"),
        ("9" * 5000, ValueError, "the size is too large; the most is 8 EiB"),
        (2**63, ValueError, "the size is too large; the most is 8 EiB"),
        (-1, ValueError, "a size can't be negative"),
        (True, TypeError, "a size is a text or a whole number, not bool"),
        (1.0, TypeError, "a size is a text or a whole number, not float"),
        (None, TypeError, "a size is a text or a whole number, not NoneType"),
    ],
)
def test_sizes_are_refused(value, error, message):
    with pytest.raises(error) as raised:
        parse_size(value)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, 0),
        (1, 1),
        (1000, 1000),
        (1024, "1KiB"),
        (1536 * 1024, "1536KiB"),
        (64 * 1024 * 1024, "64MiB"),
        (1024**4, "1TiB"),
    ],
)
def test_format_size(size, text):
    assert format_size(size) == text


@given(st.integers(0, 2**62))
def test_a_size_is_read_back(size):
    assert parse_size(format_size(size)) == size
