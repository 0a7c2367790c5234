"""Responses whose body is made while it is sent."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from .headers import HeaderPairs
from .response import Response

__all__ = ["ShortStream", "StreamingResponse", "framed"]


class ShortStream(Exception):
    """A body ended before its announced length, or went beyond it."""


class StreamingResponse(Response):
    """A response whose body is produced piece by piece, while the client takes it.

    The next piece is asked for when the client has taken most of those before, so that a body of
    any length costs little memory. A client that goes away ends the iteration: an async generator
    sees CancelledError or GeneratorExit. An exception in it is logged and cuts the connection off,
    for the status is sent by then.

    To a client of HTTP/1.1 the body goes out chunked (RFC 9112 7.1), to one of HTTP/1.0 up to the
    close of the connection. Middleware sees an empty `body`.

    Args:
        content: asynchronous iterable of bytes-like pieces, or of `str`, sent as UTF-8.
        status_code, headers, media_type: as of `Response`.

    Attributes:
        body_iterator: the content; may be replaced.
        content_length: bytes of the whole body, where they are known before.

    Raises:
        TypeError: the content is no asynchronous iterable.
    """

    def __init__(
        self,
        content: AsyncIterable[Any],
        status_code: int = 200,
        headers: HeaderPairs | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(None, status_code, headers, media_type)
        if not isinstance(content, AsyncIterable):
            kind = type(content).__name__
            raise TypeError(f"the content of a StreamingResponse is an async iterable, not {kind}")
        self.body_iterator: AsyncIterable[Any] = content
        self.content_length: int | None = None

    def discard(self) -> None:
        """Let go of what the body would be made from; called where none of it is asked for."""


async def framed(response: StreamingResponse, *, chunked: bool) -> AsyncGenerator[bytes, None]:
    """The body's bytes as they go on the wire.

    Args:
        response: its body is iterated once, and closed in any case.
        chunked: put each piece into a chunk of its own.

    Raises:
        ShortStream: it is not as long as `content_length` says.
        TypeError: a piece is neither bytes-like nor `str`.
    """
    iterator = aiter(response.body_iterator)
    missing = response.content_length
    try:
        async for content in iterator:
            piece = response.render(content)
            if missing is not None:
                missing -= len(piece)
                if missing < 0:
                    raise ShortStream(f"the body goes {-missing} bytes beyond its length")
            if piece:  # an empty chunk would end the body
                yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
    if missing:
        raise ShortStream(f"the body ended {missing} bytes before its length")
    if chunked:
        yield b"0\r\n\r\n"
