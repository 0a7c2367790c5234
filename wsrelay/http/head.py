"""The head of a request: plain ones are read by the core, all others by h11, behind a check.

A plain head (`read_plain_head`: HTTP/1.1, one Host, no body, nothing odd) is read in one compiled
pass, which is most of what a handshake costs otherwise. The others pass one linear check of their
bytes before h11 reads them: h11 takes several things that RFC 9112 calls malformed (a
Transfer-Encoding beside a Content-Length, folded lines, bare LF, HTTP/2.0, an empty Host, any size
of a head that is complete in one read). Each of them has served to make two servers read one
request differently, so none gets as far as h11. Whatever passes here, on either way, h11 accepts
with the same reading; property tests hold it.
"""

import re
from functools import lru_cache

import h11

from wsrelay.errors import HTTPError
from wsrelay_core import read_plain_head

from .authority import parse_authority
from .headers import MEMORABLE, Headers, has_token, index_fields, list_tokens
from .limits import Limits

__all__ = ["Head", "HeadReader", "read_head", "take_whole"]

_TCHAR = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# Every repetition is possessive: no input makes the match step back.
_REQUEST_LINE = _TCHAR + rb"++ [\x21-\x7e]++ HTTP/[0-9]\.[0-9]\r\n"
_FIELD_LINE = _TCHAR + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n"
_HEAD = re.compile(_REQUEST_LINE + rb"(?:" + _FIELD_LINE + rb")*+\r\n")
_LINE = re.compile(_REQUEST_LINE)
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)(?=.)", re.DOTALL)
_FIRST = frozenset(byte for byte in range(256) if re.match(_TCHAR, bytes([byte])))
_CR, _LF, _SLASH, _HASH = b"\r\n/#"
_LENGTH = re.compile(rb"[0-9]{1,19}")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*+)(.*+)", re.IGNORECASE)


class Head:
    """A checked head.

    Args:
        method, target, http_version: of the request line, as sent.
        pairs: the fields, names in lower case.
        index: their values by name.

    Attributes:
        method: as it was sent; methods are case-sensitive (RFC 9110 9.1).
        target: path and query, or `*`; an absolute target is reduced to these.
        http_version: `1.0` or `1.1`.
        headers: the fields; after an absolute target, `Host` is the target's (RFC 9112 3.2.2).
        content_length: bytes of the body, None where it is chunked.
        keep_alive: whether the client allows a further request on this connection.
        expects_continue: whether it waits for `100 Continue` before the body.
    """

    __slots__ = (
        "content_length",
        "expects_continue",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "target",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        http_version: str,
        pairs: list[tuple[bytes, bytes]],
        index: dict[bytes, list[bytes]],
    ) -> None:
        self.headers = Headers.indexed(pairs, index)
        self.method = method
        self.http_version = http_version
        _check_host(index)
        plain = target[0] == _SLASH and _HASH not in target and method != "CONNECT"
        self.target = target if plain else _check_target(self, target)
        framed = b"content-length" in index or b"transfer-encoding" in index
        self.content_length = _body_length(http_version, index) if framed else 0
        self.keep_alive = http_version == "1.1" and not has_token(
            index.get(b"connection", ()), b"close"
        )
        self.expects_continue = b"expect" in index and _expectation(http_version, index)

    @property
    def has_body(self) -> bool:
        """Whether a body follows; a chunked one counts, even if it turns out to be empty."""
        return self.content_length != 0


def read_head(block: bytes, limits: Limits) -> Head:
    """Check and parse a complete head, in linear time.

    Args:
        block: the bytes from the method up to and with the empty line.
        limits: see `Limits`.

    Raises:
        HTTPError: 400; 414, 431 over a limit; 417 an unknown expectation; 501 a transfer coding
            other than chunked; 505 a version other than 1.0 and 1.1 (RFC 9112 2 to 6).
    """
    plain = read_plain_head(block, limits.request_line, limits.header_bytes, limits.headers)
    if plain is not None:
        method, target, pairs, index = plain
        return Head(method, target, "1.1", pairs, index)
    return _read_other(block, limits)


def _read_other(block: bytes, limits: Limits) -> Head:
    """Let h11 parse what is not plain, and refuse what is not sound."""
    _check_bytes(block, limits)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(block)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise HTTPError(501 if error.error_status_hint == 501 else 400) from None
    if not isinstance(event, h11.Request):
        raise HTTPError(400)
    pairs = [(name.lower(), value) for name, value in event.headers.raw_items()]
    method, version = event.method.decode("ascii"), _check_version(event.http_version)
    return Head(method, event.target, version, pairs, index_fields(pairs))


def _check_bytes(block: bytes, limits: Limits) -> None:
    line = block.find(b"\r\n")
    if line > limits.request_line:
        raise HTTPError(414)
    if len(block) - line - 4 > limits.header_bytes or block.count(b"\n") - 2 > limits.headers:
        raise HTTPError(431)
    if _HEAD.fullmatch(block) is None:
        where = "header field" if _LINE.match(block) else "request line"
        raise HTTPError(400, f"Malformed {where}")


