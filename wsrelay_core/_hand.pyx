"""A process that takes mail, as its inboxes know it: their counts, and what is in its hand."""

from cpython.object cimport PyObject, PyTypeObject, inquiry, traverseproc, visitproc

from wsrelay_core._mailbox cimport (
    FULL_HAND, NO_HAND, Mail, drop_mail, is_low, message_of, show_mail,
)
from wsrelay_core._park cimport Park


cdef class HandProcess(Process):
    """A process whose messages wait until it takes them."""

    def __dealloc__(self):
        cdef Mail mail
        if self.empty_hand(&mail):
            drop_mail(&mail)

    cdef Park own_park(self):
        """The park of the process's own task, if that is what runs now."""
        return None

    cdef int prefetch_step(self) except -1:
        """Fetch what the step will touch that is to come."""
        return 0

    cdef PyObject* take_hand(self) except NULL:
        """The message in a full hand, as a Message; a new reference."""
        cdef Mail mail = self.mail
        self.meter.hand = NO_HAND
        self.meter.count -= 1
        self.meter.size -= mail.size
        self.meter.handled += 1
        if self.meter.gated:
            self.has_room()
        return message_of(&mail)

    cdef bint empty_hand(self, Mail* mail) noexcept:
        """Close the hand; whether there was something in it, which is the caller's now."""
        cdef bint full = self.meter.hand == FULL_HAND
        self.meter.hand = NO_HAND
        if full:
            mail[0] = self.mail
            self.meter.count -= 1
            self.meter.size -= mail.size
        return full

    cdef int set_gate(self, object gate) except -1:
        """Have connections wait at a gate; with None nobody does."""
        self.gate = gate
        self.meter.gated = gate is not None
        return 0

    cdef int has_room(self) except -1:
        """Mail was taken: let those at the gate go on when enough was."""
        if self.gate is not None and is_low(&self.meter):
            self.gate.open()
        return 0


# As with a Mailbox, the collector must see what is in the hand.

cdef traverseproc traverse_attributes = (<PyTypeObject*>HandProcess).tp_traverse
cdef inquiry clear_attributes = (<PyTypeObject*>HandProcess).tp_clear


cdef int traverse_process(PyObject* self, visitproc visit, void* arg) except -1:
    cdef HandProcess process = <HandProcess>self
    cdef int stop = 0
    if process.meter.hand == FULL_HAND:
        stop = show_mail(&process.mail, visit, arg)
    return stop or traverse_attributes(self, visit, arg)


cdef int clear_process(object self) except -1:
    cdef Mail mail
    if (<HandProcess>self).empty_hand(&mail):
        drop_mail(&mail)
    return clear_attributes(self)


(<PyTypeObject*>HandProcess).tp_traverse = traverse_process
(<PyTypeObject*>HandProcess).tp_clear = clear_process
