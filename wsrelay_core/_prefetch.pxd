"""Have the processor fetch memory before it is needed.

What belongs to one of thousands has left the caches when its turn comes again. One fetch takes as
long as hundreds of instructions, but many can be under way at a time: so they are begun together,
as soon as it is known what will be touched. Where all is in the caches, that costs a few
instructions.
"""

from cpython.object cimport PyObject

cdef extern from *:
    """
    /* So many bytes of an object; it need not be one. */
    static inline void wsrelay_prefetch(const void* object, int size) {
        for (int at = 0; at < size; at += 64)
            __builtin_prefetch((const char*) object + at, 1);
    }
    """
    void prefetch "wsrelay_prefetch"(PyObject* value, int size) noexcept
