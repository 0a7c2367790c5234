"""The JSON Schema of a file: valid, whole, and of one mind with the loader."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from wsrelay.config import KINDS, TLS, ConfigError, Lifecycle, Limits, Restart, Timeouts, load_text
from wsrelay.config.fields import rows_of
from wsrelay.config.nodes import plain
from wsrelay.config.schema import Form, form_of
from wsrelay.config.yaml import compose
from wsrelay.middleware.table import MIDDLEWARE
from wsrelay.schema import file_schema

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = file_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
GROUPS = {"timeouts": Timeouts, "limits": Limits, "tls": TLS, "lifecycle": Lifecycle}
GROUPS["restart"] = Restart


def tree(text):
    """The file as an editor sees it, with variables as they are written; None if it is no YAML."""
    document = compose(text.replace("${", "$${"), "app.yaml", {})
    return None if document.problems or document.root is None else plain(document.root)


def complaints(text):
    return [error.json_path for error in VALIDATOR.iter_errors(tree(text))]


def entry(kind, *lines):
    head = ('version: "1.0"', "namespace: app", "entries:", "  - name: it", f"    kind: {kind}")
    return "\n".join([*head, *("    " + line for line in lines)]) + "\n"


def test_the_schema_is_valid():
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    references = re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(SCHEMA))
    assert set(references) == set(SCHEMA["$defs"])


# -- it has everything -----------------------------------------------------------------------------


def tables():
    return [*((kind, table, ()) for kind, table in KINDS.items()), *groups()]


def groups():
    inside = {"lifecycle": ("process.service",), "restart": ("process.service", "lifecycle")}
    for name, table in GROUPS.items():
        yield name, table, (*inside.get(name, ("http.service",)), name)


def properties(name, way):
    schema = SCHEMA["$defs"][way[0] if way else name]
    for step in way[1:]:
        schema = schema["properties"][step]
        schema = next(one for one in schema.get("anyOf", [schema]) if "properties" in one)
    return schema


@pytest.mark.parametrize(("name", "table", "way"), tables(), ids=lambda value: str(value))
def test_every_field_is_there(name, table, way):
    schema = properties(name, way)
    rows = rows_of(table)
    assert {row.name for row in rows.values()} == {
        field.name for field in dataclasses.fields(table)
    } - {"namespace", "marks"}
    assert schema["additionalProperties"] is False
    kinds = ["kind"] if name in KINDS else []
    assert set(schema["properties"]) == {*kinds, *(at.partition(".")[0] for at in rows)}
    assert set(schema.get("required", ())) == {
        at for at, row in rows.items() if row.required and row.setting.absent is None
    }
    for at in rows:
        head, _, rest = at.partition(".")
        field = schema["properties"][head]
        field = field["properties"][rest] if rest else field
        assert field["description"].endswith((".", "`"))
        assert {"anyOf", "type", "$ref"} & set(field) or at == "input", at
    assert schema["description"]


def test_kinds_and_middleware():
    kinds = SCHEMA["$defs"]["entry"]["properties"]["kind"]["oneOf"]
    assert [one["const"] for one in kinds] == list(KINDS)
    assert all(one["description"] for one in kinds)
    named = [one for one in SCHEMA["$defs"]["middleware"]["anyOf"] if "const" in one]
    assert [one["const"] for one in named] == list(MIDDLEWARE)
    options = SCHEMA["$defs"]["options"]["properties"]
    assert list(options) == [option.name for kind in MIDDLEWARE.values() for option in kind.options]


def test_defaults_are_written_as_in_a_file():
    def defaults(name, *way):
        found = properties(name, way)["properties"].items()
        return {key: value["default"] for key, value in found if "default" in value}

    assert defaults("http.service") == {
        "addr": "127.0.0.1:8080",
        "trusted_proxies": [],
        "proxy_headers": "x-forwarded",
        "proxy_protocol": False,
    }
    assert defaults("timeouts", "http.service", "timeouts") == {
        "header": "10s",
        "read": "30s",
        "idle": "1m15s",
        "shutdown": "10s",
    }
    assert defaults("limits", "http.service", "limits") == {
        "header_bytes": "16KiB",
        "headers": 100,
        "body": "1MiB",
        "connections": 0,
    }
    assert defaults("restart", "process.service", "lifecycle", "restart") == {
        "initial_delay": "1s",
        "max_delay": "1m30s",
        "backoff_factor": 2.0,
        "jitter": 0.1,
        "max_attempts": 0,
    }
    options = SCHEMA["$defs"]["options"]["properties"]
    assert options["wsrelay.queue.max"]["default"] == "1MiB"
    assert options["wsrelay.ping.interval"]["default"] == "20s"
    assert options["wsrelay.subprotocols"]["default"] == ""
    assert "default" not in options["wsrelay.allowed.origins"]


def test_every_default_is_right():
    """Each default, written out, is accepted by the schema and read back as the default."""
    for kind, table in KINDS.items():
        for at, row in rows_of(table).items():
            field = SCHEMA["$defs"][kind]["properties"].get(at, {})
            if "default" in field:
                shown = field["default"]
                text = shown if isinstance(shown, str) else json.dumps(shown)
                source = entry(kind, f"{at}: {text}", *NEEDED.get(kind, ()))
                assert complaints(source) == []
                (read,) = load_text(source).entries
                assert getattr(read, row.name) == row.default
    for kind in MIDDLEWARE.values():
        for option in kind.options:
            field = SCHEMA["$defs"]["options"]["properties"][option.name]
            if "default" in field and form_of(option.read) != Form():
                shown = field["default"]
                text = json.dumps(shown) if isinstance(shown, bool) else str(shown)
                assert option.read(text) == option.default
                given = f"options: {{{option.name}: {json.dumps(shown)}}}"
                assert complaints(entry("http.router", given)) == []


NEEDED = {
    "http.static": ("path: /", "directory: www"),
    "process.service": ("process: m:f",),
}


# -- what it accepts and refuses -------------------------------------------------------------------

FILES = sorted(ROOT.rglob("app.yaml"))


def test_there_are_files():
    assert len(FILES) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_this_repository_are_right(path):
    assert complaints(path.read_text()) == []


def yaml_in(path):
    return re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=str
)
def test_whole_files_in_the_documentation_are_right(path):
    for text in yaml_in(path):
        if "entries:" in text and text.startswith(("version:", "# ")):
            assert complaints(text) == []


BROKEN = ROOT / "tests" / "config" / "broken"
# What no look at a single value can find.
UNSEEN = {
    # What names refer to.
    "endpoint: no router",
    "endpoint: func word",
    "endpoint: func kind",
    "kinds: service host",
    "kinds: service kind of process",
    "kinds: service process word",
    "kinds: static server",
    "others: host",
    "others: requires circle",
    "others: requires self",
    "others: requires unknown",
    "router: no server at all",
    "router: no such server",
    "router: server far",
    "router: several servers",
    "router: wrong kind",
    "top: dup name",
    # Rules between fields.
    "others: delays",
    "service: tls auth no ca",
    # Numbers inside of texts, and addresses.
    "kinds: proxies port",
    "service: addr port big",
    "service: addr unix long",
    "service: addr v6 bad",
    "service: addr v6 bare",
    "service: limits big",
    "service: proxies bits",
    "service: proxies word",
    "service: timeouts long",
    "top: version int",  # 1 and 1.0 are one number in JSON
    # Variables are left to the loader.
    "text: env missing",
    "text: env name",
    "text: env nested",
    "text: env open",
    "text: env scheme",
}


def broken_cases():
    for path in sorted(BROKEN.glob("*.txt")):
        for block in path.read_text("utf-8").removeprefix("=== ").split("\n=== "):
            name, *lines = block.split("\n")
            text = "\n".join(line for line in lines if not line.startswith(">>> "))
            if tree(text) is not None:
                yield f"{path.stem}: {name}", text


def test_broken_files_are_refused_where_a_schema_can_see_it():
    cases = dict(broken_cases())
    assert len(cases) > 80
    accepted = {name for name, text in cases.items() if not complaints(text)}
    assert accepted == UNSEEN


OPTION_TEXTS = [
    *("true", "false", "True", "0", "1", "7", "010", "5", "30s", "1m30s", "-1s", "1.5h", "30"),
    *(
        "1MiB",
        "16KiB",
        "1kb",
        "off",
        "permessage-deflate",
        "close",
        "drop_oldest",
        "raw",
        "envelope",
    ),
    *('""', "'a, b'", "'true'", "'false'", "'5'", "https://a.example", "default", "m:f", "'*'"),
]


@pytest.mark.parametrize("name", MIDDLEWARE)
def test_what_a_middleware_takes_the_schema_takes(name):
    taken = set()
    for option in MIDDLEWARE[name].options:
        for text in OPTION_TEXTS:
            try:
                option.read(text.strip("\"'"))
            except ValueError:
                continue
            taken.add(option.name)
            assert complaints(entry("http.router", "options:", f"  {option.name}: {text}")) == []
    assert taken or not MIDDLEWARE[name].options


def test_where_it_complains():
    source = entry("http.router", "prefx: /", "middleware: [zzz]", "options: {wsrelay.drian: 1s}")
    assert sorted(complaints(source)) == [
        "$.entries[0]",
        "$.entries[0].middleware[0]",
        "$.entries[0].options",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "timeouts: {read: '${env:READ|30s}', idle: 0, header: 1h2m3.5s, shutdown: 300ms}",
        "limits: {headers: '${env:HEADERS}', body: 10, connections: '7', header_bytes: 1KiB}",
        "addr: ${env:ADDR}",
        "addr: ~",
        "timeouts: {read: ~}",
        "trusted_proxies: [10.0.0.0/8, '${env:PROXY}']",
        "tls: {cert: a.pem, key: b.pem, client_auth: '${env:AUTH|none}'}",
    ],
)
def test_variables_numbers_and_nulls(line):
    assert complaints(entry("http.service", line)) == []


# -- of one mind with the loader -------------------------------------------------------------------

VALUES = [
    *(
        "~",
        "true",
        "0",
        "1.5",
        "010",
        ".inf",
        "1e3",
        "-1s",
        "30s",
        "1h30m",
        "5",
        "1MiB",
        "a",
        "m:f",
    ),
    *(":80", "unix:/a", "/x", "a/b", "GET", "x.y:z", "index.html", "${env:A}", '"${env:B}"'),
    *("[]", "[a, b]", "[it]", "[10.0.0.0/8]", "['${env:C}']", "[websocket_relay]"),
    *("{}", "{router: r}", "{server: s}", "{read: 1s}", "{read: 5}", "{read: '${env:B}'}"),
    *("{cert: a, key: b}", "{cert: a}", "{body: 5}", "{headers: 0}", "{auto_start: true}"),
    *("{requires: []}", "{restart: {jitter: 0.5}}", "{restart: {jitter: 2}}"),
    *("{restart: {max_attempts: '7'}}", "{wsrelay.drain: 5s}", "{wsrelay.compression: off}"),
]
FIELDS = sorted(
    {at.partition(".")[0] for table in KINDS.values() for at in rows_of(table)} - {"name"}
)
AROUND = "  - {name: r, kind: http.router}\n  - {name: s, kind: http.service}\n"
ENVIRONMENT = {"A": "1", "B": "2s", "C": "10.0.0.1"}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)  # of each kind; single fields have their test below
@given(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(VALUES), max_size=4))
def test_what_the_loader_takes_the_schema_takes(kind, given_fields):
    """So an editor marks nothing that is right."""
    agree(kind, given_fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", VALUES)
def test_what_the_loader_takes_in_one_field(kind, value):
    for at in rows_of(KINDS[kind]):
        head = at.partition(".")[0]
        if head != "name":
            needed = {key: text for key, text in MINIMAL.get(kind, {}).items() if key != head}
            agree(kind, {**needed, head: value})


MINIMAL = {
    "http.endpoint": {"meta": "{router: r}", "method": "GET", "path": "/", "func": "m:f"},
    "http.static": {"path": "/", "directory": "www"},
    "process.service": {"process": "m:f"},
}


def agree(kind, given_fields):
    source = entry(kind, *(f"{key}: {value}" for key, value in given_fields.items())) + AROUND
    if kind == "http.service":
        source = source.replace("{name: r, ", "{name: r, meta: {server: s}, ")
    try:
        load_text(source, environment=ENVIRONMENT)
    except ConfigError:
        return
    # Which middleware and options there are, the loader leaves to others.
    theirs = ("middleware", "post_middleware", "options", "post_options")
    assert [
        path
        for path in complaints(source)
        if not path.startswith(tuple(f"$.entries[0].{name}" for name in theirs))
    ] == []
