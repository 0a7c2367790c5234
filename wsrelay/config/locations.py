"""Addresses, the subnets of proxies, and import paths: what they are, and how a text is one.

They are known by themselves, without the rest of a configuration: an App in code has them too.
"""

import ipaddress
import os
import re
import sys
from dataclasses import dataclass
from typing import Literal

from wsrelay._text import quoted

__all__ = [
    "Address",
    "ImportPath",
    "Network",
    "Proxy",
    "parse_address",
    "parse_import_path",
    "parse_proxy",
]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Proxy = Network | Literal["unix"]
"""Where proxies are: a subnet, or `unix`, behind a Unix socket."""

_PORT = re.compile(r"[0-9]{1,5}")
_HOST = re.compile(r"[A-Za-z0-9_.-]+")
# Bytes of a socket's path, without the NUL at its end (`sun_path` of unix(7); BSD has 104).
_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
_EXAMPLES = '"127.0.0.1:8080", ":8080", "[::1]:8080" or "unix:/path"'


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: Name or IP address without brackets; None for all interfaces, or with `path`.
        port: 0 to 65535, 0 for any free one; None with `path`.
        path: Absolute path of a UNIX socket; None for TCP.
    """

    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ImportPath:
    """An object in a module: `package.module:attribute`; the attribute may have dots."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def parse_address(text: str) -> Address:
    """The address in `127.0.0.1:8080`, `:8080` (all interfaces), `[::1]:8080` or `unix:/path`.

    Raises:
        TypeError: no text.
        ValueError: none of these.
    """
    if not isinstance(text, str):
        kind = type(text).__name__
        raise TypeError(f"an address is a text such as {_EXAMPLES}, not {kind}")
    if text.startswith("unix:"):
        return Address(path=_socket_path(text.removeprefix("unix:")))
    host, colon, port = text.rpartition(":")
    if not colon or not port:
        raise ValueError(f"{quoted(text)} has no port; write an address as {_EXAMPLES}")
    return Address(host=_host(host, text), port=_port(port))


def parse_import_path(text: str) -> ImportPath:
    """The import path in `package.module:attribute`; only its syntax is looked at.

    Raises:
        ValueError: the syntax is another.
    """
    module, _, attribute = text.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise ValueError(
            f'{quoted(text)} is not an import path; write it as "package.module:attribute"'
        )
    return ImportPath(module, attribute)


def parse_proxy(text: str) -> Proxy:
    """Where proxies are: an IP address or subnet, or `unix` (also `unix:`, as nginx writes it).

    Raises:
        ValueError: none of these.
    """
    if text in ("unix", "unix:"):
        return "unix"
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        wide = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'{quoted(text)} is not an IP address or subnet, such as "10.0.0.0/8"'
        ) from None
    raise ValueError(f"{quoted(text)} has bits beyond its subnet; write {quoted(str(wide))}")


def _socket_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f'{quoted("unix:" + path)} must hold an absolute path, as "unix:/path"')
    length = len(os.fsencode(path))
    if length > _SOCKET_PATH_BYTES:
        raise ValueError(
            f"{quoted(path)} has {length} bytes; the path of a UNIX socket has at most "
            f"{_SOCKET_PATH_BYTES}"
        )
    return path


def _host(host: str, text: str) -> str | None:
    if host == "":
        return None
    if host.startswith("[") and host.endswith("]"):
        if not _is_ipv6(host[1:-1]):
            raise ValueError(f"{quoted(text)} has no IPv6 address in its brackets")
        return host[1:-1]
    if _is_ipv6(host):
        mended = f"[{host}]{text.removeprefix(host)}"
        raise ValueError(f"{quoted(text)} needs brackets; write {quoted(mended)}")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{quoted(text)} is not an address; write {_EXAMPLES}")
    return host


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _port(port: str) -> int:
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"{quoted(port)} is not a port; a port is 0 to 65535")
    return int(port)
