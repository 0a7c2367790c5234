"""The inbox of a process, and what waiting for mail is made of.

`Receive` is the awaitable of one wait; while there is no mail it yields a `Park`, on which the task
waits as on a future. When the process's own task waits, the scheduler wakes it (see `_coroutine`);
any other task, such as a child of a TaskGroup, is woken the ordinary way, through the loop.
"""

import asyncio

from wsrelay_core._errors import InboxClosed

cimport cython
from cpython.object cimport PyObject

from wsrelay_core._mailbox cimport EMPTY_HAND, FULL_HAND, NO_HAND, Mailbox
from wsrelay_core._park cimport Park, exception_of, new_park
from wsrelay_core._hand cimport HandProcess
from wsrelay_core._scheduler cimport monotonic
from wsrelay_core._slots cimport (
    METH_FASTCALL, METH_KEYWORDS, PYGEN_NEXT, PYGEN_RETURN, PyCFunction, PyDescr_NewMethod,
    PyMethod_New, PyMethodDef, PyObject_Vectorcall, PyType_Modified, PyTypeObject, give_object,
    set_slots, stop_with, take_object,
)

cdef extern from *:
    PyObject* Py_NewRef(PyObject* value)

cdef int BUDGET = 256                  # rule 6: items in a row before others get their turn

# Counts the selects, so that the inbox that was served longest ago is served next.
cdef unsigned long long selects = 0

# Reads a timeout that is no number of seconds; see `set_duration_reader`.
cdef object read_duration = float


def set_duration_reader(reader) -> None:
    """Have `reader(value)` turn what a timeout is given as into seconds."""
    global read_duration
    read_duration = reader


cdef object seconds_of(object timeout):
    if timeout is None or type(timeout) is float and <double>timeout >= 0:
        return timeout
    return read_duration(timeout)


