"""Options of middleware: texts by dotted name."""

import pytest

from wsrelay.middleware.options import (
    Option,
    OptionError,
    choice,
    count,
    duration,
    flag,
    names,
    read_options,
    size,
    tokens,
)

TABLE = (
    Option("x.limit", count, 7),
    Option("x.timeout", duration, 1.5),
    Option("plain", str, None),
)


def test_what_is_absent_has_its_default():
    assert read_options(TABLE, {}, ("x.",)) == {"x.limit": 7, "x.timeout": 1.5, "plain": None}


def test_what_is_given_is_read_without_blanks():
    given = {"x.limit": " 3 ", "x.timeout": "30s", "plain": "text"}
    assert read_options(TABLE, given, ("x.",)) == {
        "x.limit": 3,
        "x.timeout": 30.0,
        "plain": "text",
    }


def test_options_of_others_are_passed_over():
    assert read_options(TABLE, {"y.limit": "?"}, ("x.",))["x.limit"] == 7


def test_all_problems_are_told_at_once():
    given = {"x.limti": "1", "x.limit": "many", "x.timeout": "30", "x.nothing.like.it": "1"}
    with pytest.raises(OptionError) as caught:
        read_options(TABLE, given, ("x.",))
    assert caught.value.problems == [
        ("x.limti", 'unknown option "x.limti", did you mean "x.limit"?'),
        ("x.limit", 'x.limit: "many" is no whole number'),
        ("x.timeout", 'x.timeout: "30" has no unit; write "30s" for seconds'),
        ("x.nothing.like.it", 'unknown option "x.nothing.like.it"'),
    ]
    assert str(caught.value).count("; ") >= 3


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (duration, "30s", 30.0),
        (duration, "0", 0.0),
        (duration, "0s", 0.0),
        (duration, "1ns", 0.001),
        (size, "1MiB", 1024 * 1024),
        (size, "100", 100),
        (count, "0", 0),
        (count, "12", 12),
        (flag, "true", True),
        (flag, "false", False),
        (names, "a, b ,,c", ("a", "b", "c")),
        (names, "", ()),
        (tokens, "v2.chat, v1.chat", ("v2.chat", "v1.chat")),
        (tokens, "", ()),
        (choice("on", "off"), "on", "on"),
    ],
)
def test_readers(read, text, value):
    assert read(text) == value
    assert type(read(text)) is type(value)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (duration, "-1s", "can't be negative"),
        (duration, "5", 'write "5s"'),
        (duration, "", "is not a duration"),
        (size, "0", "a size of 0"),
        (size, "1XB", "unknown unit"),
        (size, "-1", "is not a size"),
        (count, "-1", "no whole number"),
        (count, "1.5", "no whole number"),
        (count, "٣", "no whole number"),
        (count, "", "no whole number"),
        (flag, "yes", "neither true nor false"),
        (flag, "True", "neither true nor false"),
        (tokens, "a b", '"a b" is no token'),
        (tokens, "v1, ü", '"ü" is no token'),
        (tokens, "v1, v1", '"v1" is there twice'),
        (choice("close", "drop_oldest"), "drop-oldest", 'did you mean "drop_oldest"'),
        (choice("close", "drop_oldest"), "?", "write close, drop_oldest"),
    ],
)
def test_readers_refuse(read, text, message):
    with pytest.raises(ValueError) as caught:
        read(text)
    assert message in str(caught.value)


def test_text_that_is_shown_stays_on_its_line():
    with pytest.raises(OptionError) as caught:
        read_options(TABLE, {"x.limit": "1\n2", "x.\x1b": "1"}, ("x.",))
    assert str(caught.value).isprintable()
