# cython: auto_pickle=False, autotestdict=False
"""FrameCodec: WebSocket frames (RFC 6455 section 5) into whole messages, and back. No I/O.

Two lanes. Plain frames (TEXT or BINARY in one frame, not compressed; PING; PONG; a CLOSE with
nothing odd in it) are read here, straight from the caller's window into the `str` or `bytes` that
is handed over. Everything else goes through wsproto (`_wsproto`), whose verdicts are final.
README.md lists where they differ.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from wsrelay_core._encode cimport close_body, frame, fresh_key
from wsrelay_core._gather cimport Gather
from wsrelay_core._mask cimport mask
from wsrelay_core._wire cimport (
    BINARY,
    BUSY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    FAILED,
    FIN,
    INVALID_DATA,
    LENGTH,
    MASKED,
    MASK_KEY,
    MAX_CONTROL,
    MESSAGE_TOO_BIG,
    NEED_MORE,
    NO_STATUS,
    OPCODE,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    announced,
    header_size,
    length_size,
    minimal,
)
from wsrelay_core._wsproto cimport WsprotoLane, load_wsproto


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void* PyUnicode_DATA(object text)
    object PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)
    const Py_ssize_t PY_SSIZE_T_MAX

# Fragments of one message that are always allowed, and payload bytes of the limit that allow one
# more. (Autobahn sends 4 MiB in fragments of 64 bytes.)
cdef enum:
    FREE_FRAGMENTS = 1024
    BYTES_PER_FRAGMENT = 64

cdef const unsigned char* NO_KEY = b"\x00\x00\x00\x00"

# What wsproto reads in one next(): a fragment (about 5 microseconds) or a slice of one is a piece;
# a compressed slice, out of which a thousand times as much may come, is all of them.
cdef enum:
    PIECES = 8

# What wsproto calls them, once there is a codec.
cdef object NO_RSV = None
cdef dict OPCODES = None


cdef int load() except -1:
    """Import wsproto for the first codec; an App has imported it by then."""
    global NO_RSV, OPCODES
    from wsproto.frame_protocol import Opcode, RsvBits
    load_wsproto()
    NO_RSV = RsvBits(False, False, False)
    OPCODES = {int(opcode): opcode for opcode in Opcode}
    return 0


cdef inline bint usual_code(int code) noexcept:
    """Close codes that any peer may send; what is with the others, wsproto knows."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1011 or 3000 <= code <= 4999


