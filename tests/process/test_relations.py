"""`monitor`, `unmonitor`, `link`, `unlink`, and the events that they bring."""

import asyncio

import pytest
from process_helpers import drain, fails, leaves, settle, spawn_parked, waits

from wsrelay import LinkFailed, NoProcess, process


async def ended():
    """The PID of a process that has ended."""
    pid = process.spawn(waits)
    process.terminate(pid)
    return pid


# -- monitor ---------------------------------------------------------------------------------------


def test_monitor_brings_the_exit(inside):
    async def body():
        pid = await spawn_parked(waits)
        ref = process.monitor(pid)
        assert (ref.target, ref.active) == (pid, True)
        process.send(pid, "value")
        event = await process.events().receive()
        assert (event.kind, event.sender, event.reason, event.ref) == ("EXIT", pid, "normal", ref)
        assert (event.result.value, event.result.error) == ("value", None)
        assert event.at > 1e9 and not ref.active

    inside(body)


def test_monitor_of_a_dead_or_unknown_one_is_noproc_at_once(inside):
    async def body():
        pid = await ended()
        for dest in (pid, str.__str__(pid), "nobody"):
            ref = process.monitor(dest)
            event = process.events().receive_nowait()
            assert (event.kind, event.sender, event.reason) == ("EXIT", dest, "noproc")
            assert event.ref is ref and not ref.active

    inside(body)


def test_several_monitors_are_several_events(inside):
    async def body():
        pid = await spawn_parked(waits, name="child")
        refs = [process.monitor(dest) for dest in (pid, str.__str__(pid), "child")]
        assert len(set(refs)) == 3
        process.terminate(pid)
        events = drain(process.events())
        assert [event.ref for event in events] == refs
        assert {(event.sender, event.reason) for event in events} == {(pid, "killed")}

    inside(body)


def test_a_process_may_monitor_itself(inside):
    async def watches():
        process.monitor(process.pid())

    async def body():
        assert (await process.wait(process.spawn(watches))).reason == "normal"

    inside(body)


@pytest.mark.parametrize("after", [False, True])
def test_unmonitor_by_ref_leaves_the_others(inside, after):
    async def body():
        pid = await spawn_parked(waits)
        first, second = process.monitor(pid), process.monitor(pid)
        if after:
            process.terminate(pid)
        process.unmonitor(first)
        process.unmonitor(first)  # once more is no error
        if not after:
            process.terminate(pid)
        await settle()
        assert [event.ref for event in drain(process.events())] == [second]

    inside(body)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("form", ["pid", "text", "this", "name"])
def test_unmonitor_by_destination_takes_all(inside, after, form):
    async def body():
        pid = await spawn_parked(waits, name="child")
        other = await spawn_parked(waits)
        forms = {"pid": pid, "text": str.__str__(pid), "this": "{this@" + pid[1:], "name": "child"}
        process.monitor("child" if form == "name" else pid)
        process.monitor(forms[form])
        kept = process.monitor(other)
        if after:
            process.terminate(pid)
            process.terminate(other)
        process.unmonitor(forms[form])
        process.terminate(pid)
        process.terminate(other)
        await settle()
        assert [event.ref for event in drain(process.events())] == [kept]

    inside(body)


def test_unmonitor_of_a_noproc_takes_its_event(inside):
    async def body():
        process.unmonitor(process.monitor("nobody"))
        process.monitor("nobody")
        process.unmonitor("nobody")
        process.unmonitor("somebody")
        assert len(process.events()) == 0

    inside(body)


def test_the_ref_of_another_process(inside):
    async def gives(box):
        box.append(process.monitor(process.pid()))
        await waits()

    async def body():
        box = []
        await spawn_parked(gives, box)
        with pytest.raises(ValueError, match="another process"):
            process.unmonitor(box[0])
        assert box[0].active

    inside(body)


def test_the_exit_of_a_watcher_takes_its_monitors(inside):
    async def watches(pid):
        process.monitor(pid)
        process.monitor(pid)
        await waits()

    async def body():
        pid = await spawn_parked(waits)
        watcher = await spawn_parked(watches, pid)
        assert process.info(pid).monitored_by == (watcher, watcher)
        assert process.info(watcher).monitors == (pid, pid)
        process.terminate(watcher)
        assert process.info(pid).monitored_by == ()
        process.terminate(pid)

    inside(body)


# -- link ------------------------------------------------------------------------------------------


async def links(dest):
    """Link, then wait."""
    process.link(dest)
    return await waits()


