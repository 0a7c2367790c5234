"""A WebSocket connection: a process whose mailbox is a socket."""

cimport cython

from wsrelay_core._coroutine cimport CoroutineProcess
from wsrelay_core._deadlines cimport Deadlines
from wsrelay_core._frame cimport FrameCodec
from wsrelay_core._gate cimport Gate
from wsrelay_core._outbox cimport Outbox
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Process, Ref, Shared

cdef enum:
    # wsproto's ConnectionState, as far as a connection that was upgraded can be in it.
    OPEN = 1
    REMOTE_CLOSING = 2
    LOCAL_CLOSING = 3
    CLOSED = 4


cdef class Connection(Process):
    cdef object transport             # None before the 101 and after the end of TCP
    cdef FrameCodec codec
    cdef Outbox outbox
    cdef Deadlines deadlines
    cdef long long armed_tick         # place in the timer wheel, 0 for none
    cdef double armed_for
    cdef double opened                # monotonic seconds, 0 before the 101

    # Where client messages go.
    cdef CoroutineProcess target      # None before join and after leave
    cdef Ref target_ref               # the monitor of the target, or None
    cdef readonly str topic
    cdef readonly object metadata
    cdef bint raw                     # payload of client messages is just the data
    cdef bint joined

    # Where it is in its life.
    cdef int state
    cdef bint accepting               # no close frame is queued yet
    cdef bint dirty                   # a flush at the end of the drain is ordered
    cdef bint paused                  # reading is stopped by back-pressure
    cdef Gate gate                    # where it waits then, until something else lets it go on
    cdef bint lost                    # TCP has ended
    cdef bint plain                   # no extension: frames can be shared by a broadcast
    cdef Py_ssize_t pinned            # its part of the scheduler's `pinned`

    # The close record.
    cdef int code
    cdef str reason
    cdef str cause
    cdef str initiator
    cdef str exit_reason
    cdef bint clean
    cdef readonly unsigned long long messages_in
    cdef unsigned long long accepted             # messages towards the client
    cdef readonly unsigned long long bytes_in    # read from the wire since the 101
    cdef readonly unsigned long long malformed   # payloads that could not be sent
    cdef double ping_sent
    cdef unsigned int ping_serial
    cdef object last_rtt_ms

    # out: process -> client
    cdef bint send_data(self, object payload, Shared shared) except -1
    cdef bint send_close(self, object payload) except -1
    cdef bint send_envelope(self, str topic, object payload, Shared shared) except -1
    cdef bint queue_frame(self, bytes frame) except -1
    cdef int drop(self, str topic, object error) except -1
    cdef int mark_dirty(self) except -1
    cdef int queue_control(self, int opcode, bytes body) except -1

    # in: client -> process
    cdef int read(self, const unsigned char* data, Py_ssize_t size) except -1
    cdef int read_frames(self) except -1
    cdef int to_target(self, int kind, double when) except -1
    cdef int on_control(self, int kind, double when) except -1
    cdef int on_pong(self, double when) except -1
    cdef int account_unfinished(self, double when) except -1
    cdef int wait_for_room(self) except -1
    cdef int go_on(self) except -1
    cdef int resume_reading(self) except -1

    # ends
    cdef int begin_close(self, int code, str reason, str cause, str initiator,
                         str exit_reason) except -1
    cdef int set_cause(self, int code, str reason, str cause, str initiator,
                       str exit_reason) except -1
    cdef int finish(self, bint clean) except -1
    cdef int leave(self, str reason) except -1
    cdef int forget_target(self) except -1
    cdef int abort(self) except -1
    cdef int close_transport(self) except -1
    cdef int arm(self) except -1
    cdef int act(self, int action, double when) except -1
    cdef int send_ping(self, double when) except -1
    cdef int unpin(self) except -1
