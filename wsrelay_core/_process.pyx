"""What everything with a PID has in common: relations, names, timers and the one exit."""

from wsrelay_core._errors import HostFull, NoApp, NoProcess, ProcessExit

cimport cython
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_FromObject
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from wsrelay_core._mailbox cimport short
from wsrelay_core._pid cimport PID, new_text, plain_dest
from wsrelay_core._scheduler cimport Scheduler, monotonic

cdef str EXIT = "EXIT"
cdef str LINK_DOWN = "LINK_DOWN"
cdef str NORMAL = "normal"
cdef str CANCELLED = "cancelled"
cdef str NOPROC = "noproc"


cdef bint is_failure(str reason) noexcept:
    """Whether links and supervisors treat an exit reason as an error (rule 3)."""
    return reason != NORMAL and reason != CANCELLED


cdef double wall_clock() noexcept nogil:
    """Seconds since 1970, the clock of `time.time`."""
    cdef timespec spec
    clock_gettime(CLOCK_REALTIME, &spec)
    return <double>spec.tv_sec + 1e-9 * <double>spec.tv_nsec


@cython.final
@cython.freelist(64)
cdef class Result:
    """How a process ended: the `value` it returned, or the `error` that ended it."""

    def __init__(self, value=None, error=None):
        self.value = value
        self.error = error

    def __repr__(self):
        return f"Result(value={short(self.value)}, error={short(self.error)})"


cdef Result new_result(object value, object error):
    cdef Result result = Result.__new__(Result)
    result.value = value
    result.error = error
    return result


@cython.final
@cython.freelist(64)
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
    event.at = wall_clock()
    event.ref = ref
    return event


@cython.final
@cython.freelist(64)
cdef class Ref:
    """One monitor: what `monitor` returned, and the `ref` of the EXIT event that it brings."""

    @property
    def active(self) -> bool:
        """Whether its EXIT is still to come."""
        return self.watched is not None

    def is_of(self, dest) -> bool:
        """Whether it is a monitor of this PID, or was made by this name."""
        return self.target == dest or self.asked == dest

    def __repr__(self):
        return f"<Ref of {self.target}>"


@cython.final
cdef class Timer:
    """A message that will be sent; `cancel()` returns whether it had not been sent yet."""

    def cancel(self) -> bool:
        """Take the message back; returns False when it was sent or cancelled before."""
        self.scheduler.check_thread()
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

    cdef bint keep_cancel(self, object message) except -1:
        return False

    # -- birth ---------------------------------------------------------------------------------

    cdef str admit(self, Scheduler scheduler, Host host, str entry):
        """Give the process its PID and its place in the table; raises HostFull, NoApp.

        Returns the text of the PID as a plain `str`.
        """
        cdef str text
        if not scheduler.running:
            raise NoApp("the App is not running: no process can start")
        scheduler.check_thread()
        if host.max_processes:
            host.check()
        self.scheduler = scheduler
        self.host = host
        self.entry = entry
        text = new_text(host.id)
        self.pid = PID.__new__(PID, text)
        self.pid.record = <PyObject*>self
        self.started = monotonic()
        self.alive = True
        host.count += 1
        scheduler.table.add(self.pid, self)
        return text

    # -- relations -----------------------------------------------------------------------------

    def monitor(self, dest) -> Ref:
        """Watch `dest`: this process gets its EXIT event."""
        return watch(self.scheduler, dest, self, None)

    def unmonitor(self, Ref ref) -> bool:
        """Give a monitor up; returns whether its EXIT was still to come.

        Raises ValueError when it is not this process's.
        """
        if ref.watcher is not self:
            raise ValueError(f"{ref} is the monitor of another process")
        self.refs = without_ref(self.refs, ref)
        return give_up(ref)

    def refs_to(self, dest) -> list:
        """This process's monitors of one PID or name."""
        return [ref for ref in each_ref(self.refs) if (<Ref>ref).is_of(dest)]

    def link(self, dest) -> None:
        """Link both ways, idempotent; raises NoProcess when `dest` is dead or unknown."""
        cdef Process other = find_process(self.scheduler, dest)
        if other is None:
            raise NoProcess(f"cannot link to {dest}: no such process")
        tie(self, other)

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
        return self.monitors is not None or bool(self.links) or bool(self.names)

    def tell(self, dest, str topic, payload) -> bool:
        """Send one message as this process."""
        cdef Process other = find_process(self.scheduler, dest)
        return other is not None and other.deliver(topic, payload, 1, self.pid, None)

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
            "age": monotonic() - self.started,
            "links": tuple([(<Process>other).pid for other in (self.links or ())]),
            "monitors": tuple([(<Ref>ref).target for ref in each_ref(self.refs)]),
            "monitored_by": tuple([(<Ref>ref).watcher.pid for ref in each_ref(self.monitors)
                                   if (<Ref>ref).watcher is not None]),
        }

    def __repr__(self):
        state = "alive" if self.alive else "ended"
        return f"<{type(self).__name__} {self.pid} {self.entry} {state}>"

    # -- death ---------------------------------------------------------------------------------

    cdef int end(self, str reason, object value, object error) except -1:
        """The one exit, in the order of rule 2; a second call does nothing."""
        cdef Result result
        if not self.alive:
            return 0
        self.alive = False
        self.scheduler.table.remove(self.pid, self.names)
        self.names = None
        self.pid.record = NULL
        self.host.count -= 1
        self.drop_timers()
        self.give_up_refs()
        result = new_result(value, error)
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
            for ref in each_ref(refs):
                give_up(<Ref>ref)
        return 0

    cdef int tell_monitors(self, str reason, Result result) except -1:
        monitors, self.monitors = self.monitors, None
        if monitors is not None:
            for ref in each_ref(monitors):
                if (<Ref>ref).watched is not None:  # an EXIT before may have given it up
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
            self.scheduler.bring_signals()
        return 0


