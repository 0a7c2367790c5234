"""A random program of process calls, held against the model after each step."""

import asyncio

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from model import Model
from process_helpers import drain, settle

from wsrelay import App, NameTaken, NoProcess, NotAProcess, process

NAMES = ["alpha", "beta"]
INDEX = st.integers(0, 30)
FORM = st.sampled_from(["pid", "text", "name"])
SPAWNS = {
    "plain": process.spawn,
    "linked": process.spawn_linked,
    "monitored": process.spawn_monitored,
    "both": process.spawn_linked_monitored,
}

CALLS = st.one_of(
    st.tuples(st.just("send"), INDEX, FORM),
    st.tuples(st.just("spawn"), st.sampled_from(list(SPAWNS))),
    st.tuples(st.sampled_from(["monitor", "link", "unlink", "unmonitor_all"]), INDEX, FORM),
    st.tuples(st.just("unmonitor"), INDEX),
    st.tuples(st.just("register"), st.sampled_from(NAMES), INDEX),
    st.tuples(st.just("unregister"), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["trap", "open"]), st.booleans()),
    st.tuples(st.just("terminate"), INDEX, FORM),
)
# What takes effect after the step: one of it, at its end.
LAST = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["cancel", "timer"]), INDEX, FORM),
    st.tuples(st.sampled_from(["crash", "leave", "exit normal", "exit early"])),
)


async def puppet():
    """Do what mail says, until `leave`."""
    orders = process.listen("do")
    async for order in orders:
        order.payload()


