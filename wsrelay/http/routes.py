"""Path templates, and the tree that finds the routes of a path."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from wsrelay.errors import HTTPError, WSRelayError

__all__ = ["METHODS", "Route", "RouteConflict", "RouteTree", "parse_prefix", "split_path"]

T = TypeVar("T")
Endpoint = Callable[..., Any]

METHODS = ("GET", "HEAD")  # of static files

_METHOD = re.compile(r"[A-Z][A-Z0-9-]*")
_WILDCARD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class RouteConflict(WSRelayError, ValueError):
    """Two routes that no request could tell apart, or one that none could reach; names both.

    Attributes:
        route: the later one, or the one that is hidden; a `Route`, or a `StaticFiles`.
        other: that which was there first; None where it is a router's prefix that hides.
    """

    def __init__(self, message: str, route: object, other: object = None) -> None:
        super().__init__(message)
        self.route = route
        self.other = other


class Segment:
    """One segment of a template: literal text, one free segment, or the free tail."""

    __slots__ = ("is_rest", "literal", "name")

    def __init__(self, text: str, template: str) -> None:
        match = _WILDCARD.fullmatch(text)
        self.literal = None if match else text
        self.name = match[1] if match else ""
        self.is_rest = match is not None and match[2] is not None
        if match is None and ("{" in text or "}" in text):
            raise ValueError(
                f"bad path {template!r}: a parameter is a whole segment, as in /{{id}}"
            )


class Route:
    """A method, a path template and the function behind them.

    Args:
        method: in any case; not CONNECT.
        template: the whole path. `{id}` stands for one segment that is not empty, `{rest...}`, as
            the last one, for the tail, which may be empty; all else is literal and decoded.
        endpoint: called with the request.

    Raises:
        ValueError: the method or the template is malformed.
    """

    __slots__ = ("endpoint", "method", "names", "segments", "template")

    def __init__(self, method: str, template: str, endpoint: Endpoint) -> None:
        self.method = method.upper()
        if _METHOD.fullmatch(self.method) is None or self.method == "CONNECT":
            raise ValueError(f"bad method {method!r} of the route {template!r}")
        self.template = template
        self.endpoint = endpoint
        self.segments = _parse_template(template)
        self.names = tuple(segment.name for segment in self.segments if segment.literal is None)
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"bad path {template!r}: two parameters have the same name")

    def __str__(self) -> str:
        module = getattr(self.endpoint, "__module__", "?")
        name = getattr(self.endpoint, "__qualname__", type(self.endpoint).__qualname__)
        return f"{self.method} {self.template} ({module}:{name})"

    def __repr__(self) -> str:
        return f"<Route {self}>"


def _parse_template(template: str) -> tuple[Segment, ...]:
    if not template.startswith("/"):
        raise ValueError(f"bad path {template!r}: it starts with /")
    segments = tuple(Segment(text, template) for text in template[1:].split("/"))
    if (
        "?" in template
        or "#" in template
        or any(_has_dots(each.literal or "") for each in segments)
    ):
        raise ValueError(f"bad path {template!r}: no query, fragment or dot segment belongs there")
    if any(segment.is_rest for segment in segments[:-1]):
        raise ValueError(f"bad path {template!r}: a {{rest...}} parameter is the last segment")
    return segments


def parse_prefix(prefix: str, what: str = "prefix") -> str:
    """Check a prefix of paths and take its trailing `/` away.

    Args:
        prefix: such as `/api`; may be empty.
        what: how an error calls it.

    Raises:
        ValueError: it does not start with `/`, or has a parameter.
    """
    prefix = prefix.removesuffix("/")
    if prefix and any(segment.literal is None for segment in _parse_template(prefix)):
        raise ValueError(f"bad {what} {prefix!r}: a {what} has no parameters")
    return prefix


def split_path(raw_path: bytes) -> list[str]:
    """Split a path at its slashes and decode each segment, so that `%2F` stays inside of one.

    Nothing is collapsed: empty segments count. Dot segments are refused in every disguise
    (encoded, behind an encoded slash, behind a backslash), because whoever joins a parameter to
    a folder would follow them; a client resolves its own (RFC 3986 5.2.4).

    Raises:
        HTTPError: 400, as above, or an escape that is broken, NUL or not UTF-8.
    """
    path = raw_path.decode("latin-1")
    segments = path[1:].split("/")
    if "%" in path:
        segments = [_decode_segment(text) if "%" in text else text for text in segments]
        suspicious = True
    else:
        suspicious = "/." in path or "\\" in path
    if suspicious and any(map(_has_dots, segments)):
        raise HTTPError(400, "The path has dot segments")
    return segments


def _decode_segment(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise HTTPError(400, "The path is not UTF-8") from None
    if _BROKEN_ESCAPE.search(text) or "\0" in decoded:
        raise HTTPError(400, "The path has a broken escape")
    return decoded


def _has_dots(segment: str) -> bool:
    return any(part in (".", "..") for part in segment.replace("\\", "/").split("/"))


class _Node(Generic[T]):
    __slots__ = ("free", "literals", "methods", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.free: _Node[T] | None = None
        self.rest: _Node[T] | None = None
        self.methods: dict[str, T] = {}

    def child(self, segment: Segment) -> "_Node[T]":
        if segment.literal is not None:
            return self.literals.setdefault(segment.literal, _Node())
        if segment.is_rest:
            self.rest = self.rest or _Node()
            return self.rest
        self.free = self.free or _Node()
        return self.free


class RouteTree(Generic[T]):
    """Finds what was stored for a path; literal before parameter before tail, at each segment."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, route: Route, value: T) -> T:
        """Store a value for the path and method of a route.

        Returns:
            The value that is there: another one, where a route like this was added before.
        """
        node = self._root
        for segment in route.segments:
            node = node.child(segment)
        return node.methods.setdefault(route.method, value)

    def find(self, segments: list[str]) -> Iterator[tuple[dict[str, T], tuple[str, ...]]]:
        """Yield the methods of each template that matches, most specific first, with what its
        parameters matched. Looks at each node of the tree once at most."""
        stack: list[tuple[_Node[T], int, tuple[str, ...]]] = [(self._root, 0, ())]
        end = len(segments)
        while stack:
            node, at, values = stack.pop()
            if at == end:
                if node.methods:
                    yield node.methods, values
                continue
            segment = segments[at]
            if node.rest is not None:
                stack.append((node.rest, end, (*values, "/".join(segments[at:]))))
            if node.free is not None and segment:
                stack.append((node.free, at + 1, (*values, segment)))
            literal = node.literals.get(segment)
            if literal is not None:
                stack.append((literal, at + 1, values))
