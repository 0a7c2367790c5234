"""Functions and objects that options of a YAML file name: found from the app's folder first."""

import sys

import aiohttp
import pytest

from wsrelay import App, ConfigError

AUTH = """
from prometheus_client import CollectorRegistry, Counter

def verify(token):
    return {"secret": "ann"}.get(token)

async def check(actor, request):
    return request.path_params["name"] == actor

def hello(request):
    return {"hello": request.actor}

number = 5
registry = CollectorRegistry()
Counter("orders", "Orders.", registry=registry).inc()
"""


@pytest.fixture(autouse=True)
def imports():
    """What a test imports and puts on the path is gone after it."""
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith("prometheus_client"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the files of an app: entries, and modules by name."""
    monkeypatch.chdir(tmp_path)

    def write_files(*entries, folder=".", **modules):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        lines = ['version: "1.0"', "namespace: app", "entries:", *(f"  - {{{e}}}" for e in entries)]
        (home / "app.yaml").write_text("\n".join(lines) + "\n")
        for name, source in modules.items():
            (home / f"{name}.py").write_text(source)

    return write_files


def router(middleware, options, name="r", more=""):
    return (
        f"name: {name}, kind: http.router, middleware: [{middleware}], options: {{{options}}}{more}"
    )


ENDPOINT = "name: e, kind: http.endpoint, meta: {router: r}, method: GET, path: '/{name}', func: "


def problems():
    with pytest.raises(ConfigError) as raised:
        App.from_file("app.yaml")
    return str(raised.value).split("\n")


def get(app, run, *requests):
    async def main():
        async with app.running("127.0.0.1:0") as server, aiohttp.ClientSession(server.url) as http:
            found = []
            for path, token in requests:
                async with http.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                    found.append((response.status, await response.text()))
            return found

    return run(main())


def test_an_app_in_a_folder(write, run):
    write(
        router(
            "token_auth, metrics",
            "token_auth.verify: 'auth:verify', metrics.registry: 'auth:registry'",
            more=", post_middleware: [require_actor], "
            "post_options: {require_actor.check: 'auth:check'}",
        ),
        f"{ENDPOINT} 'auth:hello'",
        "name: pages, kind: http.router, prefix: /in, middleware: [metrics], "
        "options: {metrics.path: /in/metrics, metrics.registry: 'auth:registry'}",
        folder="home",
        auth=AUTH,
    )
    # The page of the first router is one of its routes, so its `post_middleware` guards it.
    app = App.from_file("home/app.yaml")
    asked = [("/ann", "secret"), ("/bob", "secret"), ("/ann", "x"), ("/metrics", "x")]
    *found, (status, text) = get(app, run, *asked, ("/in/metrics", "x"))
    assert found == [
        (200, '{"hello":"ann"}'),
        (403, "Forbidden"),
        (401, "Unauthorized"),
        (401, "Unauthorized"),
    ]
    assert status == 200
    assert "orders_total 1.0" in text
    assert 'http_requests_total{method="GET",route="/{name}",status="2xx"} 1.0' in text


def test_two_apps_with_a_module_of_one_name(write, run):
    for folder, user in (("one", "ann"), ("two", "bob")):
        write(
            router("token_auth", "token_auth.verify: 'auth:verify'"),
            f"{ENDPOINT} 'auth:hello'",
            folder=folder,
            auth=AUTH.replace('"ann"', f'"{user}"'),
        )
    apps = [App.from_file(f"{folder}/app.yaml") for folder in ("one", "two")]
    texts = [get(app, run, ("/x", "secret"))[0][1] for app in apps]
    assert texts == ['{"hello":"ann"}', '{"hello":"bob"}']


def test_what_is_wrong_has_its_place(write):
    write(
        router("token_auth", "token_auth.verify: 'auth:verfy'", "a"),
        router("token_auth", "token_auth.verify: 'auht:verify'", "b"),
        router("token_auth", "token_auth.verify: verify", "c"),
        router("require_actor", "require_actor.check: 'auth:number'", "d"),
        router("token_auth", "token_auth.verify: 'broken:verify'", "e"),
        router("zzz, token_auth", "", "f"),
        router("metrics", "metrics.path: /metrics", "g", ", prefix: /g"),
        router("metrics", "metrics.registry: 'auth:number', metrics.path: ''", "h"),
        "name: i, kind: http.router, prefix: /i, post_middleware: [token_auth], "
        "post_options: {token_auth.verify: 'auth:verfy'}",
        auth=AUTH,
        broken="import nothing_like_it\n",
    )
    places = [line.split(": ", 1)[0] for line in problems()]
    texts = [line.split(": ", 2)[2] for line in problems()]
    with open("app.yaml") as file:
        lines = file.read().split("\n")
    keys = [lines[int(place.split(":")[1]) - 1][int(place.split(":")[2]) - 1 :] for place in places]
    assert [key.partition(":")[0].partition("]")[0] for key in keys] == [
        "token_auth.verify",
        "token_auth.verify",
        "token_auth.verify",
        "require_actor.check",
        "token_auth.verify",
        "zzz, token_auth",
        "token_auth",
        "metrics.path",
        "metrics.registry",
        "token_auth.verify",
    ]
    assert texts == [
        'token_auth.verify: module "auth" has no "verfy", did you mean "verify"?',
        'token_auth.verify: there is no module "auht" to import, did you mean "auth"?',
        'token_auth.verify: "verify" is not an import path; write it as "package.module:attribute"',
        'require_actor.check: "auth:number" is no function, but of type int',
        'token_auth.verify: importing "broken" failed: ModuleNotFoundError: No module named '
        "'nothing_like_it' (broken.py, line 1)",
        'unknown middleware "zzz"',
        'token_auth needs a function: set token_auth.verify, as in "app.auth:verify"',
        'metrics.path: "/metrics" is not under the router\'s prefix "/g": write "/g/metrics", or '
        '"" to only count',
        'metrics.registry: "auth:number" is no CollectorRegistry, but of type int',
        'token_auth.verify: module "auth" has no "verfy", did you mean "verify"?',
    ]


def test_a_page_that_no_request_could_reach(write):
    write(
        router("metrics", "metrics.path: /deep/metrics"),
        "name: deep, kind: http.router, prefix: /deep",
    )
    assert problems() == [
        'app.yaml:4:5: http.router "r": GET /deep/metrics (wsrelay.middleware.metrics:Metrics.page)'
        " is hidden by the router with prefix /deep"
    ]


def test_two_pages_in_one_place(write):
    write(router("metrics", "", "a"), router("metrics", "", "b"))
    (told,) = problems()
    assert told.startswith('app.yaml:5:5: http.router "b": GET /metrics (')
    assert "can't be told from GET /metrics (" in told
    assert told.endswith('http.router "a" at app.yaml:4:5')


def test_an_endpoint_in_the_place_of_the_page(write):
    write(router("metrics", ""), f"{ENDPOINT.replace('{name}', 'metrics')} 'auth:hello'", auth=AUTH)
    (told,) = problems()
    assert told.startswith("app.yaml:5:")
    assert "GET /metrics (auth:hello) can't be told from GET /metrics (" in told


def test_an_app_in_code_imports_as_python_does(monkeypatch, tmp_path, run):
    (tmp_path / "own_auth.py").write_text(AUTH)
    monkeypatch.syspath_prepend(tmp_path)
    app = App()
    routes = app.router(
        "", middleware=["token_auth"], options={"token_auth.verify": "own_auth:verify"}
    )
    routes.add("GET", "/", lambda request: request.actor)
    assert get(app, run, ("/", "secret")) == [(200, "ann")]