class Program(RuleBasedStateMachine):
    """Each rule is one step of one process, with several calls in it."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.app = App()
        self.model = Model()
        self.number = 0
        self.failures = []
        self.runner.run(self.app.__aenter__())
        for _ in range(3):
            self.outside(lambda: self.model.add(process.spawn(puppet)))
        # Relations from the start, so that each end has something to tell.
        self.step(0, [("trap", True), ("link", 1, "pid"), ("monitor", 2, "pid")], None)
        self.step(1, [("link", 2, "text"), ("monitor", 0, "pid"), ("register", "alpha", 1)], None)

    def outside(self, function):
        """Call it from no process, and let the loop come to rest."""

        async def call():
            try:
                return function()
            finally:
                await settle()

        return self.runner.run(call())

    def pick(self, index):
        """Some process, dead or alive."""
        puppets = list(self.model.puppets.values())
        return puppets[index % len(puppets)]

    def dest(self, target, form):
        """A way to name it."""
        names = sorted(self.model.names_of(target))
        if form == "name" and names:
            return names[0]
        return target.pid if form == "pid" else str.__str__(target.pid)

    # -- steps -------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.living)
    @rule(index=INDEX, calls=st.lists(CALLS, max_size=5), last=LAST)
    def step(self, index, calls, last):
        """One process makes some calls in one step."""
        living = self.model.living
        me = living[index % len(living)]
        after = []

        def order():
            try:
                for name, *args in calls:
                    self.call(me, name, args)
            except AssertionError as failure:
                self.failures.append(failure)
            if last is not None and me.alive:
                self.last(me, after, *last)

        self.outside(lambda: process.send(me.pid, "do", order))
        for effect in after:
            effect()
        if self.failures:
            raise self.failures[0]

    def call(self, me, name, args):
        """One call, compared at once."""
        if me.alive:
            getattr(self, f"do_{name}")(me, *args)
        else:
            with pytest.raises(NotAProcess):
                process.pid()

    @precondition(lambda self: len(self.model.living) < 8)
    @rule()
    def spawn_outside(self):
        """Somebody new, so that it never gets lonely."""
        self.outside(lambda: self.model.add(process.spawn(puppet)))

    @precondition(lambda self: self.model.living)
    @rule(index=INDEX)
    def look(self, index):
        """All mail and all events of one process, in order."""
        living = self.model.living
        self.look_at(living[index % len(living)])

    def look_at(self, me):
        """Compare, and empty both."""
        seen = []

        def order():
            mail = [(one.sender, one.payload) for one in drain(process.inbox())]
            events = [
                (one.kind, one.sender, one.reason, one.ref) for one in drain(process.events())
            ]
            seen.extend((mail, events))

        self.outside(lambda: process.send(me.pid, "do", order))
        assert seen == [me.inbox, me.events]
        me.inbox, me.events, me.opened = [], [], True

    # -- calls -------------------------------------------------------------------------------------

    def do_send(self, me, index, form):
        target = self.pick(index)
        self.number += 1
        accepted = process.send(self.dest(target, form), f"t{self.number % 3}", self.number)
        assert accepted is self.model.send(me, target, self.number)

    def do_spawn(self, me, kind):
        if len(self.model.living) >= 8:
            return
        result = SPAWNS[kind](puppet)
        pid, ref = result if kind in ("monitored", "both") else (result, None)
        child = self.model.add(pid)
        if kind in ("linked", "both"):
            self.model.link(me, child)
        if ref is not None:
            self.model.monitor(me, child, ref)

    def do_monitor(self, me, index, form):
        target = self.pick(index)
        self.model.monitor(me, target, process.monitor(self.dest(target, form)))

    def do_unmonitor(self, me, index):
        if me.refs:
            ref = me.refs[index % len(me.refs)]
            process.unmonitor(ref)
            self.model.unmonitor(me, ref)

    def do_unmonitor_all(self, me, index, form):
        target = self.pick(index)
        process.unmonitor(self.dest(target, "pid" if form == "name" else form))
        self.model.unmonitor_all(me, target)

    def do_link(self, me, index, form):
        target = self.pick(index)
        if target.alive:
            process.link(self.dest(target, form))
            self.model.link(me, target)
        else:
            with pytest.raises(NoProcess):
                process.link(self.dest(target, form))

    def do_unlink(self, me, index, form):
        target = self.pick(index)
        process.unlink(self.dest(target, form))
        self.model.unlink(me, target)

    def do_register(self, me, name, index):
        target = self.pick(index)
        holder = self.model.names.get(name)
        if not target.alive or holder not in (None, target):
            with pytest.raises(NameTaken if target.alive else NoProcess):
                process.register(name, target.pid)
        else:
            process.register(name, target.pid)
            self.model.names[name] = target

    def do_unregister(self, me, name):
        process.unregister(name)
        self.model.names.pop(name, None)

    def do_trap(self, me, flag):
        process.set_options(trap_links=flag)
        me.trap = flag

    def do_open(self, me, flag):
        if flag:
            process.events()
            me.opened = True

    def do_terminate(self, me, index, form):
        target = self.pick(index)
        assert process.terminate(self.dest(target, form)) is target.alive
        if target.alive:
            self.model.end(target, "killed")

    # -- what takes effect after the step ----------------------------------------------------------

    def last(self, me, after, name, index=0, form="pid"):
        """The last call of a step; its effect on the model comes when the loop is at rest."""
        target = self.pick(index)
        if name == "cancel":
            process.cancel(self.dest(target, form), "please")
            if target.alive and target.opened:
                target.events.append(("CANCEL", me.pid, "please", None))
            elif target.alive:
                after.append(lambda: self.model.end(target, "cancelled"))
        elif name == "timer":
            self.number += 1
            number = self.number
            process.send_after(0, self.dest(target, form), "tick", number)
            after.append(lambda: self.model.send(me, target, number))
        else:
            reason = {"crash": "error", "exit early": "early"}.get(name, "normal")
            after.append(lambda: self.model.end(me, reason))
            self.leave(name)

    def leave(self, name):
        """End the running puppet."""
        if name == "crash":
            raise ArithmeticError("as planned")
        if name == "leave":
            process.listen("do").close()
        else:
            process.exit(name.removeprefix("exit "))

    # -- what always holds -------------------------------------------------------------------------

    @invariant()
    def the_tables_agree(self):
        infos = {info.pid: info for info in self.app.processes()}
        assert list(infos) == [one.pid for one in self.model.living]
        for one in self.model.living:
            info = infos[one.pid]
            assert set(info.names) == self.model.names_of(one)
            assert info.queue_length == len(one.inbox)
            assert list(info.links) == [other.pid for other in one.links]
            assert sorted(info.monitors) == sorted(w.pid for w in one.watched.values())
            assert list(info.monitored_by) == [w.pid for w in one.monitors.values()]
        for name in NAMES:
            holder = self.model.names.get(name)
            found = self.outside_quick(lambda name=name: process.lookup(name))
            assert found == (None if holder is None else holder.pid)

    def outside_quick(self, function):
        """Call it from no process; nothing follows from it."""

        async def call():
            return function()

        return self.runner.run(call())

    def teardown(self):
        try:
            for one in self.model.living:
                self.look_at(one)
        finally:
            self.outside(lambda: [process.terminate(info.pid) for info in self.app.processes()])
            self.runner.run(self.app.__aexit__(None, None, None))
            left = self.runner.run(self.tasks())
            self.runner.close()
        assert left == 1
        host = self.app.find_host(None, None)
        assert host.count == 0

    async def tasks(self):
        """How many tasks there are, this one included."""
        return len(asyncio.all_tasks())


TestProgram = Program.TestCase
TestProgram.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes longer than a test may
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
