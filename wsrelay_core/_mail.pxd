"""Processes that have mailboxes."""

cimport cython

from wsrelay_core._inbox cimport Inbox
from wsrelay_core._pid cimport PID
from wsrelay_core._hand cimport HandProcess


cdef class MailProcess(HandProcess):
    cdef Inbox box               # made by the first message or `inbox()`; None after the end
    cdef Inbox event_box
    cdef dict topics             # topic -> Inbox of `listen`, or None

    cdef bint post(self, str topic, object payload, PID sender, Py_ssize_t size,
                   bint always) except -1
    cdef Inbox box_of(self, str topic)
    cdef Inbox new_inbox(self)
    cdef Inbox first_inbox(self)
    cdef Inbox new_event_box(self)
    cdef int shut_boxes(self) except -1
