"""The bounded queue of frames towards one client.

The transport's own buffer is kept empty: a flush is written at once, and what the kernel does not
take makes the transport say `pause_writing`. From then on frames wait here, where whole ones can
still be dropped, until the transport has written its backlog. While it is empty, and there is no
TLS, the socket can be written to without the transport (`_socket`): the order is the same.
"""

from wsrelay_core._errors import NoProcess

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from wsrelay_core._socket cimport plain_socket, send_now

# Bytes in the transport that make it pause. One, not none: at none asyncio's TLS pauses even while
# its buffer is empty.
cdef Py_ssize_t HIGH = 1

# What a queued frame costs beside its bytes: the object's header and its place in the list.
cdef Py_ssize_t FRAME_COST = 64

# The answers to a flood of pings in one read go out whenever this much is queued.
cdef Py_ssize_t PONGS_AT_ONCE = 64 * 1024

# More than this is written part by part: what the kernel does not take stays whole frames, here.
cdef Py_ssize_t PART = 128 * 1024


cdef dict POLICIES = {"close": POLICY_CLOSE, "drop_newest": POLICY_DROP_NEWEST,
                      "drop_oldest": POLICY_DROP_OLDEST}


@cython.final
cdef class Outbox:
    """Frames towards one client, at most `limit` bytes of them.

    Args:
        limit: bytes; frames in the transport's hands count.
        policy: `close`, `drop_newest` or `drop_oldest`.
    """

    def __cinit__(self, Py_ssize_t limit, str policy="close"):
        self.limit = limit
        self.policy = POLICIES[policy]
        self.socket = -1

    cpdef int start(self, object transport, int descriptor=-1) except -1:
        """Write to this transport from now on; it may still hold what others wrote.

        `descriptor` is that of its socket, where it is known and there is no TLS.
        """
        self.transport = transport
        self.socket = plain_socket(transport, descriptor)
        transport.set_write_buffer_limits(high=HIGH)
        self.measure()
        self.behind = self.backlog > 0
        self.paused = self.backlog > HIGH
        return 0

    cpdef Py_ssize_t queued(self) noexcept:
        """Bytes that wait, here and in the transport."""
        return self.size + self.backlog

    cpdef int put(self, bytes frame) except -1:
        """Queue a data frame: ACCEPTED, DROPPED by the policy, or OVERFULL (policy `close`)."""
        cdef Py_ssize_t cost = len(frame) + FRAME_COST
        if self.size + self.backlog + cost <= self.limit:
            self.append(frame, cost)
            return ACCEPTED
        return self.put_over(frame, cost)

    cdef inline int append(self, bytes frame, Py_ssize_t cost) except -1:
        if self.only is None and self.frames is None:
            self.only = frame
        else:
            self.listed().append(frame)
        self.size += cost
        if self.size + self.backlog > self.high_water:
            self.high_water = self.size + self.backlog
        return 0

    cdef list listed(self):
        """The frames as a list, which a single one does not need."""
        if self.frames is None:
            self.frames = []
            if self.only is not None:
                self.frames.append(self.only)
                self.only = None
        return self.frames

    cdef Py_ssize_t count(self) except -1:
        """Frames that wait here."""
        return 1 if self.only is not None else len(self.frames or ())

    cdef int put_over(self, bytes frame, Py_ssize_t cost) except -1:
        """The frame would pass the limit: write what is queued first, then ask the policy."""
        self.flush()
        self.measure()
        if self.queued() and self.queued() + cost > self.limit:
            if self.policy == POLICY_CLOSE:
                return OVERFULL
            if not self.dropping:
                self.dropping = self.untold = True
            if self.policy == POLICY_DROP_NEWEST or not self.drop_oldest(cost):
                self.dropped += 1
                return DROPPED
        self.append(frame, cost)
        return ACCEPTED

    cdef bint drop_oldest(self, Py_ssize_t room) except -1:
        """Drop whole data frames, the oldest first, until `room` bytes fit; says if they do."""
        cdef Py_ssize_t index = 0
        cdef Py_ssize_t fixed = self.backlog + self.control
        cdef bytes frame
        cdef list frames = self.listed()
        if fixed and fixed + room > self.limit:
            return False  # nor would it fit if all were dropped
        while index < len(frames) and self.queued() and self.queued() + room > self.limit:
            frame = frames[index]
            if frame[0] & 0x08:  # control frames (RFC 6455 5.5) stay
                index += 1
                continue
            del frames[index]
            self.size -= len(frame) + FRAME_COST
            self.dropped += 1
            self.withdrawn += 1
        return True

    cpdef int put_control(self, bytes frame) except -1:
        """Queue a control frame; there are few, and each is small, so no limit asks for them."""
        cdef Py_ssize_t cost = len(frame) + FRAME_COST
        self.append(frame, cost)
        self.control += cost
        return 0

    cpdef int put_pong(self, bytes frame) except -1:
        """Queue an answer to a ping; while writing is paused only the newest is kept."""
        if self.size > PONGS_AT_ONCE:
            self.flush()
        if self.paused:
            self.pong = frame
        else:
            self.put_control(frame)
        return 0

    cpdef int flush(self) except -1:
        """Give the transport what waits, until it asks to wait."""
        if self.size and not self.paused and self.transport is not None:
            if self.only is not None or self.size <= PART:
                self.write_all()
            else:
                while self.frames and not self.paused:
                    self.write_part()
        if self.waiting is not None:
            self.settle_waiting()
        return 0

    cpdef int write_out(self) except -1:
        """Give the transport what waits, even if it asks to wait."""
        while self.listed():
            self.write_part()
        return 0

    cdef int write_all(self) except -1:
        # Not one reference is kept: the transport may copy, and three times the queue is too much.
        cdef bytes data = self.only if self.frames is None else b"".join(self.frames)
        self.only = self.frames = None
        self.size = self.control = 0
        return self.give(data)

    cdef int write_part(self) except -1:
        """The first frames, as many as make a part; one that is larger than a part goes alone."""
        cdef Py_ssize_t count = 0, size = 0, cost
        cdef bytes frame
        while count < len(self.frames):
            frame = self.frames[count]
            cost = len(frame) + FRAME_COST
            if count and size + cost > PART:
                break
            count += 1
            size += cost
            if frame[0] & 0x08:
                self.control -= cost
        frame = self.frames[0] if count == 1 else b"".join(self.frames[:count])
        del self.frames[:count]
        self.size -= size
        return self.give(frame)

    cdef int give(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t sent = 0
        self.written += size
        if self.socket >= 0 and (not self.behind or self.caught_up()):
            sent = send_now(self.socket, data, self.last and self.size == 0)
            if sent == size:
                return 0
            self.behind = True
        try:
            self.transport.write(memoryview(data)[sent:] if sent else data)
        except Exception as error:
            self.broken = error  # whoever sends must not suffer; the connection ends
        return 0

    cdef bint caught_up(self) except -1:
        """Whether the transport has written all that it was given; less may not be overtaken."""
        self.measure()
        self.behind = self.backlog > 0
        return not self.behind

    cdef int measure(self) except -1:
        """Look at what the transport still holds."""
        self.backlog = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return 0

    cpdef int pause(self) except -1:
        """The transport asks to wait."""
        self.paused = True
        return self.measure()

    cpdef int resume(self) except -1:
        """The transport has written its backlog."""
        self.paused = False
        self.backlog = 0
        if self.pong is not None:
            pong, self.pong = self.pong, None
            self.put_control(pong)
            self.listed().insert(0, self.listed().pop())  # nothing may come behind a close frame
        self.flush()
        self.dropping = self.dropping and self.paused
        return 0

    cpdef object below(self, Py_ssize_t limit, object future):
        """Resolve `future` when fewer than `limit` bytes are queued; True if that is so now."""
        self.flush()
        self.measure()
        if self.queued() < limit:
            return True
        if self.waiting is None:
            self.waiting = []
        self.waiting.append((limit, future))
        return False

    cdef int settle_waiting(self) except -1:
        """Wake who waits for the queue to be short enough."""
        still = []
        for below, future in self.waiting:
            if future.done():
                continue
            if self.queued() < below:
                future.set_result(None)
            else:
                still.append((below, future))
        self.waiting = still or None
        return 0

    cpdef int fail_waiting(self, str why) except -1:
        """Nobody needs to wait for this queue any more: NoProcess to who does."""
        waiting, self.waiting = self.waiting, None
        for _, future in waiting or ():
            if not future.done():
                future.set_exception(NoProcess(why))
        return 0

    cpdef int close(self) except -1:
        """The transport has ended."""
        self.transport = self.only = self.frames = self.pong = None
        self.socket = -1
        self.size = self.control = self.backlog = 0
        return 0
