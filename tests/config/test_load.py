"""The two doors, the top of a file, and all problems in one list."""

import copy
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import app, broken, load, problems, text

from wsrelay.config import (
    KINDS,
    ConfigError,
    HTTPRouter,
    HTTPService,
    Problem,
    load_file,
    load_text,
    references,
)
from wsrelay_core._errors import WSRelayError


@broken("top")
def test_broken_top_and_entries(source, messages):
    assert problems(source) == messages


EXAMPLE = text(
    'version: "1.0"',
    "namespace: app",
    "entries:",
    "  - name: gateway",
    "    kind: http.service",
    '    addr: "127.0.0.1:8080"',
    "  - name: ws_router",
    "    kind: http.router",
    "    meta: {server: gateway}",
    "    prefix: /ws",
    "    post_middleware: [websocket_relay]",
    "    post_options:",
    '      wsrelay.allowed.origins: "https://app.example.com"',
    "  - name: connect",
    "    kind: http.endpoint",
    "    meta: {router: ws_router}",
    "    method: GET",
    "    path: /chat/{room}",
    "    func: app.handlers:connect",
    "  - name: processes",
    "    kind: process.host",
    "  - name: ws.handler",
    "    kind: process.python",
    "    source: app.ws:handler",
)


def test_the_example_of_the_specification():
    config = load(EXAMPLE)
    assert (config.namespace, config.version, config.folder) == ("app", "1.0", None)
    assert [entry.id for entry in config.entries] == [
        "app:gateway",
        "app:ws_router",
        "app:connect",
        "app:processes",
        "app:ws.handler",
    ]
    [router] = config.of(HTTPRouter)
    assert router.server == "app:gateway"
    assert router.post_options == {"wsrelay.allowed.origins": "https://app.example.com"}
    assert isinstance(config.get("app:gateway"), HTTPService)
    assert config.get("app:absent") is None


@pytest.mark.parametrize("version", ['"1.0"', "1.0", "'1.0'"])
def test_version_with_and_without_quotes(version):
    config = load_text(f"version: {version}\nnamespace: app\nentries: []\n")
    assert (config.version, config.entries) == ("1.0", [])


@pytest.mark.parametrize("version", ["1.00", "1", "01.0", "1.0.0"])
def test_other_versions(version):
    assert problems(f"version: {version}\nnamespace: app\nentries: []\n") == [
        f'app.yaml:1:10: version: must be "1.0", not "{version}"'
    ]


def test_problems_of_all_stages_come_in_the_order_of_the_file():
    assert problems(
        app(
            "- name: a",
            "  kind: http.service",
            "  addr: ${env:ADDRESS}",
            "  timeouts: {reed: 1s}",
            "- name: b",
            "  kind: process.host",
            "  kind: process.python",
            "  max_processes: x",
        )
    ) == [
        'app.yaml:6:11: the environment variable "ADDRESS" is not set; '
        'set it, or write "${env:ADDRESS|default}"',
        'app.yaml:7:16: http.service "a": timeouts: unknown field "reed", did you mean "read"?',
        'app.yaml:10:5: duplicate key "kind"; the first is in line 9',
        'app.yaml:11:20: process.host "b": max_processes: '
        'must be a whole number from 0 up, not "x"',
    ]


def test_a_syntax_error_ends_the_reading():
    assert problems(app("- name: a", "  zzz: 1", "  b: c: d")) == [
        'app.yaml:6:9: a second ":" on this line; quote a text with ":"'
    ]


def test_an_alias_tells_its_problem_once():
    lines = ("- &a", "  name: a", "  kind: process.host", "  zzz: 1", "- *a")
    assert problems(app(*lines)) == [
        'app.yaml:5:11: process.host "a": the name is taken by process.host "a" at app.yaml:4:5',
        'app.yaml:7:5: process.host "a": unknown field "zzz"; '
        "the fields are kind, max_processes and name",
    ]


def test_text_from_a_file_stays_on_its_line():
    assert problems(text('version: "a\\nb\\u2028\\u001b"', "namespace: app", "entries: []")) == [
        'app.yaml:1:10: version: must be "1.0", not "a\\nb\\u2028\\x1b"'
    ]


