"""The `cors` middleware: which pages of other origins may read answers (Fetch standard, 3.3).

Put it outermost in `middleware`: there it answers every preflight under the prefix, and 404, 405,
429 and 500 have its headers too. In `post_middleware` it sees only requests that match a route, so
a preflight reaches it only where the path has a route for OPTIONS.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from wsrelay._text import quoted
from wsrelay.config import parse_duration
from wsrelay.config.schema import written
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.headers import MutableHeaders, add_vary, is_token, list_tokens
from wsrelay.http.origin import OriginPatterns
from wsrelay.http.request import Request
from wsrelay.http.response import Response

from .options import Option, OptionError, flag, read_options, tokens, with_keywords

__all__ = ["OPTIONS", "PREFIXES", "Cors"]


@written(
    lambda: {"type": ["string", "number", "boolean"]},
    show=lambda patterns: ", ".join(patterns.texts),
)
def _origins(text: str) -> OriginPatterns:
    patterns = OriginPatterns(text)
    if not patterns.texts:
        raise ValueError("no origin is named; write * for all, or a list such as https://a.example")
    return patterns


@written(lambda: {"type": ["integer", "string"], "minimum": 0})
def _age(text: str) -> int:
    """Whole seconds of a number of seconds or a duration; a part of a second counts whole."""
    if text.isascii() and text.isdecimal():
        return int(text)
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError("a duration can't be negative")
    return math.ceil(seconds)


@written(lambda: {"type": ["string", "number", "boolean"]}, show=", ".join)
def _methods(text: str) -> tuple[str, ...]:
    return tokens(text.upper())


PREFIXES = ("cors.",)
OPTIONS = (
    Option(
        "cors.allow.origins",
        _origins,
        OriginPatterns("*"),
        "Pages that may read answers: patterns as in `wsrelay.allowed.origins`, separated by "
        "commas; `*` is all. The server's own origin needs no entry.",
    ),
    Option(
        "cors.allow.methods",
        _methods,
        ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        "Methods that such a page may use, separated by commas; `*` is all.",
    ),
    Option(
        "cors.allow.headers",
        tokens,
        ("Authorization", "Content-Type"),
        "Request headers that such a page may set, besides those that any page may; `*` is all.",
    ),
    Option(
        "cors.expose.headers",
        tokens,
        (),
        "Response headers that such a page may read, besides those that any page may, for example "
        "`Retry-After`; `*` is all.",
    ),
    Option(
        "cors.allow.credentials",
        flag,
        False,
        "Whether requests of such a page may carry cookies and other credentials of the user. "
        "Then `cors.allow.origins` has to name the origins.",
    ),
    Option(
        "cors.max.age",
        _age,
        86400,
        "How long a browser may remember an answer to a preflight: seconds, or a duration; `0` is "
        "not at all. Browsers have bounds of their own.",
    ),
)

# What a middleware inside says of these is taken away: two answers to one question block the page.
_OWNED = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials")


class Cors:
    """The middleware.

    It answers preflights with 204, and adds its headers to what is answered to other requests. A
    page that is not allowed gets the answer without them, and its browser does not show it. A
    WebSocket handshake passes untouched: its origin is the relay's to check.

    Args:
        options: texts by dotted name, see `OPTIONS`.
        allow_origins, allow_methods, allow_headers, expose_headers: as the options of these names;
            a list, or a text with commas.
        allow_credentials: as the option.
        max_age: seconds, or a duration such as `1h`.

    Raises:
        OptionError: unknown or unreadable options, or `*` together with credentials.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        allow_origins: str | Iterable[str] | None = None,
        allow_methods: str | Iterable[str] | None = None,
        allow_headers: str | Iterable[str] | None = None,
        expose_headers: str | Iterable[str] | None = None,
        allow_credentials: bool | None = None,
        max_age: int | str | None = None,
    ) -> None:
        keywords = {
            "cors.allow.origins": allow_origins,
            "cors.allow.methods": allow_methods,
            "cors.allow.headers": allow_headers,
            "cors.expose.headers": expose_headers,
            "cors.allow.credentials": allow_credentials,
            "cors.max.age": max_age,
        }
        values = read_options(OPTIONS, with_keywords(options, keywords), PREFIXES)
        self._origins: OriginPatterns = values["cors.allow.origins"]
        self._credentials: bool = values["cors.allow.credentials"]
        if self._credentials:
            _check_credentials(values)
        self._expose = ", ".join(values["cors.expose.headers"])
        self._methods: tuple[str, ...] = values["cors.allow.methods"]
        self._headers: tuple[str, ...] = values["cors.allow.headers"]
        self._max_age = str(values["cors.max.age"])

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Answer a preflight; let others pass and add to their answer."""
        if request.is_handshake:
            return await call_next(request)
        if _is_preflight(request):
            return self._preflight(request)
        return self._mark(request, await call_next(request))

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        if request.is_handshake:
            return call_next(request)
        if _is_preflight(request):
            return self._preflight(request)
        return self._mark(request, call_next(request))

    def _mark(self, request: Request, response: Response) -> Response:
        if self._allow(request, response.headers) and self._expose:
            response.headers["Access-Control-Expose-Headers"] = self._expose
        return response

    def _preflight(self, request: Request) -> Response:
        response = Response(status_code=204)
        if self._allow(request, response.headers):
            self._permit(request, response.headers)
        return response

    def _allow(self, request: Request, headers: MutableHeaders) -> bool:
        """Say who may read the answer; False: not who asks."""
        for name in _OWNED:
            headers.pop(name, None)
        if self._origins.match_all:
            # The same for all, requests without `Origin` included: caches may share it (Fetch,
            # "CORS protocol and HTTP caches").
            headers["Access-Control-Allow-Origin"] = "*"
            return True
        add_vary(headers, "Origin")
        values = request.headers.values_of(b"origin")
        if len(values) != 1 or not self._origins.match(values[0].decode("latin-1")):
            return False
        # Echoed as it came: the browser compares bytes.
        headers["Access-Control-Allow-Origin"] = values[0]
        if self._credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        return True

    def _permit(self, request: Request, headers: MutableHeaders) -> None:
        """Say what the request behind this preflight may be."""
        methods, names = ", ".join(self._methods), ", ".join(self._headers)
        # To a browser `*` does not mean `Authorization`, and with credentials it means nothing.
        if "*" in self._methods:
            method = request.headers["access-control-request-method"]
            methods = method if is_token(method.encode("latin-1")) else ""
            add_vary(headers, "Access-Control-Request-Method")
        if "*" in self._headers:
            asked = list_tokens(request.headers.values_of(b"access-control-request-headers"))
            names = b", ".join([name for name in asked if is_token(name)]).decode()
            add_vary(headers, "Access-Control-Request-Headers")
        if methods:
            headers["Access-Control-Allow-Methods"] = methods
        if names:
            headers["Access-Control-Allow-Headers"] = names
        headers["Access-Control-Max-Age"] = self._max_age


def _is_preflight(request: Request) -> bool:
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


def _check_credentials(values: Mapping[str, Any]) -> None:
    """Refuse what would hand a user's data to any page, or what no browser understands."""
    problems = []
    for text in values["cors.allow.origins"].texts:
        host = text.rpartition("://")[2].partition(":")[0]
        if not host.strip("*."):
            problem = (
                f"cors.allow.origins: {quoted(text)} with cors.allow.credentials would let any "
                "page act as your users; name the origins, such as https://app.example.com"
            )
            problems.append(("cors.allow.origins", problem))
    if "*" in values["cors.expose.headers"]:
        problem = (
            'cors.expose.headers: "*" means nothing to browsers with cors.allow.credentials; '
            "name the headers"
        )
        problems.append(("cors.expose.headers", problem))
    if problems:
        raise OptionError(problems)
