"""The hand of a process that waits for mail: what is put there is in its inbox for everybody."""

import asyncio
import contextlib
import gc
import logging
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from core_helpers import Core, settle

from wsrelay_core import (
    CoroutineProcess,
    Host,
    Inbox,
    Message,
    Scheduler,
    current_process,
    receive_matching,
    select,
    send,
)
from wsrelay_core._errors import InboxClosed, NoApp

Taken = list[Any]


async def collect(taken: Taken) -> None:
    """Wait in the plain way, and keep the payloads; cancels are kept too."""
    process = current_process()
    while True:
        try:
            message = await process.inbox().receive()
            taken.append(message.payload)
        except asyncio.CancelledError:
            taken.append("cancelled")
            if not process.alive:
                return
        except InboxClosed:
            taken.append("closed")
            return


class Waiting:
    """A process that waits, and sends to it without letting it run."""

    def __init__(self, core: Core) -> None:
        self.taken: Taken = []
        self.process: CoroutineProcess = core.spawn(collect, self.taken)
        self.box: Inbox = self.process.inbox()

    def send(self, *payloads: Any, topic: str = "n") -> None:
        for payload in payloads:
            assert send(self.process.pid, topic, payload)

    def queue(self) -> tuple[int, int, int]:
        """What `info` says, which must be what the inbox says."""
        info = self.process.describe()
        return len(self.box), info["queue_length"], info["handled"]


