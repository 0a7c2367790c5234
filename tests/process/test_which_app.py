"""Which App a call belongs to."""

import asyncio
import threading

import aiohttp
import pytest
from process_helpers import never_ends, settle, spawn_parked, waits

from wsrelay import App, NoApp, PlainTextResponse, WrongThread, process


def test_no_app_raises_from_each_call(run):
    def calls():
        for call in (
            lambda: process.spawn(waits),
            lambda: process.send("name", "topic"),
            lambda: process.lookup("name"),
            lambda: process.cancel("name"),
            lambda: process.info("name"),
            lambda: process.send_after(0, "name", "topic"),
            lambda: process.broadcast(["name"], "topic"),
            lambda: process.terminate("name"),
            lambda: process.unregister("name"),
        ):
            with pytest.raises(NoApp):
                call()

    async def scenario():
        calls()
        for coroutine in (process.exec(waits), process.wait("name"), process.call("name", "a")):
            with pytest.raises(NoApp):
                await coroutine
        async with App():
            pass
        calls()

    calls()  # without a loop, too
    run(scenario())


def test_the_only_running_app_is_found_in_any_task_and_callback(run):
    async def scenario():
        elsewhere = asyncio.create_task(_spawns_when(started := asyncio.Event()))
        async with App("only"):
            started.set()
            assert (await elsewhere).host == "only:processes"
            found = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(
                lambda: found.set_result(process.spawn(never_ends))
            )
            assert (await found).host == "only:processes"

    run(scenario())


async def _spawns_when(started):
    await started.wait()
    return process.spawn(waits)


def test_several_apps_raise_where_nothing_chooses(run):
    async def scenario():
        started = asyncio.Event()
        elsewhere = asyncio.create_task(_spawns_when(started))
        async with App("one") as one, App("two"):
            assert process.spawn(waits).host == "two:processes"  # the innermost body
            started.set()
            with pytest.raises(NoApp, match="2 Apps"):
                await elsewhere
            with one.active():
                assert process.spawn(waits).host == "one:processes"
            assert process.spawn(waits).host == "two:processes"

    run(scenario())


def test_two_apps_have_tables_of_their_own(run):
    async def scenario():
        async with App("one") as one, App("two") as two:
            with one.active():
                first = await spawn_parked(waits, name="name")
            second = await spawn_parked(waits, name="name")
            assert process.lookup("name") == second
            with one.active():
                assert process.lookup("name") == first
                assert process.send("name", "to one")
                assert (await process.wait(first)).result.value == "to one"
                assert process.lookup("name") is None
            assert [info.pid for info in two.processes()] == [second]
            assert one.processes() == []
            assert not process.send(str.__str__(first), "topic")

    run(scenario())


def test_a_process_keeps_its_app_and_so_do_its_tasks(run):
    async def child():
        return process.spawn(waits).host

    async def keeps(gate):
        await gate.wait()
        return [process.spawn(waits).host, await asyncio.create_task(child())]

    async def scenario():
        gate = asyncio.Event()
        async with App("one"):
            waiting = asyncio.create_task(process.exec(keeps, None, gate))
            await settle()
            async with App("two") as two:
                with two.active():
                    gate.set()
                    assert await waiting == ["one:processes"] * 2

    run(scenario())


def test_a_process_of_another_app_is_reached_by_its_pid(run):
    async def sends_to(dest):
        return process.send(dest, "across")

    async def scenario():
        async with App("one"):
            pid = await spawn_parked(waits)
            waiting = asyncio.create_task(process.wait(pid))
            await settle()
            async with App("two"):
                assert await process.exec(sends_to, None, pid)
                assert (await waiting).result.value == "across"

    run(scenario())


def test_the_end_of_a_body_gives_the_outer_app_back(run):
    async def scenario():
        async with App("one"):
            async with App("two"):
                pass
            assert process.spawn(waits).host == "one:processes"

    run(scenario())


def test_an_app_can_run_again(run):
    async def scenario():
        app = App()
        pids = []
        for _ in range(2):
            async with app:
                pids.append(await spawn_parked(waits, name="name"))
        assert len(set(pids)) == 2
        async with app:
            assert not process.send(pids[0], "topic")
            with pytest.raises(RuntimeError, match="running already"):
                await app.start()

    run(scenario())


def test_active_and_processes_need_a_running_app(run):
    async def scenario():
        app = App()
        for _ in range(2):
            with pytest.raises(NoApp), app.active():
                pass
            with pytest.raises(NoApp):
                app.processes()
            async with app:
                pass

    run(scenario())


def test_handlers_have_their_app(run):
    """Each handler spawns in its own App, and acts as the system."""

    def add_route(app):
        @app.router().get("/")
        async def spawns(request):
            pid = process.spawn(waits)
            return PlainTextResponse(pid.host)

    async def scenario():
        apps = [App("one"), App("two")]
        for app in apps:
            add_route(app)
        async with (
            apps[0].running() as one,
            apps[1].running() as two,
            aiohttp.ClientSession() as session,
        ):
            for server, name in ((one, "one"), (two, "two"), (one, "one")):
                async with session.get(f"http://127.0.0.1:{server.port}/") as response:
                    assert (response.status, await response.text()) == (200, f"{name}:processes")

    run(scenario())


def test_the_body_of_running_has_its_app(run):
    async def scenario():
        async with App("one").running(), App("two").running():
            assert process.spawn(waits).host == "two:processes"

    run(scenario())


def test_another_thread_is_refused(run):
    def calls(pid, seen):
        for call in (
            lambda: process.send(pid, "topic"),
            lambda: process.cancel(pid),
            lambda: process.info(pid),
        ):
            with pytest.raises(WrongThread):
                call()
        with pytest.raises(NoApp):
            process.spawn(waits)
        seen.append("all")

    async def scenario():
        async with App():
            seen = []
            thread = threading.Thread(target=calls, args=(process.spawn(waits), seen))
            thread.start()
            thread.join()
            assert seen == ["all"]

    run(scenario())
