"""asyncio works inside a process as in any task, in steps of the task and in fast steps alike."""

import asyncio
import contextvars
import io
import traceback

import pytest
from process_helpers import never_ends, sends, settle, spawn_parked, waits

from wsrelay import WrongThread, process

color = contextvars.ContextVar("color", default="none")


@pytest.fixture
def inside(inside_everywhere):
    return inside_everywhere


# -- waits with an end -----------------------------------------------------------------------------


def test_timeout_ends_a_receive_and_loses_no_mail(inside, step):
    async def body():
        await step()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await process.inbox().receive()
        assert asyncio.current_task().cancelling() == 0
        process.spawn(sends, None, process.pid(), "later")
        assert (await process.inbox().receive()).topic == "later"

    inside(body)


def test_timeout_that_is_past_ends_the_next_wait(inside, step):
    async def body():
        await step()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await process.inbox().receive()
        await asyncio.sleep(0)

    inside(body)


def test_mail_in_time_is_received_under_a_timeout(inside, step):
    async def body():
        await step()
        async with asyncio.timeout(10) as timeout:
            process.spawn(sends, None, process.pid(), "in time")
            assert (await process.inbox().receive()).topic == "in time"
        assert not timeout.expired()

    inside(body)


def test_wait_for_a_receive(inside, step):
    async def body():
        await step()
        process.spawn(sends, None, process.pid(), "first")
        message = await asyncio.wait_for(process.inbox().receive(), 10)
        assert message.topic == "first"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.inbox().receive(), 0.01)
        process.send(process.pid(), "second")
        assert (await process.inbox().receive()).topic == "second"

    inside(body)


# -- children --------------------------------------------------------------------------------------


def test_children_of_a_task_group_receive(inside, step):
    async def child(seen):
        assert asyncio.current_task() is not process.self_task()
        message = await process.inbox().receive()
        seen.append((message.topic, message.sender, process.pid()))

    async def body():
        await step()
        seen = []
        me = process.pid()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(child(seen))
            await asyncio.sleep(0)
            for number in range(3):
                process.send(me, f"n{number}")
        assert seen == [(f"n{number}", me, me) for number in range(3)]

    inside(body)


def test_a_failing_child_ends_a_receive_of_the_process(inside, step):
    async def child():
        raise KeyError("child")

    async def body():
        await step()
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await process.inbox().receive()
        assert isinstance(caught.value.exceptions[0], KeyError)
        process.spawn(sends, None, process.pid(), "alive")
        assert (await process.inbox().receive()).topic == "alive"

    inside(body)


def test_gather_shield_event_queue(inside, step):
    async def child(event, queue):
        await event.wait()
        await queue.put("item")
        return "done"

    async def body():
        await step()
        event, queue = asyncio.Event(), asyncio.Queue(1)
        both = asyncio.gather(child(event, queue), process.inbox().receive(), queue.get())
        await asyncio.sleep(0)
        event.set()
        process.send(process.pid(), "mail")
        done, message, item = await both
        assert (done, message.topic, item) == ("done", "mail", "item")
        assert await asyncio.shield(child(event, queue)) == "done"

    inside(body)


def test_what_is_shielded_goes_on(inside, step):
    async def inner(gate, done):
        await gate.wait()
        done.append("inner")

    async def shields(gate, done):
        await step()
        await asyncio.shield(asyncio.create_task(inner(gate, done)))

    async def body():
        gate, done = asyncio.Event(), []
        pid = await spawn_parked(shields, gate, done)
        assert process.cancel(pid)
        assert (await process.wait(pid)).reason == "cancelled"
        gate.set()
        await settle()
        assert done == ["inner"]

    inside(body)


def test_sleep_zero_lets_others_run(inside, step):
    async def marks(seen):
        seen.append("other")

    async def body():
        await step()
        seen = []
        process.spawn(marks, None, seen)
        seen.append("first")
        for _ in range(3):
            await asyncio.sleep(0)
        assert seen == ["first", "other"]

    inside(body)


def test_the_error_of_a_future_is_raised_at_its_await(inside, step):
    async def body():
        await step()
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, OSError("broken"))
        with pytest.raises(OSError, match="broken"):
            await future

    inside(body)


# -- threads ---------------------------------------------------------------------------------------


def test_to_thread(inside, step):
    def calls(me):
        for call in (
            process.pid,
            process.inbox,
            process.self_task,
            process.get_options,
            lambda: process.send(me, "no"),
            lambda: process.spawn(waits),
            lambda: process.monitor(me),
            lambda: process.cancel(me),
            lambda: process.info(me),
            lambda: process.lookup("name"),
            lambda: process.send_after(0, me, "no"),
            lambda: process.broadcast([me], "no"),
        ):
            with pytest.raises(WrongThread):
                call()
        process.send_threadsafe(me, "from thread", 1, 2)
        return color.get()

    async def body():
        await step()
        color.set("red")
        assert await asyncio.to_thread(calls, process.pid()) == "red"
        message = await process.inbox().receive()
        assert (message.topic, message.payload, message.sender) == ("from thread", (1, 2), None)
        assert len(process.inbox()) == 0

    inside(body)


# -- who and where ---------------------------------------------------------------------------------


