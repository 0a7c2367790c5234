"""The eight rules of the process semantics, each test named after its rule."""

import asyncio
import gc
import logging

import pytest
from process_helpers import (
    drain,
    fails,
    leaves,
    never_ends,
    sends,
    settle,
    spawn_parked,
    topics,
    waits,
)

from wsrelay import App, process

# -- 1: order --------------------------------------------------------------------------------------


def test_rule_1_order_whatever_the_topics(inside):
    async def sender(dest, letter):
        for number in range(100):
            assert process.send(dest, f"topic{number % 3}", letter, number)
            if number % 7 == 0:
                await asyncio.sleep(0)

    async def body():
        for letter in "abc":
            process.spawn_monitored(sender, None, process.pid(), letter)
        got = [(await process.inbox().receive()).payload for _ in range(300)]
        for letter in "abc":
            assert [n for who, n in got if who == letter] == list(range(100))
        assert len(process.inbox()) == 0

    inside(body)


def test_rule_1_order_to_one_receiver_of_sends_in_one_step(inside):
    async def body():
        me = process.pid()
        for topic in "abcdefgh":
            process.send(me, topic)
        process.spawn(sends, None, me, "i")
        await process.receive(lambda message: message.topic == "i")
        assert topics(process.inbox()) == list("abcdefgh")

    inside(body)


# -- 2: exit ---------------------------------------------------------------------------------------


async def watches(pid, seen):
    """Note the kinds of two events on `pid`, and what is true when they come."""
    process.set_options(trap_links=True)
    process.link(pid)
    process.monitor(pid)
    for _ in range(2):
        event = await process.events().receive()
        seen.append((event.kind, process.lookup("dying"), process.send(pid, "topic")))


def test_rule_2_exit_order(inside):
    """At EXIT the name is free, the PID unroutable, the timers dropped; LINK_DOWN comes after."""

    async def dying(dest, timers):
        process.register("dying")
        timers.append(process.send_after("60s", dest, "late"))
        await process.inbox().receive()
        raise KeyError

    async def body():
        seen, timers = [], []
        pid = await spawn_parked(dying, process.pid(), timers)
        watcher = await spawn_parked(watches, pid, seen)
        process.send(pid, "go")
        assert (await process.wait(watcher)).reason == "normal"
        assert seen == [("EXIT", None, False), ("LINK_DOWN", None, False)]
        assert timers[0].cancel() is False
        process.send_after(0.002, process.pid(), "later")
        assert (await process.inbox().receive()).topic == "later"

    inside(body)


def test_rule_2_exit_a_name_can_be_taken_by_who_hears_of_the_exit(inside):
    async def body():
        pid = await spawn_parked(waits, name="leader")
        process.monitor(pid)
        process.terminate(pid)
        process.events().receive_nowait()
        process.register("leader")

    inside(body)


@pytest.mark.parametrize(
    ("function", "reason"),
    [(waits, "normal"), (lambda: fails(KeyError()), "error"), (lambda: leaves("own"), "own")],
)
def test_rule_2_exit_is_exactly_one_for_each_monitor(inside, function, reason):
    """Also when a cancel and a terminate meet the end."""

    async def child():
        await function()

    async def body():
        pid = await spawn_parked(child)
        refs = [process.monitor(pid) for _ in range(3)]
        process.send(pid, "go")
        assert (await process.wait(pid)).reason == reason
        process.cancel(pid)
        process.terminate(pid)
        await settle()
        assert [(one.ref, one.reason) for one in drain(process.events())] == [
            (ref, reason) for ref in refs
        ]

    inside(body)


# -- 3: results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["return", "raise", "cancel", "exit"])
def test_rule_3_results(inside, crashes, end, step):
    error = KeyError("mine")

    async def child():
        await step()
        if end == "raise":
            raise error
        if end == "cancel":
            raise asyncio.CancelledError
        if end == "exit":
            process.exit("done early")
        return "value"

    async def body():
        event = await process.wait(process.spawn(child))
        return event.reason, event.result.value, event.result.error

    assert (
        inside(body)
        == {
            "return": ("normal", "value", None),
            "raise": ("error", None, error),
            "cancel": ("cancelled", None, None),
            "exit": ("done early", None, None),
        }[end]
    )
    assert len(crashes()) == (end == "raise")  # logged once


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_rule_3_results_an_interrupt_is_the_exit_and_stops_the_app(run, kind, step):
    async def child(seen):
        try:
            await process.inbox().receive()
        except asyncio.CancelledError:
            seen.append("stopped in order")
            raise

    async def interrupts():
        await step()
        raise kind(3)

    async def watch(seen):
        process.events()
        event = await process.wait(process.spawn(interrupts))
        seen.append((event.reason, type(event.result.error)))

    async def scenario():
        seen = []
        with pytest.raises(kind):
            async with App():
                await spawn_parked(child, seen)
                process.spawn(watch, None, seen)
                await asyncio.get_running_loop().create_future()
        assert seen == [("error", kind), "stopped in order"]
        assert asyncio.current_task().cancelling() == 0

    run(scenario())


# -- 4: events -------------------------------------------------------------------------------------


def test_rule_4_events_never_reach_the_inbox(inside):
    async def cancels(dest):
        process.cancel(dest)

    async def body():
        events = process.events()
        process.set_options(trap_links=True)
        pid, _ = process.spawn_linked_monitored(waits)
        process.terminate(pid)
        await process.exec(cancels, None, process.pid())
        assert {event.kind for event in drain(events)} == {"EXIT", "LINK_DOWN", "CANCEL"}
        assert len(process.inbox()) == 0

    inside(body)


