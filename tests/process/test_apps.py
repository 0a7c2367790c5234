"""Which App a call belongs to, and how an App stops (rule 8)."""

import asyncio
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from process_helpers import beside, forever, settle

import wsrelay
from wsrelay import App, process
from wsrelay.errors import NoApp

# -- which App -------------------------------------------------------------------------------------


def test_two_apps_in_one_loop(run) -> None:
    async def main() -> None:
        first, second = App("first"), App("second")
        await first.start()
        assert process.spawn(forever).host == "first:processes", "the only one"
        await second.start()
        with pytest.raises(NoApp, match="2 Apps"):
            process.spawn(forever)
        with first.active():
            one = process.spawn(forever, name="same")
            with second.active():
                other = process.spawn(forever, name="same")
            assert process.lookup("same") == one
        assert (one.host, other.host) == ("first:processes", "second:processes")
        assert process.send(one, "t")
        assert process.send(other, "t"), "a PID knows its App"
        with first.active():
            assert process.send(str(one), "t")
            assert not process.send(str(other), "t"), "its text does not"

        async def inner() -> str:
            return process.spawn(forever).host

        with second.active():
            assert await process.exec(inner) == "second:processes"
        await first.stop()
        assert process.spawn(forever).host == "second:processes", "the only one that runs"
        await second.stop()
        with pytest.raises(NoApp), first.active():
            pass
        with pytest.raises(NoApp):
            process.lookup("same")

    run(main())


def test_nested_apps(run) -> None:
    async def main() -> None:
        async with App("outer"):
            async with App("inner"):
                assert process.spawn(forever).host == "inner:processes"
            assert process.spawn(forever).host == "outer:processes"

    run(main())


def test_monitors_and_links_across_apps(run) -> None:
    async def watcher(pid: str) -> list[str]:
        process.monitor(pid)
        process.set_options(trap_links=True)
        process.link(pid)
        box = process.events()
        return sorted([(await box.receive(5)).kind for _ in range(2)])

    async def main() -> None:
        async with App("outer"):
            pid = process.spawn(forever)
            async with App("inner"):
                waits = asyncio.ensure_future(process.exec(watcher, None, pid))
                await settle()
                process.terminate(pid)
                assert await waits == ["EXIT", "LINK_DOWN"]

    run(main())


def test_an_app_starts_once_and_again(run) -> None:
    async def main() -> None:
        app = App()
        for _ in range(2):
            async with app:
                with pytest.raises(RuntimeError, match="running already"):
                    await app.start()
                pid = process.spawn(forever)
            assert not app.is_running
            with pytest.raises(NoApp):
                app.processes()
            with pytest.raises(NoApp):
                process.send(str(pid), "t")
        await app.stop()

    run(main())


def test_an_app_that_is_left_in_another_context(run) -> None:
    async def main() -> None:
        app = App()
        await asyncio.create_task(app.__aenter__())
        assert app.is_running
        await app.__aexit__(None, None, None)
        assert not app.is_running

    run(main())


# -- leaving ---------------------------------------------------------------------------------------


def test_stop_cancels_the_youngest_first(run) -> None:
    async def main() -> None:
        order: list[int] = []

        async def tidy(number: int) -> None:
            try:
                await process.receive()
            finally:
                order.append(number)

        async with App() as app:
            for number in range(5):
                process.spawn(tidy, None, number)
            await settle()
            assert len(app.processes()) == 5
        assert order == [4, 3, 2, 1, 0]
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_last_words_are_heard(run) -> None:
    """While the App stops, its processes may still send, spawn, and wait for what they spawned."""

    async def main() -> None:
        said: list[Any] = []

        async def short() -> str:
            await asyncio.sleep(0.001)
            return "done"

        async def parent() -> None:
            try:
                await forever()
            finally:
                said.append(await process.exec(short))

        async def polite() -> None:
            event = await process.events().receive()
            said.append((event.kind, event.reason))
            process.spawn(forever)

        async with App():
            process.spawn(parent)
            process.spawn(polite)
            await settle()
        assert said == [("CANCEL", "the App stops"), "done"]
        assert len(asyncio.all_tasks()) == 1

    run(main())


