"""`host[:port]`, as it stands in `Host`, in an absolute request target and in an `Origin`."""

import re
from ipaddress import AddressValueError, IPv6Address

__all__ = ["DEFAULT_PORTS", "Authority", "parse_authority"]

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

Authority = tuple[str, int | None]
"""Host in lower case (an IPv6 address compressed and in brackets) and port, where there is one."""

# Narrower than RFC 3986 3.2.2: no user info, no sub-delims, no percent-encoding, no zone and no
# IPvFuture. A name that needs those is on no network, and each has been part of a trick.
_AUTHORITY = re.compile(r"(?:([A-Za-z0-9._~-]++)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}+))?")


def parse_authority(text: str) -> Authority | None:
    """Read `host[:port]` (RFC 3986 3.2, without user info).

    Returns:
        Host and port, or None where the text is no such thing. An empty port is a missing one.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    name, address, digits = match.groups()
    host = name.lower() if name is not None else _ipv6(address)
    port = int(digits) if digits else None
    if host is None or (port is not None and port > 65535):
        return None
    return host, port


def _ipv6(text: str) -> str | None:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    # RFC 5952 section 5; `compressed` alone writes it so from Python 3.13 on only.
    mapped = address.ipv4_mapped
    return f"[{address.compressed}]" if mapped is None else f"[::ffff:{mapped}]"
