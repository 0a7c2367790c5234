"""What everything with a PID has in common: relations, names, timers and the one exit."""

cimport cython

from wsrelay_core._flag cimport flag
from wsrelay_core._pid cimport PID
from wsrelay_core._scheduler cimport Schedulable, Scheduler


@cython.final
cdef class Result:
    cdef readonly object value
    cdef readonly object error


@cython.final
cdef class Event:
    cdef readonly str kind        # EXIT, LINK_DOWN or CANCEL
    cdef readonly object sender   # PID that ended or cancelled; the name if a name was monitored
    cdef readonly str reason
    cdef readonly Result result
    cdef readonly double at       # seconds since 1970
    cdef readonly object ref      # the Ref of an EXIT, else None
    cdef readonly object deadline  # CANCEL: seconds that are left, or None


@cython.final
cdef class Ref:
    cdef readonly object target    # PID that is watched; a name that nobody had
    cdef object asked              # what `monitor` was given: the target, or its name then
    cdef Process watcher           # who gets the EXIT; None when `callback` does
    cdef object callback
    cdef Process watched           # None once it ended or was given up
    cdef Scheduler scheduler


@cython.final
cdef class Timer:
    cdef Process owner             # its end cancels the timer; None outside a process
    cdef Scheduler scheduler
    cdef object handle
    cdef object dest
    cdef str topic
    cdef object payload
    cdef Py_ssize_t many

    cdef int forget(self) except -1


@cython.final
cdef class Host:
    cdef readonly str id
    cdef readonly Py_ssize_t max_processes  # 0: no limit
    cdef readonly Py_ssize_t count


@cython.final
cdef class Shared:
    cdef bytes frame               # of a broadcast, built by the first client that needs it


cdef class Process(Schedulable):
    cdef readonly PID pid
    cdef readonly Scheduler scheduler
    cdef readonly Host host
    cdef readonly str entry        # registry id or qualified name of what runs, for logs
    cdef readonly double started   # monotonic seconds
    cdef list names                # registered names, or None
    cdef object monitors           # Refs of who watches it, in order; see `with_ref`
    cdef object refs               # Refs of what it watches, the same
    cdef dict links                # Process -> None
    cdef set timers
    cdef object context            # contextvars.Context of its task, while that runs
    cdef readonly flag alive

    # Returns whether it was accepted. `many`: how many payloads were sent (payload is a tuple
    # from two on). `shared` is given by a broadcast only.
    cdef bint deliver(self, str topic, object payload, Py_ssize_t many, PID sender,
                      Shared shared) except -1
    cdef int deliver_event(self, Event event) except -1
    cdef bint keep_cancel(self, object message) except -1
    cdef str admit(self, Scheduler scheduler, Host host, str entry)
    cdef int end(self, str reason, object value, object error) except -1
    cdef int drop_timers(self) except -1
    cdef int give_up_refs(self) except -1
    cdef int tell_monitors(self, str reason, Result result) except -1
    cdef int tell_links(self, str reason, Result result) except -1


cdef Result new_result(object value, object error)
cdef Event new_event(str kind, object sender, str reason, Result result, object ref)
cdef object exit_in(object error)
cdef str reason_of(object leaving)
cdef Process find_process(Scheduler scheduler, object dest)
cdef Ref watch(Scheduler scheduler, object dest, Process watcher, object callback)
cdef int tie(Process process, Process other) except -1
cdef object without_ref(object refs, Ref ref)
cdef bint give_up(Ref ref) except -1
cdef Timer later(Scheduler scheduler, double delay, object dest, str topic, tuple payloads)


cdef inline object one_payload(tuple payloads):
    """What a message carries: the one payload, a tuple of several, or None."""
    if len(payloads) == 1:
        return payloads[0]
    return payloads if payloads else None
