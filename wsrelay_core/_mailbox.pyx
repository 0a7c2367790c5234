"""Messages, the ring they wait in, and the marks that tell when it is too full."""

from asyncio import _get_running_loop

from wsrelay_core._errors import WrongThread, WSRelayError

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport (
    PyObject, destructor, inquiry, traverseproc, visitproc,
)
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.string cimport memcpy

from wsrelay_core._slots cimport take_object

cdef extern from "structmember.h":
    ctypedef struct PyTypeObject:
        PyObject* tp_dict
        PyObject* (*tp_alloc)(PyTypeObject* kind, Py_ssize_t items)
        destructor tp_dealloc
        traverseproc tp_traverse
        inquiry tp_clear
    ctypedef struct PyMemberDef:
        const char* name
        int type
        Py_ssize_t offset
        int flags
    int T_OBJECT_EX, READONLY
    object PyDescr_NewMember(PyTypeObject* type, PyMemberDef* member)
    void PyType_Modified(PyTypeObject* type)

cdef extern from *:
    const bint FREELISTS "CYTHON_USE_FREELISTS"  # not in builds that count or check objects
    void _Py_NewReference(PyObject* value)
    bint PyType_IS_GC(void* kind)
    void* Py_TYPE(PyObject* value)
    void PyObject_GC_Track(PyObject* value)
    void PyObject_GC_UnTrack(PyObject* value)
    void PyObject_GC_Del(PyObject* value)
    PyObject* Py_None
    PyObject* Py_NewRef(PyObject* value)
    # Cython's name of the struct of a Message, which it does not tell.
    Py_ssize_t TOPIC "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, topic)"
    Py_ssize_t PAYLOAD "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, payload)"
    Py_ssize_t SENDER "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, sender)"
    Py_ssize_t REPLY_TO "offsetof(struct __pyx_obj_12wsrelay_core_8_mailbox_Message, reply_to)"

cdef Py_ssize_t FIRST_CAPACITY = 2         # most have one message at a time
cdef Py_ssize_t KEPT_CAPACITY = 64        # an empty ring larger than this is given back
cdef Py_ssize_t SPARE_CAPACITY = 16384    # and one up to this is kept for whoever grows next
cdef Py_ssize_t HIGH_COUNT = 1024         # rule 5 of the process semantics
cdef Py_ssize_t HIGH_SIZE = 8 * 1024 * 1024
cdef Py_ssize_t SHOWN = 60                # characters of a payload in a repr


@cython.final
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


# A Message is made and ended for each that is received. Cython's way would clear it, fill it with
# None and take that out again.

cdef enum:
    SPARE_MESSAGES = 256  # that ended, and wait to be made again

cdef PyObject* spare_messages[SPARE_MESSAGES]
cdef int spare_count = 0


cdef inline PyObject** field(PyObject* message, Py_ssize_t offset) noexcept:
    return <PyObject**>(<char*>message + offset)


cdef PyObject* message_of(Mail* mail) except NULL:
    """The Message that a mail is, a new reference, with the references of the mail."""
    return item_of(mail)


cdef inline PyObject* item_of(Mail* mail) except NULL:
    """`message_of` without a call."""
    global spare_count
    cdef PyObject* message
    if mail.payload is NULL:
        return mail.topic
    if spare_count > 0:
        spare_count -= 1
        message = spare_messages[spare_count]
        _Py_NewReference(message)
    else:
        message = empty_message(mail)
    field(message, TOPIC)[0] = mail.topic
    field(message, PAYLOAD)[0] = mail.payload
    field(message, SENDER)[0] = mail.sender
    field(message, REPLY_TO)[0] = Py_NewRef(Py_None)
    # Of data alone no cycle can be made.
    if may_be_tracked(mail.payload) or may_be_tracked(mail.sender):
        PyObject_GC_Track(message)
    return message


cdef inline bint may_be_tracked(PyObject* value) noexcept:
    return PyType_IS_GC(Py_TYPE(value))


cdef PyObject* empty_message(Mail* mail) except NULL:
    """A new Message with nothing in it, not even None; without memory the mail is lost."""
    cdef PyObject* message = (<PyTypeObject*>Message).tp_alloc(<PyTypeObject*>Message, 0)
    if message is NULL:
        drop_mail(mail)
        raise MemoryError()
    PyObject_GC_UnTrack(message)
    return message


cdef void end_message(PyObject* message) noexcept:
    """The `tp_dealloc` of a Message."""
    global spare_count
    cdef PyObject* parts[4]
    cdef int index
    PyObject_GC_UnTrack(message)
    parts[0] = field(message, TOPIC)[0]
    parts[1] = field(message, PAYLOAD)[0]
    parts[2] = field(message, SENDER)[0]
    parts[3] = field(message, REPLY_TO)[0]
    if FREELISTS and spare_count < SPARE_MESSAGES:
        spare_messages[spare_count] = message
        spare_count += 1
    else:
        PyObject_GC_Del(message)
    # Last, as they may have finalizers, which may run any code.
    for index in range(4):
        Py_XDECREF(parts[index])


