"""The opening handshake of RFC 6455 4.2.1, checked to the letter.

wsproto takes short, doubled and malformed keys, refuses a second `Connection` field and raises on
bytes above 127, so the checks are ours; the accept token and the extension itself are wsproto's.
"""

import re
from collections.abc import Iterable

from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import generate_accept_token

from wsrelay.errors import HandshakeError

from .extensions import Offer, answer_deflate, parse_offers
from .headers import is_token
from .origin import OriginPolicy
from .request import Request

__all__ = [
    "Offer",
    "Opening",
    "OriginPolicy",
    "check_opening",
    "choose_subprotocol",
    "negotiate_deflate",
]

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_UPGRADE_HEADERS = {
    "Sec-WebSocket-Version": "13",
    "Upgrade": "websocket",
    "Connection": "Upgrade, close",
}


class Opening:
    """A well-formed handshake.

    Attributes:
        key: the value of `Sec-WebSocket-Key`.
        subprotocols: what the client offers, in its order of preference.
        offers: the extensions that it offers, in its order of preference.
    """

    __slots__ = ("key", "offers", "subprotocols")

    def __init__(
        self, key: bytes, subprotocols: tuple[str, ...] = (), offers: tuple[Offer, ...] = ()
    ) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.offers = offers

    @property
    def accept(self) -> bytes:
        """The value of `Sec-WebSocket-Accept` (RFC 6455 4.2.2)."""
        return generate_accept_token(self.key)


def check_opening(request: Request) -> Opening:
    """Check a request that `is_handshake`: method, body, version, key, then the lists.

    Raises:
        HandshakeError: 405 another method than GET; 426 another version than 13, with the headers
            that name it; 400 a body, a missing or repeated version or key, a malformed list.
    """
    headers = request.headers
    if request.method != "GET":
        raise HandshakeError(405, "A handshake is a GET", {"Allow": "GET"})
    if request.has_body:
        raise HandshakeError(400, "A handshake has no body")
    versions = headers.values_of(b"sec-websocket-version")
    if versions != [b"13"]:
        raise _bad_version(versions)
    keys = headers.values_of(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise HandshakeError(400, "Sec-WebSocket-Key must be one, 16 bytes in base64")
    protocols = headers.values_of(b"sec-websocket-protocol")
    extensions = headers.values_of(b"sec-websocket-extensions")
    return Opening(
        keys[0],
        _parse_subprotocols(protocols) if protocols else (),
        parse_offers(extensions) if extensions else (),
    )


def _bad_version(values: list[bytes]) -> HandshakeError:
    if len(values) != 1 or not values[0] or b"," in values[0]:
        return HandshakeError(400, "Sec-WebSocket-Version must be one")
    return HandshakeError(426, "The WebSocket version is 13", _UPGRADE_HEADERS)


def _parse_subprotocols(values: list[bytes]) -> tuple[str, ...]:
    parts = [part.strip(b" \t") for value in values for part in value.split(b",")]
    tokens = [part for part in parts if part]
    # RFC 6455 4.1, item 10: tokens, at least one, no two alike.
    if not tokens or len(set(tokens)) != len(tokens) or not all(map(is_token, tokens)):
        raise HandshakeError(400, "Malformed Sec-WebSocket-Protocol")
    return tuple(token.decode("ascii") for token in tokens)


def choose_subprotocol(
    opening: Opening, named: str | None, server_list: Iterable[str]
) -> str | None:
    """The subprotocol for a connection (`relay.md` 2), always one that the client offered.

    Args:
        opening: the handshake.
        named: the handler's choice.
        server_list: `wsrelay.subprotocols`, in the server's order of preference.

    Returns:
        `named` if it is offered, else the first of `server_list` that is, else None.
    """
    if named is not None and named in opening.subprotocols:
        return named
    return next((name for name in server_list if name in opening.subprotocols), None)


def negotiate_deflate(opening: Opening) -> tuple[str, PerMessageDeflate] | None:
    """Accept the first permessage-deflate offer that can be met; see `answer_deflate`."""
    return answer_deflate(opening.offers)
