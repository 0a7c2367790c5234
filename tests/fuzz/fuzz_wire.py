"""A transport that is played: what the client sends arrives in pieces, what it gets is kept."""

import asyncio
from typing import Any

__all__ = ["Clock", "Wire", "turns"]

IDLE_TURNS = 3  # of the loop, in which nothing new happened


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire(asyncio.Transport):
    """The server's side of a connection.

    Args:
        half_close: as over plain TCP; False: as over TLS.
        slow: each write has to wait for a later turn of the loop.

    Attributes:
        sent: what the client got.
        reading: whether the server reads.
        is_lost: the protocol was told that the connection is gone.
        changes: grows with all that happens.
    """

    def __init__(self, half_close: bool = True, slow: bool = False) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.sent = bytearray()
        self.reading = True
        self.is_lost = False
        self.changes = 0
        self._half_close = half_close
        self._slow = slow
        self._backlog = 0
        self._closing = self._ended = self._ending = False
        self._protocol: Any = None

    # -- the client's side ---------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Bytes of the client arrive."""
        while data and not self.is_lost:
            view = memoryview(self._protocol.get_buffer(-1))
            count = min(len(view), len(data))
            view[:count] = data[:count]
            self._protocol.buffer_updated(count)
            data = data[count:]

    def drain(self) -> None:
        """The client reads all there is."""
        if self._backlog:
            self._backlog = 0
            self.changes += 1
            self._protocol.resume_writing()
        self._end()

    def end(self) -> None:
        """The client sends no more."""
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def lose(self) -> None:
        """The connection breaks."""
        self._closing = True
        self._backlog = 0
        self._end()

    def _end(self) -> None:
        if self._closing and not self._backlog and not self._ending:
            self._ending = True
            asyncio.get_running_loop().call_soon(self._lost)

    def _lost(self) -> None:
        self.is_lost = True
        self.changes += 1
        self._protocol.connection_lost(None)

    # -- asyncio's side ------------------------------------------------------------------------

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def write(self, data: Any) -> None:
        assert not self._ended, "a write behind the end"
        if self._closing:
            return
        self.sent += data
        self.changes += 1
        if self._slow:
            waiting, self._backlog = self._backlog, self._backlog + len(data)
            if data and not waiting:
                self._protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        assert self._half_close
        self._ended = True

    def get_write_buffer_size(self) -> int:
        return self._backlog

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._end()

    def abort(self) -> None:
        self.lose()


async def turns(wire: Wire, most: int) -> None:
    """Let the loop turn until nothing happens any more on a wire; fails if that takes too long."""
    idle = 0
    for _ in range(most):
        before = wire.changes
        await asyncio.sleep(0)
        wire.drain()
        idle = idle + 1 if wire.changes == before else 0
        if idle == IDLE_TURNS:
            return
    raise AssertionError("no end")
