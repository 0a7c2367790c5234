"""The `metrics` middleware: what is counted, what is shown, and where."""

import asyncio
import gc
import sys
import weakref

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from middleware_helpers import is_sync
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from wsrelay import App, PlainTextResponse, Request, Router
from wsrelay.http import Dispatcher
from wsrelay.http.writer import encode_response
from wsrelay.middleware.metrics import OPTIONS, Metrics
from wsrelay.middleware.options import OptionError
from wsrelay.middleware.table import ChainError

OPTIONS_OF = {"middleware": "options", "post_middleware": "post_options"}
OWN = CollectorRegistry()  # named by its import path


class Clock:
    """Each look at it is a quarter of a second later."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        self.now += 0.25
        return self.now


def samples(text, parse=families):
    """Values by name and labels, without what a library notes of its own."""
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in parse(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }


def of_registry(registry, name):
    found = samples(generate_latest(registry).decode())
    return {key[1:]: value for key, value in found.items() if key[0] == name}


def counting(**settings):
    """A router with routes that answer in all ways, and the registry that counts them."""
    registry = CollectorRegistry()
    router = Router("/api", [Metrics(registry=registry, clock=Clock(), **settings)])

    @router.route("/rooms/{room}", ("GET", "POST"))
    def room(request):
        status = request.query_params.get("status", "200")
        if status == "error":
            raise ValueError("x")
        return PlainTextResponse("", int(status))

    return router, registry


def answer(router, method, target, *fields):
    """The response, in the synchronous way of a server."""
    response = Dispatcher([router]).dispatch_sync(Request(method, target, fields))
    assert response is not None
    return response


def ask(router, *requests):
    """One request after another."""
    for method, target in requests:
        answer(router, method, target)


# -- what is counted -------------------------------------------------------------------------------


def test_requests_by_method_route_and_class_of_status():
    router, registry = counting()
    ask(
        router,
        ("GET", "/api/rooms/1"),
        ("GET", "/api/rooms/2?status=201"),
        ("HEAD", "/api/rooms/2"),
        ("POST", "/api/rooms/2?status=302"),
        ("POST", "/api/rooms/2?status=404"),
        ("GET", "/api/rooms/2?status=error"),
    )
    assert of_registry(registry, "http_requests_total") == {
        ("GET", "/api/rooms/{room}", "2xx"): 2,
        ("HEAD", "/api/rooms/{room}", "2xx"): 1,
        ("POST", "/api/rooms/{room}", "3xx"): 1,
        ("POST", "/api/rooms/{room}", "4xx"): 1,
        ("GET", "/api/rooms/{room}", "5xx"): 1,
    }


def test_a_client_can_not_make_series():
    router, registry = counting()
    ask(router, *((f"METHOD{number}", f"/api/{number}") for number in range(50)))
    ask(router, *(("GET", f"/api/{number}?{number}") for number in range(50)))
    ask(router, *(("GET", f"/api/rooms/{number}") for number in range(50)))
    ask(router, ("get", "/api/rooms/1"), ("DELETE", "/api/rooms/1"))
    assert of_registry(registry, "http_requests_total") == {
        ("other", "", "4xx"): 51,
        ("GET", "", "4xx"): 50,
        ("GET", "/api/rooms/{room}", "2xx"): 50,
        ("DELETE", "", "4xx"): 1,
    }


def test_how_long_they_take():
    router, registry = counting()
    ask(router, ("GET", "/api/rooms/1"), ("GET", "/api/rooms/2"), ("GET", "/api/none"))
    assert of_registry(registry, "http_request_duration_seconds_sum") == {
        ("GET", "/api/rooms/{room}"): 0.5,
        ("GET", ""): 0.25,
    }
    buckets = of_registry(registry, "http_request_duration_seconds_bucket")
    assert buckets["0.25", "GET", "/api/rooms/{room}"] == 2
    assert buckets["0.1", "GET", "/api/rooms/{room}"] == 0


def test_how_many_are_in_progress():
    registry = CollectorRegistry()
    router = Router("", [Metrics(registry=registry)])
    at_work = []

    @router.get("/")
    async def handler(request):
        at_work.append(of_registry(registry, "http_requests_in_progress")[()])
        await asyncio.sleep(0)

    async def main():
        dispatcher = Dispatcher([router])
        await asyncio.gather(*(dispatcher(Request("GET", "/")) for _ in range(3)))

    asyncio.run(main())
    assert at_work == [1, 2, 3]
    assert of_registry(registry, "http_requests_in_progress") == {(): 0}


def test_a_client_that_goes_away_has_no_status():
    registry = CollectorRegistry()
    router = Router("", [Metrics(registry=registry)])

    @router.get("/")
    async def handler(request):
        await asyncio.get_running_loop().create_future()

    async def main():
        task = asyncio.create_task(Dispatcher([router])(Request("GET", "/")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert of_registry(registry, "http_requests_total") == {("GET", "/", ""): 1}
    assert of_registry(registry, "http_requests_in_progress") == {(): 0}


def test_it_needs_no_task():
    router = Router("", [Metrics()])
    router.add("GET", "/", lambda request: None)
    assert is_sync(router)


# -- the page --------------------------------------------------------------------------------------


def paged(prefix="", path="/metrics", **settings):
    metrics = Metrics(path=path, **settings)
    router = Router(prefix, [metrics])
    metrics.add_pages(router)
    return router


PAGED = paged()


def test_the_page():
    router = paged()
    response = answer(router, "GET", "/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Vary"] == "Accept"
    ask(router, ("GET", "/none"))
    found = samples(answer(router, "GET", "/metrics").body.decode())
    assert found["http_requests_total", "GET", "", "4xx"] == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", "application/openmetrics-text"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("*/*", "text/plain"),
    ],
)
def test_the_format_is_negotiated(accept, content_type):
    response = answer(paged(), "GET", "/metrics", ("Accept", accept))
    assert response.status_code == 200
    assert response.headers["Content-Type"].split(";")[0] == content_type
    parse = open_families if content_type != "text/plain" else families
    assert samples(response.body.decode(), parse)["http_requests_in_progress",] == 0


@pytest.mark.parametrize("version", ["x", "..", "1\xb2", "9" * 5000])
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_a_version_that_is_none(kind, version):
    """Some versions of the library raise then; which format they choose is theirs to know."""
    response = answer(PAGED, "GET", "/metrics", ("Accept", f"{kind};version={version}"))
    assert response.status_code == 200
    assert b"http_requests_in_progress 0.0" in response.body


@given(
    st.sampled_from(["text/plain", "application/openmetrics-text"]),
    st.sampled_from(["version=", "escaping=", ""]),
    st.one_of(st.text("0123456789.x", max_size=8), st.text(st.characters(max_codepoint=255))),
)
def test_whatever_is_accepted_there_is_an_answer(kind, parameter, value):
    value = "".join(char for char in value if char.isprintable())
    response = answer(PAGED, "GET", "/metrics", ("Accept", f"{kind};{parameter}{value}"))
    assert response.status_code == 200
    assert encode_response(response, b"").startswith(b"HTTP/1.1 200 ")


def test_it_answers_get_and_head_at_its_path_only():
    router = paged()
    assert answer(router, "HEAD", "/metrics").status_code == 200
    assert answer(router, "GET", "/metrics?x=1").status_code == 200
    response = answer(router, "POST", "/metrics")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert [answer(router, "GET", f"/metrics{end}").status_code for end in ("/", "x", "/x")] == [
        404,
        404,
        404,
    ]


def test_scrapes_are_not_counted():
    registry = CollectorRegistry()
    router = paged(registry=registry)
    ask(router, ("GET", "/metrics"), ("HEAD", "/metrics"), ("POST", "/metrics"))
    assert of_registry(registry, "http_requests_total") == {("POST", "", "4xx"): 1}
    assert (
        samples(answer(router, "GET", "/metrics").body.decode())["http_requests_in_progress",] == 0
    )


@pytest.mark.parametrize(
    ("prefix", "path"),
    [("", "/metrics"), ("/a", "/a/b"), ("/a/", "/a/b"), ("/metrics", "/metrics")],
)
def test_paths_under_a_prefix(prefix, path):
    assert answer(paged(prefix, path), "GET", path).status_code == 200


@pytest.mark.parametrize(
    ("prefix", "path"), [("/ws", "/metrics"), ("/met", "/metrics"), ("/metrics/x", "/metrics")]
)
def test_a_path_that_is_not_under_the_prefix(prefix, path):
    with pytest.raises(OptionError) as caught:
        paged(prefix, path)
    assert caught.value.problems == [
        (
            "metrics.path",
            f'metrics.path: "{path}" is not under the router\'s prefix "{prefix}": '
            f'write "{prefix}{path}", or "" to only count',
        )
    ]


@pytest.mark.parametrize("path", ["metrics", "/a?b", "/{a}", "/a%20b", "/ä", "/ a"])
def test_paths_that_are_none(path):
    with pytest.raises(OptionError, match=r"metrics\.path: .* is no plain path, such as /metrics"):
        Metrics({"metrics.path": path})


def test_a_path_of_dots_is_refused_by_the_router():
    with pytest.raises(OptionError, match=r"metrics\.path: bad path"):
        paged(path="/../metrics")


def test_no_path_only_counts():
    router = paged("/ws", path="")
    assert router.routes == []
    assert answer(router, "GET", "/ws").status_code == 404


def test_each_option_is_documented():
    assert all(option.about.endswith(".") for option in OPTIONS)


# -- registries ------------------------------------------------------------------------------------


def test_each_object_has_its_own_registry():
    first, second = paged(), paged()
    ask(first, ("GET", "/none"))
    found = [samples(answer(one, "GET", "/metrics").body.decode()) for one in (first, second)]
    assert [("http_requests_total", "GET", "", "4xx") in one for one in found] == [True, False]


def test_a_registry_of_ones_own():
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc(3)
    found = samples(answer(paged(registry=registry), "GET", "/metrics").body.decode())
    assert found["orders_total",] == 3
    # What is its owner's to choose is not put there: a registry may be one of several processes.
    assert not any(key[0].startswith("python_") for key in found)


def test_a_registry_by_its_import_path():
    for metrics in (
        Metrics({"metrics.registry": f"{__name__}:OWN"}),
        Metrics(registry=f"{__name__}:OWN"),
    ):
        router = Router("", [metrics])
        ask(router, ("GET", "/none"))
    assert of_registry(OWN, "http_requests_total") == {("GET", "", "4xx"): 2}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("json:dumps", '"json:dumps" is no CollectorRegistry, but of type function'),
        ("json:nothing", 'module "json" has no "nothing"'),
        ("json", '"json" is not an import path'),
    ],
)
def test_registries_that_are_none(path, message):
    with pytest.raises(OptionError) as caught:
        Metrics({"metrics.registry": path})
    assert message in str(caught.value)


def test_a_registry_that_has_such_metrics():
    registry = CollectorRegistry()
    Counter("http_requests", "Of somebody else.", registry=registry)
    with pytest.raises(OptionError, match=r"metrics\.registry: it has such metrics already"):
        Metrics(registry=registry)


def test_a_registry_may_go():
    registry = CollectorRegistry()
    Metrics(registry=registry)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_without_the_library(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ChainError) as caught:
        App().router("", middleware=["metrics"])
    ((place, text),) = caught.value.problems
    assert place == ("middleware", 0)
    assert text.startswith("metrics needs prometheus-client: pip install 'wsrelay[metrics]' (")


# -- in an app -------------------------------------------------------------------------------------


def get(app, run, *paths):
    async def main():
        async with app.running() as server, aiohttp.ClientSession(server.url) as session:
            texts = []
            for path in paths:
                async with session.get(path) as response:
                    texts.append(await response.text())
            return texts

    return run(main())


@pytest.mark.parametrize("key", ["middleware", "post_middleware"])
def test_by_name_over_a_socket(key, run_everywhere):
    app = App()
    given = {key: ["metrics"], OPTIONS_OF[key]: {"metrics.path": "/api/m"}}
    app.router("/api", **given).add("GET", "/x", lambda request: "x")
    *_, text = get(app, run_everywhere, "/api/x", "/api/none", "/api/m", "/api/m")
    found = {key[1:]: value for key, value in samples(text).items() if "requests_total" in key[0]}
    missed = {("GET", "", "4xx"): 1} if key == "middleware" else {}
    assert found == {("GET", "/api/x", "2xx"): 1, **missed}


def test_the_routers_of_an_app_share_a_registry(run):
    apps = [App(), App()]
    for app in apps:
        app.router("/a", middleware=["metrics"], options={"metrics.path": ""})
        app.router("", middleware=["metrics"])
    found = samples(get(apps[0], run, "/a/x", "/y", "/metrics")[-1])
    assert found["http_requests_total", "GET", "", "4xx"] == 2
    assert found["process_start_time_seconds",] > 0
    assert any(key[0] == "python_info" for key in found)
    found = samples(get(apps[1], run, "/metrics")[-1])
    assert ("http_requests_total", "GET", "", "4xx") not in found


def test_an_app_refuses_what_has_no_place():
    with pytest.raises(ChainError) as caught:
        App().router("/ws", post_middleware=["metrics"])
    ((place, text),) = caught.value.problems
    assert place == ("post_options", "metrics.path")
    assert 'write "/ws/metrics"' in text
    with pytest.raises(ChainError, match=r"metrics\.path: GET /metrics .* can't be told from"):
        App().router("", middleware=["metrics"], post_middleware=["metrics"])
