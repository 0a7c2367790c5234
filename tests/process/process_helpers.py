"""For the tests of the process API: small processes, and steps of both kinds."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from wsrelay import PID, App, process

TURNS = 8  # of the loop; more than anything here needs to come to rest


async def in_app(body: Callable[..., Any], *args: Any, app: App | None = None) -> Any:
    """Run a process function in an App; its value or its error."""
    async with App() if app is None else app:
        return await process.exec(body, None, *args)


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
    """Wait for what does not come."""
    await asyncio.Event().wait()


async def settle(turns: int = TURNS) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def waits() -> str:
    """Wait for one message; its topic."""
    topic: str = (await process.inbox().receive()).topic
    return topic


async def never_ends() -> None:
    """Wait for what does not come."""
    await asyncio.get_running_loop().create_future()


async def sends(dest: PID, topic: str, *payloads: Any) -> bool:
    """Send one message, and end."""
    return process.send(dest, topic, *payloads)


async def fails(error: BaseException) -> None:
    """Wait for one message, then raise."""
    await process.inbox().receive()
    raise error


async def leaves(reason: str) -> None:
    """Wait for one message, then exit with a reason."""
    await process.inbox().receive()
    process_exit(reason)


def process_exit(reason: str) -> None:
    """`wsrelay.exit`, some calls deep."""
    process.exit(reason)


async def answers() -> None:
    """Answer each call with its payload, as `(topic, payload)`."""
    async for message in process.inbox():
        message.reply((message.topic, message.payload))


async def spawn_parked(
    function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any
) -> PID:
    """Spawn, and let it come to its first wait."""
    pid = process.spawn(function, None, *args, **options)
    await settle()
    return pid


def drain(inbox: Any) -> list[Any]:
    """All that waits in an inbox."""
    return [inbox.receive_nowait() for _ in range(len(inbox))]


def topics(inbox: Any) -> list[str]:
    """The topics of all that waits."""
    return [message.topic for message in drain(inbox)]


# -- two kinds of steps ----------------------------------------------------------------------------


async def task_step() -> None:
    """Go on in a step of the task."""
    await asyncio.sleep(0)


async def fast_step() -> None:
    """Go on in a step that the scheduler makes: mail has come while the process was parked."""
    process.spawn(sends, None, process.pid(), "step")
    assert (await process.inbox().receive()).topic == "step"


STEPS = {"task-step": task_step, "fast-step": fast_step}
