"""Where a benchmark goes: the URL, its addresses, the opening handshake (RFC 6455 3 and 4.1)."""

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import h11
from wsproto.utilities import generate_accept_token

from wsrelay.benchmark.errors import BenchmarkError
from wsrelay.log import escape

__all__ = ["Answer", "Target", "addresses_of", "parse_target", "tls_context"]

HEAD_MAX = 16 * 1024  # bytes of the answer to a handshake
OWN_HEADERS = frozenset(("host", "upgrade", "connection", "content-length", "transfer-encoding"))
PORTS = {"ws": 80, "wss": 443}
_PATH = re.compile(r"[\x21-\x7e]*")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A WebSocket URL, and the fields that go with its handshake.

    Attributes:
        url: as it was given.
        path: path and query.
        headers: further fields of the handshake.
    """

    url: str
    tls: bool
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def authority(self) -> str:
        """What the `Host` field says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = PORTS["wss" if self.tls else "ws"]
        return host if self.port == usual else f"{host}:{self.port}"


def parse_target(url: str, headers: Iterable[str] = ()) -> Target:
    """Read a URL and fields in the form `Name: value`.

    Raises:
        BenchmarkError: it is no WebSocket URL, or a field is none or is the command's own.
    """
    shown = escape(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BenchmarkError(f"{shown}: no URL ({error})") from None
    if parts.scheme not in PORTS:
        mend = {"http": "ws", "https": "wss"}.get(parts.scheme)
        hint = f"did you mean {mend}{shown[len(parts.scheme) :]}?" if mend else "such as ws://…"
        raise BenchmarkError(f"{shown}: a WebSocket URL begins with ws:// or wss://; {hint}")
    if "#" in url:
        raise BenchmarkError(f"{shown}: a WebSocket URL has no fragment (#)")
    if "@" in parts.netloc:
        raise BenchmarkError(f"{shown}: no user names in the URL; take --header 'Authorization: …'")
    host = parts.hostname
    if not host or _HOST.fullmatch(host) is None or port == 0:
        raise BenchmarkError(f"{shown}: names no host and port, such as ws://127.0.0.1:8080/path")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if _PATH.fullmatch(path) is None:
        raise BenchmarkError(f"{shown}: write spaces and characters beyond ASCII as %XX")
    fields = tuple(map(_parse_header, headers))
    return Target(url, parts.scheme == "wss", host, port or PORTS[parts.scheme], path, fields)


def _parse_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not name:
        raise BenchmarkError(f"--header {escape(text)}: must be 'Name: value'")
    if name.lower() in OWN_HEADERS or name.lower().startswith("sec-websocket-"):
        if name.lower() == "sec-websocket-protocol":
            return name, value
        raise BenchmarkError(f"--header {escape(name)}: the command sets this one itself")
    try:
        fields = [(b"Host", b"a"), (name.encode(), value.encode())]
        h11.Request(method="GET", target="/", headers=fields)
    except (h11.LocalProtocolError, UnicodeEncodeError):
        raise BenchmarkError(f"--header {escape(text)}: no header field") from None
    return name, value


async def addresses_of(target: Target, remote: bool) -> list[str]:
    """Look up the addresses of a target, in the order in which to try them.

    Raises:
        BenchmarkError: there is none, or, unless `remote`, one of them is not of this machine.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BenchmarkError(f"{escape(target.host)}: no such host ({why})") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    foreign = [text for text in addresses if not ip_address(text.partition("%")[0]).is_loopback]
    if foreign and not remote:
        which = "" if foreign[0] == target.host else f" ({foreign[0]})"
        raise BenchmarkError(
            f"{escape(target.host)}{which} is not the loopback of this machine: load only what is "
            "yours to load, and say so with --remote"
        )
    return addresses


def tls_context(ca: str | None) -> ssl.SSLContext:
    """Make the context of a client, which trusts `ca` (a PEM file) or else the system's list.

    Raises:
        BenchmarkError: the file can't be read, or has no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError is one
        why = "no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise BenchmarkError(f"--ca {escape(ca or '')}: {why}") from None


class Answer:
    """A handshake of one connection.

    Attributes:
        request: the bytes to send.
    """

    def __init__(self, target: Target) -> None:
        key = base64.b64encode(os.urandom(16))
        self._accept = generate_accept_token(key)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        request = h11.Request(
            method="GET",
            target=target.path,
            headers=[
                (b"Host", target.authority.encode()),
                (b"Upgrade", b"websocket"),
                (b"Connection", b"Upgrade"),
                (b"Sec-WebSocket-Key", key),
                (b"Sec-WebSocket-Version", b"13"),
                *((name.encode(), value.encode()) for name, value in target.headers),
            ],
        )
        sent = self._http.send(request)
        self._http.send(h11.EndOfMessage())
        assert sent is not None
        self.request: bytes = sent

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the answer; None while it is incomplete, else what came behind it.

        Raises:
            BenchmarkError: it is no answer, another one than 101, or one to another handshake.
        """
        self._http.receive_data(data)
        try:
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                event = self._http.next_event()  # RFC 9110 section 15.2: others may come before it
        except h11.RemoteProtocolError as error:
            raise BenchmarkError(f"does not answer in HTTP ({escape(str(error))})") from None
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.Response):
            raise BenchmarkError(_refusal(event))
        if not isinstance(event, h11.InformationalResponse):
            raise BenchmarkError("closed the connection instead of an answer to the handshake")
        self._check(event)
        return bytes(self._http.trailing_data[0])

    def _check(self, event: h11.InformationalResponse) -> None:
        """RFC 6455 section 4.1, what the client must check."""
        fields: dict[bytes, list[bytes]] = {}
        for name, value in event.headers:
            fields.setdefault(name, []).append(value)
        if fields.get(b"sec-websocket-accept") != [self._accept]:
            raise BenchmarkError("answers the handshake with a wrong Sec-WebSocket-Accept")
        if [value.lower() for value in fields.get(b"upgrade", ())] != [b"websocket"]:
            raise BenchmarkError("answers the handshake without `Upgrade: websocket`")
        if b"sec-websocket-extensions" in fields:
            raise BenchmarkError("answers the handshake with extensions that were not offered")


def _refusal(response: h11.Response) -> str:
    status = response.status_code
    reason = escape(bytes(response.reason))
    mend = {
        401: "it wants credentials: --header 'Authorization: …'",
        403: "it may want an origin: --header 'Origin: https://…'",
        404: "is the path of the URL right?",
        426: "does it speak WebSocket (version 13) at this path?",
        429: "it limits its clients; take fewer --connections",
        503: "it is full or stopping; take fewer --connections",
    }.get(status, "is there a WebSocket at this path?")
    return f"refuses the handshake with {status} {reason}".rstrip() + f"; {mend}"
