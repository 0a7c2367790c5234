"""One record is one line that steers no terminal, as text and as JSON."""

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.log_format import FORMATS, JSONFormatter, TextFormatter, configure

HOSTILE = "a\r\n2026-01-01 00:00:00,000 ERROR   forged\x1b[31m\u202egnp.exe\u2028\x9b\x7f\x00b"


def record(message, *args, error=None, **extra):
    made = logging.getLogger("wsrelay.test").makeRecord(
        "wsrelay.test", logging.WARNING, "file.py", 1, message, args, None, extra=extra
    )
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    return made


def raised(text):
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def as_json(made):
    line = JSONFormatter().format(made)
    assert line.isascii() and line.isprintable()
    return json.loads(line)


def test_a_line_of_text():
    line = TextFormatter().format(record("hello %s", "world"))
    assert re.fullmatch(r"[\d-]{10} [\d:]{8},\d{3} WARNING wsrelay\.test: hello world", line)


def test_text_shows_what_people_write():
    assert TextFormatter().format(record("Grüße, 日本 😀\tx")).endswith(": Grüße, 日本 😀\tx")


def test_text_escapes_the_rest():
    first, second = TextFormatter().format(record("%s", HOSTILE)).split("\n")
    assert first.endswith(r": a\r")
    assert second == (
        r"    2026-01-01 00:00:00,000 ERROR   forged\x1b[31m\u202egnp.exe\u2028\x9b\x7f\x00b"
    )


def test_a_traceback_is_indented_and_escaped():
    lines = TextFormatter().format(record("failed", error=raised(HOSTILE))).split("\n")
    assert lines[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in lines[1:])
    assert "".join(lines).replace("\t", "").isprintable()
    assert r"ValueError: a\r" in lines[-2]


@given(st.text(), st.text())
def test_whatever_is_logged_only_the_first_line_begins_with_a_time(message, text):
    lines = TextFormatter().format(record("%s", message, error=raised(text))).split("\n")
    assert all(line.startswith("    ") for line in lines[1:])
    assert "".join(lines).replace("\t", "").isprintable()


def test_json():
    made = record("hello %s", "world", status=200, path="/x", who=None)
    made.created = 1769860800.0625
    assert as_json(made) == {
        "time": "2026-01-31T12:00:00.062Z",
        "level": "warning",
        "logger": "wsrelay.test",
        "message": "hello world",
        "status": 200,
        "path": "/x",
        "who": None,
    }


def test_json_of_an_exception_and_a_stack():
    made = record("failed", error=raised(HOSTILE))
    made.stack_info = "Stack:\n  here"
    found = as_json(made)
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith(f"ValueError: {HOSTILE}")
    assert found["stack"] == "Stack:\n  here"


def test_json_of_fields_whose_names_are_taken():
    found = as_json(record("x", time=1, level=2, exception=3, other=4))
    assert found["level"] == "warning"
    assert [found[f"extra_{name}"] for name in ("time", "level", "exception")] == [1, 2, 3]
    assert found["other"] == 4


class Hostile:
    def __str__(self):
        raise RuntimeError("no\ntext")

    __repr__ = __str__


def circle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": {1: b"x"}}, {"a": {"1": "b'x'"}}),
        (
            {
                1,
            },
            "{1}",
        ),
        (2**70, str(2**70)),
        ("\udcff", "\\udcff"),
        (float("nan"), None),
        (Hostile(), r"(Hostile, whose text can't be shown: RuntimeError: no\ntext)"),
        (circle(), "[[...]]"),
    ],
)
def test_json_of_what_has_no_form_in_it(value, shown):
    found = as_json(record("%s", HOSTILE, value=value))
    assert (found["value"], found["message"]) == (shown, HOSTILE)


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text(), max_size=3))
def test_json_gives_back_whatever_is_logged(message, fields):
    names = {f"_{name}": text for name, text in fields.items()}
    found = as_json(record("%s", message, **names))
    assert found["message"] == message
    assert {name: found[name] for name in names} == names


@pytest.fixture
def root():
    root = logging.getLogger()
    level, disabled = root.level, logging.getLogger("wsrelay.access").disabled
    yield root
    root.setLevel(level)
    logging.getLogger("wsrelay.access").disabled = disabled


def test_configure(root, monkeypatch, capsys):
    monkeypatch.setattr(root, "handlers", [])
    configure("warning", "json", access=False)
    logging.getLogger("wsrelay.test").info("no")
    logging.getLogger("wsrelay.test").warning("yes")
    logging.getLogger("wsrelay.access").error("no")
    assert json.loads(capsys.readouterr().err)["message"] == "yes"
    configure("debug", "text")  # somebody was there before
    assert isinstance(root.handlers[0].formatter, JSONFormatter)
    assert (len(root.handlers), root.level) == (1, logging.WARNING)
    assert not logging.getLogger("wsrelay.access").disabled


def test_formats():
    assert set(FORMATS) == {"text", "json"}
