"""From a YAML file to an App: each entry through the calls of code, each problem at its place."""

import asyncio
import json
import math
import sys
import urllib.request
from ipaddress import ip_network

import pytest
from websockets.asyncio.client import connect

from wsrelay import App, ConfigError, process
from wsrelay.build import build
from wsrelay.config import FunctionPython, ImportPath, load_text
from wsrelay.config.load import Config


@pytest.fixture(autouse=True)
def imports():
    """What a test imports and puts on the path is gone after it."""
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def run():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the files of an app into the working directory: entries, and modules by name."""
    monkeypatch.chdir(tmp_path)

    def write_files(*entries, folder=".", **modules):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        lines = ['version: "1.0"', "namespace: app", "entries:", *(f"  - {{{e}}}" for e in entries)]
        (home / "app.yaml").write_text("\n".join(lines) + "\n")
        for name, source in modules.items():
            (home / f"{name}.py").write_text(source)

    return write_files


def load():
    return App.from_file("app.yaml")


def problems():
    with pytest.raises(ConfigError) as raised:
        load()
    return str(raised.value).split("\n")


PATH, FUNC, QUOTE = '"/', '"h:', "'"  # how values begin whose places are asked for


def at(line, text):
    """The place of a text in a line of the file."""
    with open("app.yaml") as file:
        return f"app.yaml:{line}:{file.read().split(chr(10))[line - 1].index(text) + 1}"


HANDLERS = """
from wsrelay import process, relay_to

def hello(request):
    return {"hello": request.path_params.get("name")}

def connect(request):
    return relay_to(process.spawn(echo))

async def echo():
    async for msg in process.inbox():
        if msg.topic == "ws.message":
            process.send(msg.sender, "ws.send", msg.payload)

def plain():
    pass

number = 5
"""

ROUTER = "name: r, kind: http.router"


def endpoint(name, path, func="h:hello", router="r", method="GET"):
    return (
        f"name: {name}, kind: http.endpoint, meta: {{router: {router}}}, "
        f'method: {method}, path: "{path}", func: "{func}"'
    )


# -- what works ------------------------------------------------------------------------------------


def test_all_kinds(write, run):
    write(
        "name: gateway, kind: http.service, addr: 127.0.0.1:0",
        "name: r, kind: http.router, prefix: /api",
        "name: hello, kind: function.python, source: h:hello",
        endpoint("one", "/hello/{name}", func="hello"),
        endpoint("two", "/hi/{name}", func="h:hello"),
        "name: ws, kind: http.router, prefix: /ws, post_middleware: [websocket_relay], "
        'post_options: {wsrelay.allowed.origins: "*"}',
        endpoint("connect", "", func="h:connect", router="ws").replace('path: ""', "path: /"),
        "name: pool, kind: process.host, max_processes: 3",
        "name: echo.process, kind: process.python, source: h:echo",
        h=HANDLERS,
    )

    async def talk():
        app = load()
        async with app.running() as server:
            for path in ("hello/ann", "hi/ann"):
                assert await asyncio.to_thread(get, f"{server.url}/api/{path}") == {"hello": "ann"}
            async with connect(f"ws://127.0.0.1:{server.port}/ws/") as client:
                await client.send("x")
                assert await client.recv() == "x"
                (entry,) = {p.entry for p in app.processes() if p.client is None}
                assert entry == "app:echo.process"
            return app

    app = run(talk())
    assert app.registry.hosts["app:pool"].max_processes == 3


def get(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def test_settings_of_a_service(write):
    write(
        "name: s, kind: http.service, addr: ':81', "
        "timeouts: {header: 1s, read: 2s, idle: 0s, shutdown: 4s}, "
        "limits: {header_bytes: 5KiB, headers: 6, body: 7MiB, connections: 8}",
    )
    service = load().services["app:s"]
    assert (service.addr.host, service.addr.port, service.declared) == (None, 81, True)
    timeouts = service.timeouts
    assert (timeouts.header, timeouts.read, timeouts.idle) == (1.0, 2.0, math.inf)
    assert service.shutdown == 4.0
    limits = service.limits
    assert (limits.header_bytes, limits.headers, limits.body, limits.connections) == (
        5 * 1024,
        6,
        7 * 1024 * 1024,
        8,
    )


def test_the_proxies_of_a_service(write):
    write(
        "name: a, kind: http.service, trusted_proxies: [10.0.0.0/8, unix], "
        "proxy_headers: forwarded, proxy_protocol: true",
    )
    service = load().services["app:a"]
    assert service.trusted_proxies == [ip_network("10.0.0.0/8"), "unix"]
    assert (service.proxy_headers, service.proxy_protocol) == ("forwarded", True)


def test_a_proxy_protocol_that_can_t_be(write):
    write(
        "name: a, kind: http.service, proxy_protocol: true",
        "name: b, kind: http.service, proxy_protocol: true, trusted_proxies: ['::1'], "
        "tls: {cert: c.pem, key: k.pem}",
        "name: r, kind: http.router, meta: {server: a}",
    )
    start = 'http.service "{}": proxy_protocol: '
    assert [problem for problem in problems() if ": proxy_protocol: " in problem] == [
        f"{at(4, 'proxy_p')}: {start.format('a')}name the proxies that speak it under "
        "trusted_proxies",
        f"{at(5, 'proxy_p')}: {start.format('b')}not together with tls; let the proxy do TLS, "
        "or take it out",
    ]
    assert not any("http.router" in problem for problem in problems())


def test_real_ip_and_its_options(write):
    write(
        "name: r, kind: http.router, middleware: [real_ip], "
        "options: {real_ip.trusted.subnets: 10.0.0.1/8}",
    )
    assert problems() == [
        f'{at(4, "real_ip.t")}: http.router "r": real_ip.trusted.subnets: "10.0.0.1/8" has bits '
        'beyond its subnet; write "10.0.0.0/8"'
    ]


def test_two_services_of_one_address(write):
    write(
        "name: a, kind: http.service",
        "name: b, kind: http.service, addr: 127.0.0.1:8080",
        "name: c, kind: http.service, addr: 127.0.0.1:0",
        "name: d, kind: http.service, addr: 127.0.0.1:0",
        "name: e, kind: http.service",
        "name: f, kind: http.service, addr: unix:/run/app",
        "name: g, kind: http.service, addr: unix:/run/app",
    )
    told = 'addr: http.service "{}" listens on {}; write another address'
    assert problems() == [
        f'{at(5, "127.0")}: http.service "b": {told.format("a", "127.0.0.1:8080")}',
        f'app.yaml:8:5: http.service "e": {told.format("a", "127.0.0.1:8080")}',
        f'{at(10, "unix")}: http.service "g": {told.format("f", "unix:/run/app")}',
    ]


def test_routers_go_to_their_service(write):
    write(
        "name: a, kind: http.service, addr: 127.0.0.1:1",
        "name: b, kind: http.service, addr: 127.0.0.1:2",
        "name: r, kind: http.router, meta: {server: b}, prefix: /x",
    )
    services = load().services
    assert [len(services[name].routers) for name in ("app:a", "app:b")] == [0, 1]


def folder(path, **files):
    """A folder with files, by name without `.html`."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.html").write_text(content)


