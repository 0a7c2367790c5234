"""Processes as tasks: the fast road, every way to end, and what is left of the dead."""

import asyncio
import gc
import sys
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from core_helpers import Core, settle

from wsrelay_core import CoroutineProcess, Event, current_process, send
from wsrelay_core._errors import ProcessExit


async def forever() -> None:
    await asyncio.Event().wait()


async def parked() -> None:
    await current_process().inbox().receive()


async def sleeping() -> None:
    await asyncio.sleep(60)


async def yielding() -> None:
    while True:
        await asyncio.sleep(0)


async def gathering() -> None:
    await asyncio.gather(asyncio.sleep(60), parked())


async def parked_again() -> None:
    """Parked after fast steps."""
    box = current_process().inbox()
    for _ in range(3):
        send(current_process().pid, "n")
        await box.receive()
    await asyncio.sleep(0)
    await box.receive()


PLACES = [parked, sleeping, yielding, gathering, parked_again, forever]


# -- ends ------------------------------------------------------------------------------------------


async def give_value() -> str:
    return "value"


async def give_value_after_mail() -> str:
    await current_process().inbox().receive()
    return "value"


async def fail() -> None:
    raise ValueError("boom")


async def fail_after_mail() -> None:
    await current_process().inbox().receive()
    raise ValueError("boom")


async def fail_after_sleep() -> None:
    await asyncio.sleep(0)
    raise ValueError("boom")


async def leave() -> None:
    raise ProcessExit("bored")


async def leave_after_mail() -> None:
    await current_process().inbox().receive()
    raise ProcessExit("bored")


async def leave_in_a_child() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave_after_mail())


async def cancel_itself_by_hand() -> None:
    raise asyncio.CancelledError


async def stop_iteration() -> None:
    await current_process().inbox().receive()
    raise StopIteration(1)


async def too_deep() -> None:
    await too_deep()


async def no_memory() -> None:
    await current_process().inbox().receive()
    raise MemoryError


@pytest.mark.parametrize(
    ("body", "reason", "value", "error"),
    [
        (give_value, "normal", "value", None),
        (give_value_after_mail, "normal", "value", None),
        (fail, "error", None, ValueError),
        (fail_after_mail, "error", None, ValueError),
        (fail_after_sleep, "error", None, ValueError),
        (leave, "bored", None, None),
        (leave_after_mail, "bored", None, None),
        (leave_in_a_child, "bored", None, None),
        (cancel_itself_by_hand, "cancelled", None, None),
        (stop_iteration, "error", None, RuntimeError),
        (too_deep, "error", None, RecursionError),
        (no_memory, "error", None, MemoryError),
    ],
)
def test_ends(run_everywhere, body, reason: str, value: Any, error: Any) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(body)
            task, ended = process.task, core.exit_of(process)
            await settle()
            send(process.pid, "n")
            event = await ended
            assert (event.reason, event.result.value) == (reason, value)
            assert (type(event.result.error) if event.result.error else None) is error
            assert core.kinds == (["crash"] if error else []), "logged once"
            await settle()
            assert task.done()
            assert task.cancelled() == (reason == "cancelled")

    run_everywhere(main())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("mail", [True, False])
def test_what_ends_programs_ends_the_process(run, kind: type[BaseException], mail: bool) -> None:
    async def main() -> None:
        async def body() -> None:
            if mail:
                await current_process().inbox().receive()
            raise kind

        async with Core() as core:
            process = core.spawn(body)
            ended = core.exit_of(process)
            await settle()
            send(process.pid, "n")
            event = await ended
            assert event.reason == "error"
            assert isinstance(event.result.error, kind)
            assert core.kinds == ["crash", "interrupt"]

    run(main())


# -- cancel and terminate in each phase ------------------------------------------------------------


@pytest.mark.parametrize("body", PLACES)
@pytest.mark.parametrize("turns", [0, 1, 6])
def test_cancel(run_everywhere, body: Callable[[], Awaitable[None]], turns: int) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(body)
            ended = core.exit_of(process)
            await settle(turns)
            process.cancel("why")
            assert process.alive
            assert (await ended).reason == "cancelled"
            assert core.reports == []

    run_everywhere(main())


