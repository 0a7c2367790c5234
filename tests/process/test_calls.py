"""`call` and `Message.reply`: request and answer."""

import asyncio

import pytest
from process_helpers import answers, never_ends, settle, spawn_parked, waits

from wsrelay import App, NoProcess, WrongThread, WSRelayError, process


async def takes(seen, replies=()):
    """Take one message, answer it as told, then wait on."""
    message = await process.inbox().receive()
    seen.append(message)
    for reply in replies:
        seen.append(message.reply(reply))
    await waits()


def test_a_call_returns_the_reply(inside):
    async def body():
        pid = await spawn_parked(answers, name="server")
        for dest in (pid, str.__str__(pid), "server"):
            assert await process.call(dest, "add", {"x": 1}) == ("add", {"x": 1})
        assert await process.call(pid, "none", timeout=None) == ("none", None)
        assert len(process.inbox()) == 0 == len(process.events())
        assert process.info(pid).monitored_by == ()

    inside(body)


def test_a_call_from_outside_and_its_sender(run):
    async def scenario():
        async with App():
            seen = []
            pid = await spawn_parked(takes, seen, ["answer"])
            assert await process.call(pid, "topic", timeout="5s") == "answer"
            assert seen[0].sender is None and seen[1:] == [True]

    run(scenario())


def test_a_call_from_a_process_has_its_sender(inside):
    async def body():
        seen = []
        assert await process.call(process.spawn(takes, None, seen, [1]), "topic") == 1
        assert seen[0].sender == process.pid()

    inside(body)


def test_reply_twice_is_false(inside):
    async def body():
        seen = []
        assert await process.call(process.spawn(takes, None, seen, ["first", "second"]), "t")
        assert seen[1:] == [True, False]

    inside(body)


def test_reply_after_the_caller_left_is_false(inside):
    async def body():
        seen = []
        pid = await spawn_parked(takes, seen)
        with pytest.raises(TimeoutError):
            await process.call(pid, "topic", timeout=0.001)
        await settle()
        assert seen[0].reply("late") is False
        assert process.send(pid, "alive")

    inside(body)


def test_reply_to_what_is_no_call(inside):
    async def body():
        process.send(process.pid(), "plain")
        message = process.inbox().receive_nowait()
        with pytest.raises(WSRelayError, match="no call"):
            message.reply(1)

    inside(body)


def test_reply_from_another_thread(inside):
    async def server():
        message = await process.inbox().receive()
        with pytest.raises(WrongThread):
            await asyncio.to_thread(message.reply, 1)
        message.reply(2)

    async def body():
        assert await process.call(process.spawn(server), "topic") == 2

    inside(body)


def test_nobody_to_call(inside):
    async def body():
        pid = process.spawn(waits)
        process.terminate(pid)
        for dest in (pid, "nobody"):
            with pytest.raises(NoProcess):
                await process.call(dest, "topic")

    inside(body)


@pytest.mark.parametrize("function", [waits, never_ends])
@pytest.mark.parametrize("way", ["terminate", "cancel", "end"])
def test_who_dies_before_the_reply(inside, function, way):
    async def body():
        pid = await spawn_parked(function)
        loop = asyncio.get_running_loop()
        if way != "end":
            loop.call_soon(getattr(process, way), pid)
        elif function is never_ends:
            loop.call_soon(process.terminate, pid)
        with pytest.raises(NoProcess, match="before it replied"):
            await process.call(pid, "topic", timeout=10)

    inside(body)


def test_a_full_mailbox_refuses_a_call(inside):
    async def small():
        process.set_options(mailbox_max=1)
        await never_ends()

    async def body():
        pid = await spawn_parked(small)
        process.send(pid, "fills")
        with pytest.raises(NoProcess, match="full"):
            await process.call(pid, "topic")

    inside(body)


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("5", ValueError)])
def test_a_bad_timeout_calls_nobody(inside, timeout, error):
    async def body():
        seen = []
        pid = await spawn_parked(takes, seen)
        with pytest.raises(error):
            await process.call(pid, "topic", timeout=timeout)
        await settle()
        assert seen == []

    inside(body)


def test_many_calls_at_once_get_their_own_replies(inside):
    async def body():
        pid = await spawn_parked(answers)
        replies = await asyncio.gather(*(process.call(pid, "n", n) for n in range(50)))
        assert replies == [("n", n) for n in range(50)]

    inside(body)


def test_a_cancelled_call_leaves_no_monitor(inside):
    async def calls(pid):
        await process.call(pid, "topic", timeout=None)

    async def body():
        pid = await spawn_parked(never_ends)
        caller = await spawn_parked(calls, pid)
        process.cancel(caller)
        await process.wait(caller)
        assert process.info(pid).queue_length == 1
        assert process.terminate(pid)

    inside(body)


def test_drained_of_what_is_no_connection(inside):
    async def body():
        for dest in (process.pid(), "nobody"):
            with pytest.raises(NoProcess):
                await process.drained(dest)

    inside(body)
