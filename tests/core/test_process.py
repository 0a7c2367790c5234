"""Relations and the one exit: what a record of a process promises, whoever it belongs to."""

import asyncio
import gc
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from core_helpers import Core, settle

from wsrelay_core import CoroutineProcess, Event, Host, Result, current_process, send, watch_exit
from wsrelay_core._errors import HostFull, LinkFailed, NameTaken, NoProcess, ProcessExit


async def forever() -> None:
    await asyncio.Event().wait()


async def parked() -> None:
    await current_process().inbox().receive()


async def crash() -> None:
    raise ValueError("boom")


def events_of(process: CoroutineProcess) -> list[Event]:
    box = process.events()
    return [box.receive_nowait() for _ in range(len(box))]


def test_the_order_of_an_exit(run) -> None:
    """Rule 2: name, PID, timers, EXIT of each monitor, link signals."""

    async def main() -> None:
        async with Core() as core:
            process, watcher, linked = (core.spawn(forever) for _ in range(3))
            await settle()
            process.register("name")
            linked.trap_links = True
            linked.link(process.pid)
            watcher.monitor(process.pid)
            timer = process.send_after(0.0, watcher.pid, "timer", ())
            seen: list[Any] = []

            def on_exit(event: Event) -> None:
                table = core.scheduler.table
                seen.append(
                    (
                        table.lookup("name"),
                        send(process.pid, "t"),
                        timer.cancel(),
                        len(watcher.events()),
                        len(linked.events()),
                        process.alive,
                    )
                )

            watch_exit(core.scheduler, process.pid, on_exit)
            process.terminate()
            assert seen == [(None, False, False, 1, 0, False)]
            assert [event.kind for event in events_of(linked)] == ["LINK_DOWN"]
            await settle()
            assert len(watcher.inbox()) == 0, "a timer ends with its process"

    run(main())


def test_event_fields(run) -> None:
    async def main() -> None:
        async with Core() as core:
            watcher = core.spawn(forever)
            process = core.spawn(crash)
            ref = watcher.monitor(process.pid)
            assert ref.active
            assert ref.target == process.pid
            await settle()
            (event,) = events_of(watcher)
            assert (event.kind, event.sender, event.reason) == ("EXIT", process.pid, "error")
            assert event.ref is ref
            assert not ref.active
            assert event.result.value is None
            assert str(event.result.error) == "boom"
            assert event.at > 1.7e9
            assert event.deadline is None
            assert repr(event) == f"<Event EXIT {process.pid} 'error'>"
            assert repr(ref) == f"<Ref of {process.pid}>"
            assert repr(event.result) == "Result(value=None, error=ValueError('boom'))"

    run(main())


def test_the_repr_of_a_result_is_short_and_never_fails() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise ValueError

    assert repr(Result(Hostile())) == "Result(value=<Hostile, whose repr fails>, error=None)"
    assert len(repr(Result("x" * 10**6))) < 100


def test_several_monitors_are_several_events(run) -> None:
    async def main() -> None:
        async with Core() as core:
            watcher, process = core.spawn(forever), core.spawn(forever)
            await settle()
            refs = [watcher.monitor(process.pid) for _ in range(3)]
            assert watcher.unmonitor(refs[1])
            assert not watcher.unmonitor(refs[1])
            process.terminate()
            assert [event.ref for event in events_of(watcher)] == [refs[0], refs[2]]
            assert watcher.describe()["monitors"] == ()

    run(main())


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("again", [False, True])
def test_monitors_that_are_given_up(run, count: int, again: bool) -> None:
    """The others keep their order, on both sides, whichever of them go."""

    async def main() -> None:
        async with Core() as core:
            watcher = core.spawn(forever)
            await settle()
            for given_up in itertools.product([False, True], repeat=count):
                watched = core.spawn(forever)
                refs = [watcher.monitor(watched.pid) for _ in given_up]
                left = [ref for ref, gone in zip(refs, given_up, strict=True) if not gone]
                for ref in set(refs) - set(left):
                    assert watcher.unmonitor(ref)
                    assert not watcher.unmonitor(ref)
                if again:
                    left.append(watcher.monitor(watched.pid))
                assert watcher.refs_to(watched.pid) == left
                assert len(watched.describe()["monitored_by"]) == len(left)
                assert watched.has_relations() == bool(left)
                watched.terminate()
                events = watcher.events()
                assert [events.receive_nowait().ref for _ in left] == left
                assert len(events) == 0
                assert watcher.refs_to(watched.pid) == []

    run(main())


