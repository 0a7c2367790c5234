"""The `metrics` middleware: counts requests, and shows what it counts to Prometheus.

Nothing is done for a message of a WebSocket: connections count their own, and a scrape adds up.

| Metric | Labels |
|---|---|
| `http_requests_total` | `method`, `route`, `status` |
| `http_request_duration_seconds` (histogram) | `method`, `route` |
| `http_requests_in_progress` | |
| `wsrelay_http_connections` | `service` |
| `wsrelay_connections` (open WebSockets) | `service` |
| `wsrelay_processes` | `host` |
| `wsrelay_connections_ended_total` | `cause`, `code` |
| `wsrelay_messages_in_total`, `wsrelay_messages_out_total` (of clients, and to them) | |
| `wsrelay_messages_dropped_total` (to clients, by the queue's policy) | `policy` |

A client can't make series: `route` is the template of the route, empty where none matched; `method`
is `other` for a method that RFC 9110 does not have; `status` is a class, such as `2xx`, empty where
the client went away before its answer. A handshake is a request with status `1xx`. The scrapes
themselves are not counted.
"""

import re
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from wsrelay._text import quoted
from wsrelay.config import ImportPath, parse_import_path
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.request import Request
from wsrelay.http.response import Response
from wsrelay.http.router import Router
from wsrelay.imports import load as import_object
from wsrelay.middleware.app_metrics import AppMetrics
from wsrelay.middleware.functions import Load, load_object
from wsrelay.middleware.options import Option, OptionError, read_options, with_keywords

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

__all__ = ["OPTIONS", "PREFIXES", "Metrics"]

_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)+")


def _path(text: str) -> str:
    if text and not _PATH.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no plain path, such as /metrics")
    return text


PREFIXES = ("metrics.",)
OPTIONS = (
    Option(
        "metrics.path",
        _path,
        "/metrics",
        "Where the page is, as clients see it, so under the router's prefix; a route like others "
        "for GET and HEAD, with the router's middleware around it. It tells strangers a lot: have "
        "it on an `http.service` that they can't reach, or behind `require_actor`. Empty: only "
        "count, for a router whose counts another one shows.",
    ),
    Option(
        "metrics.registry",
        parse_import_path,
        None,
        "`module:attribute`, a `CollectorRegistry` with metrics of the app's own; "
        "`prometheus_client:REGISTRY` is that of the library. By default one for all the `metrics` "
        "of an App, which also tells of the OS process.",
    ),
)


