"""Who calls, in which App, and the two calls of the hot road: `send` and `broadcast`."""

import asyncio

from wsrelay_core._context import process_var, scheduler_var
from wsrelay_core._errors import NoApp, NotAProcess

from cpython.contextvars cimport get_value
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_FromObject

from wsrelay_core._hint cimport borrow_hinted, hinted_process
from wsrelay_core._pid cimport PID, plain_dest
from wsrelay_core._process cimport (
    Process, Ref, Shared, Timer, find_process, give_up, later, one_payload, watch,
)
from wsrelay_core._scheduler cimport Scheduler, running_schedulers
from wsrelay_core._slots cimport (
    METH_FASTCALL, METH_KEYWORDS, PyCFunction, PyCFunction_NewEx, PyMethodDef, PyObject_Vectorcall,
)

cdef extern from *:
    PyObject* Py_NewRef(PyObject* value)
    PyObject* Py_True
    PyObject* Py_False
    Py_UCS4 PyUnicode_READ_CHAR(object text, Py_ssize_t index)

cdef object process_variable = process_var


cdef Process running_process():
    """The process that runs this code, or None outside one.

    Raises NotAProcess when that process has ended, WrongThread in another thread.
    """
    cdef Process process = hinted_process()
    if process is not None and process.alive:
        return process
    found = get_value(process_variable)
    if found is None:
        return None
    process = <Process>found
    process.scheduler.check_thread()
    if not process.alive:
        raise NotAProcess(f"process {process.pid} has ended")
    return process


def current_process():
    """The process that runs this code, or None outside one; see `running_process`."""
    return running_process()


cpdef Scheduler current_scheduler():
    """The scheduler of the App that this code belongs to.

    That of the process or of the context (handlers, `async with app`, `app.active()`); elsewhere
    the only one that runs on this loop.

    Raises:
        NoApp: none runs here, or several do.
    """
    cdef Process process = running_process()
    if process is not None:
        return process.scheduler
    found = scheduler_var.get()
    if found is not None and (<Scheduler>found).running:
        (<Scheduler>found).check_thread()
        return found
    return _only_scheduler()


cdef Scheduler _only_scheduler():
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise NoApp("no event loop runs here: call this inside a running App") from None
    here = [scheduler for scheduler in running_schedulers if (<Scheduler>scheduler).loop is loop]
    if len(here) == 1:
        return here[0]
    if not here:
        raise NoApp("no App runs on this loop: use `async with app` or `app.run()`")
    raise NoApp(f"{len(here)} Apps run on this loop: choose one with `with app.active():`")


cpdef Process resolve(object dest):
    """The living process of a PID, its text, or a name in the current App; None if there is none.

    Raises:
        InvalidPID: `dest` looks like a PID and is none.
        NoApp: `dest` is text, and no App is to be found.
        NotAProcess: the calling process has ended.
    """
    running_process()
    return find(dest)


cdef Process find(object dest):
    cdef Process process
    if type(dest) is PID and (<PID>dest).record is not NULL:
        process = <Process>(<PID>dest).record
        process.scheduler.check_thread()
        return process
    return current_scheduler().table.find(dest)


cdef inline bint is_refused(str topic) noexcept:
    return len(topic) == 0 or PyUnicode_READ_CHAR(topic, 0) == c"@"


cpdef str check_topic(object topic):
    """The topic as an exact `str`; raises TypeError, ValueError for one that may not be sent."""
    if not isinstance(topic, str):
        raise TypeError(f"a topic is a str, not {type(topic).__name__}")
    if topic == "":
        raise ValueError("a topic is not empty")
    if topic[0] == "@":
        raise ValueError(f"topic {topic!r} is the system's: a topic does not begin with '@'")
    return PyUnicode_FromObject(topic)


# The first payload has a name of its own: so the usual call needs no tuple of payloads.
def send(dest, topic, payload=None, *payloads) -> bool:
    """Send a message; never blocks.

    Args:
        dest: PID, its text, or a registered name.
        topic: text that is not empty and does not begin with `@`.
        payload, payloads: passed by reference; treat them as given away.

    Returns:
        True when the message is in the mailbox; False when there is no such process, or its
        bounded mailbox is full.

    Raises:
        TypeError, ValueError: `topic` or `dest` is none.
        InvalidPID: `dest` looks like a PID and is malformed.
    """
    if payloads:
        payload = (payload, *payloads)
    return send_payload(dest, topic, payload, 1 + len(payloads))


cdef inline bint send_payload(object dest, object topic, object payload,
                              Py_ssize_t many) except -1:
    """Do what `send` says with what `one_payload` would make of the payloads."""
    cdef Process sender = hinted_process()
    cdef Process process
    if sender is None or not sender.alive:
        sender = running_process()
    if type(topic) is not str or is_refused(<str>topic):
        topic = check_topic(topic)
    if type(dest) is PID and (<PID>dest).record is not NULL:
        process = <Process>(<PID>dest).record
        if sender is None or sender.scheduler is not process.scheduler:
            process.scheduler.check_thread()
    else:
        process = current_scheduler().table.find(dest)
        if process is None:
            return False
    return process.deliver(<str>topic, payload, many, None if sender is None else sender.pid, None)


