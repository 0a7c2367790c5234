"""The inbox of a process, and what waiting for mail is made of."""

cimport cython

from cpython.object cimport PyObject

from wsrelay_core._flag cimport flag
from wsrelay_core._mailbox cimport Mailbox
from wsrelay_core._park cimport Park
from wsrelay_core._hand cimport HandProcess


@cython.final
cdef class Inbox(Mailbox):
    cdef HandProcess owner
    cdef Receive spare              # the last plain wait, to be used again while the owner lives
    cdef unsigned long long served  # when a select last took from it, in selects

    cdef int settle_hand(self) except -1
    cdef int stop_taking_all(self) except -1
    cdef PyObject* new_receive(self, bint iterating) except NULL
    cdef Receive special_receive(self, object timeout)


@cython.final
cdef class Receive:
    # One wait for mail: awaitable and its own iterator.
    cdef Inbox inbox             # the only inbox, or None for a select
    cdef tuple inboxes
    cdef object match            # predicate of a selective receive, or None
    cdef object timeout          # seconds, or None
    cdef double until
    cdef object timer
    cdef Park park               # while it waits
    cdef flag simple             # one inbox, no predicate, no timeout
    cdef flag in_front           # it lost an item kept for it: it keeps its place in the queue
    cdef flag iterating
    cdef flag finished
    cdef flag by_hand            # it waits, and what comes is put into the owner's hand

    cdef int poll(self, PyObject** result) except? -1
    cdef int poll_slowly(self, PyObject** result) except? -1
    cdef bint find(self, PyObject** result) except -1
    cdef bint find_any(self, PyObject** result) except -1
    cdef bint find_match(self, Inbox inbox, PyObject** result) except -1
    cdef int wait(self, PyObject** result) except? -1
    cdef bint may_wait_by_hand(self) except -1
    cdef int settle_hands(self) except -1
    cdef bint check_open(self) except -1
    cdef Inbox one_inbox(self)
    cdef int join_waiters(self) except -1
    cdef int start_timer(self, Park park) except -1
    cdef int stop_waiting(self) except -1
    cdef int finish(self) except -1
