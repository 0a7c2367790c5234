"""What one client may cost: sizes and times; `docs/security.md` has them all."""

from dataclasses import dataclass

__all__ = ["Limits", "Timeouts"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes; over one of them the request is refused and its connection ends.

    Attributes:
        header_bytes: bytes of all header fields with their line ends (431).
        headers: number of header fields (431).
        body: bytes of a request body, after the transfer coding (413).
        connections: open connections of one server, WebSockets and TLS handshakes included, 0 for
            no limit. An App that listens pauses there; in a server of one's own the next client
            gets a 503.
        request_line: bytes of the request line without its line end (414).
    """

    header_bytes: int = 16 * 1024
    headers: int = 100
    body: int = 1024 * 1024
    connections: int = 0
    request_line: int = 8 * 1024

    @property
    def longest_head(self) -> int:
        """Bytes of the largest head that is within the limits, empty lines around it included."""
        return self.request_line + self.header_bytes + 6


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in seconds, kept to within the second of the server's sweep.

    Attributes:
        header: from the connect, or from the first byte of a later request, to the end of its
            header; a trickle of bytes does not extend it.
        read: for the whole of a request body, from the end of the header.
        idle: between requests; and for a client that does not read its response.
        linger: for the client to read the last response and close.
    """

    header: float = 10.0
    read: float = 30.0
    idle: float = 75.0
    linger: float = 2.0
