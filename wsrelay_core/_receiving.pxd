"""What a client sends becomes messages of its target."""

from wsrelay_core._flag cimport flag
from wsrelay_core._sending cimport Sending


cdef class Receiving(Sending):
    cdef double ping_sent             # when the ping went out whose pong is awaited, else 0
    cdef unsigned int ping_serial     # its payload

    cdef flag insatiable              # its loop reads a socket up to 32 times in a turn (libuv)
    cdef flag costly                  # its last bytes took longer than a turn

    cdef int read(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef int read_in_turn(self, bint full) except -1
    cdef bint set_aside(self) except -1
    cdef int read_frames(self) except -1
    cdef int unreadable(self, object error) except -1
    cdef dict envelope(self, str kind, object data)
    cdef int to_target(self, int kind, double when) except -1
    cdef int on_control(self, int kind, double when) except -1
    cdef int on_pong(self, double when) except -1
    cdef int account_unfinished(self, double when) except -1
    cdef int wait_for_room(self) except -1
    cdef int wait_for_turn(self) except -1
    cdef int pause(self) except -1
