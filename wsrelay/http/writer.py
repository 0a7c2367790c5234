"""Responses as bytes, built in one join (RFC 9112 4 to 6)."""

from wsrelay.errors import reason_phrase

from .headers import list_tokens
from .response import Response
from .streaming import StreamingResponse

__all__ = [
    "CONTINUE",
    "body_size",
    "encode_response",
    "encode_stream_head",
    "has_content",
    "says_close",
]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# The framing and the date of a response are the writer's own affair, and what is between a handler
# and the relay is nobody's outside, whether or not the relay is there to take it away.
_OWNED = frozenset(
    (
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"transfer-encoding",
        b"x-ws-relay",
    )
)
# Statuses without content; of these only 304 may tell a length (RFC 9110 8.6).
_EMPTY = frozenset((204, 304))

_status_lines: dict[int, bytes] = {}


def says_close(response: Response) -> bool:
    """Whether the handler itself wants the connection to end after its response."""
    return b"close" in list_tokens(response.headers.values_of(b"connection"))


def encode_response(
    response: Response, common: bytes, *, head: bool = False, close: bool = False
) -> bytes:
    """Encode a response with its framing.

    Args:
        response: any but an `Upgrade` and a `StreamingResponse`.
        common: header lines of every response (`Date`, `Server`), each with its line end.
        head: the request was a HEAD: the headers of a GET without its body (RFC 9110 9.3.2).
        close: the connection ends after this response.

    Raises:
        ValueError: the status is none that a final response may have.
    """
    parts = _head(response, common, close)
    if has_content(response):
        parts.append(b"Content-Length: %d\r\n\r\n" % len(response.body))
        if not head:
            parts.append(response.body)
    else:
        parts.append(b"\r\n")
    return b"".join(parts)


def encode_stream_head(
    response: StreamingResponse, common: bytes, *, chunked: bool, close: bool = False
) -> bytes:
    """Encode what goes before the body of a `StreamingResponse`.

    Args:
        response, common, close: as of `encode_response`.
        chunked: whether the body is, where its length is not known; else it ends with the
            connection.

    Raises:
        ValueError: the status is none that a final response may have.
    """
    parts = _head(response, common, close)
    if has_content(response):
        if response.content_length is not None:
            parts.append(b"Content-Length: %d\r\n" % response.content_length)
        elif chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def has_content(response: Response) -> bool:
    """Whether a response of this status has content, were it not for a HEAD (RFC 9110 6.4.1)."""
    return response.status_code not in _EMPTY


def _head(response: Response, common: bytes, close: bool) -> list[bytes]:
    """Status line and fields, without those of the framing."""
    parts = [_status_line(response.status_code), common]
    connection: list[bytes] = []
    for name, value in response.headers.raw:
        lowered = name.lower()
        if lowered not in _OWNED:
            parts += (name, b": ", value, b"\r\n")
        elif lowered == b"connection":
            connection.append(value)
    if connection or close:
        parts.append(_connection_line(connection, close))
    return parts


def body_size(response: Response, *, head: bool = False) -> int:
    """Bytes of the body that `encode_response` writes; the arguments are the same."""
    return 0 if head or response.status_code in _EMPTY else len(response.body)


def _status_line(status: int) -> bytes:
    line = _status_lines.get(status)
    if line is None:
        if not 200 <= status <= 599:
            raise ValueError(f"a response can't have the status {status}")
        line = f"HTTP/1.1 {status:d} {reason_phrase(status)}\r\n".encode("ascii")
        _status_lines[status] = line
    return line


def _connection_line(values: list[bytes], close: bool) -> bytes:
    # Whether the connection is kept is not the handler's: of its tokens only this one goes out.
    tokens = list_tokens(values)
    kept = [b"Upgrade"] if b"upgrade" in tokens else []
    if close:
        kept.append(b"close")
    return b"Connection: %b\r\n" % b", ".join(kept) if kept else b""
