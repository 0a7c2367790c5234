"""Routers asked without a socket, in both ways that a server has."""

import asyncio

from wsrelay import Request, Response, Router
from wsrelay.http import Dispatcher


def answer(router: Router, method: str, target: str, *fields: tuple[str, str]) -> Response:
    """The response; where nothing on the way is a coroutine, that of the synchronous way too."""
    dispatcher = Dispatcher([router])
    response = asyncio.run(dispatcher(Request(method, target, fields)))
    twin = dispatcher.dispatch_sync(Request(method, target, fields))
    if twin is not None:
        assert (twin.status_code, twin.body) == (response.status_code, response.body)
        assert twin.headers.raw == response.headers.raw
    return response


def is_sync(router: Router) -> bool:
    """Whether a GET of `/` needs no task."""
    return Dispatcher([router]).dispatch_sync(Request("GET", "/")) is not None
