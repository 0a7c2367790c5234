"""Messages, the ring they wait in, and its counts."""

import asyncio
import gc
import sys
import threading
import weakref
from collections import deque
from typing import Any

import pytest
from core_helpers import Core, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay_core import (
    CoroutineProcess,
    Host,
    Message,
    Scheduler,
    current_process,
    receive_matching,
    send,
)
from wsrelay_core._errors import WrongThread, WSRelayError


async def forever() -> None:
    await asyncio.Event().wait()


async def message_of(core: Core, *payload: Any) -> Message:
    process = core.spawn(forever)
    assert send(process.pid, "topic", *payload)
    return process.inbox().receive_nowait()


@given(st.lists(st.one_of(st.just("put"), st.just("take"), st.integers(0, 40)), max_size=150))
@settings(max_examples=60, deadline=None)
def test_ring_against_a_deque(steps: list[Any]) -> None:
    """Puts, takes, and takes from the middle (integers), over all sizes of the ring."""

    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            box, model = process.inbox(), deque[int]()
            taken = 0
            for number, step in enumerate(steps * 3):
                if step == "put" or not model:
                    send(process.pid, "n", number)
                    model.append(number)
                    continue
                taken += 1
                if step == "take":
                    assert box.receive_nowait().payload == model.popleft()
                else:
                    wanted = model[step % len(model)]
                    found = await receive_matching(box, lambda m, n=wanted: m.payload == n)
                    assert found.payload == wanted
                    model.remove(wanted)
                assert len(box) == len(model) == process.describe()["queue_length"]
            assert process.describe()["handled"] == taken
            assert [box.receive_nowait().payload for _ in range(len(box))] == list(model)

    asyncio.run(main())


def test_large_rings_filled_and_emptied_by_turns(run) -> None:
    """A ring that one mailbox gave back is used again, by one other at a time."""

    async def main() -> None:
        async with Core() as core:
            processes = [core.spawn(forever) for _ in range(3)]
            for count in (100, 40_000, 3_000, 70, 500):
                for number in range(count):
                    for shift, process in enumerate(processes):
                        send(process.pid, "n", number + shift)
                for shift, process in enumerate(processes):
                    box = process.inbox()
                    found = [box.receive_nowait().payload for _ in range(count)]
                    assert found == list(range(shift, count + shift))

    run(main())


def test_a_million_messages_to_itself(run) -> None:
    async def main() -> None:
        async def body() -> int:
            me = current_process()
            for number in range(1_000_000):
                send(me.pid, "n", number)
            total = 0
            for _ in range(1_000_000):
                total += (await me.inbox().receive()).payload
            return total

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == 499_999_500_000

    run(main())


# -- the collector ---------------------------------------------------------------------------------


class Payload:
    """Something that may be in a ring of references."""

    process: CoroutineProcess


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_ring_through_what_waits_is_collected(looked_at: bool) -> None:
    """An App that is given up without an end: nothing but the collector drops its mail."""

    async def main() -> list[weakref.ref[Payload]]:
        scheduler = Scheduler(asyncio.get_running_loop(), lambda *_: None)
        scheduler.start()
        process = CoroutineProcess(scheduler, Host("app:processes"), None, "never started")
        payloads = [Payload(), Payload()]
        for payload in payloads:
            payload.process = process
            send(process.pid, "t", payload)
        if looked_at:  # the first is a Message from now on
            receive = receive_matching(process.inbox(), lambda m: m.payload is payloads[1])
            with pytest.raises(StopIteration):
                receive.send(None)
        scheduler.stop()
        return [weakref.ref(payload) for payload in payloads]

    references = asyncio.run(main())
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_the_collector_sees_what_waits(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process, payload = core.spawn(forever), Payload()
            send(process.pid, "t", payload)
            assert process.inbox() in gc.get_referrers(payload)
            message = process.inbox().receive_nowait()
            assert message in gc.get_referrers(payload)
            assert process.inbox() not in gc.get_referrers(payload)

    run(main())


def test_what_waits_is_no_work_for_the_collector(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            send(process.pid, "n", 0)
            gc.collect()
            before = gc.get_count()[0]
            for number in range(600):
                send(process.pid, "n", number)
            assert gc.get_count()[0] - before < 50
            assert not [one for one in gc.get_objects() if type(one) is Message]

    run(main())


# -- Message ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payloads", "payload"), [((), None), ((1,), 1), (([1],), [1]), ((1, 2), (1, 2))]
)
def test_payload(run, payloads: tuple[Any, ...], payload: object) -> None:
    async def main() -> None:
        async with Core() as core:
            message = await message_of(core, *payloads)
            assert (message.topic, message.payload, message.sender) == ("topic", payload, None)

    run(main())


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ({"a": 1}, "{'a': 1}"),
        ("x" * 100, "'" + "x" * 58 + "…"),
        (b"x" * 10_000_000, "b'" + "x" * 57 + "…"),
        (list(range(100)), str(list(range(100)))[:59] + "…"),
        (Unshowable(), "<Unshowable, whose repr fails>"),
    ],
)
def test_repr_is_short(run, payload: object, shown: str) -> None:
    async def main() -> None:
        async with Core() as core:
            message = await message_of(core, payload)
            assert repr(message) == str(message) == f"<Message 'topic' {shown} from outside>"

    run(main())


