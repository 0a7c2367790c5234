"""Messages, the ring they wait in, and the marks that tell when it is too full."""

from asyncio import _get_running_loop

from wsrelay_core._errors import WrongThread, WSRelayError

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject, PyTypeObject, inquiry, traverseproc, visitproc
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.string cimport memcpy

from wsrelay_core._slots cimport take_object

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        const char* name
        int type
        Py_ssize_t offset
        int flags
    int T_OBJECT_EX, READONLY
    object PyDescr_NewMember(PyTypeObject* type, PyMemberDef* member)
    void PyType_Modified(PyTypeObject* type)

cdef extern from *:
    # Cython's name of the struct of a Message, which it does not tell.
    Py_ssize_t TOPIC "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, topic)"
    Py_ssize_t PAYLOAD "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, payload)"
    Py_ssize_t SENDER "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, sender)"

cdef Py_ssize_t FIRST_CAPACITY = 2         # most have one message at a time
cdef Py_ssize_t KEPT_CAPACITY = 64        # an empty ring larger than this is given back
cdef Py_ssize_t SPARE_CAPACITY = 16384    # and one up to this is kept for whoever grows next
cdef Py_ssize_t HIGH_COUNT = 1024         # rule 5 of the process semantics
cdef Py_ssize_t HIGH_SIZE = 8 * 1024 * 1024
cdef Py_ssize_t SHOWN = 60                # characters of a payload in a repr


@cython.final
@cython.freelist(256)
cdef class Message:
    """One message in an inbox: `topic`, `payload`, `sender`, and `reply()` for calls."""

    def reply(self, value) -> bool:
        """Answer the `call` that sent this message; returns whether the caller still waits.

        Raises:
            WSRelayError: the message is no call.
            WrongThread: called from another thread than the one that runs the loop.
        """
        if self.reply_to is None:
            raise WSRelayError(f"message {self.topic!r} is no call: nobody waits for a reply")
        if self.reply_to is False:
            return False
        if self.reply_to.get_loop() is not _get_running_loop():
            raise WrongThread("reply in the thread of the App's loop")
        future, self.reply_to = self.reply_to, False
        if future.done():
            return False
        future.set_result(value)
        return True

    def __repr__(self):
        return f"<Message {self.topic!r} {short(self.payload)} from {self.sender or 'outside'}>"


cdef inline void give_field(Message message, Py_ssize_t offset, PyObject* value) noexcept:
    """Set a field to a reference that the message owns from now on."""
    cdef PyObject** field = <PyObject**>(<char*><PyObject*>message + offset)
    cdef PyObject* old = field[0]
    field[0] = value
    Py_DECREF(<object>old)


cdef inline Message message_of(Mail* mail):
    """The Message that a mail is, with its references."""
    cdef Message message = Message.__new__(Message)
    give_field(message, TOPIC, mail.topic)
    give_field(message, PAYLOAD, mail.payload)
    give_field(message, SENDER, mail.sender)
    return message


cdef Message new_message(str topic, object payload, object sender):
    cdef Message message = Message.__new__(Message)
    message.topic = topic
    message.payload = payload
    message.sender = sender
    return message


cdef str short(object payload):
    """A payload in a few characters, even a huge one, and one whose own repr fails."""
    cut = payload[:SHOWN] if isinstance(payload, (str, bytes)) else payload
    try:
        text = repr(cut)
    except Exception:
        return f"<{type(payload).__name__}, whose repr fails>"
    return text if len(text) <= SHOWN and cut is payload else text[:SHOWN - 1] + "…"


cdef class Waiter:
    cdef int wake(self) except -1:
        return 0


