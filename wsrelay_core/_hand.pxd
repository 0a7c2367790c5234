"""A process that takes mail, as its inboxes know it: their counts, and what is in its hand."""

from cpython.object cimport PyObject

from wsrelay_core._mailbox cimport FULL_HAND, Mail, Meter, fill
from wsrelay_core._park cimport Park
from wsrelay_core._process cimport Process


cdef class HandProcess(Process):
    cdef Meter meter         # of all its inboxes together, and the hand
    cdef object gate         # where connections wait for room (`open()` it); or None
    cdef Mail mail           # what is in a full hand; it owns the references
    cdef Park park           # of its own task, made at the first wait, then used again

    cdef Park own_park(self)
    cdef int prefetch_step(self) except -1
    cdef PyObject* take_hand(self) except NULL
    cdef bint empty_hand(self, Mail* mail) noexcept
    cdef int has_room(self) except -1
    cdef int set_gate(self, object gate) except -1

    cdef inline int put_in_hand(self, str topic, object payload, object sender,
                                Py_ssize_t size) except -1:
        """Give a message to the process that waits for it, and have it stepped."""
        fill(&self.mail, topic, payload, sender, size)
        self.meter.count += 1
        self.meter.size += size
        self.meter.hand = FULL_HAND
        self.prefetch_step()
        self.scheduler.enqueue(self)
        return 0
