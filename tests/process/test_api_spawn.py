"""The process API, row by row: spawn and its kin, exec, wait, monitors, links, cancel, ends."""

import asyncio
import contextlib
import functools
import gc
import logging
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from process_helpers import beside, forever, inside, settle

import wsrelay
from wsrelay import App, process
from wsrelay.errors import (
    HostFull,
    InvalidPID,
    LinkFailed,
    NameTaken,
    NoApp,
    NoProcess,
    ProcessFailed,
    UnknownEntry,
)

# -- what can be spawned ---------------------------------------------------------------------------


async def show(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs, process.pid(), process.info(process.pid()).entry


async def two(first: int, second: int = 2, *, third: int = 3) -> list[int]:
    return [first, second, third]


class Callable_:
    async def __call__(self, value: int) -> int:
        return value


async def value_of(pid: str) -> Any:
    return (await process.wait(pid)).result.value


def in_app(body: Callable[[App], Any]) -> Any:
    async def main() -> Any:
        app = App("shop")
        app.process("show")(show)
        async with app:
            return await body(app)

    return main()


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("shop:show", "shop:show"),
        ("show", "shop:show"),
        ("test_api_spawn:show", "shop:show"),
        (show, "shop:show"),
        (functools.partial(show), "shop:show"),
    ],
)
def test_targets(run, target: Any, entry: str) -> None:
    async def body(app: App) -> None:
        pid = process.spawn(target, None, 1, a=2)
        assert pid.host == "shop:processes"
        assert await value_of(pid) == ((1,), {"a": 2}, pid, entry)

    run(in_app(body))


def test_other_functions(run) -> None:
    async def body(app: App) -> None:
        assert await process.exec("test_api_spawn:two", None, 1, third=5) == [1, 2, 5]
        assert await process.exec(Callable_(), None, 7) == 7
        assert await process.exec(lambda: two(1)) == [1, 2, 3]

    run(in_app(body))


def plain() -> int:
    return 1


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("target", "args", "error"),
    [
        (two, (), TypeError),
        (two, (1, 2, 3), TypeError),
        ("test_api_spawn:two", (), TypeError),
        (plain, (), TypeError),
        (generator, (), TypeError),
        (async_generator, (), TypeError),
        (None, (), TypeError),
        (5, (), TypeError),
        ("shop:nothing", (), UnknownEntry),
        ("nothing", (), UnknownEntry),
        ("no_such_module:main", (), UnknownEntry),
        ("test_api_spawn:nothing", (), UnknownEntry),
        ("test_api_spawn:__name__", (), UnknownEntry),
        ("", (), UnknownEntry),
    ],
)
@pytest.mark.parametrize("host", [None, "shop:processes"])
def test_what_can_not_be_spawned(run, target: Any, args: Any, error: Any, host: Any) -> None:
    async def body(app: App) -> None:
        with pytest.raises(error):
            process.spawn(target, host, *args)
        with pytest.raises(error):
            await process.exec(target, host, *args)
        gc.collect()
        assert app.processes() == []
        assert app.find_host(None, None).count == 0

    run(in_app(body))


def test_unknown_entries_are_named_with_a_hint(run) -> None:
    async def body(app: App) -> None:
        with pytest.raises(LookupError, match=r"shop:shwo.*shop:show"):
            process.spawn("shop:shwo")

    run(in_app(body))


# -- hosts and names -------------------------------------------------------------------------------


def test_hosts(run) -> None:
    async def main() -> None:
        app = App("shop")
        app.host("small", 2)
        async with app:
            assert process.spawn(forever).host == "shop:small", "the only one"
            assert process.spawn(forever, "shop:processes").host == "shop:processes"
            assert process.spawn(forever, "small").host == "shop:small"
            for _ in range(2):
                with pytest.raises(HostFull, match="shop:small"):
                    process.spawn(forever)
            with pytest.raises(UnknownEntry, match="shop:smal"):
                process.spawn(forever, "smal")
            process.terminate(next(facts.pid for facts in app.processes()))
            assert process.spawn(forever).host == "shop:small", "a place is free again"
            gc.collect()

    run(main())


