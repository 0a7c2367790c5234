"""Waiting for mail: receive, selective receive, select, in the process's own task and in others."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest
from core_helpers import Core, settle
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wsrelay_core import Inbox, Message, current_process, receive_matching, select, send
from wsrelay_core._errors import InboxClosed, WrongThread

BUDGET = 256


async def forever() -> None:
    await asyncio.Event().wait()


# -- a model: several receivers of all kinds -------------------------------------------------------


class Receiver:
    """One wait, and what came of it."""

    def __init__(self, boxes: tuple[Inbox, ...], parity: int | None, log: list["Receiver"]) -> None:
        self.boxes = boxes
        self.parity = parity  # a selective receiver takes only numbers of this parity
        self.log = log
        self.task: asyncio.Task[None] | None = None
        self.box: Inbox | None = None
        self.item: int | None = None
        self.closed = False
        self.cancelled = False

    def fits(self, message: Message) -> bool:
        return message.payload % 2 == self.parity

    async def run(self) -> None:
        try:
            if self.parity is not None:
                self.box = self.boxes[0]
                message = await receive_matching(self.box, self.fits)
            elif len(self.boxes) == 1:
                self.box = self.boxes[0]
                message = await self.box.receive()
            else:
                self.box, message = await select(*self.boxes)
            self.item = message.payload
        except InboxClosed:
            self.closed = True
        except asyncio.CancelledError:
            self.cancelled = True
        self.log.append(self)

    @property
    def waits(self) -> bool:
        ended = self.closed or self.cancelled or (self.task is not None and self.task.done())
        return self.item is None and not ended


class Receivers(RuleBasedStateMachine):
    """Any mix of receivers on two inboxes, of puts, cancels and closes: nothing lost or doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.receivers: list[Receiver] = []  # in order of arrival
        self.log: list[Receiver] = []  # in order of their ends
        self.sent: dict[str, list[int]] = {"plain": [], "listened": []}
        self.numbers = 0
        self.plan: list[Callable[[], None]] = []
        self.selective = False
        self.listening = True
        self.own: Receiver | None = None
        self.runner.run(self._begin())

    def act(self, step: Callable[[], None]) -> None:
        """Do it together with what else waits in the plan, or alone."""
        self.plan.append(step)

    async def _begin(self) -> None:
        self.core = Core()
        await self.core.__aenter__()
        self.commands: asyncio.Queue[Receiver] = asyncio.Queue()
        self.process = self.core.spawn(self.body)
        await settle()

    async def body(self) -> None:
        self.boxes = {
            "plain": current_process().inbox(),
            "listened": current_process().listen("listened"),
        }
        while True:
            await (await self.commands.get()).run()

    @rule(name=st.sampled_from(["plain", "listened"]))
    def put(self, name: str) -> None:
        self.numbers += 1
        number = self.numbers

        def step() -> None:
            if send(self.process.pid, name, number):
                self.sent[name if self.listening else "plain"].append(number)

        self.act(step)

    @rule(
        names=st.sampled_from(
            [
                ("plain",),
                ("listened",),
                ("plain", "listened"),
                ("listened", "plain"),
                ("plain", "plain"),
            ]
        ),
        parity=st.sampled_from([None, None, 0, 1]),
        own=st.booleans(),
    )
    def receive(self, names: tuple[str, ...], parity: int | None, own: bool) -> None:
        def step() -> None:
            boxes = tuple(self.boxes[name] for name in names)
            receiver = Receiver(boxes[:1] if parity is not None else boxes, parity, self.log)
            self.selective = self.selective or parity is not None
            if own and (self.own is None or not self.own.waits):
                self.own = receiver
                self.receivers.append(receiver)
                self.commands.put_nowait(receiver)
            elif not own:
                self.receivers.append(receiver)
                receiver.task = asyncio.get_running_loop().create_task(receiver.run())

        self.act(step)

    @rule(pick=st.integers(0, 30))
    def cancel(self, pick: int) -> None:
        def step() -> None:
            waiting = [one for one in self.receivers if one.waits]
            if not waiting:
                return
            receiver = waiting[pick % len(waiting)]
            if receiver.task is not None:
                receiver.task.cancel()
            elif not self.commands.qsize():
                self.process.task.cancel()

        self.act(step)

    @rule(name=st.sampled_from(["plain", "listened"]), pick=st.integers(0, 9))
    def close(self, name: str, pick: int) -> None:
        if pick == 0:
            self.act(lambda: self.boxes[name].close())

    @rule()
    def unlisten(self) -> None:
        def step() -> None:
            if not self.boxes["plain"].closed and not self.boxes["listened"].closed:
                self.listening = False
                self.sent["plain"] += self.waiting_in("listened")
                self.sent["listened"] = []
                self.process.unlisten("listened")

        if self.numbers % 7 == 6:
            self.act(self.let_run)
            self.act(step)
            self.selective = True  # order across the move is not part of this model

    def waiting_in(self, name: str) -> list[int]:
        return [number for number in self.sent[name] if number not in self.taken()]

    def taken(self) -> list[int]:
        return [one.item for one in self.receivers if one.item is not None]

    def let_run(self) -> None:
        """In a plan: everything before it has had its effect."""

    @rule()
    def settle(self) -> None:
        self.runner.run(self._carry_out())

    async def _carry_out(self) -> None:
        plan, self.plan = self.plan, []
        for step in plan:
            if step == self.let_run:
                await settle()
            else:
                step()
        await settle(10)
        self.check()

    def check(self) -> None:
        taken = self.taken()
        assert len(taken) == len(set(taken)), "an item came twice"
        for name, box in self.boxes.items():
            left = self.waiting_in(name)
            assert len(box) == len(left), "an item was lost"
            self.check_liveness(box, left)
        if not self.selective:
            self.check_order()

    def check_liveness(self, box: Inbox, left: list[int]) -> None:
        for one in self.receivers:
            if not one.waits or box not in one.boxes:
                continue
            if one.parity is None:
                assert not left, "somebody waits although there is mail"
                assert not all(each.closed for each in one.boxes), "the end was not seen"
            else:
                assert not [item for item in left if item % 2 == one.parity]
                assert not box.closed

    def check_order(self) -> None:
        for name, box in self.boxes.items():
            came = [one for one in self.log if one.item is not None and one.box is box]
            items = [one.item for one in came]
            assert items == self.sent[name][: len(items)], "mail overtook mail"
            waiting = [one for one in self.receivers if one.waits and box in one.boxes]
            if waiting and came:
                first = self.receivers.index(waiting[0])
                early = [one for one in came if self.receivers.index(one) > first]
                assert not early, "a receiver that came later was served earlier"

    @invariant()
    def nothing_reported(self) -> None:
        assert self.core.reports == []

    def teardown(self) -> None:
        self.runner.run(self._end())
        self.runner.close()

    async def _end(self) -> None:
        await self._carry_out()
        for box in self.boxes.values():
            box.close()
        await settle(10)
        left = [one for one in self.receivers if one.waits]
        for name, box in self.boxes.items():
            assert len(box) == len(self.waiting_in(name))
        assert not [one for one in left if one is not self.own], "a closed inbox keeps a receiver"
        await self.core.__aexit__()


