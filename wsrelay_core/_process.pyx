"""What everything with a PID has in common, and the scheduler that steps it."""

import asyncio
import contextvars
import time

from wsrelay_core._errors import HostFull, NoApp, NoProcess, NotAProcess, WrongThread

cimport cython
from cpython.contextvars cimport get_value
from cpython.pythread cimport PyThread_get_thread_ident
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from wsrelay_core._mailbox cimport Waiter
from wsrelay_core._pid cimport PID, ProcessTable, new_pid

# Rule 6 of the process semantics: a drain gives way to I/O after this much.
cdef int DRAIN_ROUNDS = 64
cdef double DRAIN_SECONDS = 0.005
cdef int CLOCK_EVERY = 32               # steps between two looks at the clock

cdef str EXIT = "EXIT"
cdef str LINK_DOWN = "LINK_DOWN"
cdef str NORMAL = "normal"
cdef str CANCELLED = "cancelled"
cdef str NOPROC = "noproc"

process_var = contextvars.ContextVar("wsrelay_process", default=None)
scheduler_var = contextvars.ContextVar("wsrelay_app", default=None)
cdef object _process_var = process_var
cdef object _scheduler_var = scheduler_var

# Running schedulers, so that code outside a process finds the only App of its loop.
cdef list running_schedulers = []


cdef double now() noexcept nogil:
    """Monotonic seconds, the clock of `time.monotonic` and of the loops."""
    cdef timespec spec
    clock_gettime(CLOCK_MONOTONIC, &spec)
    return <double>spec.tv_sec + 1e-9 * <double>spec.tv_nsec


cdef bint is_failure(str reason) noexcept:
    """Whether links and supervisors treat an exit reason as an error (rule 3)."""
    return reason != NORMAL and reason != CANCELLED


@cython.final
cdef class Result:
    """How a process ended: the `value` it returned, or the `error` that ended it."""

    def __init__(self, value=None, error=None):
        self.value = value
        self.error = error

    def __repr__(self):
        return f"Result(value={self.value!r}, error={self.error!r})"


@cython.final
cdef class Event:
    """A system event: `kind` is `EXIT`, `LINK_DOWN` or `CANCEL`.

    `sender` is the PID it tells of, `reason` the exit (or cancel) reason, `result` the `Result`,
    `at` the time in seconds since 1970, `ref` the monitor that it answers, `deadline` the seconds
    a CANCEL leaves until the process is terminated (None: no deadline).
    """

    def __repr__(self):
        return f"<Event {self.kind} {self.sender or ''} {self.reason!r}>"


cdef Event new_event(str kind, object sender, str reason, Result result, object ref):
    cdef Event event = Event.__new__(Event)
    event.kind = kind
    event.sender = sender
    event.reason = reason
    event.result = result
    event.at = time.time()
    event.ref = ref
    return event


@cython.final
cdef class Ref:
    """One monitor: what `monitor` returned, and the `ref` of the EXIT event that it brings."""

    @property
    def active(self) -> bool:
        """Whether its EXIT is still to come."""
        return self.watched is not None

    def __repr__(self):
        return f"<Ref of {self.target}>"


@cython.final
cdef class Timer:
    """A message that will be sent; `cancel()` returns whether it had not been sent yet."""

    def cancel(self) -> bool:
        """Take the message back; returns False when it was sent or cancelled before."""
        if self.handle is None:
            return False
        self.handle.cancel()
        self.forget()
        return True

    cdef int forget(self) except -1:
        self.handle = None
        self.payload = None
        if self.owner is not None and self.owner.timers is not None:
            self.owner.timers.discard(self)
        self.owner = None
        return 0

    def _fire(self):
        cdef Process process
        cdef PID sender = self.owner.pid if self.owner is not None else None
        payload = self.payload
        self.forget()
        process = find_process(self.scheduler, self.dest)
        if process is not None:
            process.deliver(self.topic, payload, self.many, sender, None)


@cython.final
cdef class Host:
    """A `process.host`: where processes run, and how many at most (0: no limit)."""

    def __init__(self, str id, Py_ssize_t max_processes=0):
        self.id = id
        self.max_processes = max_processes

    def check(self) -> None:
        """Raises HostFull if one more process would be too many."""
        if self.max_processes and self.count >= self.max_processes:
            raise HostFull(f"host {self.id!r} runs its {self.max_processes} processes; "
                           f"raise max_processes or end one")