cdef object exit_in(object error):
    """The ProcessExit that an exception is, or that alone a TaskGroup's group holds; else None."""
    if isinstance(error, BaseExceptionGroup):
        exits, others = error.split(ProcessExit)
        if others is not None:
            return None
        while isinstance(exits, BaseExceptionGroup):
            exits = exits.exceptions[0]
        return exits
    return error if isinstance(error, ProcessExit) else None


cdef int tie(Process process, Process other) except -1:
    """Link both ways."""
    if process is not other:
        _add(process, other)
        _add(other, process)
    return 0


cdef str reason_of(object leaving):
    """The reason of a ProcessExit as an exact `str`: whatever was made of it, a process must end.

    Of a subclass it is the text itself: str() of an enum's member is its name.
    """
    reason = getattr(leaving, "reason", None)
    return PyUnicode_FromObject(reason) if isinstance(reason, str) and reason else "error"


cdef int _add(Process process, Process other) except -1:
    if process.links is None:
        process.links = {}
    process.links[other] = None
    return 0


cdef int _drop(Process process, Process other) except -1:
    if process.links is not None:
        process.links.pop(other, None)
    return 0


# Nearly always a process has one monitor or none, and watches one other or none: so a collection of
# Refs is None, the one Ref itself, or a dict Ref -> None in the order in which they came.


cdef object with_ref(object refs, Ref ref):
    """A collection with one more."""
    if refs is None:
        return ref
    if type(refs) is Ref:
        return {refs: None, ref: None}
    (<dict>refs)[ref] = None
    return refs


cdef object without_ref(object refs, Ref ref):
    """A collection without one that need not be in it."""
    if refs is ref:
        return None
    if type(refs) is dict:
        (<dict>refs).pop(ref, None)
        return refs if <dict>refs else None
    return refs


cdef object each_ref(object refs):
    """What to iterate over; the collection must not change meanwhile."""
    if refs is None:
        return ()
    return (refs,) if type(refs) is Ref else refs


cdef int tell(Ref ref, object sender, str reason, Result result) except -1:
    """Bring a monitor its EXIT."""
    cdef Event event = new_event(EXIT, sender, reason, result, ref)
    if ref.watcher is None:
        callback, ref.callback = ref.callback, None  # it may hold the event, and so the ref
        try:
            callback(event)
        except Exception as error:
            ref.scheduler.say("fault", None, error)
    elif ref.watcher.alive:
        ref.watcher.refs = without_ref(ref.watcher.refs, ref)
        ref.watcher.deliver_event(event)
    return 0


cdef bint give_up(Ref ref) except -1:
    """Forget a monitor; no EXIT comes from it any more. Returns whether one was to come."""
    cdef Process watched = ref.watched
    ref.watched = ref.callback = None
    if watched is None:
        return False
    watched.monitors = without_ref(watched.monitors, ref)
    return True


cdef Ref watch(Scheduler scheduler, object dest, Process watcher, object callback):
    """Make a monitor for a process, or for a callback when `watcher` is None.

    Of a dead or unknown process the EXIT comes at once, with reason `noproc`.
    """
    cdef Process watched = find_process(scheduler, dest)
    cdef Ref ref = Ref.__new__(Ref)
    ref.asked = plain_dest(dest)
    ref.target = ref.asked if watched is None else watched.pid
    ref.watcher = watcher
    ref.callback = callback
    ref.scheduler = scheduler
    if watcher is not None:
        watcher.refs = with_ref(watcher.refs, ref)
    if watched is None:
        tell(ref, ref.target, NOPROC, new_result(None, None))
        return ref
    ref.watched = watched
    watched.monitors = with_ref(watched.monitors, ref)
    return ref


cdef Timer later(Scheduler scheduler, double delay, object dest, str topic, tuple payloads):
    cdef Timer timer = Timer.__new__(Timer)
    timer.scheduler = scheduler
    timer.dest = plain_dest(dest)
    timer.topic = topic
    timer.many = len(payloads)
    timer.payload = one_payload(payloads)
    timer.handle = scheduler.loop.call_later(delay, timer._fire, context=scheduler.context)
    return timer


cdef Process find_process(Scheduler scheduler, object dest):
    """The living process of a PID, its text, or a name; None if there is none."""
    cdef Process process
    if type(dest) is PID and (<PID>dest).record is not NULL:
        process = <Process>(<PID>dest).record
        if process.scheduler is not scheduler:
            process.scheduler.check_thread()  # an App of another thread
        return process
    return scheduler.table.find(dest)
