"""YAML's traps: docs/configuration-traps.md is the table of what is decided, and true."""

import json
from pathlib import Path

import pytest
from texts import app, problems

from wsrelay.config import load_text
from wsrelay.config.nodes import plain
from wsrelay.config.yaml import compose

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration-traps.md"
SIGNS = {"⏎": "\n", "⇥": "\t", "␍": "\r", "⟨BOM⟩": "\ufeff"}
ENVIRONMENT = {"ONE": "1"}
NEEDED = {
    "http.static": ("path: /", "directory: www"),
    "process.service": ("process: m:f",),
}


def rows(title):
    """The rows of the table under a title, their cells without back-ticks."""
    section = PAGE.read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.split("\n") if line.startswith("| ")][1:]
    assert lines
    return [[_cell(cell) for cell in line.strip("| ").split(" | ")] for line in lines]


def _cell(cell):
    cell = cell.replace("\\|", "|")
    if len(cell) > 1 and cell[0] == cell[-1] == "`":
        cell = cell[1:-1]
    for sign, meant in SIGNS.items():
        cell = cell.replace(sign, meant)
    return cell


def read(text):
    document = compose(text, "app.yaml", ENVIRONMENT)
    return plain(document.root) if document.root is not None else None, document.problems


@pytest.mark.parametrize(("written", "value", "why"), rows("Read"))
def test_read(written, value, why):
    found, wrong = read(written)
    assert wrong == []
    expected = json.loads(value)
    assert found == expected and json.dumps(found) == json.dumps(expected)  # 1, 1.0 and true differ


@pytest.mark.parametrize(("written", "message"), rows("Refused in any file"))
def test_refused(written, message):
    _, wrong = read(written)
    assert [str(one) for one in wrong] == [
        f"app.yaml:{message}" if message[0].isdigit() else f"app.yaml: {message}"
    ]


@pytest.mark.parametrize(("kind", "written", "message"), rows("Refused in a field"))
def test_refused_in_a_field(kind, written, message):
    lines = [f"kind: {kind}", *NEEDED.get(kind, ()), written]
    found = problems(app("- name: it", *("  " + line for line in lines)))
    assert [one.split(": ", 1)[1] for one in found] == [f'{kind} "it": {message}']


def test_quotes_and_variables_change_nothing():
    for written in ("7", '"7"', "'7'", "${env:SEVEN}"):
        source = app("- name: it", "  kind: process.host", f"  max_processes: {written}")
        assert load_text(source, environment={"SEVEN": "7"}).entries[0].max_processes == 7


def test_line_ends_of_windows_change_no_place():
    lines = ("- name: it", "  kind: process.host", "  max_processes: x")
    assert problems(app(*lines).replace("\n", "\r\n")) == problems(app(*lines))


def test_a_byte_order_mark_changes_no_place():
    assert problems("\ufeffversion: 2\nnamespace: a\nentries: []\n") == problems(
        "version: 2\nnamespace: a\nentries: []\n"
    )


def test_an_input_is_plain_and_safe():
    """What a service is given; nothing of it is anything but text, number, boolean or null."""
    source = app(
        "- name: it",
        "  kind: process.service",
        "  process: m:f",
        "  input: {on: yes, a: 010, b: 0x1f, c: 1:30, d: 2024-01-02, e: ~, f: .inf, g: true}",
    )
    assert load_text(source).entries[0].input == {
        "on": "yes",
        "a": "010",
        "b": "0x1f",
        "c": "1:30",
        "d": "2024-01-02",
        "e": None,
        "f": ".inf",
        "g": True,
    }