@cython.final
cdef class Shared:
    pass


cdef class Process:
    """Everything that has a PID: monitors, links, names, timers and the one exit."""

    cdef bint deliver(self, str topic, object payload, Py_ssize_t many, PID sender,
                      Shared shared) except -1:
        return False

    cdef int deliver_event(self, Event event) except -1:
        return 0

    cdef int link_signal(self, PID source, str reason, Result result) except -1:
        return 0

    cdef Waiter own_park(self):
        return None

    cdef bint keep_cancel(self, object message) except -1:
        return False

    cdef int step(self) except -1:
        return 0

    cdef int flush(self) except -1:
        return 0

    cdef int after_drain(self) except -1:
        return 0

    # -- birth ---------------------------------------------------------------------------------

    def _admit(self, Scheduler scheduler, Host host, str entry):
        """Give the process its PID and its place in the table; raises HostFull, NoApp."""
        if not scheduler.running:
            raise NoApp("the App is not running: no process can start")
        scheduler.check_thread()
        host.check()
        self.scheduler = scheduler
        self.host = host
        self.entry = entry
        self.pid = new_pid(host.id)
        self.pid.record = self
        self.started = now()
        self.alive = True
        host.count += 1
        scheduler.table.add(self.pid, self)

    # -- relations -----------------------------------------------------------------------------

    def monitor(self, dest, callback=None) -> Ref:
        """Watch `dest`; this process gets its EXIT event. See `watch` for callers without one."""
        return watch(self.scheduler, dest, self, None)

    def unmonitor(self, Ref ref) -> bool:
        """Give a monitor up; returns whether its EXIT was still to come."""
        if self.refs is not None:
            self.refs.pop(ref, None)
        return give_up(ref)

    def refs_to(self, dest) -> list:
        """This process's monitors of one PID or name."""
        return [ref for ref in (self.refs or ()) if (<Ref>ref).target == dest]

    def link(self, dest) -> None:
        """Link both ways, idempotent; raises NoProcess when `dest` is dead or unknown."""
        cdef Process other = find_process(self.scheduler, dest)
        if other is None:
            raise NoProcess(f"cannot link to {dest}: no such process")
        if other is self:
            return
        _add(self, other)
        _add(other, self)

    def unlink(self, dest) -> None:
        """Take a link away, both ways; none is no error."""
        cdef Process other = find_process(self.scheduler, dest)
        if other is not None:
            _drop(self, other)
            _drop(other, self)

    def register(self, str name) -> None:
        """Register a name; raises NameTaken, ValueError."""
        self.scheduler.table.register(name, self)
        if self.names is None:
            self.names = []
        if name not in self.names:
            self.names.append(name)

    def unregister(self, str name) -> bool:
        """Give a name back; returns whether it was this process's."""
        if self.names is None or name not in self.names:
            return False
        self.names.remove(name)
        self.scheduler.table.unregister(name)
        return True

    def has_relations(self) -> bool:
        """Whether somebody watches it, is linked to it or can find it by a name."""
        return bool(self.monitors) or bool(self.links) or bool(self.names)

    def send_after(self, double delay, dest, str topic, tuple payloads) -> Timer:
        """Send later; the timer ends with this process."""
        cdef Timer timer = later(self.scheduler, delay, dest, topic, payloads)
        timer.owner = self
        if self.timers is None:
            self.timers = set()
        self.timers.add(timer)
        return timer

    def describe(self) -> dict:
        """What `info` shows, as plain values."""
        return {
            "pid": self.pid,
            "entry": self.entry,
            "host": self.host.id,
            "names": tuple(self.names or ()),
            "age": now() - self.started,
            "links": tuple([(<Process>other).pid for other in (self.links or ())]),
            "monitors": tuple([(<Ref>ref).target for ref in (self.refs or ())]),
            "monitored_by": tuple([(<Ref>ref).watcher.pid for ref in (self.monitors or ())
                                   if (<Ref>ref).watcher is not None]),
        }

    def __repr__(self):
        return f"<{type(self).__name__} {self.pid} {self.entry} {'alive' if self.alive else 'ended'}>"

    # -- death ---------------------------------------------------------------------------------

    cdef int end(self, str reason, object value, object error) except -1:
        """The one exit, in the order of rule 2; a second call does nothing."""
        cdef Result result
        if not self.alive:
            return 0
        self.alive = False
        self.scheduler.table.remove(self.pid, self.names)
        self.names = None
        self.pid.record = None
        self.host.count -= 1
        self.drop_timers()
        self.give_up_refs()
        result = Result(value, error)
        self.tell_monitors(reason, result)
        self.tell_links(reason, result)
        return 0

    cdef int drop_timers(self) except -1:
        timers, self.timers = self.timers, None
        if timers is not None:
            for timer in timers:
                (<Timer>timer).cancel()
        return 0

    cdef int give_up_refs(self) except -1:
        refs, self.refs = self.refs, None
        if refs is not None:
            for ref in refs:
                give_up(<Ref>ref)
        return 0

    cdef int tell_monitors(self, str reason, Result result) except -1:
        monitors, self.monitors = self.monitors, None
        if monitors is not None:
            for ref in monitors:
                (<Ref>ref).watched = None
                tell(<Ref>ref, self.pid, reason, result)
        return 0

    cdef int tell_links(self, str reason, Result result) except -1:
        links, self.links = self.links, None
        if links is None:
            return 0
        for other in links:
            _drop(<Process>other, self)
        if is_failure(reason):
            for other in links:
                self.scheduler.signal(<Process>other, self.pid, reason, result)
        return 0


