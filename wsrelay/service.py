"""An `http.service` as it is declared; `wsrelay.server` has it run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsrelay._text import listed, quoted
from wsrelay.config import Address, parse_proxy
from wsrelay.http.forwarded import PROXY_HEADERS, X_FORWARDED
from wsrelay.http.limits import Limits, Timeouts
from wsrelay.http.router import Router

if TYPE_CHECKING:
    from wsrelay.config import TLS, Proxy
    from wsrelay.http.static import StaticFiles

__all__ = ["Service"]


@dataclass
class Service:
    """An `http.service`: where it listens, what it serves, and its limits.

    Attributes:
        id: registry id, such as `app:gateway`; connections' PIDs begin with it.
        addr: where it listens.
        limits, timeouts: see `wsrelay.http.limits`.
        shutdown: seconds in which a stop must be done.
        tls: None: plain HTTP.
        declared: whether the address was chosen by somebody.
        trusted_proxies: addresses and subnets of the proxies in front, as texts or networks, and
            `unix` for every peer on a Unix socket. `request.client` and `request.scheme` are then
            what they say; headers of other peers are not believed.
        proxy_headers: which headers they write: `x-forwarded` (`X-Forwarded-For` and `-Proto`)
            or `forwarded` (RFC 7239). A proxy passes the other kind on as the client wrote it,
            so only this one is read. `X-Forwarded-Host` never is.
        proxy_protocol: whether those proxies begin each connection with a PROXY header, version 1
            or 2. One that does not is cut off; other peers speak plain HTTP.

    Raises:
        ValueError: a proxy is no subnet, headers of that kind are unknown, or `proxy_protocol` is
            on and nobody is trusted to speak it, or together with `tls`.
    """

    id: str
    addr: Address = field(default=Address("127.0.0.1", 8080))
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    shutdown: float = 10.0
    tls: TLS | None = None
    declared: bool = False
    routers: list[Router] = field(default_factory=list)
    files: list[StaticFiles] = field(default_factory=list)
    trusted_proxies: Sequence[str | Proxy] = ()
    proxy_headers: str = X_FORWARDED
    proxy_protocol: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.trusted_proxies, str):
            raise ValueError(f"trusted_proxies is a list, such as [{self.trusted_proxies!r}]")
        self.trusted_proxies = [parse_proxy(str(one)) for one in self.trusted_proxies]
        if self.proxy_headers not in PROXY_HEADERS:
            raise ValueError(
                f"proxy_headers is {listed(PROXY_HEADERS, 'or')}, not {quoted(self.proxy_headers)}"
            )
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol needs trusted_proxies that speak it")
        if self.proxy_protocol and self.tls is not None:
            # asyncio begins TLS before a protocol sees a byte.
            raise ValueError("proxy_protocol and tls exclude each other; let the proxy do TLS")
