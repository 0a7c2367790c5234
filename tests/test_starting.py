"""When a service counts as started, the order of starts, and what a failed one leaves."""

import asyncio
import logging

import pytest
from service_helpers import EXACT, Diary, Time, new_app, obeys, settle

from wsrelay import App, StartFailed, UnknownEntry, lifecycle, process
from wsrelay.errors import NotAProcess
from wsrelay.starting import Family


def states(app):
    return [one.state for one in app.supervisor.status()]


async def fails():
    raise ValueError("boom")


# -- started ---------------------------------------------------------------------------------------


def test_the_first_wait_is_the_start(run_everywhere):
    async def main():
        steps = []

        async def steps_once():
            steps.append(1)
            await asyncio.sleep(0)
            await asyncio.Event().wait()

        app = App()
        app.supervise("it", steps_once)
        async with app:
            assert (steps, states(app)) == ([1], ["running"])

    run_everywhere(main())


def test_the_end_of_the_block_is_the_start(run_everywhere):
    async def main():
        steps, go = [], asyncio.Event()

        async def connects():
            with process.starting():
                steps.append("connecting")
                await go.wait()
                with process.starting():
                    await asyncio.sleep(0)
                steps.append("connected")
            await obeys()

        async def uses():
            steps.append("used")
            await obeys()

        app = App()
        app.supervise("user", uses, requires=["database"])
        app.supervise("database", connects)
        start = asyncio.ensure_future(app.start())
        await settle()
        assert (steps, states(app)) == (["connecting"], ["stopped", "starting"])
        go.set()
        await start
        assert (steps, states(app)) == (["connecting", "connected", "used"], ["running"] * 2)
        await app.stop()

    run_everywhere(main())


def test_one_that_returns_has_started(run):
    async def main():
        done = []

        async def migrates():
            with process.starting():
                await settle()
                done.append("migrated")

        async def uses():
            done.append("used")
            await obeys()

        app = App()
        app.supervise("migration", migrates)
        app.supervise("user", uses, requires=["migration"])
        async with app:
            assert (done, states(app)) == (["migrated", "used"], ["stopped", "running"])

    run(main())


def test_the_block_elsewhere_does_nothing(run):
    async def child():
        with process.starting():
            await asyncio.Event().wait()

    async def parent():
        process.spawn(child)
        await asyncio.Event().wait()

    async def main():
        with pytest.raises(NotAProcess), process.starting():
            pass
        app = App()
        app.supervise("it", parent)
        async with app:
            process.spawn(child)
            await settle()
            assert states(app) == ["running"]

    run(main())


def test_the_block_of_a_child_is_not_its_parents(run):
    async def child():
        with process.starting():
            await asyncio.Event().wait()

    async def parent():
        with process.starting():
            process.spawn(child)
            await settle()
        await asyncio.Event().wait()

    async def main():
        app = App()
        app.supervise("it", parent)
        async with app:
            assert states(app) == ["running"]

    run(main())


def test_the_block_of_a_dead_process_says_nothing_of_the_next(run):
    async def main():
        blocks = []

        async def hangs():
            block = process.starting()
            block.__enter__()
            blocks.append(block)
            await asyncio.Event().wait()

        app = App()
        app.supervise("it", hangs, auto_start=False)
        async with app:
            first = asyncio.ensure_future(app.supervisor.start("it"))
            await settle()
            await app.supervisor.stop("it")
            with pytest.raises(StartFailed):
                await first
            second = asyncio.ensure_future(app.supervisor.start("it"))
            await settle()
            blocks[0].__exit__(None, None, None)
            await settle()
            assert states(app) == ["starting"]
            blocks[1].__exit__(None, None, None)
            await second
            assert states(app) == ["running"]

    run(main())


def test_a_block_after_the_start_does_nothing(run):
    async def main():
        time = Time()

        async def late():
            await asyncio.sleep(0)
            with process.starting():
                await obeys()

        app = new_app(time)
        app.supervise("it", late, restart=EXACT)
        async with app:
            await time.pass_by(100)
            assert states(app) == ["running"]
            process.send("it", "raise")
            await settle()
            assert states(app) == ["waiting"]

    run(main())


# -- failed starts ---------------------------------------------------------------------------------


