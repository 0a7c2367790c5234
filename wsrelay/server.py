"""One listening HTTP server of an App."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsrelay._text import listed, quoted
from wsrelay.config import Address, Proxy, parse_proxy
from wsrelay.http.addresses import TrustedPeers
from wsrelay.http.forwarded import PROXY_HEADERS, X_FORWARDED, ProxyHeaders
from wsrelay.http.limits import Limits, Timeouts
from wsrelay.http.protocol import HTTPProtocol
from wsrelay.http.router import Dispatcher, Router
from wsrelay.http.server import ServerState
from wsrelay.listener import RESERVE, Listener, descriptors_run_out

if TYPE_CHECKING:
    from wsrelay.app import App

__all__ = ["Server", "Service"]

# From 3.13 on the loop would remove the file of a Unix socket, whose removal is done here.
_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


@dataclass
class Service:
    """An `http.service`: where it listens, what it serves, and its limits.

    Attributes:
        id: registry id, such as `app:gateway`; connections' PIDs begin with it.
        addr: where it listens.
        limits, timeouts: see `wsrelay.http.limits`.
        shutdown: seconds in which a stop must be done.
        declared: whether the address was chosen by somebody.
        trusted_proxies: addresses and subnets of the proxies in front, as texts or networks, and
            `unix` for every peer on a Unix socket. `request.client` and `request.scheme` are then
            what they say; headers of other peers are not believed.
        proxy_headers: which headers they write: `x-forwarded` (`X-Forwarded-For` and `-Proto`)
            or `forwarded` (RFC 7239). A proxy passes the other kind on as the client wrote it,
            so only this one is read. `X-Forwarded-Host` never is.
        proxy_protocol: whether those proxies begin each connection with a PROXY header, version 1
            or 2. One that does not is cut off; other peers speak plain HTTP.

    Raises:
        ValueError: a proxy is no subnet, headers of that kind are unknown, or `proxy_protocol` is
            on and nobody is trusted to speak it.
    """

    id: str
    addr: Address = field(default=Address("127.0.0.1", 8080))
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    shutdown: float = 10.0
    declared: bool = False
    routers: list[Router] = field(default_factory=list)
    trusted_proxies: Sequence[str | Proxy] = ()
    proxy_headers: str = X_FORWARDED
    proxy_protocol: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.trusted_proxies, str):
            raise ValueError(f"trusted_proxies is a list, such as [{self.trusted_proxies!r}]")
        self.trusted_proxies = [parse_proxy(str(one)) for one in self.trusted_proxies]
        if self.proxy_headers not in PROXY_HEADERS:
            raise ValueError(
                f"proxy_headers is {listed(PROXY_HEADERS, 'or')}, not {quoted(self.proxy_headers)}"
            )
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol needs trusted_proxies that speak it")


class Server:
    """A service that runs: its listeners and open connections.

    Attributes:
        state: what its HTTP connections share.
        service: what it serves.
    """

    def __init__(self, app: App, service: Service) -> None:
        self.service = service
        self.state = ServerState(
            name=service.id,
            proxy_headers=ProxyHeaders(
                TrustedPeers(service.trusted_proxies), service.proxy_headers
            ),
            proxy_protocol=service.proxy_protocol,
        )
        self.state.upgraded_connections = lambda: app.server_host(service.id).count
        self._dispatcher = Dispatcher(service.routers)
        self._context = app.context()
        self._listener: Listener | None = None
        self._address: Address | None = None

    def protocol(self) -> HTTPProtocol:
        """A protocol for one new connection."""
        return HTTPProtocol(
            handler=self._dispatcher,
            server=self.state,
            limits=self.service.limits,
            timeouts=self.service.timeouts,
            context=self._context,
        )

    async def listen(self, address: Address) -> None:
        """Open the listener; raises OSError with the address in its text."""
        try:
            self._listener = Listener(
                self.service.id, await self._bound(address), self.protocol, self._why_full
            )
        except OSError as error:
            # asyncio's own text names the address too; a failed look-up of a host has no errno
            known = error.errno or 0
            reason = os.strerror(known) if known > 0 else error.strerror
            raise OSError(error.errno, f"cannot listen on {address}: {reason}") from None
        self._address = address

    async def _bound(self, address: Address) -> list[socket.socket]:
        """Sockets for an address, several where its host has several; the loop looks it up."""
        loop = asyncio.get_running_loop()
        if address.path is not None:
            _remove_stale_socket(address.path)
            server: Any = await loop.create_unix_server(
                self.protocol, address.path, start_serving=False, **_KEEP_FILE
            )
        else:
            server = await loop.create_server(
                self.protocol, address.host, address.port or 0, start_serving=False
            )
        try:
            return [sock.dup() for sock in server.sockets]
        finally:
            server.close()

    def _why_full(self) -> str | None:
        """Why there is no room for another connection; None: there is."""
        limit, listener = self.service.limits.connections, self._listener
        assert listener is not None
        if limit:
            connected: Collection[object] = self.state.connections
            connecting = sum(one not in connected for one in listener.connecting)
            if self.state.open_connections + connecting >= limit:
                return f"limits.connections is {limit}"
        if descriptors_run_out(listener.sockets[0]):
            return f"all descriptors but {RESERVE} are in use (RLIMIT_NOFILE, `ulimit -n`)"
        return None

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets."""
        return self._listener.sockets if self._listener is not None else []

    @property
    def port(self) -> int:
        """The port it listens on; raises RuntimeError on a Unix socket or without a listener."""
        for sock in self.sockets:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                port: int = sock.getsockname()[1]
                return port
        raise RuntimeError(f"{self.service.id} listens on no port")

    @property
    def url(self) -> str:
        """Where it can be reached, for people."""
        if self._address is None or self._address.path is not None:
            return f"unix:{self._address.path if self._address else ''}"
        return f"http://{Address(self._address.host or '127.0.0.1', self.port)}"

    def close_listeners(self) -> None:
        """Accept nothing more, and answer the handshakes that still come with 503."""
        self.state.drain()
        if self._listener is not None:
            self._listener.close()
        if self._address is not None and self._address.path is not None:
            _remove_stale_socket(self._address.path)

    async def finish(self, limit: float) -> None:
        """Wait at most `limit` seconds for the requests under way, then cut them off."""
        try:
            async with asyncio.timeout(limit):
                await self.state.wait_closed()
        except TimeoutError:
            self.state.abort()


def _remove_stale_socket(path: str) -> None:
    """A socket file that an earlier run left behind is in the way of a new one."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        return
