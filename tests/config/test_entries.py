"""The fields of each kind: their types, defaults and what is refused."""

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest
from texts import app, broken, load, problems

from wsrelay.config import (
    KINDS,
    TLS,
    Address,
    HTTPEndpoint,
    HTTPRouter,
    HTTPService,
    HTTPStatic,
    ImportPath,
    Lifecycle,
    Limits,
    Place,
    ProcessHost,
    ProcessService,
    Reference,
    Restart,
    Timeouts,
    load_text,
    parse_address,
    parse_import_path,
)
from wsrelay.config.references import cycle


@broken("service", "router", "endpoint", "others", "kinds")
def test_broken_fields(source, messages):
    assert problems(source) == messages


def one(kind, *lines):
    """The last entry of a file in which it is called `it`."""
    return load(app("- name: it", f"  kind: {kind}", *("  " + line for line in lines))).entries[-1]


def test_kinds_of_the_table():
    assert list(KINDS) == [
        "http.service",
        "http.router",
        "http.endpoint",
        "http.static",
        "function.python",
        "process.python",
        "process.host",
        "process.service",
    ]


def test_defaults():
    service = one("http.service")
    assert service == HTTPService(name="it", namespace="app")
    assert service.addr == Address("127.0.0.1", 8080)
    assert service.timeouts == Timeouts(header=10, read=30, idle=75, shutdown=10)
    assert service.limits == Limits(header_bytes=16384, headers=100, body=1048576, connections=0)
    assert (service.tls, service.trusted_proxies) == (None, [])
    assert (service.proxy_headers, service.proxy_protocol) == ("x-forwarded", False)
    router = one("http.router")
    assert router == HTTPRouter(
        name="it",
        namespace="app",
        server=None,
        prefix="",
        middleware=[],
        options={},
        post_middleware=[],
        post_options={},
    )
    assert one("process.host").max_processes == 0
    assert one("process.service", "process: m:f").lifecycle == Lifecycle(
        auto_start=True,
        start_timeout=10,
        stop_timeout=10,
        stable_threshold=5,
        requires=[],
        restart=Restart(
            initial_delay=1, max_delay=90, backoff_factor=2, jitter=0.1, max_attempts=0
        ),
    )


def test_null_is_the_default():
    assert one("http.service", "addr:", "timeouts: ~", "limits: {body: null}") == one(
        "http.service"
    )
    assert one("http.router", "meta:", "options:") == one("http.router")


def test_service():
    service = one(
        "http.service",
        "addr: '[::1]:0'",
        "timeouts: {header: 500ms, read: 0, idle: 1m30s, shutdown: '1.5h'}",
        "limits: {header_bytes: 1KB, headers: '7', body: 0, connections: 9}",
        "trusted_proxies: [10.0.0.0/8, '::1', unix, 'unix:']",
        "proxy_headers: forwarded",
        "proxy_protocol: true",
    )
    assert service.addr == Address("::1", 0)
    assert service.timeouts == Timeouts(header=0.5, read=0, idle=90, shutdown=5400)
    assert service.limits == Limits(header_bytes=1000, headers=7, body=0, connections=9)
    networks = [ip_network("10.0.0.0/8"), ip_network("::1/128")]
    assert service.trusted_proxies == [*networks, "unix", "unix"]
    assert (service.proxy_headers, service.proxy_protocol) == ("forwarded", True)


@pytest.mark.parametrize(
    ("lines", "client_auth"),
    [
        ("{cert: c.pem, key: k.pem}", "none"),
        ("{cert: c.pem, key: k.pem, client_auth: none}", "none"),
        ("{cert: c.pem, key: k.pem, client_ca: a.pem}", "required"),
        ("{cert: c.pem, key: k.pem, client_ca: a.pem, client_auth: optional}", "optional"),
    ],
)
def test_tls(lines, client_auth):
    tls = one("http.service", f"tls: {lines}").tls
    assert (tls.cert, tls.key, tls.client_auth) == (Path("c.pem"), Path("k.pem"), client_auth)


def test_tls_made_in_code_keeps_the_rule():
    with pytest.raises(ValueError, match='client_auth "required" needs client_ca'):
        TLS(cert=Path("c"), key=Path("k"), client_auth="required")


def test_options_are_texts_as_written():
    options = '{a: true, b: 1.50, c: 7, d: "x", e: yes, f: "", g: 010}'
    assert one("http.router", f"options: {options}").options == {
        "a": "true",
        "b": "1.50",
        "c": "7",
        "d": "x",
        "e": "yes",
        "f": "",
        "g": "010",
    }


def test_middleware_keeps_its_order():
    router = one("http.router", "middleware: [cors, metrics]", "post_middleware: [cors]")
    assert (router.middleware, router.post_middleware) == (["cors", "metrics"], ["cors"])


ENDPOINT = ("- name: r", "  kind: http.router", "- name: f", "  kind: function.python")
ENDPOINT += ("  source: a.b:c.d", "- name: it", "  kind: http.endpoint", "  method: GET")


@pytest.mark.parametrize(
    ("func", "reference"),
    [
        ("f", Reference("f", id="app:f")),
        ("app:f", Reference("app:f", id="app:f")),
        ("app:g", Reference("app:g", import_path=ImportPath("app", "g"))),
        ("app.x:f.g", Reference("app.x:f.g", import_path=ImportPath("app.x", "f.g"))),
    ],
)
def test_func_names_an_entry_or_an_import(func, reference):
    endpoint = load(app(*ENDPOINT, "  path: /", f"  func: {func}")).entries[-1]
    assert isinstance(endpoint, HTTPEndpoint)
    assert (endpoint.func, str(endpoint.func)) == (reference, func)


