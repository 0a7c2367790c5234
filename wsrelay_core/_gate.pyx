"""Connections that wait until their target has room for more mail.

They go on one by one, in the order in which they came, and only until the mailbox is full again:
were all let go at once, the one that stops first would be the first the next time too, and a client
that floods would keep the others out for ever.
"""

from collections import OrderedDict

cimport cython

from wsrelay_core._mailbox cimport is_high
from wsrelay_core._hand cimport HandProcess
from wsrelay_core._scheduler cimport Schedulable

cdef double SHARE = 0.0002  # seconds of a turn for all who wait at one gate


@cython.final
cdef class Gate(Schedulable):
    """The queue of one target; its mailbox opens it when it is below half."""

    cdef int add(self, Schedulable feeder) except -1:
        """Wait behind all others."""
        self.waiting[feeder] = None
        self.target.set_gate(self)
        return 0

    cdef int drop(self, Schedulable feeder) except -1:
        """Wait no longer."""
        self.waiting.pop(feeder, None)
        return self.settle()

    def open(self) -> None:
        """There is room; called from inside a `receive`, so the drain does the work."""
        if not self.called:
            self.called = True
            self.scheduler.enqueue(self)

    cdef int step(self) except -1:
        cdef double until = self.scheduler.now() + SHARE
        self.called = False
        while self.waiting and not is_high(&self.target.meter):
            feeder, _ = self.waiting.popitem(last=False)
            (<Schedulable>feeder).step()
            if self.waiting and self.scheduler.now() > until:
                # What they send may be no mail, and then the mailbox never is too full.
                self.called = True
                self.scheduler.mark_behind(self)
                return 0
        return self.settle()

    cdef int settle(self) except -1:
        """Stand open for everybody when nobody waits."""
        if not self.waiting and self.target.gate is self:
            self.target.set_gate(None)
        return 0


cdef Gate gate_of(HandProcess target):
    """The gate of a target, a new one if nobody waits there yet."""
    cdef Gate gate
    if target.gate is not None:
        return <Gate>target.gate
    gate = Gate.__new__(Gate)
    gate.scheduler = target.scheduler
    gate.target = target
    gate.waiting = OrderedDict()
    return gate
