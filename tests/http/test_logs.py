import pytest

from wsrelay.http.logs import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /", "GET /"),
        ("a\r\nb\x1b[0m\x7f", r"a\r\nb\x1b[0m\x7f"),
        ("ä\u2028", r"\xe4\u2028"),
        (b"\xff\\", r"\xff\\"),
    ],
)
def test_one_printable_line(text, shown):
    assert escape(text) == shown


def test_it_is_cut():
    assert escape("x" * 201) == "x" * 200 + "..."
    assert escape("x" * 200) == "x" * 200
    assert len(escape("\0" * 1000)) == 203
