"""Inboxes: `receive`, `async for`, `listen`, selective receive, `select`, events, and `Message`."""

import asyncio

import pytest
from process_helpers import drain, sends, settle, spawn_parked, topics, waits

from wsrelay import InboxClosed, process


def mail(*names):
    """Send to oneself, in order."""
    for name in names:
        process.send(process.pid(), name)


# -- the inbox -------------------------------------------------------------------------------------


def test_the_inbox_is_one_and_counts(inside, step):
    async def body():
        await step()
        inbox = process.inbox()
        assert process.inbox() is inbox and len(inbox) == 0 and bool(inbox)
        mail("a", "b")
        assert len(inbox) == 2
        assert (await inbox.receive()).topic == "a"
        assert inbox.receive_nowait().topic == "b"
        with pytest.raises(asyncio.QueueEmpty):
            inbox.receive_nowait()

    inside(body)


@pytest.mark.parametrize("timeout", [0, 0.001, "1ms", "0"])
def test_receive_has_a_timeout(inside, step, timeout):
    async def body():
        await step()
        with pytest.raises(TimeoutError):
            await process.inbox().receive(timeout)
        with pytest.raises(TimeoutError):
            await process.receive(timeout=timeout)
        with pytest.raises(TimeoutError):
            await process.receive(lambda _: True, timeout)
        mail("there")
        assert (await process.inbox().receive(timeout)).topic == "there"

    inside(body)


@pytest.mark.parametrize(
    ("timeout", "error"), [("5", ValueError), (-1, ValueError), ([], TypeError)]
)
def test_bad_timeouts(inside, timeout, error):
    async def body():
        for call in (
            process.inbox().receive,
            lambda timeout: process.receive(timeout=timeout),
            lambda timeout: process.select(process.inbox(), timeout=timeout),
        ):
            with pytest.raises(error):
                call(timeout)

    inside(body)


def test_async_for_ends_when_closed_and_empty(inside):
    async def body():
        inbox = process.inbox()
        mail("a", "b")
        inbox.close()
        assert process.send(process.pid(), "refused") is False
        assert [message.topic async for message in inbox] == ["a", "b"]
        with pytest.raises(InboxClosed):
            await inbox.receive()
        with pytest.raises(InboxClosed):
            inbox.receive_nowait()
        with pytest.raises(InboxClosed):
            await process.receive(lambda _: True)

    inside(body)


def test_close_wakes_who_waits(inside):
    async def body():
        inbox = process.inbox()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(_closed(inbox)) for _ in range(3)]
            await settle()
            inbox.close()
        assert [task.result() for task in waiting] == [True] * 3

    inside(body)


async def _closed(inbox):
    with pytest.raises(InboxClosed):
        await inbox.receive()
    return True


def test_the_inbox_closes_with_its_process(run):
    async def hands(box):
        box.append(process.inbox())
        await asyncio.get_running_loop().create_future()

    async def scenario():
        from wsrelay import App

        async with App():
            box = []
            pid = await spawn_parked(hands, box)
            process.send(pid, "unread")
            waiting = asyncio.ensure_future(_closed_after(box[0]))
            await settle()
            process.terminate(pid)
            assert await waiting == "unread"

    run(scenario())


async def _closed_after(inbox):
    topic = (await inbox.receive()).topic
    await _closed(inbox)
    return topic


def test_several_receivers_are_served_first_come(inside):
    async def child(number, seen):
        seen.append((number, (await process.inbox().receive()).topic))

    async def body():
        seen = []
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(child(number, seen))
            await settle()
            mail("a", "b", "c", "d")
        assert sorted(seen) == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]

    inside(body)


# -- listen ----------------------------------------------------------------------------------------


def test_listen_takes_exactly_its_topic(inside):
    async def body():
        own = process.listen("own")
        assert process.listen("own") is own and own is not process.inbox()
        mail("own", "own.more", "Own", "own")
        assert (topics(own), topics(process.inbox())) == (["own", "own"], ["own.more", "Own"])

    inside(body)


def test_listen_leaves_what_came_before(inside):
    async def body():
        mail("own")
        own = process.listen("own")
        mail("own")
        assert (len(own), topics(process.inbox())) == (1, ["own"])

    inside(body)


def test_unlisten_puts_what_waits_at_the_end(inside):
    async def body():
        own = process.listen("own")
        mail("own", "a", "own", "b")
        process.unlisten("own")
        mail("own")
        assert topics(process.inbox()) == ["a", "b", "own", "own", "own"]
        with pytest.raises(InboxClosed):
            await own.receive()
        process.unlisten("own")
        assert process.listen("own") is not own

    inside(body)


def test_unlisten_wakes_who_waits_for_the_inbox(inside):
    async def body():
        process.listen("own")
        mail("own")
        waiting = asyncio.ensure_future(process.inbox().receive())
        await settle()
        assert not waiting.done()
        process.unlisten("own")
        assert (await waiting).topic == "own"

    inside(body)