@cython.final
@cython.freelist(64)
cdef class Receive:
    cdef int poll(self, PyObject** result) except? -1:
        """One step of the wait: PYGEN_RETURN with the item, or PYGEN_NEXT with a Park."""
        cdef Inbox inbox = self.inbox
        cdef HandProcess owner
        if not self.simple or self.finished:
            return self.poll_slowly(result)
        owner = inbox.owner
        if self.park is None:
            if owner.meter.hand == NO_HAND:
                if inbox.count > inbox.reserved and owner.meter.streak < BUDGET:
                    owner.meter.streak += 1
                    self.finished = True
                    result[0] = inbox.take()
                    return PYGEN_RETURN
                if inbox.count == 0 and not inbox.closed:
                    return self.wait(result)
        elif self.by_hand and owner.meter.hand == FULL_HAND:
            self.park = None
            self.by_hand = False
            owner.meter.streak += 1
            self.finished = True
            result[0] = owner.take_hand()
            return PYGEN_RETURN
        elif (self.park.reserved_in is not None and owner.meter.hand == NO_HAND
                and inbox.count > 0 and inbox.first is None):
            # Woken for an item, and nobody waits behind: nothing else is to be settled.
            self.park.reserved_in = None
            self.park = None
            self.by_hand = False
            inbox.reserved -= 1
            owner.meter.streak += 1
            self.finished = True
            result[0] = inbox.take()
            return PYGEN_RETURN
        return self.poll_slowly(result)

    cdef int poll_slowly(self, PyObject** result) except? -1:
        cdef HandProcess owner = self.one_inbox().owner
        cdef bint timed_out = False
        if self.finished:
            raise RuntimeError("cannot reuse an awaited receive")
        self.settle_hands()
        if self.park is not None:
            timed_out = self.park.timed_out
            self.stop_waiting()
        elif owner.meter.streak >= BUDGET:
            # Let others run: wait, and be woken at once.
            self.wait(result)
            self.park.wake()
            return PYGEN_NEXT
        if self.find(result):
            owner.meter.streak += 1
            self.finish()
            return PYGEN_RETURN
        if timed_out:
            self.finish()
            raise TimeoutError(f"no mail within {self.timeout:g} s")
        return self.wait(result)

    cdef bint find(self, PyObject** result) except -1:
        """Take the first item that fits; raises at the closed end."""
        cdef Inbox inbox = self.inbox
        if inbox is None:
            return self.find_any(result) or self.check_open()
        if self.match is not None:
            return self.find_match(inbox, result) or self.check_open()
        if inbox.count <= inbox.reserved:
            return self.check_open()
        result[0] = inbox.take()
        return True

    cdef bint find_any(self, PyObject** result) except -1:
        """Of the inboxes of a select that have mail, take from the one served longest ago."""
        global selects
        cdef Inbox inbox, chosen = None
        for one in self.inboxes:
            inbox = <Inbox>one
            if inbox.count > inbox.reserved and (chosen is None or inbox.served < chosen.served):
                chosen = inbox
        if chosen is None:
            return False
        selects += 1
        chosen.served = selects
        give_object((chosen, take_object(chosen.take())), result)
        return True

    cdef bint find_match(self, Inbox inbox, PyObject** result) except -1:
        """The first item that fits; the predicate is foreign code and may use the inbox itself."""
        cdef Py_ssize_t index = 0
        while index < inbox.count:
            item = inbox.peek(index)
            fits = bool(self.match(item))
            if index >= inbox.count or inbox.peek(index) is not item:
                index = 0
            elif fits:
                result[0] = inbox.take_at(index)
                return True
            else:
                index += 1
        return False

    cdef bint check_open(self) except -1:
        """False if mail can still come; else the end of the wait is raised."""
        cdef Inbox inbox
        for one in self.inboxes if self.inbox is None else (self.inbox,):
            inbox = <Inbox>one
            if not inbox.closed or (inbox.count and self.match is None):
                return False
            if not inbox.owner.alive and inbox.owner.own_park() is not None:
                # A dead process that goes on receiving waits, and gets CancelledError.
                return False
        self.finish()
        if self.iterating:
            raise StopAsyncIteration
        raise InboxClosed("the inbox is closed and empty")

    cdef int wait(self, PyObject** result) except? -1:
        cdef HandProcess owner = self.one_inbox().owner
        cdef Park park = owner.own_park()
        if park is None:
            park = new_park(None, owner.scheduler.loop)
        park.begin()
        self.park = park
        if self.simple and not self.in_front:
            owner.meter.streak = 0
            if self.may_wait_by_hand():
                self.by_hand = True
                owner.meter.hand = EMPTY_HAND
            else:
                self.inbox.add_waiter(park, False)
        else:
            self.join_waiters()
            self.start_timer(park)
        give_object(park, result)
        return PYGEN_NEXT

    cdef bint may_wait_by_hand(self) except -1:
        """Whether the next message to the owner is for this wait, and nobody else's concern."""
        cdef Inbox inbox = self.inbox
        return (self.park.owner is not None and inbox.takes_all and inbox.count == 0
                and inbox.reserved == 0 and inbox.first is None and inbox.selective is None
                and not inbox.closed and inbox.owner.alive)

    cdef int settle_hands(self) except -1:
        """Have the mailboxes know what is in the owners' hands."""
        self.by_hand = False
        if self.inbox is not None:
            return self.inbox.settle_hand()
        for one in self.inboxes:
            (<Inbox>one).settle_hand()
        return 0

    cdef Inbox one_inbox(self):
        return self.inbox if self.inbox is not None else <Inbox>self.inboxes[0]

    cdef int join_waiters(self) except -1:
        cdef Inbox inbox
        for one in self.inboxes if self.inbox is None else (self.inbox,):
            inbox = <Inbox>one
            inbox.owner.meter.streak = 0
            if self.match is None:
                inbox.add_waiter(self.park, self.in_front)
            else:
                if inbox.selective is None:
                    inbox.selective = []
                inbox.selective.append(self.park)
        return 0

    cdef int start_timer(self, Park park) except -1:
        if self.timeout is None:
            return 0
        if self.until == 0:
            self.until = monotonic() + <double>self.timeout
        self.timer = park.loop.call_later(max(0.0, self.until - monotonic()), park.expire)
        return 0

    cdef int stop_waiting(self) except -1:
        """Leave the queues; an item kept for this wait is free again."""
        cdef Park park = self.park
        cdef Mailbox reserved_in = park.reserved_in
        cdef Inbox inbox
        self.park = None
        self.in_front = reserved_in is not None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if reserved_in is not None:
            reserved_in.settle(park)
            if self.inboxes is None:
                return 0
        for one in self.inboxes if self.inbox is None else (self.inbox,):
            inbox = <Inbox>one
            if self.match is None:
                inbox.remove_waiter(park)
            elif inbox.selective is not None and park in inbox.selective:
                inbox.selective.remove(park)
                if not inbox.selective:
                    inbox.selective = None
        return 0

    cdef int finish(self) except -1:
        """The wait is over: whoever waits behind it may have mail, or the end, to see."""
        cdef Inbox inbox
        self.finished = True
        for one in self.inboxes if self.inbox is None else (self.inbox,):
            inbox = <Inbox>one
            if inbox.first is not None:
                inbox.wake_first()
                if inbox.closed and inbox.count == 0:
                    inbox.shut(False)
        return 0

    # Coroutine protocol. `__next__` is here so that the slots exist; see the end of the file.

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        return next(self)

    def throw(self, kind, value=None, traceback=None):
        self.close()
        raise exception_of(kind, value, traceback)

    def close(self):
        if self.park is not None:
            self.settle_hands()
            self.stop_waiting()
            self.finish()
        self.finished = True


