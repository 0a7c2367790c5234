"""The `cors` middleware: who may read answers, and what a preflight is told."""

import pytest
from asking import ask, session_with
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from wsrelay import App, ConfigError, HTTPError, Response, process, relay_to
from wsrelay.config import load_text
from wsrelay.middleware.cors import OPTIONS, PREFIXES, Cors
from wsrelay.middleware.options import OptionError, read_options

PAGE = "https://page.example"
ORIGIN = ("Origin", PAGE)
PREFLIGHT = (ORIGIN, ("Access-Control-Request-Method", "PUT"))
LIST = {"cors.allow.origins": f"{PAGE}, https://*.trusted.example"}


def router_with(options=None, *, post=False, inside=()):
    """A router with `cors` by name, and routes whose handlers note that they ran."""
    layers = {"middleware": ["cors", *inside], "options": options}
    if post:
        layers = {"post_middleware": ["cors"], "post_options": options}
    router = App().router("/api", **layers)
    router.ran = []

    @router.get("/items")
    def items(request):
        router.ran.append(request.method)
        return {"a": 1}

    @router.put("/items")
    def put(request):
        router.ran.append(request.method)
        return Response("own", headers={"Vary": "Cookie"})

    @router.get("/broken")
    def broken(request):
        raise ValueError("internal")

    @router.get("/refused")
    def refused(request):
        raise HTTPError(418)

    @router.get("/own")
    def own(request):
        names = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials")
        return Response("own", headers=dict.fromkeys(names, "handler"))

    return router


def cors_headers(response):
    return {name: response.headers[name] for name in response.headers if "access-control" in name}


# -- preflights ------------------------------------------------------------------------------------


def test_a_preflight_is_answered_where_no_route_has_options():
    router = router_with()
    for path in ("/api/items", "/api/nowhere"):
        response = ask(router, "OPTIONS", path, *PREFLIGHT)
        assert (response.status_code, response.body) == (204, b"")
        assert dict(response.headers) == {
            "access-control-allow-origin": "*",
            "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
            "access-control-allow-headers": "Authorization, Content-Type",
            "access-control-max-age": "86400",
        }
    assert router.ran == []


def test_options_that_are_no_preflight_go_to_the_router():
    router = router_with()
    for fields in ([], [ORIGIN], [PREFLIGHT[1]]):
        response = ask(router, "OPTIONS", "/api/items", *fields)
        assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"
        assert cors_headers(response) == {"access-control-allow-origin": "*"}
    assert ask(router, "PUT", "/api/items", *PREFLIGHT).body == b"own"


def test_a_preflight_behind_the_match_needs_a_route_for_options():
    router = router_with(post=True)
    assert cors_headers(ask(router, "OPTIONS", "/api/items", *PREFLIGHT)) == {}
    router = router_with(post=True)
    router.options("/items")(lambda request: Response("not reached"))
    response = ask(router, "OPTIONS", "/api/items", *PREFLIGHT)
    assert response.status_code == 204
    assert response.headers["access-control-allow-methods"].startswith("GET")


def test_a_refused_page_is_told_nothing():
    response = ask(router_with(LIST), "OPTIONS", "/api/items", ("Origin", "https://x.example"),
                   PREFLIGHT[1])  # fmt: skip
    assert response.status_code == 204
    assert dict(response.headers) == {"vary": "Origin"}


# -- who may read ----------------------------------------------------------------------------------


def test_all_may_read_and_caches_may_share():
    """The same for every request, so that no `Vary` is needed (Fetch, CORS and HTTP caches)."""
    for fields in ([], [ORIGIN], [("Origin", "null")], [ORIGIN, ORIGIN]):
        response = ask(router_with(), "GET", "/api/items", *fields)
        assert response.body == b'{"a":1}'
        assert cors_headers(response) == {"access-control-allow-origin": "*"}
        assert "vary" not in response.headers


@pytest.mark.parametrize("origin", [PAGE, "https://a.trusted.example", "HTTPS://Page.Example:443"])
def test_a_page_of_the_list_may_read(origin):
    for post in (False, True):
        response = ask(router_with(LIST, post=post), "GET", "/api/items", ("Origin", origin))
        assert cors_headers(response) == {"access-control-allow-origin": origin}
        assert response.headers.getlist("vary") == ["Origin"]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Origin", "null")],
        [("Origin", "http://page.example")],
        [("Origin", "https://page.example.evil.example")],
        [("Origin", "https://trusted.example")],
        [("Origin", "no origin")],
        [("Origin", "")],
        [ORIGIN, ORIGIN],
        [ORIGIN, ("Origin", "https://evil.example")],
        # The server's own host, by a scheme on which anybody may speak for it.
        [("Origin", "http://server.example")],
    ],
)
def test_others_may_not(fields):
    for path in ("/api/items", "/api/own"):
        response = ask(router_with(LIST), "GET", path, *fields)
        assert response.status_code == 200
        assert cors_headers(response) == {}
        assert response.headers.getlist("vary") == ["Origin"]


