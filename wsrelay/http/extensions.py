"""Extension offers of a handshake (RFC 6455 9.1) and permessage-deflate (RFC 7692)."""

import re
from functools import lru_cache
from typing import NamedTuple

from wsproto.extensions import PerMessageDeflate

from wsrelay.errors import HandshakeError

__all__ = ["Offer", "answer_deflate", "parse_offers"]

_TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# One part of an offer with the delimiter behind it. All repetitions are possessive. A quoted
# value must be a token once it is unquoted (RFC 6455 9.1), so no delimiter hides in it.
_PART = re.compile(
    rf'[ \t]*+({_TCHAR}++)[ \t]*+(?:(=)[ \t]*+(?:({_TCHAR}++)|"((?:\\?+{_TCHAR})++)")[ \t]*+)?+'
    r"(?:([;,])|\Z)"
)
_BLANK = re.compile(r"[ \t]*+(?:,|\Z)")
# RFC 7692 7.1.2 has 8 to 15; zlib has no raw deflate with 8.
_WINDOW = re.compile(r"9|1[0-5]")

_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")


class Offer(NamedTuple):
    """One offered extension: its name, and its parameters in their order."""

    name: str
    params: tuple[tuple[str, str | None], ...]


def parse_offers(values: list[bytes]) -> tuple[Offer, ...]:
    """Read `Sec-WebSocket-Extensions`, in linear time.

    Args:
        values: the values of all fields of that name.

    Raises:
        HandshakeError: 400, it does not follow the grammar; RFC 6455 9.1 wants the whole
            handshake to fail then.
    """
    if not values:
        return ()
    joined = b",".join(values)
    # Browsers send one of a few values; a long one is not worth the memory.
    parse = _parse_cached if len(joined) <= 128 else _parse
    return parse(joined)


def _parse(joined: bytes) -> tuple[Offer, ...]:
    try:
        text = joined.decode("ascii")
    except UnicodeDecodeError:
        raise _malformed() from None
    offers: list[Offer] = []
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank is not None:  # RFC 9110 5.6.1: empty elements of a list are ignored
            at = max(blank.end(), at + 1)
            continue
        offer, at = _parse_offer(text, at)
        offers.append(offer)
    if not offers:
        raise _malformed()
    return tuple(offers)


_parse_cached = lru_cache(maxsize=64)(_parse)


def _parse_offer(text: str, at: int) -> tuple[Offer, int]:
    parts: list[tuple[str, str | None]] = []
    delimiter: str | None = ";"
    while delimiter == ";":
        match = _PART.match(text, at)
        if match is None:
            raise _malformed()
        name, _, value, quoted, delimiter = match.groups()
        parts.append((name, quoted.replace("\\", "") if quoted is not None else value))
        at = match.end()
    name, value = parts[0]
    if value is not None:
        raise _malformed()
    return Offer(name, tuple(parts[1:])), at


def _malformed() -> HandshakeError:
    return HandshakeError(400, "Malformed Sec-WebSocket-Extensions")


def answer_deflate(offers: tuple[Offer, ...]) -> tuple[str, PerMessageDeflate] | None:
    """Accept the first permessage-deflate offer that can be met.

    An offer with an unknown, repeated or malformed parameter is declined (RFC 7692 7), and so is
    one with a window of 8 bits, which zlib can't produce; the next offer is tried then.

    Returns:
        The value for `Sec-WebSocket-Extensions`, and the extension, enabled; None: no such offer.
    """
    for offer in offers:
        if offer.name == "permessage-deflate" and _is_acceptable(offer):
            # A fresh one: wsproto's keeps what it read from an offer that it declined.
            extension = PerMessageDeflate()
            params = extension.accept(_canonical(offer))
            if isinstance(params, str):
                return "; ".join(filter(None, (offer.name, params))), extension
    return None


def _is_acceptable(offer: Offer) -> bool:
    names = [name for name, _ in offer.params]
    return len(set(names)) == len(names) and all(_param_ok(*param) for param in offer.params)


def _param_ok(name: str, value: str | None) -> bool:
    if name in _FLAGS:
        return value is None
    if name not in _WINDOWS:
        return False
    if value is None:
        return name == "client_max_window_bits"
    return _WINDOW.fullmatch(value) is not None


def _canonical(offer: Offer) -> str:
    params = (name if value is None else f"{name}={value}" for name, value in offer.params)
    return "; ".join((offer.name, *params))