# The usual call, of three arguments by place, spares what Cython does for all kinds of calls; and
# the interpreter knows how to call a built-in function without asking.


cdef inline bint is_usual(PyObject* sender, PyObject* dest, PyObject* topic) noexcept:
    """Whether a process sends to the PID of another one of its App, or to its own."""
    return (sender is not NULL and (<Process>sender).alive
            and type(<object>topic) is str and not is_refused(<str>topic)
            and type(<object>dest) is PID and (<PID>dest).record is not NULL
            and (<Process>(<PID>dest).record).scheduler is (<Process>sender).scheduler)


cdef PyObject* send_quickly(PyObject* module, PyObject* const* args, Py_ssize_t count,
                            PyObject* names) except NULL:
    cdef PyObject* sender
    cdef Process process
    cdef bint sent
    if count != 3 or names is not NULL:
        return PyObject_Vectorcall(any_send, args, count, names)
    sender = borrow_hinted()
    if is_usual(sender, args[0], args[1]):
        process = <Process>(<PID>args[0]).record
        sent = process.deliver(<str>args[1], <object>args[2], 1, (<Process>sender).pid, None)
    else:
        sent = send_payload(<object>args[0], <object>args[1], <object>args[2], 1)
    return Py_NewRef(Py_True if sent else Py_False)


cdef PyMethodDef send_method
cdef object any_send = send
cdef bytes send_text = (
    f"send(dest, topic, payload=None, *payloads)\n--\n\n{any_send.__doc__}".encode())
send_method = PyMethodDef(
    "send", <PyCFunction>send_quickly, METH_FASTCALL | METH_KEYWORDS, send_text)
send = PyCFunction_NewEx(&send_method, NULL, __name__)


def broadcast(dests, topic, *payloads) -> int:
    """`send` to many; towards WebSocket clients the frame is built once.

    Returns:
        How many accepted the message.
    """
    cdef Process sender = running_process()
    cdef PID sender_pid = None if sender is None else sender.pid
    cdef Shared shared = Shared.__new__(Shared)
    cdef Process process
    cdef str text = check_topic(topic)
    cdef object payload = one_payload(payloads)
    cdef Py_ssize_t accepted = 0, many = len(payloads)
    cdef list found
    if isinstance(dests, str):
        raise TypeError("broadcast sends to many: use send for one destination")
    found = [find(dest) for dest in dests]  # a bad destination is refused before the first send
    for one in found:
        if one is not None:
            process = <Process>one
            if process.deliver(text, payload, many, sender_pid, shared):
                accepted += 1
    return accepted


# -- calls of code outside a process, which acts as the system -------------------------------------


def watch_exit(Scheduler scheduler not None, dest, callback) -> Ref:
    """Call `callback(event)` with the EXIT of `dest`; of a dead one at once, reason `noproc`."""
    return watch(scheduler, dest, None, callback)


def give_up_watch(Ref ref not None) -> bool:
    """Give up a monitor; returns whether its EXIT was still to come."""
    return give_up(ref)


def send_later(Scheduler scheduler not None, double delay, dest, str topic,
               tuple payloads) -> Timer:
    """`send_after` from outside a process: the timer belongs to nobody."""
    return later(scheduler, delay, dest, topic, payloads)


def scheduler_for_thread(dest) -> Scheduler:
    """The scheduler that owns `dest`, looked for from any thread.

    Raises:
        InvalidPID, TypeError: `dest` is no destination.
        NoApp: none runs, or several do; or this is a forked child of the one that runs it.
    """
    cdef Scheduler found = _scheduler_of(plain_dest(dest))
    if found.lost is not None:
        found.refuse_thread()
    return found


cdef Scheduler _scheduler_of(object dest):
    if type(dest) is PID:
        if (<PID>dest).record is not NULL:
            return (<Process>(<PID>dest).record).scheduler
    found = get_value(process_variable)
    if found is not None and (<Process>found).scheduler.running:
        return (<Process>found).scheduler
    found = scheduler_var.get()
    if found is not None and (<Scheduler>found).running:
        return found
    here = [scheduler for scheduler in running_schedulers
            if not (<Scheduler>scheduler).loop.is_closed()]
    if len(here) == 1:
        return here[0]
    raise NoApp(f"{len(here)} Apps run in this OS process: "
                f"use a PID that `spawn` returned, or call from a thread that a process started")


def send_as_system(Scheduler scheduler not None, dest, str topic, tuple payloads) -> bool:
    """`send` without a sender, in the App of `scheduler`."""
    cdef Process process = find_process(scheduler, dest)
    if process is None:
        return False
    return process.deliver(topic, one_payload(payloads), len(payloads), None, None)
