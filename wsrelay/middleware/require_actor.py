"""The `require_actor` middleware: only for those who are known, and may.

Put it behind what sets `request.actor` (`token_auth`, or a middleware of one's own). A handshake is
refused like any other request, before the handler runs and before there is a WebSocket. Preflights
of CORS have no token: put `cors` in front.

The actor stays with the request. A target process sees of it what the handler puts into the
`metadata` of `relay_to`, nothing else.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wsrelay.config import parse_import_path
from wsrelay.errors import HTTPError
from wsrelay.http.chain import Handler, SyncHandler, is_async
from wsrelay.http.request import Request
from wsrelay.http.response import Response, error_response
from wsrelay.imports import load as import_object
from wsrelay.middleware.functions import Load, load_function, not_awaitable
from wsrelay.middleware.options import Option, read_options, with_keywords

__all__ = ["OPTIONS", "PREFIXES", "Check", "RequireActor"]

Check = Callable[[Any, Request], Any | Awaitable[Any]]
"""`check(actor, request)`, sync or async: whether the actor may do what the request asks for."""

PREFIXES = ("require_actor.",)
OPTIONS = (
    Option(
        "require_actor.check",
        parse_import_path,
        None,
        "`module:function`, from the app's folder first; by default every actor may. "
        "`check(actor, request)`, sync or async, says whether this one may; no, or nothing, is "
        "answered with 403. In `post_middleware` it sees `request.path_params`.",
    ),
)

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class RequireActor:
    """The middleware: 401 without an actor, 403 for one who may not.

    The 401 has the challenge `Bearer` (RFC 9110 11.6.1, RFC 6750 3). A `check` that raises is no
    yes: HTTPError is the answer, another exception is logged and answered with 500.

    Args:
        options: texts by dotted name, see `OPTIONS`.
        check: the function itself, or its import path.
        load: finds what an import path names.

    Raises:
        OptionError: a `check` that can't be imported; unknown or unreadable options.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        check: Check | str | None = None,
        load: Load = import_object,
    ) -> None:
        keywords = {"require_actor.check": check if isinstance(check, str) else None}
        values = read_options(OPTIONS, with_keywords(options, keywords), PREFIXES)
        self._check = check if callable(check) else None
        path = values["require_actor.check"]
        if self._check is None and path is not None:
            self._check = load_function("require_actor.check", path, load)
        slow = self._check is not None and is_async(self._check)
        self.call_sync = None if slow else self._call_sync

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Let the request pass, or refuse it."""
        if not _is_known(request):
            return _unknown()
        if self._check is not None:
            allowed = self._check(request.actor, request)
            if inspect.isawaitable(allowed):
                allowed = await allowed
            if not allowed:
                return error_response(HTTPError(403))
        return await call_next(request)

    def _call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        if not _is_known(request):
            return _unknown()
        if self._check is not None:
            allowed = not_awaitable(self._check, self._check(request.actor, request))
            if not allowed:
                return error_response(HTTPError(403))
        return call_next(request)


def _is_known(request: Request) -> bool:
    return request.actor is not None and request.actor is not False


def _unknown() -> Response:
    return error_response(HTTPError(401, headers=_CHALLENGE))
