"""Routers, as users declare them, and the dispatcher that serves them."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from wsrelay.errors import HTTPError

from .chain import Chain, Middleware
from .request import Request
from .response import Response, error_response
from .routes import (
    METHODS,
    Endpoint,
    Route,
    RouteConflict,
    RouteTree,
    parse_prefix,
    split_path,
)

if TYPE_CHECKING:
    from .static import StaticFiles

__all__ = ["Dispatcher", "Resolution", "Router"]

F = TypeVar("F", bound=Callable[..., object])


class Router:
    """Routes under a common prefix, with the middleware around them.

    Args:
        prefix: path in front of each route; a trailing `/` of it is dropped.
        middleware: around every request under the prefix, 404 and 405 included; the first one is
            outermost. See `Middleware`.
        post_middleware: around the endpoint, after the match; sees `path_params`.

    Raises:
        ValueError: the prefix is malformed.
    """

    def __init__(
        self,
        prefix: str = "",
        middleware: Sequence[Middleware] = (),
        post_middleware: Sequence[Middleware] = (),
    ) -> None:
        self.prefix = parse_prefix(prefix)
        self.middleware = tuple(middleware)
        self.post_middleware = tuple(post_middleware)
        self.routes: list[Route] = []
        self._tree: RouteTree[Route] = RouteTree()

    def add(self, method: str, path: str, endpoint: Endpoint) -> Route:
        """Add a route.

        Args:
            method: `GET` also serves HEAD.
            path: template behind the prefix; may be empty where there is a prefix.
            endpoint: function of the request, synchronous (runs inline) or asynchronous.

        Raises:
            RouteConflict: a route like it is there; the message names both.
            TypeError: the endpoint can't be called.
            ValueError: method or path are malformed.
        """
        if path and not path.startswith("/"):  # else it would go on with the prefix's last word
            raise ValueError(f"bad path {path!r}: it starts with /")
        if not callable(endpoint):
            kind = type(endpoint).__name__
            raise TypeError(f"the endpoint of {path!r} is a function, not {kind}")
        route = Route(method, self.prefix + path, endpoint)
        other = self._tree.add(route, route)
        if other is not route:
            raise RouteConflict(f"{route} can't be told from {other}", route, other)
        self.routes.append(route)
        return route

    def route(self, path: str, methods: Iterable[str] = ("GET",)) -> Callable[[F], F]:
        """Decorator that adds a route for each method and returns the function unchanged.

        Raises:
            TypeError: `path` is the function itself: the decorator was not called.
        """
        if not isinstance(path, str):
            raise TypeError('a route needs its path: write @router.get("/path")')

        def decorate(endpoint: F) -> F:
            for method in methods:
                self.add(method, path, endpoint)
            return endpoint

        return decorate

    def get(self, path: str) -> Callable[[F], F]:
        """Decorator for GET (and HEAD)."""
        return self.route(path, ("GET",))

    def head(self, path: str) -> Callable[[F], F]:
        """Decorator for HEAD alone."""
        return self.route(path, ("HEAD",))

    def post(self, path: str) -> Callable[[F], F]:
        """Decorator for POST."""
        return self.route(path, ("POST",))

    def put(self, path: str) -> Callable[[F], F]:
        """Decorator for PUT."""
        return self.route(path, ("PUT",))

    def patch(self, path: str) -> Callable[[F], F]:
        """Decorator for PATCH."""
        return self.route(path, ("PATCH",))

    def delete(self, path: str) -> Callable[[F], F]:
        """Decorator for DELETE."""
        return self.route(path, ("DELETE",))

    def options(self, path: str) -> Callable[[F], F]:
        """Decorator for OPTIONS, in place of the automatic answer."""
        return self.route(path, ("OPTIONS",))


class Resolution:
    """What a request resolves to: a route with its parameters, or a refusal; and its chain."""

    __slots__ = ("bound", "chain", "params", "refusal")

    def __init__(
        self,
        chain: Chain,
        bound: "_Bound | None" = None,
        params: dict[str, str] | None = None,
        refusal: Callable[[], Response] | None = None,
    ) -> None:
        self.chain = chain
        self.bound = bound
        self.params = params or {}
        self.refusal = refusal

    def refuse(self) -> Response:
        """The answer where there is no route."""
        return _not_found() if self.refusal is None else self.refusal()


class _Bound:
    """A route inside its chains; `outer` is that of the whole router."""

    __slots__ = ("inner", "outer", "route")

    def __init__(self, route: Route, inner: Chain, outer: Chain) -> None:
        self.route = route
        self.inner = inner
        self.outer = outer


class Dispatcher:
    """Turns a request into a response by the routers it was made from.

    The router with the longest prefix, counted in whole segments, serves a path; of several with
    that same prefix, the one that has the route. Chains are composed here, once: routes added to
    a router later are not seen.

    Static files are found by the longest path in the same way. A router with a longer prefix goes
    before them, 404 included. One with the same prefix, or a shorter one, goes before them with
    the routes that spell their path out (`/static/config.js`); a parameter in its place
    (`/{name}/config.js`) goes behind. Where there is no file, the answer is the router's, 405
    included. No middleware of a router runs around a file.

    Args:
        routers: see `Router`.
        files: static files.

    Raises:
        RouteConflict: two routes, or static files and a route, can't be told apart, or one hides
            behind another router's prefix; the message names both.
    """

    def __init__(self, routers: Iterable[Router], files: "Iterable[StaticFiles]" = ()) -> None:
        self._mounts: dict[tuple[str, ...], _Mount] = {}
        everything = Chain(self._serve, self._serve_sync)
        for router in routers:
            key = tuple(router.prefix[1:].split("/")) if router.prefix else ()
            outer = everything.wrapped(router.middleware)
            self._mounts.setdefault(key, _Mount(outer)).add(router, outer)
        self._spelt_out: dict[tuple[str, bytes], Resolution] = {}  # by method and path
        self._deepest = max(map(len, self._mounts), default=0)
        self._nowhere = _Mount(everything)
        self._files: dict[tuple[str, ...], _FilesMount] = {}
        for each in files:
            other = self._files.setdefault(each.segments, _FilesMount(each))
            if other.files is not each:
                raise RouteConflict(f"{each} can't be told from {other.files}", each, other.files)
        self._deepest_files = max(map(len, self._files), default=-1)
        self._refuse_hidden_routes()
        self._refuse_ambiguous_files()

    async def __call__(self, request: Request) -> Response:
        """Serve a request; raises nothing but cancellation.

        404, 405 with `Allow`, and the automatic answer to OPTIONS are responses like others.
        """
        try:
            resolution = request._resolution or self._resolved(request)
        except HTTPError as error:
            return error_response(error)
        return await resolution.chain.run(request)

    def dispatch_sync(self, request: Request) -> Response | None:
        """Serve a request at once, if nothing on its way is a coroutine.

        Returns:
            The response; None where the request needs `await dispatcher(request)`. No middleware
            and no endpoint has run then.
        """
        try:
            resolution = request._resolution or self._resolved(request)
        except HTTPError as error:
            return error_response(error)
        inner = resolution.bound.inner if resolution.bound is not None else None
        if resolution.chain.run_sync is None or (inner is not None and inner.run_sync is None):
            return None
        return resolution.chain.run_sync(request)

    async def _serve(self, request: Request) -> Response:
        resolution = self._entered(request)
        bound = resolution.bound
        return await bound.inner.run(request) if bound is not None else resolution.refuse()

    def _serve_sync(self, request: Request) -> Response:
        resolution = self._entered(request)
        bound = resolution.bound
        if bound is None:
            return resolution.refuse()
        assert bound.inner.run_sync is not None
        return bound.inner.run_sync(request)

    def _entered(self, request: Request) -> Resolution:
        # Not asked for again: a middleware may pass on another request than it got.
        resolution = request._resolution or self._resolved(request)
        if resolution.bound is not None:
            request.route = resolution.bound.route
            request.path_params = resolution.params.copy()
        return resolution

    def _resolved(self, request: Request) -> Resolution:
        path = request._target.partition(b"?")[0]
        resolution = self._spelt_out.get((request.method, path))
        if resolution is None:
            resolution = self._resolve(request)
            bound = resolution.bound
            # Of a route without parameters there is one such path: what is kept is bounded.
            if bound and not bound.route.names and path.startswith(b"/") and b"%" not in path:
                self._spelt_out[request.method, path] = resolution
        request._resolution = resolution
        return resolution

    def _resolve(self, request: Request) -> Resolution:
        if request.target == b"*":
            methods = {route.method for mount in self._mounts.values() for route in mount.routes}
            methods.update(METHODS if self._files else ())
            return Resolution(self._nowhere.outer, refusal=_no_method("OPTIONS", methods))
        segments = split_path(request.raw_path)
        length, mount = self._mount_of(segments)
        if self._files:
            files = self._files_of(segments, length)
            if files is not None:
                return files.resolve(request.method, segments, mount)
        return mount.resolve(request.method, segments)

    def _mount_of(self, segments: list[str]) -> tuple[int, "_Mount"]:
        for length in range(min(self._deepest, len(segments)), -1, -1):
            mount = self._mounts.get(tuple(segments[:length]))
            if mount is not None:
                return length, mount
        return 0, self._nowhere

    def _files_of(self, segments: list[str], least: int) -> "_FilesMount | None":
        """The files with the longest path, of those with at least so many segments."""
        for length in range(min(self._deepest_files, len(segments)), least - 1, -1):
            files = self._files.get(tuple(segments[:length]))
            if files is not None:
                return files
        return None

    def _refuse_hidden_routes(self) -> None:
        for key, mount in self._mounts.items():
            for route in mount.routes:
                literals = [segment.literal for segment in route.segments]
                for other in self._mounts:
                    if len(other) > len(key) and tuple(literals[: len(other)]) == other:
                        prefix = "/" + "/".join(other)
                        message = f"{route} is hidden by the router with prefix {prefix}"
                        raise RouteConflict(message, route)

    def _refuse_ambiguous_files(self) -> None:
        for mount in self._mounts.values():
            for route in mount.routes:
                *literals, last = route.segments
                if last.is_rest and route.method in METHODS:
                    names = [segment.literal for segment in literals]
                    files = None if None in names else self._files.get(tuple(map(str, names)))
                    if files is not None:
                        raise RouteConflict(
                            f"{files.files} can't be told from {route}", files.files, route
                        )


class _FilesMount:
    """Static files inside of a chain."""

    __slots__ = ("_chain", "files")

    def __init__(self, files: "StaticFiles") -> None:
        self.files = files
        self._chain = Chain.of_endpoint(self._serve)

    def resolve(self, method: str, segments: list[str], mount: "_Mount") -> Resolution:
        """A route that goes before the files, or the files, or what the routers say."""
        routed = mount.resolve(method, segments)
        bound = routed.bound
        if method in METHODS:
            if bound is None:
                return Resolution(self._chain, refusal=routed.refusal)
            shared = bound.route.segments[: len(self.files.segments)]
            if all(segment.literal is not None for segment in shared):
                return routed
            return Resolution(self._chain, refusal=_not_found)
        if bound is not None:
            return routed
        others = mount.methods_of(segments)
        chain = routed.chain if others else self._chain
        return Resolution(chain, refusal=_no_method(method, {*METHODS, *others}))

    async def _serve(self, request: Request) -> Response:
        resolution = request._resolution
        assert resolution is not None
        refuse = resolution.refusal or _not_found
        if request.method not in METHODS:
            return refuse()
        names = split_path(request.raw_path)[len(self.files.segments) :]
        return await self.files.respond(request, names) or refuse()


class _Mount:
    """All routes under one prefix; `outer` serves what none of them does."""

    __slots__ = ("_tree", "outer", "routes")

    def __init__(self, outer: Chain) -> None:
        self.outer = outer
        self.routes: list[Route] = []
        self._tree: RouteTree[_Bound] = RouteTree()

    def add(self, router: Router, outer: Chain) -> None:
        for route in router.routes:
            inner = Chain.of_endpoint(route.endpoint).wrapped(router.post_middleware)
            bound = _Bound(route, inner, outer)
            other = self._tree.add(route, bound)
            if other is not bound:
                first = other.route
                raise RouteConflict(f"{route} can't be told from {first}", route, first)
            self.routes.append(route)

    def resolve(self, method: str, segments: list[str]) -> Resolution:
        """The most specific route that has the method; else 405, 204 or 404."""
        for methods, values in self._tree.find(segments):
            bound = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
            if bound is not None:
                params = dict(zip(bound.route.names, values, strict=True))
                return Resolution(bound.outer, bound, params)
        allowed = self.methods_of(segments)
        if not allowed:
            return Resolution(self.outer, refusal=_not_found)
        outer = next(iter(allowed.values())).outer
        return Resolution(outer, refusal=_no_method(method, allowed))

    def methods_of(self, segments: list[str]) -> "dict[str, _Bound]":
        """The methods that a path has, each with its most specific route."""
        allowed: dict[str, _Bound] = {}
        for methods, _ in self._tree.find(segments):
            allowed = {**methods, **allowed}
        return allowed


def _not_found() -> Response:
    return error_response(HTTPError(404))


def _no_method(method: str, allowed: Iterable[str]) -> Callable[[], Response]:
    names = {*allowed, "OPTIONS"}
    if "GET" in names:
        names.add("HEAD")
    allow = {"Allow": ", ".join(sorted(names))}

    def refuse() -> Response:
        if method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        return error_response(HTTPError(405, headers=allow))

    return refuse
