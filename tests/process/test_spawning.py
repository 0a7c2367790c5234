"""`spawn` and its kin, `exec`, hosts and names of what can be spawned."""

import asyncio
import functools
import gc
import weakref

import pytest
from process_helpers import fails, leaves, never_ends, settle, spawn_parked, waits

from wsrelay import (
    PID,
    App,
    HostFull,
    NameTaken,
    NoProcess,
    ProcessFailed,
    UnknownEntry,
    process,
)

HERE = f"{__name__}:"


async def adds(left, right=1):
    """Importable, and quick."""
    return left + right


async def entry_of_self():
    """The entry that a process runs under."""
    return process.info(process.pid()).entry


not_a_function = 7


def not_async():
    """Importable, but no process."""
    return None


# -- what is spawned -------------------------------------------------------------------------------


def test_spawn_returns_at_once_and_steps_later(inside):
    async def child(seen):
        seen.append("child")

    async def body():
        seen = []
        pid = process.spawn(child, None, seen)
        assert type(pid) is PID and pid.host == "app:processes"
        assert process.info(pid).state == "running"
        seen.append("spawner")
        await process.wait(pid)
        assert seen == ["spawner", "child"]

    inside(body)


def test_by_registry_id_with_and_without_namespace(run):
    async def scenario():
        app = App("shop")
        app.process("adder")(adds)
        app.process("other:adder")(entry_of_self)
        async with app:
            assert await process.exec("shop:adder", None, 1, right=2) == 3
            assert await process.exec("adder", None, 1) == 2
            assert await process.exec("other:adder") == "other:adder"

    run(scenario())


def test_by_import_path_and_by_function(inside):
    async def body():
        assert await process.exec(HERE + "adds", None, 1, 2) == 3
        assert await process.exec(HERE + "entry_of_self") == HERE + "entry_of_self"
        assert await process.exec(entry_of_self) == HERE + "entry_of_self"
        assert await process.exec(functools.partial(adds, 40), None, 2) == 42

    inside(body)


def test_the_source_of_exactly_one_entry_is_that_entry(run):
    async def scenario():
        app = App()
        app.process("who")(entry_of_self)
        async with app:
            assert await process.exec(HERE + "entry_of_self") == "app:who"
            assert await process.exec(entry_of_self) == "app:who"
        two = App()
        two.process("who")(entry_of_self)
        two.process("which")(entry_of_self)
        async with two:
            assert await process.exec(HERE + "entry_of_self") == HERE + "entry_of_self"
            assert await process.exec("which") == "app:which"

    run(scenario())


def test_an_entry_that_is_declared_later(run):
    async def scenario():
        app = App()
        async with app:
            assert await process.exec(entry_of_self) == HERE + "entry_of_self"
            app.process("late")(entry_of_self)
            assert await process.exec(entry_of_self) == "app:late"

    run(scenario())


def test_functions_of_one_name(inside):
    def named(value, module=__name__):
        async def function():
            return value, process.info(process.pid()).entry.partition(":")[0]

        function.__module__ = module
        return function

    async def body():
        for _ in range(2):
            assert await process.exec(named(1)) == (1, __name__)
            assert await process.exec(named(2)) == (2, __name__)
            assert await process.exec(named(3, "elsewhere")) == (3, "elsewhere")

    inside(body)


def test_a_function_that_was_spawned_is_not_kept(inside):
    async def body():
        async def function():
            return None

        kept = weakref.ref(function)
        await process.exec(function)
        del function
        gc.collect()
        assert kept() is None

    inside(body)


def test_many_functions_that_are_spawned_leave_little(run):
    async def scenario():
        app = App()
        async with app:
            for number in range(3000):

                async def function():
                    return None

                function.__qualname__ = f"function_{number}"
                await process.exec(function)
            assert len(app.scheduler.entries) <= 1024

    run(scenario())


def test_an_end_at_once_is_told_in_the_same_turn(inside):
    async def body():
        order = []
        events = process.events()
        process.spawn_monitored(adds, None, 1)
        await events.receive()
        process.spawn_monitored(adds, None, 1)  # in a step that an event began
        asyncio.get_running_loop().call_soon(order.append, "next turn")
        await events.receive()
        order.append("exit")
        await asyncio.sleep(0)
        assert order == ["exit", "next turn"]

    inside(body)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("unknown", UnknownEntry),
        ("app:unknown", UnknownEntry),
        ("", UnknownEntry),
        ("no_such_module_here:function", UnknownEntry),
        (HERE + "missing", UnknownEntry),
        (HERE + "not_a_function", UnknownEntry),
        (None, TypeError),
        (7, TypeError),
        (not_async, TypeError),
        (HERE + "not_async", TypeError),
        (HERE + "adds.missing", UnknownEntry),
    ],
)
def test_what_can_not_be_spawned(inside, target, error):
    async def body():
        with pytest.raises(error):
            process.spawn(target)

    inside(body)