def with_waiting(run: Callable[..., Any], body: Callable[[Waiting], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Core() as core:
            one = Waiting(core)
            await settle()
            await body(one)
            assert core.reports == []

    run(main())


def test_one_message_and_then_more_in_order(run: Any) -> None:
    async def body(one: Waiting) -> None:
        for burst in (1, 2, 5, 300, 1, 3):
            one.send(*range(burst))
            assert one.taken == []
            await settle()
            assert one.taken == list(range(burst))
            one.taken.clear()

    with_waiting(run, body)


def test_it_is_counted_as_any_other(run: Any) -> None:
    async def body(one: Waiting) -> None:
        assert one.queue() == (0, 0, 0)
        one.send(1)
        assert one.process.describe()["queue_length"] == 1
        assert one.queue() == (1, 1, 0)
        assert one.queue() == (1, 1, 0)
        one.send(2, 3)
        assert one.queue() == (3, 3, 0)
        await settle()
        assert one.queue() == (0, 0, 3)
        assert one.taken == [1, 2, 3]

    with_waiting(run, body)


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_it_stays_the_first_however_often_one_looks(run: Any, looks: int) -> None:
    """What is settled goes before what came behind it, also where the ring must grow for it."""

    async def body(one: Waiting) -> None:
        for count in range(1, 10):
            one.send(0)
            for number in range(1, count):
                for _ in range(looks):
                    len(one.box)
                one.send(number)
            for _ in range(looks):
                len(one.box)
            await settle()
            assert one.taken == list(range(count))
            one.taken.clear()

    with_waiting(run, body)


def test_one_item_is_kept_for_it(run: Any) -> None:
    async def body(one: Waiting) -> None:
        one.send(1)
        with pytest.raises(asyncio.QueueEmpty):
            one.box.receive_nowait()
        one.send(2)
        assert one.box.receive_nowait().payload == 1
        with pytest.raises(asyncio.QueueEmpty):
            one.box.receive_nowait()
        await settle()
        assert one.taken == [2]

    with_waiting(run, body)


WAITS: dict[str, Callable[[Inbox], Awaitable[Any]]] = {
    "receive": lambda box: box.receive(),
    "with a timeout": lambda box: box.receive(5),
    "iteration": lambda box: box.__anext__(),
    "select": lambda box: select(box),
}


@pytest.mark.parametrize("sent_before", [False, True])
@pytest.mark.parametrize("how", WAITS)
def test_who_waits_behind_it_gets_the_second(run: Any, how: str, sent_before: bool) -> None:
    """Another task of the process; with `sent_before` the first message is in the hand already."""

    async def body(one: Waiting) -> None:
        async def wait() -> Any:
            found = await WAITS[how](one.box)
            return found[1].payload if how == "select" else found.payload

        other = asyncio.create_task(wait())
        if not sent_before:
            await settle()
        one.send("first")  # the loop steps the other task before it comes to the drain
        await settle()
        assert one.taken == ["first"] and not other.done()
        # Who asked first is served first: now that is the other one.
        one.send("second")
        assert await other == "second"
        one.send("third")
        await settle()
        assert one.taken == ["first", "third"]

    with_waiting(run, body)


def test_a_wait_made_before_and_awaited_later(run: Any) -> None:
    """It finds the inbox as it is when it is awaited, not as it was when it was made."""

    async def body(one: Waiting) -> None:
        later = one.box.receive()

        async def wait() -> Any:
            return (await later).payload

        other = asyncio.create_task(wait())
        one.send("first")
        await settle()
        assert one.taken == ["first"] and not other.done()
        one.send("second")
        assert await other == "second"

    with_waiting(run, body)


def test_a_selective_wait_looks_at_each_new_message(run: Any) -> None:
    """As without a hand: it may take what nobody has been woken for yet."""

    async def body(one: Waiting) -> None:
        async def wait() -> Any:
            return (await receive_matching(one.box, lambda message: message.payload == 2)).payload

        other = asyncio.create_task(wait())
        await settle()
        one.send(1, 2, 3)
        assert await other == 2
        await settle()
        assert one.taken == [1, 3]

    with_waiting(run, body)


@pytest.mark.parametrize("empty", [True, False])
def test_a_cancel_takes_nothing_away(run: Any, empty: bool) -> None:
    async def body(one: Waiting) -> None:
        if not empty:
            one.send("kept", "behind")
        assert one.process.task is not None
        one.process.task.cancel()
        if empty:
            one.send("kept", "behind")
        await settle()
        assert one.taken == ["cancelled", "kept", "behind"]
        assert one.queue() == (0, 0, 2)

    with_waiting(run, body)


def test_a_close_leaves_what_came_before(run: Any) -> None:
    async def body(one: Waiting) -> None:
        one.send("kept")
        one.box.close()
        assert not send(one.process.pid, "n", "late")
        await settle()
        assert one.taken == ["kept", "closed"]

    with_waiting(run, body)


def test_a_close_wakes_who_waits(run: Any) -> None:
    async def body(one: Waiting) -> None:
        one.box.close()
        await settle()
        assert one.taken == ["closed"] and not one.process.alive

    with_waiting(run, body)


@pytest.mark.parametrize("empty", [True, False])
def test_a_topic_of_its_own(run: Any, empty: bool) -> None:
    """From `listen` on the messages of a topic go elsewhere, and after `unlisten` come back."""

    async def body(one: Waiting) -> None:
        if not empty:
            one.send("before", topic="mine")
        listened = one.process.listen("mine")
        one.send("a", topic="mine")
        one.send("b")
        await settle()
        assert one.taken == (["b"] if empty else ["before", "b"])
        assert len(listened) == 1
        one.process.unlisten("mine")
        await settle()
        assert one.taken[-1] == "a"
        one.send("c", topic="mine")
        await settle()
        assert one.taken[-1] == "c"

    with_waiting(run, body)


def test_a_bounded_mailbox_counts_it(run: Any) -> None:
    async def body(one: Waiting) -> None:
        one.process.set_mailbox_max(2)
        one.send(1, 2)
        assert not send(one.process.pid, "n", 3)
        assert one.process.describe()["dropped"] == 1
        await settle()
        assert one.taken == [1, 2]
        one.send(4)
        await settle()
        assert one.taken == [1, 2, 4]

    with_waiting(run, body)


def test_an_end_drops_it(run: Any) -> None:
    class Payload:
        pass

    async def body(one: Waiting) -> None:
        payload = Payload()
        gone = weakref.ref(payload)
        one.send(payload)
        del payload
        one.process.terminate()
        assert gone() is None
        assert one.process.describe()["queue_length"] == 0
        await settle()
        assert one.taken == ["cancelled"]

    with_waiting(run, body)


def test_an_end_while_it_waits(run: Any) -> None:
    async def body(one: Waiting) -> None:
        one.process.terminate()
        assert not send(one.process.pid, "n", 1)
        await settle()
        assert one.taken == ["cancelled"]

    with_waiting(run, body)


def test_its_own_mail_while_it_runs(run: Any) -> None:
    """A process that sends to itself does not wait: it finds the message in its inbox."""

    async def both() -> list[Any]:
        process = current_process()
        box, found = process.inbox(), []
        for number in range(3):
            send(process.pid, "n", number)
            found.append((await box.receive()).payload)
        return found

    async def main() -> None:
        async with Core() as core:
            process = core.spawn(both)
            event = await core.exit_of(process)
            assert event.result.value == [0, 1, 2]

    run(main())


# -- the collector ---------------------------------------------------------------------------------


def test_the_collector_sees_what_is_in_the_hand() -> None:
    """An App that is given up with its loop is collected with the messages in its hands."""

    class Payload:
        process: object

    async def begin() -> tuple[Core, Waiting]:
        core = Core()
        core.scheduler.start()
        one = Waiting(core)
        await settle()
        return core, one

    loop = asyncio.new_event_loop()
    core, one = loop.run_until_complete(begin())
    payload = Payload()
    payload.process = one.process
    one.send(payload)  # and the loop runs no more
    core.scheduler.stop()
    loop.close()
    gone, pid = weakref.ref(payload), one.process.pid
    del core, loop, one, payload
    gc.collect()
    assert gone() is None
    # Its PID has outlived it, and knows no process any more.
    with pytest.raises(NoApp):
        send(pid, "n", 1)


def test_a_message_of_data_alone_is_nothing_to_the_collector(run: Any) -> None:
    async def main() -> None:
        async with Core() as core:
            one = Waiting(core)
            await settle()
            kept: list[Message] = []
            other = core.spawn(asyncio.Event().wait)
            for payload in (1, "text", b"bytes", None, 2.5, [], {}, (1,), object()):
                assert send(other.pid, "n", payload)
                kept.append(other.inbox().receive_nowait())
            assert [gc.is_tracked(message) for message in kept] == 5 * [False] + 3 * [True] + [
                False
            ]
            assert one.taken == []

    run(main())


def test_a_message_in_its_own_payload_is_collected(run: Any) -> None:
    class Payload(list[Any]):
        pass

    async def main() -> weakref.ref[Payload]:
        async with Core() as core:
            process = core.spawn(asyncio.Event().wait)
            payload = Payload()
            assert send(process.pid, "n", payload)
            message = process.inbox().receive_nowait()
            payload.append(message)
            return weakref.ref(payload)

    gone = run(main())
    gc.collect()
    assert gone() is None


def test_who_was_woken_before_goes_first(run: Any) -> None:
    """A task of the process lost its item to a predicate: the next one is for it, by no hand."""
    out: list[tuple[str, Any]] = []

    async def body() -> None:
        box = current_process().inbox()

        async def child() -> None:
            out.append(("child", (await box.receive()).payload))

        task = asyncio.create_task(child())
        await settle(2)
        out.append(("own", (await receive_matching(box, lambda m: m.topic == "x")).payload))
        out.append(("own", (await box.receive()).payload))
        await task

    async def other(pid: Any) -> None:
        await current_process().inbox().receive()
        send(pid, "a", 2)

    async def main() -> None:
        async with Core() as core:
            process = core.spawn(body)
            relay = core.spawn(other, process.pid)
            await settle()
            send(process.pid, "x", 1)
            send(relay.pid, "go", None)
            await settle()
            send(process.pid, "a", 3)
            await settle()
            assert out == [("own", 1), ("child", 2), ("own", 3)]

    run(main())


def test_two_that_were_woken_keep_their_order(run: Any) -> None:
    out: list[tuple[str, Any]] = []

    async def body() -> None:
        process = current_process()
        box = process.inbox()

        async def child(name: str) -> None:
            out.append((name, (await box.receive()).payload))

        children = [asyncio.create_task(child(name)) for name in ("first", "second")]
        await settle(2)
        send(process.pid, "a", 1)
        send(process.pid, "a", 2)
        out.append(("own", (await receive_matching(box, lambda _: True)).payload))
        await settle(2)
        send(process.pid, "a", 3)
        await asyncio.wait(children)

    async def main() -> None:
        async with Core() as core:
            await core.exit_of(core.spawn(body))
            assert out == [("own", 1), ("first", 2), ("second", 3)]

    run(main())


def test_a_cancel_and_a_message_in_either_order(run: Any) -> None:
    async def body(one: Waiting) -> None:
        assert one.process.task is not None
        for first in (True, False):
            if first:
                one.send(1)
            one.process.task.cancel()
            if not first:
                one.send(1)
            await settle()
            assert one.taken == ["cancelled", 1]
            one.taken.clear()

    with_waiting(run, body)


class Finalizer:
    """Calls a function when it goes."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __del__(self) -> None:
        self.function()


def test_what_is_dropped_with_a_process_finds_it_closed(run: Any) -> None:
    found: list[Any] = []

    async def main() -> None:
        async with Core() as core:
            one = Waiting(core)
            await settle()
            box = one.box

            def look() -> None:
                found.append((one.process.alive, len(box)))
                with pytest.raises(InboxClosed):
                    box.receive_nowait()
                found.append("closed")

            one.send(Finalizer(look), 2)
            one.process.terminate()

    run(main())
    assert found == [(False, 0), "closed"]


@pytest.mark.parametrize("started", [True, False])
def test_no_pid_leads_into_an_app_that_is_collected(started: bool) -> None:
    """Finalizers of all kinds run while it is taken apart, and must not find half of it."""
    found: list[Any] = []
    pids: list[Any] = []

    def look() -> None:
        for pid in pids:
            try:
                found.append(send(pid, "n", 1))
            except NoApp:
                found.append("no App")

    async def target(_: object) -> None:
        try:
            await collect([])
        finally:
            for pid in pids:
                with contextlib.suppress(NoApp):
                    send(pid, "n", Finalizer(look))

    async def begin() -> None:
        scheduler = Scheduler(asyncio.get_running_loop(), lambda *_: None)
        scheduler.start()
        host = Host("app:processes")
        for _ in range(3):
            coroutine = target(Finalizer(look))
            process = CoroutineProcess(scheduler, host, coroutine, "target")
            pids.append(process.pid)
            if started:
                process.start()
                await settle()
                send(process.pid, "n", Finalizer(look))
        scheduler.stop()

    gc.collect()
    gc.disable()  # until the loop is closed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a task and coroutines that are given up
            logging.getLogger("asyncio").disabled = True
            loop = asyncio.new_event_loop()
            loop.run_until_complete(begin())
            loop.close()
            del loop
            gc.collect()
    finally:
        logging.getLogger("asyncio").disabled = False
        gc.enable()
    assert found and set(found) == {"no App"}
