"""The lane of frames that wsproto reads: fragments, compressed messages, CLOSE, and every doubt."""

cimport cython
from libc.stdint cimport uint64_t

from wsrelay_core._gather cimport Gather

cdef enum:
    FRAGMENT_COST = 64            # bytes that a fragment counts for beside its payload
    MAX_DEFLATE_SLICE = 512       # compressed bytes that wsproto inflates at once (it has no bound)
    MIN_DEFLATE_SLICE = 16        # the same of who sends what expands most
    INFLATED_SLICE = 16384        # bytes that should come out of one
    FIRST_EXPANSION = 256         # what a new connection is trusted with: bytes out of one
    MAX_SLICE = 8192              # other payload bytes at once: wsproto copies a slice six times
    INFLATE_COST = 9 * 1032       # one byte becomes up to 1032, and nine times that as wide text
    INFLATE_FLOOR = 32768         # what zlib and wsproto need anyhow, however small the limit


# Import wsproto, which must be done before the first lane. Not when this module is imported: with
# h11, which it brings, that was a fifth of what `import wsrelay` took.
cdef int load_wsproto() except -1


@cython.final
cdef class WsprotoLane:
    # What the last event was about; the codec takes it from here.
    cdef object payload           # str, bytes, or (code, reason) of a CLOSE
    cdef int error_code
    cdef object error_reason

    cdef bint open                # a fragmented message waits for its next frame
    cdef Py_ssize_t step          # payload bytes of this frame that push() may get at once

    cdef bint _client
    cdef list _extensions
    cdef object _protocol         # wsproto's FrameProtocol; it lives as long as the connection
    cdef Gather _message          # the unfinished message, as bytes of UTF-8 if it is a text
    cdef double _expansion        # bytes that came out of one, at worst and not long ago
    cdef Py_ssize_t _pushed       # bytes of the last slice
    cdef bint _compressed         # of the message, by RSV1 of its first frame (RFC 7692 section 6)
    cdef uint64_t _fragments
    cdef uint64_t _max_message
    cdef uint64_t _max_fragments

    @staticmethod
    cdef WsprotoLane new(
        bint client, object deflate, uint64_t max_message, uint64_t max_fragments
    )

    # wsproto's verdict on a header, or on the first bytes of one: its close code, 0 if none (yet).
    cdef int judge(self, const unsigned char* head, Py_ssize_t size) except -1

    # Each returns an event kind. begin() takes a whole header, push() some of its payload.
    cdef int begin(
        self, const unsigned char* head, Py_ssize_t size, uint64_t length
    ) except -2
    cdef int push(self, const unsigned char* data, Py_ssize_t size) except -2

    cdef Py_ssize_t pinned(self) noexcept
    cdef bint is_inflating(self) noexcept     # the unfinished message is compressed

    cdef int _admit(self, unsigned char first, uint64_t length) except -2
    cdef Py_ssize_t _deflate_slice(self) noexcept
    cdef int _renew_inflate(self) except -1
    cdef int _receive(self, bytes data) except -2
    cdef int _data(self, object frame) except -2
    cdef int _learn(self, Py_ssize_t size) noexcept
    cdef int _finish(self, int opcode) except -2
    cdef int _parse_failed(self, object error) except -2
    cdef int _too_big(self, object reason) except -2