def test_repr_names_the_sender(run) -> None:
    async def main() -> None:
        async def body() -> str:
            me = current_process()
            send(me.pid, "n")
            return repr(await me.inbox().receive())

        async with Core() as core:
            process = core.spawn(body)
            assert (await core.exit_of(process)).result.value == (
                f"<Message 'n' None from {process.pid}>"
            )

    run(main())


def test_reply_once(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            future = asyncio.get_running_loop().create_future()
            assert process.ask("t", 1, None, future)
            message = process.inbox().receive_nowait()
            assert message.reply("yes")
            assert not message.reply("again")
            assert await future == "yes"

    run(main())


def test_reply_to_nobody(run) -> None:
    async def main() -> None:
        async with Core() as core:
            with pytest.raises(WSRelayError, match="'topic' is no call"):
                (await message_of(core)).reply(1)
            process = core.spawn(forever)
            future = asyncio.get_running_loop().create_future()
            process.ask("t", 1, None, future)
            future.cancel()
            assert not process.inbox().receive_nowait().reply("late")

    run(main())


def test_reply_from_another_thread_is_refused(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            future = asyncio.get_running_loop().create_future()
            process.ask("t", 1, None, future)
            message = process.inbox().receive_nowait()
            caught: list[BaseException] = []

            def elsewhere() -> None:
                try:
                    message.reply(1)
                except WrongThread as error:
                    caught.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert len(caught) == 1
            assert message.reply(2)
            assert await future == 2

    run(main())


# -- counts and bounds (rule 5) --------------------------------------------------------------------


def counts(process: CoroutineProcess) -> tuple[int, int, int]:
    info = process.describe()
    return info["queue_length"], info["handled"], info["dropped"]


def test_a_bound_on_all_inboxes_together(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            process.set_mailbox_max(3)
            box, other = process.inbox(), process.listen("other")
            sent = [send(process.pid, topic) for topic in ("n", "other", "n", "other", "n")]
            assert sent == [True, True, True, False, False]
            assert counts(process) == (3, 0, 2)
            box.receive_nowait()
            assert send(process.pid, "other")
            assert counts(process) == (3, 1, 2)
            assert (len(box), len(other)) == (1, 2)
            process.set_mailbox_max(0)
            assert send(process.pid, "n")

    run(main())


def test_events_are_never_refused(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process, other = core.spawn(forever), core.spawn(forever)
            await settle()
            process.set_mailbox_max(1)
            refs = [process.monitor(other.pid) for _ in range(5)]
            send(process.pid, "n")
            other.terminate()
            assert len(process.events()) == len(refs)
            assert process.describe()["dropped"] == 0

    run(main())


def test_unlisten_moves_and_counts_nothing(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            process.listen("t")
            assert process.listen("t") is process.listen("t")
            for number in range(20):
                send(process.pid, "t" if number % 2 else "n", number)
            process.unlisten("t")
            process.unlisten("t")
            send(process.pid, "t", 20)
            assert counts(process) == (21, 0, 0)
            box = process.inbox()
            got = [box.receive_nowait().payload for _ in range(21)]
            assert got == [*range(0, 20, 2), *range(1, 20, 2), 20]
            assert counts(process) == (0, 21, 0)

    run(main())


def test_whoever_waits_on_a_topic_sees_its_end(run) -> None:
    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            waits = asyncio.ensure_future(process.listen("t").receive())
            both = asyncio.ensure_future(process.inbox().receive())
            await settle()
            send(process.pid, "t", 1)  # woken, and then the item is moved away
            process.unlisten("t")
            await settle()
            assert (await both).payload == 1
            assert "closed" in str(waits.exception())

    run(main())


def test_references(run) -> None:
    """A message holds its payload once, and lets go of it."""

    async def main() -> None:
        payload = object()
        before = sys.getrefcount(payload)

        async def body() -> None:
            box = current_process().inbox()
            for _ in range(3):
                await box.receive()
            await receive_matching(box, lambda _: True)
            await forever()

        async with Core() as core:
            process = core.spawn(body)
            await settle()
            for _ in range(6):
                send(process.pid, "n", payload)
            assert sys.getrefcount(payload) == before + 6
            await settle()
            assert sys.getrefcount(payload) == before + 2
            process.terminate()
            assert sys.getrefcount(payload) == before
            await settle()
        gc.collect()
        assert sys.getrefcount(payload) == before

    run(main())
