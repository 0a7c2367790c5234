"""How a connection ends: causes, the closing handshake, the close record."""

from wsrelay_core._coroutine cimport CoroutineProcess
from wsrelay_core._deadlines cimport Deadlines
from wsrelay_core._flag cimport flag
from wsrelay_core._frame cimport FrameCodec
from wsrelay_core._gate cimport Gate
from wsrelay_core._outbox cimport Outbox
from wsrelay_core._process cimport Process, Ref

cdef enum:
    # wsproto's ConnectionState, as far as a connection that was upgraded can be in it.
    OPEN = 1
    REMOTE_CLOSING = 2                # the client's close frame came and waits for its answer
    LOCAL_CLOSING = 3                 # our close frame is queued
    CLOSED = 4                        # EXIT is out; TCP may still have something to write


cdef class Ending(Process):
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
    cdef dict template                # payload of a client message without data; None: not made

    # What is so, each in a byte.
    cdef flag raw                     # payload of client messages is just the data
    cdef flag joined
    cdef flag accepting               # no close frame is queued yet
    cdef flag dirty                   # a flush at the end of the drain is ordered
    cdef flag paused                  # reading is stopped: the target is full, or its turn is over
    cdef flag lost                    # TCP has ended
    cdef flag plain                   # no extension: frames can be shared by a broadcast
    cdef flag clean

    # Where it is in its life.
    cdef int state
    cdef int patience                 # drains that the last answer to the client may still wait
    cdef Gate gate                    # where it waits for its target, or None
    cdef Py_ssize_t pinned            # its part of the scheduler's `pinned`

    # The close record.
    cdef int code
    cdef str reason
    cdef str cause
    cdef str initiator
    cdef str exit_reason
    cdef readonly unsigned long long messages_in
    cdef readonly unsigned long long bytes_in    # read from the wire since the 101
    cdef unsigned long long accepted             # messages towards the client
    cdef readonly unsigned long long malformed   # payloads that could not be sent
    cdef object last_rtt_ms

    # begin
    cdef int set_cause(self, int code, str reason, str cause, str initiator,
                       str exit_reason) except -1
    cdef int begin_close(self, int code, str reason, str cause, str initiator,
                         str exit_reason) except -1
    cdef int fault(self, object error) except -1
    cdef int break_off(self, object error) except -1
    # go on
    cdef int client_closes(self) except -1
    cdef int client_fails(self) except -1
    cdef int tell_failure(self) except -1
    cdef int answer_close(self) except -1
    cdef int shut_down_writing(self) except -1
    cdef int network_end(self) except -1
    cdef int deliver_held(self) except -1
    # end
    cdef int finish(self, bint clean) except -1
    cdef int leave(self, str reason, int code, bint clean) except -1
    cdef int forget_target(self) except -1
    cdef int go_on(self) except -1
    cdef int unpin(self) except -1
    cdef int close_transport(self) except -1
    cdef int abort(self) except -1
    # what all rooms use
    cdef int mark_dirty(self) except -1
    cdef int queue_control(self, int opcode, bytes body) except -1
    cdef int arm(self) except -1
    cdef int disarm(self) except -1
