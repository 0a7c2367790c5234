"""Which web pages may open a WebSocket or read an answer (`relay.md` 2, Origins; RFC 6454)."""

import re

from wsrelay.errors import HandshakeError

from .authority import DEFAULT_PORTS, Authority, parse_authority
from .request import Request

__all__ = ["OriginPatterns", "OriginPolicy"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+")
_GLOB_SCHEME = re.compile(r"[A-Za-z0-9+.*-]++")
_GLOB_AUTHORITY = re.compile(
    r"(?P<host>[A-Za-z0-9._~*-]++|\[[0-9A-Fa-f:.]++\])(?::(?P<port>[0-9*]++))?"
)


class OriginPatterns:
    """A list of patterns for origins.

    Args:
        patterns: comma-separated; None or blank: none, which match nothing.

    Attributes:
        texts: the patterns.
        match_all: one of them is a lone `*`.

    Raises:
        ValueError: a pattern is malformed; the message shows it and how to mend it.
    """

    def __init__(self, patterns: str | None = None) -> None:
        texts = [text.strip() for text in patterns.split(",")] if patterns else []
        self.texts = tuple(texts) if any(texts) else ()
        self.match_all = "*" in self.texts
        self._patterns = [_Pattern(text) for text in self.texts if text != "*"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OriginPatterns) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def match(self, text: str) -> bool:
        """Whether an `Origin` is one that a pattern means, in linear time.

        Args:
            text: the field's value. `null`, a page without an origin of its own (RFC 6454 7.3), is
                meant by a lone `*` only; what is no origin, by nothing.
        """
        if text == "null":
            return self.match_all
        origin = _parse_origin(text)
        if origin is None:
            return False
        return self.match_all or any(pattern.matches(*origin) for pattern in self._patterns)


class OriginPolicy:
    """Decides on the `Origin` of a handshake.

    Args:
        patterns: `wsrelay.allowed.origins`, a comma-separated list; None or blank: same origin
            only.
        require: refuse a request without `Origin`, one that no browser sent.

    Raises:
        ValueError: a pattern is malformed; the message shows it and how to mend it.
    """

    def __init__(self, patterns: str | None = None, require: bool = False) -> None:
        self.require = require
        self._patterns = OriginPatterns(patterns)
        self.same_origin_only = not self._patterns.texts

    def check(self, request: Request) -> None:
        """Allow the request, in linear time.

        Raises:
            HandshakeError: 403, the origin is refused.
        """
        values = request.headers.values_of(b"origin")
        if len(values) == 1:
            allowed = self._allows(values[0].decode("latin-1"), request)
        else:
            allowed = not values and not self.require
        if not allowed:
            raise HandshakeError(403, "Origin not allowed")

    def _allows(self, text: str, request: Request) -> bool:
        if self._patterns.match(text):
            return True
        origin = _parse_origin(text)
        return origin is not None and _is_same(origin, request)


_Origin = tuple[str, str, int | None]


def _parse_origin(text: str) -> _Origin | None:
    """Scheme, host and port (the scheme's default where none is named) of one origin."""
    scheme, separator, rest = text.partition("://")
    if not separator or _SCHEME.fullmatch(scheme) is None or rest.endswith(":"):
        return None
    authority = parse_authority(rest)
    if authority is None:
        return None
    scheme = scheme.lower()
    return scheme, *_with_port(authority, scheme)


def _with_port(authority: Authority, scheme: str) -> Authority:
    host, port = authority
    return host, DEFAULT_PORTS.get(scheme) if port is None else port


def _is_same(origin: _Origin, request: Request) -> bool:
    hosts = request.headers.values_of(b"host")
    authority = parse_authority(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
    scheme, *own = origin
    return authority is not None and _with_port(authority, scheme) == tuple(own)


class _Pattern:
    """One pattern, taken apart so that default ports fold away on both sides."""

    __slots__ = ("_host", "_port", "_port_glob", "_scheme")

    def __init__(self, text: str) -> None:
        _reject_common_mistakes(text)
        scheme, separator, rest = text.rpartition("://")
        match = _GLOB_AUTHORITY.fullmatch(rest)
        if match is None or (separator and _GLOB_SCHEME.fullmatch(scheme) is None):
            raise _bad(text, "write host, host:port or scheme://host[:port]")
        host, port = match["host"].lower(), match["port"]
        if host.startswith("["):
            host = _parsed_host(text, host)
        self._scheme = _Glob(scheme.lower()) if separator else None
        self._host = _Glob(host)
        self._port = int(port) if port and port.isdecimal() else None
        self._port_glob = _Glob(port) if port and self._port is None else None
        if self._port is not None and not 0 < self._port < 65536:
            raise _bad(text, "a port is a number from 1 to 65535, or *")

    def matches(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether an origin, its port filled in, is one of those that the pattern means."""
        return (
            (self._scheme is None or self._scheme.matches(scheme))
            and self._host.matches(host)
            and self._port_matches(port, DEFAULT_PORTS.get(scheme))
        )

    def _port_matches(self, port: int | None, default: int | None) -> bool:
        if self._port is not None:
            return port == self._port
        if port == default:  # left out, so there is nothing that a wildcard could stand for
            return self._port_glob is None
        return self._port_glob is not None and self._port_glob.matches(str(port))


class _Glob:
    """Text in which each `*` stands for one or more characters.

    The leftmost place of each part between wildcards is as good as any other, so one pass of
    searches decides, and nothing steps back.
    """

    __slots__ = ("_first", "_last", "_middle", "_text")

    def __init__(self, text: str) -> None:
        first, *rest = text.split("*")
        self._text = None if rest else text
        self._first = first
        self._last = rest.pop() if rest else ""
        self._middle = rest

    def matches(self, text: str) -> bool:
        if self._text is not None:
            return text == self._text
        # `*` stands for no colon; in a host only an IPv6 address has any.
        if not text.startswith(self._first) or text.startswith("["):
            return False
        at = len(self._first)
        for part in self._middle:
            found = text.find(part, at + 1)
            if found < 0:
                return False
            at = found + len(part)
        return len(text) - len(self._last) > at and text.endswith(self._last)


def _reject_common_mistakes(text: str) -> None:
    rest = text.rpartition("://")[2]
    if not text:
        raise _bad(text, "take out the superfluous comma")
    if text.lower() == "null":
        raise _bad(text, "only a lone * allows the origin null")
    if not text.isascii():
        raise _bad(text, "write an international name in its xn-- form")
    if "**" in text:
        raise _bad(text, "write a single *")
    if "@" in rest:
        raise _bad(text, "an origin has no user info")
    if "/" in rest:
        kept = text[: len(text) - len(rest) + rest.index("/")]
        raise _bad(text, "an origin has no path" + ("" if kept[-1:] == ":" else f"; write {kept}"))
    if rest.count(":") > 1 and not rest.startswith("["):
        raise _bad(text, "put an IPv6 address into brackets")


def _parsed_host(text: str, host: str) -> str:
    authority = parse_authority(host)
    if authority is None:
        raise _bad(text, "write a valid IPv6 address, without wildcards")
    return authority[0]


def _bad(text: str, mend: str) -> ValueError:
    return ValueError(f"bad origin pattern {text!r}: {mend}")