def test_the_spawners_host_and_the_implicit_one(run) -> None:
    async def child() -> str:
        return process.spawn(forever).host

    async def main() -> None:
        app = App("shop")
        app.host("a")
        app.host("b")
        async with app:
            assert process.spawn(forever).host == "shop:processes", "there are several"
            assert await process.exec(child, "b") == "shop:b"

    run(main())


@pytest.mark.parametrize("call", [process.spawn, process.exec])
def test_a_name_that_is_taken(run, call: Callable[..., Any]) -> None:
    async def body(app: App) -> None:
        pid = process.spawn(forever, name="crown")
        assert process.lookup("crown") == pid
        assert process.info(pid).name == "crown"
        for name, error in (("crown", NameTaken), ("@x", ValueError), (5, TypeError)):
            with pytest.raises(error):
                made = call(forever, name=name)
                await made
        gc.collect()
        assert [facts.pid for facts in app.processes()] == [pid]

    run(in_app(body))


# -- the first step --------------------------------------------------------------------------------


def test_spawn_returns_at_once(run_everywhere) -> None:
    async def body() -> None:
        order = []

        async def child() -> None:
            order.append("child")

        process.spawn(child)
        order.append("spawner")
        await settle()
        assert order == ["spawner", "child"]

    run_everywhere(inside(body))


@pytest.mark.parametrize("how", ["normal", "error", "bored"])
def test_relations_exist_before_the_first_step(run, how: str) -> None:
    async def child() -> None:
        if how == "error":
            raise ValueError("boom")
        wsrelay.exit(how)

    async def body() -> None:
        process.set_options(trap_links=True)
        linked = process.spawn_linked(child)
        monitored, ref = process.spawn_monitored(child)
        both, both_ref = process.spawn_linked_monitored(child)
        await settle()
        box = process.events()
        got = [box.receive_nowait() for _ in range(len(box))]
        seen = {(event.kind, event.sender, event.ref) for event in got}
        expected = {("EXIT", monitored, ref), ("EXIT", both, both_ref)}
        if how != "normal":
            expected |= {("LINK_DOWN", linked, None), ("LINK_DOWN", both, None)}
        assert seen == expected
        assert len(got) == len(expected)
        assert {event.reason for event in got} == {how}

    run(inside(body))


def test_cancel_during_spawn(run) -> None:
    """Ended before the first step: the function never runs, and nothing warns."""
    ran: list[int] = []

    async def child() -> None:
        ran.append(1)

    async def body(app: App) -> None:
        for call, reason in ((process.cancel, "cancelled"), (process.terminate, "killed")):
            pid = process.spawn(child)
            waits = asyncio.ensure_future(process.wait(pid))
            await asyncio.sleep(0) if call is None else None
            assert call(pid)
            event = await waits
            assert event.reason in (reason, "noproc")
        assert ran == []
        gc.collect()

    run(beside(body))


# -- exec and wait ---------------------------------------------------------------------------------


async def fail() -> None:
    raise ValueError("boom")


async def leave(reason: str) -> None:
    wsrelay.exit(reason)


def test_exec(run_everywhere) -> None:
    async def body() -> None:
        assert await process.exec(two, None, 1) == [1, 2, 3]
        assert await process.exec(two, None, 1, timeout="5s") == [1, 2, 3]
        with pytest.raises(ValueError, match="boom"):
            await process.exec(fail)
        with pytest.raises(ProcessFailed, match="bored") as caught:
            await process.exec(leave, None, "bored")
        assert caught.value.reason == "bored"
        assert await process.exec(leave, None, "normal") is None
        with pytest.raises(ValueError, match="5"):
            await process.exec(two, None, 1, timeout="5")

    run_everywhere(inside(body))


def test_exec_ends_its_process(run) -> None:
    async def body(app: App) -> None:
        with pytest.raises(TimeoutError):
            await process.exec(forever, timeout=0.001)
        assert app.processes() == []
        task = asyncio.ensure_future(process.exec(forever))
        await settle()
        assert len(app.processes()) == 1
        task.cancel()
        await asyncio.wait([task])
        assert app.processes() == []

    run(beside(body))


