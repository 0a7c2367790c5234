"""The run queue of one App on one loop, its drains, and its shared timers."""

cimport cython

from wsrelay_core._pid cimport PID, ProcessTable

cdef extern from *:
    """
    static inline unsigned long wsrelay_thread(void) { return PyThreadState_Get()->thread_id; }
    """
    unsigned long this_thread "wsrelay_thread"()  # as `threading.get_ident`


cdef enum:
    READ_SIZE = 128 * 1024   # bytes of one read
    SHORT_READ = 16 * 1024   # the same for a connection whose last bytes took too long


cdef class Schedulable:
    # What the scheduler calls; every process is one. All do nothing here.
    cdef int step(self) except -1                      # from the run queue
    cdef int flush(self) except -1                     # once at the end of a drain
    cdef int after_drain(self) except -1               # after the flush
    cdef int on_time(self, double when) except -1      # from the timer wheel
    cdef int on_signal(self, PID source, str reason, object result) except -1  # link signal


@cython.final
cdef class TimerWheel:
    # Coarse timers shared by all connections: one TimerHandle for the nearest tick, none for each.
    cdef Scheduler scheduler
    cdef dict slots           # tick number -> {item: None}, what is due then
    cdef long long armed      # tick of the TimerHandle, 0 when there is none
    cdef object handle

    cdef long long add(self, Schedulable item, double when) except -1
    cdef int remove(self, Schedulable item, long long tick) except -1


@cython.final
cdef class Scheduler:
    cdef readonly object loop
    cdef readonly object app          # what the App gave itself as
    cdef readonly ProcessTable table
    cdef readonly TimerWheel timers
    cdef readonly bint running
    cdef readonly dict entries        # names of functions that were spawned; see _spawn
    cdef object report                # callable(kind, process, detail): the App's log
    cdef object clock                 # callable that returns seconds, or None for the system's
    cdef readonly object context      # context of drains and timers; never that of a process
    cdef unsigned long thread
    cdef str lost                     # why the loop is not ours any more (fork, closed), or None
    cdef Schedulable stepping         # whose coroutine runs right now, or None
    cdef list ready                   # to step in the next round
    cdef list rest                    # of a round that was cut short, or None; from here on:
    cdef Py_ssize_t rest_begin
    cdef list dirty                   # output that waits for the end of the drain
    cdef list ending                  # something to do after the flush
    cdef list behind                  # connections and gates that wait for their turn
    cdef list signals                 # link signals that wait for their turn
    cdef object call_soon             # loop.call_soon and drain, bound once
    cdef object bound_drain
    cdef object bound_catch_up        # the same for those behind
    cdef bint catching_up             # and it is scheduled, or runs
    cdef double share                 # of a turn for all who are behind, seconds
    cdef double overdue               # when they have waited long enough, by the clock
    cdef Py_ssize_t reads             # of sockets, since it ran last
    cdef Py_ssize_t reads_undrained   # reads since the last drain
    cdef double early_began           # when the first drain of this turn came early, or 0
    cdef double early_spent           # seconds that those of this turn took
    cdef bint signalling              # and are being brought
    cdef bint scheduled
    cdef bint draining
    cdef readonly dict unfinished     # ended processes whose coroutine still runs -> None
    cdef readonly bytearray read_buffer  # shared by all connections of the loop
    cdef readonly object read_view    # the same: the loop's TLS cuts it, and a cut bytearray copies
    cdef readonly object short_view   # its beginning
    cdef Py_ssize_t pinned            # bytes that unfinished client messages hold, all together
    cdef dict pinning                 # connections that hold some of them -> None
    cdef readonly dict lingering      # ended connections whose TCP has not ended yet -> None

    cdef double now(self) except -1
    cdef int enqueue(self, Schedulable item) except -1
    cdef int mark_dirty(self, Schedulable item) except -1
    cdef int mark_ending(self, Schedulable item) except -1
    cdef int mark_behind(self, Schedulable item) except -1
    cdef int wake(self) except -1
    cdef int order(self, object callback) except -1
    cdef int after_read(self) except -1
    cdef int drain_early(self) except -1
    cdef int step_all(self, double until) except -1
    cdef int finish_drain(self) except -1
    cdef bint has_ready(self) noexcept
    cdef int put_back(self, list batch, Py_ssize_t index) except -1
    cdef inline int check_thread(self) except -1:
        if this_thread() != self.thread:
            self.refuse_thread()
        return 0

    cdef int step_behind(self, double until) except -1
    cdef int lose(self, str why) except -1
    cdef int refuse_thread(self) except -1
    cdef int say(self, str kind, Schedulable process, object detail) except -1
    cdef int signal(self, Schedulable process, PID source, str reason, object result) except -1
    cdef int bring_signals(self) except -1


cdef double monotonic() noexcept nogil
cdef list running_schedulers
