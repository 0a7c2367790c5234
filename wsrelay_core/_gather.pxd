"""A message that is still on its way: one growing buffer that becomes the `str` or `bytes`."""

cimport cython
from cpython.object cimport PyObject

from wsrelay_core._mask cimport Utf8


@cython.final
cdef class Gather:
    cdef PyObject* _store         # owned, nobody else has it: the bytes, or the ASCII str, to be
    cdef unsigned char* _data     # where its characters are
    cdef Py_ssize_t size          # bytes that came
    cdef Py_ssize_t capacity      # bytes that are allocated for them
    cdef Py_ssize_t _bound        # bytes that can come at most: no reason to allocate more
    cdef bint _text
    cdef bint _ascii              # so far
    cdef Utf8 _utf8

    @staticmethod
    cdef Gather new(bint text, Py_ssize_t bound)

    # Append, unmasked. 0: the text can't be UTF-8 any more.
    cdef int add(
        self,
        const unsigned char* data,
        Py_ssize_t size,
        const unsigned char* key,
        Py_ssize_t phase,
    ) except -1

    # The message, once; None if the text ends inside a character.
    cdef object take(self)

    cdef int _reserve(self, Py_ssize_t size) except -1