@pytest.mark.parametrize("meta", ["{}", "{router: r}", "{router: 'app:r'}", "{router: ~}"])
def test_a_reference_is_an_id(meta):
    endpoint = load(app(*ENDPOINT, "  path: /", "  func: f", f"  meta: {meta}")).entries[-1]
    assert endpoint.router == "app:r"


@pytest.mark.parametrize(("services", "server"), [([], None), (["a"], "app:a")])
def test_an_absent_server_is_the_only_one(services, server):
    lines = [line for name in services for line in (f"- name: {name}", "  kind: http.service")]
    assert load(app("- name: r", "  kind: http.router", *lines)).entries[0].server == server


def test_a_broken_entry_is_no_fault_of_its_references():
    assert problems(
        app(
            "- name: a",
            "  kind: http.servce",
            "- kind: http.router",
            "- name: e",
            "  kind: http.endpoint",
            "  meta: {router: r}",
            "  method: GET",
            "  path: /",
            "  func: m:f",
            "- name: r",
            "  kind: http.router",
            "  meta: {server: a}",
            "  zzz: 1",
        )
    ) == [
        'app.yaml:5:11: entry "a": kind: there is no kind "http.servce", '
        'did you mean "http.service"?',
        'app.yaml:6:5: http.router, entry 2: missing field "name"',
        'app.yaml:16:5: http.router "r": unknown field "zzz"; the fields are kind, meta, '
        "middleware, name, options, post_middleware, post_options and prefix",
    ]


def test_static():
    static = one("http.static", "path: /", "directory: www", "cache: 1h", "spa: true")
    assert static == HTTPStatic(
        name="it",
        namespace="app",
        path="/",
        directory=Path("www"),
        index="index.html",
        cache=3600,
        spa=True,
    )


def test_sources():
    assert one("process.python", "source: a.b:c.d").source == ImportPath("a.b", "c.d")
    assert one("function.python", "source: a:b").source == parse_import_path("a:b")


def test_process_service():
    config = load(
        app(
            "- name: pool",
            "  kind: process.host",
            "- name: first",
            "  kind: process.service",
            "  process: m:f",
            "- name: it",
            "  kind: process.service",
            "  process: m:f",
            "  host: pool",
            "  input: {a: [1, 2.5, true, ~, x, '3']}",
            "  lifecycle:",
            "    auto_start: false",
            "    requires: [first]",
            "    restart: {jitter: 0, backoff_factor: 1.5, max_attempts: 3}",
        )
    )
    service = config.get("app:it")
    assert isinstance(service, ProcessService)
    assert (service.host, service.input) == ("app:pool", {"a": [1, 2.5, True, None, "x", "3"]})
    assert (service.lifecycle.auto_start, service.lifecycle.requires) == (False, ["app:first"])
    assert service.lifecycle.restart == Restart(jitter=0, backoff_factor=1.5, max_attempts=3)


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        ({}, []),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, []),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
        ({"a": ["x"]}, []),
    ],
)
def test_cycle(edges, circle):
    assert cycle(edges) == circle


def test_cycle_of_many_needs_no_stack():
    assert cycle({str(n): [str(n + 1)] for n in range(20_000)}) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        (":8080", Address(None, 8080)),
        (":0", Address(None, 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("my-host.example:65535", Address("my-host.example", 65535)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
    ],
)
def test_addresses_read_and_print(text, address):
    assert parse_address(text) == address
    assert str(address) == text


PLACES = app(
    "- name: it",
    "  kind: http.router",
    "  middleware: [cors, metrics]",
    "  post_options:",
    "    cors.max.age: 5",
)


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), (4, 5), (4, 5)),
        (("post_options", "cors.max.age"), (8, 7), (8, 21)),
        (("post_options", "absent"), (7, 5), (8, 7)),
        (("middleware", 1), (6, 24), (6, 24)),
        (("middleware", 2), (6, 5), (6, 17)),
        (("middleware", "cors"), (6, 5), (6, 17)),
        (("absent", "absent"), (4, 5), (4, 5)),
        (("name", "deeper"), (4, 5), (4, 11)),
    ],
)
def test_places_of_an_entry(path, key, value):
    entry = load(PLACES).entries[0]
    assert entry.place(*path) == Place("app.yaml", *key)
    assert entry.place(*path, value=True) == Place("app.yaml", *value)


def test_problems_of_an_entry():
    entry = load(PLACES).entries[0]
    problem = entry.problem("is wrong", "post_options", "cors.max.age")
    assert str(problem) == 'app.yaml:8:7: http.router "it": is wrong'


def test_an_entry_made_in_code_has_no_place():
    host = ProcessHost(name="pool", namespace="app")
    assert (host.id, host.place("max_processes")) == ("app:pool", None)
    assert str(host.problem("is wrong")) == 'process.host "pool": is wrong'


def test_marks_do_not_count_in_comparisons():
    assert load_text(PLACES).entries[0] == load_text("\n" + PLACES).entries[0]


def test_entries_need_no_yaml_reader():
    code = "import sys, wsrelay.config; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