def test_static_files(write, run, tmp_path):
    write(
        "name: r, kind: http.router",
        endpoint("one", "/api/{name}"),
        "name: page, kind: http.static, path: /, directory: www, index: start.html, spa: true, "
        "cache: 1h",
        "name: docs, kind: http.static, path: /docs, directory: ../docs",
        folder="app",
        h=HANDLERS,
    )
    folder(tmp_path / "app" / "www", start="page", other="other")
    folder(tmp_path / "docs", index="docs")

    def fetch(url):
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode(), response.headers["Cache-Control"]

    async def ask():
        async with App.from_file("app/app.yaml").running() as server:
            paths = ("", "any/where", "other.html", "docs", "api/ann")
            return [await asyncio.to_thread(fetch, f"{server.url}/{path}") for path in paths]

    assert run(ask()) == [
        ("page", "no-cache"),
        ("page", "no-cache"),
        ("other", "max-age=3600"),
        ("docs", "no-cache"),
        ('{"hello":"ann"}', None),
    ]


def test_static_files_go_to_their_service(write, tmp_path):
    write(
        "name: a, kind: http.service, addr: 127.0.0.1:1",
        "name: b, kind: http.service, addr: 127.0.0.1:2",
        "name: one, kind: http.static, meta: {server: a}, path: /, directory: www",
        "name: two, kind: http.static, meta: {server: b}, path: /, directory: www",
    )
    folder(tmp_path / "www")
    services = load().services
    assert [len(services[name].files) for name in ("app:a", "app:b")] == [1, 1]


def test_without_a_service_there_is_the_implicit_one(write):
    write(ROUTER, endpoint("one", "/"), h=HANDLERS)
    assert list(load().services) == ["app:gateway"]