def failing(kind):
    async def in_a_block():
        with process.starting():
            await settle()
            raise ValueError("boom")

    async def cancelled():
        raise asyncio.CancelledError

    async def leaves():
        process.exit("no reason")

    return {
        "at once": (fails, "ValueError: boom"),
        "in a block": (in_a_block, "ValueError: boom"),
        "cancelled": (cancelled, "cancelled"),
        "exit": (leaves, "no reason"),
        "no function": ("app.nowhere:f", 'UnknownEntry: there is no process "app.nowhere:f" '),
        "no process": (print, "TypeError: builtins:print is no async function"),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["at once", "in a block", "cancelled", "exit", "no function", "no process"]
)
def test_a_failed_start_stops_what_has_started(run_everywhere, caplog, kind):
    async def main():
        diary = Diary()
        function, why = failing(kind)
        app = App()
        app.supervise("a", diary.keeper("a"))
        app.supervise("b", diary.keeper("b"))
        app.supervise("bad", function, requires=["a", "b"])
        app.supervise("never", diary.keeper("never"), requires=["bad"])
        with pytest.raises(StartFailed) as raised:
            async with app:
                raise AssertionError
        start = f'process.service "app:bad" did not start: {why}'
        assert str(raised.value).startswith(start)
        assert diary.lines == ["+a", "+b", "-b", "-a"]
        assert not app.is_running
        assert app.registry.find_host(None, None).count == 0
        tracebacks = [one for one in caplog.records if one.exc_info]
        assert len(tracebacks) == ("ValueError" in why), "once, and none for a mistake in the call"

    run_everywhere(main())


def test_the_cause_is_kept(run):
    async def main():
        app = App()
        app.supervise("it", fails)
        with pytest.raises(StartFailed) as raised:
            await app.start()
        assert isinstance(raised.value.__cause__, ValueError)
        assert (raised.value.entry, raised.value.why) == ("app:it", "ValueError: boom")

    run(main())


def test_what_a_wrapper_raises_has_its_traceback_in_the_log(run, caplog):
    def wrapper():
        return [][0]

    async def main():
        app = App()
        app.supervise("it", wrapper)
        with pytest.raises(StartFailed, match="IndexError: list index out of range"):
            await app.start()
        (line,) = [one for one in caplog.records if one.exc_info]
        assert line.getMessage() == "service app:it: IndexError: list index out of range"

    run(main())


def test_a_start_that_takes_too_long(run):
    async def hangs():
        with process.starting():
            await asyncio.Event().wait()

    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", hangs, start_timeout="30s", auto_start=False)
        app.supervise("patient", hangs, start_timeout=0, auto_start=False)
        async with app:
            start = asyncio.ensure_future(app.supervisor.start("it"))
            await time.pass_by(29.9)
            assert not start.done()
            await time.pass_by(0.1)
            with pytest.raises(StartFailed, match=r"not started within its start_timeout of 30s$"):
                await start
            assert states(app) == ["failed", "stopped"]
            start = asyncio.ensure_future(app.supervisor.start("patient"))
            await time.pass_by(1e9)
            assert not start.done()
            await app.supervisor.stop("patient")
            with pytest.raises(StartFailed, match=r"it was stopped$"):
                await start

    run(main())


def test_a_restart_that_takes_too_long_is_an_attempt(run):
    async def main():
        time, slow = Time(), []

        async def connects():
            with process.starting():
                if slow:
                    await asyncio.Event().wait()
            await obeys()

        app = new_app(time)
        app.supervise("it", connects, restart=EXACT)
        async with app:
            slow.append(1)
            process.send("it", "raise")
            await time.pass_by(1)
            assert (states(app), time.due) == (["starting"], [10])
            await time.pass_by(10)
            assert (states(app), time.due) == (["waiting"], [2])
            (one,) = app.supervisor.status()
            assert (one.attempts, one.reason) == (2, "not started within its start_timeout of 10s")
            slow.clear()
            await time.pass_by(2)
            assert states(app) == ["running"]
            process.send("it", "raise", "boom")
            await settle()
            assert app.supervisor.status()[0].reason == "ValueError: boom"

    run(main())


def test_all_who_wait_for_a_start_are_told(run, caplog):
    async def main():
        go = asyncio.Event()

        async def slow():
            with process.starting():
                await go.wait()
                raise ValueError("boom")

        caplog.set_level(logging.ERROR, "wsrelay.service")
        app = App()
        app.supervise("it", slow, auto_start=False)
        async with app:
            first = asyncio.ensure_future(app.supervisor.start("it"))
            second = asyncio.ensure_future(app.supervisor.start("it"))
            await settle()
            go.set()
            for start in (first, second):
                with pytest.raises(StartFailed, match="boom"):
                    await start
            assert [one.name for one in caplog.records] == ["wsrelay.process"]

    run(main())


