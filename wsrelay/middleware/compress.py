"""The `compress` middleware: answers in gzip (RFC 9110 8.4.1.3, RFC 1952).

An answer that holds a secret (a CSRF token, say) beside text that comes from the request can leak
the secret by its compressed size, over TLS too (BREACH, CVE-2013-3587). Leave such answers out: put
the middleware on other routers, or set `Cache-Control: no-transform` on them.
"""

import asyncio
import copy
import re
import zlib
from collections.abc import Mapping, Sequence

from wsrelay._text import quoted
from wsrelay.config.durations import SIZE, format_size, parse_size
from wsrelay.config.schema import written
from wsrelay.http.chain import Handler
from wsrelay.http.headers import MutableHeaders, add_vary, list_tokens
from wsrelay.http.request import Request
from wsrelay.http.response import Response

from .options import Option, read_options, with_keywords

__all__ = ["OPTIONS", "PREFIXES", "Compress", "prefers_gzip"]

# More is compressed in a thread: 64 KiB keep a loop busy for about a millisecond.
INLINE_BYTES = 64 * 1024

_GZIP = 31  # zlib's window of 2**15 bytes, + 16 for gzip's header and trailer

# Without content, or with a part of one that has its own coding.
_LEFT_ALONE = frozenset((204, 205, 206, 304))
# Says something of the bytes as they are: that they are coded, a part, or what their digest is.
_BOUND_TO_BYTES = ("content-encoding", "content-range", "content-digest", "repr-digest")

_COMPRESSIBLE = frozenset(
    (
        "application/javascript",
        "application/json",
        "application/ndjson",
        "application/rtf",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/vnd.microsoft.icon",
        "image/x-icon",
    )
)

_CODING = re.compile(
    rb"([!#$%&'*+.^_`|~0-9a-z-]++)[ \t]*+(?:;[ \t]*+q=(0(?:\.[0-9]{0,3}+)?|1(?:\.0{0,3}+)?))?"
)


@written(
    lambda: {"enum": ["default", *range(1, 10), *map(str, range(1, 10))]},
    show=lambda level: "default",
)
def _level(text: str) -> int:
    if text == "default":
        return zlib.Z_DEFAULT_COMPRESSION
    if not re.fullmatch("[1-9]", text):
        raise ValueError(f"{quoted(text)} is no level; write default, or 1 (fast) to 9 (small)")
    return int(text)


@written(lambda: SIZE, show=format_size)
def _length(text: str) -> int:
    return parse_size(text)


PREFIXES = ("compress.",)
OPTIONS = (
    Option(
        "compress.level",
        _level,
        zlib.Z_DEFAULT_COMPRESSION,
        "From `1`, fast, to `9`, small; `default` is about 6.",
    ),
    Option(
        "compress.min.length", _length, 1024, "Shorter bodies stay as they are; a size in bytes."
    ),
)


class Compress:
    """The middleware.

    Bodies of text-like types go out in gzip to clients that want it no less than plain ones, with
    `Vary: Accept-Encoding`; a strong `ETag` becomes a weak one, for the bytes are others (RFC 9110
    8.8.1). Left as they are: what is coded already or a part (206), `Cache-Control: no-transform`,
    bodies that are not in memory, and what would not get smaller.

    It has no synchronous twin, since long bodies are compressed in a thread: handlers under it
    run in tasks, synchronous ones too.

    Args:
        options: texts by dotted name, see `OPTIONS`.
        level: 1 to 9, or `default`.
        min_length: bytes, or a size such as `4KiB`.

    Raises:
        OptionError: unknown or unreadable options.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        level: int | str | None = None,
        min_length: int | str | None = None,
    ) -> None:
        keywords = {"compress.level": level, "compress.min.length": min_length}
        values = read_options(OPTIONS, with_keywords(options, keywords), PREFIXES)
        self._level: int = values["compress.level"]
        self._min_length: int = values["compress.min.length"]

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Compress what the handler answers, if that is of use."""
        response = await call_next(request)
        if not self._covers(response):
            return response
        add_vary(response.headers, "Accept-Encoding")
        if not prefers_gzip(request.headers.values_of(b"accept-encoding")):
            return response
        body = response.body
        if len(body) > INLINE_BYTES:
            data = await asyncio.to_thread(zlib.compress, body, self._level, _GZIP)
        else:
            data = zlib.compress(body, self._level, _GZIP)
        return _encoded(response, data) if len(data) < len(body) else response

    def _covers(self, response: Response) -> bool:
        """Whether the response is one of those that depend on `Accept-Encoding`."""
        headers = response.headers
        return (
            response.status_code not in _LEFT_ALONE
            and isinstance(response.body, bytes)
            and len(response.body) >= max(1, self._min_length)  # an `Upgrade` has none
            and _is_compressible(headers.get("content-type", ""))
            and not any(name in headers for name in _BOUND_TO_BYTES)
            and b"no-transform" not in list_tokens(headers.values_of(b"cache-control"))
        )


def prefers_gzip(values: Sequence[bytes]) -> bool:
    """Whether a client takes gzip, and likes it no less than an uncoded body (RFC 9110 12.5.3).

    Args:
        values: all of its `Accept-Encoding`; a part that is malformed counts for nothing.
    """
    weights: dict[bytes, float] = {}
    for element in list_tokens(values):
        match = _CODING.fullmatch(element)
        if match is not None:
            weights.setdefault(match[1], float(match[2] or 1))
    others = weights.get(b"*", 0.0)
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", others))
    return gzip > 0 and gzip >= weights.get(b"identity", others)


def _is_compressible(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return (
        media_type.startswith("text/")
        or media_type.endswith(("+json", "+xml"))
        or media_type in _COMPRESSIBLE
    )


def _encoded(response: Response, data: bytes) -> Response:
    # A copy: a handler may return one and the same object to other clients too.
    encoded = copy.copy(response)
    encoded.body = data
    encoded.headers = headers = MutableHeaders(response.headers.raw)
    headers["Content-Encoding"] = "gzip"
    tag = headers.get("etag", "")
    if tag.startswith('"'):
        headers["ETag"] = f"W/{tag}"
    return encoded
