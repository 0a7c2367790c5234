"""What is sent to a connection becomes frames at once."""

from wsrelay_core._ending cimport Ending
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Shared


cdef class Sending(Ending):
    cdef bint send_data(self, object payload, Shared shared) except -1
    cdef bint send_close(self, object payload) except -1
    cdef bint send_envelope(self, str topic, object payload, Shared shared) except -1
    cdef bint send_control(self, object payload, PID sender) except -1
    cdef bint queue_frame(self, bytes frame) except -1
    cdef int tell_overflow(self) except -1
    cdef bint refuse(self, str topic) except -1
    cdef bint drop(self, str topic, object error) except -1
    cdef int tell_dropped(self, str topic, object error) except -1
