"""What may be written of what strangers send, and how often."""

import io
import logging

import pytest

import wsrelay.http.logs
import wsrelay.lifecycle
from wsrelay.errors import ProcessExit
from wsrelay.log import Limited, describe, escape, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\r\nb\x1b[31m\x00", r"a\r\nb\x1b[31m\x00"),
        ("ü\u2028\U0001f600", r"\xfc\u2028\U0001f600"),
        ("\udc80", r"\udc80"),
        ("back\\slash", r"back\\slash"),
        (b"bytes\n", r"bytes\n"),
        ("ü".encode(), r"\xfc"),
        (b"\xff", r"\xff"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "..."),
        (b"x" * 100_000, "x" * 200 + "..."),
        ("\n" * 200, r"\n" * 100 + "..."),
    ],
)
def test_escape(text, shown):
    assert escape(text) == shown


def test_describe():
    assert describe(ValueError("bad\nthing")) == r"ValueError: bad\nthing"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, ProcessExit("text")])
def test_describe_of_an_error_whose_text_fails(failure):
    class Hostile(Exception):
        def __str__(self):
            raise failure

    assert describe(Hostile()) == "Hostile: (its text can't be shown)"


@pytest.mark.parametrize("room", [wsrelay.http.logs, wsrelay.lifecycle])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("bad 1\n2026-01-01 ERROR forged", ["  ValueError: bad 1", "  2026-01-01 ERROR forged"]),
        ("\x1b[31m\r\u2028\x85\u202eé", [r"  ValueError: \x1b[31m\r\u2028\x85\u202eé"]),
        ("x" * 100_000, ["  ValueError: " + "x" * 488 + "..."]),
        ("\n" * 100_000 + "end", ["  ", "  end"]),
    ],
)
def test_the_text_of_an_error_does_not_leave_its_traceback(room, text, last):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    room.logger.addHandler(handler)
    try:
        raise ValueError(text)
    except ValueError as error:
        room.logger.error("failed", exc_info=error)
    room.logger.removeHandler(handler)
    first, second, *lines = stream.getvalue().removesuffix("\n").split("\n")
    assert (first, second) == ("failed", "  Traceback (most recent call last):")
    assert lines[-len(last) :] == last and len(lines) <= 200
    assert all(line.startswith("  ") for line in lines)


def test_limited(caplog):
    now = 100.0
    logger = logging.getLogger("test")
    limited = Limited(most=2, period=1.0, clock=lambda: now)
    for number in range(5):
        limited.warning(logger, "line %d", number)
    now = 100.999
    limited.warning(logger, "line %d", 5)
    now = 101.0
    for number in range(6, 8):
        limited.warning(logger, "line %d", number)
    assert [one.getMessage() for one in caplog.records] == [
        "line 0",
        "line 1",
        "4 more lines like the last were left out",
        "line 6",
        "line 7",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /", "GET /"),
        ("a\r\nb\x1b[0m\x7f", r"a\r\nb\x1b[0m\x7f"),
        ("ä\u2028", r"\xe4\u2028"),
        (b"\xff\\", r"\xff\\"),
    ],
)
def test_escape_gives_one_printable_line(text, shown):
    assert escape(text) == shown


def test_escape_cuts():
    assert escape("x" * 201) == "x" * 200 + "..."
    assert escape("x" * 200) == "x" * 200
    assert len(escape("\0" * 1000)) == 203


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 日本\t\\", "Grüße, 日本\t\\"),
        ("a\r\nb\x1b[0m\x7f\x9b", r"a\r\nb\x1b[0m\x7f\x9b"),
        ("\u202e\u2066\u2028\ufeff\udc80", r"\u202e\u2066\u2028\ufeff\udc80"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
