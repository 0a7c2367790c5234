"""FrameCodec: bytes of one connection into whole messages and control frames, and back.

The caller owns socket, clock and queues; the codec knows bytes only. One round of reading:

    codec.give(data, size)
    while True:
        kind = codec.next()
        if kind <= NEED_MORE: break       # NEED_MORE, or FAILED
        if kind == BUSY: ...              # go on, or hold(), if others wait
        ...                               # codec.payload, close_code, close_reason
        if it is enough for now:
            codec.hold(); break           # data may go; next() alone goes on later
"""

cimport cython
from libc.stdint cimport uint64_t

from wsrelay_core._encode cimport close_body, server_frame  # for those who cimport from here
from wsrelay_core._flag cimport flag
from wsrelay_core._gather cimport Gather
from wsrelay_core._wsproto cimport WsprotoLane


@cython.final
cdef class FrameCodec:
    # -- what the last next() found; `payload` is let go of at NEED_MORE, FAILED and hold()
    cdef object payload
    cdef readonly object close_reason
    cdef readonly object error_reason
    cdef readonly int close_code
    cdef readonly int error_code          # 0 while fine

    # -- state for the caller's limits, true after NEED_MORE, CLOSE, FAILED and hold()
    cdef readonly Py_ssize_t pinned       # bytes of memory that the unfinished and the held pin
    cdef readonly flag in_message         # a message or frame has begun and is not finished

    cdef readonly flag client             # read by PerMessageDeflate too
    cdef flag _native                     # False: everything through wsproto (tests)
    cdef flag _closed                     # CLOSE came: nothing more is read
    cdef int _pieces                      # that wsproto may still read in this next()
    cdef object _deflate                  # wsproto's PerMessageDeflate, enabled, or None
    cdef uint64_t _max_message
    cdef uint64_t _max_fragments

    # -- the input: first what is read now, then (only if that is held bytes) the window behind it
    cdef const unsigned char* _data
    cdef Py_ssize_t _pos
    cdef Py_ssize_t _size
    cdef const unsigned char* _window
    cdef Py_ssize_t _window_size
    cdef bytes _held                      # owns _data, or None: then the caller does

    # -- the frame
    cdef unsigned char _head[14]          # a header that is cut; whole headers are read in place
    cdef unsigned char _head_size
    cdef unsigned char _opcode
    cdef flag _in_frame                   # header done, payload not
    cdef flag _by_wsproto                 # the lane of this frame
    cdef unsigned char _key[4]            # zero if unmasked
    cdef uint64_t _left                   # payload bytes still to come
    cdef Gather _gather                   # payload of a native frame that is cut
    cdef WsprotoLane _lane                # made when first needed: idle connections stay small

    # The next window to read. It must stay valid until next() said NEED_MORE, FAILED or CLOSE, or
    # until hold(). Bytes held from before come first. RuntimeError if the last window is not done.
    cdef int give(self, const unsigned char* data, Py_ssize_t size) except -1

    # Decode up to the next event, and return its kind; BUSY, where that takes long. Raises nothing
    # but MemoryError.
    cdef int next(self) except -2

    # Back-pressure: copy what is unread, so that the window may go. Take the payload before.
    cdef int hold(self) except -1

    # One final frame; a data frame compressed if that was negotiated; masked in the client role.
    cdef bytes encode(self, int opcode, const unsigned char* data, Py_ssize_t size)

    cdef bint _refill(self) noexcept
    cdef int _settle(self, int kind) except -2
    cdef int _drop_input(self) except -1
    cdef int _fail(self, int code, object reason) except -2
    cdef int _end(self, int kind) except -2
    cdef WsprotoLane _wsproto(self)
    cdef bint _sound(self, unsigned char first, unsigned char second) noexcept
    cdef bint _plain(self, unsigned char first) noexcept
    cdef int _header(self) except -2
    cdef int _cut_header(self) except -2
    cdef int _judge(self, const unsigned char* head, Py_ssize_t size) except -2
    cdef int _begin(self, const unsigned char* head, Py_ssize_t size) except -2
    cdef int _begin_wsproto(
        self, const unsigned char* head, Py_ssize_t size, uint64_t length
    ) except -2
    cdef bint _plain_close(self, const unsigned char* head, Py_ssize_t size) except -1
    cdef int _payload(self) except -2
    cdef int _whole(self, const unsigned char* data, Py_ssize_t size) except -2
    cdef int _part(self, const unsigned char* data, Py_ssize_t size) except -2
    cdef int _wsproto_part(self, const unsigned char* data, Py_ssize_t size) except -2
    cdef int _decode(self, const unsigned char* data, Py_ssize_t size) except -2
    cdef int _from_wsproto(self, int kind) except -2
    cdef bytes _encode_deflated(self, int opcode, bytes data)
    cdef list _events(self, Py_ssize_t limit)
    cdef object _subject(self, int kind)
