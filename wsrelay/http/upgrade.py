"""The value that turns a connection into a WebSocket; the protocol class acts on it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from .headers import HeaderPairs, MutableHeaders, is_token
from .response import Response

__all__ = ["Upgrade", "UpgradeTarget"]

_OWNED = (b"connection", b"transfer-encoding", b"upgrade", b"x-ws-relay")
_OWNED_PREFIXES = (b"content-", b"sec-websocket-")


class UpgradeTarget(Protocol):
    """What takes over the transport: an asyncio protocol that can be started."""

    def start(self, transport: asyncio.Transport, trailing_data: bytes, descriptor: int) -> None:
        """Begin.

        Args:
            transport: the connection's transport, whose protocol this object is by now.
            trailing_data: the bytes that came behind the handshake.
            descriptor: of the transport's socket, if there is no TLS; -1: it is not known.
        """


class Upgrade(Response):
    """A `101 Switching Protocols` and what comes after it (RFC 6455 4.2.2).

    Args:
        accept: the value of `Sec-WebSocket-Accept`.
        connection: takes over the transport.
        subprotocol: the chosen one, a token.
        extension: the value of `Sec-WebSocket-Extensions`.
        headers: further headers of the 101. `Content-*`, `Transfer-Encoding`, `Connection`,
            `Upgrade`, `Sec-WebSocket-*` and `X-WS-Relay` are left out.
        abandon: called once, instead of `connection.start`, where the 101 could not be sent.

    Raises:
        ValueError: the subprotocol is no token, or a header has a forbidden character.
    """

    def __init__(
        self,
        accept: bytes,
        connection: UpgradeTarget,
        *,
        subprotocol: str | None = None,
        extension: str | None = None,
        headers: HeaderPairs | None = None,
        abandon: Callable[[], None] | None = None,
    ) -> None:
        self.status_code = 101
        self.headers = MutableHeaders(headers)
        self.accept = accept
        self.connection = connection
        self.subprotocol = subprotocol
        self.extension = extension
        self.abandon: Callable[[], None] = abandon if abandon is not None else _nothing
        plain = subprotocol is None and extension is None
        self._lines = b"" if plain else _optional_lines(subprotocol, extension)

    def head(self) -> bytes:
        """The whole response as bytes."""
        extra = (
            [b"%b: %b\r\n" % pair for pair in self.headers.raw if not _is_owned(pair[0].lower())]
            if self.headers.raw
            else ()
        )
        return b"".join(
            (
                b"HTTP/1.1 101 Switching Protocols\r\n"
                b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
                self.accept,
                b"\r\n",
                self._lines,
                *extra,
                b"\r\n",
            )
        )


def _nothing() -> None:
    return None


def _is_owned(name: bytes) -> bool:
    return name in _OWNED or name.startswith(_OWNED_PREFIXES)


def _optional_lines(subprotocol: str | None, extension: str | None) -> bytes:
    lines = b""
    if subprotocol is not None:
        if not is_token(subprotocol.encode("utf-8", "replace")):
            raise ValueError("a subprotocol is a token: letters, digits and -_.")
        lines += b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii")
    if extension is not None:
        if not (extension.isascii() and extension.isprintable()):
            raise ValueError("an extension's value is printable ASCII")
        lines += b"Sec-WebSocket-Extensions: %b\r\n" % extension.encode("ascii")
    return lines
