"""YAML: what a value is, what is refused, and where."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from texts import app, broken, load, problems, text

from wsrelay.config.environment import substitute
from wsrelay.config.nodes import plain
from wsrelay.config.yaml import MAX_BYTES, compose

BROKEN = [
    ("empty", "", ["app.yaml: the file is empty"]),
    (
        "tab indentation",
        text('version: "1.0"', "entries:", "\t- name: a"),
        ["app.yaml:3:1: a tab; use spaces"],
    ),
    ("tab after key", text('version:\t"1.0"'), ["app.yaml:1:9: a tab; use spaces"]),
    (
        "huge directive",
        "%YAML 1." + "9" * 5000 + "\n---\na: b\n",
        ["app.yaml:1:9: a number that is too large, in an escape or a directive"],
    ),
    (
        "control",
        text('version: "1.0"', "namespace: a\x07b"),
        ["app.yaml:2:13: the character U+0007 is not allowed here"],
    ),
    (
        "deep",
        "a: " + "[" * 60 + "]" * 60 + "\n",
        ["app.yaml:1:53: more than 50 levels, aliases written out"],
    ),
    (
        "deep aliases",
        "".join(f"a{i}: &a{i} {'[' * 40}{f'*a{i - 1}' if i else ''}{']' * 40}\n" for i in range(3)),
        ["app.yaml:2:49: more than 50 levels, aliases written out"],
    ),
    (
        "bomb",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")),
        ["app.yaml:5:23: more than 50000 values, aliases written out"],
    ),
]


@broken("text", extra=BROKEN)
def test_broken_text(source, messages):
    assert problems(source) == messages


PLAIN_TEXTS = (
    "on off yes no y n True TRUE False Null 1:30 12:30:45 010 0o10 0x10 0b1 1_000 1e3 .5 5. .inf"
    " .nan 2024-01-02 1.5e999 = a=b 1.2.3.4 99999999999999999999"
)


def read(source, **environment):
    document = compose(source, "app.yaml", environment)
    assert document.problems == []
    return plain(document.root)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("1.50", 1.5),
        ("1.5e3", 1500.0),
        *((word, word) for word in PLAIN_TEXTS.split()),
        ("2024-01-02 03:04:05", "2024-01-02 03:04:05"),
        ('"true"', "true"),
        ("'12'", "12"),
        ("|\n  12\n", "12\n"),
        (":8080", ":8080"),
    ],
)
def test_typing_of_scalars(written, value):
    result = read(f"key: {written}\n")["key"]
    assert (result, type(result)) == (value, type(value))


def test_keys_are_texts():
    assert read("on: 1\n1: 2\ntrue: 3\n~: 4\n") == {"on": 1, "1": 2, "true": 3, "~": 4}


def test_keys_and_values_keep_their_places():
    root = compose("a:\n  - b\n  - c: [d,  e]\n", "app.yaml", {}).root
    outer = root.pairs["a"]
    inner = outer.node.items[1].pairs["c"]
    places = [outer.key_place, outer.node.place, inner.key_place, inner.node.items[1].place]
    assert list(map(str, places)) == [
        "app.yaml:1:1",
        "app.yaml:2:3",
        "app.yaml:3:5",
        "app.yaml:3:13",
    ]


def test_columns_count_characters():
    root = compose("é😀: [ü, x]\n", "app.yaml", {}).root
    assert root.pairs["é😀"].node.items[1].place.column == 9


def test_aliases_stand_for_their_anchor():
    assert read("a: &x [1, {b: 2}]\nc: *x\n") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


@pytest.mark.parametrize(("levels", "refused"), [(49, False), (50, True)])
def test_depth(levels, refused):
    document = compose(f"a: {'[' * levels}{']' * levels}\n", None, {})
    assert bool(document.problems) == refused


@pytest.mark.parametrize(("items", "refused"), [(997, False), (998, True)])
def test_number_of_values(monkeypatch, items, refused):
    """The mapping, the key and the list are values too. How many it is in truth, is in BROKEN."""
    monkeypatch.setattr("wsrelay.config.yaml._MAX_NODES", 1000)
    document = compose("a: [" + "x," * items + "]\n", None, {})
    assert bool(document.problems) == refused


def test_size_of_the_text():
    assert problems("#" * MAX_BYTES) == ["app.yaml: the file is empty"]
    assert problems("#" * (MAX_BYTES + 1)) == ["app.yaml: larger than 1 MiB; split it"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: b\nc: \xff\n", "app.yaml:2:4: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: é".encode("latin-1"), "app.yaml:1:4: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a: b".encode("utf-16"), "app.yaml:1:1: byte 0xff is not UTF-8; save the file as UTF-8"),
        (
            b"\xef\xbb\xbfa\r\nb\rc\xff",
            "app.yaml:3:2: byte 0xff is not UTF-8; save the file as UTF-8",
        ),
    ],
)
def test_other_encodings(data, message):
    assert [str(problem) for problem in compose(data, "app.yaml", {}).problems] == [message]


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfa: b", "\ufeffa: b"])
def test_byte_order_mark(data):
    root = compose(data, None, {}).root
    assert (plain(root), root.place.column) == ({"a": "b"}, 1)


@pytest.mark.parametrize(
    ("written", "result"),
    [
        ("${env:A}", "one"),
        ("x${env:A}y${env:A}z", "xoneyonez"),
        ("${env:NONE|default}", "default"),
        ("${env:NONE|}", ""),
        ("${env:NONE|a|b:c}", "a|b:c"),
        ("${env:EMPTY|default}", ""),
        ("${env:A|default}", "one"),
        ("$${env:A}", "${env:A}"),
        ("$$${env:A}", "$${env:A}"),
        ("$ {} $A $$", "$ {} $A $$"),
        ("${env:NESTED}", "${env:A}"),
        ("${env:A}${env:A}", "oneone"),
        ("${env:A}$", "one$"),
    ],
)
def test_substitution(written, result):
    assert substitute(written, {"A": "one", "EMPTY": "", "NESTED": "${env:A}"}) == result


def test_substitution_gives_a_text_in_values_only():
    document = read("${env:A}: ${env:A}\nb: ['${env:A}', \"${env:A}\"]\n", A="12")
    assert document == {"${env:A}": "12", "b": ["12", "12"]}


def test_numbers_may_come_from_the_environment():
    source = app("- name: a", "  kind: process.host", "  max_processes: ${env:MAX}")
    assert load(source, MAX="7").entries[0].max_processes == 7
    assert problems(source, MAX="many") == [
        'app.yaml:6:20: process.host "a": max_processes: '
        'must be a whole number from 0 up, not "many"'
    ]


def test_an_undecodable_variable():
    assert problems(text("version: ${env:A}", "namespace: app", "entries: []"), A="\udcff") == [
        "app.yaml:1:10: half of a surrogate pair; write the whole character"
    ]


@given(st.text(alphabet="${}env:|AB "))
def test_substitution_never_raises_another_error(written):
    try:
        assert "${env:A}" not in substitute(written, {"A": "1"}) or "$${" in written
    except ValueError as error:
        assert "\n" not in str(error)


FRAGMENTS = ["a", ":", " ", "\n", "- ", "[", "]", "{", "}", "&a ", "*a", "!!str ", "|", ">", '"']
FRAGMENTS += ["'", "\t", "#", "? ", "<<", "%YAML", "---", "...", "\\", "\x85", "${env:", "\ufeff"]


@given(st.one_of(st.text(), st.binary(), st.lists(st.sampled_from(FRAGMENTS)).map("".join)))
@example('"\\UFFFFFFFF"')
@example("? ? ?")
@example("&a *a")
@example("a: b: c")
@example("!<")
def test_any_text_gives_a_tree_or_problems(data):
    document = compose(data, "app.yaml", {})
    assert (document.root is not None) or document.problems
    assert all(str(problem).startswith("app.yaml:") for problem in document.problems)