def stopping_app(shutdown: float) -> App:
    app = App()
    app.service(shutdown=shutdown)
    return app


def test_what_does_not_end_is_terminated(run, caplog) -> None:
    async def main() -> None:
        reasons: list[str] = []

        async def deaf() -> None:
            process.events()
            await forever()

        async def watch(pid: str) -> None:
            reasons.append((await process.wait(pid)).reason)

        async with stopping_app(0.05):
            task = asyncio.ensure_future(watch(process.spawn(deaf)))
            await settle()
        await task
        assert reasons == ["killed"]
        assert caplog.records == []
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_stubborn_process_is_logged_by_name(run, caplog) -> None:
    async def main() -> None:
        goes_on = True

        async def stubborn() -> None:
            while goes_on:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue

        async with stopping_app(0.05):
            pid = process.spawn(stubborn)
            await settle()
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert pid in record.getMessage()
        assert "stubborn" in record.getMessage()
        goes_on = False
        await asyncio.wait([one for one in asyncio.all_tasks() if one.get_name() == pid])

    run(main())


def test_endless_respawning_ends(run) -> None:
    """Each process starts another at its end: at the deadline none may start any more."""

    async def main() -> None:
        async def phoenix() -> None:
            try:
                await forever()
            finally:
                process.spawn(phoenix)

        async with stopping_app(0.05) as app:
            process.spawn(phoenix)
            await settle()
        await settle()
        assert not app.is_running
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_no_spawn_after_the_stop(run) -> None:
    async def main() -> None:
        app = App()
        async with app:
            with app.active():
                pass
        async with App("other"):
            assert process.spawn(forever).host == "other:processes"

    run(main())


def test_an_interrupted_stop_leaves_no_app(run) -> None:
    async def main() -> None:
        async def deaf() -> None:
            process.events()
            await forever()

        app = stopping_app(5.0)
        await app.start()
        process.spawn(deaf)
        await settle()
        stopping = asyncio.ensure_future(app.stop())
        await settle()
        stopping.cancel()
        await asyncio.wait([stopping])
        assert not app.is_running
        with pytest.raises(NoApp):
            process.spawn(forever)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    run(main())


# -- SystemExit and KeyboardInterrupt --------------------------------------------------------------


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("how", ["body", "serve"])
def test_the_app_stops_in_order(how: str, kind: type[BaseException]) -> None:
    error = kind(3)
    tidied: list[str] = []

    async def tidy() -> None:
        try:
            await process.receive()
        finally:
            await asyncio.sleep(0)
            tidied.append("process")

    async def end() -> None:
        await asyncio.sleep(0)
        raise error

    async def watched() -> None:
        pid = process.spawn(end)
        event = await process.wait(pid)
        tidied.append(type(event.result.error).__name__)

    async def body() -> None:
        async with App():
            process.spawn(tidy)
            process.spawn(watched)
            try:
                await forever()
            finally:
                tidied.append("body")

    async def serve() -> None:
        app = App()
        serving = asyncio.ensure_future(app.serve("127.0.0.1:0"))
        while not app.servers:
            await asyncio.sleep(0.001)
        process.spawn(tidy)
        process.spawn(watched)
        await serving

    with pytest.raises(kind) as caught:
        asyncio.run({"body": body, "serve": serve}[how]())
    assert caught.value is error
    name = kind.__name__
    assert sorted(tidied) == sorted([name, "process", *(["body"] if how == "body" else [])])


# -- at the exit of the interpreter ----------------------------------------------------------------


