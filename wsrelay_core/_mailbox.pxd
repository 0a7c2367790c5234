"""Messages, the ring they wait in, and the marks that tell when it is too full."""

cimport cython
from cpython.object cimport PyObject


@cython.final
cdef class Message:
    cdef readonly str topic
    cdef readonly object payload  # the one payload; a tuple if several were sent; None if none
    cdef readonly object sender   # PID, or None when the system or outside code sent it
    cdef object reply_to          # future of a `call`, or None; given up when the reply is made


cdef struct Mail:
    # One item that waits; the mailbox owns the references. A message waits as its parts and becomes
    # a Message when it is taken: the collector has nothing to track, however many wait.
    PyObject* topic    # or the item itself (an Event, a call), and then there is no payload
    PyObject* payload  # NULL: `topic` is the item
    PyObject* sender   # NULL: `topic` is the item
    Py_ssize_t size    # bytes of client data that it carries, 0 for all other mail


cdef class Waiter:
    """Somebody who waits for mail in one or several mailboxes."""

    cdef Mailbox reserved_in  # the mailbox that woke it and keeps one item for it; else None

    cdef int wake(self) except -1


@cython.final
cdef class Meter:
    """What all mailboxes of one process hold together, and who must pause because of it."""

    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t limit       # mailbox_max, 0 for no limit
    cdef Py_ssize_t high_count           # high-water mark; see set_limit
    cdef readonly Py_ssize_t dropped
    cdef readonly unsigned long long handled
    cdef object gate                     # where connections wait for room (`open()` it); or None

    cdef bint is_high(self) noexcept
    cdef bint is_low(self) noexcept
    cdef int set_limit(self, Py_ssize_t limit) except -1


cdef class Mailbox:
    cdef Mail* ring           # NULL until the first item
    cdef Py_ssize_t capacity  # of the ring: a power of two, or 0
    cdef Py_ssize_t head
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t reserved  # items kept for woken waiters that have not run yet
    cdef Waiter first         # the waiter that came first; the others are in `more`
    cdef list more
    cdef list selective       # waiters that must look at each new item themselves
    cdef Meter meter          # None for mail that is not counted (events)
    cdef readonly bint closed

    cdef int put(self, object item) except -1
    cdef int put_message(self, str topic, object payload, object sender,
                         Py_ssize_t size) except -1
    cdef object take(self)
    cdef object take_at(self, Py_ssize_t index)
    cdef object peek(self, Py_ssize_t index)

    cdef int grow(self) except -1
    cdef int shift(self) except -1
    cdef int add_waiter(self, Waiter waiter, bint in_front) except -1
    cdef int remove_waiter(self, Waiter waiter) except -1
    cdef int settle(self, Waiter waiter) except -1
    cdef int wake_first(self) except -1
    cdef int pour_into(self, Mailbox other) except -1
    cdef int discard(self) except -1
    cdef int shut(self, bint discard) except -1


cdef Message new_message(str topic, object payload, object sender)
cdef str short(object payload)
