"""What a client sends becomes messages of its target.

The third room of the class `Connection`: bytes from the loop in, messages into the target's
mailbox. Where that is full, or the turn of the connection is over, decoding and reading stop, and
the rest is held.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_GET_SIZE

from wsrelay_core._ending cimport CLOSED, OPEN
from wsrelay_core._gate cimport gate_of
from wsrelay_core._mailbox cimport is_high
from wsrelay_core._scheduler cimport READ_SIZE, SHORT_READ, Scheduler
from wsrelay_core._sending cimport Sending
from wsrelay_core._wire cimport (
    BUSY, CLOSE, FAILED, MESSAGE_TOO_BIG, NEED_MORE, PING, PONG, PROTOCOL_ERROR, TEXT,
)

# What all unfinished client messages of one server may pin together, bytes.
cdef Py_ssize_t PINNED_MAX = 64 * 1024 * 1024

# How long the bytes of one connection are decoded before the others have their turn, seconds. Most
# reads bring less than that, and end before the clock is looked at.
cdef double TURN = 0.00002
cdef int CLOCK_EVERY = 16              # frames between two looks at it

cdef str CLIENT_PID = "client_pid"
cdef str TYPE = "type"
cdef str DATA = "data"
cdef str METADATA = "metadata"
cdef str TEXT_NAME = "text"
cdef str BINARY_NAME = "binary"

cdef extern from *:
    """
    /* Bytes that the characters of a str occupy. */
    static inline Py_ssize_t wsrelay_str_size(PyObject* text) {
        return PyUnicode_GET_LENGTH(text) * (Py_ssize_t) PyUnicode_KIND(text);
    }
    """
    Py_ssize_t str_size "wsrelay_str_size"(object text)


cdef class Receiving(Sending):
    """The road from the client to its target (asyncio.BufferedProtocol)."""

    # -- bytes ---------------------------------------------------------------------------------

    def get_buffer(self, sizehint):
        return self.scheduler.short_view if self.costly else self.scheduler.read_view

    def buffer_updated(self, Py_ssize_t nbytes):
        self.read(<const unsigned char*>PyByteArray_AS_STRING(self.scheduler.read_buffer), nbytes)
        self.scheduler.after_read()

    cdef int read(self, const unsigned char* data, Py_ssize_t size) except -1:
        self.bytes_in += size
        if self.state == CLOSED or self.codec.error_code:
            return 0
        try:
            self.codec.give(data, size)
            if self.paused:
                # Read although paused: it waits behind what is held.
                self.set_aside()
                self.transport.pause_reading()
            elif (self.target is not None and self.target.gate is not None
                    and self.state == OPEN):
                if self.set_aside():
                    self.wait_for_room()  # others do already
            else:
                self.read_in_turn(size >= (SHORT_READ if self.costly else READ_SIZE))
        except Exception as error:
            self.unreadable(error)
        return 0

    cdef int read_in_turn(self, bint full) except -1:
        """Who sends without end is not decoded now if others of that kind wait for their turn."""
        cdef bint waits = (full or self.costly) and self.scheduler.behind
        self.costly = False
        if waits:
            return self.wait_for_turn() if self.set_aside() else 0
        self.scheduler.reads += not full
        self.read_frames()
        if full and self.insatiable and not self.paused and not self.codec.error_code:
            self.wait_for_turn()
        return 0

    cdef bint set_aside(self) except -1:
        """Keep what was read for later; False if that made it the connection that must go."""
        self.codec.hold()
        if self.codec.in_message or self.pinned:
            self.account_unfinished(self.scheduler.now())
        return self.codec.error_code == 0

    cdef int unreadable(self, object error) except -1:
        """A fault amid frames: where the next one begins is not known any more."""
        self.fault(error)
        if self.codec.error_code == 0:
            self.codec._fail(PROTOCOL_ERROR, "internal error")
        self.unpin()
        return self.scheduler.mark_ending(self)

    cdef int read_frames(self) except -1:
        """Decode until the bytes are used up, the target has enough, or the turn is over."""
        cdef double when = self.scheduler.now()
        cdef double until = when + TURN
        cdef int frames = 0
        cdef int kind
        while True:
            if self.target is not None and is_high(&self.target.meter) and self.state == OPEN:
                self.codec.hold()
                self.wait_for_room()
                break
            kind = self.codec.next()
            if kind == NEED_MORE:
                break
            if 0 < kind < CLOSE:
                self.to_target(kind, when)
            elif kind != BUSY:
                self.on_control(kind, when)
                if kind == CLOSE or kind == FAILED:
                    break
            frames += 1
            if (kind == BUSY or frames % CLOCK_EVERY == 0) and self.scheduler.now() > until:
                self.costly = True
                self.codec.hold()
                self.wait_for_turn()
                break
        if self.codec.in_message or self.pinned or self.deadlines.message_due:
            self.account_unfinished(when)
        return 0

    # -- frames --------------------------------------------------------------------------------

    cdef int to_target(self, int kind, double when) except -1:
        cdef object data = self.codec.payload
        cdef object payload = data
        cdef Py_ssize_t size
        if self.state != OPEN or self.target is None:
            return 0
        size = str_size(data) if kind == TEXT else PyBytes_GET_SIZE(data)
        self.messages_in += 1
        self.deadlines.message(when)
        if not self.raw:
            payload = self.envelope(TEXT_NAME if kind == TEXT else BINARY_NAME, data)
        self.target.post(self.topic, payload, self.pid, size, True)
        return 0

    cdef dict envelope(self, str kind, object data):
        """The payload of a client message; a copy of a dict makes its four keys at once."""
        cdef dict payload
        if self.template is None:
            self.template = {CLIENT_PID: self.pid, TYPE: TEXT_NAME, DATA: None,
                             METADATA: self.metadata}
        payload = self.template.copy()
        payload[DATA] = data
        if kind is not TEXT_NAME:
            payload[TYPE] = kind
        return payload

    cdef int on_control(self, int kind, double when) except -1:
        if kind == PING:
            if self.state == OPEN:
                self.queue_control(PONG, self.codec.payload)
        elif kind == PONG:
            self.on_pong(when)
        elif kind == CLOSE:
            self.client_closes()
        elif kind == FAILED:
            self.client_fails()
        return 0

    cdef int on_pong(self, double when) except -1:
        if self.ping_sent and self.codec.payload == self.ping_serial.to_bytes(4, "big"):
            self.last_rtt_ms = round((when - self.ping_sent) * 1000, 3)
            self.ping_sent = 0
            self.deadlines.ponged(when)
            self.arm()
        return 0

    cdef int account_unfinished(self, double when) except -1:
        """Age and memory of an unfinished message; the server's memory has one common limit."""
        cdef Scheduler scheduler = self.scheduler
        cdef Py_ssize_t pinned = 0
        if self.codec.in_message:
            pinned = self.codec.pinned  # without one, only whole messages are held
            if self.state == OPEN:
                self.deadlines.unfinished(when)
                self.arm()
        else:
            self.deadlines.all_finished()
        scheduler.pinned += pinned - self.pinned
        self.pinned = pinned
        if pinned == 0:
            scheduler.pinning.pop(self, None)
            return 0
        scheduler.pinning[self] = None
        while scheduler.pinned > PINNED_MAX:
            end_biggest(scheduler)
        return 0

    # -- back-pressure -------------------------------------------------------------------------

    cdef int wait_for_room(self) except -1:
        """The target has enough mail: stop decoding and reading until it is below half."""
        self.gate = gate_of(self.target)
        self.gate.add(self)
        return self.pause()

    cdef int wait_for_turn(self) except -1:
        """A client that sends without end must not hold up the others: go on behind them."""
        self.scheduler.mark_behind(self)
        return self.pause()

    cdef int pause(self) except -1:
        """Read no more; `step` goes on."""
        self.paused = True
        self.deadlines.pause(self.scheduler.now())
        if self.transport is not None:
            self.transport.pause_reading()
        return 0

    cdef int step(self) except -1:
        """Go on with what is held, then with the socket."""
        if self.gate is not None:
            self.gate.drop(self)  # it is not the gate that lets it go on
            self.gate = None
        if not self.paused:
            return 0
        if self.lost:
            return self.network_end()
        self.paused = False
        if self.state == CLOSED:
            return 0
        try:
            self.deadlines.resume(self.scheduler.now())
            self.read_frames()
            if not self.paused and self.transport is not None:
                self.transport.resume_reading()
            self.arm()
        except Exception as error:
            self.unreadable(error)
        return 0

    cdef int deliver_held(self) except -1:
        """What was received before the end of TCP belongs to the target, be it full or not.

        Returns 1 if there is more, for another turn.
        """
        cdef double when = self.scheduler.now()
        cdef double until = when + TURN
        cdef int frames = 0
        cdef int kind = self.codec.next()
        while kind > NEED_MORE and self.state == OPEN:
            if kind < CLOSE:
                self.to_target(kind, when)
            elif kind == CLOSE:
                self.set_cause(self.codec.close_code, self.codec.close_reason, "client_close",
                               "client", "normal")
            frames += 1
            if (kind == BUSY or frames % CLOCK_EVERY == 0) and self.scheduler.now() > until:
                self.codec.hold()
                self.scheduler.mark_behind(self)
                return 1
            kind = self.codec.next()
        return 0


cdef int end_biggest(Scheduler scheduler) except -1:
    """All unfinished messages together pin too much: the connection that pins most must go."""
    cdef Receiving biggest = max(scheduler.pinning, key=pinned_of)
    biggest.codec._fail(MESSAGE_TOO_BIG, "message too big")
    biggest.client_fails()
    return biggest.unpin()


def pinned_of(Receiving connection) -> int:
    return connection.pinned
