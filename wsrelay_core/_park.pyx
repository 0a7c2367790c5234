"""What a waiting task awaits: a `Park` for mail; a pause for a dead process that still awaits."""

import asyncio

from asyncio import CancelledError

cimport cython

from wsrelay_core._mailbox cimport Waiter
from wsrelay_core._process cimport Process

cdef double PAUSE = 0.05               # seconds


@cython.final
cdef class Park(Waiter):
    cdef int begin(self) except -1:
        self.woken = False
        self.timed_out = False
        self._asyncio_future_blocking = True
        return 0

    cdef int wake(self) except -1:
        if self.woken:
            return 0
        self.woken = True
        if self.owner is not None:
            self.owner.scheduler.enqueue(self.owner)
        elif self.callback is not None:
            self.call_back()
        return 0

    cdef int call_back(self) except -1:
        callback, self.callback = self.callback, None
        self.loop.call_soon(callback, self, context=self.context)
        return 0

    def expire(self):
        """The timeout of the wait has come."""
        self.timed_out = True
        self.wake()

    # What asyncio.Task asks of a future.

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        self.callback = callback
        self.context = context
        if self.woken and self.owner is None:
            self.call_back()

    def remove_done_callback(self, callback):
        if self.callback == callback:
            self.callback = None
            return 1
        return 0

    def done(self):
        return self.woken

    def cancelled(self):
        return False

    def exception(self):
        return None

    def result(self):
        if self.cancel_requested:
            self.cancel_requested = False
            message, self.cancel_message = self.cancel_message, None
            raise CancelledError() if message is None else CancelledError(message)
        return None

    def cancel(self, msg=None):
        """The waiting task is cancelled; the message must travel (anyio knows its own by it)."""
        if self.owner is not None and self.owner.keep_cancel(msg):
            # A self-cancel in a fast step: the task still believes that it waits here.
            return True
        if self.cancel_requested:
            return False  # as a future that is cancelled already: the first message stays
        self.cancel_requested = True
        self.cancel_message = msg
        self.wake()
        return True

    def __repr__(self):
        return "<Park, until mail comes>"


cdef Park new_park(Process owner, object loop):
    cdef Park park = Park.__new__(Park)
    park.owner = owner
    park.loop = loop
    return park


cdef object exception_of(object kind, object value, object traceback):
    """The exception of a `throw(type, value, traceback)` in its old and its new form."""
    if isinstance(kind, BaseException):
        return kind
    if not isinstance(value, BaseException):
        value = kind() if value is None else kind(value)
    return value if traceback is None else value.with_traceback(traceback)


cdef object pause(object loop, object awaited):
    """A future that is done a little later, to be awaited instead of what was cancelled."""
    if isinstance(awaited, asyncio.Future):
        awaited.add_done_callback(retrieve)
    later = loop.create_future()
    loop.call_later(PAUSE, end_pause, later)
    later._asyncio_future_blocking = True
    return later


def retrieve(future):
    """Nobody waits for it any more, and nobody shall hear of that."""
    if not future.cancelled():
        future.exception()


def end_pause(future):
    if not future.done():
        future.set_result(None)