cdef int _add(Process process, Process other) except -1:
    if process.links is None:
        process.links = {}
    process.links[other] = None
    return 0


cdef int _drop(Process process, Process other) except -1:
    if process.links is not None:
        process.links.pop(other, None)
    return 0


cdef int tell(Ref ref, object sender, str reason, Result result) except -1:
    """Bring a monitor its EXIT."""
    cdef Event event = new_event(EXIT, sender, reason, result, ref)
    if ref.watcher is None:
        try:
            ref.callback(event)
        except Exception:
            event_loop = asyncio.get_running_loop()
            event_loop.call_exception_handler({"message": f"wsrelay: the watcher of {sender} failed"})
    elif ref.watcher.alive:
        ref.watcher.refs.pop(ref, None)
        ref.watcher.deliver_event(event)
    return 0


cdef bint give_up(Ref ref) except -1:
    """Forget a monitor; no EXIT comes from it any more. Returns whether one was to come."""
    cdef Process watched = ref.watched
    ref.watched = None
    if watched is None:
        return False
    if watched.monitors is not None:
        watched.monitors.pop(ref, None)
    return True


cdef Ref watch(Scheduler scheduler, object dest, Process watcher, object callback):
    """Make a monitor for a process, or for a callback when `watcher` is None.

    Of a dead or unknown process the EXIT comes at once, with reason `noproc`.
    """
    cdef Process watched = find_process(scheduler, dest)
    cdef Ref ref = Ref.__new__(Ref)
    ref.target = dest if watched is None else watched.pid
    ref.watcher = watcher
    ref.callback = callback
    if watcher is not None:
        if watcher.refs is None:
            watcher.refs = {}
        watcher.refs[ref] = None
    if watched is None:
        tell(ref, dest, NOPROC, Result())
        return ref
    ref.watched = watched
    if watched.monitors is None:
        watched.monitors = {}
    watched.monitors[ref] = None
    return ref


cdef Timer later(Scheduler scheduler, double delay, object dest, str topic, tuple payloads):
    cdef Timer timer = Timer.__new__(Timer)
    timer.scheduler = scheduler
    timer.dest = dest
    timer.topic = topic
    timer.many = len(payloads)
    timer.payload = one_payload(payloads)
    timer.handle = scheduler.loop.call_later(delay, timer._fire, context=scheduler.context)
    return timer


cdef inline object one_payload(tuple payloads):
    if len(payloads) == 1:
        return payloads[0]
    return payloads if payloads else None