(<PyTypeObject*>Message).tp_dealloc = <destructor>end_message


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


# -- the marks -------------------------------------------------------------------------------------


cdef inline Py_ssize_t high_count(Meter* meter) noexcept:
    """The high-water mark: of a bounded mailbox half of the bound, if that is less."""
    return min(HIGH_COUNT, max(1, meter.limit // 2)) if meter.limit else HIGH_COUNT


cdef bint is_high(Meter* meter) noexcept:
    return meter.count >= high_count(meter) or meter.size >= HIGH_SIZE


cdef bint is_low(Meter* meter) noexcept:
    return meter.count * 2 < high_count(meter) and meter.size * 2 < HIGH_SIZE


# -- the ring: functions, so that they are inlined -------------------------------------------------


cdef inline Mail* at(Mailbox box, Py_ssize_t index) noexcept:
    return &box.ring[(box.head + index) & (box.capacity - 1)]


cdef inline int remove_oldest(Mailbox box) except -1:
    """The oldest place has no item any more: what it had belongs to the caller."""
    cdef Py_ssize_t size = box.ring[box.head].size
    box.head = (box.head + 1) & (box.capacity - 1)
    box.count -= 1
    if box.count == 0 and box.capacity > KEPT_CAPACITY:
        give_back(box)
    if box.meter is not NULL:
        box.meter.count -= 1
        box.meter.handled += 1
        box.meter.size -= size
        if box.meter.gated:
            box.has_room()
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
        cdef Mail* mail = self.new_place()
        Py_INCREF(item)
        mail.topic = <PyObject*>item
        mail.payload = mail.sender = NULL
        mail.size = 0
        return self.added(0)

    cdef int put_first(self, Mail* mail) except -1:
        """Put an item that is counted already before the oldest one; nobody is woken."""
        self.new_place()
        self.head = (self.head - 1) & (self.capacity - 1)
        self.ring[self.head] = mail[0]
        self.count += 1
        return 0

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

    cdef PyObject* take(self) except NULL:
        """Remove the oldest item and return it, a new reference; there must be one."""
        # Out of the ring first: to make a Message may run the collector, and with it any code.
        cdef Mail mail = self.ring[self.head]
        remove_oldest(self)
        return item_of(&mail)

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

    cdef PyObject* take_at(self, Py_ssize_t index) except NULL:
        """`take` one item from the middle; the others keep their order."""
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
        if self.meter is not NULL:
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

    cdef int tell_waiters(self) except -1:
        """There is a new item."""
        if self.selective is not None:
            for waiter in list(self.selective):
                (<Waiter>waiter).wake()
        if self.first is not None:
            self.wake_first()
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

    cdef int has_room(self) except -1:
        """An item was taken, and somebody waits for room."""
        return 0

    cdef int pour_into(self, Mailbox other) except -1:
        """Move everything to the end of another mailbox of the same meter."""
        cdef Meter* meter = self.meter
        self.meter = other.meter = NULL  # neither taken nor new: only moved
        try:
            while self.count:
                other.new_place()[0] = self.ring[self.head]
                remove_oldest(self)
                other.added(0)
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
    cdef Py_ssize_t index
    for index in range(head, head + count):
        drop_mail(&ring[index & (capacity - 1)])
    PyMem_Free(ring)


cdef void drop_mail(Mail* mail) noexcept:
    """Give back what an item owns."""
    Py_XDECREF(mail.topic)
    Py_XDECREF(mail.payload)
    Py_XDECREF(mail.sender)


# The collector must see what waits, and break the cycles that go through it. Cython writes the
# slots that show it the Python attributes; ours show it the ring too.

cdef traverseproc traverse_attributes = (<PyTypeObject*>Mailbox).tp_traverse
cdef inquiry clear_attributes = (<PyTypeObject*>Mailbox).tp_clear


cdef int show(PyObject* part, visitproc visit, void* arg) except -1:
    return 0 if part is NULL else visit(part, arg)


cdef int show_mail(Mail* mail, visitproc visit, void* arg) except -1:
    return (show(mail.topic, visit, arg) or show(mail.payload, visit, arg)
            or show(mail.sender, visit, arg))


cdef int traverse_mailbox(PyObject* self, visitproc visit, void* arg) except -1:
    cdef Mailbox box = <Mailbox>self
    cdef Py_ssize_t index
    cdef int stop
    for index in range(box.count):
        stop = show_mail(at(box, index), visit, arg)
        if stop:
            return stop
    return traverse_attributes(self, visit, arg)


cdef int clear_mailbox(object self) except -1:
    (<Mailbox>self).discard()
    (<Mailbox>self).meter = NULL  # the process, which has it, may go first
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
