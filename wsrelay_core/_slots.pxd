"""Generator slots and quick functions of C types, and what the interpreter wants in them.

`am_send` ends an await without an exception object (3.11 and asyncio use it); `tp_iternext` is what
`await` uses on 3.12 and later, and has to end with a StopIteration when there is a value.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030C0000
      #define WSRELAY_EAGER_TASKS 1
      static inline PyObject* wsrelay_take_exception(void) { return PyErr_GetRaisedException(); }
    #else
      #define WSRELAY_EAGER_TASKS 0
      static inline PyObject* wsrelay_take_exception(void) {
          PyObject *type, *value, *traceback;
          PyErr_Fetch(&type, &value, &traceback);
          if (type == NULL) return NULL;
          PyErr_NormalizeException(&type, &value, &traceback);
          if (traceback != NULL) {
              PyException_SetTraceback(value, traceback);
              Py_DECREF(traceback);
          }
          Py_DECREF(type);
          return value;
      }
    #endif

    /* Ends an awaitable with a value. A StopIteration object is made only where the interpreter
       has no other way to take the value (`await` of a C awaitable on 3.12 and later). */
    static inline PyObject* wsrelay_stop_with(PyObject* value) {
        if (value != Py_None) {
            if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
                PyObject* stop = PyObject_CallOneArg(PyExc_StopIteration, value);
                if (stop != NULL) {
                    PyErr_SetObject(PyExc_StopIteration, stop);
                    Py_DECREF(stop);
                }
            } else {
                PyErr_SetObject(PyExc_StopIteration, value);
            }
        }
        Py_DECREF(value);
        return NULL;
    }

    static inline void wsrelay_set_slots(PyTypeObject* type, void* next, void* send) {
        type->tp_iternext = (iternextfunc) next;
        type->tp_as_async->am_send = (sendfunc) send;
    #ifdef Py_TPFLAGS_HAVE_AM_SEND
        type->tp_flags |= Py_TPFLAGS_HAVE_AM_SEND;
    #endif
        PyType_Modified(type);
    }
    """
    bint EAGER_TASKS "WSRELAY_EAGER_TASKS"
    PyObject* take_exception "wsrelay_take_exception"()
    PyObject* stop_with "wsrelay_stop_with"(PyObject* value)
    ctypedef struct PyTypeObject:
        PyObject* tp_dict
    # A function or method that the interpreter calls without asking what kind of callable it is,
    # and that looks itself at how it was called.
    ctypedef PyObject* (*PyCFunction)(PyObject*, PyObject*)
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    int METH_FASTCALL, METH_KEYWORDS
    object PyCFunction_NewEx(PyMethodDef* method, PyObject* bound, object module)
    object PyDescr_NewMethod(PyTypeObject* type, PyMethodDef* method)
    object PyMethod_New(object function, object bound)
    PyObject* PyObject_Vectorcall(object function, PyObject* const* args, size_t count,
                                  PyObject* names) except NULL
    void PyType_Modified(PyTypeObject* type)
    void set_slots "wsrelay_set_slots"(PyTypeObject* type, void* next, void* send)
    int PYGEN_RETURN, PYGEN_ERROR, PYGEN_NEXT
    int PyIter_Send(PyObject* iter, PyObject* arg, PyObject** result) noexcept
    PyObject* Py_None


cdef inline int give_object(object value, PyObject** result) except -1:
    """Store a new reference to value in result."""
    Py_INCREF(value)
    result[0] = <PyObject*>value
    return 0


cdef inline object take_object(PyObject* value):
    """Own a reference that a C call returned."""
    cdef object owned = <object>value
    Py_XDECREF(value)
    return owned