@cython.final
@cython.freelist(64)
cdef class Meter:
    def __cinit__(self):
        self.high_count = HIGH_COUNT

    cdef bint is_high(self) noexcept:
        return self.count >= self.high_count or self.size >= HIGH_SIZE

    cdef bint is_low(self) noexcept:
        return self.count * 2 < self.high_count and self.size * 2 < HIGH_SIZE

    cdef int set_limit(self, Py_ssize_t limit) except -1:
        """Bound the number of messages; the high-water mark is then half of it."""
        self.limit = limit
        self.high_count = min(HIGH_COUNT, max(1, limit // 2)) if limit else HIGH_COUNT
        return 0


# -- the ring: functions, so that they are inlined -------------------------------------------------


cdef inline Mail* at(Mailbox box, Py_ssize_t index) noexcept:
    return &box.ring[(box.head + index) & (box.capacity - 1)]


cdef inline Mail* new_place(Mailbox box) except NULL:
    """The place behind the newest item; good until anything else is done with the mailbox."""
    if box.count == box.capacity:
        box.grow()
    return at(box, box.count)


cdef inline int added(Mailbox box, Py_ssize_t size) except -1:
    """The new place has an item now."""
    box.count += 1
    if box.meter is not None:
        box.meter.count += 1
        box.meter.size += size
    if box.selective is not None:
        for waiter in list(box.selective):
            (<Waiter>waiter).wake()
    if box.first is not None:
        box.wake_first()
    return 0


cdef inline int remove_oldest(Mailbox box) except -1:
    """The oldest place has no item any more: what it had belongs to the caller."""
    cdef Py_ssize_t size = box.ring[box.head].size
    box.head = (box.head + 1) & (box.capacity - 1)
    box.count -= 1
    if box.count == 0 and box.capacity > KEPT_CAPACITY:
        give_back(box)
    if box.meter is not None:
        box.meter.count -= 1
        box.meter.handled += 1
        box.meter.size -= size
        if box.meter.gate is not None and box.meter.is_low():
            box.meter.gate.open()
    return 0


# A mailbox that is filled and emptied by turns would grow from nothing each time, and have the
# system clear the pages. So one large ring of all that were emptied waits for the next need.
cdef Mail* spare = NULL
cdef Py_ssize_t spare_capacity = 0


cdef int give_back(Mailbox box) except -1:
    """Take the empty ring from a mailbox; the larger one of two is kept."""
    global spare, spare_capacity
    cdef Mail* ring = box.ring
    if spare_capacity < box.capacity <= SPARE_CAPACITY:
        ring, spare = spare, ring
        spare_capacity = box.capacity
    PyMem_Free(ring)
    box.ring = NULL
    box.capacity = box.head = 0
    return 0


cdef Mail* new_ring(Py_ssize_t* capacity) except NULL:
    """A ring of at least a capacity, which is set to what it has."""
    global spare, spare_capacity
    cdef Mail* ring
    if capacity[0] > KEPT_CAPACITY and capacity[0] <= spare_capacity:
        ring, spare = spare, NULL
        capacity[0], spare_capacity = spare_capacity, 0
        return ring
    ring = <Mail*>PyMem_Malloc(<size_t>capacity[0] * sizeof(Mail))
    if ring is NULL:
        raise MemoryError()
    return ring


cdef class Mailbox:
    def __dealloc__(self):
        self.discard()

    cdef int put(self, object item) except -1:
        """Append an item that is an object already, and wake who waits for it."""
        cdef Mail* mail = new_place(self)
        Py_INCREF(item)
        mail.topic = <PyObject*>item
        mail.payload = mail.sender = NULL
        mail.size = 0
        return added(self, 0)

    cdef int put_message(self, str topic, object payload, object sender,
                         Py_ssize_t size) except -1:
        """Append a message, and wake who waits for it."""
        cdef Mail* mail = new_place(self)
        Py_INCREF(topic)
        Py_INCREF(payload)
        Py_INCREF(sender)
        mail.topic = <PyObject*>topic
        mail.payload = <PyObject*>payload
        mail.sender = <PyObject*>sender
        mail.size = size
        return added(self, size)

    cdef int grow(self) except -1:
        cdef Py_ssize_t capacity = self.capacity * 2 if self.capacity else FIRST_CAPACITY
        cdef Py_ssize_t until_end = self.capacity - self.head
        cdef Mail* ring = new_ring(&capacity)
        if self.ring is not NULL:
            memcpy(ring, self.ring + self.head, <size_t>until_end * sizeof(Mail))
            memcpy(ring + until_end, self.ring, <size_t>self.head * sizeof(Mail))
            PyMem_Free(self.ring)
        self.ring = ring
        self.capacity = capacity
        self.head = 0
        return 0

    cdef object take(self):
        """Remove and return the oldest item; there must be one."""
        # Out of the ring first: to make a Message may run the collector, and with it any code.
        cdef Mail mail = self.ring[self.head]
        remove_oldest(self)
        if mail.payload is NULL:
            return take_object(mail.topic)
        return message_of(&mail)

    cdef object peek(self, Py_ssize_t index):
        """The item at a place, which is an object from now on; None if there is none."""
        cdef Message message
        cdef Mail* mail
        if index < self.count and at(self, index).payload is not NULL:
            message = Message.__new__(Message)  # the collector may run, and with it any code
            mail = at(self, index)
            if index < self.count and mail.payload is not NULL:
                message.topic = <str>take_object(mail.topic)
                message.payload = take_object(mail.payload)
                message.sender = take_object(mail.sender)
                Py_INCREF(message)
                mail.topic = <PyObject*>message
                mail.payload = mail.sender = NULL
        return <object>at(self, index).topic if index < self.count else None

    cdef object take_at(self, Py_ssize_t index):
        """Remove and return one item from the middle; the others keep their order."""
        cdef Mail mail = at(self, index)[0]
        while index > 0:
            at(self, index)[0] = at(self, index - 1)[0]
            index -= 1
        at(self, 0)[0] = mail
        return self.take()

    cdef int discard(self) except -1:
        """Drop what is in it."""
        cdef Mail* ring = self.ring
        cdef Py_ssize_t capacity = self.capacity, head = self.head, count = self.count
        cdef Py_ssize_t index
        if self.meter is not None:
            self.meter.count -= count
            for index in range(count):
                self.meter.size -= at(self, index).size
        self.ring = NULL
        self.capacity = self.head = self.count = 0
        # Last, as what is dropped may have finalizers, which may run any code.
        release(ring, capacity, head, count)
        return 0

    cdef int add_waiter(self, Waiter waiter, bint in_front) except -1:
        if self.first is None:
            self.first = waiter
        elif in_front:
            if self.more is None:
                self.more = []
            self.more.insert(0, self.first)
            self.first = waiter
        elif self.more is None:
            self.more = [waiter]
        else:
            self.more.append(waiter)
        return 0

    cdef int remove_waiter(self, Waiter waiter) except -1:
        """Forget a waiter that was not woken by this mailbox."""
        if self.first is waiter:
            self.shift()
        elif self.more is not None and waiter in self.more:
            self.more.remove(waiter)
            if not self.more:
                self.more = None
        return 0

    cdef int shift(self) except -1:
        self.first = None
        if self.more is not None:
            self.first = self.more.pop(0)
            if not self.more:
                self.more = None
        return 0

    cdef int settle(self, Waiter waiter) except -1:
        """A woken waiter has run (or gave up): its item is free again for whoever comes first."""
        waiter.reserved_in = None
        self.reserved -= 1
        return 0

    cdef int wake_first(self) except -1:
        """Wake the first waiter and keep an item for it, if there is a free one."""
        cdef Waiter waiter
        while self.first is not None and self.count > self.reserved:
            waiter = self.first
            self.shift()
            if waiter.reserved_in is None:  # else it has its item: in another box of a select
                self.reserved += 1
                waiter.reserved_in = self
                waiter.wake()
                return 0
        return 0

    cdef int pour_into(self, Mailbox other) except -1:
        """Move everything to the end of another mailbox of the same meter."""
        cdef Meter meter = self.meter
        self.meter = other.meter = None  # neither taken nor new: only moved
        try:
            while self.count:
                new_place(other)[0] = self.ring[self.head]
                remove_oldest(self)
                added(other, 0)
        finally:
            self.meter = other.meter = meter
        return 0

    cdef int shut(self, bint discard) except -1:
        """Accept nothing more; wake everybody. With `discard` what is in it is dropped."""
        cdef Waiter waiter
        self.closed = True
        if discard:
            self.discard()
        while self.first is not None:
            waiter = self.first
            self.shift()
            waiter.wake()
        if self.selective is not None:
            for other in list(self.selective):
                (<Waiter>other).wake()
        return 0


cdef void release(Mail* ring, Py_ssize_t capacity, Py_ssize_t head, Py_ssize_t count) noexcept:
    """Give back a ring that no mailbox has any more, and what is in it."""
    cdef Mail* mail
    cdef Py_ssize_t index
    for index in range(head, head + count):
        mail = &ring[index & (capacity - 1)]
        Py_XDECREF(mail.topic)
        Py_XDECREF(mail.payload)
        Py_XDECREF(mail.sender)
    PyMem_Free(ring)


# The collector must see what waits, and break the cycles that go through it. Cython writes the
# slots that show it the Python attributes; ours show it the ring too.

cdef traverseproc traverse_attributes = (<PyTypeObject*>Mailbox).tp_traverse
cdef inquiry clear_attributes = (<PyTypeObject*>Mailbox).tp_clear


cdef int show(PyObject* part, visitproc visit, void* arg) except -1:
    return 0 if part is NULL else visit(part, arg)


cdef int traverse_mailbox(PyObject* self, visitproc visit, void* arg) except -1:
    cdef Mailbox box = <Mailbox>self
    cdef Mail* mail
    cdef Py_ssize_t index
    cdef int stop
    for index in range(box.count):
        mail = at(box, index)
        stop = (show(mail.topic, visit, arg) or show(mail.payload, visit, arg)
                or show(mail.sender, visit, arg))
        if stop:
            return stop
    return traverse_attributes(self, visit, arg)


cdef int clear_mailbox(object self) except -1:
    (<Mailbox>self).discard()
    return clear_attributes(self)


(<PyTypeObject*>Mailbox).tp_traverse = traverse_mailbox
(<PyTypeObject*>Mailbox).tp_clear = clear_mailbox


# Cython makes a getter of a `readonly` attribute, a call for each look. What a member descriptor
# names, the interpreter reads in place.

cdef PyMemberDef message_fields[3]
message_fields[0] = PyMemberDef(b"topic", T_OBJECT_EX, TOPIC, READONLY)
message_fields[1] = PyMemberDef(b"payload", T_OBJECT_EX, PAYLOAD, READONLY)
message_fields[2] = PyMemberDef(b"sender", T_OBJECT_EX, SENDER, READONLY)


cdef int read_in_place(PyTypeObject* kind, PyMemberDef* fields, int count) except -1:
    cdef int index
    for index in range(count):
        attributes = <dict><object>kind.tp_dict
        attributes[fields[index].name.decode()] = PyDescr_NewMember(kind, &fields[index])
    PyType_Modified(kind)
    return 0


read_in_place(<PyTypeObject*>Message, message_fields, 3)