def test_the_current_task_is_the_process(inside, step):
    async def body():
        for _ in range(2):
            assert asyncio.current_task() is process.self_task()
            assert asyncio.current_task().get_name() == process.pid()
            await step()

    inside(body)


def test_context_is_the_spawners_at_spawn_and_then_its_own(inside, step):
    async def child(seen):
        seen.append(color.get())
        color.set("green")
        await step()
        seen.append(color.get())

    async def body():
        seen = []
        color.set("red")
        pid = process.spawn(child, None, seen)
        color.set("blue")
        await step()
        await process.wait(pid)
        assert seen == ["red", "green"]
        assert color.get() == "blue"

    inside(body)


# -- cancels ---------------------------------------------------------------------------------------


def test_a_self_cancel_comes_at_the_next_await(inside, step):
    async def body(wait):
        await step()
        process.self_task().cancel("enough")
        passed = "not at once"  # else this is not reached
        with pytest.raises(asyncio.CancelledError) as caught:
            await wait()
        assert caught.value.args == ("enough",)
        process.self_task().uncancel()
        await step()  # it came once
        return passed

    assert inside(body, lambda: process.inbox().receive()) == "not at once"
    assert inside(body, lambda: asyncio.sleep(0)) == "not at once"
    assert inside(body, never_ends) == "not at once"


def test_a_process_that_ends_after_a_self_cancel_is_cancelled(inside, step):
    async def child():
        await step()
        process.self_task().cancel()
        return "value"

    async def body():
        event = await process.wait(process.spawn(child))
        assert (event.reason, event.result.value) == ("cancelled", None)

    inside(body)


def test_the_message_of_a_cancel_travels_to_a_parked_process(inside, step):
    async def child(seen):
        await step()
        try:
            await process.inbox().receive()
        except asyncio.CancelledError as error:
            seen.append(error.args)
            raise

    async def body():
        seen = []
        pid = await spawn_parked(child, seen)
        assert process.cancel(pid, "shutdown")
        assert (await process.wait(pid)).reason == "cancelled"
        assert seen == [("shutdown",)]

    inside(body)


def test_a_cancel_meets_mail(inside):
    """Both in one step of another: the cancel is not lost, nor is the message."""

    async def child(seen):
        try:
            await process.inbox().receive()
        except asyncio.CancelledError:
            seen.append(process.inbox().receive_nowait().topic)
            raise

    async def body():
        seen = []
        pid = await spawn_parked(child, seen)
        process.send(pid, "mail")
        process.cancel(pid)
        assert (await process.wait(pid)).reason == "cancelled"
        assert seen == ["mail"]

    inside(body)


def test_a_cancel_that_is_caught_does_not_end_the_process(inside, step):
    async def child():
        await step()
        with pytest.raises(asyncio.CancelledError):
            await process.inbox().receive()
        process.self_task().uncancel()
        return (await process.inbox().receive()).topic

    async def body():
        pid, ref = process.spawn_monitored(child)
        await settle()
        process.cancel(pid)
        await settle()
        process.send(pid, "go on")
        event = await process.events().receive()
        assert (event.reason, event.result.value, event.ref) == ("normal", "go on", ref)

    inside(body)


def test_cleanup_awaits_while_a_cancel_unwinds(inside, step):
    async def child(seen):
        try:
            await step()
            await process.inbox().receive()
        finally:
            await asyncio.sleep(0)
            process.send(seen, "cleaned up")

    async def body():
        pid, _ = process.spawn_monitored(child, None, process.pid())
        await settle()
        process.cancel(pid)
        assert (await process.inbox().receive()).topic == "cleaned up"
        assert (await process.events().receive()).reason == "cancelled"

    inside(body)


# -- what is shown ---------------------------------------------------------------------------------


async def shown_function():
    await process.inbox().receive()
    raise_deep()


def raise_deep():
    raise LookupError("deep")


def _task_of(pid):
    return next(task for task in asyncio.all_tasks() if task.get_name() == pid)


@pytest.mark.parametrize("woken", [0, 2])
def test_stacks_show_the_users_function(inside, woken):
    async def shown(count):
        for _ in range(count + 1):
            await process.inbox().receive()

    async def body():
        pid = await spawn_parked(shown, woken)
        for _ in range(woken):
            process.send(pid, "again")
        await settle()
        task = _task_of(pid)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["shown"]
        out = io.StringIO()
        task.print_stack(file=out)
        assert "in shown" in out.getvalue()
        assert "await process.inbox().receive()" in out.getvalue()
        assert "shown" in repr(task) and "running at" in repr(task)
        assert f"name={str(pid)!r}" in repr(task)
        assert task.get_coro().__qualname__.endswith("shown")

    inside(body)


def test_the_traceback_of_a_failure_shows_the_users_functions(inside):
    async def body():
        pid = await spawn_parked(shown_function)
        process.send(pid, "go")
        error = (await process.wait(pid)).result.error
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[-2:] == ["shown_function", "raise_deep"]

    inside(body)


def test_no_task_is_left_when_the_process_has_ended(inside, step):
    async def child():
        await step()

    async def body():
        pid = process.spawn(child)
        await process.wait(pid)
        await settle()
        assert pid not in {task.get_name() for task in asyncio.all_tasks()}

    inside(body)