def take_whole(buffer: bytearray, limits: Limits) -> Head | None:
    """Remove a head from the start of the buffer, as a new `HeadReader` does, which is spared where
    all of it came in one piece; None where it did not.

    Raises:
        HTTPError: as `read_head`.
    """
    if not buffer or buffer[0] not in _FIRST:
        return None
    end = buffer.find(b"\r\n\r\n")
    return None if end < 0 else read_head(_cut(buffer, end + 4), limits)


def _cut(buffer: bytearray, size: int) -> bytes:
    """Remove bytes from the start of a buffer."""
    if size == len(buffer):
        block = bytes(buffer)
        buffer.clear()
    else:
        block = bytes(buffer[:size])
        del buffer[:size]
    return block


class HeadReader:
    """Takes heads out of a connection's buffer, however their bytes arrive."""

    __slots__ = ("_blank_skipped", "_limits", "_line", "_scanned")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._scanned = 0
        self._line = -1
        self._blank_skipped = False

    def take(self, buffer: bytearray) -> Head | None:
        """Remove the next head from the start of the buffer; None while it is incomplete.

        Raises:
            HTTPError: as `read_head`, as soon as the bytes so far prove it.
        """
        if not self._scanned and not self._start(buffer):
            return None
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            self._check_partial(buffer)
            self._scanned = len(buffer)
            return None
        self._scanned = 0
        self._line = -1
        self._blank_skipped = False
        return read_head(_cut(buffer, end + 4), self._limits)

    def _start(self, buffer: bytearray) -> bool:
        # RFC 9112 2.2: one empty line before a request is ignored.
        if buffer and buffer[0] == _CR and not self._blank_skipped:
            if len(buffer) == 1:
                return False
            if buffer[1] == _LF:
                del buffer[:2]
                self._blank_skipped = True
        if buffer and buffer[0] not in _FIRST:
            # A TLS hello, say: no more of it needs to be waited for.
            raise HTTPError(400, "Malformed request line")
        return bool(buffer)

    def _check_partial(self, buffer: bytearray) -> None:
        start = max(0, self._scanned - 1)
        if _BARE.search(buffer, start):
            raise HTTPError(400, "Malformed line end")
        if self._line < 0:
            self._line = buffer.find(b"\r\n", start)
        line_length = self._line if self._line >= 0 else len(buffer) - 1
        if line_length > self._limits.request_line:
            raise HTTPError(414)
        if self._line >= 0 and len(buffer) - self._line - 4 > self._limits.header_bytes:
            raise HTTPError(431)


def _check_version(version: bytes) -> str:
    if version == b"1.1":
        return "1.1"
    if version == b"1.0":
        return "1.0"
    raise HTTPError(505, "HTTP/1.1 is spoken here")


def _check_host(index: dict[bytes, list[bytes]]) -> None:
    # RFC 9112 3.2; that there is one, and no second one, whoever parsed it sees to.
    hosts = index.get(b"host")
    if hosts is not None:
        known = _is_authority if len(hosts[0]) <= MEMORABLE else _is_authority.__wrapped__
        if not known(hosts[0]):
            raise HTTPError(400, "Malformed Host")


@lru_cache(maxsize=64)
def _is_authority(host: bytes) -> bool:
    return parse_authority(host.decode("latin-1")) is not None


def _check_target(head: Head, target: bytes) -> bytes:
    """Reduce the four forms of RFC 9112 3.2 to path and query, or `*`."""
    if b"#" in target:
        raise HTTPError(400, "A request target has no fragment")
    if head.method != "CONNECT":
        if target.startswith(b"/") or (target == b"*" and head.method == "OPTIONS"):
            return target
        match = _ABSOLUTE.fullmatch(target)
        if match is not None:
            head.headers = _with_host(head.headers, match[1])
            return match[2] if match[2].startswith(b"/") else b"/" + match[2]
    raise HTTPError(400, "Malformed request target")


def _with_host(headers: Headers, host: bytes) -> Headers:
    if parse_authority(host.decode("ascii")) is None:
        raise HTTPError(400, "Malformed request target")
    others = [(name, value) for name, value in headers.raw if name != b"host"]
    return Headers([(b"host", host), *others])


def _body_length(http_version: str, index: dict[bytes, list[bytes]]) -> int | None:
    """RFC 9112 6: bytes of the body, None for a chunked one; nothing ambiguous passes."""
    codings = index.get(b"transfer-encoding")
    lengths = index.get(b"content-length")
    if codings is not None:
        if lengths is not None:
            raise HTTPError(400, "Content-Length and Transfer-Encoding exclude each other")
        if http_version == "1.0":
            raise HTTPError(400, "HTTP/1.0 has no Transfer-Encoding")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise HTTPError(501, "The only transfer coding is chunked")
        return None
    if lengths is None:
        return 0
    # Repeated ones of the same value are one by now, others h11 refused (RFC 9110 8.6).
    if len(lengths) != 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise HTTPError(400, "Malformed Content-Length")
    return int(lengths[0])


def _expectation(http_version: str, index: dict[bytes, list[bytes]]) -> bool:
    # RFC 9110 10.1.1: of HTTP/1.0 it is ignored, an unknown one is refused.
    values = index.get(b"expect")
    if values is None or http_version == "1.0":
        return False
    if list_tokens(values) != [b"100-continue"]:
        raise HTTPError(417)
    return True