@cython.final
cdef class Scheduler:
    """Steps the processes of one App on one loop, and ends each drain with one flush.

    Args:
        loop: the running event loop.
        report: `callable(kind, process, detail)` that writes the App's log.
        app: what `current_scheduler().app` returns.
    """

    def __init__(self, loop, report, app=None):
        self.loop = loop
        self.app = app
        self.report = report
        self.table = ProcessTable()
        self.context = contextvars.Context()
        self.thread = PyThread_get_thread_ident()
        self.ready = []
        self.dirty = []
        self.ending = []
        self.signals = []
        self.unfinished = {}

    def start(self) -> None:
        """Let processes start; the App becomes visible to code outside a process."""
        self.running = True
        running_schedulers.append(self)

    def stop(self) -> None:
        """No process can start any more."""
        self.running = False
        if self in running_schedulers:
            running_schedulers.remove(self)

    def watch(self, dest, callback) -> Ref:
        """Call `callback(event)` with the EXIT of `dest`."""
        return watch(self, dest, None, callback)

    def unwatch(self, Ref ref) -> bool:
        """Give up a monitor made by `watch`."""
        return give_up(ref)

    def send_after(self, double delay, dest, str topic, tuple payloads) -> Timer:
        """Send later, from outside a process."""
        return later(self, delay, dest, topic, payloads)

    # -- the run queue -------------------------------------------------------------------------

    cdef int enqueue(self, Process process) except -1:
        self.ready.append(process)
        if not self.scheduled and not self.draining:
            self.wake()
        return 0

    cdef int mark_dirty(self, Process process) except -1:
        """Flush `process` at the end of the drain (of the next one, if none is under way)."""
        self.dirty.append(process)
        if not self.scheduled and not self.draining:
            self.wake()
        return 0

    cdef int mark_ending(self, Process process) except -1:
        """Call `after_drain` of `process` when the run queue has been drained and flushed."""
        self.ending.append(process)
        if not self.scheduled and not self.draining:
            self.wake()
        return 0

    cdef int wake(self) except -1:
        self.scheduled = True
        self.loop.call_soon(self.drain, context=self.context)
        return 0

    def drain(self) -> None:
        """Step what is ready, then flush; called by the loop."""
        self.scheduled = False
        if self.draining:
            return
        self.draining = True
        try:
            self.step_all()
            self.finish_round()
        finally:
            self.draining = False
        if (self.ready or self.dirty or self.ending) and not self.scheduled:
            self.wake()

    cdef int step_all(self) except -1:
        cdef list batch
        cdef double until = 0
        cdef int rounds = 0
        cdef Py_ssize_t steps = 0, index, size
        while self.ready:
            batch, self.ready = self.ready, []
            size = len(batch)
            for index in range(size):
                (<Process>batch[index]).step()
                steps += 1
                if steps % CLOCK_EVERY == 0:
                    if until == 0:
                        until = now() + DRAIN_SECONDS
                    elif now() > until:
                        self.ready = batch[index + 1:] + self.ready
                        return 0
            rounds += 1
            if rounds >= DRAIN_ROUNDS:
                return 0
        return 0

    cdef int finish_round(self) except -1:
        """One flush for each connection that wrote, then the closing handshakes."""
        cdef list batch
        if self.dirty:
            batch, self.dirty = self.dirty, []
            for process in batch:
                (<Process>process).flush()
        if self.ending:
            batch, self.ending = self.ending, []
            for process in batch:
                (<Process>process).after_drain()
        return 0

    # -- links ---------------------------------------------------------------------------------

    cdef int signal(self, Process process, PID source, str reason, Result result) except -1:
        """Bring a link signal; a chain of linked processes falls one by one, not recursively."""
        self.signals.append((process, source, reason, result))
        if len(self.signals) > 1:
            return 0
        index = 0
        while index < len(self.signals):
            process, source, reason, result = self.signals[index]
            if process.alive:
                process.link_signal(source, reason, result)
            index += 1
        self.signals.clear()
        return 0

    # -- help ----------------------------------------------------------------------------------

    cdef int check_thread(self) except -1:
        if PyThread_get_thread_ident() != self.thread:
            raise WrongThread("this call belongs to the thread of the App's loop; "
                              "from another thread use process.send_threadsafe")
        return 0

    cdef int say(self, str kind, Process process, object detail) except -1:
        """Write to the App's log; a log that fails must not end a process."""
        try:
            self.report(kind, process, detail)
        except Exception:
            self.loop.call_exception_handler({"message": "wsrelay: the log failed"})
        return 0


