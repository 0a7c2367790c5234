"""The other side of a connection, and what it may say of the client behind it."""

import asyncio
import socket
from typing import Any

from .addresses import UNIX
from .exchange import client_of
from .forwarded import ProxyHeaders
from .proxy_protocol import ProxyHeader
from .request import Certificate, Client, Request
from .server import ServerState

__all__ = ["Peer"]


class Peer:
    """The other side of one connection.

    Attributes:
        address: its IP address, or `UNIX`; None: unknown, and then nobody believes it.
        certificate: that it showed in a TLS handshake and the server's `client_ca` vouches for.
        client: address and port of whom it speaks for; itself, until a header says more.
        scheme: `http` or `https`.
    """

    __slots__ = ("_headers", "_server", "address", "certificate", "client", "scheme")

    def __init__(
        self,
        transport: asyncio.BaseTransport,
        server: ServerState,
        peername: Any = None,
        may_be_tls: bool = True,
    ) -> None:
        self._server = server
        self.client: Client | None = client_of(peername or transport.get_extra_info("peername"))
        self.address: str | None = _address_of(transport, self.client)
        self.scheme = server.scheme
        self.certificate: Certificate | None = None
        if may_be_tls and transport.get_extra_info("ssl_object") is not None:
            self.scheme = "https"
            # Empty for one that nobody looked at.
            self.certificate = transport.get_extra_info("peercert") or None
        self._headers: ProxyHeaders | None = None
        self._believe()

    @property
    def is_trusted(self) -> bool:
        """Whether it is one of the server's trusted proxies."""
        return self._headers is not None

    def stands_for(self, header: ProxyHeader) -> None:
        """A PROXY header came: from now on its client is the other side.

        Where it names none, what follows still comes from a stranger: `client` stays the proxy's
        own address, as the protocol wants it, and headers of requests are not believed.
        """
        if header.is_local:
            return
        self.address = None
        if header.client is not None:
            self.client = header.client
            self.address = header.client[0]
        if header.tls:
            self.scheme = "https"
        self._believe()

    def introduce(self, request: Request) -> None:
        """Tell a request whom it comes from.

        Raises:
            HTTPError: 400, a proxy's header is malformed.
        """
        request.peer = self.address
        request.client = self.client
        request.scheme = self.scheme
        request.client_certificate = self.certificate
        if self._headers is not None:
            self._headers.apply(request)

    def _believe(self) -> None:
        headers = self._server.proxy_headers
        self._headers = headers if headers.trusted and self.address in headers.trusted else None


def _address_of(transport: asyncio.BaseTransport, client: Client | None) -> str | None:
    if client is not None:
        return client[0]
    # Also a TCP peer that is gone already has no address.
    sock = transport.get_extra_info("socket")
    return UNIX if sock is not None and sock.family == socket.AF_UNIX else None
