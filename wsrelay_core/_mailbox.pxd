"""Messages, the ring they wait in, and the marks that tell when it is too full."""

cimport cython
from cpython.object cimport PyObject, visitproc
from cpython.ref cimport Py_INCREF

from wsrelay_core._flag cimport flag


@cython.final
cdef class Message:
    cdef readonly str topic
    cdef readonly object payload  # the one payload; a tuple if several were sent; None if none
    cdef readonly object sender   # PID, or None when the system or outside code sent it
    cdef object reply_to          # future of a `call`, or None; given up when the reply is made


cdef struct Mail:
    # One item that waits; whoever keeps it owns the references. A message waits as its parts and
    # becomes a Message when it is taken: the collector has nothing to track, however many wait.
    PyObject* topic    # or the item itself (an Event, a call), and then there is no payload
    PyObject* payload  # NULL: `topic` is the item
    PyObject* sender   # NULL: `topic` is the item
    Py_ssize_t size    # bytes of client data that it carries, 0 for all other mail


cdef enum:
    # Where the next message to a process goes. Nearly always it waits for one in its inbox, and
    # nobody else does: then it is put into its hand, past the mailbox. What comes behind that one
    # waits in the mailbox. Whoever else looks there has it settled first (`Inbox.settle_hand`).
    NO_HAND      # into the mailbox
    EMPTY_HAND   # into the hand
    FULL_HAND    # into the mailbox; the hand has one, and the process is in the run queue


cdef struct Meter:
    # What all mailboxes of one process have together.
    Py_ssize_t count
    Py_ssize_t size
    Py_ssize_t limit              # mailbox_max, 0 for no limit
    Py_ssize_t dropped
    unsigned long long handled
    int streak                    # items that were taken in a row without giving way
    flag gated                    # somebody waits for room: `has_room` is to be told
    unsigned char hand


cdef class Waiter:
    """Somebody who waits for mail in one or several mailboxes."""

    cdef Mailbox reserved_in  # the mailbox that woke it and keeps one item for it; else None

    cdef int wake(self) except -1


cdef class Mailbox:
    cdef Mail* ring           # NULL until the first item
    cdef Py_ssize_t capacity  # of the ring: a power of two, or 0
    cdef Py_ssize_t head
    cdef Py_ssize_t count
    cdef Py_ssize_t reserved  # items kept for woken waiters that have not run yet
    cdef Waiter first         # the waiter that came first; the others are in `more`
    cdef list more
    cdef list selective       # waiters that must look at each new item themselves
    cdef Meter* meter         # NULL for mail that is not counted (events)
    cdef readonly flag closed
    cdef flag takes_all       # all messages to its process come here
    cdef flag opened          # of events: the process asked for them, so a cancel is one

    cdef int put(self, object item) except -1
    cdef int put_first(self, Mail* mail) except -1
    cdef PyObject* take(self) except NULL
    cdef PyObject* take_at(self, Py_ssize_t index) except NULL
    cdef object peek(self, Py_ssize_t index)

    cdef int grow(self) except -1
    cdef int shift(self) except -1
    cdef int add_waiter(self, Waiter waiter, bint in_front) except -1
    cdef int remove_waiter(self, Waiter waiter) except -1
    cdef int settle(self, Waiter waiter) except -1
    cdef int tell_waiters(self) except -1
    cdef int wake_first(self) except -1
    cdef int has_room(self) except -1
    cdef int pour_into(self, Mailbox other) except -1
    cdef int discard(self) except -1
    cdef int shut(self, bint discard) except -1

    # Here, so that who sends calls nothing for it.

    cdef inline Mail* new_place(self) except NULL:
        """The place behind the newest item; good until anything else is done with the mailbox."""
        if self.count == self.capacity:
            self.grow()
        return &self.ring[(self.head + self.count) & (self.capacity - 1)]

    cdef inline int added(self, Py_ssize_t size) except -1:
        """The new place has an item now."""
        self.count += 1
        if self.meter is not NULL:
            self.meter.count += 1
            self.meter.size += size
        if self.first is not None or self.selective is not None:
            self.tell_waiters()
        return 0

    cdef inline int put_message(self, str topic, object payload, object sender,
                                Py_ssize_t size) except -1:
        """Append a message, and wake who waits for it."""
        fill(self.new_place(), topic, payload, sender, size)
        return self.added(size)


cdef inline void fill(Mail* mail, str topic, object payload, object sender,
                      Py_ssize_t size) noexcept:
    """Make a place a message, which owns its parts."""
    Py_INCREF(topic)
    Py_INCREF(payload)
    Py_INCREF(sender)
    mail.topic = <PyObject*>topic
    mail.payload = <PyObject*>payload
    mail.sender = <PyObject*>sender
    mail.size = size


cdef bint is_high(Meter* meter) noexcept
cdef bint is_low(Meter* meter) noexcept
cdef PyObject* message_of(Mail* mail) except NULL
cdef int show_mail(Mail* mail, visitproc visit, void* arg) except -1
cdef void drop_mail(Mail* mail) noexcept
cdef Message new_message(str topic, object payload, object sender)
cdef str short(object payload)
