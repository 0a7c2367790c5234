"""One connection of a benchmark: an asyncio protocol around a `FrameCodec` in the client's role."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from wsrelay.benchmark.errors import BenchmarkError
from wsrelay.benchmark.target import Answer
from wsrelay.log import escape
from wsrelay_core import FrameCodec

__all__ = ["Client", "Message", "shown", "unlike"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # RFC 6455 section 5.2

Message = str | bytes


class Client(asyncio.Protocol):
    """A connection.

    Args:
        number: of the connection, for errors.
        answer: its handshake.
        max_message: bytes; a longer reply is an error.
        failed: called with the first thing that goes wrong.

    Attributes:
        opened: done when the server has answered the handshake as it must.
        closed: done when the transport is gone.
        on_message: called with each message that comes.
        on_pong: called with the payload of each pong.
    """

    def __init__(
        self,
        number: int,
        answer: Answer,
        max_message: int,
        failed: Callable[[BenchmarkError], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.on_message: Callable[[Message], None] = self._unasked
        self.on_pong: Callable[[bytes], None] = lambda payload: None
        self._answer: Answer | None = answer
        self._failed = failed
        self._codec = FrameCodec(client=True, max_message=max_message)
        self._closing = False

    # -- asyncio's callbacks -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        assert self._answer is not None
        self._transport.write(self._answer.request)

    def data_received(self, data: bytes) -> None:
        """Read what the server sends."""
        if self._closing and self._answer is not None:
            return  # given up during the handshake
        try:
            if self._answer is None:
                self._read(data)
            elif (rest := self._answer.receive(data)) is not None:
                self._answer = None
                if not self.opened.done():  # it is where the wait for it was given up
                    self.opened.set_result(None)
                if rest:
                    self._read(rest)
        except BenchmarkError as error:
            self.fail(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        """The transport is gone; unless both sides wanted that, it is an error."""
        if not self._closing:
            why = f" ({escape(str(error))})" if error else ""
            if self._answer is not None:
                self.fail(f"closed the connection during the handshake{why}")
            else:
                self.fail(f"closed the connection without a closing handshake{why}")
        if not self.closed.done():
            self.closed.set_result(None)

    # -- what the benchmark does -------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Send a message."""
        self._transport.write(self._codec.encode_message(message))

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._transport.write(self._codec.encode_frame(PING, payload))

    def close(self) -> None:
        """Begin the closing handshake; the server closes the connection (RFC 6455 7.1.1)."""
        if not self._closing:
            self._closing = True
            self._transport.write(self._codec.encode_close(1000))

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._transport.abort()

    def fail(self, what: str) -> None:
        """Tell what the server did wrong, and close."""
        error = BenchmarkError(f"connection {self.number}: the server {what}")
        self._closing = True
        self._transport.abort()
        if not self.opened.done():
            self.opened.set_exception(error)
        else:
            self._failed(error)

    # -- reading -----------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        for kind, payload in self._codec.feed(data):
            if kind in (TEXT, BINARY):
                if not self._closing:
                    self.on_message(payload)
            elif kind == PING:
                if not self._closing:
                    self._transport.write(self._codec.encode_frame(PONG, payload))
            elif kind == PONG:
                self.on_pong(payload)
            else:
                self._end(kind, payload)

    def _end(self, kind: int, payload: Any) -> None:
        code, reason = payload
        told = f"{code} {escape(reason)}".rstrip()
        if kind != CLOSE:
            self.fail(f"sent what is no WebSocket frame ({told})")
        elif self._closing:
            self._transport.close()
        else:
            self.fail(f"closed the connection with {told}")

    def _unasked(self, message: Message) -> None:
        self.fail(f"sent what nobody asked for: {shown(message)}")


def shown(message: Message) -> str:
    """The begin of a message, for an error."""
    return f'"{escape(message[:80], 40)}"'


def unlike(got: Message, expected: Message) -> str:
    """Tell two messages apart, from a little before the place where they differ."""
    if type(got) is not type(expected):
        kinds = ("text", "binary") if isinstance(got, str) else ("binary", "text")
        return f"{shown(got)}, {kinds[0]} instead of {kinds[1]}"
    pairs = enumerate(zip(got, expected, strict=False))
    at = next(
        (place for place, (one, other) in pairs if one != other), min(map(len, (got, expected)))
    )
    start = max(0, at - 10)
    return f"{shown(got[start:])} instead of {shown(expected[start:])} (from {start} on)"