def test_exec_leaves_no_cycle(run, caplog) -> None:
    class Payload(Exception):
        pass

    async def child() -> None:
        raise Payload

    async def body(app: App) -> None:
        caplog.set_level(logging.CRITICAL, "wsrelay.process")  # a record would keep the exception
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(Payload):
                await process.exec(child)
            await settle()
            assert not [one for one in gc.get_objects() if type(one) is Payload]
        finally:
            gc.enable()

    run(beside(body))


def test_wait(run_everywhere) -> None:
    async def body(app: App) -> None:
        async def child() -> int:
            return (await process.receive()).payload

        pid = process.spawn(child, name="a")
        waits = [asyncio.ensure_future(process.wait(dest)) for dest in (pid, "a")]
        await settle()
        process.send(pid, "t", 5)
        first, second = await asyncio.gather(*waits)
        assert first.result.value == second.result.value == 5
        assert (first.kind, first.sender, first.reason) == ("EXIT", pid, "normal")
        assert (await process.wait(pid)).reason == "noproc"
        assert (await process.wait("nobody")).reason == "noproc"
        alive = process.spawn(forever)
        for timeout in (0.001, "1ms", 0):
            with pytest.raises(TimeoutError):
                await process.wait(alive, timeout)
        with pytest.raises(InvalidPID):
            await process.wait("{bad")
        await settle()
        (record,) = app.records()
        assert not record.has_relations(), "a wait that was given up leaves no monitor"

    run_everywhere(beside(body))


# -- monitors --------------------------------------------------------------------------------------


def test_monitor_and_unmonitor(run) -> None:
    async def body() -> None:
        pid = process.spawn(forever, name="a")
        refs = [process.monitor(dest) for dest in (pid, str(pid), "a", "{this@" + pid[1:], pid)]
        assert {ref.target for ref in refs} == {pid}
        process.unmonitor(refs[0])
        process.unmonitor(refs[0])
        process.terminate(pid)
        box = process.events()
        assert [box.receive_nowait().ref for _ in range(len(box))] == refs[1:]
        assert process.info(process.pid()).monitors == ()

    run(inside(body))


@pytest.mark.parametrize("dest", ["pid", "text", "this", "name", "ref"])
@pytest.mark.parametrize("when", ["alive", "dead"])
def test_no_late_event_after_unmonitor(run, dest: str, when: str) -> None:
    async def body() -> None:
        pid = process.spawn(forever, name="a")
        keep = process.spawn(forever)
        kept = process.monitor(keep)
        ref = process.monitor("a" if dest == "name" else pid)
        if when == "dead":
            process.terminate(pid)
        process.unmonitor(
            {"pid": pid, "text": str(pid), "this": "{this@" + pid[1:], "name": "a", "ref": ref}[
                dest
            ]
        )
        process.terminate(pid)
        process.terminate(keep)
        box = process.events()
        assert [box.receive_nowait().ref for _ in range(len(box))] == [kept]

    run(inside(body))


def test_unmonitor_of_a_name_gives_all_up(run) -> None:
    async def body() -> None:
        pid = process.spawn(forever, name="a")
        for dest in (pid, "a", pid):
            process.monitor(dest)
        process.unmonitor("a")
        process.terminate(pid)
        assert len(process.events()) == 0
        process.unmonitor("nobody")
        with pytest.raises(InvalidPID):
            process.unmonitor("{bad")

    run(inside(body))


def test_monitor_of_the_dead_and_the_unknown(run) -> None:
    async def body() -> None:
        pid = process.spawn(forever)
        process.terminate(pid)
        refs = [process.monitor(dest) for dest in (pid, "nobody")]
        box = process.events()
        events = [box.receive_nowait() for _ in range(len(box))]
        assert [(event.ref, event.sender, event.reason) for event in events] == [
            (refs[0], pid, "noproc"),
            (refs[1], "nobody", "noproc"),
        ]

    run(inside(body))


# -- links -----------------------------------------------------------------------------------------


def test_a_link_takes_the_other_down(run_everywhere) -> None:
    async def parent(child: Callable[..., Any]) -> None:
        process.spawn_linked(child)
        await process.receive()

    async def body(app: App) -> None:
        event = await process.wait(process.spawn(parent, None, fail))
        assert event.reason == "link_failed"
        assert isinstance(event.result.error, LinkFailed)
        assert str(event.result.error.__cause__) == "boom"
        parent_pid = process.spawn(parent, None, settle)
        await settle(12)
        assert process.info(parent_pid).links == (), "a normal end does nothing"

    run_everywhere(beside(body))