def test_a_config_of_code():
    async def nothing():
        pass

    source = ImportPath(__name__, "test_a_config_of_code")
    config = Config("shop", entries=[FunctionPython(name="f", namespace="shop", source=source)])
    app = build(App("shop"), config)
    assert app.registry.functions == {"shop:f": test_a_config_of_code}


def test_a_text_has_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local_module.py").write_text(HANDLERS)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    text = (
        'version: "1.0"\nnamespace: app\nentries:\n'
        "  - {name: f, kind: function.python, source: local_module:hello}\n"
    )
    with pytest.raises(ConfigError, match='there is no module "local_module" to import'):
        App.from_config(load_text(text))


# -- which entry a process is ----------------------------------------------------------------------


def entry_names(run, app, *targets):
    async def spawn_all():
        async with app:
            return [process.info(process.spawn(target)).entry for target in targets]

    return run(spawn_all())


def test_an_import_path_that_is_one_entry_s_source_is_that_entry(write, run):
    write("name: e, kind: process.python, source: h:echo", h=HANDLERS)
    app = load()
    assert entry_names(run, app, "e", "app:e", "h:echo", sys.modules["h"].echo) == ["app:e"] * 4


def test_a_source_of_two_entries_is_neither(write, run):
    write(
        "name: e, kind: process.python, source: h:echo",
        "name: f, kind: process.python, source: h:echo",
        h=HANDLERS,
    )
    assert entry_names(run, load(), "e", "f", "h:echo") == ["app:e", "app:f", "h:echo"]


def test_a_source_under_another_name(write, run):
    write(
        "name: e, kind: process.python, source: shown:echo",
        h=HANDLERS,
        shown="from h import echo",
    )
    assert entry_names(run, load(), "shown:echo", "h:echo") == ["app:e", "h:echo"]


# -- folders ---------------------------------------------------------------------------------------


def value_app(write, folder, value, extra=""):
    source = f"{extra}\ndef value(request):\n    return [{value!r}]\n"
    write(ROUTER, endpoint("one", "/", func="handlers:value"), folder=folder, handlers=source)


def value_of(app):
    (router,) = app.services["app:gateway"].routers
    return router.routes[0].endpoint(None)


def test_the_folder_of_the_file_comes_first(write):
    value_app(write, "one", 1)
    value_app(write, "two", 2)
    assert value_of(App.from_file("two/app.yaml")) == [2]


def test_two_apps_with_modules_of_the_same_name(write):
    value_app(write, "one", 1, "import helper\nassert helper.NAME == 'one'")
    value_app(write, "two", 2, "import helper\nassert helper.NAME == 'two'")
    for folder in ("one", "two"):
        with open(f"{folder}/helper.py", "w") as file:
            file.write(f"NAME = {folder!r}\n")
    one, two = App.from_file("one/app.yaml"), App.from_file("two/app.yaml")
    assert (value_of(one), value_of(two)) == ([1], [2])
    again = App.from_file("one/app.yaml")
    assert value_of(again) == [1]
    assert again.services["app:gateway"].routers[0].routes[0].endpoint is (
        one.services["app:gateway"].routers[0].routes[0].endpoint
    )


def test_packages_without_init_of_the_same_name(write, tmp_path):
    for folder in ("one", "two"):
        package = tmp_path / folder / "inner"
        package.mkdir(parents=True)
        (package / "deep.py").write_text(f"def value(request):\n    return [{folder!r}]\n")
        write(ROUTER, endpoint("one", "/", func="inner.deep:value"), folder=folder)
    assert value_of(App.from_file("one/app.yaml")) == ["one"]
    assert value_of(App.from_file("two/app.yaml")) == ["two"]
    assert value_of(App.from_file("one/app.yaml")) == ["one"]


def test_a_spawn_by_import_path_stays_in_its_app(write, run):
    for folder in ("one", "two"):
        write(ROUTER, folder=folder, work=f"async def work():\n    return {folder!r}\n")
    one, two = App.from_file("one/app.yaml"), App.from_file("two/app.yaml")

    async def value_in(app):
        async with app:
            return await process.exec("work:work")

    assert [run(value_in(app)) for app in (one, two)] == ["one", "two"]


