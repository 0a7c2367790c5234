# cython: auto_pickle=False, autotestdict=False
"""The lane of frames that wsproto reads: fragments, compressed messages, CLOSE, and every doubt.

wsproto says what a frame means and whether it is an error. It bounds nothing, so what is announced
is weighed here before wsproto sees a byte of it, and what it hands out is counted slice by slice.
"""

cimport cython
from libc.stdint cimport uint64_t

from wsrelay_core._gather cimport Gather
from wsrelay_core._wire cimport (
    CONTINUATION,
    CONTROL,
    FAILED,
    INVALID_DATA,
    MESSAGE_TOO_BIG,
    NEED_MORE,
    OPCODE,
    RSV1,
    TEXT,
)

# Of wsproto.frame_protocol, once `load_wsproto` was called.
cdef object FrameProtocol = None
cdef object ParseFailed = None


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    char* PyBytes_AS_STRING(object data)
    Py_ssize_t PyBytes_GET_SIZE(object data)

# What a connection's worst slice expanded to counts a little less with each that follows.
cdef double FORGETTING = 1 - 1 / 64.0

cdef const unsigned char* NO_KEY = b"\x00\x00\x00\x00"


cdef int load_wsproto() except -1:
    global FrameProtocol, ParseFailed
    from wsproto.frame_protocol import FrameProtocol, ParseFailed
    return 0


@cython.final
cdef class WsprotoLane:
    """wsproto's `FrameProtocol` behind limits."""

    @staticmethod
    cdef WsprotoLane new(
        bint client, object deflate, uint64_t max_message, uint64_t max_fragments
    ):
        cdef WsprotoLane self = WsprotoLane.__new__(WsprotoLane)
        self._client = client
        self._extensions = [] if deflate is None else [deflate]
        self._protocol = FrameProtocol(client, self._extensions)
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._expansion = FIRST_EXPANSION
        return self

    cdef int judge(self, const unsigned char* head, Py_ssize_t size) except -1:
        # A protocol of its own, so that a header may be shown again when more of it is there.
        protocol = FrameProtocol(self._client, self._extensions)
        protocol.receive_bytes(head[:size])
        try:
            for _ in protocol.received_frames():
                pass
        except ParseFailed as error:
            self._parse_failed(error)
            return self.error_code
        return 0

    cdef int begin(
        self, const unsigned char* head, Py_ssize_t size, uint64_t length
    ) except -2:
        self.step = MAX_SLICE
        if not head[0] & CONTROL and self._admit(head[0], length) == FAILED:
            return FAILED
        self._pushed = 0
        return self._receive(head[:size])

    cdef int push(self, const unsigned char* data, Py_ssize_t size) except -2:
        self._pushed = size
        return self._receive(data[:size])

    cdef Py_ssize_t pinned(self) noexcept:
        cdef Py_ssize_t bytes_held = 0 if self._message is None else self._message.capacity
        return bytes_held + <Py_ssize_t>self._fragments * FRAGMENT_COST

    cdef bint is_inflating(self) noexcept:
        return self._compressed

    cdef int _admit(self, unsigned char first, uint64_t length) except -2:
        """Limits of a data frame, by its header alone."""
        cdef uint64_t limit = self._max_message
        if self.open != ((first & OPCODE) == CONTINUATION):
            # RFC 6455 section 5.4 is broken, and wsproto says so at the first byte. If it got more
            # at once, its verdict on bad compressed data could come first.
            self.step = 1
        else:
            if not self.open:
                self._compressed = (first & RSV1) != 0
            self._fragments += 1
        if self._fragments > self._max_fragments:
            return self._too_big("too many fragments")
        if self._compressed:
            limit += limit // 100 + 64            # what deflate may add to what can't be compressed
            if self.step > 1:
                self.step = self._deflate_slice()
        elif self._message is not None:
            limit -= self._message.size
        return self._too_big("message too big") if length > limit else NEED_MORE

    cdef Py_ssize_t _deflate_slice(self) noexcept:
        """Compressed bytes to inflate next, so that all memory stays below 2 x max_message.

        A slice can't be cut short, so one whose kind has expanded much lately is small: the others
        wait for it.
        """
        cdef Py_ssize_t slice_size = <Py_ssize_t>(INFLATED_SLICE / self._expansion)
        cdef uint64_t room = 2 * self._max_message + INFLATE_FLOOR
        if self._message is not None:
            room -= self._message.capacity
        room //= INFLATE_COST
        slice_size = max(MIN_DEFLATE_SLICE, min(slice_size, MAX_DEFLATE_SLICE))
        return slice_size if room > <uint64_t>slice_size else <Py_ssize_t>room

    cdef int _receive(self, bytes data) except -2:
        cdef int kind = NEED_MORE
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                if frame.opcode & CONTROL:
                    self.payload = frame.payload
                    kind = frame.opcode
                else:
                    kind = self._data(frame)
        except ParseFailed as error:
            return self._parse_failed(error)
        return kind

    cdef int _data(self, object frame) except -2:
        """One more piece of a message (wsproto decodes a text as it comes)."""
        cdef Py_ssize_t size = 0
        cdef const char* data
        cdef int opcode = frame.opcode
        piece = frame.payload
        if opcode == TEXT:
            data = PyUnicode_AsUTF8AndSize(piece, &size)
        else:
            data = PyBytes_AS_STRING(piece)
            size = PyBytes_GET_SIZE(piece)
        if self._compressed and self._pushed:
            self._learn(size)
        if self._message is None:
            self._message = Gather.new(opcode == TEXT, <Py_ssize_t>self._max_message)
        if <uint64_t>size > self._max_message - <uint64_t>self._message.size:
            return self._too_big("message too big")
        self._message.add(<const unsigned char*>data, size, NO_KEY, 0)
        if frame.message_finished:
            return self._finish(opcode)
        self.open = self.open or frame.frame_finished
        if self._compressed:
            self.step = self._deflate_slice()
        return NEED_MORE

    cdef int _learn(self, Py_ssize_t size) noexcept:
        """So much came out of the last slice. Next to nothing is no reason to forget."""
        cdef double expansion = self._expansion
        if self._pushed >= MIN_DEFLATE_SLICE:
            expansion = max(1.0, FORGETTING * expansion)
        self._expansion = max(expansion, size / <double>max(self._pushed, MIN_DEFLATE_SLICE))
        return 0

    cdef int _finish(self, int opcode) except -2:
        self.payload = self._message.take()
        self._message = None
        self._fragments = 0
        self.open = False
        if self._compressed:
            self._compressed = False
            self._renew_inflate()
        return opcode

    cdef int _renew_inflate(self) except -1:
        """A peer may end a message with BFINAL (RFC 7692 section 7.2.3.4).

        wsproto keeps the decompressor, which is at its end now, and every later message would come
        out empty. With a new one they come out right, or as an error if they refer to earlier data.
        """
        deflate = self._extensions[0]
        decompressor = deflate._decompressor
        if decompressor is not None and decompressor.eof:
            deflate._decompressor = None
        return 0

    cdef int _parse_failed(self, object error) except -2:
        self.error_code = error.code
        self.error_reason = str(error)
        if self.error_code == INVALID_DATA:       # wsproto's text has positions within a slice
            utf8 = isinstance(error.__context__, UnicodeDecodeError)
            self.error_reason = "invalid UTF-8" if utf8 else "invalid compressed data"
        return FAILED

    cdef int _too_big(self, object reason) except -2:
        self.error_code = MESSAGE_TOO_BIG
        self.error_reason = reason
        return FAILED
