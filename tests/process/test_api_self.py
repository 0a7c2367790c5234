"""The process API, row by row: self, messages, inboxes, events, options, names, information."""

import asyncio
import threading
from typing import Any

import pytest
from process_helpers import beside, forever, inside, settle

import wsrelay
from wsrelay import App, process
from wsrelay.errors import (
    InboxClosed,
    InvalidPID,
    NameTaken,
    NoProcess,
    NotAProcess,
    WrongThread,
    WSRelayError,
)

# -- pid, self_task, exit --------------------------------------------------------------------------


def test_pid_and_self_task(run_everywhere) -> None:
    async def body() -> None:
        assert process.pid().host == "app:processes"
        assert process.self_task() is asyncio.current_task()

        async def child() -> None:
            assert process.self_task() is not asyncio.current_task()
            return process.pid()

        assert await asyncio.create_task(child()) == process.pid()

    run_everywhere(inside(body))


SELF_CALLS = {
    "pid": process.pid,
    "self_task": process.self_task,
    "exit": process.exit,
    "inbox": process.inbox,
    "events": process.events,
    "listen": lambda: process.listen("t"),
    "unlisten": lambda: process.unlisten("t"),
    "receive": process.receive,
    "monitor": lambda: process.monitor("x"),
    "unmonitor": lambda: process.unmonitor("x"),
    "link": lambda: process.link("x"),
    "unlink": lambda: process.unlink("x"),
    "register": lambda: process.register("x"),
    "set_options": process.set_options,
    "get_options": process.get_options,
    "spawn_linked": lambda: process.spawn_linked(forever),
    "spawn_monitored": lambda: process.spawn_monitored(forever),
    "spawn_linked_monitored": lambda: process.spawn_linked_monitored(forever),
}
SYSTEM_CALLS = {
    "send": lambda: process.send("x", "t"),
    "broadcast": lambda: process.broadcast(["x"], "t"),
    "spawn": lambda: process.spawn(forever),
    "cancel": lambda: process.cancel("x"),
    "terminate": lambda: process.terminate("x"),
    "lookup": lambda: process.lookup("x"),
    "unregister": lambda: process.unregister("x"),
    "send_after": lambda: process.send_after(1, "x", "t"),
    "info": lambda: process.info("x"),
}


@pytest.mark.parametrize("name", SELF_CALLS)
def test_calls_that_need_a_self(run, name: str) -> None:
    async def body(app: App) -> None:
        with pytest.raises(NotAProcess):
            SELF_CALLS[name]()

    run(beside(body))


@pytest.mark.parametrize("name", [*SELF_CALLS, *SYSTEM_CALLS, "send to a PID", "terminate a PID"])
def test_calls_of_the_dead(run, name: str) -> None:
    async def body(app: App) -> None:
        errors: list[BaseException] = []
        other = process.spawn(forever)
        calls = {
            **SELF_CALLS,
            **SYSTEM_CALLS,
            "send to a PID": lambda: process.send(other, "t"),
            "terminate a PID": lambda: process.terminate(other),
        }

        async def dead() -> None:
            try:
                await forever()
            finally:
                try:
                    calls[name]()
                except BaseException as error:
                    errors.append(error)

        pid = process.spawn(dead)
        await settle()
        assert process.terminate(pid)
        await settle()
        assert [type(error) for error in errors] == [NotAProcess]

    run(beside(body))


@pytest.mark.parametrize("name", [*SELF_CALLS, *SYSTEM_CALLS])
def test_calls_from_another_thread(run, name: str) -> None:
    async def body() -> None:
        with pytest.raises(WrongThread):
            await asyncio.to_thread({**SELF_CALLS, **SYSTEM_CALLS}[name])

    run(inside(body))


@pytest.mark.parametrize("reason", ["normal", "cancelled", "bored", "killed"])
def test_exit(run, reason: str) -> None:
    async def leave() -> None:
        try:
            wsrelay.exit(reason)
        except Exception:
            raise AssertionError("no `except Exception` stops it") from None

    async def body(app: App) -> None:
        event = await process.wait(process.spawn(leave))
        assert (event.reason, event.result.error) == (reason, None)

    run(beside(body))


@pytest.mark.parametrize("reason", ["", None, 1])
def test_exit_reasons_are_texts(run, reason: Any) -> None:
    async def body() -> None:
        with pytest.raises(TypeError):
            process.exit(reason)

    run(inside(body))


# -- inboxes ---------------------------------------------------------------------------------------