# -- who and where -------------------------------------------------------------------------------


cdef Process running_process():
    """The process that runs this code, or None outside one.

    Raises NotAProcess when that process has ended, WrongThread in another thread.
    """
    cdef object found = get_value(_process_var)
    if found is None:
        return None
    (<Process>found).scheduler.check_thread()
    if not (<Process>found).alive:
        raise NotAProcess(f"process {(<Process>found).pid} has ended")
    return <Process>found


def current_process():
    """The process that runs this code, or None outside one; see `running_process`."""
    return running_process()


cpdef Scheduler current_scheduler():
    """The scheduler of the App that this code belongs to.

    That of the process or of the context (handlers, `async with app`, `app.active()`); elsewhere
    the only one that runs on this loop.

    Raises:
        NoApp: none runs here, or several do.
    """
    cdef Process process = running_process()
    if process is not None:
        return process.scheduler
    found = _scheduler_var.get()
    if found is not None and (<Scheduler>found).running:
        (<Scheduler>found).check_thread()
        return found
    return _only_scheduler()


cdef Scheduler _only_scheduler():
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise NoApp("no event loop runs here: call this inside a running App") from None
    here = [scheduler for scheduler in running_schedulers if (<Scheduler>scheduler).loop is loop]
    if len(here) == 1:
        return here[0]
    if not here:
        raise NoApp("no App runs on this loop: use `async with app` or `app.run()`")
    raise NoApp(f"{len(here)} Apps run on this loop: choose one with `with app.active():`")


cdef Process find_process(Scheduler scheduler, object dest):
    """The living process of a PID, its text, or a name; None if there is none."""
    if type(dest) is PID and (<PID>dest).record is not None:
        return <Process>(<PID>dest).record
    return scheduler.table.find(dest)


cpdef Process resolve(object dest):
    """The living process of a PID, its text, or a name in the current App; None if there is none.

    Raises:
        InvalidPID: `dest` looks like a PID and is none.
        NoApp: `dest` is text, and no App is to be found.
    """
    cdef Process process
    if type(dest) is PID and (<PID>dest).record is not None:
        process = <Process>(<PID>dest).record
        process.scheduler.check_thread()
        return process
    return current_scheduler().table.find(dest)


cpdef str check_topic(object topic):
    """The topic as it is; raises TypeError, ValueError for one that may not be sent."""
    if not isinstance(topic, str):
        raise TypeError(f"a topic is a str, not {type(topic).__name__}")
    if topic == "":
        raise ValueError("a topic is not empty")
    if (<str>topic)[0] == "@":
        raise ValueError(f"topic {topic!r} is the system's: a topic does not begin with '@'")
    return topic


def send(dest, topic, *payloads) -> bool:
    """Send a message; never blocks.

    Args:
        dest: PID, its text, or a registered name.
        topic: text that is not empty and does not begin with `@`.
        payloads: passed by reference; treat them as given away.

    Returns:
        True when the message is in the mailbox; False when there is no such process, or its
        bounded mailbox is full.

    Raises:
        TypeError, ValueError: `topic` or `dest` is none.
        InvalidPID: `dest` looks like a PID and is malformed.
    """
    cdef Process sender = running_process()
    cdef Process process
    if type(topic) is not str or <str>topic == "" or (<str>topic)[0] == "@":
        check_topic(topic)
        topic = str(topic)
    process = resolve(dest)
    if process is None:
        return False
    return process.deliver(<str>topic, one_payload(payloads), len(payloads),
                           None if sender is None else sender.pid, None)


def broadcast(dests, topic, *payloads) -> int:
    """`send` to many; towards WebSocket clients the frame is built once.

    Returns:
        How many accepted the message.
    """
    cdef Process sender = running_process()
    cdef PID sender_pid = None if sender is None else sender.pid
    cdef Shared shared = Shared.__new__(Shared)
    cdef Process process
    cdef str text = str(check_topic(topic))
    cdef object payload = one_payload(payloads)
    cdef Py_ssize_t accepted = 0, many = len(payloads)
    for dest in list(dests):
        process = resolve(dest)
        if process is not None and process.deliver(text, payload, many, sender_pid, shared):
            accepted += 1
    return accepted
