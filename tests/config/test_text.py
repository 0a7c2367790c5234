"""Words for messages."""

import pytest

from wsrelay._text import did_you_mean, listed, nearest, quoted

NAMES = ["wsrelay.allowed.origins", "wsrelay.queue.max", "wsrelay.queue.policy", "cors.max.age"]


@pytest.mark.parametrize(
    ("word", "result"),
    [
        ("wsrelay.allowed.origin", "wsrelay.allowed.origins"),
        ("WSRELAY.QUEUE.MAX", "wsrelay.queue.max"),
        ("wsrelay.queue.polcy", "wsrelay.queue.policy"),
        ("zzz", None),
        ("", None),
        ("wsrelay.allowed.origins" * 10, None),
    ],
)
def test_nearest(word, result):
    assert nearest(word, NAMES) == result


def test_nearest_keeps_the_case_of_the_candidate():
    assert nearest("mib", ["KiB", "MiB"]) == "MiB"
    assert nearest("a", []) is None


def test_did_you_mean():
    assert did_you_mean("cors.max.ag", NAMES) == ', did you mean "cors.max.age"?'
    assert did_you_mean("zzz", NAMES) == ""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a", '"a"'),
        ("", '""'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("a\nb\x1b\u2028é😀", '"a\\nb\\x1b\\u2028é😀"'),
        ("x" * 80, f'"{"x" * 80}"'),
        ("x" * 81, f'"{"x" * 79}…"'),
    ],
)
def test_quoted(text, result):
    assert quoted(text) == result


def test_listed():
    assert [listed("a"), listed("ab"), listed("abc", "or")] == ["a", "a and b", "a, b or c"]