def test_inbox(run_everywhere) -> None:
    async def body() -> None:
        box = process.inbox()
        assert box is process.inbox()
        for number in range(4):
            assert process.send(process.pid(), "t", number)
        assert len(box) == 4
        assert (await box.receive()).payload == 0
        assert (await box.receive(timeout="1s")).payload == 1
        assert box.receive_nowait().payload == 2
        message = await anext(aiter(box))
        assert (message.topic, message.payload, message.sender) == ("t", 3, process.pid())
        with pytest.raises(asyncio.QueueEmpty):
            box.receive_nowait()
        for timeout in (0.001, "1ms", 0):
            with pytest.raises(TimeoutError):
                await box.receive(timeout=timeout)
        for bad in ("5", -1, "x"):
            with pytest.raises(ValueError):
                box.receive(timeout=bad)
        box.close()
        assert not process.send(process.pid(), "t")
        assert [one async for one in box] == []
        with pytest.raises(InboxClosed):
            await box.receive()

    run_everywhere(inside(body))


def test_receive_by_match(run_everywhere) -> None:
    async def body() -> None:
        me = process.pid()
        for topic in ("a", "b", "a", "c"):
            process.send(me, topic)
        assert (await process.receive(lambda m: m.topic == "c")).topic == "c"
        assert (await process.receive(match=lambda m: m.topic == "b", timeout="1s")).topic == "b"
        assert (await process.receive()).topic == "a"
        with pytest.raises(TimeoutError):
            await process.receive(lambda m: m.topic == "b", timeout="1ms")
        with pytest.raises(ValueError):
            await process.receive(timeout="1")
        assert len(process.inbox()) == 1

    run_everywhere(inside(body))


def test_listen_and_select(run_everywhere) -> None:
    async def body() -> None:
        me = process.pid()
        process.send(me, "t", "before")
        topic = process.listen("t")
        process.send(me, "t", 1)
        process.send(me, "t2", 2)
        process.send(me, "t", 3)
        assert (await topic.receive()).payload == 1
        box, message = await process.select(topic, process.inbox())
        assert {box: message.payload}.items() <= {(topic, 3), (process.inbox(), "before")}
        process.unlisten("t")
        process.send(me, "t", 4)
        rest = [(await process.receive()).payload for _ in range(3)]
        assert rest == (["before", 2, 4] if box is topic else [2, 3, 4])
        with pytest.raises(TimeoutError):
            await process.select(process.inbox(), process.events(), timeout="1ms")
        for call in (process.listen, process.unlisten):
            with pytest.raises(ValueError):
                call("@system")

    run_everywhere(inside(body))


def test_select_of_inbox_and_events(run) -> None:
    async def body() -> list[str]:
        seen = []
        process.spawn_monitored(settle)
        process.send_after("1ms", process.pid(), "mail")
        for _ in range(2):
            box, item = await process.select(process.inbox(), process.events(), timeout=5)
            seen.append(item.kind if box is process.events() else item.topic)
        return sorted(seen)

    assert run(inside(body)) == ["EXIT", "mail"]


def test_events_never_reach_the_inbox(run) -> None:
    async def body() -> None:
        process.set_options(trap_links=True)
        _, ref = process.spawn_linked_monitored(fail)
        event = await process.events().receive()
        down = await process.events().receive()
        assert (event.kind, event.ref, down.kind) == ("EXIT", ref, "LINK_DOWN")
        assert event.result.error is down.result.error
        assert len(process.inbox()) == 0

    run(inside(body))


async def fail() -> None:
    raise ValueError("boom")


# -- options, names --------------------------------------------------------------------------------


def test_options(run) -> None:
    async def body() -> None:
        assert process.get_options() == {"mailbox_max": 0, "trap_links": False}
        process.set_options(mailbox_max=2, trap_links=True)
        process.set_options()
        assert process.get_options() == {"mailbox_max": 2, "trap_links": True}
        sent = [process.send(process.pid(), "t") for _ in range(4)]
        assert sent == [True, True, False, False]
        facts = process.info(process.pid())
        assert (facts.queue_length, facts.dropped) == (2, 2)
        with pytest.raises(NoProcess, match="full"):
            await process.call(process.pid(), "t")

    run(inside(body))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"trap_exits": True}, "trap_exits"),
        ({"trap_links": 1}, "trap_links"),
        ({"mailbox_max": -1}, "mailbox_max"),
        ({"mailbox_max": True}, "mailbox_max"),
        ({"mailbox_max": "9"}, "mailbox_max"),
        ({"mailbox_max": 2**80}, "mailbox_max"),
    ],
)
def test_bad_options_change_nothing(run, options: dict[str, Any], error: str) -> None:
    async def body() -> None:
        before = process.get_options()
        with pytest.raises((TypeError, ValueError), match=error):
            process.set_options(**{"trap_links": True, "mailbox_max": 5, **options})
        assert process.get_options() == before

    run(inside(body))


