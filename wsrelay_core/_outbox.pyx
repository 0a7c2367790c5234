"""The bounded queue of frames towards one client.

The transport's own buffer is kept empty (`high=0`): a flush is written at once, and what the kernel
does not take makes the transport say `pause_writing`. From then on frames wait here, where whole
ones can still be dropped, until the transport has written its backlog.
"""

cimport cython

# What a queued frame costs beside its bytes: the object's header and its place in the list.
cdef Py_ssize_t FRAME_COST = 64


@cython.final
cdef class Outbox:
    """Frames towards one client, at most `limit` bytes of them.

    Args:
        limit: bytes; frames in the transport's hands count.
        policy: `close`, `drop_newest` or `drop_oldest`.
    """

    def __cinit__(self, Py_ssize_t limit, str policy="close"):
        self.limit = limit
        self.policy = {"close": POLICY_CLOSE, "drop_newest": POLICY_DROP_NEWEST,
                       "drop_oldest": POLICY_DROP_OLDEST}[policy]
        self.frames = []

    cdef int start(self, object transport) except -1:
        self.transport = transport
        self.write = transport.write
        transport.set_write_buffer_limits(high=0)
        return 0

    cdef Py_ssize_t queued(self) noexcept:
        return self.size + self.backlog

    cdef int put(self, bytes frame) except -1:
        """Queue a data frame: ACCEPTED, DROPPED by the policy, or OVERFULL (policy `close`)."""
        cdef Py_ssize_t cost = len(frame) + FRAME_COST
        if self.size + self.backlog + cost <= self.limit:
            self.append(frame, cost)
            return ACCEPTED
        return self.put_over(frame, cost)

    cdef inline int append(self, bytes frame, Py_ssize_t cost) except -1:
        self.frames.append(frame)
        self.size += cost
        if self.size + self.backlog > self.high_water:
            self.high_water = self.size + self.backlog
        return 0

    cdef int put_over(self, bytes frame, Py_ssize_t cost) except -1:
        """The frame would pass the limit: write what is queued first, then ask the policy."""
        self.flush()
        self.measure()
        if self.queued() and self.queued() + cost > self.limit:
            if self.policy == POLICY_CLOSE:
                return OVERFULL
            if self.policy == POLICY_DROP_NEWEST or not self.drop_oldest(cost):
                self.dropped += 1
                return DROPPED
        self.append(frame, cost)
        return ACCEPTED

    cdef bint drop_oldest(self, Py_ssize_t room) except -1:
        """Drop whole data frames, the oldest first, until `room` bytes fit; says if they do."""
        cdef Py_ssize_t index = 0
        cdef bytes frame
        while index < len(self.frames) and self.queued() and self.queued() + room > self.limit:
            frame = self.frames[index]
            if frame[0] & 0x08:  # control frames (RFC 6455 5.5) stay
                index += 1
                continue
            del self.frames[index]
            self.size -= len(frame) + FRAME_COST
            self.dropped += 1
        return self.queued() == 0 or self.queued() + room <= self.limit

    cdef int put_control(self, bytes frame) except -1:
        """Queue a control frame; there are few, and each is small, so no limit asks for them."""
        self.append(frame, len(frame) + FRAME_COST)
        return 0

    cdef int put_pong(self, bytes frame) except -1:
        """Queue an answer to a ping; while writing is paused only the newest is kept."""
        if self.paused:
            self.pong = frame
        else:
            self.put_control(frame)
        return 0

    cdef int flush(self) except -1:
        """Give the transport what waits, unless it asked to wait."""
        if self.frames and not self.paused and self.transport is not None:
            self.write_out()
        if self.waiting is not None:
            self.settle_waiting()
        return 0

    cdef int write_out(self) except -1:
        cdef list frames = self.frames
        if not frames:
            return 0
        self.frames = []
        self.size = 0
        self.write(frames[0] if len(frames) == 1 else b"".join(frames))
        return 0

    cdef int measure(self) except -1:
        """Look at what the transport still holds."""
        self.backlog = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return 0

    cdef int resume(self) except -1:
        """The transport has written its backlog."""
        self.paused = False
        self.backlog = 0
        if self.pong is not None:
            pong, self.pong = self.pong, None
            self.put_control(pong)
        return self.flush()

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
