"""The bounded queue of frames towards one client."""

cimport cython

from wsrelay_core._flag cimport flag

cdef enum:
    DROPPED = 0
    ACCEPTED = 1
    OVERFULL = 2

cdef enum:
    POLICY_CLOSE = 0
    POLICY_DROP_NEWEST = 1
    POLICY_DROP_OLDEST = 2


@cython.final
cdef class Outbox:
    cdef object transport
    cdef int socket                   # descriptor for writes without the transport, or -1
    cdef signed char policy
    cdef flag last                    # nothing is written behind what is queued
    cdef flag behind                  # the transport may hold what came before
    cdef readonly flag dropping       # frames were dropped since the client last caught up
    cdef flag untold                  # and nobody was told of it yet
    cdef readonly flag paused         # the transport asked to wait
    cdef bytes only                   # the one frame not yet given to the transport, or None
    cdef list frames                  # all of them when there are more, or were; else None
    cdef Py_ssize_t size              # what they cost, in bytes
    cdef Py_ssize_t control           # the part of `size` that no policy may drop
    cdef Py_ssize_t backlog           # bytes that the transport could not write yet
    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t high_water
    cdef readonly unsigned long long written    # bytes given to the transport
    cdef readonly unsigned long long dropped    # frames, by the policy
    cdef readonly unsigned long long withdrawn  # those of them that had been accepted
    cdef readonly object broken       # exception of a write, or None
    cdef bytes pong                   # while paused only the newest one is kept
    cdef list waiting                 # (below, future) of `drained`, or None

    cpdef int start(self, object transport, int descriptor=*) except -1
    cpdef int put(self, bytes frame) except -1
    cpdef int put_control(self, bytes frame) except -1
    cpdef int put_pong(self, bytes frame) except -1
    cdef int put_over(self, bytes frame, Py_ssize_t cost) except -1
    cdef int append(self, bytes frame, Py_ssize_t cost) except -1
    cdef bint drop_oldest(self, Py_ssize_t room) except -1
    cpdef int flush(self) except -1
    cpdef int write_out(self) except -1
    cdef int write_all(self) except -1
    cdef int write_part(self) except -1
    cdef int give(self, bytes data) except -1
    cdef list listed(self)
    cdef Py_ssize_t count(self) except -1
    cpdef int pause(self) except -1
    cpdef int resume(self) except -1
    cdef bint caught_up(self) except -1
    cdef int measure(self) except -1
    cpdef object below(self, Py_ssize_t limit, object future)
    cdef int settle_waiting(self) except -1
    cpdef int fail_waiting(self, str why) except -1
    cpdef int close(self) except -1
    cpdef Py_ssize_t queued(self) noexcept