TestReceivers = Receivers.TestCase
TestReceivers.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)


# -- waits one by one ------------------------------------------------------------------------------


def test_receive_in_order(run_everywhere) -> None:
    async def main() -> None:
        async def collect() -> list[Any]:
            box = current_process().inbox()
            return [(await box.receive()).payload for _ in range(3)]

        async with Core() as core:
            process = core.spawn(collect)
            ended = core.exit_of(process)
            for number in range(3):
                assert send(process.pid, "n", number)
            assert (await ended).result.value == [0, 1, 2]

    run_everywhere(main())


def test_async_for_ends_when_the_inbox_is_closed(run) -> None:
    async def main() -> None:
        async def collect() -> list[Any]:
            box = current_process().inbox()
            box.close()
            with pytest.raises(asyncio.QueueEmpty) if len(box) else pytest.raises(InboxClosed):
                box.receive_nowait()
            with pytest.raises(InboxClosed):
                await box.receive()
            return [message async for message in box]

        async with Core() as core:
            process = core.spawn(collect)
            assert (await core.exit_of(process)).result.value == []

    run(main())


def test_a_closed_inbox_refuses_mail_and_gives_what_waits(run) -> None:
    async def main() -> None:
        async def collect() -> list[Any]:
            box = current_process().inbox()
            me = current_process()
            send(me.pid, "n", 1)
            send(me.pid, "n", 2)
            box.close()
            assert not send(me.pid, "n", 3)
            assert box.receive_nowait().payload == 1
            assert [message.payload async for message in box] == [2]
            with pytest.raises(InboxClosed):
                await box.receive()
            return len(box)

        async with Core() as core:
            process = core.spawn(collect)
            assert (await core.exit_of(process)).result.value == 0

    run(main())


