"""What proxies say of the client behind them: `X-Forwarded-*`, and `Forwarded` (RFC 7239).

Every proxy appends to the right what it sees, and the client may have written all that stands left
of that. So a list is read from the right, and the first hop that is no trusted proxy is the client.
"""

import re
from collections.abc import Sequence

from wsrelay.errors import HTTPError

from .addresses import TrustedPeers, parse_node
from .headers import Headers
from .request import Client, Request

__all__ = ["FORWARDED", "PROXY_HEADERS", "X_FORWARDED", "ProxyHeaders", "elements", "find_client"]

X_FORWARDED = "x-forwarded"
FORWARDED = "forwarded"
PROXY_HEADERS = (X_FORWARDED, FORWARDED)

HOPS = 32  # that are looked at; no request comes through so many proxies

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

# Every repetition is possessive: no input makes a match step back. A value without quotes may have
# colons and brackets, which RFC 7239 wants quoted, because proxies write such.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_PAIR = re.compile(
    rf"({_TOKEN})="
    r"(?:([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]++)"
    r'|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+)")'
)
_BLANKS = re.compile(r"[ \t]*+")
_QUOTED_PAIR = re.compile(r"\\(.)")


class ProxyHeaders:
    """Takes client and scheme of a request from the headers of trusted proxies.

    `X-Forwarded-Host` is not among them: `Host` is what a proxy is to pass on, and the origin of a
    page is compared with it.

    Args:
        trusted: the proxies.
        kind: `X_FORWARDED` (`X-Forwarded-For`, `X-Forwarded-Proto`) or `FORWARDED`. Only what the
            proxies write is read: the other kind would come from the client, untouched.
    """

    __slots__ = ("_read", "trusted")

    def __init__(self, trusted: TrustedPeers, kind: str = X_FORWARDED) -> None:
        self.trusted = trusted
        self._read = {X_FORWARDED: _read_x_forwarded, FORWARDED: _read_forwarded}[kind]

    def apply(self, request: Request) -> None:
        """Set `client` and `scheme` of a request that a trusted proxy sent, as far as it says.

        Raises:
            HTTPError: 400, `Forwarded` is malformed.
        """
        client, scheme = self._read(request.headers, self.trusted)
        if client is not None:
            request.client = client
        if scheme is not None:
            request.scheme = scheme


def elements(values: Sequence[bytes]) -> list[str]:
    """The last elements of a comma-separated field, from right to left, at most `HOPS`.

    Args:
        values: of all lines of the field, in their order. Empty elements are left out.
    """
    found: list[str] = []
    for value in reversed(values):
        parts = value.rsplit(b",", HOPS)
        if len(parts) > HOPS:
            del parts[0]  # all the rest of the list
        found += [part.strip(b" \t").decode("latin-1") for part in reversed(parts)]
        if len(found) >= HOPS:
            break
    return [element for element in found[:HOPS] if element]


def find_client(hops: Sequence[str], trusted: TrustedPeers | None) -> tuple[Client | None, int]:
    """The hop nearest to the server that is no trusted proxy.

    Args:
        hops: as they were written, the last one first.
        trusted: the proxies; None: every hop is one.

    Returns:
        Its address and its place among the hops. Behind a hop that is no address (`unknown`,
        `_hidden`, rubbish) nothing can be believed: then, and where all are trusted, it is the
        last one that was. None, if not even one was.
    """
    client: Client | None = None
    for at, text in enumerate(hops):
        node = parse_node(text)
        if node is None:
            return client, at
        address, port = node
        client = (str(address), port)
        if trusted is not None and address not in trusted:
            return client, at
    return client, len(hops) - 1


def _read_x_forwarded(headers: Headers, trusted: TrustedPeers) -> tuple[Client | None, str | None]:
    hops = elements(headers.values_of(b"x-forwarded-for"))
    schemes = elements(headers.values_of(b"x-forwarded-proto"))
    client, at = find_client(hops, trusted)
    if not schemes:
        return client, None
    # Proxies that append to both lists keep them even; else the nearest one overwrote this one.
    scheme = schemes[at] if len(schemes) == len(hops) else schemes[0]
    return client, _SCHEMES.get(scheme.lower())


def _read_forwarded(headers: Headers, trusted: TrustedPeers) -> tuple[Client | None, str | None]:
    values = headers.values_of(b"forwarded")
    if not values:
        return None, None
    hops = parse_forwarded(b",".join(values).decode("latin-1"))[: -HOPS - 1 : -1]
    client, at = find_client([hop.get("for", "") for hop in hops], trusted)
    return client, _SCHEMES.get(hops[at].get("proto", "").lower()) if hops else None


def parse_forwarded(text: str) -> list[dict[str, str]]:
    """Read a `Forwarded` field, in linear time (RFC 7239 4).

    Args:
        text: all lines of the field, joined by commas.

    Returns:
        The parameters of each hop, the client's first; names in lower case.

    Raises:
        HTTPError: 400, the field is malformed. To read part of it would be to believe a client
            that opened a quoted string around what a proxy appends.
    """
    hops: list[dict[str, str]] = []
    hop: dict[str, str] = {}
    at, end = _after_blanks(text, 0), len(text)
    while at < end:
        if text[at] not in ",;":
            match = _PAIR.match(text, at)
            if match is None or match[1].lower() in hop:
                raise _malformed()
            hop[match[1].lower()] = (
                match[2] if match[2] is not None else _QUOTED_PAIR.sub(r"\1", match[3])
            )
            at = _after_blanks(text, match.end())
            if at == end:
                break
            if text[at] not in ",;":
                raise _malformed()
        if text[at] == "," and hop:
            hops.append(hop)
            hop = {}
        at = _after_blanks(text, at + 1)
    return [*hops, hop] if hop else hops


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    assert match is not None  # it matches the empty text too
    return match.end()


def _malformed() -> HTTPError:
    return HTTPError(400, "Malformed Forwarded")
