"""For the tests of the process API: coroutines inside a running App."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from wsrelay import App, process


async def inside(body: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run `body` as a process of an App of its own; its value, or its error."""
    async with App():
        return await process.exec(body, None, *args)


async def beside(body: Callable[[App], Awaitable[Any]]) -> Any:
    """Run `body(app)` outside of all processes, in a running App."""
    async with App() as app:
        value = await body(app)
    assert app.registry.find_host(None, None).count == 0
    return value


async def forever() -> None:
    await asyncio.Event().wait()


async def settle(turns: int = 6) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