class Metrics:
    """The middleware, and the page.

    Needs `pip install 'wsrelay[metrics]'`, which is prometheus-client. The registry holds what is
    counted of requests; what the page has of connections and processes is looked up for it, and
    is that of the App which serves it.

    Args:
        options: texts by dotted name, see `OPTIONS`.
        path: as `metrics.path`.
        registry: the registry, or its import path. Several objects may count in one registry, and
            each page then shows what all of them count. None: one of `shared`, or of its own.
        clock: returns seconds that do not go back.
        load: finds what an import path names.
        shared: where those of one App find their registry.

    Raises:
        OptionError: unknown or unreadable options, no such registry, or one that has other metrics
            of these names; the library is not installed.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        path: str | None = None,
        registry: "CollectorRegistry | str | None" = None,
        clock: Callable[[], float] = time.perf_counter,
        load: Load = import_object,
        shared: MutableMapping[str, Any] | None = None,
    ) -> None:
        named = registry if isinstance(registry, str) else None
        keywords = {"metrics.path": path, "metrics.registry": named}
        values = read_options(OPTIONS, with_keywords(options, keywords), PREFIXES)
        library = _library()
        if registry is None or isinstance(registry, str):
            registry = _registry(library, values["metrics.registry"], load, shared)
        self._choose: Callable[[str], tuple[Callable[[Collector], bytes], str]]
        self._choose = library.exposition.choose_encoder
        self._counts = _counts(library, registry)
        self._shown = AppMetrics(library.core, registry)
        self._path: str = values["metrics.path"]
        self._raw_path = self._path.encode()
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Count the request."""
        if self._is_scrape(request):
            return await call_next(request)
        response = None
        started = self._start()
        try:
            response = await call_next(request)
            return response
        finally:
            self._end(request, response, started)

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        if self._is_scrape(request):
            return call_next(request)
        response = None
        started = self._start()
        try:
            response = call_next(request)
            return response
        finally:
            self._end(request, response, started)

    def _is_scrape(self, request: Request) -> bool:
        return request.raw_path == self._raw_path and request.method in ("GET", "HEAD")

    def _start(self) -> float:
        self._counts.running.inc()
        return self._clock()

    def _end(self, request: Request, response: Response | None, started: float) -> None:
        counts = self._counts
        counts.running.dec()
        method = request.method if request.method in _METHODS else "other"
        route = "" if request.route is None else request.route.template
        status = "" if response is None else f"{response.status_code // 100}xx"
        counts.requests.labels(method, route, status).inc()
        counts.seconds.labels(method, route).observe(self._clock() - started)

    # -- the page ----------------------------------------------------------------------------------

    def add_pages(self, router: Router) -> None:
        """Add the route of the page.

        Raises:
            OptionError: the path is not under the prefix, or another route has it.
        """
        if not self._path:
            return
        prefix = router.prefix
        if self._path != prefix and not self._path.startswith(f"{prefix}/"):
            mend = f'write {quoted(prefix + self._path)}, or "" to only count'
            text = f"{quoted(self._path)} is not under the router's prefix {quoted(prefix)}: {mend}"
            raise OptionError([("metrics.path", f"metrics.path: {text}")])
        try:
            router.add("GET", self._path.removeprefix(prefix), self.page)
        except ValueError as error:
            raise OptionError([("metrics.path", f"metrics.path: {error}")]) from None

    def page(self, request: Request) -> Response:
        """The metrics, in the text format of Prometheus, or as OpenMetrics to who accepts that."""
        try:
            return self._page(", ".join(request.headers.getlist("accept")))
        except (TypeError, ValueError):
            return self._page("")  # the library fails over versions that are no numbers

    def _page(self, accept: str) -> Response:
        encode, content_type = self._choose(accept)
        text = encode(self._shown)
        return Response(text, headers={"Content-Type": content_type, "Vary": "Accept"})


# -- the library -----------------------------------------------------------------------------------


def _library() -> Any:
    try:
        import prometheus_client.core
        import prometheus_client.exposition

        return prometheus_client
    except ImportError as error:
        text = f"metrics needs prometheus-client: pip install 'wsrelay[metrics]' ({error})"
        raise OptionError([("metrics", text)]) from None


def _registry(
    library: Any, path: ImportPath | None, load: Load, shared: MutableMapping[str, Any] | None
) -> "CollectorRegistry":
    if path is not None:
        option = "metrics.registry"
        found = load_object(option, path, load)
        if not isinstance(found, library.CollectorRegistry):
            kind = type(found).__name__
            text = f"{option}: {quoted(str(path))} is no CollectorRegistry, but of type {kind}"
            raise OptionError([(option, text)])
        given: CollectorRegistry = found
        return given
    if shared is None:
        shared = {}
    if "metrics" not in shared:
        shared["metrics"] = library.CollectorRegistry()
        for standard in ("ProcessCollector", "PlatformCollector", "GCCollector"):
            getattr(library, standard)(registry=shared["metrics"])
    lent: CollectorRegistry = shared["metrics"]
    return lent


class _Counts:
    """What is counted of requests, in one registry."""

    def __init__(self, library: Any, registry: "CollectorRegistry") -> None:
        self.requests = library.Counter(
            "http_requests",
            "Requests, by method, template of the route and class of the status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = library.Histogram(
            "http_request_duration_seconds",
            "Time from the head of a request to its response.",
            ("method", "route"),
            registry=registry,
        )
        self.running = library.Gauge(
            "http_requests_in_progress", "Requests without a response so far.", registry=registry
        )


_known: "WeakKeyDictionary[CollectorRegistry, _Counts]" = WeakKeyDictionary()


def _counts(library: Any, registry: "CollectorRegistry") -> _Counts:
    """Those of a registry, which takes each name once."""
    found = _known.get(registry)
    if found is None:
        try:
            found = _known[registry] = _Counts(library, registry)
        except ValueError as error:
            text = f"metrics.registry: it has such metrics already ({error})"
            raise OptionError([("metrics.registry", text)]) from None
    return found
