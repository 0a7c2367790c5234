# cython: auto_pickle=False, autotestdict=False
"""A message that is still on its way: one growing buffer that becomes the `str` or `bytes`.

The buffer *is* the object that is handed over in the end (shortened in place), so a large binary
or ASCII message is written once. Other text is decoded from it, which costs one more pass.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from wsrelay_core._mask cimport mask, utf8_feed


cdef extern from "Python.h":
    PyObject* PyBytes_FromStringAndSize(const char* data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject** store, Py_ssize_t size) except -1
    char* PyBytes_AS_STRING(PyObject* store)
    PyObject* PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar) except NULL
    int PyUnicode_Resize(PyObject** store, Py_ssize_t size) except -1
    void* PyUnicode_DATA(PyObject* store)
    object PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)


@cython.final
cdef class Gather:
    """One growing buffer for the payload of one message."""

    @staticmethod
    cdef Gather new(bint text, Py_ssize_t bound):
        cdef Gather self = Gather.__new__(Gather)
        self._text = text
        self._ascii = text
        self._bound = bound
        return self

    def __dealloc__(self):
        Py_XDECREF(self._store)

    cdef int add(
        self,
        const unsigned char* data,
        Py_ssize_t size,
        const unsigned char* key,
        Py_ssize_t phase,
    ) except -1:
        cdef unsigned char* end
        cdef bint ascii
        if size > self.capacity - self.size:
            self._reserve(self.size + size)
        end = self._data + self.size
        ascii = mask(end, data, size, key, phase)
        self.size += size
        if not self._text or (ascii and self._utf8.due == 0):
            return 1
        self._ascii = False
        return utf8_feed(&self._utf8, end, size)

    cdef object take(self):
        cdef object whole
        if self._store == NULL:
            return "" if self._text else b""
        if self._utf8.due:
            return None
        if self._text and not self._ascii:
            return PyUnicode_DecodeUTF8(<char*>self._data, self.size, NULL)
        if self._text:
            PyUnicode_Resize(&self._store, self.size)
        else:
            _PyBytes_Resize(&self._store, self.size)
        whole = <object>self._store
        Py_XDECREF(self._store)
        self._store = NULL
        return whole

    cdef int _reserve(self, Py_ssize_t size) except -1:
        # Half as much again: linear in all, and never far beyond what really came. A last growth
        # for little would copy all once more.
        cdef Py_ssize_t capacity = size + size // 2
        if capacity > self._bound // 8 * 7:
            capacity = max(self._bound, size)
        self.capacity = 0             # a failed resize may have freed the store
        if self._text:
            if self._store == NULL:
                self._store = PyUnicode_New(capacity, 127)
            else:
                PyUnicode_Resize(&self._store, capacity)
            self._data = <unsigned char*>PyUnicode_DATA(self._store)
        else:
            if self._store == NULL:
                self._store = PyBytes_FromStringAndSize(NULL, capacity)
            else:
                _PyBytes_Resize(&self._store, capacity)
            self._data = <unsigned char*>PyBytes_AS_STRING(self._store)
        self.capacity = capacity
        return 0
