"""Which process runs, and which task is current: the short ways of the hot road."""

from cpython.object cimport PyObject

from wsrelay_core._process cimport Process

cdef extern from *:
    """
    /* The context that this thread is in; NULL before the first use of one. */
    static inline PyObject* wsrelay_context(void) { return PyThreadState_Get()->context; }
    """
    PyObject* thread_context "wsrelay_context"()

# The process whose coroutine is stepped, by a drain or by its task; who steps it holds it. It is
# believed only where the thread is in that process's own context, which no other thread and no
# other task can be in at the same time.
cdef PyObject* hint


cdef inline void set_hint(Process process) noexcept:
    """From here to `clear_hint` its coroutine is stepped."""
    global hint
    hint = <PyObject*>process


cdef inline void clear_hint() noexcept:
    """After each step, even where it was amid another one's: that one is found without."""
    global hint
    hint = NULL


cdef inline PyObject* borrow_hinted() noexcept:
    """`hinted_process` as a borrowed reference, NULL for None: who steps it holds it."""
    if hint is not NULL and thread_context() == <PyObject*>(<Process>hint).context:
        return hint
    return NULL


cdef inline Process hinted_process():
    """The running process, if it is being stepped and no other context is in force; else None.

    The thread is the one that runs the loop, then: no other can be in that context.
    """
    cdef PyObject* found = borrow_hinted()
    return <Process>found if found is not NULL else None


cdef int enter_task(object loop, object task) except -1
cdef int leave_task(object loop, object task) except -1
