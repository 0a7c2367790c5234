import asyncio

import pytest

from wsrelay.http import Dispatcher, HTTPError, Request, Response, RouteConflict, Router


def ask(dispatcher, method, path):
    """Dispatch; where the synchronous way is open, it must give the same."""
    response = asyncio.run(dispatcher(Request(method, path)))
    other = dispatcher.dispatch_sync(Request(method, path))
    if other is not None:
        assert (other.status_code, other.body) == (response.status_code, response.body)
        assert other.headers.raw == response.headers.raw
    return response


def tag(name):
    async def middleware(request, call_next):
        trail.append(f"{name}>{sorted(request.path_params)}")
        response = await call_next(request)
        trail.append(f"{name}<{response.status_code}")
        return response

    trail = middleware.trail = []
    return middleware


def test_decorators_return_the_function():
    router = Router("/api")

    def endpoint(request):
        return request.method

    for name in ("get", "post", "put", "patch", "delete", "options", "head"):
        assert getattr(router, name)(f"/{name}")(endpoint) is endpoint
    assert router.route("/many", ["GET", "POST"])(endpoint) is endpoint
    dispatcher = Dispatcher([router])
    for name in ("get", "post", "put", "patch", "delete", "options", "head"):
        assert ask(dispatcher, name.upper(), f"/api/{name}").body == name.upper().encode()
    assert ask(dispatcher, "POST", "/api/many").body == b"POST"


def test_parameters_reach_the_endpoint():
    router = Router("/ws/")
    router.add("GET", "/chat/{room}/{rest...}", lambda request: dict(request.path_params))
    response = ask(Dispatcher([router]), "GET", "/ws/chat/a%2Fb/c/d%20e")
    assert response.body == b'{"room":"a/b","rest":"c/d e"}'


def test_a_request_knows_its_route():
    router = Router("/a")
    route = router.add("GET", "/{id}", lambda request: request.route.template)
    assert ask(Dispatcher([router]), "GET", "/a/1").body == b"/a/{id}"
    assert router.routes == [route]


def make(*routes, prefix=""):
    router = Router(prefix)
    for method, path in routes:
        router.add(method, path, lambda request, text=f"{method} {path}": text)
    return router


def test_get_serves_head_unless_there_is_one():
    dispatcher = Dispatcher([make(("GET", "/a"), ("GET", "/b"), ("HEAD", "/b"))])
    assert ask(dispatcher, "HEAD", "/a").body == b"GET /a"
    assert ask(dispatcher, "HEAD", "/b").body == b"HEAD /b"


def test_a_wrong_method():
    dispatcher = Dispatcher([make(("GET", "/a"), ("PUT", "/a"), ("POST", "/b"))])
    response = ask(dispatcher, "POST", "/a")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"
    response = ask(dispatcher, "get", "/b")
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


def test_options_are_answered():
    dispatcher = Dispatcher([make(("GET", "/a"), ("DELETE", "/b"), ("OPTIONS", "/c"))])
    response = ask(dispatcher, "OPTIONS", "/a")
    assert (response.status_code, response.body) == (204, b"")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    assert ask(dispatcher, "OPTIONS", "/c").body == b"OPTIONS /c"
    assert ask(dispatcher, "OPTIONS", "/d").status_code == 404
    everything = ask(dispatcher, "OPTIONS", "*")
    assert everything.status_code == 204
    assert everything.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


def test_the_method_decides_between_templates_that_match():
    dispatcher = Dispatcher([make(("GET", "/a/b"), ("POST", "/a/{id}"))])
    assert ask(dispatcher, "GET", "/a/b").body == b"GET /a/b"
    assert ask(dispatcher, "POST", "/a/b").body == b"POST /a/{id}"
    assert ask(dispatcher, "PUT", "/a/b").headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_what_is_not_found():
    dispatcher = Dispatcher([make(("GET", "/a"), prefix="/p")])
    for path in ("/", "/a", "/p", "/p/", "/p/a/", "/p//a", "/pp/a", "/P/a"):
        assert ask(dispatcher, "GET", path).status_code == 404, path
    assert ask(Dispatcher([]), "GET", "/").status_code == 404


def test_a_bad_path_is_the_clients_fault():
    dispatcher = Dispatcher([make(("GET", "/{rest...}"))])
    for path in ("/../a", "/%2e%2e/a", "/%ff", "/%"):
        assert ask(dispatcher, "GET", path).status_code == 400, path


def test_the_longest_prefix_serves():
    routers = [
        make(("GET", "/{rest...}")),
        make(("GET", "/x"), prefix="/a"),
        make(("GET", ""), ("GET", "/x"), prefix="/a/b"),
    ]
    dispatcher = Dispatcher(routers)
    assert ask(dispatcher, "GET", "/z/x").body == b"GET /{rest...}"
    assert ask(dispatcher, "GET", "/ab/x").body == b"GET /{rest...}"
    assert ask(dispatcher, "GET", "/a/x").body == b"GET /x"
    assert ask(dispatcher, "GET", "/a/b").body == b"GET "
    assert ask(dispatcher, "GET", "/a/b/x").body == b"GET /x"
    assert ask(dispatcher, "GET", "/a/c").status_code == 404


def test_routers_may_share_a_prefix():
    first, second = tag("first"), tag("second")
    one, two = Router("/p", [first]), Router("/p", [second])
    one.get("/a")(lambda request: "a")
    two.get("/b")(lambda request: "b")
    dispatcher = Dispatcher([one, two])
    assert ask(dispatcher, "GET", "/p/b").body == b"b"
    assert (first.trail, second.trail) == ([], ["second>[]", "second<200"])
    assert ask(dispatcher, "POST", "/p/b").status_code == 405
    assert second.trail[2:] == ["second>[]", "second<405"]
    assert ask(dispatcher, "GET", "/p/c").status_code == 404
    assert first.trail == ["first>[]", "first<404"]


