"""PIDs and the table that finds a process by its PID or its name."""

cimport cython
from cpython.object cimport PyObject


@cython.final
cdef class PID(str):
    # The living process of this PID, so that `send(pid, …)` needs no look-up; NULL for a PID that
    # was read from text. The process sets it when it starts and clears it when it ends; the table
    # owns the process meanwhile. So a PID is part of no cycle, and nothing to the collector.
    cdef PyObject* record


@cython.final
cdef class ProcessTable:
    cdef dict by_pid   # PID text -> Process, every living process of one App
    cdef dict by_name  # registered name -> Process

    cdef int add(self, PID pid, object process) except -1
    cdef int remove(self, PID pid, list names) except -1
    cdef object find(self, object dest)
    cdef int forget(self) except -1


cdef PID new_pid(str host)
cdef str new_text(str host)
cdef object plain_dest(object dest)
cdef bint is_pid_shaped(str text) except -1