def python(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


@pytest.mark.parametrize("loop", ["uvloop.new_event_loop", "asyncio.new_event_loop"])
def test_no_warning_at_the_exit(loop: str) -> None:
    result = python(
        f"""
        import asyncio, uvloop
        from wsrelay import App, process

        async def server():
            async for message in process.inbox():
                message.reply(message.payload)

        async def parked():
            process.send_after(60, process.pid(), "never")
            process.events()
            await process.select(process.inbox(), process.listen("t"))

        app = App()
        app.service(shutdown=0.05)  # some of them are deaf to a cancel

        async def main():
            async with app:
                pids = [process.spawn(parked) for _ in range(10)]
                pid = process.spawn(server)
                assert await process.call(pid, "t", 5) == 5
                process.terminate(pids[0])
                process.cancel(pids[1])
                process.spawn(parked)
                process.send_after(60, pid, "never")

        with asyncio.Runner(loop_factory={loop}) as runner:
            runner.run(main())
        print("end")
        """,
        "-X",
        "dev",
        "-W",
        "error",
    )
    assert (result.stdout, result.stderr, result.returncode) == ("end\n", "", 0)


def test_the_exit_status_of_a_program() -> None:
    result = python(
        """
        import sys
        from wsrelay import App, process

        app = App()

        @app.process("worker")
        async def worker():
            sys.exit(7)

        async def start():
            import asyncio
            while not app.is_running:
                await asyncio.sleep(0.001)
            process.spawn("worker")

        async def main():
            import asyncio
            task = asyncio.ensure_future(start())
            await app.serve("127.0.0.1:0")

        import asyncio
        asyncio.run(main())
        """,
        "-X",
        "dev",
        "-W",
        "error",
    )
    assert result.returncode == 7, result.stderr
    assert result.stderr == ""


def test_a_fork_while_the_app_runs() -> None:
    """Every call in the child says what is wrong; the parent's processes go on."""
    result = python(
        """
        import asyncio, os
        from wsrelay import App, process
        from wsrelay.errors import NoApp

        async def nothing():
            pass

        def in_child(calls):
            refused = 0
            for call in calls:
                try:
                    call()
                except NoApp:
                    refused += 1
            os.write(1, b"%d of %d\\n" % (refused, len(calls)))
            os._exit(0)

        async def worker():
            me = process.pid()
            child = os.fork()
            if child == 0:
                in_child([process.pid, process.inbox, lambda: process.send(me, "t"),
                          lambda: process.spawn(nothing), lambda: process.monitor(me),
                          lambda: process.send_threadsafe(me, "t"),
                          lambda: process.cancel(me), lambda: process.lookup("x")])
            os.waitpid(child, 0)
            process.send(me, "t", "goes on")
            return (await process.receive()).payload

        async def main():
            async with App():
                child = os.fork()
                if child == 0:
                    in_child([lambda: process.spawn(nothing), lambda: process.lookup("x")])
                os.waitpid(child, 0)
                print(await process.exec(worker))

        asyncio.run(main())
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert result.stdout == "2 of 2\n8 of 8\ngoes on\n", result.stderr


def test_a_loop_that_was_closed_with_processes_alive() -> None:
    result = python(
        """
        import asyncio
        from wsrelay import App, process
        from wsrelay.errors import NoApp

        async def parked():
            await process.receive()

        async def main():
            await App().start()
            pid = process.spawn(parked)
            await asyncio.sleep(0)
            return pid

        loop = asyncio.new_event_loop()
        pid = loop.run_until_complete(main())
        loop.close()
        for call in (process.send_threadsafe, process.send, process.send):
            try:
                call(pid, "t")
            except NoApp as error:
                print(error)

        async def again():
            async with App():
                process.send_threadsafe("nobody", "t")
                return process.spawn(parked).host

        print(asyncio.run(again()))
        """
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "the loop of this App is closed", result.stderr
    assert lines[1:3] == ["the loop of this App was closed while its processes lived"] * 2
    assert lines[3] == "app:processes"


# -- isolation (rule 7) ----------------------------------------------------------------------------


def test_a_crash_hurts_nobody_else(run, caplog) -> None:
    async def crash(number: int) -> None:
        await process.receive()
        if number % 3 == 0:
            raise ValueError(number)
        if number % 3 == 1:
            wsrelay.exit("bored")
        raise asyncio.CancelledError

    async def echo() -> int:
        total = 0
        while total < 100:
            await process.receive()
            total += 1
        return total

    async def body(app: App) -> None:
        survivor = process.spawn(echo)
        waits = asyncio.ensure_future(process.wait(survivor))
        crashing = [process.spawn(crash, None, number) for number in range(99)]
        await settle()
        for pid in crashing:
            process.send(survivor, "n")
            process.send(pid, "n")
        process.send(survivor, "n")
        assert (await waits).result.value == 100
        await settle()
        assert app.processes() == []
        assert len(caplog.records) == 33

    run(beside(body))
