"""The PROXY protocol, versions 1 and 2: who is behind a proxy that forwards plain TCP.

The specification is HAProxy's `proxy-protocol.txt`; its sections are named below.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from .addresses import parse_ip
from .request import Client

__all__ = ["ProxyHeader", "ProxyHeaderError", "take_proxy_header"]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # 2.2
PREFIX = b"PROXY "  # 2.1
LONGEST_V1 = 107  # bytes with the line end (2.1)
LONGEST_V2 = 4096  # bytes; addresses take 216 at most, the rest is for TLVs

_FIXED = 16  # bytes of version 2 in front of the addresses
_LOCAL, _PROXY = 0x20, 0x21  # version 2 and command
_TCP4, _TCP6 = 0x11, 0x21
# Bytes of addresses by family and protocol; only what can come over a stream.
_ADDRESS_BYTES = {0x00: 0, _TCP4: 12, _TCP6: 36, 0x31: 216}
_TLV_SSL, _CLIENT_SSL = 0x20, 0x01  # 2.2.5

_PORT = rb"(0|[1-9][0-9]{0,4})"
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*+)?|(TCP4|TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) "
    + _PORT + rb" " + _PORT + rb")\r\n"
)  # fmt: skip


class ProxyHeaderError(ValueError):
    """The connection does not begin with a PROXY header as it should; the text tells why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy says of a connection.

    Attributes:
        is_local: the proxy speaks for itself, as in a check of health.
        client: address and port of its client; None where it does not know them, or they are no
            IP address.
        tls: whether the client spoke TLS to the proxy.
    """

    is_local: bool = False
    client: Client | None = None
    tls: bool = False


def take_proxy_header(buffer: bytearray) -> ProxyHeader | None:
    """Remove the PROXY header from the start of a connection's buffer.

    Returns:
        The header; None while it is incomplete, and nothing is removed then.

    Raises:
        ProxyHeaderError: there is none, or it is malformed, as soon as the bytes so far prove it.
    """
    if SIGNATURE.startswith(buffer[: len(SIGNATURE)]):
        size, read = _size_v2(buffer), _read_v2
    elif PREFIX.startswith(buffer[: len(PREFIX)]):
        size, read = _size_v1(buffer), _read_v1
    else:
        raise ProxyHeaderError("no PROXY header")
    if size is None or len(buffer) < size:
        return None
    header = read(bytes(buffer[:size]))
    del buffer[:size]
    return header


def _size_v1(buffer: bytearray) -> int | None:
    end = buffer.find(b"\r\n", 0, LONGEST_V1)
    if end < 0 and len(buffer) >= LONGEST_V1:
        raise ProxyHeaderError(f"version 1 without an end in {LONGEST_V1} bytes")
    return end + 2 if end >= 0 else None


def _read_v1(block: bytes) -> ProxyHeader:
    match = _V1.fullmatch(block)
    if match is None:
        raise ProxyHeaderError("malformed version 1")
    family, source, destination, *ports = match.groups()
    if family is None:
        return ProxyHeader()
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        kind(destination.decode())
        address = str(parse_ip(str(kind(source.decode()))))
    except AddressValueError:
        raise ProxyHeaderError(f"an address that is none of {family.decode()}") from None
    if max(map(int, ports)) > 65535:
        raise ProxyHeaderError("a port above 65535")
    return ProxyHeader(client=(address, int(ports[0])))


def _size_v2(buffer: bytearray) -> int | None:
    if len(buffer) > 12 and buffer[12] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("unknown version or command")
    if len(buffer) > 13 and buffer[12] == _PROXY and buffer[13] not in _ADDRESS_BYTES:
        raise ProxyHeaderError("unknown family or protocol")
    if len(buffer) < _FIXED:
        return None
    size = _FIXED + int.from_bytes(buffer[14:16], "big")
    if size > LONGEST_V2:
        raise ProxyHeaderError(f"version 2 longer than {LONGEST_V2} bytes")
    return size


def _read_v2(block: bytes) -> ProxyHeader:
    if block[12] == _LOCAL:
        return ProxyHeader(is_local=True)  # whatever follows is to be ignored (2.2)
    family, rest = block[13], block[_FIXED:]
    length = _ADDRESS_BYTES[family]
    if len(rest) < length:
        raise ProxyHeaderError("addresses cut short")
    addresses, extensions = rest[:length], dict(_tlvs(rest[length:]))
    tls = bool(extensions.get(_TLV_SSL, b"\0")[0] & _CLIENT_SSL)
    return ProxyHeader(client=_client_v2(family, addresses), tls=tls)


def _client_v2(family: int, addresses: bytes) -> Client | None:
    if family == _TCP4:
        host = socket.inet_ntop(socket.AF_INET, addresses[:4])
        return host, int.from_bytes(addresses[8:10], "big")
    if family == _TCP6:
        host = str(parse_ip(str(IPv6Address(addresses[:16]))))
        return host, int.from_bytes(addresses[32:34], "big")
    return None


def _tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The extensions behind the addresses (2.2.1): type, length in two bytes, value."""
    at = 0
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 > len(data) or end > len(data):
            raise ProxyHeaderError("an extension cut short")
        if data[at] == _TLV_SSL and end == at + 3:
            raise ProxyHeaderError("an empty TLS extension")
        yield data[at], data[at + 3 : end]
        at = end