cdef inline PyObject* wait_for_mail(Inbox inbox, bint iterating) except NULL:
    """A wait for the next item, a new reference; the last one again if nobody holds it."""
    cdef PyObject* spare = <PyObject*>inbox.spare
    inbox.owner.scheduler.check_thread()
    if spare.ob_refcnt != 1 or not (<Receive>spare).finished:  # None has more than one
        return inbox.new_receive(iterating)
    (<Receive>spare).finished = (<Receive>spare).in_front = False
    (<Receive>spare).iterating = iterating
    return Py_NewRef(spare)


@cython.final
cdef class Inbox(Mailbox):
    """Where messages (or events) of a process wait.

    `async for item in inbox`, `await inbox.receive()`, `inbox.receive_nowait()`, `len(inbox)`.
    Several receivers are served first-come.
    """

    def __dealloc__(self):
        # The process, which has the meter, may go with this.
        self.discard()
        self.meter = NULL

    def receive(self, timeout=None):
        """Wait for the next item.

        Args:
            timeout: seconds, a duration such as `"30s"`, or None to wait without end.

        Raises:
            TimeoutError: nothing came in time.
            InboxClosed: the inbox is closed and empty.
        """
        if timeout is None:
            return take_object(wait_for_mail(self, False))
        return self.special_receive(timeout)

    cdef Receive special_receive(self, object timeout):
        """A wait with a timeout or, later, a predicate."""
        cdef Receive receive = Receive.__new__(Receive)
        self.owner.scheduler.check_thread()
        receive.inbox = self
        receive.timeout = seconds_of(timeout)
        return receive

    cdef PyObject* new_receive(self, bint iterating) except NULL:
        cdef Receive receive = Receive.__new__(Receive)
        receive.inbox = self
        receive.simple = True
        receive.iterating = iterating
        if self.owner.alive:
            self.spare = receive  # a ring, which the owner's end breaks
        return Py_NewRef(<PyObject*>receive)

    cdef int settle_hand(self) except -1:
        """Have the mailbox know what is in its owner's hand, and that the owner waits."""
        cdef HandProcess owner = self.owner
        if owner is None or owner.meter.hand == NO_HAND or not self.takes_all:
            return 0  # None: the collector has cleared it
        if owner.meter.hand == FULL_HAND:
            self.put_first(&owner.mail)
            self.reserved += 1
            owner.park.reserved_in = self
            owner.park.woken = True
        else:
            self.add_waiter(owner.park, False)
        owner.meter.hand = NO_HAND
        return 0

    cdef int has_room(self) except -1:
        return self.owner.has_room()

    cdef int stop_taking_all(self) except -1:
        """From now on some messages to the owner go elsewhere."""
        self.settle_hand()
        self.takes_all = False
        return 0

    def receive_nowait(self):
        """The next item, at once.

        Raises:
            asyncio.QueueEmpty: there is none.
            InboxClosed: the inbox is closed and empty.
        """
        self.owner.scheduler.check_thread()
        self.settle_hand()
        if self.count > self.reserved:
            return take_object(self.take())
        if self.closed and self.count == 0:
            raise InboxClosed("the inbox is closed and empty")
        raise asyncio.QueueEmpty("no mail")

    def close(self) -> None:
        """Accept nothing more; what waits can still be received."""
        self.owner.scheduler.check_thread()
        self.settle_hand()
        self.shut(False)

    def __aiter__(self):
        return self

    def __anext__(self):
        return take_object(wait_for_mail(self, True))

    def __len__(self):
        self.settle_hand()
        return self.count

    def __bool__(self):
        return True

    def __repr__(self):
        return f"<Inbox of {self.owner.pid} {len(self)} waiting{' closed' if self.closed else ''}>"


