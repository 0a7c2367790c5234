"""Processes that end in knots: one line, one EXIT for each monitor, nothing left, others go on."""

import asyncio
import gc
import logging
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from wsrelay import App, process
from wsrelay.errors import NameTaken
from wsrelay_core import CoroutineProcess, watch_exit


class Crash(RuntimeError):
    """What processes fail with."""


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def bystander():
    """Somebody else: answers as long as it lives."""
    async for message in process.inbox():
        message.reply("alive")


@asynccontextmanager
async def knot(caplog, lines):
    """A running App; at its end nobody but the bystander is left, and so many crashes were told."""
    caplog.set_level(logging.INFO, "wsrelay.process")
    async with App() as app:
        other = process.spawn(bystander, name="bystander")
        yield app
        assert await process.call(other, "ask") == "alive"
        await until(lambda: [one.pid for one in app.processes()] == [other])
        scheduler = app.scheduler
        await until(lambda: not scheduler.unfinished)
        facts = process.info(other)
        assert (facts.links, facts.monitors, facts.monitored_by) == ((), (), ())
        assert app.registry.find_host(None, None).count == 1
    told = [one.getMessage() for one in caplog.records if one.name == "wsrelay.process"]
    assert len(told) == lines, told
    assert all("{app:processes|0x" in one and "(test_processes:" in one for one in told)


def watched(app, pids):
    """EXITs by PID, seen from outside of all processes; two monitors for each."""
    exits = Counter()

    def exit_of(event):
        exits[event.sender, event.reason] += 1

    for pid in pids * 2:
        watch_exit(app.scheduler, pid, exit_of)
    return exits


async def waits_then(act):
    await process.receive()
    act()


def crash():
    raise Crash


@pytest.mark.parametrize("shape", ["ring", "all to all", "star"])
def test_cycles_of_links(run_both, caplog, shape):
    """The first cause is told once; each end is one EXIT for each of its monitors."""
    count = 40

    async def main():
        async with knot(caplog, 1) as app:
            pids = [process.spawn(waits_then, None, crash) for _ in range(count)]
            exits = watched(app, pids)
            await asyncio.sleep(0)
            link = [one for one in app.records() if one.pid in pids]
            for at, one in enumerate(link):
                if shape == "ring":
                    one.link(pids[(at + 1) % count])
                elif shape == "star":
                    one.link(pids[0])
                else:
                    for pid in pids:
                        one.link(pid)
            process.send(pids[7], "crash")
            await until(lambda: exits.total() == 2 * count)
            assert exits == {
                (pid, "error" if at == 7 else "link_failed"): 2 for at, pid in enumerate(pids)
            }

    run_both(main())


def test_monitors_of_each_other_that_crash_together(run_both, caplog):
    """No EXIT reaches the dead; each outsider has one of each."""
    count = 20

    async def main():
        async with knot(caplog, count) as app:
            pids = [process.spawn(waits_then, None, crash) for _ in range(count)]
            exits = watched(app, pids)
            for one in app.records():
                if one.pid in pids:
                    for pid in pids:
                        one.monitor(pid)
            assert process.broadcast(pids, "crash") == count
            await until(lambda: exits.total() == 2 * count)
            assert exits == {(pid, "error"): 2 for pid in pids}

    run_both(main())


def test_a_name_whose_holders_crash(run_both, caplog):
    """A hundred want it: each has it once, and no crash takes it along."""
    count = 100
    held = []

    async def fights():
        while True:
            try:
                process.register("crown")
            except NameTaken:
                process.monitor("crown")
                await process.events().receive()
                continue
            held.append(process.pid())
            await asyncio.sleep(0)
            raise Crash

    async def main():
        async with knot(caplog, count) as app:
            pids = [process.spawn(fights) for _ in range(count)]
            exits = watched(app, pids)
            await until(lambda: len(exits) == count)
            assert sorted(held) == sorted(pids)
            assert set(exits.values()) == {2} and process.lookup("crown") is None

    run_both(main())


@pytest.mark.parametrize("end", ["cancel", "terminate", "crash of the spawner"])
def test_an_end_during_spawn(run_both, caplog, end):
    """The child has not had its first step: it has none, and one EXIT for each monitor."""
    ran = []

    async def child():
        ran.append(process.pid())

    async def spawner(app, exits):
        pid, _ = process.spawn_linked_monitored(child)
        exits.append(watched(app, [pid]))
        if end == "crash of the spawner":
            raise Crash
        process.unlink(pid)
        (process.cancel if end == "cancel" else process.terminate)(pid)

    async def main():
        async with knot(caplog, end == "crash of the spawner") as app:
            exits = []
            process.spawn(spawner, None, app, exits)
            await until(lambda: exits and exits[0].total() == 2)
            ((_, reason),) = exits[0]
            expected = {"cancel": "cancelled", "terminate": "killed"}
            assert reason == expected.get(end, "link_failed") and ran == []

    run_both(main())


def test_a_million_messages_to_itself_with_a_bound(run, caplog):
    """Without `mailbox_max` all wait, as memory allows; with it the rest is refused and counted."""

    async def floods():
        process.set_options(mailbox_max=1000)
        me = process.pid()
        accepted = sum(process.send(me, "again", number) for number in range(1_000_000))
        facts = process.info(me)
        return accepted, facts.dropped, facts.queue_length

    async def main():
        async with knot(caplog, 0):
            assert await process.exec(floods) == (1000, 999_000, 1000)

    run(main())


def test_a_crash_in_one_app_of_two(run_both, caplog):
    """And its stop: the other App of the loop does not notice."""

    async def main():
        async with App("other") as other:
            with other.active():
                far = process.spawn(bystander)
            async with App() as app:
                with app.active():
                    pid = process.spawn(waits_then, None, crash)
                    exits = watched(app, [pid])
                    ring = [one for one in other.records() if one.pid == far]
                    ring[0].monitor(pid)
                    process.send(pid, "crash")
                    await until(lambda: exits.total() == 2)
            with other.active():
                assert await process.call(far, "ask") == "alive"
                assert [one.pid for one in other.processes()] == [far]

    caplog.set_level(logging.INFO, "wsrelay.process")
    run_both(main())
    assert len([one for one in caplog.records if one.name == "wsrelay.process"]) == 1


def tie(app, pids):
    for one in app.records():
        for pid in pids:
            one.monitor(pid)
            one.link(pid)


def test_nothing_is_left_of_them(run):
    """Not in the memory either: no process of these knots outlives its last turn."""

    async def main():
        async with App() as app:
            pids = [process.spawn(waits_then, None, crash) for _ in range(20)]
            tie(app, pids)
            process.send(pids[0], "crash")
            await until(lambda: not app.processes() and not app.scheduler.unfinished)
        gc.collect()
        assert [one for one in gc.get_objects() if isinstance(one, CoroutineProcess)] == []

    run(main())
