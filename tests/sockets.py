"""A socket that does harm at the worst moment."""

import socket
from typing import Any


class Trap(socket.socket):
    """Takes the place of a socket of asyncio; its peer goes away when it has sent all it has.

    Args:
        near: the socket, which is used up.
    """

    def __init__(self, near: socket.socket) -> None:
        super().__init__(near.family, near.type, 0, near.detach())
        self.peer: socket.socket | None = None

    def _done(self, sent: int, size: int) -> int:
        if sent == size and self.peer is not None:
            self.peer.close()
        return sent

    def send(self, data: Any, *flags: int) -> int:
        return self._done(super().send(data, *flags), len(data))

    def sendmsg(self, buffers: Any, *others: Any) -> int:  # of CPython 3.12
        parts = list(buffers)
        return self._done(super().sendmsg(parts, *others), sum(map(len, parts)))


def let_read(protocol, data):
    """Do to a buffered protocol what a loop does that has read so few bytes."""
    protocol.get_buffer(-1)[: len(data)] = data
    protocol.buffer_updated(len(data))