# -- selective receive -----------------------------------------------------------------------------


def test_selective_receive_leaves_the_others_in_order(inside, step):
    async def body():
        await step()
        mail("a", "b", "c", "b")
        assert (await process.receive(lambda message: message.topic == "b")).topic == "b"
        assert (await process.receive()).topic == "a"
        assert topics(process.inbox()) == ["c", "b"]

    inside(body)


def test_selective_receive_waits_for_what_fits(inside, step):
    async def body():
        await step()
        mail("a")
        process.spawn(sends, None, process.pid(), "b")
        process.spawn(sends, None, process.pid(), "c")
        assert (await process.receive(match=lambda message: message.topic == "c")).topic == "c"
        assert topics(process.inbox()) == ["a", "b"]

    inside(body)


def test_a_predicate_that_fails_takes_nothing(inside):
    async def body():
        mail("a", "b")
        with pytest.raises(ZeroDivisionError):
            await process.receive(lambda message: message.topic == "b" and 1 / 0)
        with pytest.raises(TypeError):
            await process.receive("topic")
        assert topics(process.inbox()) == ["a", "b"]

    inside(body)


# -- select ----------------------------------------------------------------------------------------


def test_select_takes_whichever_has_mail(inside, step):
    async def body():
        await step()
        inbox, own, events = process.inbox(), process.listen("own"), process.events()
        process.spawn(sends, None, process.pid(), "own")
        source, item = await process.select(inbox, own, events)
        assert source is own and item.topic == "own"
        process.monitor(process.spawn(sends, None, "nobody", "x"))
        source, item = await process.select(inbox, own, events)
        assert source is events and item.kind == "EXIT"

    inside(body)


def test_select_is_fair(inside):
    async def body():
        inbox, own = process.inbox(), process.listen("own")
        mail(*["own", "plain"] * 3)
        seen = [(await process.select(own, inbox))[1].topic for _ in range(6)]
        assert seen in (["own", "plain"] * 3, ["plain", "own"] * 3)

    inside(body)


def test_select_has_a_timeout_and_loses_nothing(inside, step):
    async def body():
        await step()
        inbox, own = process.inbox(), process.listen("own")
        for timeout in (0, 0.001, "1ms"):
            with pytest.raises(TimeoutError):
                await process.select(inbox, own, timeout=timeout)
        waiting = asyncio.ensure_future(process.select(inbox, own))
        await settle()
        mail("own", "plain")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert (topics(own), topics(inbox)) == (["own"], ["plain"])

    inside(body)


def test_select_of_closed_ones_and_of_none(inside):
    async def body():
        inbox, own = process.inbox(), process.listen("own")
        mail("own")
        inbox.close()
        own.close()
        assert (await process.select(inbox, own))[1].topic == "own"
        with pytest.raises(InboxClosed):
            await process.select(inbox, own)
        for wrong in ((), ("inbox",)):
            with pytest.raises(TypeError):
                process.select(*wrong)

    inside(body)


# -- events ----------------------------------------------------------------------------------------


def test_events_wait_until_they_are_opened(inside):
    async def body():
        pids = [process.spawn_monitored(waits)[0] for _ in range(300)]
        for pid in pids:
            process.terminate(pid)
        assert len(process.inbox()) == 0
        events = process.events()
        assert process.events() is events
        assert [event.sender for event in drain(events)] == pids

    inside(body)


def test_an_event_is_short_text(inside):
    async def body():
        pid, _ = process.spawn_monitored(waits)
        process.terminate(pid)
        event = await process.events().receive()
        assert repr(event) == str(event) == f"<Event EXIT {pid} 'killed'>"

    inside(body)


# -- Message ---------------------------------------------------------------------------------------


class Unshowable:
    """Its repr fails."""

    def __repr__(self):
        raise ValueError("no")


def test_a_message_is_short_text(inside):
    async def body():
        me = process.pid()
        process.send(me, "small", {"a": 1})
        process.send(me, "huge", "x" * 100_000)
        process.send(me, "bad", Unshowable())
        small, huge, bad = drain(process.inbox())
        assert repr(small) == str(small) == f"<Message 'small' {{'a': 1}} from {me}>"
        assert len(str(huge)) < 200 and "…" in str(huge)
        assert "Unshowable" in repr(bad)

    inside(body)


def test_a_message_from_outside_says_so(inside):
    async def body():
        process.send_threadsafe(process.pid(), "topic")
        assert "from outside" in repr(await process.inbox().receive())

    inside(body)


def test_fields_of_a_message_and_of_an_event_stand(inside):
    async def body():
        mail("topic")
        process.monitor("nobody")
        message, event = process.inbox().receive_nowait(), process.events().receive_nowait()
        for thing, name in ((message, "sender"), (message, "topic"), (event, "reason")):
            with pytest.raises(AttributeError):
                setattr(thing, name, "other")

    inside(body)