def receive_matching(Inbox inbox not None, match, timeout=None):
    """Wait for the first item for which `match(item)` is true; the others stay, in order."""
    cdef Receive receive = inbox.special_receive(timeout)
    if not callable(match):
        raise TypeError("match is a function of a message")
    receive.match = match
    return receive


def select(*inboxes, timeout=None):
    """Wait for whichever inbox has mail first; the result is `(inbox, item)`."""
    if not inboxes:
        raise TypeError("select needs at least one inbox")
    for inbox in inboxes:
        if not isinstance(inbox, Inbox):
            raise TypeError(f"select waits on inboxes, not {type(inbox).__name__}")
        (<Inbox>inbox).owner.scheduler.check_thread()
    cdef Receive receive = Receive.__new__(Receive)
    receive.inboxes = inboxes
    receive.timeout = seconds_of(timeout)
    return receive


# `raise StopIteration(value)` in a Cython `__next__` builds a traceback with a code and a frame
# object for each item, so the slots are set by hand; see `_slots`.


cdef PyObject* receive_next(PyObject* self) except? NULL:
    cdef PyObject* result = NULL
    if (<Receive>self).poll(&result) == PYGEN_NEXT:
        return result
    return stop_with(result)


cdef int receive_send(PyObject* self, PyObject* value, PyObject** result) except? -1:
    return (<Receive>self).poll(result)


set_slots(<PyTypeObject*>Receive, <void*>receive_next, <void*>receive_send)


# The usual `receive()`, without arguments, spares what Cython does for all kinds of calls.


cdef PyObject* receive_quickly(PyObject* inbox, PyObject* const* args, Py_ssize_t count,
                               PyObject* names) except NULL:
    if count != 0 or names is not NULL:
        return PyObject_Vectorcall(PyMethod_New(any_receive, <object>inbox), args, count, names)
    return wait_for_mail(<Inbox>inbox, False)


cdef object any_receive = Inbox.receive
cdef bytes receive_text = f"receive($self, timeout=None)\n--\n\n{Inbox.receive.__doc__}".encode()
cdef PyMethodDef receive_method = PyMethodDef(
    "receive", <PyCFunction>receive_quickly, METH_FASTCALL | METH_KEYWORDS, receive_text)
(<dict>(<PyTypeObject*>Inbox).tp_dict)["receive"] = PyDescr_NewMethod(
    <PyTypeObject*>Inbox, &receive_method)
PyType_Modified(<PyTypeObject*>Inbox)
