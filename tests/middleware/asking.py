"""Routers asked without a socket, in both ways that a server has, and apps asked over one."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp

from wsrelay import App, Request, Response, Router
from wsrelay.http import Dispatcher

Fields = Iterable[tuple[str, str]]


def ask(router: Router, method: str, target: str, *fields: tuple[str, str]) -> Response:
    """The response; where nothing on the way is a coroutine, it is held to be the same."""
    dispatcher = Dispatcher([router])

    def request() -> Request:
        return Request(method, target, [("Host", "server.example"), *fields])

    response = asyncio.run(dispatcher(request()))
    twin = dispatcher.dispatch_sync(request())
    if twin is not None:
        for one in (response, twin):
            assert isinstance(one, Response)
        assert twin.status_code == response.status_code
        assert (twin.headers.raw, twin.body) == (response.headers.raw, response.body)
    return response


@asynccontextmanager
async def session_with(app: App) -> AsyncIterator[aiohttp.ClientSession]:
    """Run an app, and a client of it that shows bodies as they came and adds no headers."""
    async with (
        app.running() as server,
        aiohttp.ClientSession(
            f"http://127.0.0.1:{server.port}",
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
        ) as session,
    ):
        yield session
