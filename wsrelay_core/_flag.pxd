"""A truth value of one byte, for classes with many of them and many objects: C's int has four."""

cdef extern from *:
    ctypedef bint flag "unsigned char"
