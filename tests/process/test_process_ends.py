"""`cancel`, `terminate`, `wait`: how a process is ended, and who hears of it."""

import asyncio

import pytest
from process_helpers import fails, never_ends, settle, spawn_parked, waits

from wsrelay import App, NotAProcess, process


async def takes_events(seen):
    """End with the reason of the first event."""
    event = await process.events().receive()
    seen.append(event)
    return event.reason


async def ignores_events():
    """Open the events and take none."""
    process.events()
    await never_ends()


# -- cancel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [waits, never_ends])
def test_cancel_without_events_is_a_cancelled_error(inside, function):
    async def body():
        pid = await spawn_parked(function)
        process.monitor(pid)
        assert process.cancel(pid, "why") is True
        assert process.send(pid, "still there")  # it is polite: the end comes with the next step
        event = await process.events().receive()
        assert (event.kind, event.reason, event.result.value) == ("EXIT", "cancelled", None)
        assert process.cancel(pid) is False

    inside(body)


def test_cancel_with_events_is_an_event(inside):
    async def body():
        seen = []
        pid = await spawn_parked(takes_events, seen)
        process.monitor(pid)
        assert process.cancel(pid, "maintenance", deadline="30s") is True
        event = await process.events().receive()
        assert (event.reason, event.result.value) == ("normal", "maintenance")
        (cancel,) = seen
        assert (cancel.kind, cancel.sender, cancel.ref) == ("CANCEL", process.pid(), None)
        assert cancel.deadline == 30

    inside(body)


def test_a_cancel_from_outside_without_reason(run):
    async def scenario():
        async with App():
            seen = []
            pid = await spawn_parked(takes_events, seen)
            assert process.cancel(pid)
            assert (await process.wait(pid)).result.value == "cancelled"
            assert (seen[0].sender, seen[0].deadline) == (None, None)

    run(scenario())


def test_cancel_before_the_first_step(inside):
    async def child(seen):
        seen.append("ran")

    async def body():
        seen = []
        pid = process.spawn(child, None, seen)
        process.monitor(pid)
        process.cancel(pid)
        assert (await process.events().receive()).reason == "cancelled"
        assert seen == []

    inside(body)


def test_a_process_that_cancels_itself(inside):
    async def child():
        process.cancel(process.pid(), "myself")
        await waits()

    async def body():
        assert (await process.wait(process.spawn(child))).reason == "cancelled"

    inside(body)


@pytest.mark.parametrize("deadline", [0, 0.001, "1ms"])
def test_at_the_deadline_it_is_terminated(inside, deadline):
    async def body():
        pid = await spawn_parked(ignores_events)
        process.monitor(pid)
        process.cancel(pid, deadline=deadline)
        assert process.info(pid).state == "running"
        assert (await process.events().receive()).reason == "killed"

    inside(body)


def test_who_ends_before_the_deadline_is_not_terminated(inside):
    async def body():
        seen = []
        pid = await spawn_parked(takes_events, seen)
        process.monitor(pid)
        process.cancel(pid, deadline=0.001)
        assert (await process.events().receive()).reason == "normal"

    inside(body)


@pytest.mark.parametrize(("deadline", "error"), [(-1, ValueError), ("5", ValueError)])
def test_a_bad_deadline_cancels_nothing(inside, deadline, error):
    async def body():
        pid = await spawn_parked(waits)
        with pytest.raises(error):
            process.cancel(pid, deadline=deadline)
        await settle()
        assert process.send(pid, "alive")

    inside(body)


def test_nobody_to_cancel_or_to_terminate(inside):
    async def body():
        pid = process.spawn(waits)
        assert process.terminate(pid) is True
        for dest in (pid, "nobody"):
            assert process.cancel(dest) is False
            assert process.terminate(dest) is False

    inside(body)


# -- terminate -------------------------------------------------------------------------------------


def test_terminate_is_at_once(inside):
    async def body():
        pid = await spawn_parked(waits, name="child")
        process.monitor(pid)
        process.send(pid, "unread")
        process.terminate("child")
        event = process.events().receive_nowait()
        assert (event.sender, event.reason) == (pid, "killed")
        assert (event.result.value, event.result.error) == (None, None)
        assert process.send(pid, "topic") is False
        assert process.lookup("child") is None

    inside(body)