def test_closing_wakes_all_who_wait(run) -> None:
    async def main() -> None:
        ends: list[str] = []

        async def waiter(box: Inbox) -> None:
            with pytest.raises(InboxClosed):
                await box.receive()
            ends.append("receive")

        async def wants(box: Inbox) -> None:
            with pytest.raises(InboxClosed):
                await receive_matching(box, lambda _: False)
            ends.append("match")

        async def both(box: Inbox, other: Inbox) -> None:
            with pytest.raises(InboxClosed):
                await select(box, other)
            ends.append("select")

        async def body() -> None:
            me = current_process()
            box, other = me.inbox(), me.listen("other")
            async with asyncio.TaskGroup() as group:
                group.create_task(waiter(box))
                group.create_task(wants(box))
                group.create_task(both(box, other))
                await settle()
                other.close()
                await settle()
                assert ends == []
                box.close()

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.reason == "normal"
            assert sorted(ends) == ["match", "receive", "select"]

    run(main())


def test_the_inbox_closes_when_its_process_ends(run) -> None:
    async def main() -> None:
        boxes: list[Inbox] = []

        async def body() -> None:
            boxes.append(current_process().inbox())
            await asyncio.Event().wait()

        async with Core() as core:
            process = core.spawn(body)
            await settle()
            send(process.pid, "left", 1)
            waiter = asyncio.ensure_future(receive_matching(boxes[0], lambda _: False))
            await settle()
            process.terminate()
            with pytest.raises(InboxClosed):
                await waiter
            assert len(boxes[0]) == 0
            assert boxes[0].closed

    run(main())


@pytest.mark.parametrize("own", [True, False])
def test_timeout(run_everywhere, own: bool) -> None:
    async def main() -> None:
        async def wait(box: Inbox) -> None:
            with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
                await box.receive(timeout=0.01)
            with pytest.raises(TimeoutError):
                await select(box, timeout=0.01)
            with pytest.raises(TimeoutError):
                await receive_matching(box, lambda _: False, 0.01)

        async def body() -> None:
            box = current_process().inbox()
            send(current_process().pid, "late", 1)
            await box.receive(timeout=5.0)
            await (wait(box) if own else asyncio.create_task(wait(box)))
            send(current_process().pid, "late", 2)
            assert (await box.receive(timeout=0)).payload == 2

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.reason == "normal", event.result.error

    run_everywhere(main())


def test_mail_that_races_the_timeout_is_not_lost(run) -> None:
    """Both come in one turn of the loop: the item is taken, or it stays; the next has it."""

    async def main() -> None:
        async def body() -> list[int]:
            box = current_process().inbox()
            got = []
            while len(got) < 50:
                try:
                    got.append((await box.receive(timeout=0.0)).payload)
                except TimeoutError:
                    continue
            return got

        async with Core() as core:
            process = core.spawn(body)
            ended = core.exit_of(process)
            for number in range(50):
                send(process.pid, "n", number)
                await asyncio.sleep(0.0005 if number % 2 else 0)
            assert (await ended).result.value == list(range(50))

    run(main())


@pytest.mark.parametrize("timeout", [-1, float("nan"), "x"])
def test_a_bad_timeout_is_refused_at_once(run, timeout: Any) -> None:
    async def main() -> None:
        async def body() -> None:
            box = current_process().inbox()
            for call in (box.receive, lambda timeout: select(box, timeout=timeout)):
                with pytest.raises((TypeError, ValueError)):
                    call(timeout)

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.reason == "normal", event.result.error

    import wsrelay.process  # noqa: F401 - it brings the reader of durations

    run(main())


def test_selective_receive_leaves_the_others_in_order(run) -> None:
    async def main() -> None:
        async def body() -> list[Any]:
            me = current_process()
            for number in range(20):
                send(me.pid, "n", number)
            box = me.inbox()
            odd = [await receive_matching(box, lambda m: m.payload % 2) for _ in range(10)]
            rest = [box.receive_nowait().payload for _ in range(10)]
            return [message.payload for message in odd] + rest

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == [*range(1, 20, 2), *range(0, 20, 2)]

    run(main())


def test_a_predicate_that_fails_or_meddles(run) -> None:
    async def main() -> None:
        async def body() -> list[Any]:
            me = current_process()
            box = me.inbox()
            for number in range(3):
                send(me.pid, "n", number)
            with pytest.raises(ZeroDivisionError):
                await receive_matching(box, lambda _: 1 / 0)
            assert len(box) == 3

            def steal(message: Message) -> bool:
                while len(box):
                    box.receive_nowait()
                return True

            with pytest.raises(TimeoutError):
                await receive_matching(box, steal, 0.01)
            send(me.pid, "n", 1)

            def add(message: Message) -> bool:
                if len(box) < 20:
                    send(me.pid, "n", len(box) + 1)
                return message.payload == 20

            found = await receive_matching(box, add)
            with pytest.raises(TypeError):
                receive_matching(box, "topic")
            return [found.payload, len(box)]

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == [20, 19], event.result.error

    run(main())


