"""What a waiting task awaits."""

cimport cython

from wsrelay_core._mailbox cimport Waiter
from wsrelay_core._process cimport Process


@cython.final
cdef class Park(Waiter):
    # What a waiting task awaits: as much of a future as asyncio.Task asks for.
    cdef public bint _asyncio_future_blocking
    cdef Process owner  # set when the process's own task waits: woken by the scheduler
    cdef object loop
    cdef object callback         # the task's wake-up, while it waits
    cdef object context
    cdef bint woken
    cdef bint timed_out
    cdef bint cancel_requested
    cdef object cancel_message

    cdef int begin(self) except -1
    cdef int call_back(self) except -1


cdef Park new_park(Process owner, object loop)
cdef object exception_of(object kind, object value, object traceback)
cdef object pause(object loop, object awaited)
