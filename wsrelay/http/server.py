"""What the connections of one server share: their table, their clock and the drain."""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol

from wsrelay.log import Limited

from .addresses import TrustedPeers
from .forwarded import ProxyHeaders

__all__ = ["ServerState", "TrackedConnection"]

SWEEP_INTERVAL = 1.0
READ_SIZE = 64 * 1024


class TrackedConnection(Protocol):
    """What the server asks of a connection that speaks HTTP."""

    deadline: float
    """When `expire` is due, in seconds of the server's clock; `math.inf`: never."""

    def expire(self, now: float) -> None:
        """Act on the deadline."""

    def close_if_idle(self) -> None:
        """Close, unless a request is on its way in or out."""

    def abort(self) -> None:
        """Close at once, whatever is unsent."""


class ServerState:
    """The state of one HTTP server; its connections report to it.

    One coarse timer serves the deadlines of all connections. It ends itself when it finds none: of
    a server that is busy with handshakes the last one leaves many times a second.

    Args:
        name: registry id of the service, which the PIDs of its connections begin with.
        scheme: `http` or `https`, as clients address the server; `https` for each connection over
            TLS in any case.
        proxy_headers: which peers are proxies, and which of their headers count; None: none.
        proxy_protocol: whether those peers begin each connection with a PROXY header.
        clock: seconds that only grow; a test brings its own and calls `sweep`.
        wall_clock: seconds since 1970, for `Date`.
        server_header: the value of `Server`; None leaves it out.

    Attributes:
        connections: the connections that speak HTTP; one that was upgraded is no longer here.
        tasks: the tasks of handlers, those of clients that are gone too.
        warnings: bounds what clients can make the server log.
        draining: set by `drain`; every response ends its connection then. The relay looks here
            (`request.server.draining`) and refuses new handshakes.
        ended: nothing is served any more; a connection whose TLS handshake ends now is closed.
        requests, upgrades, accepted: counts since the start.
        read_buffer: where the loop reads to, for all connections that speak HTTP; what it read is
            copied before anybody else's turn.
        upgraded_connections: called for the number of open connections that were upgraded, which
            count towards `Limits.connections` too.
    """

    def __init__(
        self,
        *,
        name: str = "gateway",
        scheme: str = "http",
        proxy_headers: ProxyHeaders | None = None,
        proxy_protocol: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        server_header: str | None = None,
    ) -> None:
        self.name = name
        self.scheme = scheme
        self.proxy_headers = proxy_headers or ProxyHeaders(TrustedPeers())
        self.proxy_protocol = proxy_protocol
        self.warnings = Limited()
        self.clock = clock
        self.connections: set[TrackedConnection] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.draining = False
        self.ended = False
        self.requests = 0
        self.upgrades = 0
        self.accepted = 0
        self.read_buffer = memoryview(bytearray(READ_SIZE))
        self.upgraded_connections: Callable[[], int] = _none
        self._wall_clock = wall_clock
        self._server_line = b"Server: %b\r\n" % server_header.encode() if server_header else b""
        self._common_second = -1
        self._common = b""
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def open_connections(self) -> int:
        """Open connections, upgraded ones included."""
        return len(self.connections) + self.upgraded_connections()

    def opened(self, connection: TrackedConnection) -> None:
        """Take a new connection into the table."""
        self.accepted += 1
        self.connections.add(connection)
        self._empty.clear()
        if self._timer is None:
            self._schedule(asyncio.get_running_loop())

    def closed(self, connection: TrackedConnection) -> None:
        """Take a connection that ended, or was upgraded, out of the table."""
        self.connections.discard(connection)
        self._settle()

    def track(self, task: asyncio.Task[Any]) -> None:
        """Keep a handler's task alive until it is done."""
        if not task.done():
            self.tasks.add(task)
            self._empty.clear()
            task.add_done_callback(self._task_done)

    def sweep(self, now: float | None = None) -> None:
        """Expire each connection whose deadline is over; called once a second by the timer."""
        moment = self.clock() if now is None else now
        for connection in [each for each in self.connections if each.deadline <= moment]:
            connection.expire(moment)

    def drain(self) -> None:
        """Begin to stop: no keep-alive from now on, and idle connections close."""
        self.draining = True
        self.close_idle()
        self._settle()

    def close_idle(self) -> None:
        """Close the connections that wait for a request."""
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Close every connection at once and cancel the handlers that are left."""
        for connection in list(self.connections):
            connection.abort()
        for task in list(self.tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no connection speaks HTTP and no handler runs."""
        await self._empty.wait()

    def common_headers(self) -> bytes:
        """The header lines of every response (`Date`, `Server`), built once a second."""
        now = self._wall_clock()
        if int(now) != self._common_second:
            self._common_second = int(now)
            date = formatdate(now, usegmt=True).encode("ascii")
            self._common = b"Date: %b\r\n%b" % (date, self._server_line)
        return self._common

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        self._settle()

    def _settle(self) -> None:
        if not self.connections:
            if self.draining and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self.tasks:
                self._empty.set()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(SWEEP_INTERVAL, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.connections:
            self._timer = None
            return
        self._schedule(loop)  # first, so that a fault in one sweep does not end them all
        loop.call_soon(self._sweep_soon, loop)

    def _sweep_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was sent in time is read before a sweep, even if the loop was kept from it until
        now: of two turns of the loop one has a whole look at the sockets."""
        loop.call_soon(self.sweep)


def _none() -> int:
    return 0
