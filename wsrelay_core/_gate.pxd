"""Connections that wait until their target has room for more mail."""

cimport cython

from wsrelay_core._hand cimport HandProcess
from wsrelay_core._scheduler cimport Schedulable, Scheduler


@cython.final
cdef class Gate(Schedulable):
    cdef Scheduler scheduler
    cdef HandProcess target      # its `gate` is this one while somebody waits
    cdef object waiting       # connection -> None, first come first; an OrderedDict
    cdef bint called          # a turn of the run queue is ordered

    cdef int add(self, Schedulable feeder) except -1
    cdef int drop(self, Schedulable feeder) except -1
    cdef int settle(self) except -1


cdef Gate gate_of(HandProcess target)