def test_names(run) -> None:
    async def body() -> None:
        me, other = process.pid(), process.spawn(forever)
        process.register("mine")
        process.register("his", other)
        assert (process.lookup("mine"), process.lookup("his")) == (me, other)
        assert process.lookup("nobody's") is None
        with pytest.raises(NameTaken, match="'mine' is registered"):
            process.register("mine", other)
        process.unregister("mine")
        process.unregister("nobody's")
        assert process.lookup("mine") is None
        process.terminate(other)
        assert process.lookup("his") is None
        with pytest.raises(NoProcess):
            process.register("again", other)
        for bad in (None, 1):
            for call in (process.register, process.lookup, process.unregister):
                with pytest.raises(TypeError):
                    call(bad)

    run(inside(body))


def test_names_fought_over(run) -> None:
    """A hundred want one name; each time its holder ends, another has it before the EXIT comes."""

    async def fighter() -> None:
        while True:
            try:
                process.register("crown")
                break
            except NameTaken:
                holder = process.lookup("crown")
                assert holder is not None
                ref = process.monitor(holder)
                event = await process.events().receive(timeout=10)
                assert event.ref is ref
        await asyncio.sleep(0)

    async def body(app: App) -> None:
        pids = [process.spawn(fighter) for _ in range(100)]
        events = await asyncio.gather(*(process.wait(pid) for pid in pids))
        assert {event.reason for event in events} == {"normal"}
        assert process.lookup("crown") is None

    run(beside(body))


# -- info ------------------------------------------------------------------------------------------


def test_info(run) -> None:
    async def body() -> None:
        other, _ = process.spawn_linked_monitored(forever)
        process.register("a", other)
        process.register("b", other)
        await settle()
        process.send(other, "t")
        facts = process.info("a")
        assert facts.pid == other
        assert (facts.state, facts.name, facts.names) == ("running", "a", ("a", "b"))
        assert facts.entry.endswith(":forever")
        assert facts.host == "app:processes"
        assert 0 <= facts.age < 60
        assert facts.links == (process.pid(),)
        assert facts.monitored_by == (process.pid(),)
        assert process.info(process.pid()).monitors == (other,)
        assert (facts.queue_length, facts.queue_bytes, facts.handled, facts.dropped) == (1, 0, 0, 0)
        assert (facts.client, facts.path, facts.subprotocol, facts.target, facts.last_rtt_ms) == (
            None,
        ) * 5
        process.unlink(other)
        process.terminate(other)
        with pytest.raises(NoProcess, match="no information"):
            process.info("a")

    run(inside(body))


def test_app_processes(run) -> None:
    async def body(app: App) -> None:
        assert app.processes() == []
        pids = [process.spawn(forever) for _ in range(3)]
        assert [facts.pid for facts in app.processes()] == pids
        process.terminate(pids[1])
        assert [facts.pid for facts in app.processes()] == [pids[0], pids[2]]

    run(beside(body))


# -- timers, threads -------------------------------------------------------------------------------


def test_send_after(run_everywhere) -> None:
    async def body() -> None:
        me = process.pid()
        process.send_after("20ms", me, "third")
        process.send_after(0.01, me, "second", 1, 2)
        process.send_after(0, me, "first")
        assert process.send_after("1ms", me, "never").cancel()
        got = [(await process.receive(timeout=5)) for _ in range(3)]
        assert [(one.topic, one.payload, one.sender) for one in got] == [
            ("first", None, me),
            ("second", (1, 2), me),
            ("third", None, me),
        ]
        for delay in (-1, "5", None):
            with pytest.raises((TypeError, ValueError)):
                process.send_after(delay, me, "t")
        with pytest.raises(InvalidPID):
            process.send_after(1, "{bad", "t")
        with pytest.raises(ValueError):
            process.send_after(1, me, "@t")

    run_everywhere(inside(body))