def test_a_failure_that_nobody_waits_for_is_logged(run, caplog):
    async def main():
        go = asyncio.Event()

        async def slow():
            with process.starting():
                await go.wait()
                raise ValueError("boom")

        caplog.set_level(logging.ERROR, "wsrelay.service")
        app = App()
        app.supervise("it", slow, stop_timeout=0)
        start = asyncio.ensure_future(app.start())
        await settle()
        app.request_stop()
        await start  # it gives up, and leaves the rest to the stop that is to come
        go.set()
        await settle()
        assert states(app) == ["failed"]
        assert caplog.messages[-1] == "service app:it did not start: ValueError: boom"
        await app.stop()

    run(main())


def test_sys_exit_while_starting(run):
    async def leaves():
        raise SystemExit(3)

    async def main():
        app = App()
        app.supervise("it", leaves)
        with pytest.raises(SystemExit) as left:
            await app.start()
        assert left.value.code == 3
        assert not app.is_running
        assert app.supervisor.status()[0].state == "stopped"

    run(main())


def test_sys_exit_while_others_start(run):
    async def leaves():
        await process.inbox().receive()
        raise SystemExit(3)

    async def hangs():
        with process.starting():
            process.send("leaves", "go")
            await asyncio.Event().wait()

    async def main():
        app = App()
        app.supervise("leaves", leaves)
        app.supervise("hangs", hangs)
        entered = []
        with pytest.raises(SystemExit) as left:
            async with app:
                entered.append(1)
        assert entered == []
        assert left.value.code == 3
        assert not app.is_running

    run(main())


def test_a_stop_while_services_start(run):
    async def main():
        diary, went_on = Diary(), []

        async def hangs():
            with process.starting():
                await asyncio.Event().wait()

        app = App()
        app.supervise("first", diary.keeper("first"))
        app.supervise("hangs", hangs)
        app.supervise("last", diary.keeper("last"))
        app.listen = lambda *_: went_on.append("listening")
        serving = asyncio.ensure_future(app.serve(port=0))
        await settle()
        assert states(app) == ["running", "starting", "stopped"]
        app.request_stop()
        await serving
        assert (diary.lines, went_on) == (["+first", "-first"], [])

    run(main())


def test_a_start_that_is_cancelled_leaves_nothing(run):
    async def main():
        diary = Diary()

        async def hangs():
            with process.starting():
                await asyncio.Event().wait()

        app = App()
        app.supervise("first", diary.keeper("first"))
        app.supervise("hangs", hangs)
        start = asyncio.ensure_future(app.start())
        await settle()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert diary.lines == ["+first", "-first"]
        assert not app.is_running

    run(main())


# -- order -----------------------------------------------------------------------------------------


def test_start_by_requires_and_stop_in_reverse(run_everywhere):
    async def main():
        diary = Diary()
        app = App()
        app.supervise("web", diary.keeper("web"), requires=["cache", "app:queue"])
        app.supervise("cache", diary.keeper("cache"), requires=["database"], auto_start=False)
        app.supervise("unused", diary.keeper("unused"), auto_start=False)
        app.supervise("database", diary.keeper("database"))
        app.supervise("queue", diary.keeper("queue"))
        async with app:
            assert diary.take() == ["+database", "+queue", "+cache", "+web"]
        assert diary.take() == ["-web", "-cache", "-queue", "-database"]
        async with app:
            assert diary.take() == ["+database", "+queue", "+cache", "+web"], "and once more"

    run_everywhere(main())


def test_by_hand_in_order_too(run):
    async def main():
        diary = Diary()
        app = App()
        app.supervise("a", diary.keeper("a"), auto_start=False)
        app.supervise("b", diary.keeper("b"), auto_start=False, requires=["a"])
        app.supervise("c", diary.keeper("c"), auto_start=False, requires=["b"])
        app.supervise("d", diary.keeper("d"), auto_start=False)
        app.supervise("bad", fails, auto_start=False, requires=["c", "d"])
        async with app:
            await app.supervisor.start("d")
            await app.supervisor.start("c")
            assert diary.take() == ["+d", "+a", "+b", "+c"]
            await app.supervisor.restart("a")
            assert diary.take() == ["-a", "+a"], "as after a failure"
            await app.supervisor.stop("a")
            assert diary.take() == ["-c", "-b", "-a"]
            with pytest.raises(StartFailed, match='"app:bad" did not start'):
                await app.supervisor.start("bad")
            assert diary.take() == ["+a", "+b", "+c", "-c", "-b", "-a"], "and d lives on"
        assert diary.take() == ["-d"]

    run(main())


