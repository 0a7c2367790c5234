"""A WebSocket connection: a process whose mailbox is a socket."""

cimport cython

from wsrelay_core._receiving cimport Receiving


@cython.final
cdef class ConnectionSettings:
    cdef Py_ssize_t queue_max
    cdef str queue_policy
    cdef Py_ssize_t message_max
    cdef double message_timeout
    cdef double ping_interval
    cdef double ping_timeout
    cdef double idle_timeout
    cdef double close_timeout
    cdef bint raw


cdef class Connection(Receiving):
    cdef int act(self, int action, double when) except -1
    cdef int send_ping(self, double when) except -1
