"""One listening HTTP server of an App."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsrelay.config import Address
from wsrelay.http.limits import Limits, Timeouts
from wsrelay.http.protocol import HTTPProtocol
from wsrelay.http.router import Dispatcher, Router
from wsrelay.http.server import ServerState
from wsrelay.http.static import StaticFiles

if TYPE_CHECKING:
    from wsrelay.app import App

__all__ = ["Server", "Service"]


@dataclass
class Service:
    """An `http.service`: where it listens, what it serves, and its limits.

    Attributes:
        id: registry id, such as `app:gateway`; connections' PIDs begin with it.
        addr: where it listens.
        limits, timeouts: see `wsrelay.http.limits`.
        shutdown: seconds in which a stop must be done.
        declared: whether the address was chosen by somebody.
    """

    id: str
    addr: Address = field(default=Address("127.0.0.1", 8080))
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    shutdown: float = 10.0
    declared: bool = False
    routers: list[Router] = field(default_factory=list)
    files: list[StaticFiles] = field(default_factory=list)


class Server:
    """A service that runs: its listeners and open connections.

    Attributes:
        state: what its HTTP connections share.
        service: what it serves.
    """

    def __init__(self, app: App, service: Service) -> None:
        self.service = service
        self.state = ServerState(name=service.id)
        self._dispatcher = Dispatcher(service.routers, service.files)
        self._context = app.context()
        self._servers: Sequence[asyncio.Server] = ()
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
        loop = asyncio.get_running_loop()
        try:
            if address.path is not None:
                _remove_stale_socket(address.path)
                server: Any = await loop.create_unix_server(self.protocol, address.path)
            else:
                server = await loop.create_server(
                    self.protocol, address.host, address.port or 0, backlog=1024
                )
        except OSError as error:
            # asyncio's own text names the address too; a failed look-up of a host has no errno
            known = error.errno or 0
            reason = os.strerror(known) if known > 0 else error.strerror
            raise OSError(error.errno, f"cannot listen on {address}: {reason}") from None
        self._servers = [server]
        self._address = address

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets."""
        return [sock for server in self._servers for sock in server.sockets]

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
        for server in self._servers:
            server.close()
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