def test_timers_end_with_their_process(run) -> None:
    async def starter(dest: str, how: str) -> None:
        process.send_after(0, dest, "never")
        if how == "crash":
            raise ValueError("boom")
        if how == "wait":
            await forever()

    async def body() -> None:
        for how in ("return", "crash", "wait"):
            pid = process.spawn(starter, None, process.pid(), how)
            waits = asyncio.ensure_future(process.wait(pid))
            await asyncio.sleep(0)
            process.terminate(pid)
            await waits
        await asyncio.sleep(0.005)
        assert len(process.inbox()) == 0

    run(inside(body))


def test_send_after_from_outside(run) -> None:
    async def echo() -> Any:
        message = await process.receive()
        return message.payload, message.sender

    async def body(app: App) -> None:
        pid = process.spawn(echo)
        process.send_after("1ms", pid, "t", 5)
        assert (await process.wait(pid)).result.value == (5, None)

    run(beside(body))


@pytest.mark.parametrize("by", ["pid", "text", "name"])
def test_send_threadsafe(run_everywhere, by: str) -> None:
    async def body() -> None:
        me = process.pid()
        process.register("me")
        dest = {"pid": me, "text": str(me), "name": "me"}[by]

        def elsewhere() -> None:
            for number in range(100):
                process.send_threadsafe(dest, "t", number)
            with pytest.raises(InvalidPID):
                process.send_threadsafe("{bad", "t")
            with pytest.raises(TypeError):
                process.send_threadsafe(None, "t")
            with pytest.raises(ValueError):
                process.send_threadsafe(dest, "@t")
            process.send_threadsafe("nobody", "t")

        await asyncio.to_thread(elsewhere)
        thread = threading.Thread(target=elsewhere)  # no context: by the PID, or the only App
        thread.start()
        got = [(await process.receive(timeout=5)) for _ in range(200)]
        thread.join()
        assert [one.payload for one in got] == [*range(100)] * 2
        assert {one.sender for one in got} == {None}

    run_everywhere(inside(body))


# -- call ------------------------------------------------------------------------------------------


async def server() -> None:
    async for message in process.inbox():
        if message.topic == "double":
            message.reply(message.payload * 2)
        elif message.topic == "who":
            message.reply(message.sender)
        elif message.topic == "die":
            process.exit("bored")


def test_call(run_everywhere) -> None:
    async def body(app: App) -> None:
        pid = process.spawn(server, name="server")
        assert await process.call(pid, "double", 2) == 4
        assert await process.call("server", "double", "ab") == "abab"
        assert await process.call(pid, "who") is None

        async def inner() -> Any:
            return await process.call(pid, "who") == process.pid()

        assert await process.exec(inner)
        answers = await asyncio.gather(*(process.call(pid, "double", n) for n in range(100)))
        assert answers == [2 * n for n in range(100)]
        with pytest.raises(TimeoutError):
            await process.call(pid, "silence", timeout="1ms")
        with pytest.raises(ValueError):
            await process.call(pid, "double", timeout="5")
        with pytest.raises(InvalidPID):
            await process.call("{bad", "t")
        with pytest.raises(ValueError):
            await process.call(pid, "@t")
        assert process.info(pid).handled == 105, "a call refused sends nothing"
        with pytest.raises(NoProcess, match="bored"):
            await process.call(pid, "die")
        for dest in (pid, "server", "nobody"):
            with pytest.raises(NoProcess, match="no such process"):
                await process.call(dest, "double", 1)

    run_everywhere(beside(body))


def test_a_call_leaves_nothing(run) -> None:
    async def body(app: App) -> None:
        pid = process.spawn(server)
        await process.call(pid, "double", 1)
        with pytest.raises(TimeoutError):
            await process.call(pid, "silence", timeout=0.001)
        task = asyncio.ensure_future(process.call(pid, "silence"))
        await settle()
        task.cancel()
        await asyncio.wait([task])
        (record,) = app.records()
        assert not record.has_relations()

    run(beside(body))


def test_a_late_reply_and_a_reply_to_nobody(run) -> None:
    async def late() -> list[Any]:
        first = await process.receive()
        await process.receive(lambda m: m.topic == "now")
        answers: list[Any] = [first.reply(1)]
        try:
            (await process.receive()).reply(1)
        except WSRelayError as error:
            answers.append(str(error))
        return answers

    async def body(app: App) -> None:
        pid = process.spawn(late)
        ended = asyncio.ensure_future(process.wait(pid))
        with pytest.raises(TimeoutError):
            await process.call(pid, "t", timeout=0.001)
        process.send(pid, "now")
        process.send(pid, "plain")
        answers = (await ended).result.value
        assert answers[0] is False
        assert "no call" in answers[1]

    run(beside(body))
