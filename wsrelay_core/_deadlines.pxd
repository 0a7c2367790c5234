"""When a connection must be pinged, beaten, or ended: time rules without a clock."""

cimport cython

cdef enum:
    NOTHING = 0
    SEND_PING = 1
    PING_TIMEOUT = 2
    IDLE_TIMEOUT = 3
    MESSAGE_TIMEOUT = 4
    HEARTBEAT = 5
    CLOSE_TIMEOUT = 6


@cython.final
cdef class Deadlines:
    # Intervals in seconds, 0 is off.
    cdef readonly double ping_interval
    cdef readonly double ping_timeout
    cdef readonly double idle_timeout
    cdef readonly double message_timeout
    cdef readonly double close_timeout
    cdef readonly double heartbeat
    # Times by the scheduler's clock, 0 is "not running".
    cdef double ping_due
    cdef double pong_due
    cdef double idle_due
    cdef double message_due
    cdef double heartbeat_due
    cdef double close_due
    cdef double paused_at

    cdef int start(self, double when) noexcept
    cdef int set_heartbeat(self, double interval, double when) noexcept
    cdef int message(self, double when) noexcept
    cdef int unfinished(self, double when) noexcept
    cdef int ponged(self, double when) noexcept
    cdef int pause(self, double when) noexcept
    cdef int resume(self, double when) noexcept
    cdef int closing(self, double when) noexcept
    cdef double next(self) noexcept
    cdef int due(self, double when) noexcept
