"""Random programs of processes against a plain model of the rules.

Spawn, send, exit, crash, monitor, unmonitor, link, unlink, cancel, terminate, names and timers, in
any order; what each process then has to know (mail, EXIT and LINK_DOWN, in order), who lives, and
what the tables hold is compared with the model.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from process_helpers import settle

import wsrelay
from wsrelay import App, process
from wsrelay.errors import NameTaken, NoProcess

NAMES = ["a", "b", "c"]
ENDS = ["normal", "error", "bored", "cancelled"]


@dataclass(eq=False)
class Model:
    """What one process must know and be."""

    pid: str
    traps: bool
    alive: bool = True
    mail: list[Any] = field(default_factory=list)
    events: list[tuple[str, str, str, Any]] = field(default_factory=list)
    monitors: list[tuple[Any, "Model"]] = field(default_factory=list)  # (ref, watcher), in order
    links: list["Model"] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def end(one: Model, reason: str) -> None:
    """Rule 2, on the model."""
    pending = [(one, reason)]
    while pending:
        dead, why = pending.pop(0)
        if not dead.alive:
            continue
        dead.alive = False
        dead.names.clear()
        for ref, watcher in dead.monitors:
            if watcher.alive:
                watcher.events.append(("EXIT", dead.pid, why, ref))
        links, dead.links = dead.links, []
        for other in links:
            other.links.remove(dead)
        if why in ("normal", "cancelled"):
            continue
        for other in links:
            if other.traps and other.alive:
                other.events.append(("LINK_DOWN", dead.pid, why, None))
            elif other.alive:
                pending.append((other, "link_failed"))


async def actor(traps: bool, results: asyncio.Queue[Any]) -> None:
    """Does what it is told, as itself."""
    process.set_options(trap_links=traps)
    inbox, orders = process.inbox(), process.listen("order")
    process.events()
    async for order in orders:
        try:
            results.put_nowait(order.payload())
        except Exception as error:
            if isinstance(error, Boom):
                raise
            results.put_nowait(error)
    del inbox


class Boom(Exception):
    pass


def leave(reason: str) -> None:
    if reason == "error":
        raise Boom
    if reason == "cancelled":
        raise asyncio.CancelledError
    wsrelay.exit(reason)


class Programs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        logging.disable()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.app = App()
        self.runner.run(self.app.start())
        self.models: list[Model] = []
        self.results: asyncio.Queue[Any] = asyncio.Queue()
        self.sent = 0

    # -- help --------------------------------------------------------------------------------------

    def pick(self, number: int) -> Model:
        return self.models[number % len(self.models)]

    def pick_living(self, number: int) -> Model | None:
        living = [one for one in self.models if one.alive]
        return living[number % len(living)] if living else None

    def run(self, function: Callable[[], Any]) -> Any:
        """Call it outside of all processes, and let everything have its effect."""

        async def main() -> Any:
            value = function()
            await settle(8)
            return value

        return self.runner.run(main())

    def order(self, one: Model, function: Callable[[], Any]) -> Any:
        """Have a process call it; its value, or its error."""
        assert self.run(lambda: process.send(one.pid, "order", function)) is True
        return self.results.get_nowait() if not self.results.empty() else None

    @invariant()
    def tables(self) -> None:
        """Who lives, and what the records and tables hold."""
        self.run(self.check)

    def check(self) -> None:
        living = [one for one in self.models if one.alive]
        assert [facts.pid for facts in self.app.processes()] == [one.pid for one in living]
        assert self.app.find_host(None, None).count == len(living)
        for one in living:
            facts = process.info(one.pid)
            assert set(facts.links) == {other.pid for other in one.links}
            assert facts.names == tuple(one.names)
            watched = sorted(
                other.pid for other in living for _, watcher in other.monitors if watcher is one
            )
            assert sorted(facts.monitors) == watched
            assert sorted(facts.monitored_by) == sorted(
                watcher.pid for _, watcher in one.monitors if watcher.alive
            )
        for name in NAMES:
            holders = [one.pid for one in living if name in one.names]
            assert process.lookup(name) == (holders[0] if holders else None)

    # -- rules -------------------------------------------------------------------------------------

    @rule(traps=st.booleans())
    def spawn(self, traps: bool) -> None:
        def call() -> str:
            pid = process.spawn(actor, None, traps, self.results)
            self.models.append(Model(pid, traps))
            return pid

        self.run(call)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), child_traps=st.booleans(), kind=st.integers(0, 2))
    def spawn_related(self, number: int, child_traps: bool, kind: int) -> None:
        one = self.pick_living(number)
        if one is None:
            return
        spawn = [process.spawn_linked, process.spawn_monitored, process.spawn_linked_monitored]

        def call() -> Any:
            made = spawn[kind](actor, None, child_traps, self.results)
            pid, ref = (made, None) if kind == 0 else made
            model = Model(pid, child_traps)
            if ref is not None:
                model.monitors.append((ref, one))
            if kind != 1:
                model.links.append(one)
                one.links.append(model)
            self.models.append(model)

        self.order(one, call)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), to=st.integers(0, 99))
    def send(self, number: int, to: int) -> None:
        one, other = self.pick_living(number), self.pick(to)
        if one is None:
            return
        self.sent += 1
        content = self.sent
        assert self.order(one, lambda: process.send(other.pid, "t", content)) is other.alive
        if other.alive:
            other.mail.append(content)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), reason=st.sampled_from(ENDS))
    def leave(self, number: int, reason: str) -> None:
        one = self.pick_living(number)
        if one is None:
            return
        end(one, reason)
        self.order(one, lambda: leave(reason))

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99))
    def terminate(self, number: int) -> None:
        one = self.pick(number)
        alive = one.alive
        end(one, "killed")
        assert self.run(lambda: process.terminate(one.pid)) is alive

    @precondition(lambda self: self.models)
    @rule(numbers=st.lists(st.integers(0, 99), min_size=2, max_size=4))
    def terminate_together(self, numbers: list[int]) -> None:
        chosen = [self.pick(number) for number in numbers]
        for one in chosen:
            end(one, "killed")
        self.run(lambda: [process.terminate(one.pid) for one in chosen])

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99))
    def terminate_itself(self, number: int) -> None:
        one = self.pick_living(number)
        if one is not None:
            end(one, "killed")
            self.order(one, lambda: process.terminate(one.pid))

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), by=st.integers(0, 99))
    def cancel(self, number: int, by: int) -> None:
        """They all opened their events: a cancel is an event, and changes nothing else."""
        one, sender = self.pick(number), self.pick_living(by)
        if sender is None:
            return
        assert self.order(sender, lambda: process.cancel(one.pid, "why")) is one.alive
        if one.alive:
            one.events.append(("CANCEL", sender.pid, "why", None))

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), to=st.integers(0, 99), by_name=st.booleans())
    def monitor(self, number: int, to: int, by_name: bool) -> None:
        one, other = self.pick_living(number), self.pick(to)
        if one is None:
            return
        dest = other.names[0] if by_name and other.names else other.pid
        ref = self.order(one, lambda: process.monitor(dest))
        if other.alive:
            other.monitors.append((ref, one))
        else:
            one.events.append(("EXIT", other.pid, "noproc", ref))

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), pick=st.integers(0, 99), whole=st.booleans())
    def unmonitor(self, number: int, pick: int, whole: bool) -> None:
        one = self.pick_living(number)
        if one is None:
            return
        mine = [
            (ref, other)
            for other in self.models
            for ref, watcher in other.monitors
            if watcher is one
        ]
        if not mine:
            return
        ref, other = mine[pick % len(mine)]
        assert self.order(one, lambda: process.unmonitor(other.pid if whole else ref)) is None
        gone = [r for r, o in mine if (o is other if whole else r is ref)]
        other.monitors = [(r, w) for r, w in other.monitors if r not in gone]
        one.events = [
            event
            for event in one.events
            if event[3] not in gone and not (whole and event[0] == "EXIT" and event[1] == other.pid)
        ]

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), to=st.integers(0, 99))
    def link(self, number: int, to: int) -> None:
        one, other = self.pick_living(number), self.pick(to)
        if one is None:
            return
        result = self.order(one, lambda: process.link(other.pid))
        if not other.alive:
            assert isinstance(result, NoProcess)
        elif other is not one and other not in one.links:
            one.links.append(other)
            other.links.append(one)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), to=st.integers(0, 99))
    def unlink(self, number: int, to: int) -> None:
        one, other = self.pick_living(number), self.pick(to)
        if one is None:
            return
        assert self.order(one, lambda: process.unlink(other.pid)) is None
        if other in one.links:
            one.links.remove(other)
            other.links.remove(one)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99), name=st.sampled_from(NAMES))
    def register(self, number: int, name: str) -> None:
        one = self.pick_living(number)
        if one is None:
            return
        result = self.order(one, lambda: process.register(name))
        holders = [other for other in self.models if name in other.names]
        if holders and holders != [one]:
            assert isinstance(result, NameTaken)
        elif not holders:
            one.names.append(name)

    @rule(name=st.sampled_from(NAMES))
    def unregister(self, name: str) -> None:
        for one in self.models:
            if name in one.names:
                one.names.remove(name)
        self.run(lambda: process.unregister(name))

    @precondition(lambda self: self.models)
    @rule(
        number=st.integers(0, 99),
        to=st.integers(0, 99),
        then=st.sampled_from(["wait", "cancel", "end"]),
    )
    def timer(self, number: int, to: int, then: str) -> None:
        one, other = self.pick_living(number), self.pick(to)
        if one is None:
            return
        self.sent += 1
        content = self.sent

        def call() -> Any:
            timer = process.send_after(0, other.pid, "t", content)
            if then == "cancel":
                assert timer.cancel()
            if then == "end":
                process.terminate(one.pid)

        if then == "end":
            end(one, "killed")
        elif then == "wait" and other.alive:
            other.mail.append(content)
        self.order(one, call)
        self.runner.run(asyncio.sleep(0.002))

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 99))
    def look(self, number: int) -> None:
        """What it got is what the model says, in order; exactly one EXIT for each monitor."""
        one = self.pick_living(number)
        if one is not None:
            self.compare(one)

    def compare(self, one: Model) -> None:
        def call() -> tuple[list[Any], list[Any]]:
            box, events = process.inbox(), process.events()
            return (
                [box.receive_nowait().payload for _ in range(len(box))],
                [events.receive_nowait() for _ in range(len(events))],
            )

        mail, events = self.order(one, call)
        assert mail == one.mail
        assert [(event.kind, event.sender, event.reason, event.ref) for event in events] == (
            one.events
        )
        one.mail, one.events = [], []

    def teardown(self) -> None:
        for one in self.models:
            if one.alive:
                self.compare(one)
        for one in self.models:
            end(one, "killed")
        self.run(lambda: [process.terminate(one.pid) for one in self.models])
        self.runner.run(self.app.stop())
        self.runner.close()
        logging.disable(logging.NOTSET)


TestPrograms = Programs.TestCase
TestPrograms.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