@pytest.mark.parametrize("dest", ["nobody", "{app:processes|0x1}", "{this@app:processes|0x1}"])
def test_monitor_of_nobody(run, dest: str) -> None:
    async def main() -> None:
        async with Core() as core:
            watcher = core.spawn(forever)
            ref = watcher.monitor(dest)
            (event,) = events_of(watcher)
            assert (event.reason, event.ref, event.result.error) == ("noproc", ref, None)
            assert event.sender == dest.replace("this@", "")
            assert watcher.describe()["monitors"] == ()

    run(main())


def test_a_monitor_of_another_process_is_not_given_up(run) -> None:
    async def main() -> None:
        async with Core() as core:
            one, other, process = (core.spawn(forever) for _ in range(3))
            await settle()
            ref = one.monitor(process.pid)
            with pytest.raises(ValueError, match="another process"):
                other.unmonitor(ref)
            process.terminate()
            assert len(one.events()) == 1

    run(main())


def test_monitors_of_each_other_dying_together(run) -> None:
    async def main() -> None:
        async with Core() as core:
            processes = [core.spawn(forever) for _ in range(20)]
            await settle()
            ends = [core.exit_of(process) for process in processes]
            for one in processes:
                for other in processes:
                    one.monitor(other.pid)
                    one.link(other.pid)
            processes[3].terminate()
            reasons = [(await ended).reason for ended in ends]
            assert reasons == ["killed" if at == 3 else "link_failed" for at in range(20)]
            assert len(core.scheduler.table) == 0

    run(main())


# -- links -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["normal", "cancelled", "killed", "error", "shutdown"])
def test_which_ends_take_others_down(run, reason: str) -> None:
    async def main() -> None:
        async def end() -> None:
            if reason == "error":
                raise ValueError("boom")
            if reason == "cancelled":
                raise asyncio.CancelledError
            raise ProcessExit(reason)

        async with Core() as core:
            linked, trapping = core.spawn(forever), core.spawn(forever)
            await settle()
            trapping.trap_links = True
            process = core.spawn(end)
            linked.link(process.pid)
            trapping.link(process.pid)
            ended = core.exit_of(linked)
            await settle()
            if reason in ("normal", "cancelled"):
                assert linked.alive
                assert events_of(trapping) == []
                assert linked.describe()["links"] == ()
                return
            event = await ended
            assert event.reason == "link_failed"
            error = event.result.error
            assert isinstance(error, LinkFailed)
            assert (error.pid, error.reason) == (process.pid, reason)
            assert str(error) == f"linked process {process.pid} ended: {reason}"
            cause = error.__cause__
            assert str(cause) == "boom" if reason == "error" else cause is None
            (down,) = events_of(trapping)
            assert (down.kind, down.sender, down.reason, down.ref) == (
                "LINK_DOWN",
                process.pid,
                reason,
                None,
            )
            assert trapping.describe()["links"] == ()

    run(main())


def test_link_and_unlink(run) -> None:
    async def main() -> None:
        async with Core() as core:
            one, other = core.spawn(forever), core.spawn(forever)
            await settle()
            one.link(other.pid)
            other.link(str(one.pid))
            one.link(one.pid)
            assert one.describe()["links"] == (other.pid,)
            assert other.describe()["links"] == (one.pid,)
            other.unlink(one.pid)
            one.unlink(other.pid)
            one.unlink("nobody")
            assert one.describe()["links"] == other.describe()["links"] == ()
            other.terminate()
            assert one.alive
            with pytest.raises(NoProcess, match="cannot link"):
                one.link(other.pid)

    run(main())


