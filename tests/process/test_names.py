"""Names, options, `info`, `app.processes()`, `self_task`."""

import asyncio
import enum

import pytest
from process_helpers import answers, never_ends, spawn_parked, topics, waits

from wsrelay import App, NameTaken, NoProcess, process

# -- names -----------------------------------------------------------------------------------------


def test_register_and_lookup(inside):
    async def body():
        assert process.lookup("me") is None
        process.register("me")
        process.register("me")  # again is no error
        process.register("also me", process.pid())
        pid = await spawn_parked(waits)
        process.register("child", pid)
        process.register("alias", "child")
        assert process.lookup("me") == process.lookup("also me") == process.pid()
        assert process.lookup("child") == process.lookup("alias") == pid
        assert process.info(pid).names == ("child", "alias")
        assert process.info(pid).name == "child"

    inside(body)


class Name(str, enum.Enum):  # noqa: UP042 - its str() is its name, a StrEnum's its value
    LOBBY = "lobby"


def test_a_name_of_an_enum_is_its_text(inside):
    async def body():
        pid = await spawn_parked(waits, name=Name.LOBBY)
        assert process.info(pid).names == ("lobby",)
        assert process.lookup("lobby") == process.lookup(Name.LOBBY) == pid
        assert process.info("lobby").pid == process.info(Name.LOBBY).pid == pid
        process.unregister(Name.LOBBY)
        assert not process.send("lobby", "topic")

    inside(body)


def test_a_taken_name(inside):
    async def body():
        pid = await spawn_parked(waits, name="child")
        with pytest.raises(NameTaken, match="child"):
            process.register("child")
        assert process.lookup("child") == pid
        process.terminate(pid)
        process.register("child")
        assert process.lookup("child") == process.pid()

    inside(body)


def test_unregister_gives_it_back(inside):
    async def body():
        process.register("me")
        process.unregister("me")
        process.unregister("me")
        process.unregister("nobody")
        assert process.lookup("me") is None
        assert process.info(process.pid()).names == ()
        assert process.send("me", "topic") is False
        pid = await spawn_parked(waits, name="me")
        assert process.lookup("me") == pid

    inside(body)


def test_a_name_that_changed_hands_stays_with_its_new_holder(inside):
    async def body():
        first = await spawn_parked(waits, name="name")
        process.unregister("name")
        process.register("name")
        process.terminate(first)
        assert process.lookup("name") == process.pid()

    inside(body)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", ValueError),
        ("@name", ValueError),
        ("{name", ValueError),
        ("name}", ValueError),
        (None, TypeError),
        (7, TypeError),
        (b"name", TypeError),
    ],
)
def test_what_is_no_name(inside, name, error):
    async def body():
        with pytest.raises(error):
            process.register(name)
        with pytest.raises(error):
            process.spawn(waits, name=name if name is not None else 0.5)
        assert process.info(process.pid()).names == ()

    inside(body)


def test_a_name_for_the_dead(inside):
    async def body():
        pid = process.spawn(waits)
        process.terminate(pid)
        for dest in (pid, "nobody"):
            with pytest.raises(NoProcess):
                process.register("name", dest)
        assert process.lookup("name") is None

    inside(body)


# -- options ---------------------------------------------------------------------------------------


def test_options_and_their_defaults(inside):
    async def body():
        assert process.get_options() == {"mailbox_max": 0, "trap_links": False}
        process.set_options(trap_links=True)
        process.set_options(mailbox_max=10)
        assert process.get_options() == {"mailbox_max": 10, "trap_links": True}
        process.set_options(mailbox_max=0, trap_links=False)
        assert process.get_options() == {"mailbox_max": 0, "trap_links": False}

    inside(body)


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"trap_exit": True}, TypeError, "trap_exit"),
        ({"trap_links": 1}, TypeError, "trap_links"),
        ({"mailbox_max": -1}, ValueError, "mailbox_max"),
        ({"mailbox_max": "10"}, TypeError, "mailbox_max"),
        ({"mailbox_max": True}, TypeError, "mailbox_max"),
        ({"mailbox_max": 2**80}, ValueError, "mailbox_max"),
    ],
)
def test_a_bad_option_is_named_and_none_is_set(inside, options, error, named):
    async def body():
        with pytest.raises(error, match=named):
            process.set_options(**{"trap_links": True, "mailbox_max": 5} | options)
        assert process.get_options() == {"mailbox_max": 0, "trap_links": False}

    inside(body)


def test_mailbox_max_refuses_and_counts(inside):
    async def body():
        process.set_options(mailbox_max=2)
        me = process.pid()
        own = process.listen("own")
        assert [process.send(me, topic) for topic in ("own", "a", "b")] == [True, True, False]
        assert process.broadcast([me], "c") == 0
        assert process.info(me).dropped == 2
        own.receive_nowait()
        assert process.send(me, "d") is True
        process.monitor("nobody")  # events are never refused
        assert len(process.events()) == 1
        assert topics(process.inbox()) == ["a", "d"]

    inside(body)


# -- info ------------------------------------------------------------------------------------------


def test_info_of_a_process(inside):
    async def body():
        pid = await spawn_parked(never_ends, name="child")
        ref = process.monitor(pid)
        process.link(pid)
        process.send(pid, "a")
        process.send(pid, "b")
        info = process.info("child")
        assert (info.pid, info.state, info.host) == (pid, "running", "app:processes")
        assert info.entry.endswith("process_helpers:never_ends")
        assert (info.names, info.links) == (("child",), (process.pid(),))
        assert (info.monitored_by, info.monitors) == ((process.pid(),), ())
        assert (info.queue_length, info.handled, info.dropped) == (2, 0, 0)
        assert 0 <= info.age < 60
        assert (info.client, info.path, info.target, info.last_rtt_ms) == (None,) * 4
        assert process.info(process.pid()).monitors == (ref.target,)

    inside(body)


def test_info_counts_what_was_handled(inside):
    async def body():
        pid = await spawn_parked(answers)
        for number in range(3):
            await process.call(pid, "topic", number)
        info = process.info(pid)
        assert (info.handled, info.queue_length, info.name) == (3, 0, None)

    inside(body)


def test_info_of_the_dead(inside):
    async def body():
        pid = process.spawn(waits)
        process.terminate(pid)
        for dest in (pid, "nobody"):
            with pytest.raises(NoProcess):
                process.info(dest)

    inside(body)


def test_app_processes_is_what_lives_oldest_first(run):
    async def scenario():
        async with App() as app:
            assert app.processes() == []
            pids = [process.spawn(waits) for _ in range(4)]
            process.terminate(pids.pop(1))
            assert [info.pid for info in app.processes()] == pids

    run(scenario())


# -- self ------------------------------------------------------------------------------------------


def test_self_task_is_the_task(inside, step):
    async def body():
        await step()
        task = process.self_task()
        assert isinstance(task, asyncio.Task) and task is asyncio.current_task()

    inside(body)