@cython.final
@cython.no_gc  # nothing that it holds can lead back to it
cdef class FrameCodec:
    """Reader and writer of the frames of one connection (RFC 6455 section 5, RFC 7692).

    Args:
        client: role of this end. A client reads unmasked frames and writes masked ones.
        max_message: bytes of the largest message that is read, after decompression and across
            fragments; 0 for no limit.
        max_fragments: frames of one message; 0 for 1024 and one more for each 64 bytes of
            `max_message` (no limit without a `max_message`).
        deflate: wsproto's `PerMessageDeflate` as the handshake left it, or None.
        native: False sends every frame through wsproto.

    After an error only that error comes; after a CLOSE nothing.
    """

    def __init__(
        self,
        *,
        bint client=False,
        Py_ssize_t max_message=0,
        Py_ssize_t max_fragments=0,
        object deflate=None,
        bint native=True,
    ):
        if max_message < 0 or max_fragments < 0:
            raise ValueError("a limit can't be negative")
        if OPCODES is None:
            load()
        if max_fragments == 0 and max_message:
            max_fragments = FREE_FRAGMENTS + max_message // BYTES_PER_FRAGMENT
        self.client = client
        self._native = native
        self._max_message = max_message or PY_SSIZE_T_MAX
        self._max_fragments = max_fragments or PY_SSIZE_T_MAX
        self._deflate = deflate if deflate is not None and deflate.enabled() else None

    # -- input

    cdef int give(self, const unsigned char* data, Py_ssize_t size) except -1:
        if self.error_code or self._closed:
            return 0
        if self._window_size or (self._held is None and self._pos < self._size):
            raise RuntimeError("give() before the last window was used up or held")
        if self._held is None:
            self._data = data
            self._pos = 0
            self._size = size
        else:
            self._window = data
            self._window_size = size
        return 0

    cdef int hold(self) except -1:
        cdef Py_ssize_t rest = self._size - self._pos
        cdef bytes held
        cdef char* out
        if rest + self._window_size == 0:
            self._drop_input()
        elif self._held is None or self._window_size or rest < PyBytes_GET_SIZE(self._held) // 2:
            held = PyBytes_FromStringAndSize(NULL, rest + self._window_size)
            out = PyBytes_AS_STRING(held)
            memcpy(out, self._data + self._pos, rest)
            if self._window_size:
                memcpy(out + rest, self._window, self._window_size)
            self._drop_input()
            self._held = held
            self._data = <const unsigned char*>out
            self._size = PyBytes_GET_SIZE(held)
        self._settle(NEED_MORE)
        return 0

    cdef bint _refill(self) noexcept:
        self._data = self._window
        self._size = self._window_size
        self._pos = 0
        self._window = NULL
        self._window_size = 0
        self._held = None
        return self._size > 0

    cdef int _drop_input(self) except -1:
        self._window_size = 0
        self._refill()
        return 0

    # -- the road of a frame: next -> _header -> _begin -> _payload -> one of the lanes

    cdef int next(self) except -2:
        cdef int kind
        if self.error_code or self._closed:
            self._drop_input()
            return FAILED if self.error_code else NEED_MORE
        self._pieces = PIECES
        while True:
            while self._pos < self._size:
                if self._pieces <= 0:
                    return BUSY
                kind = self._payload() if self._in_frame else self._header()
                if kind != NEED_MORE:
                    return kind
            if not self._refill():
                return self._settle(NEED_MORE)

    cdef int _settle(self, int kind) except -2:
        """Tell the caller how things stand."""
        self.payload = None
        self.in_message = self._in_frame or self._head_size > 0
        self.pinned = 0 if self._held is None else PyBytes_GET_SIZE(self._held)
        if self._gather is not None:
            self.pinned += self._gather.capacity
        if self._lane is not None:
            self.in_message = self.in_message or self._lane.open
            self.pinned += self._lane.pinned()
        return kind

    cdef int _fail(self, int code, object reason) except -2:
        self.error_code = code
        self.error_reason = reason
        return self._end(FAILED)

    cdef int _end(self, int kind) except -2:
        """Nothing more will be read: give everything back."""
        self._in_frame = False
        self._head_size = 0
        self._gather = None
        self._lane = None
        self._drop_input()
        return self._settle(kind)

    cdef WsprotoLane _wsproto(self):
        if self._lane is None:
            self._lane = WsprotoLane.new(
                self.client, self._deflate, self._max_message, self._max_fragments
            )
        return self._lane

    # -- header

    cdef int _header(self) except -2:
        cdef const unsigned char* head = self._data + self._pos
        cdef Py_ssize_t available = self._size - self._pos
        cdef Py_ssize_t size
        if self._head_size == 0 and available >= 2:
            size = header_size(head[1])
            if available >= size:
                self._pos += size
                return self._begin(head, size)
        return self._cut_header()

    cdef int _cut_header(self) except -2:
        """A header that the window cuts: copy what is there."""
        cdef Py_ssize_t wanted = 2
        while self._pos < self._size:
            self._head[self._head_size] = self._data[self._pos]
            self._pos += 1
            self._head_size += 1
            if self._head_size >= 2:
                wanted = header_size(self._head[1])
            if self._head_size == wanted:
                self._head_size = 0
                return self._begin(self._head, wanted)
        if self._head_size < 2:
            return NEED_MORE
        if self._sound(self._head[0], self._head[1]) and (
            self._head_size < length_size(self._head[1])
            or minimal(self._head[1], announced(self._head))
        ):
            return NEED_MORE
        return self._judge(self._head, self._head_size)

    cdef bint _sound(self, unsigned char first, unsigned char second) noexcept:
        """Nothing in the first two bytes needs a judge (RFC 6455 sections 5.1, 5.2 and 5.5)."""
        cdef unsigned char opcode = first & OPCODE
        if ((second & MASKED) != 0) == self.client or first & (RSV2 | RSV3):
            return False
        if opcode & CONTROL:
            return (
                first & (FIN | RSV1) == FIN
                and opcode <= PONG
                and second & LENGTH <= MAX_CONTROL
            )
        if first & RSV1:          # RFC 7692 section 6: first frame of a message only
            return self._deflate is not None and opcode in (TEXT, BINARY)
        return opcode <= BINARY

    cdef int _judge(self, const unsigned char* head, Py_ssize_t size) except -2:
        cdef WsprotoLane lane = self._wsproto()
        if lane.judge(head, size):
            return self._fail(lane.error_code, lane.error_reason)
        return NEED_MORE

    cdef int _begin(self, const unsigned char* head, Py_ssize_t size) except -2:
        cdef unsigned char first = head[0]
        cdef uint64_t length = announced(head)
        cdef bint sound = self._sound(first, head[1]) and minimal(head[1], length)
        if not sound and self._judge(head, size) == FAILED:
            return FAILED
        self._in_frame = True
        self._left = length
        self._opcode = first & OPCODE
        self._by_wsproto = not (sound and self._native and self._plain(first))
        if self._by_wsproto:
            if self._opcode == CLOSE and sound and self._native and self._plain_close(head, size):
                return self._end(CLOSE)
            return self._begin_wsproto(head, size, length)
        if length > self._max_message and not self._opcode & CONTROL:
            return self._fail(MESSAGE_TOO_BIG, "message too big")
        if head[1] & MASKED:
            memcpy(self._key, head + size - MASK_KEY, MASK_KEY)
        return self._payload()

    cdef bint _plain(self, unsigned char first) noexcept:
        """A sound frame that begins so is for the native lane."""
        if first & CONTROL:
            return first & OPCODE != CLOSE
        return (
            first & (FIN | RSV1) == FIN
            and first & OPCODE != CONTINUATION
            and (self._lane is None or not self._lane.open)
        )

    cdef bint _plain_close(self, const unsigned char* head, Py_ssize_t size) except -1:
        """Read a close frame that is wholly there, with a usual code and a reason in ASCII.

        Of any other nothing is read: wsproto judges it.
        """
        cdef const unsigned char* data = self._data + self._pos
        cdef const unsigned char* key = head + size - MASK_KEY if head[1] & MASKED else NO_KEY
        cdef Py_ssize_t length = head[1] & LENGTH
        cdef unsigned char reason[MAX_CONTROL]
        cdef int code = NO_STATUS
        if length == 1 or length > self._size - self._pos:
            return False
        if length:
            code = (data[0] ^ key[0]) << 8 | (data[1] ^ key[1])
            if not usual_code(code) or not mask(reason, data + 2, length - 2, key, 2):
                return False
        self.close_code = code
        self.close_reason = PyUnicode_DecodeUTF8(<const char*>reason, max(0, length - 2), NULL)
        self._closed = True
        return True

    cdef int _payload(self) except -2:
        cdef const unsigned char* data = self._data + self._pos
        cdef Py_ssize_t size = self._size - self._pos
        if <uint64_t>size > self._left:
            size = <Py_ssize_t>self._left
        if self._by_wsproto:
            return self._wsproto_part(data, size)
        self._pos += size
        self._left -= size
        if self._left:
            return self._part(data, size) if size else NEED_MORE
        self._in_frame = False
        return self._whole(data, size) if self._gather is None else self._part(data, size)

    # -- native lane

    cdef int _whole(self, const unsigned char* data, Py_ssize_t size) except -2:
        """All of the payload is in the window."""
        cdef unsigned char* out
        if self._opcode != TEXT:
            self.payload = PyBytes_FromStringAndSize(NULL, size)
            mask(<unsigned char*>PyBytes_AS_STRING(self.payload), data, size, self._key, 0)
            return self._opcode
        self.payload = PyUnicode_New(size, 127)
        out = <unsigned char*>PyUnicode_DATA(self.payload)
        if mask(out, data, size, self._key, 0):
            return TEXT
        return self._decode(out, size)

    cdef int _decode(self, const unsigned char* data, Py_ssize_t size) except -2:
        """Text that is not ASCII. Its bytes are in the str that would have been the payload."""
        try:
            self.payload = PyUnicode_DecodeUTF8(<const char*>data, size, NULL)
        except UnicodeDecodeError:
            return self._fail(INVALID_DATA, "invalid UTF-8")
        return TEXT

    cdef int _part(self, const unsigned char* data, Py_ssize_t size) except -2:
        """The window cuts the payload, or cut it before."""
        if self._gather is None:
            # Up to 2^63 may be announced; the bound only keeps it from being more.
            self._gather = Gather.new(self._opcode == TEXT, size + <Py_ssize_t>self._left)
        if not self._gather.add(data, size, self._key, self._gather.size & 3):
            return self._fail(INVALID_DATA, "invalid UTF-8")
        if self._left:
            return NEED_MORE
        self.payload = self._gather.take()
        self._gather = None
        if self.payload is None:
            return self._fail(INVALID_DATA, "invalid UTF-8")
        return self._opcode

    # -- wsproto's lane

    cdef int _begin_wsproto(
        self, const unsigned char* head, Py_ssize_t size, uint64_t length
    ) except -2:
        cdef int kind = self._from_wsproto(self._wsproto().begin(head, size, length))
        self._pieces -= 1
        if kind == NEED_MORE and length and self._pos < self._size:
            return self._payload()
        return kind

    cdef int _wsproto_part(self, const unsigned char* data, Py_ssize_t size) except -2:
        cdef Py_ssize_t slice_size
        cdef int kind = NEED_MORE
        while size and kind == NEED_MORE and self._pieces > 0:
            self._pieces -= PIECES if self._lane.is_inflating() else 1
            slice_size = min(size, self._lane.step)
            self._pos += slice_size
            self._left -= slice_size
            kind = self._from_wsproto(self._lane.push(data, slice_size))
            data += slice_size
            size -= slice_size
        return kind

    cdef int _from_wsproto(self, int kind) except -2:
        cdef WsprotoLane lane = self._lane
        if kind == FAILED:
            return self._fail(lane.error_code, lane.error_reason)
        if self._left == 0:
            self._in_frame = False
        if kind == CLOSE:
            self._closed = True
            self.close_code, self.close_reason = lane.payload
            return self._end(CLOSE)
        if kind != NEED_MORE:
            self.payload = lane.payload
            lane.payload = None
        return kind

    # -- output

    cdef bytes encode(self, int opcode, const unsigned char* data, Py_ssize_t size):
        if self._deflate is not None and not opcode & CONTROL:
            return self._encode_deflated(opcode, data[:size])
        return frame(FIN | opcode, data, size, fresh_key() if self.client else NULL)

    cdef bytes _encode_deflated(self, int opcode, bytes data):
        cdef bytes packed
        rsv, packed = self._deflate.frame_outbound(self, OPCODES[opcode], NO_RSV, data, True)
        return frame(
            FIN | opcode | (RSV1 if rsv.rsv1 else 0),
            <const unsigned char*>PyBytes_AS_STRING(packed),
            PyBytes_GET_SIZE(packed),
            fresh_key() if self.client else NULL,
        )

    # -- from Python: tests, benchmarks, the client

    def feed(self, object data, object stop_after=None):
        """Read bytes; return a list of events `(opcode, payload)`.

        TEXT (1) has a `str`, BINARY (2), PING (9) and PONG (10) have `bytes`, CLOSE (8) has
        `(code, reason)`. An error is `(-1, (code, reason))`, as the last event of this and of each
        later call (codes 1002, 1007 and 1009 of RFC 6455 section 7.4.1).

        Args:
            data: bytes-like.
            stop_after: events after which to stop; the rest is held, and read by the next call
                before its own data.
        """
        cdef Py_buffer view
        cdef Py_ssize_t limit = PY_SSIZE_T_MAX if stop_after is None else stop_after
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.give(<const unsigned char*>view.buf, view.len)
            return self._events(limit)
        finally:
            PyBuffer_Release(&view)

    cdef list _events(self, Py_ssize_t limit):
        cdef list events = []
        cdef int kind
        while len(events) < limit:
            kind = self.next()
            if kind == BUSY:
                continue
            if kind == NEED_MORE:
                return events
            events.append((kind, self._subject(kind)))
            if kind == FAILED:
                return events
        self.hold()
        return events

    cdef object _subject(self, int kind):
        if kind == FAILED:
            return self.error_code, self.error_reason
        if kind == CLOSE:
            return self.close_code, self.close_reason
        return self.payload

    def encode_message(self, object data):
        """One message as one frame, compressed if that was negotiated.

        Args:
            data: `str` (TEXT) or `bytes` (BINARY).

        Raises:
            UnicodeEncodeError: a `str` with surrogates has no UTF-8.
        """
        cdef int opcode = TEXT if isinstance(data, str) else BINARY
        cdef bytes body = data.encode() if opcode == TEXT else bytes(data)
        return self.encode(
            opcode, <const unsigned char*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)
        )

    def encode_frame(self, int opcode, bytes payload not None, bint fin=True):
        """One frame with exactly this payload, never compressed (fragments, control frames).

        Raises:
            ValueError: no such opcode, or a control frame that is fragmented or longer than 125
                bytes (RFC 6455 section 5.5).
        """
        if opcode not in OPCODES:
            raise ValueError(f"no such opcode: {opcode}")
        if opcode & CONTROL and (not fin or PyBytes_GET_SIZE(payload) > MAX_CONTROL):
            raise ValueError("a control frame has at most 125 bytes and is not fragmented")
        return frame(
            (FIN if fin else 0) | opcode,
            <const unsigned char*>PyBytes_AS_STRING(payload),
            PyBytes_GET_SIZE(payload),
            fresh_key() if self.client else NULL,
        )

    def encode_close(self, int code=NO_STATUS, object reason=""):
        """A close frame; its body as in `close_body`."""
        return self.encode_frame(CLOSE, close_body(code, reason))
