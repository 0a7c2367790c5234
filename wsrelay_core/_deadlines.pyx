"""When a connection must be pinged, beaten, or ended: time rules without a clock."""

cimport cython


cdef inline double earlier(double first, double second) noexcept:
    """The earlier of two times, where 0 is none."""
    if first == 0 or (second != 0 and second < first):
        return second
    return first


cdef inline double shifted(double when, double by) noexcept:
    return when + by if when else 0


@cython.final
cdef class Deadlines:
    """The time rules of one connection; seconds, 0 is off (a close timeout of 0 waits for nothing).

    While reading is paused by back-pressure the ping, pong, idle and message clocks stand still.
    """

    def __cinit__(self, double ping_interval=0, double ping_timeout=0, double idle_timeout=0,
                  double message_timeout=0, double close_timeout=5, double heartbeat=0):
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.idle_timeout = idle_timeout
        self.message_timeout = message_timeout
        self.close_timeout = close_timeout
        self.heartbeat = heartbeat

    cpdef int start(self, double when) noexcept:
        """The connection opened."""
        if self.ping_interval > 0:
            self.ping_due = when + self.ping_interval
        if self.idle_timeout > 0:
            self.idle_due = when + self.idle_timeout
        if self.heartbeat > 0:
            self.heartbeat_due = when + self.heartbeat
        return 0

    cpdef int set_heartbeat(self, double interval, double when) noexcept:
        """Change the heartbeat; 0 stops it."""
        self.heartbeat = interval
        self.heartbeat_due = when + interval if interval > 0 else 0
        return 0

    cpdef int message(self, double when) noexcept:
        """A whole message came."""
        self.message_due = 0
        if self.idle_due:
            self.idle_due = when + self.idle_timeout
        return 0

    cpdef int unfinished(self, double when) noexcept:
        """Bytes of an unfinished message came: a sign of life, and its age begins to count."""
        if self.message_due == 0 and self.message_timeout > 0:
            self.message_due = when + self.message_timeout
        if self.pong_due:
            self.pong_due = when + self.ping_timeout
        if self.idle_due:
            self.idle_due = when + self.idle_timeout
        return 0

    cpdef int all_finished(self) noexcept:
        """No message and no frame is unfinished."""
        self.message_due = 0
        return 0

    cpdef int ponged(self, double when) noexcept:
        """The awaited pong came."""
        self.pong_due = 0
        if self.ping_interval > 0:
            self.ping_due = when + self.ping_interval
        return 0

    cpdef int pause(self, double when) noexcept:
        """Reading stops for back-pressure."""
        self.paused_at = when
        return 0

    cpdef int resume(self, double when) noexcept:
        """Reading goes on: the clocks that stood still are set later by as long as they stood."""
        cdef double by = when - self.paused_at
        if self.paused_at == 0:
            return 0
        self.paused_at = 0
        self.ping_due = shifted(self.ping_due, by)
        self.pong_due = shifted(self.pong_due, by)
        self.idle_due = shifted(self.idle_due, by)
        self.message_due = shifted(self.message_due, by)
        return 0

    cpdef int closing(self, double when) noexcept:
        """A close frame was queued: from now on only the close timeout counts."""
        self.ping_due = self.pong_due = self.idle_due = self.message_due = 0
        self.heartbeat_due = self.paused_at = 0
        self.close_due = when + self.close_timeout
        return 0

    cpdef int kill_at(self, double when) noexcept:
        """The last moment for a polite end."""
        self.kill_due = when
        return 0

    cpdef double next(self) noexcept:
        """The next time at which `due` has something to say, 0 for never."""
        cdef double first = earlier(earlier(self.close_due, self.kill_due), self.heartbeat_due)
        if self.paused_at == 0:
            first = earlier(first, earlier(self.ping_due, self.pong_due))
            first = earlier(first, earlier(self.idle_due, self.message_due))
        return first

    cpdef int due(self, double when) noexcept:
        """What is due by now, one action at a call; what repeats is set anew."""
        if 0 < self.kill_due <= when:
            self.kill_due = 0
            return KILL
        if 0 < self.close_due <= when:
            self.close_due = 0
            return CLOSE_TIMEOUT
        if 0 < self.heartbeat_due <= when:
            self.heartbeat_due += self.heartbeat  # keeps its beat, however late it was seen
            if self.heartbeat_due <= when:
                self.heartbeat_due = when + self.heartbeat
            return HEARTBEAT
        if self.paused_at:
            return NOTHING
        if 0 < self.pong_due <= when:
            self.pong_due = 0
            return PING_TIMEOUT
        if 0 < self.message_due <= when:
            self.message_due = 0
            return MESSAGE_TIMEOUT
        if 0 < self.idle_due <= when:
            self.idle_due = 0
            return IDLE_TIMEOUT
        if 0 < self.ping_due <= when:
            self.ping_due = 0 if self.ping_timeout > 0 else when + self.ping_interval
            if self.ping_timeout > 0:
                self.pong_due = when + self.ping_timeout
            return SEND_PING
        return NOTHING