def test_a_predicate_that_takes_mail_itself_gets_what_it_chose(run) -> None:
    async def main() -> None:
        async def body() -> list[int]:
            me = current_process()
            box = me.inbox()
            for number in range(4):
                send(me.pid, "n", number)
            taken: list[int] = []

            def fits(message: Message) -> bool:
                if message.payload == 1 and not taken:
                    taken.append(box.receive_nowait().payload)
                return message.payload == 1

            found = await receive_matching(box, fits)
            return [*taken, found.payload, *(box.receive_nowait().payload for _ in range(2))]

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == [0, 1, 2, 3], event.result.error

    run(main())


def test_a_receiver_that_is_robbed_keeps_its_place(run) -> None:
    async def main() -> None:
        served: list[str] = []

        async def plain(name: str, box: Inbox) -> None:
            await box.receive()
            served.append(name)

        async def thief(box: Inbox) -> None:
            await receive_matching(box, lambda m: m.topic == "gem")
            served.append("thief")

        async def body() -> None:
            await asyncio.Event().wait()

        async with Core() as core:
            process = core.spawn(body)
            await settle()
            box = process.inbox()
            tasks = [asyncio.create_task(thief(box))]
            tasks += [asyncio.create_task(plain(name, box)) for name in ("first", "second")]
            await settle()
            send(process.pid, "gem")
            await settle()
            send(process.pid, "stone")
            await settle()
            send(process.pid, "stone")
            await asyncio.gather(*tasks)
            assert served == ["thief", "first", "second"]

    run(main())


def test_select_tells_which_and_serves_all(run) -> None:
    """Two processes whose selects alternate, each with an inbox that never gets empty."""

    async def main() -> None:
        async def body() -> list[str]:
            me = current_process()
            boxes = {me.inbox(): "inbox", me.listen("a"): "a", me.listen("b"): "b"}
            for _ in range(10):
                for topic in ("x", "a", "b"):
                    send(me.pid, topic)
            seen = []
            for _ in range(9):
                box, message = await select(*boxes)
                seen.append(boxes[box])
                assert message.topic == {"inbox": "x"}.get(seen[-1], seen[-1])
                await asyncio.sleep(0)
            return seen

        async with Core() as core:
            ends = [core.exit_of(core.spawn(body)) for _ in range(2)]
            for ended in ends:
                event = await ended
                assert event.reason == "normal", event.result.error
                assert {name: event.result.value.count(name) for name in ("inbox", "a", "b")} == {
                    "inbox": 3,
                    "a": 3,
                    "b": 3,
                }

    run(main())


def test_select_woken_by_two_inboxes_at_once(run_everywhere) -> None:
    async def main() -> None:
        async def body() -> list[str]:
            me = current_process()
            first, second = me.inbox(), me.listen("second")
            got = [(await select(first, second))[1].topic for _ in range(2)]
            got.append((await first.receive()).topic)
            got.append((await second.receive()).topic)
            return got

        async with Core() as core:
            process = core.spawn(body)
            await settle()
            for topic in ("first", "second", "first", "second"):
                send(process.pid, topic)
            event = await asyncio.wait_for(core.exit_of(process), 5)
            assert sorted(event.result.value) == ["first", "first", "second", "second"]

    run_everywhere(main())


def test_select_refuses_what_is_no_inbox() -> None:
    with pytest.raises(TypeError, match="at least one"):
        select()
    with pytest.raises(TypeError, match="not list"):
        select([])


def test_a_wait_is_awaited_once(run) -> None:
    async def main() -> None:
        async def body() -> None:
            send(current_process().pid, "n")
            wait = current_process().inbox().receive()
            await wait
            with pytest.raises(RuntimeError, match="reuse"):
                await wait

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.reason == "normal", event.result.error

    run(main())


# -- rule 6: a process that always finds mail gives way --------------------------------------------


