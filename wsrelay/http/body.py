"""The body of a request: two readers that know no socket, and the store a handler waits at.

h11's own body readers are not used: its chunked reader takes bare LF and folded lines in the
trailers, and costs a dozen microseconds for a chunk of one byte.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from wsrelay.errors import HTTPError

__all__ = ["BodyReader", "ChunkedReader", "LengthReader", "RequestBody"]

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*+)?+")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+")

# Framing may cost as much as the payload and this many bytes: chunk extensions and chunks of a
# byte would else make a body of 1 MiB cost many times that to read.
SPARE_FRAMING = 16 * 1024
LINE_BYTES = 4 * 1024
TRAILER_BYTES = 8 * 1024

# What the chunked reader expects next.
_SIZE, _DATA, _DATA_END, _TRAILER = range(4)


class BodyReader(Protocol):
    """Moves body bytes out of a connection's buffer."""

    def read(self, buffer: bytearray, out: bytearray) -> bool:
        """Move what there is from `buffer` to `out`; True once the body is complete.

        What lies behind the body stays in the buffer.

        Raises:
            HTTPError: 400 the framing is malformed; 413 the body is over its limit.
        """


class LengthReader:
    """Reads a body of a known length (RFC 9112 6.2)."""

    __slots__ = ("_remaining",)

    def __init__(self, length: int) -> None:
        self._remaining = length

    def read(self, buffer: bytearray, out: bytearray) -> bool:
        """See `BodyReader`."""
        taken = buffer[: self._remaining]
        del buffer[: len(taken)]
        out += taken
        self._remaining -= len(taken)
        return self._remaining == 0


class ChunkedReader:
    """Reads a chunked body (RFC 9112 7.1); extensions and trailers are checked and dropped.

    Args:
        limit: bytes of the body; a chunk that would pass it is refused when it is announced.
    """

    __slots__ = (
        "_complete",
        "_expected",
        "_framing",
        "_limit",
        "_received",
        "_remaining",
        "_trailers",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._received = 0
        self._framing = 0
        self._remaining = 0
        self._trailers = 0
        self._expected = _SIZE
        self._complete = False

    def read(self, buffer: bytearray, out: bytearray) -> bool:
        """See `BodyReader`."""
        at = 0
        while not self._complete:
            after = self._next(buffer, at, out)
            if after < 0:
                break
            at = after
        del buffer[:at]
        return self._complete

    # Each step gets the position of its first byte and returns the one behind it, or -1 while
    # bytes are missing.

    def _next(self, buffer: bytearray, at: int, out: bytearray) -> int:
        if self._expected == _DATA:
            return self._data(buffer, at, out)
        if self._expected == _SIZE:
            return self._size(buffer, at)
        if self._expected == _DATA_END:
            return self._data_end(buffer, at)
        return self._trailer(buffer, at)

    def _size(self, buffer: bytearray, at: int) -> int:
        end = _line_end(buffer, at, LINE_BYTES)
        if end < 0:
            return -1
        match = _CHUNK_LINE.fullmatch(buffer, at, end)
        if match is None:
            raise HTTPError(400, "Malformed chunk")
        size = int(match[1], 16)
        self._account(size, end - at + 4)
        self._remaining = size
        self._expected = _DATA if size else _TRAILER
        return end + 2

    def _account(self, size: int, framing: int) -> None:
        if self._received + size > self._limit:
            raise HTTPError(413)
        self._received += size
        self._framing += framing
        if self._framing > SPARE_FRAMING + self._received:
            raise HTTPError(400, "Too many small chunks")

    def _data(self, buffer: bytearray, at: int, out: bytearray) -> int:
        taken = buffer[at : at + self._remaining]
        if not taken:
            return -1
        out += taken
        self._remaining -= len(taken)
        if not self._remaining:
            self._expected = _DATA_END
        return at + len(taken)

    def _data_end(self, buffer: bytearray, at: int) -> int:
        if len(buffer) < at + 2:
            return -1
        if buffer[at : at + 2] != b"\r\n":
            raise HTTPError(400, "Malformed chunk")
        self._expected = _SIZE
        return at + 2

    def _trailer(self, buffer: bytearray, at: int) -> int:
        end = _line_end(buffer, at, TRAILER_BYTES)
        if end < 0:
            return -1
        self._trailers += end - at + 2
        if end == at:
            self._complete = True
        elif self._trailers > TRAILER_BYTES:
            raise HTTPError(431)
        elif _TRAILER_LINE.fullmatch(buffer, at, end) is None:
            raise HTTPError(400, "Malformed trailer")
        return end + 2


def _line_end(buffer: bytearray, at: int, limit: int) -> int:
    end = buffer.find(b"\r\n", at, at + limit + 2)
    if end < 0 and len(buffer) - at > limit + 1:
        raise HTTPError(400, "A line of the chunked body is too long")
    return end


class RequestBody:
    """A body on its way: filled by the connection, awaited by the handler.

    Args:
        reader: takes it apart.
        on_wait: called when a handler begins to wait (sends `100 Continue`).
    """

    __slots__ = ("_data", "_event", "_on_wait", "_reader", "complete", "error")

    def __init__(self, reader: BodyReader, on_wait: Callable[[], None]) -> None:
        self.complete = False
        self.error: HTTPError | None = None
        self._reader = reader
        self._on_wait = on_wait
        self._data = bytearray()
        self._event: asyncio.Event | None = None

    @property
    def pending(self) -> bool:
        """Whether more of it is awaited from the client."""
        return not self.complete and self.error is None

    def feed(self, buffer: bytearray) -> None:
        """Take the body's bytes from the front of the buffer; an error of theirs is kept."""
        try:
            self.complete = self._reader.read(buffer, self._data)
        except HTTPError as error:
            self.fail(error)
        if self.complete and self._event is not None:
            self._event.set()

    def fail(self, error: HTTPError) -> None:
        """End the body for good; whoever reads it gets the error."""
        self.error = error
        self._data.clear()
        if self._event is not None:
            self._event.set()

    async def read(self) -> bytes:
        """Wait for the whole body.

        Raises:
            HTTPError: 400, 408 or 413, where it did not come, or not in order.
        """
        if self.pending:
            self._on_wait()
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
        if self.error is not None:
            raise self.error
        return bytes(self._data)
