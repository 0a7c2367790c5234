"""Responses: what a handler returns, and what its other return values stand for."""

import re
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from wsrelay.errors import HTTPError

from .headers import HeaderPairs, MutableHeaders, is_token

__all__ = ["JSONResponse", "PlainTextResponse", "Response", "error_response", "to_response"]

_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_COOKIE_ATTRIBUTE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")


class Response:
    """A response with its body in memory.

    Args:
        content: `str` (sent as UTF-8), bytes-like, or None for an empty body.
        status_code: 200 to 599 (only an `Upgrade` has 101).
        headers: a mapping or pairs; see `MutableHeaders` for what is refused.
        media_type: sets `Content-Type`, unless `headers` has one; a `text/` type without a
            charset gets `; charset=utf-8`.

    Attributes:
        body: the bytes; may be replaced.
        status_code: may be changed until it is sent.
        headers: `MutableHeaders`. `Content-Length`, `Date` and `Connection` are set on sending.
        exception: the exception that this response stands for; None for an ordinary one.
    """

    media_type: str | None = None
    status_code = 200
    body = b""
    exception: BaseException | None = None

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: HeaderPairs | None = None,
        media_type: str | None = None,
    ) -> None:
        self.status_code = status_code
        self.headers = MutableHeaders(headers)
        self.body = self.render(content)
        media_type = media_type or self.media_type
        if media_type is not None and "content-type" not in self.headers:
            if media_type.startswith("text/") and "charset=" not in media_type:
                media_type += "; charset=utf-8"
            self.headers.append(b"Content-Type", media_type)

    def render(self, content: Any) -> bytes:
        """Turn the content into bytes.

        Raises:
            TypeError: it is neither `str` nor bytes-like nor None.
        """
        if content is None:
            return b""
        if isinstance(content, bytes):
            return content
        if isinstance(content, str):
            return content.encode("utf-8")
        if isinstance(content, bytearray | memoryview):
            return bytes(content)
        kind = type(content).__name__
        raise TypeError(f"the content of a {type(self).__name__} is str or bytes, not {kind}")

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
    ) -> None:
        """Add a `Set-Cookie` (RFC 6265 4.1).

        Args:
            key: the cookie's name, a token.
            value: visible ASCII without quote, comma, semicolon and backslash.
            max_age: seconds to keep it.
            expires: the same as a moment; a naive one is UTC.
            path, domain, secure, httponly, samesite: the attributes of these names.

        Raises:
            ValueError: a part has a character that is not allowed there.
        """
        if not is_token(key.encode("utf-8", "replace")):
            raise ValueError("a cookie's name is a token: letters, digits and -_.")
        if _COOKIE_VALUE.fullmatch(value) is None:
            raise ValueError(f"cookie {key}: percent-encode the value (urllib.parse.quote)")
        parts = [f"{key}={value}"]
        parts += _attribute("Max-Age", None if max_age is None else str(max_age))
        parts += _attribute("Expires", None if expires is None else _http_date(expires))
        parts += _attribute("Path", path)
        parts += _attribute("Domain", domain)
        parts += ["Secure"] if secure else []
        parts += ["HttpOnly"] if httponly else []
        parts += _attribute("SameSite", samesite)
        self.headers.append(b"Set-Cookie", "; ".join(parts))

    def delete_cookie(
        self, key: str, path: str | None = "/", domain: str | None = None, **attributes: Any
    ) -> None:
        """Tell the client to drop a cookie; path and domain as they were set."""
        epoch = datetime.fromtimestamp(0, UTC)
        self.set_cookie(key, max_age=0, expires=epoch, path=path, domain=domain, **attributes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status_code}>"


class PlainTextResponse(Response):
    """Text, `text/plain; charset=utf-8`."""

    media_type = "text/plain"


class JSONResponse(Response):
    """JSON of any value that orjson encodes; keys of mappings need not be `str`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content, None included.

        Raises:
            TypeError: a value has no JSON form (`orjson.JSONEncodeError`).
        """
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def to_response(value: Any) -> Response:
    """Turn what a handler returned into a response.

    Args:
        value: a `Response` (itself), dict or list (JSON), `str` (text), bytes
            (`application/octet-stream`) or None (204).

    Raises:
        TypeError: it is anything else.
    """
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(status_code=204)
    if isinstance(value, dict | list):
        return JSONResponse(value)
    if isinstance(value, str):
        return PlainTextResponse(value)
    if isinstance(value, bytes):
        return Response(value, media_type="application/octet-stream")
    if isinstance(value, Coroutine):
        value.close()  # else its warning follows, of a line that is not to blame
        raise TypeError("a handler returned a coroutine: put `await` in front of it")
    raise TypeError(
        f"a handler returns a Response, dict, list, str, bytes or None, not {type(value).__name__}"
    )


def error_response(error: HTTPError) -> Response:
    """The response that an `HTTPError` stands for: its status, headers and detail as text."""
    response = PlainTextResponse(error.detail, error.status_code, error.headers)
    response.exception = error
    return response


def _attribute(name: str, value: str | None) -> list[str]:
    if value is None:
        return []
    if _COOKIE_ATTRIBUTE.fullmatch(value) is None:
        raise ValueError(f"the {name} of a cookie is ASCII without `;` and control characters")
    return [f"{name}={value}"]


def _http_date(moment: datetime) -> str:
    from email.utils import format_datetime  # see `wsrelay.serving`

    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return format_datetime(moment.astimezone(UTC), usegmt=True)