def test_middleware_surrounds_the_match_and_post_middleware_the_endpoint():
    before, after = tag("before"), tag("after")
    router = Router("/p", [before], [after])
    router.get("/{id}")(lambda request: "x")
    dispatcher = Dispatcher([router])
    assert dispatcher.dispatch_sync(Request("GET", "/p/1")) is None
    ask(dispatcher, "GET", "/p/1")
    ask(dispatcher, "PUT", "/p/1")
    ask(dispatcher, "OPTIONS", "/p/1")
    ask(dispatcher, "GET", "/p/1/2")
    assert before.trail == [
        *("before>[]", "before<200"),
        *("before>[]", "before<405"),
        *("before>[]", "before<204"),
        *("before>[]", "before<404"),
    ]
    assert after.trail == ["after>['id']", "after<200"]


def test_a_middleware_may_pass_on_another_request():
    async def rewrite(request, call_next):
        return await call_next(Request(request.method, target))

    router = Router("", [rewrite])
    router.get("/new/{id}")(lambda request: request.path_params["id"])
    target = "/new/7"
    assert ask(Dispatcher([router]), "GET", "/old").body == b"7"
    target = "/../x"
    assert ask(Dispatcher([router]), "GET", "/old").status_code == 400


def test_an_http_error_out_of_a_middleware_is_its_response():
    async def deny(request, call_next):
        raise HTTPError(401, "who are you?")

    router = Router("", [deny])
    response = ask(Dispatcher([router]), "GET", "/")
    assert (response.status_code, response.body) == (401, b"who are you?")


def test_the_synchronous_way_is_for_ordinary_functions():
    async def endpoint(request):
        return Response("x")

    router = make(("GET", "/a"))
    router.get("/b")(endpoint)
    dispatcher = Dispatcher([router])
    assert dispatcher.dispatch_sync(Request("GET", "/a")).body == b"GET /a"
    assert dispatcher.dispatch_sync(Request("GET", "/b")) is None
    assert dispatcher.dispatch_sync(Request("GET", "/c")).status_code == 404
    assert ask(dispatcher, "GET", "/b").body == b"x"


def test_routes_that_cant_be_told_apart():
    def other(request): ...

    router = make(("GET", "/a/{id}"), prefix="/p")
    with pytest.raises(RouteConflict) as caught:
        router.get("/a/{name}")(other)
    assert "GET /p/a/{name} " in str(caught.value)
    assert "other" in str(caught.value)
    assert "GET /p/a/{id} " in str(caught.value)
    conflict = caught.value
    assert (conflict.route.template, conflict.route.endpoint) == ("/p/a/{name}", other)
    assert conflict.other is router.routes[0]
    router.post("/a/{name}")(other)
    router.get("/a/{rest...}")(other)


def test_conflicts_between_routers():
    one, two = make(("GET", "/a"), prefix="/p"), make(("GET", "/a"), prefix="/p/")
    with pytest.raises(RouteConflict, match="can't be told") as caught:
        Dispatcher([one, two])
    assert (caught.value.route, caught.value.other) == (two.routes[0], one.routes[0])
    hidden = make(("GET", "/p/b"))
    with pytest.raises(RouteConflict, match="hidden by the router with prefix /p") as caught:
        Dispatcher([hidden, two])
    assert (caught.value.route, caught.value.other) == (hidden.routes[0], None)
    Dispatcher([make(("GET", "/{x}/b")), make(("GET", "/a"), prefix="/p")])


def test_an_empty_path_needs_a_prefix():
    with pytest.raises(ValueError, match="bad path"):
        make(("GET", ""))


def test_a_path_in_a_prefix_begins_with_a_slash():
    router = Router("/api")
    with pytest.raises(ValueError, match="'users': it starts with /"):
        router.get("users")(print)
    assert not router.routes


def test_a_decorator_without_its_path():
    router = Router()
    for decorator in (router.get, router.post, router.route):
        with pytest.raises(TypeError, match=r'write @router\.get\("/path"\)'):

            @decorator
            def endpoint(request): ...


def test_an_endpoint_is_a_function():
    router = Router()
    with pytest.raises(TypeError, match="the endpoint of '/a' is a function, not int"):
        router.add("GET", "/a", 5)
    assert not router.routes


def test_a_path_that_is_spelt_out_is_looked_up_once():
    router = Router()
    seen = []

    @router.get("/a/b")
    def spelt_out(request):
        request.path_params["mine"] = "1"
        return "b"

    @router.get("/a/{id}")
    def free(request):
        seen.append(dict(request.path_params))
        return "id"

    dispatcher = Dispatcher([router])
    for path in ("/a/b", "/a/%62", "/a/b?x", "/a/b"):
        request = Request("GET", path)
        assert dispatcher.dispatch_sync(request).body == b"b"
        assert request.path_params == {"mine": "1"} and request.route.template == "/a/b"
    for number in range(3):
        assert dispatcher.dispatch_sync(Request("GET", f"/a/{number}")).body == b"id"
    assert seen == [{"id": "0"}, {"id": "1"}, {"id": "2"}]
    assert dispatcher.dispatch_sync(Request("POST", "/a/b")).status_code == 405
    assert list(dispatcher._spelt_out) == [("GET", b"/a/b")]
