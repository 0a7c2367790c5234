"""A WebSocket connection: a process whose mailbox is a socket."""

from wsrelay_core._receiving cimport Receiving


cdef class Connection(Receiving):
    cdef int act(self, int action, double when) except -1
    cdef int send_ping(self, double when) except -1