def test_link_and_unlink(run) -> None:
    async def body() -> None:
        pid = process.spawn(forever, name="a")
        for dest in (pid, "a", str(pid), process.pid()):
            process.link(dest)
        assert process.info(process.pid()).links == (pid,)
        process.unlink("a")
        process.unlink(pid)
        process.unlink("nobody")
        assert process.info(pid).links == ()
        process.terminate(pid)
        for dest in (pid, "a", "nobody"):
            with pytest.raises(NoProcess):
                process.link(dest)

    run(inside(body))


# -- cancel and terminate --------------------------------------------------------------------------


def test_cancel(run_everywhere) -> None:
    async def polite() -> list[Any]:
        event = await process.events().receive()
        return [event.kind, event.sender, event.reason, event.deadline]

    async def body() -> None:
        me = process.pid()
        for args, expected in (((), ["cancelled", None]), (("why", "5s"), ["why", 5.0])):
            pid, _ = process.spawn_monitored(polite)
            await settle()
            assert process.cancel(pid, *args)
            event = await process.events().receive()
            assert event.result.value == ["CANCEL", me, *expected]
        pid, _ = process.spawn_monitored(forever)
        await settle()
        assert process.cancel(pid, "why")
        assert (await process.events().receive()).reason == "cancelled"
        assert not process.cancel(pid)
        assert not process.cancel("nobody")
        with pytest.raises(InvalidPID):
            process.cancel("{bad")
        with pytest.raises(TypeError):
            process.cancel(me, 5)

    run_everywhere(inside(body))


def test_a_cancel_at_its_deadline(run) -> None:
    async def deaf() -> None:
        process.events()
        await forever()

    async def body(app: App) -> None:
        pid = process.spawn(deaf)
        await settle()
        waits = asyncio.ensure_future(process.wait(pid))
        await settle()
        assert process.cancel(pid, deadline="1ms")
        assert (await waits).reason == "killed"

    run(beside(body))


def test_cancel_with_a_refusal(run) -> None:
    """CancelledError may be caught, as in a task: the process goes on."""

    async def stubborn() -> str:
        try:
            await process.receive()
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
        return (await process.receive()).payload

    async def body(app: App) -> None:
        pid = process.spawn(stubborn)
        await settle()
        process.cancel(pid)
        await settle()
        waits = asyncio.ensure_future(process.wait(pid))
        assert process.send(pid, "t", "went on")
        assert (await waits).result.value == "went on"

    run(beside(body))


def test_terminate(run_everywhere) -> None:
    async def body() -> None:
        ended = []

        async def child() -> None:
            try:
                await forever()
            finally:
                ended.append(1)

        pid, ref = process.spawn_monitored(child)
        await settle()
        assert process.terminate(pid)
        assert not process.send(pid, "t")
        event = process.events().receive_nowait()
        assert (event.ref, event.reason) == (ref, "killed")
        assert ended == []
        await settle()
        assert ended == [1]
        assert not process.terminate(pid)
        assert not process.terminate("nobody")

    run_everywhere(inside(body))


# -- imported targets ------------------------------------------------------------------------------


def test_the_source_of_two_entries_is_none_of_them(run) -> None:
    async def main() -> None:
        app = App("shop")
        app.process("one")(show)
        app.process("two")(show)
        async with app:
            for target in ("test_api_spawn:show", show):
                assert (await process.exec(target))[3] == "test_api_spawn:show"

    run(main())


def test_an_error_inside_an_imported_module(run) -> None:
    broken = types.ModuleType("broken_target")
    broken.__path__ = []  # type: ignore[attr-defined]
    sys.modules["broken_target"] = broken

    async def body(app: App) -> None:
        with pytest.raises(UnknownEntry, match="no module"):
            process.spawn("broken_target.inner:main")

    try:
        run(in_app(body))
    finally:
        del sys.modules["broken_target"]


def test_no_spawn_without_an_app(run) -> None:
    async def main() -> None:
        with pytest.raises(NoApp):
            process.spawn(forever)
        with pytest.raises(NoApp):
            await process.exec(forever)

    run(main())
