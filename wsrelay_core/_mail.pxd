"""Processes that have mailboxes."""

cimport cython

from wsrelay_core._inbox cimport Inbox
from wsrelay_core._mailbox cimport Meter
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Process


cdef class MailProcess(Process):
    cdef readonly Meter meter    # of all its inboxes together
    cdef Inbox box               # made by the first message or `inbox()`; None after the end
    cdef Inbox event_box
    cdef dict topics             # topic -> Inbox of `listen`, or None
    cdef bint events_opened      # a cancel comes as an event

    cdef bint post(self, str topic, object payload, PID sender, Py_ssize_t size,
                   bint always) except -1
    cdef Inbox box_of(self, str topic)
    cdef Inbox new_inbox(self)
    cdef Inbox new_event_box(self)
    cdef int shut_boxes(self) except -1