def test_requires_that_can_not_be(run):
    async def main():
        app = App()
        app.supervise("a", obeys, requires=["b"])
        app.supervise("b", obeys, requires=["c"])
        with pytest.raises(UnknownEntry, match=r'"app:b": requires: there is no process\.s.* "a'):
            await app.start()
        app.supervise("c", obeys, requires=["a"])
        with pytest.raises(ValueError, match="app:a → app:b → app:c → app:a is a circle"):
            await app.start()
        assert not app.is_running

    run(main())


# -- the end of the App ----------------------------------------------------------------------------


def test_what_services_have_not_started_ends_before_them(run_everywhere):
    async def main():
        diary = Diary()

        async def store():
            process.spawn(worker)
            try:
                async for message in process.inbox():
                    diary.lines.append(f"stored {message.payload}")
            finally:
                diary.lines.append("-store")

        async def worker():
            await asyncio.sleep(0)
            process.spawn(diary.keeper("grandchild"))
            await diary.keeper("child")()

        async def room():
            try:
                await asyncio.Event().wait()
            finally:
                process.send("store", "save", "room")

        app = App()
        app.supervise("store", store)
        app.supervise("other", diary.keeper("other"))
        async with app:
            process.spawn(room)
            await settle()
            assert sorted(diary.take()) == ["+child", "+grandchild", "+other"]
        assert diary.take() == ["stored room", "-other", "-store", "-grandchild", "-child"]

    run_everywhere(main())


def test_each_service_has_its_part_of_the_time(run):
    async def main():
        diary = Diary()

        async def deaf():
            async for _ in process.events():
                pass

        app = App()
        app.service(shutdown=0.4)
        app.supervise("polite", diary.keeper("polite"))
        app.supervise("deaf", deaf, stop_timeout=0)
        async with app:
            process.spawn(deaf)
            await settle()
        assert diary.lines == ["+polite", "-polite"], "cancelled, not terminated"
        assert [one.reason for one in app.supervisor.status()] == ["cancelled", "killed"]

    run(main())


MANY = 40_000  # messages; more than the drains of some turns take


def test_mail_of_the_last_moment_is_taken(run, monkeypatch):
    monkeypatch.setattr(lifecycle, "DELIVERY", 10.0)

    async def main():
        seen = []

        async def store():
            box = process.inbox()
            while True:
                seen.append((await box.receive()).payload)

        async def room():
            try:
                await asyncio.Event().wait()
            finally:
                for number in range(MANY):
                    process.send("store", "save", number)

        app = App()
        app.supervise("store", store)
        async with app:
            process.spawn(room)
            await settle()
        assert seen == list(range(MANY))

    run(main())


@pytest.mark.parametrize("limit", [2, 1000, 0])
def test_a_service_has_its_stop_timeout_within_the_shutdown(run, limit):
    async def deaf():
        async for _ in process.events():
            pass

    async def main():
        time = Time()
        app = new_app(time)
        app.service(shutdown=60)
        app.supervise("other", obeys)
        app.supervise("deaf", deaf, stop_timeout=limit)
        await app.start()
        await settle()
        await time.pass_by(5)  # stable: no timer of that
        stop = asyncio.ensure_future(app.stop())
        await settle()
        (left,) = time.due
        assert left == 2 if limit == 2 else 0 < left <= 30, "or one half of what is left"
        await time.pass_by(left)
        await stop

    run(main())


def test_what_fails_while_the_app_stops_is_not_restarted(run, caplog):
    async def main():
        time = Time()

        async def breaks():
            try:
                await asyncio.Event().wait()
            finally:
                process.send("first", "raise")
                raise ValueError("boom")

        app = new_app(time)
        app.supervise("first", obeys, stop_timeout=0)
        app.supervise("last", breaks)
        async with app:
            pass
        assert states(app) == ["stopped", "stopped"]
        assert [one.reason for one in app.supervisor.status()] == [
            "ValueError: None",
            "ValueError: boom",
        ]
        assert time.due == []
        assert [one for one in caplog.records if one.name == "wsrelay.service"] == []

    run(main())


def test_a_service_that_fails_while_connections_are_closed_comes_back(run):
    """Until services are stopped they are kept alive: handlers may need them."""

    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys, restart=EXACT)
        async with app:
            app.request_stop()
            process.send("it", "raise")
            await time.pass_by(1)
            assert states(app) == ["running"]

    run(main())


def test_the_family_forgets_the_dead(run):
    async def nothing():
        pass

    async def main():
        async with App():
            family = Family()
            alive = process.spawn(obeys)
            family.add(alive)
            for _ in range(10):
                for _ in range(100):
                    family.add(process.spawn(nothing))
                await settle()
            assert alive in family
            assert len(family) < 300

    run(main())
