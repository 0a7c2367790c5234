"""All of asyncio works in a process; what comes by mail and what comes by asyncio may be mixed."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import aiohttp
import aiohttp.web
import anyio
import pytest
from process_helpers import beside, forever, inside, settle

from wsrelay import App, process

Body = Callable[[], Any]


def mail(*numbers: int) -> None:
    """Have the caller find this mail, and later."""
    for number in numbers:
        process.send(process.pid(), "n", number)


def soon(*numbers: int) -> None:
    """Mail that comes while the caller waits."""
    for number in numbers:
        process.send_after("1ms", process.pid(), "n", number)


async def number() -> int:
    return (await process.inbox().receive()).payload


# -- time limits -------------------------------------------------------------------------------------


async def timeout_expires() -> str:
    for _ in range(3):
        try:
            async with asyncio.timeout(0.001):
                await number()
        except TimeoutError:
            pass
        else:
            return "no timeout"
    assert asyncio.current_task().cancelling() == 0
    soon(1)
    return str(await number())


async def timeout_in_time() -> str:
    soon(1, 2)
    async with asyncio.timeout(5):
        first = await number()
        async with asyncio.timeout(None) as inner:
            inner.reschedule(asyncio.get_running_loop().time() + 5)
            second = await number()
    return f"{first}{second}"


async def timeout_after_fast_steps() -> str:
    soon(1, 2)
    try:
        async with asyncio.timeout(0.03):
            while True:
                await number()
    except TimeoutError:
        return "expired"


async def wait_for() -> str:
    soon(1)
    got = await asyncio.wait_for(process.inbox().receive(), 5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.inbox().receive(), 0.001)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(number(), 0.001)
    mail(2)
    return f"{got.payload}{await asyncio.wait_for(number(), 5)}"


# -- other tasks -------------------------------------------------------------------------------------


async def task_group() -> str:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(number()) for _ in range(3)]
        await asyncio.sleep(0)
        soon(1, 2, 3)
    return "".join(str(task.result()) for task in tasks)


async def task_group_that_fails() -> str:
    async def fail() -> None:
        await number()
        raise ValueError("boom")

    soon(1)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(forever())
            await asyncio.sleep(0)  # the child is the first to wait
            await number()
    assert asyncio.current_task().cancelling() == 0
    mail(2)
    return f"{caught.value.exceptions[0]}{await number()}"


async def gather() -> str:
    soon(1, 2)
    first, second, third = await asyncio.gather(number(), process.receive(), asyncio.sleep(0, "x"))
    return f"{first}{second.payload}{third}"


async def task_of_a_receive() -> str:
    task = asyncio.create_task(process.inbox().receive())
    await asyncio.sleep(0)
    mail(1)
    return str((await task).payload)


async def shield() -> str:
    task = asyncio.ensure_future(number())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.shield(task)
    mail(1)
    return str(await task)


async def wait_first() -> str:
    tasks = [asyncio.ensure_future(number()), asyncio.ensure_future(forever())]
    soon(1)
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return "".join(str(task.result()) for task in done)


async def own_task_and_children() -> str:
    """The process and its children wait for the same inbox: first come, first served."""
    child = asyncio.create_task(number())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(mail_to, process.pid(), 1, 2)
    own = await number()
    return f"{await child}{own}"


def mail_to(pid: str, *numbers: int) -> None:
    for each in numbers:
        process.send(pid, "n", each)


# -- things to wait for ------------------------------------------------------------------------------


async def to_thread() -> str:
    me = process.pid()
    soon(1)
    first = await number()
    await asyncio.to_thread(process.send_threadsafe, me, "n", 2)
    return f"{first}{await number()}{await asyncio.to_thread(str, 3)}"


async def event_and_queue() -> str:
    event, queue = asyncio.Event(), asyncio.Queue[int]()
    asyncio.get_running_loop().call_later(0.001, event.set)
    asyncio.get_running_loop().call_later(0.001, queue.put_nowait, 2)
    soon(1)
    first = await number()
    await event.wait()
    return f"{first}{await queue.get()}"


async def future_done_already() -> str:
    soon(1)
    first = await number()
    future = asyncio.get_running_loop().create_future()
    future.set_result(2)
    return f"{first}{await future}"


async def future_that_fails() -> str:
    soon(1)
    first = await number()
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ValueError("boom"))
    try:
        await future
    except ValueError as error:
        mail(2)
        return f"{first}{error}{await number()}"


async def sleep_zero() -> str:
    got = []
    soon(1, 2, 3)
    for _ in range(3):
        got.append(await number())
        await asyncio.sleep(0)
    return "".join(map(str, got))


async def async_generators() -> str:
    async def numbers() -> Any:
        try:
            while True:
                yield await number()
        finally:
            soon(9)
            closed.append(await number())

    closed: list[int] = []
    soon(1, 2)
    got = []
    generator = numbers()
    async for each in generator:
        got.append(each)
        if each == 2:
            break
    await generator.aclose()
    return "".join(map(str, got + closed))


async def an_exception_that_is_caught() -> str:
    soon(1, 2)
    try:
        await number()
        raise ValueError("boom")
    except ValueError:
        second = await number()
    return f"{second}"


# -- anyio -------------------------------------------------------------------------------------------


async def anyio_move_on_after() -> str:
    with anyio.move_on_after(0.001) as scope:
        await number()
    assert scope.cancelled_caught
    soon(1)
    with anyio.move_on_after(5) as scope:
        got = await number()
    assert not scope.cancelled_caught
    with pytest.raises(TimeoutError), anyio.fail_after(0.001):
        await number()
    mail(2)
    return f"{got}{await number()}"


async def anyio_cancel_scope() -> str:
    """A scope that is cancelled inside a fast step is left at the next wait."""
    soon(1)
    with anyio.CancelScope() as scope:
        await number()
        scope.cancel()
        await number()
        return "not cancelled"
    assert scope.cancelled_caught
    with anyio.CancelScope(shield=True):
        soon(2)
        return str(await number())


async def anyio_task_group() -> str:
    got = []

    async def child() -> None:
        got.append(await number())

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        group.start_soon(child)
        group.start_soon(forever)
        soon(1, 2)
        while len(got) < 2:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    soon(3)
    return "".join(map(str, [*got, await number()]))


async def anyio_to_thread() -> str:
    soon(1)
    return f"{await number()}{await anyio.to_thread.run_sync(str, 2)}"


BODIES: dict[Body, str] = {
    timeout_expires: "1",
    timeout_in_time: "12",
    timeout_after_fast_steps: "expired",
    wait_for: "12",
    task_group: "123",
    task_group_that_fails: "boom2",
    gather: "12x",
    task_of_a_receive: "1",
    shield: "1",
    wait_first: "1",
    own_task_and_children: "12",
    to_thread: "123",
    event_and_queue: "12",
    future_done_already: "12",
    future_that_fails: "1boom2",
    sleep_zero: "123",
    async_generators: "129",
    an_exception_that_is_caught: "2",
    anyio_move_on_after: "12",
    anyio_cancel_scope: "2",
    anyio_task_group: "123",
    anyio_to_thread: "12",
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_asyncio(run_everywhere, body: Body) -> None:
    assert run_everywhere(inside(body)) == BODIES[body]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_asyncio_after_fast_steps(run_everywhere, body: Body) -> None:
    """The same when the process was parked and stepped by the scheduler before."""

    async def after() -> Any:
        for turn in range(3):
            soon(turn)
            assert await number() == turn
        return await body()

    assert run_everywhere(inside(after)) == BODIES[body]


# -- a client of the network -------------------------------------------------------------------------


def test_an_aiohttp_client(run_everywhere) -> None:
    async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text=request.path)

    async def body(url: str) -> list[str]:
        texts = []
        async with aiohttp.ClientSession() as session:
            for each in range(3):
                soon(each)
                path = f"/{await number()}"
                async with session.get(url + path, timeout=aiohttp.ClientTimeout(5)) as response:
                    texts.append(await response.text())
        return texts

    async def main() -> list[str]:
        site = aiohttp.web.Application()
        site.router.add_get("/{each}", answer)
        runner = aiohttp.web.AppRunner(site)
        await runner.setup()
        try:
            await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            return await inside(body, f"http://{host}:{port}")
        finally:
            await runner.cleanup()

    assert run_everywhere(main()) == ["/0", "/1", "/2"]


# -- context variables -------------------------------------------------------------------------------

colour = contextvars.ContextVar("colour", default="none")


def test_context_variables(run_everywhere) -> None:
    """The spawner's at spawn time, and the process's own after; in fast steps too."""

    async def child() -> list[str]:
        seen = [colour.get()]
        colour.set("child's")
        for _ in range(2):
            await number()
            seen.append(colour.get())
        await asyncio.sleep(0)
        return [*seen, colour.get(), await asyncio.create_task(grandchild())]

    async def grandchild() -> str:
        assert process.pid()
        return colour.get()

    async def body(app: App) -> None:
        colour.set("spawner's")
        pid = process.spawn(child)
        colour.set("changed")
        await settle()
        waits = asyncio.ensure_future(process.wait(pid))
        for _ in range(2):
            process.send(pid, "n")
            await settle()
        assert (await waits).result.value == ["spawner's", *["child's"] * 4]
        assert colour.get() == "changed"

    run_everywhere(beside(body))


def test_who_runs_is_known_everywhere(run_everywhere) -> None:
    """In steps, fast steps, callbacks, child tasks and threads; and nobody after them."""

    async def body(app: App) -> None:
        seen: dict[str, Any] = {}

        async def child() -> str:
            me = process.pid()
            await number()
            seen["fast step"] = process.pid() == me
            seen["task"] = asyncio.current_task() is process.self_task()
            asyncio.get_running_loop().call_soon(
                lambda: seen.update(callback=process.pid() == me))
            await asyncio.sleep(0)
            seen["step"] = process.pid() == me
            seen["thread"] = await asyncio.to_thread(contextvars.copy_context) is not None

        pid = process.spawn(child)
        waits = asyncio.ensure_future(process.wait(pid))
        await settle()
        process.send(pid, "n")
        assert (await waits).reason == "normal"
        assert seen == dict.fromkeys(["fast step", "task", "callback", "step", "thread"], True)
        await settle()
        with pytest.raises(Exception, match="process around it"):
            process.pid()

    run_everywhere(beside(body))


# -- what debugging shows ----------------------------------------------------------------------------


def test_a_crash_is_logged_once_with_the_users_lines(run_everywhere, caplog) -> None:
    async def deep() -> None:
        await number()
        raise ValueError("boom")

    async def crash() -> None:
        await deep()

    async def body(app: App) -> None:
        pid = process.spawn(crash)
        waits = asyncio.ensure_future(process.wait(pid))
        await settle()
        process.send(pid, "n")
        await waits
        (record,) = caplog.records
        entry = f"{crash.__module__}:{crash.__qualname__}"
        assert record.getMessage() == f"process {pid} ({entry}) failed: ValueError: boom"
        assert "in deep" in caplog.text
        assert "in crash" in caplog.text
        assert 'raise ValueError("boom")' in caplog.text

    run_everywhere(beside(body))


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_crash_whose_text_fails(run, caplog) -> None:
    async def crash() -> None:
        raise BadText

    async def body(app: App) -> None:
        await process.wait(process.spawn(crash))
        assert "BadText: (its text can't be shown)" in caplog.records[0].getMessage()

    run(beside(body))


def test_all_tasks_show_the_users_function(run_everywhere) -> None:
    async def body(app: App) -> None:
        pid = process.spawn(number)
        await settle()
        (task,) = [one for one in asyncio.all_tasks() if one.get_name() == pid]
        assert "number()" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["number"]

    run_everywhere(beside(body))