# -- 5: mailboxes ----------------------------------------------------------------------------------


def test_rule_5_mailboxes_are_unbounded_by_default(inside):
    async def body():
        me = process.pid()
        assert all(process.send(me, "n", number) for number in range(20_000))
        assert process.info(me).queue_length == 20_000
        assert [one.payload for one in drain(process.inbox())] == list(range(20_000))

    inside(body)


# -- 6: fairness -----------------------------------------------------------------------------------


def test_rule_6_fairness_who_always_finds_mail_yields(inside):
    async def body():
        me, inbox, seen = process.pid(), process.inbox(), []
        for _ in range(2000):
            process.send(me, "again")
        asyncio.get_running_loop().call_soon(seen.append, "others")
        taken = 0
        while not seen:
            await inbox.receive()
            taken += 1
        assert taken <= 257

    inside(body)


def test_rule_6_fairness_a_drain_yields_to_io(inside):
    async def ping_pong():
        async for message in process.inbox():
            process.send(message.sender, "ball", message.payload + 1)

    async def body():
        loop, turns = asyncio.get_running_loop(), []

        def tick():
            turns.append(None)
            loop.call_soon(tick)

        pid = process.spawn(ping_pong)
        tick()
        process.send(pid, "ball", 0)
        async for message in process.inbox():
            if message.payload >= 2000:
                break
            process.send(pid, "ball", message.payload + 1)
        assert len(turns) >= 2000 // 64

    inside(body)


# -- 7: isolation ----------------------------------------------------------------------------------


class NoText(Exception):
    """An exception whose own text fails."""

    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize("error", [KeyError("x"), NoText(), BaseException("x"), GeneratorExit()])
def test_rule_7_isolation(inside, crashes, error, step):
    async def raises():
        await step()
        raise error

    async def body():
        others = [await spawn_parked(waits) for _ in range(2)]
        pid, _ = process.spawn_monitored(raises)
        event = await process.events().receive()
        assert (event.sender, event.reason) == (pid, "error")
        assert event.result.error is error
        assert process.broadcast(others, "alive") == 2
        for other in others:
            process.monitor(other)
        assert {(await process.events().receive()).reason for _ in others} == {"normal"}

    inside(body)
    assert len(crashes()) == 1


# -- 8: leaving ------------------------------------------------------------------------------------


def test_rule_8_leaving_nobody_is_left(run, crashes):
    async def cleans(seen):
        try:
            await never_ends()
        finally:
            await asyncio.sleep(0)
            seen.append(process.info(process.pid()).entry)

    async def ends_by_event(seen):
        seen.append((await process.events().receive()).kind)

    async def scenario():
        seen = []
        app = App()
        async with app:
            for function in (cleans, ends_by_event):
                await spawn_parked(function, seen)
            host = app.find_host(None, None)
            assert host.count == 2
        assert len(seen) == 2 and "CANCEL" in seen
        assert host.count == 0 and not app.is_running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())
    gc.collect()
    assert crashes() == []


def test_rule_8_leaving_children_before_their_spawner(run):
    async def notes(name, seen):
        try:
            await never_ends()
        finally:
            seen.append(name)

    async def parent(seen):
        for number in range(2):
            process.spawn(notes, None, f"child{number}", seen)
        await notes("parent", seen)

    async def scenario():
        seen = []
        async with App():
            await spawn_parked(parent, seen)
        assert seen == ["child1", "child0", "parent"]

    run(scenario())


def test_rule_8_leaving_mail_of_the_last_moment_is_delivered(run):
    async def says_goodbye(dest):
        try:
            await never_ends()
        finally:
            process.send(dest, "goodbye")

    async def stays(seen):
        process.events()
        seen.append(await waits())

    async def scenario():
        seen = []
        async with App():
            pid = await spawn_parked(stays, seen)
            await spawn_parked(says_goodbye, pid)
        assert seen == ["goodbye"]

    run(scenario())


def test_rule_8_leaving_at_the_deadline_they_are_terminated(run, caplog):
    async def ignores_its_event(ended):
        process.events()
        try:
            await never_ends()
        finally:
            ended.append("cancelled")

    async def clings(seen, release):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                seen.append("again")

    async def scenario():
        ended, seen, release = [], [], asyncio.Event()
        app = App()
        app.service("gateway", shutdown=0.05)
        with caplog.at_level(logging.WARNING, "wsrelay.process"):
            async with app:
                process.spawn(ignores_its_event, None, ended)
                clinging = await spawn_parked(clings, seen, release)
        assert ended == ["cancelled"]
        assert seen
        lines = [one.getMessage() for one in caplog.records if "did not end" in one.getMessage()]
        assert len(lines) == 1 and clinging in lines[0] and "clings" in lines[0]
        release.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    run(scenario())


def test_rule_8_leaving_what_is_spawned_meanwhile_ends_too(run):
    async def respawns(seen, depth):
        try:
            await never_ends()
        finally:
            seen.append(depth)
            if depth:
                process.spawn(respawns, None, seen, depth - 1)
                await asyncio.sleep(0)

    async def scenario():
        seen = []
        async with App():
            await spawn_parked(respawns, seen, 3)
        assert seen[0] == 3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())


def test_rule_8_leaving_no_timer_fires_afterwards(run):
    async def scenario():
        async with App():
            pid = process.spawn(waits)
            process.send_after(0, pid, "late")
        await settle()

    run(scenario())
