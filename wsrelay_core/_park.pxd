"""What a waiting task awaits."""

cimport cython

from wsrelay_core._flag cimport flag
from wsrelay_core._mailbox cimport Waiter
from wsrelay_core._process cimport Process


@cython.final
cdef class Park(Waiter):
    # What a waiting task awaits: as much of a future as asyncio.Task asks for.
    cdef Process owner  # set when the process's own task waits: woken by the scheduler
    cdef object loop
    cdef object callback         # the task's wake-up, while it waits
    cdef object context
    cdef object cancel_message
    cdef public flag _asyncio_future_blocking
    cdef flag woken
    cdef flag timed_out
    cdef flag cancel_requested

    cdef int begin(self) except -1
    cdef int call_back(self) except -1


cdef Park new_park(Process owner, object loop)
cdef object exception_of(object kind, object value, object traceback)
cdef object pause(object loop, object awaited)
