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
    KILL = 7


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
    cdef double kill_due
    cdef double paused_at

    cpdef int start(self, double when) noexcept
    cpdef int set_heartbeat(self, double interval, double when) noexcept
    cpdef int message(self, double when) noexcept
    cpdef int unfinished(self, double when) noexcept
    cpdef int all_finished(self) noexcept
    cpdef int ponged(self, double when) noexcept
    cpdef int pause(self, double when) noexcept
    cpdef int resume(self, double when) noexcept
    cpdef int closing(self, double when) noexcept
    cpdef int kill_at(self, double when) noexcept
    cpdef double next(self) noexcept
    cpdef int due(self, double when) noexcept