async def keep_receiving(how: str) -> int:
    """Receive 1000 messages that are there already; returns at which of them another ran first."""
    me = current_process()
    box, other = me.inbox(), me.listen("other")
    for number in range(1000):
        send(me.pid, "other" if number % 2 and how in ("select", "two") else "n", number)
    others: list[int] = []
    turn = asyncio.get_running_loop().create_task(set_later(others))
    for number in range(1000):
        if how == "plain":
            await box.receive()
        elif how == "for":
            await anext(box)
        elif how == "match":
            await receive_matching(box, lambda _: True)
        elif how == "select":
            await select(box, other)
        else:
            await (other if number % 2 else box).receive()
        if others:
            turn.cancel()
            return number
    return 1000


async def set_later(others: list[int]) -> None:
    others.append(1)


@pytest.mark.parametrize("how", ["plain", "for", "match", "select", "two"])
def test_gives_way_after_256_messages(run, how: str) -> None:
    async def main() -> None:
        async with Core() as core:
            event = await core.exit_of(core.spawn(keep_receiving, how))
            assert event.reason == "normal", event.result.error
            assert event.result.value == BUDGET

    run(main())


def test_a_task_of_a_process_gives_way_too(run) -> None:
    async def main() -> None:
        async def body() -> int:
            me = current_process()
            box = me.inbox()
            for number in range(600):
                send(me.pid, "n", number)
            others: list[int] = []

            async def child() -> int:
                for number in range(600):
                    assert (await box.receive()).payload == number
                    if others:
                        return number
                return 600

            task = asyncio.create_task(child())
            setter = asyncio.create_task(set_later(others))
            result = await task
            await setter
            return result

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == BUDGET, event.result.error

    run(main())


# -- threads and death -----------------------------------------------------------------------------


def test_inboxes_belong_to_their_thread(run) -> None:
    async def main() -> None:
        async def body() -> list[str]:
            me = current_process()
            box = me.inbox()
            send(me.pid, "n")
            failed = []

            def elsewhere() -> None:
                for call in (
                    box.receive,
                    box.receive_nowait,
                    box.close,
                    box.__anext__,
                    lambda: select(box),
                    lambda: receive_matching(box, bool),
                ):
                    try:
                        call()
                    except WrongThread:
                        failed.append("refused")

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert len(box) == 1
            return failed

        async with Core() as core:
            event = await core.exit_of(core.spawn(body))
            assert event.result.value == ["refused"] * 6, event.result.error

    run(main())


@pytest.mark.parametrize("how", ["inside", "outside"])
def test_a_dead_process_that_loops_over_receive_does_not_spin(run, how: str) -> None:
    async def main() -> None:
        rounds = 0

        async def stubborn() -> None:
            nonlocal rounds
            me = current_process()
            box = me.inbox()
            if how == "inside":
                me.terminate()
            while rounds < 5:
                try:
                    await box.receive()
                except (Exception, asyncio.CancelledError):
                    rounds += 1

        async with Core() as core:
            process = core.spawn(stubborn)
            task = process.task
            await settle(1)
            process.terminate()
            turns = 0
            while not task.done():
                await asyncio.sleep(0)
                turns += 1
            assert rounds == 5
            assert turns >= 4, "others must get their turn between"

    run(main())


def test_repr(run) -> None:
    async def main() -> None:
        async def body() -> list[str]:
            box = current_process().inbox()
            shown = [repr(box)]
            box.close()
            return [*shown, repr(box), bool(box)]

        async with Core() as core:
            process = core.spawn(body)
            value = (await core.exit_of(process)).result.value
            assert value == [
                f"<Inbox of {process.pid} 0 waiting>",
                f"<Inbox of {process.pid} 0 waiting closed>",
                True,
            ]

    run(main())


def test_receive_called_in_every_way(run) -> None:
    """The built-in method tells its parameters, and refuses what they do not allow."""

    async def main() -> None:
        async with Core() as core:
            process = core.spawn(forever)
            box = process.inbox()
            assert str(inspect.signature(box.receive)) == "(timeout=None)"
            assert (Inbox.receive.__doc__ or "").startswith("Wait for the next item.")
            for number in range(5):
                send(process.pid, "n", number)
            waits = [box.receive(), box.receive(None), box.receive(timeout=None), box.receive(1.0)]
            assert [(await wait).payload for wait in waits] == [0, 1, 2, 3]
            assert (await Inbox.receive(box, timeout=1)).payload == 4
            wrong: Any = box.receive
            for arguments, named in [((1, 2), {}), ((), {"other": 1})]:
                with pytest.raises(TypeError, match="argument"):
                    wrong(*arguments, **named)
            unbound: Any = Inbox.receive
            with pytest.raises(TypeError):
                unbound(process)

    run(main())
