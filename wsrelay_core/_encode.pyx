# cython: auto_pickle=False, autotestdict=False
"""Frames out (RFC 6455 section 5.2): one allocation each, masked only by a client."""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from wsrelay_core._mask cimport mask
from wsrelay_core._wire cimport (
    ABNORMAL_CLOSURE,
    FIN,
    MASKED,
    MASK_KEY,
    MAX_CONTROL,
    MAX_REASON,
    NO_STATUS,
    NORMAL_CLOSURE,
    TLS_HANDSHAKE,
    put_length,
)


cdef bytes frame(
    int first, const unsigned char* data, Py_ssize_t size, const unsigned char* key
):
    """One frame; masked if there is a key."""
    cdef Py_ssize_t start = 2 if size <= MAX_CONTROL else 4 if size <= 0xFFFF else 10
    cdef Py_ssize_t body = start if key == NULL else start + MASK_KEY
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, body + size)
    cdef unsigned char* out = <unsigned char*>PyBytes_AS_STRING(whole)
    out[0] = <unsigned char>first
    put_length(out, start, size)
    if key == NULL:
        memcpy(out + body, data, size)
    else:
        out[1] |= MASKED
        memcpy(out + start, key, MASK_KEY)
        mask(out + body, data, size, key, 0)
    return whole


cdef bytes server_frame(int opcode, const unsigned char* data, Py_ssize_t size):
    return frame(FIN | opcode, data, size, NULL)


cdef bytes close_body(int code, object reason):
    """RFC 6455 section 5.5.1. 1005 stands for an empty body; 1006 and 1015 are never sent."""
    cdef bytes text
    cdef Py_ssize_t size
    if code == NO_STATUS:
        return b""
    if code in (ABNORMAL_CLOSURE, TLS_HANDSHAKE):
        code = NORMAL_CLOSURE
    text = b"" if reason is None else reason.encode("utf-8", "replace")
    size = PyBytes_GET_SIZE(text)
    if size > MAX_REASON:
        size = MAX_REASON
        while text[size] & 0xC0 == 0x80:      # inside a character
            size -= 1
    return code.to_bytes(2, "big") + text[:size]


# -- masking keys: unpredictable (RFC 6455 section 5.3), drawn from the system many at once


cdef enum:
    POOL = 4096

cdef bytes key_pool = b""
cdef Py_ssize_t keys_used = POOL


cdef const unsigned char* fresh_key() except NULL:
    global key_pool, keys_used
    if keys_used == POOL:
        key_pool = os.urandom(POOL)
        keys_used = 0
    keys_used += MASK_KEY
    return <const unsigned char*>PyBytes_AS_STRING(key_pool) + keys_used - MASK_KEY


def _forget_keys():
    """A child process must not use its parent's keys."""
    global keys_used
    keys_used = POOL


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_keys)