def test_an_app_is_a_folder_that_moves(write, tmp_path):
    value_app(write, "here", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    assert value_of(App.from_file("there/app.yaml")) == [1]


def test_a_module_with_the_name_of_one_of_python(write):
    write("name: f, kind: function.python, source: json:loads", json="def loads(text): ...")
    [problem] = problems()
    assert problem.startswith(
        f'{at(4, "json:")}: function.python "f": source: "json" was already imported from '
    )
    assert problem.endswith("and is not the one in this folder; give the one here another name")


# -- problems --------------------------------------------------------------------------------------


def test_imports_that_fail(write):
    write(
        "name: a, kind: function.python, source: hh:hello",
        "name: b, kind: function.python, source: h:helo",
        "name: c, kind: function.python, source: h:number",
        "name: d, kind: process.python, source: h:plain",
        "name: e, kind: process.python, source: h.sub:plain",
        "name: f, kind: process.python, source: far.away:thing",
        h=HANDLERS,
    )
    assert problems() == [
        f'{at(4, "hh:")}: function.python "a": source: there is no module "hh" to import, '
        'did you mean "h"?',
        f'{at(5, "h:")}: function.python "b": source: module "h" has no "helo", '
        'did you mean "hello"?',
        f'{at(6, "h:")}: function.python "c": source: "h:number" is no function, but of type int',
        f'{at(7, "h:")}: process.python "d": source: "h:plain" is no async function; '
        "write `async def`",
        f'{at(8, "h.s")}: process.python "e": source: there is no module "h.sub" to import',
        f'{at(9, "far")}: process.python "f": source: there is no module "far" to import',
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import os\n\n1 / 0\n", "ZeroDivisionError: division by zero (bad.py, line 3)"),
        ("x = (\n", "SyntaxError: '(' was never closed (bad.py, line 1)"),
        ("import absent\n", "ModuleNotFoundError: No module named 'absent' (bad.py, line 1)"),
        ("from h import nothing\n", "ImportError: cannot import name 'nothing' from 'h'"),
        (
            "import json\njson.loads('x')\n",
            "JSONDecodeError: Expecting value: line 1 column 1 (char 0) (bad.py, line 2)",
        ),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", r"ValueError: a\nb (bad.py, line 2)"),
        ("raise SystemExit\n", "SystemExit (bad.py, line 1)"),
        ("import worse\n", "RuntimeError (worse.py, line 1)"),
    ],
)
def test_a_module_that_raises(write, source, told):
    write(
        "name: a, kind: function.python, source: bad:f",
        "name: b, kind: function.python, source: bad:g",
        h=HANDLERS,
        bad=source,
        worse="raise RuntimeError\n",
    )
    [problem] = problems()  # once, however many entries name the module
    start = f'{at(4, "bad:f")}: function.python "a": source: importing "bad" failed: {told}'
    assert problem.startswith(start)


def test_routes_that_conflict(write):
    write(
        ROUTER,
        "name: twin, kind: http.router",
        "name: deep, kind: http.router, prefix: /deep",
        endpoint("one", "/x/{id}"),
        endpoint("two", "/x/{name}"),
        endpoint("three", "/x/{else}", router="twin"),
        endpoint("hidden", "/deep/down"),
        endpoint("four", "/y/{rest...}/z"),
        endpoint("five", "/{a}/{a}"),
        endpoint("fine", "/x/{id}", method="POST"),
        h=HANDLERS,
    )
    assert problems() == [
        f'{at(8, PATH)}: http.endpoint "two": GET /x/{{name}} (h:hello) can\'t be told '
        'from GET /x/{id} (h:hello), http.endpoint "one" at app.yaml:7:5',
        f'{at(9, PATH)}: http.endpoint "three": GET /x/{{else}} (h:hello) can\'t be told '
        'from GET /x/{id} (h:hello), http.endpoint "one" at app.yaml:7:5',
        f'{at(10, PATH)}: http.endpoint "hidden": GET /deep/down (h:hello) is hidden by '
        "the router with prefix /deep",
        f"{at(11, PATH)}: http.endpoint \"four\": bad path '/y/{{rest...}}/z': "
        "a {rest...} parameter is the last segment",
        f"{at(12, PATH)}: http.endpoint \"five\": bad path '/{{a}}/{{a}}': "
        "two parameters have the same name",
    ]


def test_static_files_that_conflict(write, tmp_path):
    write(
        "name: r, kind: http.router",
        "name: one, kind: http.static, path: /a, directory: www",
        "name: two, kind: http.static, path: /a/, directory: www",
        "name: three, kind: http.static, path: /b, directory: www",
        endpoint("rest", "/b/{rest...}"),
        "name: fine, kind: http.static, path: /a/b, directory: www",
        h=HANDLERS,
    )
    folder(tmp_path / "www")
    www = tmp_path / "www"
    assert problems() == [
        f'{at(6, PATH[1:])}: http.static "two": the files under /a ({www}) can\'t be told '
        f'from the files under /a ({www}), http.static "one" at app.yaml:5:5',
        f'{at(7, PATH[1:])}: http.static "three": the files under /b ({www}) can\'t be told '
        'from GET /b/{rest...} (h:hello), http.endpoint "rest" at app.yaml:8:5',
    ]


