"""The `token_auth` middleware: who is asking, by a token that the request carries.

It says who it is and refuses nobody; that is for `require_actor`, or for the handler. In
`middleware` it runs for every request under the prefix, 404 included; in `post_middleware` only
where a route matches.
"""

import inspect
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

from wsrelay._text import quoted
from wsrelay.config import ImportPath, parse_import_path
from wsrelay.errors import HTTPError
from wsrelay.http.chain import Handler, SyncHandler, is_async
from wsrelay.http.headers import is_token
from wsrelay.http.request import Request
from wsrelay.http.response import PlainTextResponse, Response
from wsrelay.imports import load as import_object
from wsrelay.log import escape, indented
from wsrelay.middleware.functions import Load, load_function, not_awaitable
from wsrelay.middleware.options import Option, OptionError, read_options, with_keywords

__all__ = ["OPTIONS", "PREFIXES", "TokenAuth", "Verify"]

logger = logging.getLogger("wsrelay.token_auth")

Verify = Callable[[str], Any | Awaitable[Any]]
"""`verify(token)`, sync or async: the actor, or None for a token that is not valid."""


def _field_name(text: str) -> str:
    """The name of a header or cookie, which is a token (RFC 9110 5.1, RFC 6265 4.1.1), or none."""
    if text and not is_token(text.encode()):
        raise ValueError(f"{quoted(text)} is no name: letters, digits and -_.")
    return text


def _prefix(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{quoted(text)} is not printable ASCII")
    return text


PREFIXES = ("token_auth.",)
OPTIONS = (
    Option(
        "token_auth.verify",
        parse_import_path,
        None,
        "Required: `module:function`, from the app's folder first. `verify(token)`, sync or async, "
        "gives the actor, whatever that is in the app, or None for a token that is not valid. "
        "HTTPError is an answer, every other exception is logged without the token and answered "
        "with 500.",
    ),
    Option(
        "token_auth.header.name",
        _field_name,
        "Authorization",
        "Header with the token, looked at first; empty for none. A request that has several of it "
        "has no token.",
    ),
    Option(
        "token_auth.header.prefix",
        _prefix,
        "Bearer ",
        "What stands before the token in the header, in any case; a header without it has no "
        "token. The blanks behind a scheme such as `Bearer` go without saying. Empty: the token is "
        "the whole value.",
    ),
    Option(
        "token_auth.query.param",
        str,
        "",
        "Query parameter with the token, looked at where the header has none; by default none. A "
        "browser can't set headers for a WebSocket, but URLs are kept in histories and in the logs "
        "of proxies: take tokens that are soon of no use.",
    ),
    Option(
        "token_auth.cookie.name",
        _field_name,
        "",
        "Cookie with the token, looked at last; by default none. Browsers send cookies for other "
        "sites' pages too: mind CSRF.",
    ),
)


class TokenAuth:
    """The middleware: sets `request.actor` to what `verify` makes of the token.

    The first token found counts: in the header, then in the query, then in a cookie. Without one,
    or with one that is not valid (`verify` gives None or False), the request goes on, and its actor
    stays what it was.

    Args:
        options: texts by dotted name, see `OPTIONS`.
        verify: the function itself, or its import path.
        header_name, header_prefix, query_param, cookie_name: as the options of these names.
        load: finds what an import path names.

    Raises:
        OptionError: no `verify`, or one that can't be imported; unknown or unreadable options.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        verify: Verify | str | None = None,
        header_name: str | None = None,
        header_prefix: str | None = None,
        query_param: str | None = None,
        cookie_name: str | None = None,
        load: Load = import_object,
    ) -> None:
        keywords = {
            "token_auth.verify": verify if isinstance(verify, str) else None,
            "token_auth.header.name": header_name,
            "token_auth.header.prefix": header_prefix,
            "token_auth.query.param": query_param,
            "token_auth.cookie.name": cookie_name,
        }
        values = read_options(OPTIONS, with_keywords(options, keywords), PREFIXES)
        self._header: str = values["token_auth.header.name"]
        self._pattern = _pattern(values["token_auth.header.prefix"])
        self._param: str = values["token_auth.query.param"]
        self._cookie: str = values["token_auth.cookie.name"]
        given = values["token_auth.verify"]
        self._verify = verify if callable(verify) else _load_verify(given, load)
        self.call_sync = None if is_async(self._verify) else self._call_sync

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Find out who is asking, then go on."""
        token = self._token(request)
        if token is not None:
            try:
                actor = self._verify(token)
                if inspect.isawaitable(actor):
                    actor = await actor
            except HTTPError:
                raise
            except Exception as error:
                return _failure(request, token, error)
            _note(request, actor)
        return await call_next(request)

    def _call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        token = self._token(request)
        if token is not None:
            try:
                actor = not_awaitable(self._verify, self._verify(token))
            except HTTPError:
                raise
            except Exception as error:
                return _failure(request, token, error)
            _note(request, actor)
        return call_next(request)

    def _token(self, request: Request) -> str | None:
        """The token of a request, never empty; None for none."""
        token = None
        if self._header:
            fields = request.headers.getlist(self._header)
            # Of several, this server and one in front of it might look at different ones.
            found = self._pattern.fullmatch(fields[0]) if len(fields) == 1 else None
            token = found["token"] if found is not None else None
        if not token and self._param:
            texts = request.query_params.getlist(self._param)
            token = texts[0] if len(texts) == 1 else None
        if not token and self._cookie:
            token = request.cookies.get(self._cookie)
        return token or None


def _pattern(prefix: str) -> re.Pattern[str]:
    # RFC 9110 11.4: a scheme, in any case, then blanks. Options come without their outer blanks.
    prefix = prefix.strip()
    space = " +" if is_token(prefix.encode()) else " *"
    return re.compile(f"{re.escape(prefix)}{space}(?P<token>.+)", re.IGNORECASE | re.ASCII)


def _load_verify(path: ImportPath | None, load: Load) -> Verify:
    option = "token_auth.verify"
    if path is None:
        text = f'token_auth needs a function: set {option}, as in "app.auth:verify"'
        raise OptionError([(option, text)])
    return load_function(option, path, load)


def _note(request: Request, actor: Any) -> None:
    # False is what a function gives that only says whether a token is valid.
    if actor is not None and actor is not False:
        request.actor = actor


def _failure(request: Request, token: str, error: Exception) -> Response:
    """The answer where `verify` failed; the log gets no token, in whatever text it may stand."""
    told = "".join(traceback.format_exception(error))
    if _tells(told, token):
        frames = "".join(traceback.format_tb(error.__traceback__))
        told = f"{frames}{type(error).__qualname__}: (its text has the token, and is left out)"
    line = f"{escape(request.method)} {escape(request.raw_path)}"
    logger.error("%s: token_auth.verify failed\n%s", line, indented(told))
    response = PlainTextResponse("Internal Server Error", 500)
    response.exception = error
    return response


def _tells(text: str, token: str) -> bool:
    """Whether a token is in a text: as it is, as a literal, or in a URL that was asked."""
    forms = (token, repr(token)[1:-1], ascii(token)[1:-1])
    return any(form in each for each in (text, unquote(text), unquote_plus(text)) for form in forms)
