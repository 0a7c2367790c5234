"""Frames out. `_frame` passes `server_frame` and `close_body` on to those above it."""

# One frame with this first byte; masked with the four bytes at `key`, unmasked if it is NULL.
cdef bytes frame(
    int first, const unsigned char* data, Py_ssize_t size, const unsigned char* key
)

# An unpredictable masking key, valid until the next call.
cdef const unsigned char* fresh_key() except NULL

# Unmasked and uncompressed: the one object that a broadcast shares.
cdef bytes server_frame(int opcode, const unsigned char* data, Py_ssize_t size)

# Body of a close frame: code, and reason cut to 123 bytes of UTF-8 at a character boundary.
# 1005 stands for an empty body; 1006 and 1015, never sent, become 1000.
cdef bytes close_body(int code, object reason)