def test_a_call_in_place_of_the_function(inside, recwarn):
    async def body():
        with pytest.raises(TypeError, match=r"write waits, not waits\(…\)"):
            process.spawn(waits())

    inside(body)
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


def test_a_typing_error_gets_a_hint(run):
    async def scenario():
        app = App()
        app.process("chat_room")(adds)
        async with app:
            with pytest.raises(UnknownEntry, match="chat_room"):
                process.spawn("chat_rom")

    run(scenario())


def test_arguments_are_bound_now(inside):
    async def body():
        for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"wrong": 2})):
            with pytest.raises(TypeError):
                process.spawn(adds, None, *args, **kwargs)
        items = [1]
        pid = process.spawn(adds, None, items, right=[2])
        items = None
        assert (await process.wait(pid)).result.value == [1, 2]

    inside(body)


# -- where it runs ---------------------------------------------------------------------------------


async def host_of_child(*args):
    """The host that a child gets."""
    return process.spawn(waits, *args).host


def test_the_default_host(run):
    async def scenario():
        async with App("one"):
            assert process.spawn(waits).host == "one:processes"
        app = App("two")
        app.host("only")
        async with app:
            assert process.spawn(waits).host == "two:only"
            assert process.spawn(waits, "two:processes").host == "two:processes"
            assert await process.exec(host_of_child, "processes") == "two:processes"
        app = App("three")
        app.host("first")
        app.host("second")
        async with app:
            assert process.spawn(waits).host == "three:processes"
            assert process.spawn(waits, "second").host == "three:second"
            assert process.spawn(waits, "three:first").host == "three:first"
            assert await process.exec(host_of_child, "second") == "three:second"
            assert await process.exec(host_of_child, "second", "first") == "three:first"

    run(scenario())


def test_an_unknown_host(inside):
    async def body():
        with pytest.raises(UnknownEntry, match=r"app:nowhere.*come behind the host"):
            process.spawn(waits, "nowhere")
        with pytest.raises(UnknownEntry, match=r'did you mean "app:processes"\?$'):
            process.spawn(waits, "proceses")

    inside(body)


def test_a_full_host_refuses_until_one_ends(run):
    async def scenario():
        app = App()
        app.host("small", max_processes=2)
        async with app:
            first, _ = process.spawn(waits), process.spawn(waits)
            with pytest.raises(HostFull, match="max_processes"):
                process.spawn(waits)
            process.terminate(first)
            process.spawn(waits)
            assert len(app.processes()) == 2

    run(scenario())


def test_a_failed_spawn_leaves_nothing(run):
    """No process, no name, no place taken, and no coroutine that was never awaited."""

    async def scenario():
        app = App()
        app.host("small", max_processes=1)
        app.host("big")
        async with app:
            taken = process.spawn(waits, "small", name="taken")
            for error, host, name in (
                (HostFull, "small", None),
                (HostFull, "small", "new"),
                (NameTaken, "big", "taken"),
                (ValueError, "big", "@bad"),
                (ValueError, "big", "{bad"),
                (ValueError, "big", ""),
                (TypeError, "big", 7),
            ):
                with pytest.raises(error):
                    process.spawn(waits, host, name=name)
            gc.collect()
            assert [one.pid for one in app.processes()] == [taken]
            assert process.lookup("new") is None
            assert app.find_host("big", None).count == 0

    run(scenario())


def test_a_name_is_there_before_the_first_step(inside):
    async def body():
        pid = process.spawn(waits, name="child")
        assert process.lookup("child") == pid
        assert process.send("child", "hello")
        assert (await process.wait(pid)).result.value == "hello"

    inside(body)


# -- relations before the first step ---------------------------------------------------------------


async def fails_at_once():
    """Fail in the first step."""
    raise KeyError("at once")


def test_spawn_monitored_misses_no_exit(inside):
    async def body():
        pid, ref = process.spawn_monitored(fails_at_once)
        event = await process.events().receive()
        assert (event.kind, event.sender, event.reason) == ("EXIT", pid, "error")
        assert event.ref is ref and isinstance(event.result.error, KeyError)

    inside(body)


