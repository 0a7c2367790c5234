"""Accepts connections, and stops while its server has as many as it may have.

The servers of the loops can't pause: closing one loses the connections that it is about to accept,
and before it tells of one it may have accepted more. So accepting is done here, one connection at a
time; whoever connects in a pause waits in the kernel's queue.
"""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from wsrelay.log import Limited, describe

__all__ = ["RESERVE", "Listener", "descriptors_run_out", "room_behind"]

logger = logging.getLogger("wsrelay.server")

QUEUE = 1024  # connects that the kernel keeps
ACCEPTS_AT_ONCE = 16  # before others have their turn
RESERVE = 32  # descriptors that are left to the application
RETRY = 0.1  # seconds between two looks whether there is room again

Kind = tuple[socket.AddressFamily, socket.SocketKind, int]
"""Family, type and protocol of a socket."""

Connecting = Coroutine[Any, Any, Any]
"""What makes the transport of a connection."""


class Accepted(socket.socket):
    """The socket of a connection, which knows its family and type.

    Those of the standard class are made of a number each time that a transport asks, and it asks
    often: that takes longer than to accept. So this is made of what the descriptor is made of
    there, in `socket.socket.accept`.
    """

    __slots__ = ("_kind",)

    def __init__(self, kind: Kind, descriptor: int) -> None:
        super().__init__(*kind, fileno=descriptor)
        self._kind = kind

    @property
    def family(self) -> socket.AddressFamily:
        """As `socket.family`."""
        return self._kind[0]

    @property
    def type(self) -> socket.SocketKind:
        """As `socket.type`."""
        return self._kind[1]


class Listener:
    """The listening sockets of one server; it accepts from the start.

    Args:
        name: of the server, for the log.
        sockets: bound ones, which it owns from now on.
        factory: makes the protocol of a connection; it is given what `accept` returns: the socket,
            which the transport will own, and the address of the other side.
        why_full: tells in words why there is no room for another connection; None: there is. It is
            given the highest descriptor that a connection has had, -1 for none.
        settings: further arguments of the loop's `connect_accepted_socket`.

    Attributes:
        sockets: those that it listens on; none once it is closed.
        accepting: whether it takes connections now.
        connecting: the protocols of the connections that were accepted and are not handed over yet
            (with TLS, those whose handshake is under way), by the work that is under way for each.

    Raises:
        OSError: it can't listen on one of them; all are closed then.
    """

    def __init__(
        self,
        name: str,
        sockets: Sequence[socket.socket],
        factory: Callable[[socket.socket, Any], asyncio.BaseProtocol],
        why_full: Callable[[int], str | None],
        **settings: Any,
    ) -> None:
        self.sockets = list(sockets)
        self.accepting = False
        self._name = name
        self._factory = factory
        self._why_full = why_full
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.connecting: dict[Connecting | asyncio.Task[Any], asyncio.BaseProtocol] = {}
        self._highest = -1
        self._timer: asyncio.TimerHandle | None = None
        self._log = Limited(most=1, period=60.0)
        try:
            for sock in self.sockets:
                sock.setblocking(False)
                sock.listen(QUEUE)
        except OSError:
            self.close()
            raise
        self._go_on()

    def close(self) -> None:
        """Accept nothing more; who waits in the kernel's queue is refused."""
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
        for sock in self.sockets:
            sock.close()
        self.sockets = []

    def _go_on(self) -> None:
        self._timer = None
        self.accepting = True
        for sock in self.sockets:
            self._loop.add_reader(sock, self._accept, sock, (sock.family, sock.type, sock.proto))

    def _stop(self) -> None:
        if self.accepting:
            self.accepting = False
            for sock in self.sockets:
                self._loop.remove_reader(sock)

    def _accept(self, listening: socket.socket, kind: Kind) -> None:
        """Somebody connects."""
        for count in range(ACCEPTS_AT_ONCE if self.accepting else 0):
            reason = self._why_full(self._highest)
            if reason is not None:
                if count == 0:  # else it is not known whether somebody waits: the loop will tell
                    self._pause(reason)
                return
            try:
                descriptor, address = listening._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or no memory, for the whole machine maybe
                self._pause(describe(error))
                return
            if descriptor > self._highest:
                self._highest = descriptor
            sock = Accepted(kind, descriptor)
            self._connect(sock, self._factory(sock, address))

    def _connect(self, sock: socket.socket, protocol: asyncio.BaseProtocol) -> None:
        work = self._loop.connect_accepted_socket(lambda: protocol, sock, **self._settings)
        if self._settings:
            task = self._loop.create_task(work)
            self.connecting[task] = protocol
            task.add_done_callback(self._task_done)
        else:
            self.connecting[work] = protocol
            self._step(work)

    def _step(self, work: Connecting, _waiter: object = None) -> None:
        """Go on with a connection without TLS. It waits for its transport, once, and asks for no
        task: one of its own would cost more than all the rest of this."""
        try:
            waiter = work.send(None)
        except StopIteration:
            del self.connecting[work]
        except BaseException as error:
            self._connected(work, error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        else:
            waiter._asyncio_future_blocking = False  # as a task says that it has seen it
            waiter.add_done_callback(partial(self._step, work))

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._connected(task, None if task.cancelled() else task.exception())

    def _connected(self, work: Connecting | asyncio.Task[Any], error: BaseException | None) -> None:
        del self.connecting[work]
        if isinstance(error, OSError):  # it is gone already, or its TLS handshake failed
            logger.debug("%s: a connection failed: %s", self._name, describe(error))
        elif isinstance(error, Exception):
            logger.error("%s: a connection failed", self._name, exc_info=error)

    def _pause(self, reason: str) -> None:
        self._log.warning(logger, "%s accepts no more connections for now: %s", self._name, reason)
        self._stop()
        self._timer = self._loop.call_later(RETRY, self._look)

    def _look(self) -> None:
        if self._why_full(-1) is None:
            self._go_on()
        else:
            self._timer = self._loop.call_later(RETRY, self._look)


def room_behind(highest: int) -> bool:
    """Whether a descriptor is far from the end of the table, or that has none."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or 0 <= highest < limit - 2 * RESERVE


def descriptors_run_out(sock: socket.socket, highest: int = -1) -> bool:
    """Whether one more connection would take a descriptor of the `RESERVE`.

    The kernel gives the lowest number that is free. Where the `highest` one that connections have
    had is far from the end of the table, so is the next one. Else, or without any, a duplicate of
    `sock` shows it exactly.
    """
    if room_behind(highest):
        return False
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        probe = os.dup(sock.fileno())
    except OSError:
        return True
    os.close(probe)
    return probe >= limit - RESERVE
