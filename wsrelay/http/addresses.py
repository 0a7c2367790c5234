"""IP addresses: reading those that peers and headers name, and which peers are believed."""

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

__all__ = ["UNIX", "IPAddress", "Node", "TrustedPeers", "parse_ip", "parse_node", "subscriber_of"]

IPAddress = IPv4Address | IPv6Address
Node = tuple[IPAddress, int]
"""An address and its port, 0 where none is named."""

UNIX = "unix"
"""Stands for the address of a peer on a Unix socket, which has none."""

SUBSCRIBER_BITS = 64  # of an IPv6 address; the smallest net that a site gets (RFC 6177)

# `1.2.3.4`, `1.2.3.4:80`, `[::1]`, `[::1]:80` and `::1`; a port may be obfuscated (RFC 7239 6.2).
_NODE = re.compile(
    r"(?:\[(?P<inner>[0-9A-Fa-f:.]{2,45})\]|(?P<v4>[0-9.]{7,15}))"
    r"(?::(?:(?P<port>[0-9]{1,5})|_[A-Za-z0-9._-]++))?"
    r"|(?P<v6>[0-9A-Fa-f:.]{2,45})"
)


def parse_ip(text: str) -> IPAddress | None:
    """Read an IP address; an IPv4 address that is mapped into IPv6 is an IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return _unmapped(address)


def parse_node(text: str) -> Node | None:
    """Read the address and port of a hop, as proxies write them into headers.

    Args:
        text: as in `X-Forwarded-For`, or as in the `for` of `Forwarded` (RFC 7239 6).

    Returns:
        The address, mapped ones as IPv4, and the port; None for what is no address: `unknown`, a
        hidden name such as `_proxy`, rubbish.
    """
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    inner, v4, port, v6 = match.group("inner", "v4", "port", "v6")
    address = parse_ip(inner or v4 or v6)
    if address is None or (inner and ":" not in inner) or int(port or 0) > 65535:
        return None
    return address, int(port or 0)


def subscriber_of(host: str) -> str:
    """What stands for one client where clients are counted.

    Args:
        host: an IP address; anything else counts as itself.

    Returns:
        An IPv4 address as it is; of an IPv6 address its /64, because whoever has one address of
        that net has all of them (`2001:db8::1` → `2001:db8::/64`).
    """
    if ":" not in host:
        return host
    address = parse_ip(host)
    if not isinstance(address, IPv6Address):
        return host if address is None else str(address)
    net = int(address) >> SUBSCRIBER_BITS << SUBSCRIBER_BITS
    return f"{IPv6Address(net)}/{SUBSCRIBER_BITS}"


class TrustedPeers:
    """The peers that are believed when they speak of others: proxies.

    Args:
        peers: networks, and `UNIX` for every peer on a Unix socket. IPv4 networks mapped into
            IPv6 are IPv4 networks.
    """

    __slots__ = ("_networks", "_unix")

    def __init__(self, peers: Iterable[IPv4Network | IPv6Network | str] = ()) -> None:
        given = list(peers)
        self._unix = UNIX in given
        self._networks = [_unmapped_network(ip_network(one)) for one in given if one != UNIX]

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __contains__(self, peer: object) -> bool:
        """Whether a peer is one of them: an IP address, its text, or `UNIX`; None never is."""
        if peer == UNIX:
            return self._unix
        address = parse_ip(peer) if isinstance(peer, str) else peer
        return address is not None and any(address in network for network in self._networks)


def _unmapped(address: IPAddress) -> IPAddress:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    mapped = _unmapped(network.network_address)
    if network.version == 6 and mapped.version == 4 and network.prefixlen >= 96:
        return IPv4Network((int(mapped), network.prefixlen - 96))
    return network