def test_the_task_of_the_terminated_is_cancelled_at_each_await(inside, crashes):
    async def stubborn(seen):
        inbox = process.inbox()
        while len(seen) < 20:  # from the 17th on it is held up
            try:
                await (inbox.receive() if len(seen) % 2 else asyncio.sleep(60))
            except asyncio.CancelledError:
                seen.append("cancelled")

    async def body():
        seen = []
        pid = await spawn_parked(stubborn, seen)
        task = next(one for one in asyncio.all_tasks() if one.get_name() == pid)
        process.terminate(pid)
        await asyncio.wait([task])
        assert seen == ["cancelled"] * 20

    inside(body)
    assert crashes() == []


def test_calls_of_the_terminated_raise(inside):
    async def child(me, seen):
        try:
            await waits()
        finally:
            for call in (
                process.pid,
                process.inbox,
                process.self_task,
                lambda: process.send(me, "ghost"),
                lambda: process.spawn(waits),
                lambda: process.broadcast([me], "ghost"),
                lambda: process.lookup("name"),
                lambda: process.send_after(0, me, "ghost"),
                lambda: process.register("ghost"),
                lambda: process.cancel(me),
                lambda: process.monitor(me),
                lambda: process.exit(),
            ):
                with pytest.raises(NotAProcess):
                    call()
            with pytest.raises(NotAProcess):
                await process.call(me, "ghost")
            seen.set_result(None)

    async def body():
        seen = asyncio.get_running_loop().create_future()
        pid = await spawn_parked(child, process.pid(), seen)
        process.terminate(pid)
        await seen
        await settle()
        assert len(process.inbox()) == 0

    inside(body)


def test_terminate_of_oneself(inside):
    async def child(seen):
        process.terminate(process.pid())
        seen.append("until the next await")
        await asyncio.sleep(0)
        seen.append("never")

    async def body():
        seen = []
        pid, _ = process.spawn_monitored(child, None, seen)
        assert (await process.events().receive()).reason == "killed"
        await settle()
        assert seen == ["until the next await"]
        assert not process.send(pid, "topic")

    inside(body)


def test_a_failure_after_the_end_is_logged_as_late(inside, crashes):
    async def child():
        try:
            await waits()
        finally:
            raise OSError("cleanup")

    async def body():
        pid = await spawn_parked(child)
        process.monitor(pid)
        process.terminate(pid)
        await settle()
        assert process.events().receive_nowait().reason == "killed"
        assert len(process.events()) == 0
        return pid

    pid = inside(body)
    (line,) = crashes()
    assert "after its end" in line and pid in line and "cleanup" in line


# -- wait ------------------------------------------------------------------------------------------


def test_wait_inside_and_outside(run):
    async def waits_for(pid, seen):
        seen.append((await process.wait(pid)).reason)

    async def scenario():
        async with App():
            pid = await spawn_parked(fails, KeyError("cause"), name="child")
            seen = []
            inner = asyncio.ensure_future(process.wait(process.spawn(waits_for, None, pid, seen)))
            outer = asyncio.ensure_future(process.wait("child"))
            await settle()
            process.send(pid, "go")
            event = await outer
            assert (event.kind, event.sender, event.reason) == ("EXIT", pid, "error")
            assert isinstance(event.result.error, KeyError)
            assert (await inner).reason == "normal" and seen == ["error"]
            for dest in (pid, "child", "nobody"):
                event = await process.wait(dest, timeout=0)
                assert (event.kind, event.reason, event.sender) == ("EXIT", "noproc", dest)

    run(scenario())


def test_wait_has_a_timeout_and_gives_up(inside):
    async def body():
        pid = await spawn_parked(waits)
        for timeout in (0, 0.001, "1ms"):
            with pytest.raises(TimeoutError):
                await process.wait(pid, timeout)
        assert process.send(pid, "alive")
        assert (await process.wait(pid, "10s")).result.value == "alive"

    inside(body)


def test_wait_needs_no_events(inside):
    async def body():
        await process.wait(process.spawn(ends_at_once))
        assert len(process.events()) == 0

    inside(body)


async def ends_at_once():
    """End at once."""


def test_the_terminated_awaits_what_cannot_even_be_cancelled(inside, crashes):
    """Its task ends all the same, and nothing is the task's result that is not its own."""

    class Awkward:
        def __await__(self):
            yield self

        def cancel(self, msg=None):
            raise RuntimeError("on purpose")

    async def stubborn(seen):
        for awaitable in (asyncio.sleep(60), asyncio.sleep(60), Awkward()):
            try:
                await awaitable
            except asyncio.CancelledError:
                seen.append("cancelled")

    async def body():
        seen = []
        pid = await spawn_parked(stubborn, seen)
        task = next(one for one in asyncio.all_tasks() if one.get_name() == pid)
        process.terminate(pid)
        await asyncio.wait([task])
        assert seen == ["cancelled"] * 3
        assert task.result() is None

    inside(body)
