"""The `real_ip` middleware: the client behind the proxies, for what counts clients."""

import logging
from collections.abc import Mapping

from wsrelay.config import Proxy, parse_proxy
from wsrelay.config.schema import written
from wsrelay.http.addresses import TrustedPeers, parse_node
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.forwarded import elements, find_client
from wsrelay.http.request import Client, Request
from wsrelay.http.response import Response
from wsrelay.middleware.options import Option, OptionError, flag, names, read_options

__all__ = ["OPTIONS", "PREFIXES", "RealIP"]

logger = logging.getLogger("wsrelay.real_ip")


@written(lambda: {"type": "string"})
def _subnets(text: str) -> tuple[Proxy, ...]:
    return tuple(parse_proxy(name) for name in names(text))


PREFIXES = ("real_ip.",)
OPTIONS = (
    Option(
        "real_ip.trusted.subnets",
        _subnets,
        None,
        "Proxies whose headers count: subnets separated by commas, `unix` for every peer on a Unix "
        "socket; without it, `trusted_proxies` of the service.",
    ),
    Option("real_ip.trust_all", flag, False, "Whether the headers of every peer count."),
)


class RealIP:
    """Sets `request.client` of requests that trusted proxies send.

    `X-Real-IP` counts first, if there is just one and it is an address; else the right-most
    address in `X-Forwarded-For` (all lines of it, in their order) that is no trusted proxy's. A
    port that is not named is 0. Headers of other peers change nothing.

    A trusted proxy must set `X-Real-IP` or take it away: one that only knows `X-Forwarded-For`
    lets pass what the client wrote. `trusted_proxies` of the service, without this middleware,
    never reads it.

    Args:
        options: `real_ip.trusted.subnets`, a comma-separated list of addresses and subnets, and
            `unix` for all peers on a Unix socket; by default the service's `trusted_proxies`.
            `real_ip.trust_all`: every peer and every hop is a proxy, so that the left-most address
            counts. Only for servers that nobody but a proxy can reach, and whose proxy drops what
            the client sent: anybody else can choose his address.

    Raises:
        OptionError: unknown or unreadable options.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        values = read_options(OPTIONS, options or {}, PREFIXES)
        self._trust_all: bool = values["real_ip.trust_all"]
        subnets = values["real_ip.trusted.subnets"]
        if self._trust_all and subnets:
            key = "real_ip.trust_all"
            message = f"{key}: true leaves real_ip.trusted.subnets no meaning; take one of them out"
            raise OptionError([(key, message)])
        self._trusted = None if subnets is None else TrustedPeers(subnets)
        self._warned = False

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Name the client, then go on."""
        self.name_client(request)
        return await call_next(request)

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        self.name_client(request)
        return call_next(request)

    def name_client(self, request: Request) -> None:
        """Set `request.client`, if the peer may say who it is."""
        if self._trust_all:
            client = _client_in(request, None)
        else:
            trusted = self._trusted_at(request)
            client = _client_in(request, trusted) if request.peer in trusted else None
        if client is not None:
            request.client = client

    def _trusted_at(self, request: Request) -> TrustedPeers:
        trusted = self._trusted
        if trusted is None and request.server is not None:
            trusted = request.server.proxy_headers.trusted
        if not trusted and not self._warned:
            self._warned = True
            logger.warning(
                "real_ip trusts no proxy, so it changes nothing: set real_ip.trusted.subnets, or "
                "trusted_proxies of the http.service"
            )
        return trusted if trusted is not None else TrustedPeers()


def _client_in(request: Request, trusted: TrustedPeers | None) -> Client | None:
    real = request.headers.values_of(b"x-real-ip")
    # Two of them: who wrote which is not to be known.
    node = parse_node(real[0].decode("latin-1")) if len(real) == 1 else None
    if node is not None:
        return str(node[0]), node[1]
    return find_client(elements(request.headers.values_of(b"x-forwarded-for")), trusted)[0]
