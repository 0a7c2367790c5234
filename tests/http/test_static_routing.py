"""Which of routes and static files serves a path."""

import asyncio

import pytest

from wsrelay.http import Dispatcher, Request, RouteConflict, Router, StaticFiles


@pytest.fixture
def folder(tmp_path):
    """Makes a folder whose files say where they are from."""

    def make(name, *names):
        for each in names:
            file = tmp_path / name / each
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name}:{each}")
        return tmp_path / name

    return make


def router(prefix="", **routes):
    """Routes by `method_n="path"`, each of which answers with its template."""
    made = Router(prefix)
    for name, path in routes.items():
        made.add(name.partition("_")[0], path, lambda request: request.route.template)
    return made


def ask(dispatcher, path, method="GET"):
    request = Request(method, path)
    response = dispatcher.dispatch_sync(request) or asyncio.run(dispatcher(request))
    text = response.body.decode()
    return text if response.status_code == 200 else (response.status_code, *allow(response))


def allow(response):
    return [response.headers["allow"]] if "allow" in response.headers else []


def test_routes_go_before_files_of_the_same_prefix(folder):
    root = folder("www", "a", "b", "c/d")
    routes = router(get_1="/a", get_2="/{id}/x", get_3="/c/{id}")
    served = Dispatcher([routes], [StaticFiles("/", root)])
    assert ask(served, "/a") == "/a"
    assert ask(served, "/b") == "www:b"
    assert ask(served, "/q/x") == "/{id}/x"
    assert ask(served, "/c/d") == "/c/{id}"
    assert ask(served, "/none") == (404,)


def test_the_longest_path_serves(folder):
    served = Dispatcher(
        [],
        [
            StaticFiles("/", folder("www", "x", "a/x", "a/y")),
            StaticFiles("/a", folder("a", "x", "b/x")),
            StaticFiles("/a/b", folder("b", "z")),
        ],
    )
    assert ask(served, "/x") == "www:x"
    assert ask(served, "/a/x") == "a:x"
    assert ask(served, "/a/y") == (404,)
    assert ask(served, "/a/b/z") == "b:z"
    assert ask(served, "/a/b/x") == (404,)
    assert ask(served, "/ab/x") == (404,)


def test_a_route_that_is_spelled_out_goes_before_files_of_a_longer_path(folder):
    static = StaticFiles("/static", folder("www", "config.js", "app.js", "v"))
    routes = router(
        get_1="/static/config.js", get_2="/{id}/app.js", get_3="/{rest...}", get_4="/static/v/{id}"
    )
    served = Dispatcher([routes], [static])
    assert ask(served, "/static/config.js") == "/static/config.js"
    assert ask(served, "/static/app.js") == "www:app.js"
    assert ask(served, "/static/v/1") == "/static/v/{id}"
    assert ask(served, "/static/none") == (404,)
    assert ask(served, "/other/app.js") == "/{id}/app.js"
    assert ask(served, "/other") == "/{rest...}"


def test_a_router_with_a_longer_prefix_goes_before_files(folder):
    root = folder("www", "api/doc", "index.html")
    served = Dispatcher([router("/api", get="/x")], [StaticFiles("/", root, spa=True)])
    assert ask(served, "/api/x") == "/api/x"
    assert ask(served, "/api/doc") == (404,)
    assert ask(served, "/apis") == "www:index.html"


def test_other_methods(folder):
    routes = router(post_1="/login", post_2="/upload", get_2="/page", put="/{any}/x")
    served = Dispatcher([routes], [StaticFiles("/", folder("www", "login"))])
    assert ask(served, "/login", "POST") == "/login"
    assert ask(served, "/login") == "www:login"
    assert ask(served, "/upload") == (405, "OPTIONS, POST")
    assert ask(served, "/login", "PUT") == (405, "GET, HEAD, OPTIONS, POST")
    assert ask(served, "/login", "OPTIONS") == (204, "GET, HEAD, OPTIONS, POST")
    assert ask(served, "/none", "OPTIONS") == (204, "GET, HEAD, OPTIONS")
    assert ask(served, "/page", "PUT") == (405, "GET, HEAD, OPTIONS")
    assert ask(served, "/q/x", "PUT") == "/{any}/x"
    assert ask(served, "*", "OPTIONS") == (204, "GET, HEAD, OPTIONS, POST, PUT")


def test_no_middleware_runs_around_a_file(folder):
    seen = []

    async def middleware(request, call_next):
        seen.append((request.method, request.raw_path))
        return await call_next(request)

    routes = Router(middleware=[middleware], post_middleware=[middleware])
    routes.post("/a")(lambda request: "posted")
    served = Dispatcher([routes], [StaticFiles("/", folder("www", "a"))])
    assert ask(served, "/a") == "www:a"
    assert ask(served, "/none") == (404,)
    assert ask(served, "/none", "DELETE") == (405, "GET, HEAD, OPTIONS")
    assert seen == []
    # A path of the router's own has its middleware, as ever.
    assert ask(served, "/a", "DELETE") == (405, "GET, HEAD, OPTIONS, POST")
    assert seen == [("DELETE", b"/a")]


def test_a_fault_is_a_500(folder, monkeypatch, caplog):
    static = StaticFiles("/", folder("www", "a"))
    monkeypatch.setattr(static, "_answer", lambda request, names: 1 / 0)
    assert ask(Dispatcher([], [static]), "/a") == (500,)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("path", "template", "prefix"),
    [
        ("/", "/{rest...}", ""),
        ("/a", "/a/{rest...}", ""),
        ("/a/", "/{rest...}", "/a"),
    ],
)
def test_files_and_routes_that_can_not_be_told_apart(folder, path, template, prefix):
    static = StaticFiles(path, folder("www", "a"))
    with pytest.raises(RouteConflict) as raised:
        Dispatcher([router(prefix, get=template)], [static])
    whole = f"GET {prefix + template} (test_static_routing:router.<locals>.<lambda>)"
    assert str(raised.value) == (
        f"the files under {path.rstrip('/') or '/'} ({static.directory}) can't be told from {whole}"
    )


def test_files_of_one_path(folder):
    first, second = StaticFiles("/a", folder("x", "a")), StaticFiles("/a/", folder("y", "a"))
    with pytest.raises(RouteConflict, match=r"/y\) can't be told from the files under /a \(.*/x\)"):
        Dispatcher([], [first, second])


def test_what_can_be_told_apart(folder):
    root = folder("www", "a")
    routes = router(post="/{rest...}", get_1="/{id}/{rest...}", get_2="/a/{id}", get_3="/")
    Dispatcher([routes], [StaticFiles("/", root), StaticFiles("/a", root)])
