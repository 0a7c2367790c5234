"""Errors of the HTTP side.

    WSRelayError
    └── HTTPError            an answer: status, text for the client, headers
        └── HandshakeError   the same, for an opening handshake that is refused

Raised by a handler or a middleware, an `HTTPError` becomes the response. Its `detail` is read by
the client, so it names rules and never values or internals.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from wsrelay_core._errors import WSRelayError

__all__ = ["HTTPError", "HandshakeError", "HeaderPairs", "reason_phrase"]

HeaderPairs = Mapping[str, str | bytes] | Iterable[tuple[str | bytes, str | bytes]]
"""What every `headers` argument takes: a mapping, or pairs where a name may repeat."""

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def reason_phrase(status_code: int) -> str:
    """The reason phrase that goes with a status code (RFC 9110 15), or `Unknown`."""
    return _PHRASES.get(status_code, "Unknown")


class HTTPError(WSRelayError):
    """Ends a request with a status of the client's or the server's fault.

    Args:
        status_code: 400 to 599.
        detail: plain text for the client; the reason phrase where it is empty.
        headers: further headers of the answer, such as `Allow` or `Retry-After`.
    """

    def __init__(
        self, status_code: int, detail: str = "", headers: HeaderPairs | None = None
    ) -> None:
        if not 400 <= status_code <= 599:
            raise ValueError(f"an HTTPError has a status from 400 to 599, not {status_code}")
        super().__init__(status_code, detail)
        self.status_code = status_code
        self.detail = detail or reason_phrase(status_code)
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status_code} {self.detail}"


class HandshakeError(HTTPError):
    """Refuses an opening handshake (RFC 6455 4.2.2, `relay.md` 2)."""