def test_an_error_takes_the_linked_one_down(inside, crashes):
    async def body():
        error = KeyError("cause")
        pid = await spawn_parked(fails, error)
        linked = await spawn_parked(links, pid)
        assert process.info(pid).links == (linked,) and process.info(linked).links == (pid,)
        process.send(pid, "go")
        event = await process.wait(linked)
        assert event.reason == "link_failed"
        assert isinstance(event.result.error, LinkFailed)
        assert (event.result.error.pid, event.result.error.reason) == (pid, "error")
        assert event.result.error.__cause__ is error

    inside(body)
    assert len(crashes()) == 1  # the failure, not the link


@pytest.mark.parametrize("way", ["there", "back"])
def test_links_work_both_ways(inside, way):
    async def body():
        pid = await spawn_parked(waits)
        linked = await spawn_parked(links, pid)
        first, second = (pid, linked) if way == "there" else (linked, pid)
        process.monitor(second)
        process.terminate(first)
        assert process.events().receive_nowait().reason == "link_failed"  # at once

    inside(body)


@pytest.mark.parametrize(
    ("reason", "falls"),
    [("normal", False), ("cancelled", False), ("killed", True), ("my own", True)],
)
def test_which_reasons_take_down(inside, reason, falls):
    async def body():
        pid = await spawn_parked(leaves, reason)
        linked, ref = process.spawn_monitored(links, None, pid)
        await settle()
        process.monitor(pid)
        process.send(pid, "go")
        assert (await process.events().receive()).reason == reason
        await settle()
        assert process.send(linked, "alive") is not falls
        event = await process.events().receive()
        assert (event.ref, event.reason) == (ref, "link_failed" if falls else "normal")

    inside(body)


def test_who_traps_gets_link_down(inside):
    async def body():
        process.set_options(trap_links=True)
        error = KeyError("cause")
        pid = process.spawn_linked(fails, None, error)
        process.send(pid, "go")
        event = await process.events().receive()
        assert (event.kind, event.sender, event.reason) == ("LINK_DOWN", pid, "error")
        assert event.result.error is error and event.ref is None
        assert process.info(process.pid()).links == ()

    inside(body)


def test_link_is_idempotent_and_unlink_takes_it(inside):
    async def body():
        pid = await spawn_parked(waits)
        process.link(pid)
        process.link(pid)
        assert process.info(process.pid()).links == (pid,)
        process.unlink(str.__str__(pid))
        process.unlink(pid)
        assert process.info(process.pid()).links == () == process.info(pid).links
        process.terminate(pid)
        await settle()  # and lives

    inside(body)


def test_unlink_by_the_other_side(inside):
    async def unlinks(dest):
        process.unlink(dest)

    async def body():
        pid = await spawn_parked(waits)
        linked = await spawn_parked(links, pid)
        assert process.info(linked).links == (pid,)
        process.link(linked)
        await process.exec(unlinks, None, linked)  # a stranger's changes nothing
        assert process.info(linked).links == (pid, process.pid())
        process.unlink(linked)
        process.monitor(pid)
        process.terminate(linked)
        assert process.events().receive_nowait().reason == "link_failed"

    inside(body)


def test_link_to_a_dead_one(inside):
    async def body():
        pid = await ended()
        for dest in (pid, str.__str__(pid), "nobody"):
            with pytest.raises(NoProcess):
                process.link(dest)
            process.unlink(dest)

    inside(body)


def test_link_to_oneself_does_nothing(inside):
    async def body():
        process.link(process.pid())
        assert process.info(process.pid()).links == ()

    inside(body)


def test_a_ring_of_links_falls_once_and_keeps_the_first_cause(inside):
    async def ring(names, number):
        process.register(f"n{number}")
        await process.inbox().receive()  # until all are there
        process.link(f"n{(number + 1) % names}")
        if (await process.inbox().receive()).topic == "fail":
            raise KeyError("first")

    async def body():
        pids = [await spawn_parked(ring, 50, number) for number in range(50)]
        for pid in pids:
            process.monitor(pid)
        process.broadcast(pids, "link")
        await settle()
        process.send(pids[7], "fail")
        events = [await process.events().receive() for _ in pids]
        assert {event.sender for event in events} == set(pids)
        assert sorted(event.reason for event in events) == ["error"] + ["link_failed"] * 49
        for event in events:
            error = event.result.error
            assert isinstance(error if event.sender == pids[7] else error.__cause__, KeyError)
        await settle()
        assert len(process.events()) == 0

    inside(body)


def test_a_linked_process_that_is_awaiting_is_unwound(inside):
    async def cleans(dest, done):
        process.link(dest)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            done.set_result("cleaned")

    async def body():
        done = asyncio.get_running_loop().create_future()
        pid = await spawn_parked(waits)
        await spawn_parked(cleans, pid, done)
        process.terminate(pid)
        assert await done == "cleaned"

    inside(body)
