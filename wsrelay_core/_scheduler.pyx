"""The run queue of one App on one loop, its drains, and its shared timers."""

import contextvars
import os
from asyncio import current_task
from functools import partial

from wsrelay_core._errors import NoApp, WrongThread

cimport cython
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from wsrelay_core._pid cimport PID, ProcessTable

# Rule 6 of the process semantics: a drain gives way to I/O after this much.
cdef int DRAIN_ROUNDS = 64
cdef double DRAIN_SECONDS = 0.005
cdef int CLOCK_EVERY = 8                # steps between two looks at the clock
# Reads after which a drain comes early: what they brought is in the processor's cache still. After
# the thousand that one turn of the loop may have, it would have to be fetched once more.
cdef Py_ssize_t NEAR = 32

cdef double TICK = 0.02                 # resolution of the timer wheel, seconds
# What all connections that are behind together get of one turn of the loop, seconds: those with
# little to say wait no longer for a thousand that flood than for one. While nobody else has
# anything to say it grows from turn to turn, up to the second figure.
cdef double SHARE = 0.00002
cdef double SHARE_ALONE = 0.0002
cdef double GROWTH = 1.1
# How long they wait while in each turn somebody else has something to say, seconds.
cdef double PATIENCE = 0.0005

# Running schedulers, so that code outside a process finds the only App of its loop.
running_schedulers = []


def _after_fork() -> None:
    """In a forked child the loops, and all that is on them, stay the parent's."""
    for scheduler in running_schedulers:
        (<Scheduler>scheduler).lose(
            "this OS process was forked while the App ran: "
            "only the parent has it; start another App here")
    running_schedulers.clear()


os.register_at_fork(after_in_child=_after_fork)


cdef double monotonic() noexcept nogil:
    """Monotonic seconds, the clock of `time.monotonic` and of the loops."""
    cdef timespec spec
    clock_gettime(CLOCK_MONOTONIC, &spec)
    return <double>spec.tv_sec + 1e-9 * <double>spec.tv_nsec


def throw(error) -> None:
    raise error


cdef class Schedulable:
    cdef int step(self) except -1:
        return 0

    cdef int flush(self) except -1:
        return 0

    cdef int after_drain(self) except -1:
        return 0

    cdef int on_time(self, double when) except -1:
        return 0

    cdef int on_signal(self, PID source, str reason, object result) except -1:
        return 0


@cython.final
cdef class TimerWheel:
    """Calls `on_time` of what is due, at most one tick late; stale entries are the callee's.

    What the clients sent by then is read first. Code that kept the loop would otherwise end those
    whose pong, say, came in time and waits in the kernel.
    """

    def __cinit__(self, Scheduler scheduler):
        self.scheduler = scheduler
        self.slots = {}

    cdef long long add(self, Schedulable item, double when) except -1:
        """Call `item.on_time` at `when`; returns the tick, by which `remove` finds it."""
        cdef long long tick = <long long>(when / TICK) + 1
        slot = self.slots.get(tick)
        if slot is None:
            self.slots[tick] = {item: None}
            if self.armed == 0 or tick < self.armed:
                self._arm(tick)
        else:
            (<dict>slot)[item] = None
        return tick

    cdef int remove(self, Schedulable item, long long tick) except -1:
        """Forget an item, so that the wheel does not keep what has ended alive."""
        slot = self.slots.get(tick)
        if slot is not None:
            (<dict>slot).pop(item, None)
            if not slot:
                del self.slots[tick]
        return 0

    def _arm(self, long long tick):
        if self.handle is not None:
            self.handle.cancel()
        self.armed = tick
        delay = max(0.0, <double>tick * TICK - self.scheduler.now())
        self.handle = self.scheduler.loop.call_later(
            delay, self._read_first, context=self.scheduler.context)

    def _read_first(self):
        """Time is up. The loop looks at its sockets in each turn, but some loops do it behind what
        is ready and some before: of two turns one is whole."""
        self.handle = self.scheduler.loop.call_soon(
            self._read_more, context=self.scheduler.context)

    def _read_more(self):
        self.handle = self.scheduler.loop.call_soon(
            self.advance, context=self.scheduler.context)

    def advance(self) -> None:
        """Fire everything that is due by the scheduler's clock."""
        cdef double when = self.scheduler.now()
        self.armed = 0
        for tick in sorted([tick for tick in self.slots if tick * TICK <= when]):
            for item in self.slots.pop(tick, ()):  # an item before may have removed its last one
                try:
                    (<Schedulable>item).on_time(when)
                except Exception as error:
                    self.scheduler.say("fault", <Schedulable>item, error)
        if self.slots:
            self._arm(min(self.slots))

    def close(self) -> None:
        """Forget all timers."""
        self.slots.clear()
        self.armed = 0
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def __len__(self):
        return sum(map(len, self.slots.values()))


