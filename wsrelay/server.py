"""One listening HTTP server of an App."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection
from errno import EEXIST
from typing import TYPE_CHECKING, Any

from wsrelay._text import listed, quoted
from wsrelay.config import Address, ConfigError, Problem
from wsrelay.http.addresses import TrustedPeers
from wsrelay.http.forwarded import ProxyHeaders
from wsrelay.http.protocol import HTTPProtocol
from wsrelay.http.router import Dispatcher
from wsrelay.http.server import ServerState
from wsrelay.listener import RESERVE, Listener, descriptors_run_out, room_behind
from wsrelay.service import Service
from wsrelay.tls import ReloadableContext, TLSFilesError
from wsrelay.unix_socket import SocketFile

if TYPE_CHECKING:
    from wsrelay.app import App

__all__ = ["Server", "ServerList", "Service"]

# Time for the end of TLS is in the hands of `Link` and `Connection`, which know whether a client
# still reads; the loops' own limit (30 s) cuts a long response off.
SHUTDOWN_SECONDS = 24 * 3600.0
LONGEST_HANDSHAKE = 24 * 3600.0  # seconds, where `timeouts.header` is off


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
            scheme="http" if service.tls is None else "https",
            proxy_headers=ProxyHeaders(
                TrustedPeers(service.trusted_proxies), service.proxy_headers
            ),
            proxy_protocol=service.proxy_protocol,
        )
        self.state.upgraded_connections = lambda: app.server_host(service.id).count
        self._dispatcher = Dispatcher(service.routers, service.files)
        self._context = app.context()
        self._listener: Listener | None = None
        self._roomy: int | None = None  # a descriptor that was found to be far from the end
        self._address: Address | None = None
        self._file: SocketFile | None = None
        self._tls: ReloadableContext | None = None

    def protocol(self, sock: socket.socket | None = None, peername: Any = None) -> HTTPProtocol:
        """A protocol for one new connection: its socket, and the address of the other side."""
        service = self.service
        return HTTPProtocol(  # by place: of names a dict would be made each time
            self._dispatcher,
            self.state,
            service.limits,
            service.timeouts,
            self._context,
            peername,
            -1 if sock is None or service.tls is not None else sock.fileno(),
        )

    async def listen(self, address: Address) -> None:
        """Open the listener.

        Raises:
            OSError: it can't listen; the text has the address.
            ConfigError: the files of its TLS can't serve.
        """
        settings = self._tls_settings()
        try:
            self._listener = Listener(
                self.service.id,
                await self._bound(address),
                self.protocol,
                self._why_full,
                **settings,
            )
        except OSError as error:
            # asyncio's own text names the address too; a failed look-up of a host has no errno
            known = error.errno or 0
            reason = os.strerror(known) if known > 0 and known != EEXIST else error.strerror
            raise OSError(error.errno, f"cannot listen on {address}: {reason}") from None
        self._address = address

    async def _bound(self, address: Address) -> list[socket.socket]:
        """Sockets for an address, several where its host has several; the loop looks it up."""
        loop = asyncio.get_running_loop()
        if address.path is not None:
            self._file = SocketFile(address.path)
            return [self._file.socket]
        server = await loop.create_server(
            self.protocol, address.host, address.port or 0, start_serving=False
        )
        try:
            return [sock.dup() for sock in server.sockets]
        finally:
            server.close()

    def _why_full(self, highest: int) -> str | None:
        """Why there is no room for another connection; None: there is. See `Listener`."""
        limit, listener = self.service.limits.connections, self._listener
        assert listener is not None
        if limit:
            connected: Collection[object] = self.state.connections
            connecting = sum(one not in connected for one in listener.connecting.values())
            if self.state.open_connections + connecting >= limit:
                return f"limits.connections is {limit}"
        if highest == self._roomy:
            return None
        if descriptors_run_out(listener.sockets[0], highest):
            return f"all descriptors but {RESERVE} are in use (RLIMIT_NOFILE, `ulimit -n`)"
        self._roomy = highest if room_behind(highest) else None
        return None

    def _tls_settings(self) -> dict[str, Any]:
        """The arguments of the loop's `create_server`."""
        if self.service.tls is None:
            return {}
        try:
            self._tls = ReloadableContext(self.service.tls)
        except TLSFilesError as error:
            raise self._config_error(error) from None
        return {
            "ssl": self._tls,
            "ssl_handshake_timeout": min(self.service.timeouts.header, LONGEST_HANDSHAKE),
            "ssl_shutdown_timeout": SHUTDOWN_SECONDS,
        }

    def reload_certificate(self) -> bool:
        """Read the files of TLS again, for new handshakes; open connections live on.

        Returns:
            Whether there are any: it listens, and with TLS.

        Raises:
            ConfigError: they can't serve; what was read before stays in use.
        """
        if self._tls is None:
            return False
        try:
            self._tls.reload()
        except TLSFilesError as error:
            raise self._config_error(error) from None
        return True

    def _config_error(self, error: TLSFilesError) -> ConfigError:
        where = f"http.service {quoted(self.service.id)}"
        return ConfigError(
            Problem.at(None, where, f"tls.{field}: {message}") for field, message in error.problems
        )

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
        """Where it can be reached, for people: `http://…`, `https://…` or `unix:…`."""
        return self._url("http")

    @property
    def websocket_url(self) -> str:
        """The same for clients of WebSocket: `ws://…`, `wss://…` or `unix:…`."""
        return self._url("ws")

    def _url(self, scheme: str) -> str:
        if self._address is None or self._address.path is not None:
            return f"unix:{self._address.path if self._address else ''}"
        secure = "" if self.service.tls is None else "s"
        return f"{scheme}{secure}://{Address(self._address.host or '127.0.0.1', self.port)}"

    def close_listeners(self) -> None:
        """Accept nothing more, and answer the handshakes that still come with 503."""
        self.state.drain()
        if self._listener is not None:
            self._listener.close()
        if self._file is not None:
            self._file.remove()

    async def finish(self, limit: float) -> None:
        """Wait at most `limit` seconds for the requests under way, then cut them off."""
        try:
            async with asyncio.timeout(limit):
                await self.state.wait_closed()
        except TimeoutError:
            self.state.abort()
        self.state.ended = True


class ServerList(list[Server]):
    """The servers of an App with several services, in the order of their declaration."""

    def named(self, name: str) -> Server:
        """The server of a service: `namespace:name`, or the bare name; raises LookupError."""
        for server in self:
            if name in (server.service.id, server.service.id.partition(":")[2]):
                return server
        raise LookupError(f"no http.service {quoted(name)}; there is {self._names()}")

    @property
    def port(self) -> int:
        """Raises RuntimeError, which names the services: each has a port of its own."""
        raise self._several("port")

    @property
    def url(self) -> str:
        """Raises RuntimeError, which names the services: each has a URL of its own."""
        raise self._several("url")

    @property
    def websocket_url(self) -> str:
        """Raises RuntimeError, which names the services: each has a URL of its own."""
        raise self._several("websocket_url")

    def _several(self, what: str) -> RuntimeError:
        return RuntimeError(
            f"several http.services listen, {self._names()}: "
            f'take the {what} of one, as in servers.named("{self[0].service.id}").{what}'
        )

    def _names(self) -> str:
        return listed(server.service.id for server in self)