def test_file(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "app.yaml").write_text(
        app("- name: s", "  kind: http.static", "  path: /", "  directory: www"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    config = load_file(Path("conf") / "app.yaml")
    assert config.folder == tmp_path / "conf"
    assert config.entries[0].directory == tmp_path / "conf" / "www"
    assert str(config.entries[0].place()) == os.path.join("conf", "app.yaml") + ":4:5"


def test_file_uses_the_environment_of_the_system(tmp_path, monkeypatch):
    path = tmp_path / "app.yaml"
    path.write_text('version: "1.0"\nnamespace: ${env:WSRELAY_TEST_NAME}\nentries: []\n')
    monkeypatch.setenv("WSRELAY_TEST_NAME", "shop")
    assert load_file(path).namespace == "shop"
    assert load_file(path, environment={"WSRELAY_TEST_NAME": "other"}).namespace == "other"


def file_problem(path):
    with pytest.raises(ConfigError) as raised:
        load_file(path)
    return str(raised.value)


def test_files_that_can_not_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("big.yaml").write_bytes(b"#" * (2 * 1024 * 1024))
    Path("latin.yaml").write_bytes(b"a: \xe9\n")
    assert file_problem("no.yaml") == "no.yaml: can't be read: No such file or directory"
    assert file_problem(".") == ".: can't be read: Is a directory"
    assert file_problem("a\0b") == "a\0b: can't be read: not the name of a file"
    assert file_problem("big.yaml") == "big.yaml: larger than 1 MiB; split it"
    assert file_problem("latin.yaml") == (
        "latin.yaml:1:4: byte 0xe9 is not UTF-8; save the file as UTF-8"
    )


def test_config_error_sorts_and_tells_each_problem_once():
    late = Problem("a.yaml", 10, 2, 'process.host "x"', "late")
    early = Problem("a.yaml", 9, 12, "", "early")
    whole = Problem("a.yaml", None, None, "", "whole file")
    placeless = Problem(None, None, None, 'http.router "r"', "made in code")
    error = ConfigError([late, early, late, whole, placeless])
    assert error.problems == [placeless, whole, early, late]
    assert str(error).split("\n") == [
        'http.router "r": made in code',
        "a.yaml: whole file",
        "a.yaml:9:12: early",
        'a.yaml:10:2: process.host "x": late',
    ]
    assert isinstance(error, WSRelayError)


def test_config_error_survives_copy_and_pickle():
    error = ConfigError([Problem("a.yaml", 1, 1, "", "x")])
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert twin.problems == error.problems


values = st.one_of(
    st.sampled_from(["~", "true", "0", "1.5", "a", "m:f", "[]", "{}", "[a, [b]]", '"x: y"', "30s"]),
    st.sampled_from([":80", "/x", "{router: it}", "{read: 1}", "{cert: a}", "*z", "{restart: 5}"]),
    st.text(max_size=8),
)
FIELDS = (
    "name kind meta addr timeouts limits tls trusted_proxies proxy_headers proxy_protocol prefix"
    " options func source method path directory index process host input lifecycle middleware zzz"
)
fields = st.sampled_from(FIELDS.split())


@given(
    st.lists(
        st.tuples(st.sampled_from(list(KINDS)), st.dictionaries(fields, values, max_size=6)),
        max_size=3,
    )
)
def test_any_entries_give_a_config_or_a_config_error(entries):
    lines = []
    for kind, given_fields in entries:
        for key, value in {"name": "it", "kind": kind, **given_fields}.items():
            lines.append(f"{'  ' if lines and key != 'name' else '- '}{key}: {value}")
    try:
        config = load(app(*lines))
    except ConfigError as error:
        assert error.problems
        assert len(str(error).split("\n")) == len(error.problems)
    else:
        assert len(config.entries) == len(entries)


@given(st.text())
def test_any_text_gives_a_config_error(source):
    with pytest.raises(ConfigError):
        load(source)


@pytest.mark.parametrize("count", [300, 600])
def test_of_many_wrong_names_few_are_compared_with_all_others(count, monkeypatch):
    compared = []
    monkeypatch.setattr(
        references, "did_you_mean", lambda _, names: compared.append(len(list(names))) or ""
    )
    pairs = (
        "- {{name: s{0}, kind: http.service}}",
        "- {{name: r{0}, kind: http.router, meta: {{server: t{0}}}}}",
    )
    told = problems(app(*(line.format(i) for i in range(count) for line in pairs)))
    assert len(told) == count
    assert sum(compared) <= 50_000


def test_what_is_told_of_many_entries_grows_with_their_number_only():
    pair = ("- {{name: s{0}, kind: http.service}}", "- {{name: r{0}, kind: http.router}}")
    told = [
        sum(map(len, problems(app(*(line.format(i) for i in range(count) for line in pair)))))
        for count in (20, 200)
    ]
    assert told[1] < 11 * told[0]


def test_of_many_entries_a_few_are_shown():
    router = "- {name: r, kind: http.router}"
    services = [f"- {{name: s{i}, kind: http.service}}" for i in range(12)]
    shown = ", ".join(f'"s{i}"' for i in range(9))
    assert problems(app(*services, router)) == [
        'app.yaml:16:5: http.router "r": meta.server: missing, and there are several '
        f'http.service entries; write {shown} or "s9"'
    ]
