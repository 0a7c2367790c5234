"""Messages, the ring they wait in, and the marks that tell when it is too full."""

cimport cython


@cython.final
cdef class Message:
    cdef readonly str topic
    cdef readonly object payload  # the one payload; a tuple if several were sent; None if none
    cdef readonly object sender   # PID, or None when the system or outside code sent it
    cdef object reply_to          # future of a `call`, or None; given up when the reply is made
    cdef Py_ssize_t size          # bytes of client data that it carries, 0 for all other mail


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
    cdef Py_ssize_t high_count           # high-water marks; see set_limit
    cdef Py_ssize_t high_size
    cdef readonly Py_ssize_t dropped
    cdef readonly unsigned long long handled
    cdef object gate                     # where connections wait for room (`open()` it); or None

    cdef bint is_high(self) noexcept
    cdef bint is_low(self) noexcept
    cdef int set_limit(self, Py_ssize_t limit) except -1


cdef class Mailbox:
    cdef list ring            # capacity is a power of two; None until the first item
    cdef Py_ssize_t head
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t reserved  # items kept for woken waiters that have not run yet
    cdef Waiter first         # the waiter that came first; the others are in `more`
    cdef list more
    cdef list selective       # waiters that must look at each new item themselves
    cdef Meter meter          # None for mail that is not counted (events)
    cdef readonly bint closed

    cdef int put(self, object item) except -1
    cdef object take(self)
    cdef object take_at(self, Py_ssize_t index)
    cdef object peek(self, Py_ssize_t index)

    cdef int grow(self) except -1
    cdef int removed(self, object item) except -1
    cdef int shift(self) except -1
    cdef int add_waiter(self, Waiter waiter, bint in_front) except -1
    cdef int remove_waiter(self, Waiter waiter) except -1
    cdef int settle(self, Waiter waiter) except -1
    cdef int wake_first(self) except -1
    cdef int pour_into(self, Mailbox other) except -1
    cdef int discard(self) except -1
    cdef int shut(self, bint discard) except -1


cdef str short(object payload)
