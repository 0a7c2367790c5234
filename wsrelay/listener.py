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
from collections.abc import Callable, Sequence
from typing import Any

from wsrelay.log import Limited, describe

__all__ = ["RESERVE", "Listener", "descriptors_run_out"]

logger = logging.getLogger("wsrelay.server")

QUEUE = 1024  # connects that the kernel keeps
ACCEPTS_AT_ONCE = 16  # before others have their turn
RESERVE = 32  # descriptors that are left to the application
RETRY = 0.1  # seconds between two looks whether there is room again


class Listener:
    """The listening sockets of one server; it accepts from the start.

    Args:
        name: of the server, for the log.
        sockets: bound ones, which it owns from now on.
        factory: makes the protocol of a connection.
        why_full: tells in words why there is no room for another connection; None: there is.
        settings: further arguments of the loop's `connect_accepted_socket`.

    Attributes:
        sockets: those that it listens on; none once it is closed.
        accepting: whether it takes connections now.
        connecting: protocols of the connections that were accepted and are not handed over yet;
            with TLS, those whose handshake is under way.

    Raises:
        OSError: it can't listen on one of them; all are closed then.
    """

    def __init__(
        self,
        name: str,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.Protocol],
        why_full: Callable[[], str | None],
        **settings: Any,
    ) -> None:
        self.sockets = list(sockets)
        self.accepting = False
        self._name = name
        self._factory = factory
        self._why_full = why_full
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.connecting: set[asyncio.Protocol] = set()
        self._tasks: set[asyncio.Task[None]] = set()
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
            self._loop.add_reader(sock, self._accept, sock)

    def _stop(self) -> None:
        if self.accepting:
            self.accepting = False
            for sock in self.sockets:
                self._loop.remove_reader(sock)

    def _accept(self, listening: socket.socket) -> None:
        """Somebody connects."""
        for count in range(ACCEPTS_AT_ONCE if self.accepting else 0):
            reason = self._why_full()
            if reason is not None:
                if count == 0:  # else it is not known whether somebody waits: the loop will tell
                    self._pause(reason)
                return
            try:
                sock = listening.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or no memory, for the whole machine maybe
                self._pause(describe(error))
                return
            protocol = self._factory()
            self.connecting.add(protocol)
            task = self._loop.create_task(self._connect(sock, protocol))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, sock, **self._settings)
        except OSError as error:  # it is gone already, or its TLS handshake failed
            logger.debug("%s: a connection failed: %s", self._name, describe(error))
        finally:
            self.connecting.discard(protocol)

    def _pause(self, reason: str) -> None:
        self._log.warning(logger, "%s accepts no more connections for now: %s", self._name, reason)
        self._stop()
        self._timer = self._loop.call_later(RETRY, self._look)

    def _look(self) -> None:
        if self._why_full() is None:
            self._go_on()
        else:
            self._timer = self._loop.call_later(RETRY, self._look)


def descriptors_run_out(sock: socket.socket) -> bool:
    """Whether one more connection would take a descriptor of the `RESERVE`.

    The kernel gives the lowest number that is free, so a duplicate of `sock` shows how far the
    table of descriptors is filled.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    try:
        probe = os.dup(sock.fileno())
    except OSError:
        return True
    os.close(probe)
    return probe >= limit - RESERVE
