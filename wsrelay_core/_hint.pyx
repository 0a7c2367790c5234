"""Which process runs, and which task is current: the short ways of the hot road.

The truth is in the context variable and in asyncio; each way here checks that it says the same.
"""

import asyncio
import os

from cpython.dict cimport PyDict_SetDefault
from cpython.object cimport PyObject

cdef PyObject* hint = NULL


def _forget_hint() -> None:
    """In a forked child no process of the parent runs, and the thread is not what it was."""
    clear_hint()


os.register_at_fork(after_in_child=_forget_hint)


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
    if running_tasks is None or PyDict_SetDefault(running_tasks, loop, task) != <PyObject*>task:
        asyncio._enter_task(loop, task)
    return 0


cdef int leave_task(object loop, object task) except -1:
    if running_tasks is None:
        asyncio._leave_task(loop, task)
    else:
        del running_tasks[loop]
    return 0
