"""The transport side of an HTTP connection: buffers, pauses, pace and the ways to end.

It knows no HTTP. `protocol.py` puts requests and responses on top.
"""

import asyncio
import enum
import math

from wsrelay_core import reset_on_close

from .limits import Timeouts
from .server import ServerState

__all__ = ["BUSY", "GONE", "HEAD", "LINGER", "Link", "Phase"]

# Read ahead while a handler runs; beyond it TCP holds the client back.
BUFFERED_BYTES = 64 * 1024
# What the kernel surely takes at once. Transports of TLS do not count what they gave to the
# transport below: whether a client has read a larger response can't be seen.
UNSEEN_BYTES = 16 * 1024
# What a client that does not read its response must take in each idle period.
READ_PACE = 64 * 1024
# What a client may still send while it is to read its last response.
LINGER_BYTES = 4 * 1024 * 1024


class Phase(enum.Enum):
    """Where a connection stands; it moves down, and from BUSY back to HEAD."""

    HEAD = enum.auto()
    """Between requests, or in the head of one."""
    BUSY = enum.auto()
    """From the end of a head to the end of its response and its body."""
    LINGER = enum.auto()
    """All is written; what comes in is dropped until the client closes."""
    GONE = enum.auto()
    """Closed, or handed over to a WebSocket."""


# Before Python 3.12 an attribute of an enum costs as much as a call.
HEAD, BUSY, LINGER, GONE = Phase


class Link(asyncio.BufferedProtocol):
    """What one connection owns of its transport.

    Args:
        server: the state shared by the server's connections.
        timeouts: see `Timeouts`.
        longest_head: bytes of the largest head that may be read; a buffer that holds a part of
            it must not stop the rest.

    Attributes:
        deadline: when `expire` is due, in seconds of the server's clock; `math.inf`: never.
    """

    __slots__ = (
        "_buffer",
        "_eof",
        "_largest",
        "_lingered",
        "_paced_since",
        "_phase",
        "_read_ahead",
        "_read_paused",
        "_server",
        "_timeouts",
        "_transport",
        "_unsent",
        "_write_paused",
        "deadline",
    )

    _transport: asyncio.Transport

    data_received = None  # uvloop asks for it all the same, and would make an error of its lack

    def __init__(self, server: ServerState, timeouts: Timeouts, longest_head: int) -> None:
        self._server = server
        self._timeouts = timeouts
        self._buffer = bytearray()
        self._read_ahead = max(BUFFERED_BYTES, longest_head)
        self._phase = HEAD
        self._eof = False
        self._read_paused = False
        self._write_paused = False
        self._unsent = 0
        self._largest = 0
        self._paced_since = 0.0
        self._lingered = 0
        self.deadline = math.inf

    def pause_writing(self) -> None:
        """The client reads too slowly: no further request is read until it catches up."""
        self._write_paused = True
        self._pace()

    def expire(self, now: float) -> None:
        """Act on a deadline that is over; called by `ServerState.sweep`."""
        self.deadline = math.inf
        if self._phase is LINGER or self._write_paused:
            self._check_pace(now)
        else:
            self._overdue()

    def close_if_idle(self) -> None:
        """Close, unless a request is on its way in or its response on its way out."""
        if self._phase is HEAD and not self._buffer and not self._write_paused:
            self._close()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        if not self._delivered(self._transport.get_write_buffer_size()):
            reset_on_close(self._transport)  # what the kernel holds is cut short, too
        self._transport.abort()

    def _overdue(self) -> None:
        """The client took too long to send."""

    def _release(self) -> None:
        """Let go of the request in hand, if any."""

    def _write(self, data: bytes, so_far: int = 0) -> None:
        """Write a response, or a further part of one, of which there are `so_far` bytes then."""
        size = so_far or len(data)
        if size > self._largest:
            self._largest = size
        self._transport.write(data)

    def _delivered(self, unsent: int) -> bool:
        """Whether all is in the hands of the kernel, as far as one can see."""
        return unsent == 0 and (self._largest <= UNSEEN_BYTES or self._transport.can_write_eof())

    def _regulate(self) -> None:
        """Let TCP hold the client back while there is enough to do, or it does not read."""
        if self._phase is GONE or self._transport.is_closing():
            return
        pause = self._phase is not LINGER and (
            self._write_paused or len(self._buffer) > self._read_ahead
        )
        if pause is not self._read_paused:
            self._read_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _linger(self) -> None:
        """Close so that the client can read its response: a close with bytes unread would reset
        the connection, and take away what is under way."""
        if self._eof or not self._transport.can_write_eof():
            self._close()
            return
        self._end_phase()
        self._regulate()
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop does not know yet
            self._transport.abort()

    def _close(self) -> None:
        """Close once all is sent."""
        self._end_phase()
        self._transport.close()

    def _end_phase(self) -> None:
        self._phase = LINGER
        self._release()
        self._buffer.clear()
        self._pace()
        self.deadline = self._paced_since + self._timeouts.linger

    def _drop(self, count: int) -> None:
        """Account for bytes that nobody will read."""
        self._lingered += count
        if self._lingered > LINGER_BYTES:
            self._transport.abort()

    def _pace(self) -> None:
        """From now on the client is to read what is unsent."""
        self._unsent = self._transport.get_write_buffer_size()
        self._paced_since = self._server.clock()
        self.deadline = self._paced_since + self._timeouts.idle

    def _check_pace(self, now: float) -> None:
        """End a connection whose client neither reads nor closes."""
        unsent = self._transport.get_write_buffer_size()
        period_over = now - self._paced_since >= self._timeouts.idle
        if self._delivered(unsent):
            self._transport.abort()
        elif period_over and self._unsent - unsent < READ_PACE:
            self.abort()
        elif period_over:
            self._pace()
        else:
            self.deadline = now + self._timeouts.linger

    def _leave(self) -> None:
        """The connection is no longer this object's."""
        if self._phase is not GONE:
            self._phase = GONE
            self.deadline = math.inf
            self._release()
            self._buffer.clear()
            self._server.closed(self)
