"""`send`, `broadcast`, `send_threadsafe`, `send_after`: what arrives, and what is refused."""

import asyncio
import threading

import pytest
from process_helpers import drain, sends, settle, spawn_parked, topics, waits

from wsrelay import PID, App, InvalidPID, NoApp, NotAProcess, process

BAD_PIDS = ["{", "}", "{}", "{app:processes}", "{|0x1}", "{a|}", "name}", "{a|b"]


class Text(str):
    """A str of another type."""


async def dead_pid():
    """The PID of a process that has ended."""
    pid = process.spawn(sends, None, "nobody", "nothing")
    await process.wait(pid)
    return pid


async def on_stop(topic):
    """Wait for one message of this topic, by a selective receive."""
    await process.receive(lambda message: message.topic == topic)


# -- send ------------------------------------------------------------------------------------------


def test_send_to_a_pid_its_text_and_its_name(inside):
    async def body():
        me = process.pid()
        process.register("me", me)
        text = str.__str__(me)
        assert type(text) is str
        this = "{this@" + text[1:]
        for dest in (me, text, this, "{@" + text[1:], "me", Text("me"), Text(text)):
            assert process.send(dest, "topic", "payload") is True
        got = [(one.topic, one.payload, one.sender) for one in drain(process.inbox())]
        assert got == [("topic", "payload", me)] * 7

    inside(body)


def test_payloads_are_none_one_or_a_tuple_by_reference(inside):
    async def body():
        me, thing = process.pid(), {"key": []}
        process.send(me, "none")
        process.send(me, "one", thing)
        process.send(me, "many", thing, 2)
        process.send(me, "tuple", (thing,))
        none, one, many, pair = [message.payload for message in drain(process.inbox())]
        assert none is None and one is thing
        assert many == (thing, 2) and many[0] is thing
        assert pair == (thing,)

    inside(body)


def test_send_to_nobody_is_false(inside):
    async def body():
        dead = await dead_pid()
        for dest in (dead, str.__str__(dead), PID.parse("{app:processes|0x0}"), "nobody", ""):
            assert process.send(dest, "topic") is False

    inside(body)


@pytest.mark.parametrize("dest", BAD_PIDS)
def test_malformed_pids_raise_from_each_call(inside, dest):
    async def body():
        me = process.pid()
        for call in (
            lambda: process.send(dest, "topic"),
            lambda: process.broadcast([me, dest], "topic"),
            lambda: process.send_threadsafe(dest, "topic"),
            lambda: process.monitor(dest),
            lambda: process.send_after(0, dest, "topic"),
            lambda: process.unmonitor(dest),
            lambda: process.link(dest),
            lambda: process.unlink(dest),
            lambda: process.info(dest),
            lambda: process.cancel(dest),
            lambda: process.terminate(dest),
            lambda: process.register("name", dest),
            lambda: PID.parse(dest),
        ):
            with pytest.raises(InvalidPID):
                call()
        for coroutine in (process.call(dest, "a"), process.wait(dest), process.drained(dest)):
            with pytest.raises(InvalidPID):
                await coroutine
        assert topics(process.inbox()) == []  # nor was the good one of the broadcast sent to
        assert len(process.events()) == 0

    inside(body)


@pytest.mark.parametrize("dest", [None, 1, b"{a|b}", ["name"]])
def test_a_destination_is_text(inside, dest):
    async def body():
        for call in (process.send, process.send_threadsafe):
            with pytest.raises(TypeError):
                call(dest, "topic")
        with pytest.raises(TypeError):
            process.send_after(0, dest, "topic")

    inside(body)


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        ("", ValueError),
        ("@", ValueError),
        ("@exit", ValueError),
        (Text("@x"), ValueError),
        (None, TypeError),
        (b"topic", TypeError),
        (1, TypeError),
    ],
)
def test_bad_topics_are_refused_by_each_call(inside, topic, error):
    async def body():
        me = process.pid()
        for call in (
            lambda: process.send(me, topic),
            lambda: process.broadcast([me], topic),
            lambda: process.send_threadsafe(me, topic),
            lambda: process.listen(topic),
            lambda: process.send_after(0, me, topic),
            lambda: process.unlisten(topic),
        ):
            with pytest.raises(error):
                call()
        with pytest.raises(error):
            await process.call(me, topic)
        await settle()
        assert topics(process.inbox()) == []

    inside(body)


def test_a_topic_of_another_str_type_arrives_as_str(inside):
    async def body():
        me = process.pid()
        process.send(me, Text("a"))
        process.broadcast([me], Text("b"))
        process.send_after(0, me, Text("c"))
        await process.receive(lambda message: message.topic == "c")
        assert [(type(one.topic), one.topic) for one in drain(process.inbox())] == [
            (str, "a"),
            (str, "b"),
        ]

    inside(body)


