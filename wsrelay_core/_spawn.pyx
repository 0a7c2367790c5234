"""Births: `spawn` and its kin, from the target to the task."""

from collections.abc import Coroutine

from wsrelay_core._context import spawn_scope, start_var
from wsrelay_core._errors import NotAProcess

from cpython.contextvars cimport get_value
from cpython.object cimport PyObject, PyObject_Call
from cpython.unicode cimport PyUnicode_FromObject

from wsrelay_core._coroutine cimport CoroutineProcess, new_process
from wsrelay_core._process cimport Host, Process, Ref, tie, watch
from wsrelay_core._scheduler cimport Scheduler
from wsrelay_core._send cimport current_scheduler, running_process

cdef extern from "Python.h":
    ctypedef struct PyFunctionObject:
        PyObject* func_dict
        PyObject* func_module
        PyObject* func_qualname
    bint PyFunction_Check(object value)
    bint PyCoro_CheckExact(object value)
    Py_ssize_t PyDict_GET_SIZE(PyObject* value)

cdef object scope_variable = spawn_scope
cdef object start_variable = start_var

cdef Py_ssize_t MOST_ENTRIES = 1024


def spawn(target, host=None, /, *args, name=None, **kwargs):
    """Start a process and return its PID at once; its first step runs after the caller's.

    Args:
        target: a registry id (`"app:ws.handler"`), an import path (`"app.ws:handler"`), or an
            async function.
        host: registry id of a `process.host`; by default the spawner's, else the App's only one.
        args, kwargs: for the function, bound now.
        name: registered before the first step.

    Raises:
        TypeError: the arguments do not fit, or the target is no async function.
        LookupError: unknown entry or host.
        HostFull, NameTaken, NoApp.
    """
    cdef CoroutineProcess process = prepare(running_process(), target, host, args, kwargs, name)
    process.begin()
    return process.pid


def spawn_linked(target, host=None, /, *args, name=None, **kwargs):
    """`spawn`, linked to the caller before its first step (OTP: `spawn_link`)."""
    cdef Process me = calling_process()
    cdef CoroutineProcess process = prepare(me, target, host, args, kwargs, name)
    tie(me, process)
    process.begin()
    return process.pid


def spawn_monitored(target, host=None, /, *args, name=None, **kwargs):
    """`spawn`, monitored by the caller before its first step (OTP: `spawn_monitor`)."""
    cdef Process me = calling_process()
    cdef CoroutineProcess process = prepare(me, target, host, args, kwargs, name)
    cdef Ref ref = watch(me.scheduler, process.pid, me, None)
    process.begin()
    return process.pid, ref


def spawn_linked_monitored(target, host=None, /, *args, name=None, **kwargs):
    """`spawn`, linked to and monitored by the caller before its first step."""
    cdef Process me = calling_process()
    cdef CoroutineProcess process = prepare(me, target, host, args, kwargs, name)
    tie(me, process)
    cdef Ref ref = watch(me.scheduler, process.pid, me, None)
    process.begin()
    return process.pid, ref


def prepare_process(target, host, tuple args not None, dict kwargs not None, name):
    """What `spawn` does, but for the start: the caller calls `start()`."""
    return prepare(running_process(), target, host, args, kwargs, name)


cdef Process calling_process():
    cdef Process process = running_process()
    if process is None:
        raise NotAProcess("this call needs a process around it: make it inside a spawned function")
    return process


cdef CoroutineProcess prepare(Process spawner, object target, object host, tuple args,
                              dict kwargs, object name):
    """A process that is not started, with its name, known to who follows what is spawned."""
    cdef Scheduler scheduler = current_scheduler() if spawner is None else spawner.scheduler
    cdef CoroutineProcess process
    cdef str entry = known_entry(scheduler, target)
    cdef Host place
    function = target
    if entry is None:
        entry, function = scheduler.app.find_function(target)
        keep_entry(scheduler, target, entry)
    if host is None and spawner is not None:
        place = spawner.host
    else:
        place = scheduler.app.find_host(host, None if spawner is None else spawner.host)
    coroutine = PyObject_Call(function, args, kwargs)
    if not PyCoro_CheckExact(coroutine) and not isinstance(coroutine, Coroutine):
        raise TypeError(
            f"{entry} is no async function: it returned {type(coroutine).__name__}, no coroutine")
    try:
        process = new_process(scheduler, place, coroutine, entry)
        if name is not None:
            register_or_discard(process, name)
    except BaseException:
        coroutine.close()
        raise
    tell_followers(spawner, process)
    return process


cdef int register_or_discard(CoroutineProcess process, object name) except -1:
    try:
        if not isinstance(name, str):
            raise TypeError(f"a name is a str, not {type(name).__name__}")
        process.register(PyUnicode_FromObject(name))  # of an enum's member str() is something else
    except BaseException:
        process.close()
        raise
    return 0


cdef int tell_followers(Process spawner, CoroutineProcess process) except -1:
    """A request follows what it spawns itself; a service, all that comes from it."""
    if spawner is None:
        scope = get_value(scope_variable)
        if scope is not None:
            scope.append(process.pid)
    start = get_value(start_variable)
    if start is not None:
        start.family.add(process.pid)
    return 0


# The App knows a function by its module and its qualified name. Functions that share both, such as
# the closures of one definition, share what is kept, and none of them is kept alive.


cdef bint is_plain(object target):
    """Whether it is a function with no attributes: nothing is wrapped in it."""
    cdef PyFunctionObject* function = <PyFunctionObject*>target
    return PyFunction_Check(target) and (
        function.func_dict == NULL or PyDict_GET_SIZE(function.func_dict) == 0)


cdef str known_entry(Scheduler scheduler, object target):
    """The entry name of a function that was spawned before, or None."""
    cdef PyFunctionObject* function = <PyFunctionObject*>target
    if not is_plain(target):
        return None
    found = scheduler.entries.get(<object>function.func_qualname)
    if found is not None and <PyObject*>(<tuple>found)[0] == function.func_module:
        return <str>(<tuple>found)[1]
    return None


cdef int keep_entry(Scheduler scheduler, object target, str entry) except -1:
    cdef PyFunctionObject* function = <PyFunctionObject*>target
    if is_plain(target) and function.func_module != NULL:
        if len(scheduler.entries) >= MOST_ENTRIES:
            scheduler.entries.clear()
        scheduler.entries[<object>function.func_qualname] = (<object>function.func_module, entry)
    return 0