@pytest.mark.parametrize("body", PLACES)
@pytest.mark.parametrize("turns", [0, 1, 6])
def test_terminate(run_everywhere, body: Callable[[], Awaitable[None]], turns: int) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(body)
            task, ended = process.task, core.exit_of(process)
            await settle(turns)
            process.terminate()
            process.terminate()
            process.cancel()
            assert not process.alive
            assert not send(process.pid, "n")
            assert ended.result().reason == "killed"
            await asyncio.wait([task])
            assert task.cancelled()
            assert core.scheduler.unfinished == {}
            assert core.reports == []

    run_everywhere(main())


@pytest.mark.parametrize("how", ["terminate", "cancel", "task"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("then", ["park", "sleep", "yield", "return", "raise"])
def test_self_cancel_and_self_terminate(run_everywhere, how: str, fast: bool, then: str) -> None:
    """Due at the next await, also in a fast step; a return before it is cancelled as in Task."""

    async def main() -> None:
        trail: list[str] = []

        async def body() -> None:
            me = current_process()
            box = me.inbox()
            if fast:
                await box.receive()
            else:
                await asyncio.sleep(0)
            if how == "terminate":
                me.terminate()
            elif how == "cancel":
                me.cancel("why")
            else:
                asyncio.current_task().cancel("why")
            trail.append("went on")
            if then == "return":
                return
            if then == "raise":
                raise ValueError("boom")
            try:
                await {
                    "park": box.receive,
                    "sleep": lambda: asyncio.sleep(60),
                    "yield": lambda: asyncio.sleep(0),
                }[then]()
            except asyncio.CancelledError as error:
                trail.append(f"cancelled {error}".strip())
                raise
            trail.append("not cancelled")

        async with Core() as core:
            process = core.spawn(body)
            ended = core.exit_of(process)
            await settle()
            send(process.pid, "n")
            reason = "killed" if how == "terminate" else "error" if then == "raise" else "cancelled"
            assert (await ended).reason == reason
            await settle()
            message = "" if how == "terminate" else " why"
            after = [] if then in ("return", "raise") else [f"cancelled{message}"]
            assert trail == ["went on", *after]
            crash = [] if then != "raise" else ["late" if how == "terminate" else "crash"]
            assert core.kinds == crash

    run_everywhere(main())


def test_a_cancel_that_is_taken_back(run_everywhere) -> None:
    """From 3.13 on, uncancel() before the next await undoes a cancel; before, it does not."""

    async def main() -> None:
        async def body(fast: bool) -> str:
            box = current_process().inbox()
            task = asyncio.current_task()
            await (box.receive() if fast else asyncio.sleep(0))
            task.cancel()
            task.uncancel()
            try:
                await box.receive()
            except asyncio.CancelledError:
                return "cancelled"
            return "taken back"

        async with Core() as core:
            processes = [core.spawn(body, fast) for fast in (False, True)]
            ends = [core.exit_of(process) for process in processes]
            await settle()
            for _ in range(2):
                for process in processes:
                    send(process.pid, "n")
                await settle()
            expected = "taken back" if sys.version_info >= (3, 13) else "cancelled"
            assert [(await ended).result.value for ended in ends] == [expected] * 2

    run_everywhere(main())


def test_two_cancels_are_one_and_the_first_message_stays(run_everywhere) -> None:
    async def main() -> None:
        async def body() -> list[str]:
            seen = []
            for wait in (lambda: current_process().inbox().receive(), lambda: asyncio.sleep(60)):
                try:
                    await wait()
                except asyncio.CancelledError as error:
                    seen.append(str(error))
            await asyncio.sleep(0)
            return seen

        async with Core() as core:
            process = core.spawn(body)
            task, ended = process.task, core.exit_of(process)
            for _ in range(2):
                await settle()
                task.cancel("first")
                task.cancel("second")
            event = await ended
            assert event.result.value == ["first", "first"]

    run_everywhere(main())


def test_mail_and_cancel_at_once_lose_nothing(run_everywhere) -> None:
    async def main() -> None:
        async def body() -> list[Any]:
            box = current_process().inbox()
            got: list[Any] = []
            while len(got) < 6:
                try:
                    got.append((await box.receive()).payload)
                except asyncio.CancelledError:
                    got.append("cancelled")
            return got

        async with Core() as core:
            process = core.spawn(body)
            task, ended = process.task, core.exit_of(process)
            for number in range(3):
                await settle()
                if number % 2:
                    task.cancel()
                    send(process.pid, "n", number)
                else:
                    send(process.pid, "n", number)
                    task.cancel()
            assert (await ended).result.value == ["cancelled", 0, "cancelled", 1, "cancelled", 2]

    run_everywhere(main())


# -- cancel as an event, and deadlines -------------------------------------------------------------


def test_cancel_as_an_event(run) -> None:
    async def main() -> None:
        async def body() -> Event:
            return await current_process().events().receive()

        async with Core() as core:
            process, other = core.spawn(body), core.spawn(forever)
            ended = core.exit_of(process)
            await settle()
            process.cancel("please", 5.0, other.pid)
            event = (await ended).result.value
            assert (event.kind, event.sender, event.reason, event.deadline) == (
                "CANCEL",
                other.pid,
                "please",
                5.0,
            )

    run(main())


@pytest.mark.parametrize("deaf", [True, False])
def test_the_deadline_of_a_cancel(run, deaf: bool) -> None:
    async def main() -> None:
        async def body() -> None:
            current_process().events()
            try:
                await (forever() if deaf else current_process().events().receive())
            finally:
                left.append(current_process)

        left: list[Any] = []
        async with Core() as core:
            process = core.spawn(body)
            ended = core.exit_of(process)
            await settle()
            process.cancel(None, 60.0)
            process.cancel(None, 0.01)
            assert (await ended).reason == ("killed" if deaf else "normal")
            await settle()
            assert len(left) == 1

    run(main())


def test_events_wait_until_they_are_opened(run) -> None:
    async def main() -> None:
        async def body() -> list[str]:
            me = current_process()
            dead = core.spawn(forever)
            me.monitor(dead.pid)
            me.monitor("nobody")
            dead.terminate()
            assert len(me.inbox()) == 0
            return [(await me.events().receive()).reason for _ in range(2)]

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == ["noproc", "killed"]

    run(main())


def test_forget_events(run) -> None:
    async def main() -> None:
        async with Core() as core:
            watcher, one, other = (core.spawn(forever) for _ in range(3))
            await settle()
            refs = [
                watcher.monitor(one.pid),
                watcher.monitor(other.pid),
                watcher.monitor(one.pid),
                watcher.monitor("nobody"),
            ]
            one.terminate()
            other.terminate()
            watcher.forget_events(refs[2])
            box = watcher.events()
            assert len(box) == 3
            watcher.forget_events(one.pid)
            watcher.forget_events("nobody")
            assert [box.receive_nowait().ref for _ in range(len(box))] == [refs[1]]

    run(main())


# -- the dead --------------------------------------------------------------------------------------


def test_a_dead_process_is_cancelled_at_each_await(run_everywhere) -> None:
    async def main() -> None:
        seen: list[str] = []
        future = asyncio.get_running_loop().create_future()

        async def stubborn() -> None:
            box = current_process().inbox()
            for wait in (
                box.receive,
                lambda: asyncio.sleep(0),
                lambda: asyncio.sleep(60),
                lambda: future,
                lambda: asyncio.gather(asyncio.sleep(60)),
                box.receive,
                lambda: asyncio.to_thread(int),
            ):
                try:
                    await wait()
                except asyncio.CancelledError:
                    seen.append("cancelled")

        async with Core() as core:
            process = core.spawn(stubborn)
            await settle()
            process.terminate()
            assert list(core.scheduler.unfinished) == [process]
            await asyncio.wait([process.task])
            assert seen == ["cancelled"] * 7
            assert core.reports == []

    run_everywhere(main())


def test_a_dead_process_that_never_stops_is_slowed_down(run) -> None:
    async def main() -> None:
        rounds = 0

        async def immortal() -> None:
            nonlocal rounds
            while rounds < 20:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    rounds += 1

        async with Core() as core:
            process = core.spawn(immortal)
            await settle()
            process.terminate()
            started = asyncio.get_running_loop().time()
            await asyncio.wait([process.task])
            assert rounds == 20
            assert asyncio.get_running_loop().time() - started > 0.1

    run(main())


def test_an_error_after_the_end_is_told(run) -> None:
    async def main() -> None:
        async def body() -> None:
            try:
                await forever()
            finally:
                raise ValueError("while tidying up")

        async with Core() as core:
            process = core.spawn(body)
            await settle()
            process.terminate()
            await settle()
            assert core.kinds == ["late"]
            assert str(core.reports[0][2]) == "while tidying up"

    run(main())


def test_a_process_closed_before_its_start(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = CoroutineProcess(core.scheduler, core.host, forever(), "forever")
            ended = core.exit_of(process)
            process.close()
            process.close()
            assert (await ended).reason == "cancelled"
            assert core.host.count == 0

    run(main())


# -- what the task shows ---------------------------------------------------------------------------


def test_the_task_shows_the_users_function(run_everywhere, capsys) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(parked_again)
            await settle()
            task = process.task
            assert task.get_name() == process.pid
            assert task in asyncio.all_tasks()
            assert task.get_coro() is process
            (frame,) = task.get_stack()
            assert frame.f_code is parked_again.__code__
            assert "coro=<parked_again()" in repr(task)
            assert "test_coroutine.py" in repr(task)
            assert (process.__name__, process.__qualname__) == ("parked_again",) * 2
            assert process.cr_code is parked_again.__code__
            assert process.cr_suspended
            assert not process.cr_running
            assert process.cr_await is not None
            with open("/dev/null", "w") as sink:
                task.print_stack(file=sink)

    run_everywhere(main())


# -- nothing is left -------------------------------------------------------------------------------


class Payload:
    pass


async def one_life(core: Core, how: str) -> None:
    async def body() -> None:
        me = current_process()
        box, other = me.inbox(), me.listen("other")
        me.register("name")
        me.events()
        payload = Payload()
        send(me.pid, "n", payload)
        send(me.pid, "other", payload)
        await box.receive()
        me.monitor(me.pid)
        me.send_after(60.0, me.pid, "n", (payload,))
        if how == "crash":
            raise ValueError(payload, other)
        if how == "terminate":
            await box.receive()

    process = core.spawn(body)
    task = process.task
    send(process.pid, "n", Payload())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if how == "terminate":
        process.terminate()
    await asyncio.wait([task])


@pytest.mark.parametrize("how", ["return", "crash", "terminate"])
def test_20000_lives_leave_nothing(run, how: str) -> None:
    async def main() -> None:
        async with Core() as core:
            core._report = None  # type: ignore[assignment]
            core.scheduler.stop()
            core.scheduler.__init__(asyncio.get_running_loop(), lambda *_: None, core)
            core.scheduler.start()
            for _ in range(200):
                await one_life(core, how)
            gc.collect()
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(2_000):
                    await one_life(core, how)
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
            for _ in range(18_000):
                await one_life(core, how)
            gc.collect()
            assert grown < 50_000, f"{grown} bytes are left of 2000 lives"
            kinds = [type(one) for one in gc.get_objects()]
            assert CoroutineProcess not in kinds
            assert Payload not in kinds

    run(main())


def processes_alive() -> int:
    return sum(type(one) is CoroutineProcess for one in gc.get_objects())


def test_an_ended_process_goes_without_the_collector(run) -> None:
    """No cycle is left: what a process held goes with its last step."""

    async def main() -> None:
        async def body(kept: list[weakref.ref[Payload]]) -> None:
            me = current_process()
            me.events()
            payload = Payload()
            kept.append(weakref.ref(payload))
            send(me.pid, "n", payload)
            send(me.pid, "n", payload)
            await me.inbox().receive()
            await me.listen("t").receive()

        gc.collect()
        gc.disable()
        try:
            async with Core() as core:
                kept: list[weakref.ref[Payload]] = []
                process = core.spawn(body, kept)
                await settle()
                assert processes_alive() == 1
                send(process.pid, "t")
                await settle()
                assert not process.alive
                assert kept[0]() is None
                del process
                assert processes_alive() == 0
        finally:
            gc.enable()

    run(main())


def test_references_of_values(run_everywhere) -> None:
    """What travels through the proxy keeps its count: futures, values, errors, messages."""

    async def main() -> None:
        value = object()

        async def body(rounds: int) -> object:
            box = current_process().inbox()
            loop = asyncio.get_running_loop()
            for _ in range(rounds):
                await box.receive()
                future = loop.create_future()
                loop.call_soon(future.set_result, value)
                assert await future is value
            await box.receive()
            return value

        async with Core() as core:
            before, none = sys.getrefcount(value), sys.getrefcount(None)
            for _ in range(5):
                process = core.spawn(body, 200)
                ended = core.exit_of(process)
                for _ in range(201):
                    send(process.pid, "n", value)
                    await asyncio.sleep(0)
                assert (await ended).result.value is value
            del process, ended
            await settle()
            gc.collect()
            assert sys.getrefcount(value) == before
            assert abs(sys.getrefcount(None) - none) < 300

    run_everywhere(main())
