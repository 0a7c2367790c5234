"""The run queue: fairness in counted steps, isolation, threads, forks and closed loops."""

import asyncio
import itertools
import subprocess
import sys
import threading
import time

import pytest
from core_helpers import Core, settle

from wsrelay_core import Process, current_process, send
from wsrelay_core._errors import NoApp, WrongThread

ROUNDS = 64  # rule 6: of one drain
CLOCK_EVERY = 8  # steps between two looks at the clock


def test_a_drain_ends_after_64_rounds(run) -> None:
    """Two processes play for ever; the loop gets its turn after 64 steps."""

    async def main() -> None:
        steps = 0
        turns: list[int] = []

        async def player() -> None:
            nonlocal steps
            async for message in current_process().inbox():
                steps += 1
                send(message.sender or message.payload, "ball")

        def turn() -> None:
            turns.append(steps)
            if len(turns) < 50:
                asyncio.get_running_loop().call_soon(turn)
            else:
                done.set()

        async with Core() as core:
            done = asyncio.Event()
            first, second = core.spawn(player), core.spawn(player)
            await settle()
            send(first.pid, "ball", second.pid)
            turn()
            await asyncio.wait_for(done.wait(), 10)
            gaps = [after - before for before, after in itertools.pairwise(turns)]
            assert max(gaps) == ROUNDS
            assert gaps.count(ROUNDS) > 40, "a drain goes on as long as it may"

    run(main())


def test_a_drain_ends_after_5_ms(run) -> None:
    """Steps that take long: I/O is not kept waiting until all of them are done."""

    async def main() -> None:
        stepped = 0

        async def slow() -> None:
            nonlocal stepped
            await current_process().inbox().receive()
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            stepped += 1

        async with Core() as core:
            processes = [core.spawn(slow) for _ in range(64)]
            await settle()
            for process in processes:
                send(process.pid, "go")
            await asyncio.sleep(0)
            seen = [stepped]
            while stepped < 64:
                await asyncio.sleep(0)
                seen.append(stepped)
            gaps = [after - before for before, after in itertools.pairwise(seen)]
            assert max(gaps) <= CLOCK_EVERY

    run(main())


def test_a_process_that_always_finds_mail_does_not_stop_the_loop(run) -> None:
    async def main() -> None:
        async def greedy() -> None:
            me = current_process()
            send(me.pid, "n")
            async for _ in me.inbox():
                send(me.pid, "n")

        async with Core() as core:
            core.spawn(greedy)
            for _ in range(20):
                await asyncio.sleep(0)

    run(main())


def test_first_steps_come_after_the_spawners(run) -> None:
    async def main() -> None:
        order: list[str] = []

        async def child(name: str) -> None:
            order.append(name)

        async with Core() as core:
            core.spawn(child, "a")
            core.spawn(child, "b")
            order.append("spawner")
            await settle()
            assert order == ["spawner", "a", "b"]

    run(main())


def test_a_log_that_fails_ends_nothing() -> None:
    """The failure is told to the loop, and the process has its exit."""
    heard: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: heard.append(what["exception"]))

        async def crash() -> None:
            raise ValueError("boom")

        core = Core()

        def broken(*_: object) -> None:
            raise RuntimeError("disk full")

        core._report = broken  # type: ignore[method-assign]
        core.scheduler.__init__(loop, broken, core)
        async with core:
            event = await core.exit_of(core.spawn(crash))
            assert event.reason == "error"

    asyncio.run(main())
    assert [str(error) for error in heard] == ["disk full"]


def test_no_process_before_the_start_and_after_the_stop(run) -> None:
    async def main() -> None:
        async def nothing() -> None:
            pass

        core = Core()
        for _ in range(2):
            coroutine = nothing()
            with pytest.raises(NoApp, match="not running"):
                core.spawn(lambda coroutine=coroutine: coroutine)
            coroutine.close()
            async with core:
                pass

    run(main())


def test_another_thread_is_refused(run) -> None:
    async def main() -> None:
        async def forever() -> None:
            await asyncio.Event().wait()

        async with Core() as core:
            process = core.spawn(forever)
            caught: list[BaseException] = []

            def elsewhere() -> None:
                try:
                    send(process.pid, "n")
                except WrongThread as error:
                    caught.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert "send_threadsafe" in str(caught[0])
            assert process.describe()["queue_length"] == 0

    run(main())


def test_two_threads_do_not_disturb_each_other() -> None:
    """Each loop knows which process it steps, whatever the other thread does meanwhile."""
    slow: list[int] = []

    def play() -> None:
        async def main() -> None:
            async def echo() -> None:
                async for message in current_process().inbox():
                    send(message.sender, "pong")

            async def ask(process: Process) -> int:
                box = current_process().inbox()
                for _ in range(20_000):
                    send(process.pid, "ping")
                    await box.receive()
                return 20_000

            async with Core() as core:
                event = await core.exit_of(core.spawn(ask, core.spawn(echo)))
                assert event.reason == "normal", event.result.error
                slow.append(event.result.value)

        asyncio.run(main())

    threads = [threading.Thread(target=play) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)
    assert slow == [20_000, 20_000]


def test_a_closed_loop() -> None:
    """A loop closed with processes alive: a clear error, and the next App is found."""
    script = """
import asyncio, gc, sys
sys.path.insert(0, "tests/core")
from core_helpers import Core
from wsrelay_core import Scheduler, current_process, current_scheduler, send
from wsrelay_core._errors import NoApp

loop = asyncio.new_event_loop()

async def parked():
    await current_process().inbox().receive()

async def main():
    core = Core()
    core.scheduler.start()
    process = core.spawn(parked)
    await asyncio.sleep(0)
    return process

process = loop.run_until_complete(main())
loop.close()
for _ in range(2):
    try:
        send(process.pid, "n")
    except NoApp as error:
        print(error)

async def again():
    async with Core() as core:
        assert current_scheduler() is core.scheduler

asyncio.run(again())
del process
gc.collect()
print([type(one) for one in gc.get_objects() if type(one) is Scheduler])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("the loop of this App was closed while its processes lived") == 2
    assert result.stdout.endswith("[]\n"), "the closed loop's scheduler is not kept"


def test_after_a_fork() -> None:
    """The child of a fork has no part in the App: every call says so, and the parent goes on."""
    script = """
import asyncio, os, sys
sys.path.insert(0, "tests/core")
from core_helpers import Core
from wsrelay_core import current_process, current_scheduler, scheduler_for_thread, send
from wsrelay_core._errors import NoApp

def child(process, box):
    calls = [lambda: send(process.pid, "n"), lambda: send("name", "n"), box.receive,
             box.receive_nowait, current_process, current_scheduler,
             lambda: scheduler_for_thread(process.pid)]
    refused = 0
    for call in calls:
        try:
            call()
        except NoApp as error:
            refused += "forked" in str(error)
    os.write(1, b"refused %d of %d\\n" % (refused, len(calls)))
    os._exit(0)

async def body():
    me = current_process()
    box = me.inbox()
    pid = os.fork()
    if pid == 0:
        child(me, box)
    os.waitpid(pid, 0)
    send(me.pid, "still", "here")
    return (await box.receive()).payload

async def main():
    async with Core() as core:
        event = await core.exit_of(core.spawn(body))
        print(event.result.value, event.result.error)

asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
    )
    assert result.stdout == "refused 7 of 7\nhere None\n", result.stderr
