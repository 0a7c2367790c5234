"""`select` when several inboxes get mail before its process runs: no item stays behind."""

import asyncio

import pytest

from wsrelay import App, process


@pytest.fixture
def run():
    with asyncio.Runner() as runner:
        yield runner.run


async def waits():
    await process.inbox().receive()


async def selects(other, seen):
    inbox, events = process.inbox(), process.events()
    process.monitor(other)
    while True:
        source, item = await process.select(inbox, events)
        seen.put_nowait(item.topic if source is inbox else item.kind)
        while source is events and len(inbox):  # what waits can be taken, whatever woke us
            seen.put_nowait(inbox.receive_nowait().topic)


async def both(selecting, other):
    """In one step: mail for the inbox, and an event."""
    process.send(selecting, "first")
    process.terminate(other)


def test_mail_in_two_inboxes_at_once_leaves_nothing_behind(run):
    async def scenario():
        seen = asyncio.Queue()
        async with App(), asyncio.timeout(5):
            other = process.spawn(waits)
            selecting = process.spawn(selects, None, other, seen)
            await asyncio.sleep(0)
            await process.exec(both, None, selecting, other)
            assert {await seen.get(), await seen.get()} == {"first", "EXIT"}
            for topic in ("second", "third"):
                process.send(selecting, topic)
                assert await seen.get() == topic
            process.terminate(selecting)

    run(scenario())


def test_a_receiver_behind_a_select_is_served(run):
    async def scenario():
        async with App(), asyncio.timeout(5):
            selected, received, waiting = asyncio.Queue(), asyncio.Queue(), asyncio.Event()

            async def two_receivers():
                inbox, other = process.inbox(), process.listen("other")

                async def selecting():
                    selected.put_nowait((await process.select(other, inbox))[1].topic)

                async def receiving():
                    received.put_nowait((await inbox.receive()).topic)

                async with asyncio.TaskGroup() as group:
                    group.create_task(selecting())
                    group.create_task(receiving())
                    await asyncio.sleep(0)  # both have begun to wait then
                    waiting.set()

            pid = process.spawn(two_receivers)
            await waiting.wait()
            process.send(pid, "other")
            process.send(pid, "plain")
            assert {await selected.get(), await received.get()} == {"other", "plain"}

    run(scenario())
