"""Numbers of the wire (RFC 6455 section 5.2 and 7.4.1) and what `FrameCodec.next()` answers."""

# Event kinds. Those that come from one opcode have its number.
cdef enum:
    NEED_MORE = 0     # window used up
    TEXT = 1          # payload: str, a whole message
    BINARY = 2        # payload: bytes, a whole message
    CLOSE = 8         # close_code (1005 if no body), close_reason (str)
    PING = 9          # payload: bytes
    PONG = 10         # payload: bytes
    FAILED = -1       # error_code (1002, 1007, 1009), error_reason (str); for good

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
