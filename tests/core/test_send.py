"""Who calls, in which App; `send` and `broadcast`."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from core_helpers import Core, settle

from wsrelay_core import (
    PID,
    CoroutineProcess,
    broadcast,
    current_process,
    current_scheduler,
    give_up_watch,
    resolve,
    scheduler_for_thread,
    scheduler_var,
    send,
    send_later,
    watch_exit,
)
from wsrelay_core._errors import InvalidPID, NoApp, NotAProcess


async def forever() -> None:
    await asyncio.Event().wait()


def mail(process: CoroutineProcess) -> list[tuple[str, Any]]:
    box = process.inbox()
    return [(one.topic, one.payload) for one in (box.receive_nowait() for _ in range(len(box)))]


@pytest.mark.parametrize(
    "form",
    [
        lambda pid: pid,
        str,
        lambda pid: "{this@" + pid[1:],
        lambda _: "name",
        lambda pid: PID(str(pid)),
    ],
)
def test_ways_to_name_a_process(run, form: Callable[[PID], str]) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            process.register("name")
            assert send(form(process.pid), "t", 1) is True
            assert resolve(form(process.pid)) is process
            assert mail(process) == [("t", 1)]

    run(main())


def test_nobody_there(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            await settle()
            process.register("name")
            process.terminate()
            for dest in (process.pid, str(process.pid), "name", "{app:processes|0x1}", "", "x y"):
                assert send(dest, "t") is False
                assert resolve(dest) is None

    run(main())


@pytest.mark.parametrize("dest", ["{", "}", "{x", "x}", "{h|}", "{|x}", "{h}", "{}"])
def test_malformed_pids(run, dest: str) -> None:
    async def main() -> None:
        async with Core():
            for call in (
                lambda: send(dest, "t"),
                lambda: broadcast([dest], "t"),
                lambda: resolve(dest),
                lambda: send_later(current_scheduler(), 0.0, dest, "t", ()),
                lambda: watch_exit(current_scheduler(), dest, print),
                lambda: scheduler_for_thread(dest),
            ):
                with pytest.raises(InvalidPID):
                    call()

    run(main())


@pytest.mark.parametrize("dest", [None, 1, b"x", ["x"]])
def test_destinations_are_texts(run, dest: Any) -> None:
    async def main() -> None:
        async with Core():
            for call in (
                lambda: send(dest, "t"),
                lambda: resolve(dest),
                lambda: scheduler_for_thread(dest),
            ):
                with pytest.raises(TypeError, match="a destination is"):
                    call()

    run(main())


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        ("", ValueError),
        ("@exit", ValueError),
        ("@", ValueError),
        (None, TypeError),
        (1, TypeError),
        (b"t", TypeError),
    ],
)
def test_topics(run, topic: Any, error: type[Exception]) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            for call in (
                lambda: send(process.pid, topic),
                lambda: send("nobody", topic),
                lambda: broadcast([process.pid], topic),
            ):
                with pytest.raises(error):
                    call()
            assert mail(process) == []

    run(main())


def test_a_topic_of_another_str_class(run) -> None:
    class Topic(str):
        pass

    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            assert send(process.pid, Topic("t"), 1)
            assert broadcast([process.pid], Topic("t"), 2) == 1
            assert mail(process) == [("t", 1), ("t", 2)]

    run(main())


def test_broadcast(run) -> None:
    async def main() -> None:
        async with Core() as core:
            first, second, dead = (core.spawn(forever) for _ in range(3))
            first.register("name")
            await settle()
            dead.terminate()
            second.set_mailbox_max(1)
            dests = (pid for pid in ("name", second.pid, dead.pid, second.pid, "nobody"))
            assert broadcast(dests, "t", 1, 2) == 2
            assert mail(first) == mail(second) == [("t", (1, 2))]
            with pytest.raises(InvalidPID):
                broadcast([first.pid, "{bad"], "t")
            assert mail(first) == [], "refused as a whole"
            with pytest.raises(TypeError, match="to many"):
                broadcast(first.pid, "t")
            assert broadcast([], "t") == 0

    run(main())


def test_order_and_sender(run) -> None:
    async def main() -> None:
        async def receiver() -> list[tuple[str, Any]]:
            box = current_process().inbox()
            return [(one.sender, one.payload) for one in [await box.receive() for _ in range(600)]]

        async def sender(dest: PID) -> None:
            for number in range(200):
                send(dest, f"topic{number % 3}", number)
                if number % 7 == 0:
                    await asyncio.sleep(0)

        async with Core() as core:
            process = core.spawn(receiver)
            ended = core.exit_of(process)
            senders = [core.spawn(sender, process.pid) for _ in range(3)]
            got = (await ended).result.value
            for one in senders:
                assert [number for pid, number in got if pid == one.pid] == list(range(200))

    run(main())


# -- which App -------------------------------------------------------------------------------------


def test_no_loop() -> None:
    with pytest.raises(NoApp, match="no event loop"):
        current_scheduler()
    assert current_process() is None


def test_none_or_several(run) -> None:
    async def main() -> None:
        with pytest.raises(NoApp, match="no App runs on this loop"):
            current_scheduler()
        async with Core() as first:
            assert current_scheduler() is first.scheduler
            async with Core() as second:
                with pytest.raises(NoApp, match="2 Apps run on this loop"):
                    send("name", "t")
                token = scheduler_var.set(second.scheduler)
                assert current_scheduler() is second.scheduler
                process = first.spawn(forever)
                await settle()
                assert send(process.pid, "t"), "a PID knows its App"
                assert not send(str(process.pid), "t"), "text is looked for in the current App"
            assert current_scheduler() is first.scheduler, "one that ended is not chosen"
            scheduler_var.reset(token)

    run(main())


def test_a_thread_of_a_process_has_its_app(run) -> None:
    async def main() -> None:
        async def body() -> Any:
            return await asyncio.to_thread(scheduler_for_thread, "name")

        async with Core() as first, Core() as second:
            for core in (first, second):
                event = await core.exit_of(core.spawn(body))
                assert event.result.value is core.scheduler, event

    run(main())


def test_a_process_has_its_own_app(run) -> None:
    async def main() -> None:
        async def body() -> list[Any]:
            async def child() -> Any:
                return current_scheduler()

            return [current_scheduler(), await asyncio.create_task(child())]

        async with Core() as first, Core() as second:
            for core in (first, second):
                event = await core.exit_of(core.spawn(body))
                assert event.result.value == [core.scheduler] * 2

    run(main())


def test_calls_of_the_dead(run) -> None:
    async def main() -> None:
        errors: list[BaseException] = []

        async def body() -> None:
            me = current_process()
            me.terminate()
            for call in (current_process, current_scheduler, lambda: send(me.pid, "t")):
                try:
                    call()
                except NotAProcess as error:
                    errors.append(error)

        async with Core() as core:
            core.spawn(body)
            await settle()
            assert len(errors) == 3

    run(main())


def test_watch_exit(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            await settle()
            heard: list[Any] = []
            refs = [watch_exit(core.scheduler, process.pid, heard.append) for _ in range(3)]
            assert give_up_watch(refs[1])
            assert not give_up_watch(refs[1])
            process.terminate()
            assert [event.ref for event in heard] == [refs[0], refs[2]]
            watch_exit(core.scheduler, "nobody", heard.append)
            assert (heard[-1].sender, heard[-1].reason) == ("nobody", "noproc")
            assert not give_up_watch(refs[0])

    run(main())


def test_a_watcher_that_fails_or_gives_up_another(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            await settle()
            heard: list[str] = []

            def first(_: object) -> None:
                heard.append("first")
                give_up_watch(refs[2])
                raise ValueError("boom")

            refs = [
                watch_exit(core.scheduler, process.pid, first),
                watch_exit(core.scheduler, process.pid, lambda _: heard.append("second")),
                watch_exit(core.scheduler, process.pid, lambda _: heard.append("third")),
            ]
            process.terminate()
            assert heard == ["first", "second"]
            assert core.kinds == ["fault"]

    run(main())


def test_send_later(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            await settle()
            timers = [
                send_later(core.scheduler, 0.0, process.pid, "t", (number,)) for number in range(3)
            ]
            assert timers[1].cancel()
            assert not timers[1].cancel()
            assert (await process.inbox().receive()).payload == 0
            assert (await process.inbox().receive()).payload == 2
            assert not timers[0].cancel()

    run(main())


@pytest.mark.parametrize("stepped_by", ["task", "drain"])
def test_another_context_in_a_step_is_outside_the_process(run, stepped_by: str) -> None:
    async def main() -> None:
        async def body() -> list[CoroutineProcess | None]:
            me = current_process()
            if stepped_by == "task":
                await asyncio.sleep(0)
            else:
                await me.inbox().receive()
            other = contextvars.Context().run(current_process)
            return [current_process(), contextvars.copy_context().run(current_process), other]

        async with Core() as core:
            process = core.spawn(body)
            ended = core.exit_of(process)
            await settle()
            send(process.pid, "go")
            assert (await ended).result.value == [process, process, None]
            assert current_process() is None

    run(main())


def test_one_payload_by_name(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            assert send(process.pid, "t", payload=1)
            assert send(dest=process.pid, topic="t")
            assert mail(process) == [("t", 1), ("t", None)]

    run(main())


def test_calls_of_every_kind() -> None:
    """The built-in function tells its parameters, and refuses what they do not allow."""
    assert str(inspect.signature(send)) == "(dest, topic, payload=None, *payloads)"
    assert (send.__doc__ or "").startswith("Send a message; never blocks.")
    bad: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        (("a",), {}),
        (("a", "t", 1), {"payload": 2}),
        (("a", "t", 1), {"other": 2}),
    ]
    for arguments, named in bad:
        with pytest.raises(TypeError, match="argument"):
            send(*arguments, **named)
