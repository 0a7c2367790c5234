"""What a configuration serves, in one list."""

from wsrelay.config import load_text
from wsrelay.listing import RouteLine, ServiceLine, route_lines, service_lines

HEAD = 'version: "1.0"\nnamespace: app\nentries:\n'


def load(*entries):
    return load_text(HEAD + "".join(f"  - {{{entry}}}\n" for entry in entries))


def test_all_that_a_route_has():
    config = load(
        "name: a, kind: http.service, addr: ':81'",
        "name: b, kind: http.service, addr: 'unix:/run/b'",
        "name: r, kind: http.router, meta: {server: b}, prefix: /api/, "
        "middleware: [cors, real_ip], post_middleware: [compress]",
        "name: f, kind: function.python, source: 'm:function'",
        "name: one, kind: http.endpoint, meta: {router: r}, method: PUT, path: '/x/{id}', func: f",
        "name: two, kind: http.endpoint, meta: {router: r}, method: GET, path: /y, func: 'm:y'",
    )
    one, two = route_lines(config)
    assert one == RouteLine(
        kind="http.endpoint",
        name="one",
        method="PUT",
        path="/api/x/{id}",
        function="f (m:function)",
        router="r",
        middleware=["cors", "real_ip"],
        post_middleware=["compress"],
        service="b",
        address="unix:/run/b",
    )
    assert (two.name, two.function, two.path) == ("two", "m:y", "/api/y")


def test_without_a_service_it_is_the_implicit_one():
    config = load(
        "name: r, kind: http.router",
        "name: one, kind: http.endpoint, method: GET, path: /, func: 'm:f'",
    )
    (line,) = route_lines(config)
    assert (line.service, line.address, line.path) == ("gateway", "127.0.0.1:8080", "/")


def test_folders_stand_between_routes():
    config = load(
        "name: s, kind: http.static, path: /files/, directory: www",
        "name: root, kind: http.static, path: /, directory: www",
    )
    assert [(line.kind, line.path, line.function, line.router) for line in route_lines(config)] == [
        ("http.static", "/files/{file...}", "www", None),
        ("http.static", "/{file...}", "www", None),
    ]


def test_services():
    config = load(
        "name: pool, kind: process.host",
        "name: first, kind: process.service, process: 'm:f'",
        "name: it, kind: process.service, process: 'm:g', host: pool, "
        "lifecycle: {auto_start: false, requires: [first]}",
    )
    assert service_lines(config) == [
        ServiceLine("process.service", "first", "m:f", None, True, []),
        ServiceLine("process.service", "it", "m:g", "pool", False, ["first"]),
    ]