def test_static_files_that_are_wrong(write, tmp_path):
    write(
        "name: a, kind: http.static, path: /a, directory: ww",
        "name: b, kind: http.static, path: /b, directory: www/index.html",
        "name: c, kind: http.static, path: '/c/{id}', directory: www",
        "name: d, kind: http.static, path: /d, directory: www, spa: true, index: page.html",
        "name: e, kind: http.static, path: /e, directory: www, index: .env",
    )
    folder(tmp_path / "www", index="x")
    assert problems() == [
        f'{at(4, "ww")}: http.static "a": directory: {tmp_path}/ww does not exist',
        f'{at(5, "www/")}: http.static "b": directory: {tmp_path}/www/index.html is no folder',
        f"{at(6, QUOTE)}: http.static \"c\": path: bad path of static files '/c/{{id}}': "
        "a path of static files has no parameters",
        f'{at(7, "page.html")}: http.static "d": index: spa needs a file page.html in '
        f"{tmp_path}/www",
        f"{at(8, '.env')}: http.static \"e\": index: '.env' is not the name of a file "
        "that is served",
    ]


def test_middleware_and_prefixes_that_are_wrong(write):
    write(
        "name: a, kind: http.router, post_middleware: [websocket_relay], "
        'post_options: {wsrelay.allowed.origin: "*", wsrelay.queue.max: much}',
        "name: b, kind: http.router, middleware: [websocket_relai]",
        "name: c, kind: http.router, prefix: '/x/{id}'",
        endpoint("one", "/", router="a"),
        endpoint("two", "/", router="b", func="h:nothing"),
        h=HANDLERS,
    )
    found = problems()
    assert found[0] == (
        f'{at(4, "wsrelay.a")}: http.router "a": unknown option "wsrelay.allowed.origin", '
        'did you mean "wsrelay.allowed.origins"?'
    )
    assert found[1].startswith(f'{at(4, "wsrelay.q")}: http.router "a": wsrelay.queue.max: "much" ')
    assert found[2:] == [
        f'{at(5, "websocket_relai")}: http.router "b": unknown middleware "websocket_relai", '
        'did you mean "websocket_relay"?',
        f"{at(6, QUOTE)}: http.router \"c\": bad prefix '/x/{{id}}': a prefix has no parameters",
        f'{at(8, FUNC)}: http.endpoint "two": func: module "h" has no "nothing"',
    ]


def test_a_broken_entry_hides_no_problem_of_another_and_makes_none(write):
    write(
        "name: s, kind: http.service, addr: 8080",
        "name: r, kind: http.router, meta: {server: s}",
        endpoint("one", "/", router="r", func="f"),
        "name: f, kind: function.python, source: h",
        "name: ws, kind: http.router, meta: {server: t}, prefx: /",
        endpoint("two", "/", router="ws"),
        "name: r, kind: process.host",
        "name: r, kind: process.python, source: h:ecko",
        "name: p, kind: process.python, source: h:ecko",
        "name: t, kind: http.service, addr: ':1'",
        "name: x, kind: http.router, meta: {server: t}, middleware: [zzz]",
        h=HANDLERS,
    )
    assert [one.split(": ", 2)[1:] for one in problems()] == [
        [
            'http.service "s"',
            'addr: "8080" has no port; write an address as "127.0.0.1:8080", '
            '":8080", "[::1]:8080" or "unix:/path"',
        ],
        [
            'function.python "f"',
            'source: "h" is not an import path; write it as "package.module:attribute"',
        ],
        ['http.router "ws"', 'unknown field "prefx", did you mean "prefix"?'],
        ['process.host "r"', 'the name is taken by http.router "r" at app.yaml:5:5'],
        ['process.python "r"', 'the name is taken by http.router "r" at app.yaml:5:5'],
        ['process.python "p"', 'source: module "h" has no "ecko", did you mean "echo"?'],
        ['http.router "x"', 'unknown middleware "zzz"'],
    ]


def test_a_config_of_code_with_a_name_twice():
    source = ImportPath(__name__, "test_a_config_of_code")
    twice = [FunctionPython(name="f", namespace="shop", source=source) for _ in range(2)]
    with pytest.raises(ConfigError) as raised:
        build(App("shop"), Config("shop", entries=twice))
    assert str(raised.value) == ('function.python "f": the name is taken by function.python "f"')