@cython.final
cdef class Scheduler:
    """Steps the processes of one App on one loop, and ends each drain with one flush.

    Args:
        loop: the running event loop.
        report: `callable(kind, process, detail)` that writes the App's log.
        app: what code in a process finds as its App.
        clock: returns monotonic seconds; None for the system's clock.
        entries: where the names of functions are kept that were spawned. The App clears it when
            another name may be right.
    """

    def __init__(self, loop, report, app=None, clock=None, dict entries=None):
        self.loop = loop
        self.app = app
        self.report = report
        self.clock = clock
        self.entries = {} if entries is None else entries
        self.table = ProcessTable()
        self.timers = TimerWheel(self)
        self.context = contextvars.Context()
        self.thread = this_thread()
        self.ready = []
        self.dirty = []
        self.ending = []
        self.behind = []
        self.signals = []
        self.unfinished = {}
        self.pinning = {}
        self.call_soon = loop.call_soon
        self.bound_drain = self.drain
        self.bound_catch_up = self.catch_up
        self.lingering = {}
        self.share = SHARE
        self.read_buffer = bytearray(READ_SIZE)
        self.read_view = memoryview(self.read_buffer)
        self.short_view = self.read_view[:SHORT_READ]

    def __del__(self):
        # An App that was never stopped. The collector calls this while everything is whole, and
        # then takes it apart in any order: by then no PID must lead there.
        self.running = False
        if self.table is not None:
            self.table.forget()

    def start(self) -> None:
        """Let processes start; the App becomes visible to code outside a process."""
        self.running = True
        # A loop that was closed without a stop must not be found for ever.
        running_schedulers[:] = [other for other in running_schedulers
                                 if not (<Scheduler>other).loop.is_closed()]
        running_schedulers.append(self)

    def stop(self) -> None:
        """No process can start any more."""
        self.running = False
        self.timers.close()
        if self in running_schedulers:
            running_schedulers.remove(self)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be decoded, stepped, flushed or answered."""
        return not (self.has_ready() or self.dirty or self.ending or self.behind)

    cdef double now(self) except -1:
        return monotonic() if self.clock is None else self.clock()

    # -- the run queue -------------------------------------------------------------------------

    cdef int enqueue(self, Schedulable item) except -1:
        """Step it in the next round of the drain."""
        self.ready.append(item)
        if not self.scheduled and not self.draining:
            self.wake()
        return 0

    cdef int mark_dirty(self, Schedulable item) except -1:
        """Flush it at the end of the drain (of the next one, if none is under way)."""
        self.dirty.append(item)
        if not self.scheduled and not self.draining:
            self.wake()
        return 0

    cdef int mark_ending(self, Schedulable item) except -1:
        """Call its `after_drain` when the run queue has been drained and flushed."""
        self.ending.append(item)
        if not self.scheduled and not self.draining:
            self.wake()
        return 0

    cdef int mark_behind(self, Schedulable item) except -1:
        """Step it in one of the next turns of the loop, when the others have had theirs."""
        self.behind.append(item)
        if not self.catching_up:
            self.order(self.bound_catch_up)
            self.catching_up = True
        return 0

    cdef int wake(self) except -1:
        self.order(self.bound_drain)
        self.scheduled = True
        return 0

    cdef int order(self, object callback) except -1:
        """Have the loop call in its next turn."""
        try:
            self.call_soon(callback, context=self.context)
        except RuntimeError:
            if self.loop.is_closed():
                self.lose("the loop of this App was closed while its processes lived")
                self.refuse_thread()
            raise
        return 0

    def drain(self) -> None:
        """Step what is ready, then flush; called by the loop."""
        self.scheduled = False
        if self.draining:
            return
        self.draining = True
        try:
            self.reads_undrained = 0
            self.early_began = self.early_spent = 0
            self.step_all(monotonic() + DRAIN_SECONDS)
            self.finish_drain()
        finally:
            self.draining = False
            if (self.has_ready() or self.dirty or self.ending) and not self.scheduled:
                self.wake()

    cdef int after_read(self) except -1:
        """A connection has been given what its client sent; called by the loop's transports."""
        self.reads_undrained += 1
        if self.reads_undrained >= NEAR and self.scheduled and not self.draining:
            try:
                self.drain_early()
            except BaseException as error:
                # It ends the program; to a transport it would be a fault of one connection.
                self.order(partial(throw, error))
        return 0

    cdef int drain_early(self) except -1:
        """Step what the last reads made ready, before the loop reads more.

        All that is done so early in one turn takes no longer than one drain and three times what
        reading takes: with processes that work long, the loop would come to nothing else. What is
        to be written goes out only if it is no more than what was read: a message for all clients
        waits, so that those who write to all together cost each of them one write.
        """
        cdef double now = monotonic()
        cdef double left
        if self.early_began == 0:
            self.early_began = now
        left = DRAIN_SECONDS + 3 * (now - self.early_began) - 4 * self.early_spent
        # A transport that calls from inside a task (none of asyncio's do) must wait for the drain.
        if left > 0 and current_task(self.loop) is None:
            self.draining = True
            try:
                self.step_all(now + min(left, DRAIN_SECONDS))
                if len(self.dirty) <= self.reads_undrained:
                    self.finish_drain()
            finally:
                self.draining = False
                self.early_spent += monotonic() - now
        self.reads_undrained = 0
        return 0

    cdef int step_all(self, double until) except -1:
        cdef list batch
        cdef int rounds = 0
        cdef Py_ssize_t steps = 0, index = 0, begin, size
        while self.has_ready():
            if self.rest is None:
                batch, self.ready = self.ready, []
                begin = 0
            else:
                batch, self.rest = self.rest, None
                begin = self.rest_begin
            index = begin
            size = len(batch)
            try:
                for index in range(begin, size):
                    item = batch[index]
                    batch[index] = None  # it may be its last step
                    (<Schedulable>item).step()
                    steps += 1
                    if steps % CLOCK_EVERY == 0 and monotonic() > until:
                        self.put_back(batch, index + 1)
                        return 0
            except BaseException as error:
                self.put_back(batch, index + 1)
                self.caught(<Schedulable>item, error)
            rounds += 1
            if rounds >= DRAIN_ROUNDS:
                return 0
        return 0

    cdef int put_back(self, list batch, Py_ssize_t index) except -1:
        """What was not stepped comes first in the next round.

        It stays where it is: a copy of a million, in each of many turns, would cost more than all
        the steps, and a collection of young objects would walk it each time.
        """
        if index < len(batch):
            self.rest = batch
            self.rest_begin = index
        return 0

    cdef bint has_ready(self) noexcept:
        return self.rest is not None or len(self.ready) > 0

    cdef int finish_drain(self) except -1:
        """One flush for each connection that wrote, then the closing handshakes."""
        cdef list batch
        if self.dirty:
            batch, self.dirty = self.dirty, []
            for item in batch:
                try:
                    (<Schedulable>item).flush()
                except BaseException as error:
                    self.caught(<Schedulable>item, error)
        if self.ending:
            batch, self.ending = self.ending, []
            for item in batch:
                try:
                    (<Schedulable>item).after_drain()
                except BaseException as error:
                    self.caught(<Schedulable>item, error)
        return 0

    def caught(self, Schedulable item, error):
        """A fault of one must not stop the others; what ends the program is not held back."""
        if not isinstance(error, Exception):
            raise error
        self.say("fault", item, error)

    def catch_up(self) -> None:
        """Step those who are behind, the first first, for their share; called by the loop.

        They use the turns in which nobody else has anything to say, and a few of the others. Who is
        still behind comes after the others, in one of the next turns: what arrived meanwhile is
        read before.
        """
        cdef double when = self.now()
        cdef bint others = self.reads > 0
        self.reads = 0
        self.share = SHARE if others else min(GROWTH * self.share, SHARE_ALONE)
        if others and when < self.overdue:
            self.order(self.bound_catch_up)
        else:
            self.overdue = when + PATIENCE
            self.step_behind(when + self.share)

    cdef int step_behind(self, double until) except -1:
        cdef list batch = self.behind
        cdef Py_ssize_t index = 0, size = len(batch)
        self.behind = []
        try:
            while index < size:
                index += 1
                (<Schedulable>batch[index - 1]).step()
                if self.now() > until:
                    break
        finally:
            self.behind = batch[index:] + self.behind
            self.catching_up = len(self.behind) > 0
            if self.catching_up:
                self.order(self.bound_catch_up)
        return 0

    # -- links ---------------------------------------------------------------------------------

    cdef int signal(self, Schedulable process, PID source, str reason, object result) except -1:
        """Have `bring_signals` bring a link signal."""
        self.signals.append((process, source, reason, result))
        return 0

    cdef int bring_signals(self) except -1:
        """Bring them in order: linked processes fall one by one, not recursively."""
        cdef Py_ssize_t index = 0
        if self.signalling:
            return 0
        self.signalling = True
        try:
            while index < len(self.signals):
                process, source, reason, result = self.signals[index]
                self.signals[index] = None
                index += 1
                try:
                    (<Schedulable>process).on_signal(source, reason, result)
                except Exception as error:
                    self.say("fault", <Schedulable>process, error)
        finally:
            self.signals.clear()
            self.signalling = False
        return 0

    # -- help ----------------------------------------------------------------------------------

    cdef int lose(self, str why) except -1:
        """From now on each call is refused."""
        self.lost = why
        self.thread = 0
        return 0

    cdef int refuse_thread(self) except -1:
        if self.lost is not None:
            raise NoApp(self.lost)
        raise WrongThread("this call belongs to the thread of the App's loop; "
                          "from another thread use process.send_threadsafe")

    cdef int say(self, str kind, Schedulable process, object detail) except -1:
        """Write to the App's log; a log that fails must not end a process."""
        try:
            self.report(kind, process, detail)
        except Exception as error:
            self.loop.call_exception_handler(
                {"message": "wsrelay: the App's log failed", "exception": error})
        return 0