def test_send_from_outside_has_no_sender(run):
    async def echo(seen):
        seen.set_result((await process.inbox().receive()).sender)

    async def scenario():
        async with App():
            seen = asyncio.get_running_loop().create_future()
            assert process.send(process.spawn(echo, None, seen), "topic")
            assert await seen is None

    run(scenario())


# -- broadcast -------------------------------------------------------------------------------------


def test_broadcast_counts_who_accepted(inside):
    async def body():
        me = process.pid()
        process.register("me")
        other = await spawn_parked(waits)
        assert process.broadcast([me, other, "nobody", await dead_pid(), "me"], "news", 1, 2) == 3
        assert (await process.wait(other)).result.value == "news"
        got = [(one.topic, one.payload, one.sender) for one in drain(process.inbox())]
        assert got == [("news", (1, 2), me)] * 2
        assert process.broadcast((), "news") == 0
        assert process.broadcast((dest for dest in [me]), "news") == 1

    inside(body)


def test_broadcast_to_a_text_is_an_error(inside):
    async def body():
        with pytest.raises(TypeError, match="use send for one"):
            process.broadcast(process.pid(), "news")

    inside(body)


# -- send_threadsafe -------------------------------------------------------------------------------


def test_send_threadsafe_from_the_same_and_from_another_thread(inside):
    async def body():
        me = process.pid()
        process.register("me")
        assert process.send_threadsafe(me, "here") is None
        thread = threading.Thread(target=process.send_threadsafe, args=("me", "there", "payload"))
        thread.start()
        thread.join()
        process.send_threadsafe("nobody", "lost")
        seen = [await process.inbox().receive() for _ in range(2)]
        assert [(one.topic, one.payload, one.sender) for one in seen] == [
            ("here", None, None),
            ("there", "payload", None),
        ]

    inside(body)


def test_send_threadsafe_needs_an_app():
    with pytest.raises(NoApp):
        process.send_threadsafe("name", "topic")


# -- send_after ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 0.001, "1ms", "0"])
def test_send_after_sends_as_its_caller(inside, delay):
    async def body():
        me = process.pid()
        timer = process.send_after(delay, me, "tick", 1, 2)
        assert len(process.inbox()) == 0
        message = await process.inbox().receive()
        assert (message.topic, message.payload, message.sender) == ("tick", (1, 2), me)
        assert timer.cancel() is False

    inside(body)


@pytest.mark.parametrize(
    ("delay", "error"), [(-1, ValueError), ("5", ValueError), (None, TypeError), (True, TypeError)]
)
def test_bad_delays(inside, delay, error):
    async def body():
        with pytest.raises(error):
            process.send_after(delay, process.pid(), "tick")

    inside(body)


def test_a_cancelled_timer_sends_nothing(inside):
    async def body():
        timer = process.send_after(0, process.pid(), "tick")
        assert timer.cancel() is True
        assert timer.cancel() is False
        process.send_after("1ms", process.pid(), "tock")
        assert (await process.inbox().receive()).topic == "tock"

    inside(body)


def test_a_name_is_looked_up_when_the_time_comes(inside):
    async def body():
        process.send_after(0, "later", "tick")
        process.register("later")
        assert (await process.inbox().receive()).topic == "tick"

    inside(body)


def test_timers_end_with_their_process(inside):
    async def starts(dest):
        process.send_after(0, dest, "lost")

    async def body():
        process.spawn(starts, None, process.pid())
        await settle()
        process.send_after("1ms", process.pid(), "mine")
        assert (await process.inbox().receive()).topic == "mine"

    inside(body)


def test_a_timer_from_outside_belongs_to_nobody(run):
    async def scenario():
        async with App():
            pid = process.spawn(on_stop, None, "stop")
            process.send_after(0, pid, "stop")
            assert (await process.wait(pid)).reason == "normal"

    run(scenario())


# -- who calls -------------------------------------------------------------------------------------


def test_calls_that_need_a_self_raise_outside_a_process(run):
    async def scenario():
        async with App() as app:
            pid = process.spawn(waits)
            for call in (
                process.pid,
                process.self_task,
                process.inbox,
                process.events,
                process.exit,
                process.get_options,
                process.set_options,
                process.receive,
                lambda: process.listen("topic"),
                lambda: process.unlisten("topic"),
                lambda: process.monitor(pid),
                lambda: process.unmonitor(pid),
                lambda: process.link(pid),
                lambda: process.unlink(pid),
                lambda: process.register("name"),
                lambda: process.spawn_linked(waits),
                lambda: process.spawn_monitored(waits),
                lambda: process.spawn_linked_monitored(waits),
            ):
                with pytest.raises(NotAProcess):
                    call()
            assert [one.pid for one in app.processes()] == [pid]

    run(scenario())