@pytest.fixture
def no_collections() -> Iterator[None]:
    """None while a test holds so many objects that are all alive: each would walk all of them."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
def test_a_chain_of_100000(run) -> None:
    """It falls without recursion, and each keeps the cause, not the chain."""

    async def main() -> None:
        async with Core() as core:
            processes = [core.spawn(parked) for _ in range(100_000)]
            await settle(2)
            for one, other in itertools.pairwise(processes):
                one.link(other.pid)
            ends = [core.exit_of(processes[at]) for at in (1, 2, 50_000, 99_999)]
            errors = ValueError("boom")

            async def fail() -> None:
                current_process().link(processes[0].pid)
                raise errors

            core.spawn(fail)
            for ended in ends:
                event = await ended
                assert event.reason == "link_failed"
                assert event.result.error.__cause__ is errors
            assert len(core.scheduler.table) == 0
            while core.scheduler.unfinished:
                await asyncio.sleep(0)

    run(main())


def test_a_ring_of_links_and_one_that_traps(run) -> None:
    async def main() -> None:
        async with Core() as core:
            ring = [core.spawn(forever) for _ in range(10)]
            await settle()
            for one, other in zip(ring, ring[1:] + ring[:1], strict=True):
                one.link(other.pid)
            ring[5].trap_links = True
            ring[0].terminate()
            assert [one.alive for one in ring] == [at == 5 for at in range(10)]
            downs = events_of(ring[5])
            assert [event.sender for event in downs] in (
                [ring[4].pid, ring[6].pid],
                [ring[6].pid, ring[4].pid],
            )

    run(main())


# -- names and hosts -------------------------------------------------------------------------------


def test_names(run) -> None:
    async def main() -> None:
        async with Core() as core:
            one, other = core.spawn(forever), core.spawn(forever)
            await settle()
            one.register("a")
            one.register("a")
            one.register("b")
            assert one.describe()["names"] == ("a", "b")
            with pytest.raises(NameTaken):
                other.register("a")
            assert not other.unregister("a")
            assert one.unregister("b")
            other.register("b")
            one.terminate()
            other.register("a")
            assert core.scheduler.table.lookup("a") is other
            assert other.describe()["names"] == ("b", "a")

    run(main())


def test_a_name_is_free_before_the_exit_is_told(run) -> None:
    async def main() -> None:
        async with Core() as core:
            one, other = core.spawn(forever), core.spawn(forever)
            await settle()
            one.register("a")
            watch_exit(core.scheduler, one.pid, lambda _: other.register("a"))
            one.terminate()
            assert core.kinds == []
            assert core.scheduler.table.lookup("a") is other

    run(main())


def test_host_full(run) -> None:
    async def main() -> None:
        async with Core() as core:
            core.host = Host("app:small", 2)
            one, _ = core.spawn(forever), core.spawn(forever)
            coroutine = forever()
            with pytest.raises(HostFull, match="'app:small' runs its 2 processes"):
                core.spawn(lambda: coroutine)
            coroutine.close()
            assert core.host.count == 2
            one.terminate()
            assert core.spawn(forever).pid.host == "app:small"

    run(main())


def test_describe_and_repr(run) -> None:
    async def main() -> None:
        async with Core() as core:
            one, other = core.spawn(forever), core.spawn(forever)
            await settle()
            other.monitor(one.pid)
            watch_exit(core.scheduler, one.pid, print)
            send(one.pid, "t")
            facts = one.describe()
            assert facts.pop("age") >= 0
            assert facts == {
                "pid": one.pid,
                "entry": "forever",
                "host": "app:processes",
                "names": (),
                "links": (),
                "monitors": (),
                "monitored_by": (other.pid,),
                "queue_length": 1,
                "queue_bytes": 0,
                "handled": 0,
                "dropped": 0,
            }
            assert one.has_relations()
            assert repr(one) == f"<CoroutineProcess {one.pid} forever alive>"
            other.terminate()
            assert repr(other).endswith("forever ended>")
            assert not other.has_relations()
            await settle()

    run(main())


# -- timers ----------------------------------------------------------------------------------------


def test_timers_of_a_process(run) -> None:
    async def main() -> None:
        async with Core() as core:
            one, other = core.spawn(forever), core.spawn(forever)
            await settle()
            kept = one.send_after(0.0, other.pid, "kept", (1, 2))
            one.send_after(0.0, "name", "named", ())
            assert one.send_after(0.0, other.pid, "taken back", ()).cancel()
            one.send_after(60.0, other.pid, "never", ())
            other.register("name")
            first = await other.inbox().receive()
            assert (first.topic, first.payload, first.sender) == ("kept", (1, 2), one.pid)
            assert (await other.inbox().receive()).topic == "named"
            assert not kept.cancel()

    run(main())
