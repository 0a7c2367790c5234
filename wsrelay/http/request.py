"""The request that middleware and handlers see; nothing of it is decoded before it is asked for."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from wsrelay.errors import HTTPError

from .headers import HeaderPairs, Headers, QueryParams, list_tokens

if TYPE_CHECKING:
    from .body import RequestBody
    from .router import Resolution
    from .routes import Route
    from .server import ServerState

__all__ = ["Certificate", "Client", "Request"]

Client = tuple[str, int]
"""Address and port of the other side."""

Certificate = dict[str, Any]
"""A certificate as `ssl.SSLSocket.getpeercert` tells it: `subject`, `notAfter`, …"""


class Request:
    """A request (names follow Starlette's).

    Args:
        method: in upper case, as sent.
        target: path and query as sent, still encoded.
        headers: `Headers`, or what makes one.
        body: the bytes, or the store that fills as they arrive.
        scheme: `http` or `https`.
        http_version: `1.0` or `1.1`.
        client: `(host, port)` of the client; None on a Unix socket.
        peer: address of the other side of the connection, a proxy's where there is one; `unix` on
            a Unix socket; by default that of `client`.
        client_certificate: that the peer showed and `client_ca` vouches for; None without TLS,
            or where the client has none.
        server: the server's state (`draining`); None outside a server.

    Attributes:
        method, headers, scheme, http_version, peer, client_certificate, server: as above.
        client: as above; a middleware that knows better may set it.
        path_params: what the route's template matched, decoded; `params` is an alias.
        actor: who is asking, set by a middleware; None until then.
        route: the route that matched; None before the match.
        unsent: called, once, if its response can't be sent, or nobody is there to take it.
    """

    __slots__ = (
        "_body",
        "_cookies",
        "_handshake",
        "_query_params",
        "_resolution",
        "_state",
        "_target",
        "actor",
        "client",
        "client_certificate",
        "headers",
        "http_version",
        "method",
        "path_params",
        "peer",
        "route",
        "scheme",
        "server",
        "unsent",
    )

    def __init__(
        self,
        method: str,
        target: str | bytes,
        headers: Headers | HeaderPairs = (),
        *,
        body: "bytes | RequestBody" = b"",
        scheme: str = "http",
        http_version: str = "1.1",
        client: Client | None = None,
        peer: str | None = None,
        client_certificate: Certificate | None = None,
        server: "ServerState | None" = None,
    ) -> None:
        self.method = method
        self._target = target if isinstance(target, bytes) else target.encode("ascii")
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self._body = body
        self.scheme = scheme
        self.http_version = http_version
        self.client = client
        self.peer = client[0] if peer is None and client is not None else peer
        self.client_certificate = client_certificate
        self.server = server
        self.path_params: dict[str, str] = {}
        self.actor: Any = None
        self.route: Route | None = None
        self.unsent: Callable[[], None] | None = None
        self._resolution: Resolution | None = None
        self._handshake: bool | None = None
        self._query_params: QueryParams | None = None
        self._cookies: dict[str, str] | None = None
        self._state: SimpleNamespace | None = None

    @property
    def target(self) -> bytes:
        """Path and query as sent, still encoded."""
        return self._target

    @property
    def raw_path(self) -> bytes:
        """The path as sent, still encoded."""
        return self._target.partition(b"?")[0]

    @property
    def query_string(self) -> bytes:
        """What follows the first `?` of the target, still encoded."""
        return self._target.partition(b"?")[2]

    @property
    def path(self) -> str:
        """The decoded path. Not for matching: an encoded `/` looks like any other here."""
        return unquote(self.raw_path.decode("latin-1"))

    @property
    def url(self) -> str:
        """The whole URL as the client addressed it, still encoded."""
        host = self.headers.get("host", "")
        return f"{self.scheme}://{host}{self._target.decode('latin-1')}"

    @property
    def query_params(self) -> QueryParams:
        """The decoded query parameters; `query` is an alias."""
        if self._query_params is None:
            self._query_params = QueryParams(self.query_string)
        return self._query_params

    @property
    def query(self) -> QueryParams:
        """Alias of `query_params`."""
        return self.query_params

    @property
    def params(self) -> dict[str, str]:
        """Alias of `path_params`."""
        return self.path_params

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies (RFC 6265 4.2); of several with one name the first, the most specific."""
        if self._cookies is None:
            self._cookies = _parse_cookies(self.headers.getlist("cookie"))
        return self._cookies

    @property
    def state(self) -> Any:
        """A place for attributes of middleware and handlers, one for each request."""
        if self._state is None:
            self._state = SimpleNamespace()
        return self._state

    @property
    def is_handshake(self) -> bool:
        """Whether this asks for WebSocket (`relay.md` 2): HTTP/1.1, `upgrade` and `websocket`."""
        if self._handshake is None:
            upgrade = self.headers.values_of(b"upgrade")
            self._handshake = (
                bool(upgrade)
                and self.http_version == "1.1"
                and b"websocket" in list_tokens(upgrade)
                and b"upgrade" in list_tokens(self.headers.values_of(b"connection"))
            )
        return self._handshake

    @property
    def has_body(self) -> bool:
        """Whether the client announced a body; a chunked one counts even if it is empty."""
        return not isinstance(self._body, bytes) or bool(self._body)

    async def body(self) -> bytes:
        """The whole body, kept: a second call gives it again.

        Raises:
            HTTPError: 413 over the limit; 400 malformed or cut short; 408 too slow.
        """
        if not isinstance(self._body, bytes):
            return await self._body.read()
        return self._body

    async def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            HTTPError: 400 where it is none; and as `body`.
        """
        try:
            return orjson.loads(await self.body())
        except orjson.JSONDecodeError:
            raise HTTPError(400, "The body is not JSON") from None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self._target!r}>"


def _parse_cookies(fields: list[str]) -> dict[str, str]:
    cookies: dict[str, str] = {}
    for pair in ";".join(fields).split(";"):
        name, equals, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        if equals and name:
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            cookies.setdefault(name, value)
    return cookies
