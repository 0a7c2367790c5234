"""Handlers and middleware, composed once into one call that never raises.

Each composed call exists twice: as a coroutine function, and, where the endpoint is an ordinary
function and every middleware has a synchronous twin, as an ordinary one, which spares the task.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from wsrelay.errors import HTTPError
from wsrelay.log import escape

from .logs import logger
from .request import Request
from .response import PlainTextResponse, Response, error_response, to_response

__all__ = [
    "ORDERS",
    "Chain",
    "Handler",
    "Middleware",
    "SyncHandler",
    "failure_response",
    "is_async",
]

Handler = Callable[[Request], Awaitable[Response]]
SyncHandler = Callable[[Request], Response]
Middleware = Callable[[Request, Handler], Awaitable[Response]]
"""`async def m(request, call_next) -> Response`.

A middleware that awaits nothing but `call_next` may have an attribute `call_sync`, its synchronous
twin: `(request, call_next) -> Response`, where `call_next` is synchronous too.
"""

ORDERS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions that are no failure of a handler: they go on up."""


class Chain:
    """One composed call.

    Attributes:
        run: the coroutine function; it raises nothing but cancellation.
        run_sync: the ordinary function, or None.
    """

    __slots__ = ("run", "run_sync")

    def __init__(self, run: Handler, run_sync: SyncHandler | None) -> None:
        self.run = run
        self.run_sync = run_sync

    @classmethod
    def of_endpoint(cls, endpoint: Callable[..., Any]) -> "Chain":
        """Wrap a function of the request, whatever it returns; see `to_response`."""
        if is_async(endpoint):
            return cls(_endpoint(endpoint), None)
        return cls(_endpoint(endpoint), _endpoint_sync(endpoint))

    def wrapped(self, middleware: Sequence[Middleware]) -> "Chain":
        """Put middleware around it, the first one outermost.

        Each is guarded by itself: what one raises is a response for those outside of it.
        """
        if not middleware:
            return self
        run, run_sync = self.run, self.run_sync
        for layer in reversed(middleware):
            run = _around(layer, run)
            twin = getattr(layer, "call_sync", None)
            run_sync = _around_sync(twin, run_sync) if twin and run_sync else None
        return Chain(run, run_sync)


def failure_response(request: Request, error: BaseException) -> Response:
    """The response that an exception of a handler or middleware stands for.

    An `HTTPError` knows its own; any other exception is logged with method and path (the query
    may carry a token), and the client learns no more than `500 Internal Server Error`.
    """
    if isinstance(error, HTTPError):
        return error_response(error)
    with suppress(Exception):  # a log that fails must not leave the client without an answer
        method, path = escape(request.method), escape(request.raw_path)
        logger.error("%s %s failed", method, path, exc_info=error)
    response = PlainTextResponse("Internal Server Error", 500)
    response.exception = error
    return response


def is_async(endpoint: Callable[..., Any]) -> bool:
    """Whether a call gives an awaitable: an `async def`, or an object whose `__call__` is one."""
    function = inspect.unwrap(endpoint)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - asks for its kind, not whether it is there
    )


# Each of these is called for each request: a guard and what it guards are one function.


def _endpoint(endpoint: Callable[..., Any]) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            value = endpoint(request)
            if inspect.isawaitable(value):
                value = await value
            return to_response(value)
        except (asyncio.CancelledError, *ORDERS):
            raise
        except BaseException as error:  # `wsrelay.exit()` in a handler is one that is no Exception
            return failure_response(request, error)

    return guarded


def _endpoint_sync(endpoint: Callable[..., Any]) -> SyncHandler:
    def guarded(request: Request) -> Response:
        try:
            value = endpoint(request)
            if isinstance(value, Response):
                return value
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError(f"{endpoint!r} returned a coroutine: declare it `async def`")
            return to_response(value)
        except ORDERS:
            raise
        except BaseException as error:
            return failure_response(request, error)

    return guarded


def _around(layer: Middleware, call_next: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            response = await layer(request, call_next)
            return response if isinstance(response, Response) else _refuse(response)
        except (asyncio.CancelledError, *ORDERS):
            raise
        except BaseException as error:
            return failure_response(request, error)

    return guarded


def _around_sync(
    twin: Callable[[Request, SyncHandler], Response], call_next: SyncHandler
) -> SyncHandler:
    def guarded(request: Request) -> Response:
        try:
            response = twin(request, call_next)
            return response if isinstance(response, Response) else _refuse(response)
        except ORDERS:
            raise
        except BaseException as error:
            return failure_response(request, error)

    return guarded


def _refuse(value: Any) -> NoReturn:
    """What a middleware returned is no response."""
    if isinstance(value, Coroutine):
        value.close()
        raise TypeError("a middleware returned a coroutine: put `await` in front of it")
    raise TypeError(f"a middleware returns a Response, not {type(value).__name__}")