def test_vary_is_added_to():
    router = router_with(LIST)
    assert ask(router, "PUT", "/api/items", ORIGIN).headers.getlist("vary") == ["Cookie, Origin"]
    for text in ("origin", "Accept, ORIGIN", "*"):
        router.get(f"/vary-{len(text)}")(lambda _, text=text: Response(headers={"Vary": text}))
        response = ask(router, "GET", f"/api/vary-{len(text)}", ORIGIN)
        assert response.headers.getlist("vary") == [text]


def test_what_a_handler_says_itself_does_not_count():
    for options, expected in ((None, "*"), (LIST, PAGE)):
        response = ask(router_with(options), "GET", "/api/own", ORIGIN)
        assert cors_headers(response) == {"access-control-allow-origin": expected}


async def raising(request, call_next):
    raise HTTPError(403)


@pytest.mark.parametrize(
    ("method", "path", "inside", "status"),
    [
        ("GET", "/api/nowhere", (), 404),
        ("DELETE", "/api/items", (), 405),
        ("GET", "/api/broken", (), 500),
        ("GET", "/api/refused", (), 418),
        ("GET", "/api/items", [raising], 403),
    ],
)
def test_errors_have_the_headers_too(method, path, inside, status):
    response = ask(router_with(LIST, inside=inside), method, path, ORIGIN)
    assert response.status_code == status
    assert cors_headers(response) == {"access-control-allow-origin": PAGE}
    assert response.headers["vary"] == "Origin"


# -- options ---------------------------------------------------------------------------------------


def told(options, *fields):
    """The headers of the answer to a preflight, those that are always there left out."""
    headers = cors_headers(ask(router_with(options), "OPTIONS", "/api/items", *fields or PREFLIGHT))
    return {name.removeprefix("access-control-"): text for name, text in headers.items()}


def test_methods():
    assert told({"cors.allow.methods": "get, Purge"})["allow-methods"] == "GET, PURGE"
    options = {"cors.allow.methods": "*"}
    response = ask(router_with(options), "OPTIONS", "/api/items", *PREFLIGHT)
    assert response.headers["access-control-allow-methods"] == "PUT"
    assert response.headers["vary"] == "Access-Control-Request-Method"
    assert "allow-methods" not in told(options, ORIGIN, ("Access-Control-Request-Method", "A, B"))
    assert "allow-methods" not in told({"cors.allow.methods": ""})


def test_headers():
    assert told({"cors.allow.headers": "X-A,X-B"})["allow-headers"] == "X-A, X-B"
    assert "allow-headers" not in told({"cors.allow.headers": ""})
    options = {"cors.allow.headers": "*"}
    asked = ("Access-Control-Request-Headers", "x-a,authorization, in valid, (")
    response = ask(router_with(options), "OPTIONS", "/api/items", *PREFLIGHT, asked)
    assert response.headers["access-control-allow-headers"] == "x-a, authorization"
    assert response.headers["vary"] == "Access-Control-Request-Headers"
    assert "allow-headers" not in told(options)


def test_requested_headers_are_not_echoed_unless_all_are_allowed():
    asked = ("Access-Control-Request-Headers", "x-secret")
    assert told(None, *PREFLIGHT, asked)["allow-headers"] == "Authorization, Content-Type"


def test_exposed_headers():
    options = {"cors.expose.headers": "Retry-After, X-Total", **LIST}
    router = router_with(options)
    response = ask(router, "GET", "/api/items", ORIGIN)
    assert response.headers["access-control-expose-headers"] == "Retry-After, X-Total"
    assert cors_headers(ask(router, "GET", "/api/items")) == {}
    assert "expose-headers" not in told(options)


def test_credentials():
    options = {"cors.allow.credentials": "true", **LIST}
    assert told(options)["allow-credentials"] == "true"
    response = ask(router_with(options), "GET", "/api/items", ORIGIN)
    assert cors_headers(response) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
    }
    assert "allow-credentials" not in told(LIST)


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", "600"), ("1h", "3600"), ("0", "0"), ("1500ms", "2")]
)
def test_max_age(text, seconds):
    assert told({"cors.max.age": text})["max-age"] == seconds


@pytest.mark.parametrize("origins", [None, "*", f"{PAGE}, *", "https://*", "*.*", "*:8080"])
def test_credentials_for_any_page_are_refused(origins):
    given = {} if origins is None else {"cors.allow.origins": origins}
    with pytest.raises(OptionError, match=r"name the origins, such as https://app\.example\.com"):
        Cors({"cors.allow.credentials": "true", **given})
    Cors(given)