def test_spawn_linked_takes_the_spawner_down(inside):
    async def linked():
        process.spawn_linked(fails_at_once)
        await never_ends()

    async def body():
        event = await process.wait(process.spawn(linked))
        assert event.reason == "link_failed"
        assert isinstance(event.result.error.__cause__, KeyError)

    inside(body)


def test_spawn_linked_monitored_does_both(inside):
    async def body():
        process.set_options(trap_links=True)
        pid, ref = process.spawn_linked_monitored(fails_at_once)
        assert process.info(pid).links == (process.pid(),)
        seen = [await process.events().receive() for _ in range(2)]
        assert [(one.kind, one.sender, one.ref) for one in seen] == [
            ("EXIT", pid, ref),
            ("LINK_DOWN", pid, None),
        ]

    inside(body)


def test_relations_of_a_spawn_that_fails(inside):
    async def body():
        process.register("taken")
        for spawn in (
            process.spawn_linked,
            process.spawn_monitored,
            process.spawn_linked_monitored,
        ):
            with pytest.raises(NameTaken):
                spawn(waits, name="taken")
        info = process.info(process.pid())
        assert (info.links, info.monitors, len(process.events())) == ((), (), 0)

    inside(body)


# -- exec ------------------------------------------------------------------------------------------


def test_exec_returns_the_value_or_raises_the_error(inside):
    async def raises():
        raise KeyError("mine")

    async def body():
        assert await process.exec(adds, None, 1) == 2
        with pytest.raises(KeyError, match="mine"):
            await process.exec(raises)

    inside(body)


def test_exec_of_what_exits_with_a_reason(inside):
    async def exits(reason):
        process.exit(reason)

    async def body():
        assert await process.exec(exits, None, "normal") is None
        for reason in ("cancelled", "too late"):
            with pytest.raises(ProcessFailed, match=reason) as caught:
                await process.exec(exits, None, reason)
            assert caught.value.reason == reason

    inside(body)


@pytest.mark.parametrize("timeout", [0, 0.001, "1ms"])
def test_exec_terminates_at_its_timeout(inside, timeout):
    async def body():
        with pytest.raises(TimeoutError):
            await process.exec(waits, timeout=timeout, name="slow")
        assert process.lookup("slow") is None

    inside(body)


def test_exec_that_is_cancelled_terminates(inside):
    async def executes():
        await process.exec(waits, name="slow")

    async def body():
        pid = await spawn_parked(executes)
        slow = process.lookup("slow")
        process.cancel(pid)
        assert (await process.wait(pid)).reason == "cancelled"
        with pytest.raises(NoProcess):
            process.info(slow)

    inside(body)


def test_exec_refuses_before_it_spawns(run):
    async def scenario():
        async with App() as app:
            for error, options in ((ValueError, {"timeout": "5"}), (TypeError, {"wrong": 1})):
                with pytest.raises(error):
                    await process.exec(waits, **options)
            assert app.processes() == []

    run(scenario())


# -- exit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["normal", "cancelled", "too late", "error"])
def test_exit_ends_with_its_reason(inside, crashes, reason):
    async def body():
        pid = await spawn_parked(leaves, reason)
        process.send(pid, "go")
        event = await process.wait(pid)
        assert (event.reason, event.result.value, event.result.error) == (reason, None, None)

    inside(body)
    assert crashes() == []


@pytest.mark.parametrize("reason", [None, "", 1])
def test_an_exit_reason_is_text(inside, reason):
    async def body():
        with pytest.raises(TypeError):
            process.exit(reason)

    inside(body)


def test_exit_passes_except_exception_and_runs_finally(inside):
    async def child(seen):
        try:
            try:
                process.exit("over")
            except Exception:
                seen.append("caught")
        finally:
            seen.append("finally")

    async def body():
        seen = []
        assert (await process.wait(process.spawn(child, None, seen))).reason == "over"
        assert seen == ["finally"]

    inside(body)


def test_exit_in_a_child_of_a_task_group(inside, crashes):
    async def exits():
        process.exit("over")

    async def child():
        async with asyncio.TaskGroup() as group:
            group.create_task(exits())

    async def body():
        assert (await process.wait(process.spawn(child))).reason == "over"

    inside(body)
    assert crashes() == []


def test_a_parked_failure_is_logged_once_with_pid_and_entry(inside, crashes):
    async def body():
        pid = await spawn_parked(fails, KeyError("secret"))
        process.send(pid, "go")
        await process.wait(pid)
        await settle()
        return pid

    pid = inside(body)
    (line,) = crashes()
    assert pid in line and "process_helpers:fails" in line and "KeyError" in line
