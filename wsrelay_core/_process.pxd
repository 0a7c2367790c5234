"""What everything with a PID has in common, and the scheduler that steps it."""

cimport cython

from wsrelay_core._mailbox cimport Waiter
from wsrelay_core._pid cimport PID, ProcessTable


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
    cdef readonly object deadline # CANCEL: seconds that are left, or None


@cython.final
cdef class Ref:
    cdef readonly object target    # PID or name that is watched
    cdef Process watcher           # who gets the EXIT; None when `callback` does
    cdef object callback
    cdef Process watched           # None once it ended or was given up


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
    cdef bytes frame               # the frame of a broadcast, built by the first client that needs it


cdef class Process:
    cdef readonly PID pid
    cdef readonly Scheduler scheduler
    cdef readonly Host host
    cdef readonly str entry        # registry id or qualified name of what runs, for logs
    cdef readonly bint alive
    cdef readonly double started   # monotonic seconds
    cdef list names                # registered names, or None
    cdef dict monitors             # Ref -> None: who watches this process, in order
    cdef dict refs                 # Ref -> None: what this process watches
    cdef dict links                # Process -> None
    cdef set timers

    # Returns whether it was accepted. `many`: how many payloads were sent (payload is a tuple
    # from two on). `shared` is given by a broadcast only.
    cdef bint deliver(self, str topic, object payload, Py_ssize_t many, PID sender,
                      Shared shared) except -1
    cdef int deliver_event(self, Event event) except -1
    cdef int link_signal(self, PID source, str reason, Result result) except -1
    cdef Waiter own_park(self)
    cdef bint keep_cancel(self, object message) except -1
    cdef int step(self) except -1
    cdef int flush(self) except -1
    cdef int after_drain(self) except -1
    cdef int end(self, str reason, object value, object error) except -1
    cdef int drop_timers(self) except -1
    cdef int give_up_refs(self) except -1
    cdef int tell_monitors(self, str reason, Result result) except -1
    cdef int tell_links(self, str reason, Result result) except -1


@cython.final
cdef class Scheduler:
    cdef readonly object loop
    cdef readonly object app          # what the App gave itself as; for `current_scheduler().app`
    cdef readonly ProcessTable table
    cdef readonly bint running
    cdef object report                # callable(kind, process, detail): the App's log
    cdef object context               # context of drains; never that of a process
    cdef unsigned long thread
    cdef list ready                   # processes to step in the next round
    cdef list dirty                   # processes whose output waits for the end of the drain
    cdef list ending                  # processes with something to do after the flush
    cdef list signals                 # link signals that wait for their turn
    cdef bint scheduled
    cdef bint draining
    cdef readonly dict unfinished     # ended processes whose coroutine still runs -> None
    cdef readonly unsigned long long dropped  # mail nobody could take

    cdef int enqueue(self, Process process) except -1
    cdef int mark_dirty(self, Process process) except -1
    cdef int mark_ending(self, Process process) except -1
    cdef int wake(self) except -1
    cdef int step_all(self) except -1
    cdef int finish_round(self) except -1
    cdef int check_thread(self) except -1
    cdef int say(self, str kind, Process process, object detail) except -1
    cdef int signal(self, Process process, PID source, str reason, Result result) except -1


cdef double now() noexcept nogil
cdef Event new_event(str kind, object sender, str reason, Result result, object ref)
cdef Process find_process(Scheduler scheduler, object dest)
cdef Process running_process()
cpdef Scheduler current_scheduler()
cpdef Process resolve(object dest)