@pytest.mark.parametrize("origins", ["*.example.com", "https://[::1]:80", "localhost:*"])
def test_credentials_for_named_pages(origins):
    Cors({"cors.allow.credentials": "true", "cors.allow.origins": origins})


def test_a_credentialed_answer_exposes_no_star():
    with pytest.raises(OptionError, match="name the headers"):
        Cors({**LIST, "cors.allow.credentials": "true", "cors.expose.headers": "*"})
    Cors({**LIST, "cors.expose.headers": "*"})


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("cors.allow.origins", "", "write * for all"),
        ("cors.allow.origins", "https://a.example/", "write https://a.example"),
        ("cors.allow.methods", "GET;POST", "is no token"),
        ("cors.allow.headers", "a b", "is no token"),
        ("cors.expose.headers", "X-A, X-A", "is there twice"),
        ("cors.allow.credentials", "yes", "neither true nor false"),
        ("cors.max.age", "-1s", "can't be negative"),
        ("cors.max.age", "1.5", "1.5s"),
        ("cors.allow.origin", "*", 'did you mean "cors.allow.origins"'),
    ],
)
def test_what_is_refused(option, text, message):
    with pytest.raises(OptionError) as caught:
        Cors({option: text})
    (problem,) = caught.value.problems
    assert problem[0] == option
    assert message in problem[1]


def test_each_option_is_explained():
    values = read_options(OPTIONS, {}, PREFIXES)
    assert len(values) == 6
    assert all(option.about.endswith(".") for option in OPTIONS)


def test_in_python():
    layer = Cors(
        allow_origins=[PAGE, "https://b.example"],
        allow_methods=["GET"],
        allow_headers="X-A, X-B",
        expose_headers=["X-Total"],
        allow_credentials=True,
        max_age=5,
    )
    router = App().router("", middleware=[layer])
    router.get("/")(lambda request: "text")
    assert cors_headers(ask(router, "OPTIONS", "/", *PREFLIGHT)) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET",
        "access-control-allow-headers": "X-A, X-B",
        "access-control-max-age": "5",
    }
    assert ask(router, "GET", "/", ORIGIN).headers["access-control-expose-headers"] == "X-Total"
    with pytest.raises(OptionError, match=r"cors\.max\.age"):
        Cors(max_age=-1)


def test_a_problem_in_a_file_has_its_place():
    text = """version: "1.0"
namespace: app
entries:
  - {name: gateway, kind: http.service}
  - name: api
    kind: http.router
    meta: {server: gateway}
    middleware: [cors]
    options:
      cors.max.age: soon
      cors.allow.origins: "https://a.example/x"
"""
    with pytest.raises(ConfigError) as caught:
        App.from_config(load_text(text, "app.yaml"))
    assert str(caught.value).split("\n") == [
        'app.yaml:10:7: http.router "api": cors.max.age: "soon" is not a duration; '
        'write one such as "30s"',
        'app.yaml:11:7: http.router "api": cors.allow.origins: bad origin pattern '
        "'https://a.example/x': an origin has no path; write https://a.example",
    ]


# -- on a socket -----------------------------------------------------------------------------------


def test_over_a_socket(run_everywhere):
    app = App()
    router = app.router("/api", middleware=["cors", "ratelimit"], options={**LIST,
                        "ratelimit.requests": "1", "ratelimit.burst": "0"})  # fmt: skip

    @router.get("/items")
    async def items(request):
        return {"a": 1}

    async def main():
        async with session_with(app) as session:
            headers = dict(PREFLIGHT)
            for _ in range(3):  # preflights are not counted
                async with session.options("/api/items", headers=headers) as answer:
                    assert answer.status == 204
                    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            for status in (200, 429):
                async with session.get("/api/items", headers={"Origin": PAGE}) as answer:
                    assert answer.status == status
                    assert answer.headers["Access-Control-Allow-Origin"] == PAGE

    run_everywhere(main())


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("half", ["", "post_"])
def test_a_websocket_passes_untouched(run, half, asynchronous):
    app = App()
    options = {**LIST, "wsrelay.allowed.origins": "https://ws.example"}
    layers = {f"{half}middleware": ["cors", "websocket_relay"], f"{half}options": options}
    router = app.router("", **layers)

    async def target():
        async for _ in process.inbox():
            pass

    def open_it(request):
        return relay_to(process.spawn(target))

    async def open_in_task(request):
        return open_it(request)

    router.get("/ws")(open_in_task if asynchronous else open_it)

    async def main():
        async with app.running() as server:
            url = f"ws://127.0.0.1:{server.port}/ws"
            async with connect(url, origin="https://ws.example") as socket:
                assert "vary" not in socket.response.headers
                assert not any("access" in name.lower() for name in socket.response.headers)
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url, origin=PAGE):
                    pass
            assert refused.value.response.status_code == 403
            assert "vary" not in refused.value.response.headers

    run(main())
