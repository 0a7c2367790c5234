"""Numbers of the wire (RFC 6455 sections 5.2 and 7.4.1), what `FrameCodec.next()` answers, and the
arithmetic of a header.
"""

from libc.stdint cimport uint64_t

# Event kinds. Those that come from one opcode have its number.
cdef enum:
    NEED_MORE = 0     # window used up
    TEXT = 1          # payload: str, a whole message
    BINARY = 2        # payload: bytes, a whole message
    CLOSE = 8         # close_code (1005 if no body), close_reason (str)
    PING = 9          # payload: bytes
    PONG = 10         # payload: bytes
    FAILED = -1       # error_code (1002, 1007, 1009), error_reason (str); for good
    LATER = -3        # enough for one turn; the rest waits in the window (-2 is Cython's: an error)

# The opcode that is no event.
cdef enum:
    CONTINUATION = 0

# First byte of a frame.
cdef enum:
    FIN = 0x80
    RSV1 = 0x40
    RSV2 = 0x20
    RSV3 = 0x10
    OPCODE = 0x0F
    CONTROL = 0x08    # the bit that all control opcodes have

# Second byte of a frame, and the size of a whole header.
cdef enum:
    MASKED = 0x80
    LENGTH = 0x7F
    LENGTH_16 = 126
    LENGTH_64 = 127
    MAX_CONTROL = 125
    MASK_KEY = 4      # bytes of a masking key
    MAX_HEADER = 14

# Close codes that the core itself decides on.
cdef enum:
    NORMAL_CLOSURE = 1000
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    MESSAGE_TOO_BIG = 1009
    TLS_HANDSHAKE = 1015
    MAX_REASON = 123  # bytes of UTF-8 that a close frame has room for


cdef inline Py_ssize_t length_size(unsigned char second) noexcept nogil:
    """Bytes of a header up to the masking key."""
    cdef unsigned char short = second & LENGTH
    return 2 if short < LENGTH_16 else 4 if short == LENGTH_16 else 10


cdef inline Py_ssize_t header_size(unsigned char second) noexcept nogil:
    return length_size(second) + (MASK_KEY if second & MASKED else 0)


cdef inline uint64_t announced(const unsigned char* head) noexcept nogil:
    """The payload length that a header announces."""
    cdef uint64_t length = head[1] & LENGTH
    cdef Py_ssize_t i
    if length < LENGTH_16:
        return length
    length = 0
    for i in range(2, length_size(head[1])):
        length = length << 8 | head[i]
    return length


cdef inline bint minimal(unsigned char second, uint64_t length) noexcept nogil:
    """Shortest form, top bit clear (RFC 6455 section 5.2)."""
    cdef unsigned char short = second & LENGTH
    if short < LENGTH_16:
        return True
    if short == LENGTH_16:
        return length > MAX_CONTROL
    return length > 0xFFFF and length >> 63 == 0


cdef inline void put_length(
    unsigned char* out, Py_ssize_t start, Py_ssize_t size
) noexcept nogil:
    """Second byte and length of an unmasked header of `start` bytes, in the shortest form."""
    cdef Py_ssize_t i
    cdef uint64_t length = <uint64_t>size
    if start == 2:
        out[1] = <unsigned char>length
        return
    out[1] = LENGTH_16 if start == 4 else LENGTH_64
    for i in range(start - 1, 1, -1):
        out[i] = <unsigned char>(length & 0xFF)
        length >>= 8
