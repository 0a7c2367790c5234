"""The inbox of a process, and what waiting for mail is made of.

`Receive` is the awaitable of one wait; while there is no mail it yields a `Park`, on which the task
waits as on a future. When the process's own task waits, the scheduler wakes it (see `_coroutine`);
any other task, such as a child of a TaskGroup, is woken the ordinary way, through the loop.
"""

import asyncio

from wsrelay_core._errors import InboxClosed

cimport cython
from cpython.object cimport PyObject

from wsrelay_core._mailbox cimport Mailbox
from wsrelay_core._park cimport Park, exception_of, new_park
from wsrelay_core._process cimport Process
from wsrelay_core._scheduler cimport monotonic
from wsrelay_core._slots cimport (
    METH_FASTCALL, METH_KEYWORDS, PYGEN_NEXT, PYGEN_RETURN, PyCFunction, PyDescr_NewMethod,
    PyMethod_New, PyMethodDef, PyObject_Vectorcall, PyType_Modified, PyTypeObject, give_object,
    set_slots, stop_with,
)

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
        cdef Inbox inbox
        cdef Park park
        if self.simple and not self.finished and self.inbox.owner.streak < BUDGET:
            if self.park is None and self.inbox.count > self.inbox.reserved:
                self.inbox.owner.streak += 1
                self.finished = True
                give_object(self.inbox.take(), result)
                return PYGEN_RETURN
            inbox = self.inbox
            park = self.park
            if park is None:
                if inbox.count == 0 and not inbox.closed:
                    return self.wait(result)
            elif park.reserved_in is not None and inbox.count > 0 and inbox.first is None:
                # Woken for an item, and nobody waits behind: nothing else is to be settled.
                self.park = None
                park.reserved_in = None
                inbox.reserved -= 1
                inbox.owner.streak += 1
                self.finished = True
                give_object(inbox.take(), result)
                return PYGEN_RETURN
        return self.poll_slowly(result)

    cdef int poll_slowly(self, PyObject** result) except? -1:
        cdef Process owner = self.one_inbox().owner
        cdef bint timed_out = False
        if self.finished:
            raise RuntimeError("cannot reuse an awaited receive")
        if self.park is not None:
            timed_out = self.park.timed_out
            self.stop_waiting()
        elif owner.streak >= BUDGET:
            # Let others run: wait, and be woken at once.
            self.wait(result)
            self.park.wake()
            return PYGEN_NEXT
        if self.find(result):
            owner.streak += 1
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
        give_object(inbox.take(), result)
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
        give_object((chosen, chosen.take()), result)
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
                give_object(inbox.take_at(index), result)
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
        cdef Process owner = self.one_inbox().owner
        cdef Park park = <Park>owner.own_park()
        if park is None:
            park = new_park(None, owner.scheduler.loop)
        park.begin()
        self.park = park
        if self.simple and not self.in_front:
            owner.streak = 0
            self.inbox.add_waiter(park, False)
        else:
            self.join_waiters()
            self.start_timer(park)
        give_object(park, result)
        return PYGEN_NEXT

    cdef Inbox one_inbox(self):
        return self.inbox if self.inbox is not None else <Inbox>self.inboxes[0]

    cdef int join_waiters(self) except -1:
        cdef Inbox inbox
        for one in self.inboxes if self.inbox is None else (self.inbox,):
            inbox = <Inbox>one
            inbox.owner.streak = 0
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
            self.stop_waiting()
            self.finish()
        self.finished = True


@cython.final
cdef class Inbox(Mailbox):
    """Where messages (or events) of a process wait.

    `async for item in inbox`, `await inbox.receive()`, `inbox.receive_nowait()`, `len(inbox)`.
    Several receivers are served first-come.
    """

    def receive(self, timeout=None):
        """Wait for the next item.

        Args:
            timeout: seconds, a duration such as `"30s"`, or None to wait without end.

        Raises:
            TimeoutError: nothing came in time.
            InboxClosed: the inbox is closed and empty.
        """
        if timeout is None:
            return self.simple_receive(False)
        return self.special_receive(timeout)

    cdef Receive special_receive(self, object timeout):
        """A wait with a timeout or, later, a predicate."""
        cdef Receive receive = Receive.__new__(Receive)
        self.owner.scheduler.check_thread()
        receive.inbox = self
        receive.timeout = seconds_of(timeout)
        return receive

    cdef Receive simple_receive(self, bint iterating):
        """A wait for the next item; the last one is used again if nobody holds it any more."""
        cdef Receive receive = self.spare
        self.owner.scheduler.check_thread()
        if receive is None or (<PyObject*>receive).ob_refcnt != 2 or not receive.finished:
            receive = Receive.__new__(Receive)
            receive.inbox = self
            if self.owner.alive:
                self.spare = receive  # a ring, which the owner's end breaks
            receive.simple = True
        receive.finished = receive.in_front = False
        receive.iterating = iterating
        return receive

    def receive_nowait(self):
        """The next item, at once.

        Raises:
            asyncio.QueueEmpty: there is none.
            InboxClosed: the inbox is closed and empty.
        """
        self.owner.scheduler.check_thread()
        if self.count > self.reserved:
            return self.take()
        if self.closed and self.count == 0:
            raise InboxClosed("the inbox is closed and empty")
        raise asyncio.QueueEmpty("no mail")

    def close(self) -> None:
        """Accept nothing more; what waits can still be received."""
        self.owner.scheduler.check_thread()
        self.shut(False)

    def __aiter__(self):
        return self

    def __anext__(self):
        return self.simple_receive(True)

    def __len__(self):
        return self.count

    def __bool__(self):
        return True

    def __repr__(self):
        return f"<Inbox of {self.owner.pid} {self.count} waiting{' closed' if self.closed else ''}>"


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
    cdef PyObject* receive = NULL
    if count != 0 or names is not NULL:
        return PyObject_Vectorcall(PyMethod_New(any_receive, <object>inbox), args, count, names)
    give_object((<Inbox>inbox).simple_receive(False), &receive)
    return receive


cdef object any_receive = Inbox.receive
cdef bytes receive_text = f"receive($self, timeout=None)\n--\n\n{Inbox.receive.__doc__}".encode()
cdef PyMethodDef receive_method = PyMethodDef(
    "receive", <PyCFunction>receive_quickly, METH_FASTCALL | METH_KEYWORDS, receive_text)
(<dict>(<PyTypeObject*>Inbox).tp_dict)["receive"] = PyDescr_NewMethod(
    <PyTypeObject*>Inbox, &receive_method)
PyType_Modified(<PyTypeObject*>Inbox)
