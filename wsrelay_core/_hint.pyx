"""Which process runs, and which task is current: the short ways of the hot road.

The truth is in the context variable and in asyncio; each way here checks that it says the same.
"""

import asyncio

from cpython.object cimport PyObject

from wsrelay_core._process cimport Process

cdef extern from *:
    """
    /* The context that this thread is in; NULL before the first use of one. */
    static inline PyObject* wsrelay_context(void) { return PyThreadState_Get()->context; }
    """
    PyObject* thread_context "wsrelay_context"()

# The process whose coroutine is stepped, by a drain or by its task. It is believed only where the
# thread is in that process's own context, which no other thread and no other task can be in at the
# same time.
cdef Process hint = None


cdef int set_hint(Process process) except -1:
    """None after each step, even where it was amid another one's: that one is found without."""
    global hint
    hint = process
    return 0


cdef Process hinted_process():
    """The running process, if it is being stepped and no other context is in force; else None."""
    if hint is not None and thread_context() == <PyObject*>hint.context:
        return hint
    return None


# `asyncio._enter_task` and `_leave_task` set and clear this dict (loop -> running task) up to
# CPython 3.13; None where that is not so, and then the functions themselves are called.
cdef dict running_tasks = None


def _find_running_tasks():
    """asyncio's dict of running tasks, if a probe shows that it is what the functions use."""
    found = getattr(asyncio.tasks, "_current_tasks", None)
    if type(found) is not dict:
        return None
    loop, task = object(), object()
    asyncio._enter_task(loop, task)
    used = found.get(loop) is task
    asyncio._leave_task(loop, task)
    return found if used and loop not in found else None


running_tasks = _find_running_tasks()


cdef int enter_task(object loop, object task) except -1:
    """Make `task` the current one; raises RuntimeError if there is one."""
    if running_tasks is None or running_tasks.setdefault(loop, task) is not task:
        asyncio._enter_task(loop, task)
    return 0


cdef int leave_task(object loop, object task) except -1:
    if running_tasks is None:
        asyncio._leave_task(loop, task)
    else:
        del running_tasks[loop]
    return 0
