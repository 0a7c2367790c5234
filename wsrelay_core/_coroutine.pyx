"""Processes that run a coroutine, and the fast road from mail to step.

The process is an ordinary `asyncio.Task`; its coroutine object is the `CoroutineProcess`, a proxy
of the user's coroutine. While the task waits for mail it is parked on a `Park`. When mail comes the
scheduler steps the user's coroutine directly; only when it then does anything but wait for mail
again is the task woken, and the proxy hands it what happened.
"""

import asyncio
import sys

from asyncio import CancelledError, current_task

from wsrelay_core._errors import LinkFailed
from wsrelay_core._context import process_var, spawn_scope

cimport cython
from cpython.contextvars cimport (
    PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit, PyContextVar_Set, get_value,
)
from cpython.object cimport PyObject, PyObject_Call
from cpython.ref cimport Py_XDECREF

from wsrelay_core._mail cimport MailProcess
from wsrelay_core._mailbox cimport FULL_HAND, NO_HAND
from wsrelay_core._park cimport Park, exception_of, new_park, pause
from wsrelay_core._pid cimport PID
from wsrelay_core._prefetch cimport prefetch
from wsrelay_core._process cimport (
    Event, Host, Process, exit_in, new_event, new_result, reason_of,
)
from wsrelay_core._scheduler cimport Scheduler
from wsrelay_core._hint cimport clear_hint, enter_task, leave_task, set_hint
from wsrelay_core._slots cimport (
    EAGER_TASKS, PYGEN_ERROR, PYGEN_NEXT, PYGEN_RETURN, Py_None, PyIter_Send, PyTypeObject,
    give_object, set_slots, stop_with, take_exception, take_object,
)

cdef enum:
    FRAME_SIZE = 224                   # bytes of a coroutine with its frame; of most of them

cdef int PATIENT_REFUSALS = 16         # a dead process that goes on awaiting is then slowed down

cdef object Task = asyncio.Task
cdef object process_variable = process_var
cdef object scope_variable = spawn_scope

cdef str NORMAL = "normal"
cdef str ERROR = "error"
cdef str CANCELLED = "cancelled"

# From 3.13 on `uncancel` takes back a cancel that was not delivered yet.
cdef bint UNCANCEL_TAKES_BACK = sys.version_info >= (3, 13)


@cython.final
cdef class CoroutineProcess(MailProcess):
    """A process that runs a coroutine; to its task it is that coroutine.

    Args:
        scheduler: of the App.
        host: where it runs; raises HostFull.
        coroutine: the user's, not started.
        entry: registry id or name, for logs.
    """

    def __init__(self, Scheduler scheduler not None, Host host not None, coroutine, str entry):
        self.coroutine = coroutine
        self.outcome = self.admit(scheduler, host, entry)

    def start(self) -> None:
        """Make the task; the first step runs after the caller's current step."""
        self.begin()

    cdef int begin(self) except -1:
        """Do what `start` says. The context of the task knows the process, and by it the App."""
        cdef Scheduler scheduler = self.scheduler
        context = PyContext_CopyCurrent()
        PyContext_Enter(context)
        try:
            PyContextVar_Set(process_variable, self)
            if get_value(scope_variable) is not None:
                PyContextVar_Set(scope_variable, None)  # which it would keep, and not ask
        finally:
            PyContext_Exit(context)
        self.context = context
        name, self.outcome = self.outcome, None
        self.task = PyObject_Call(
            Task, (self,), {"loop": scheduler.loop, "name": name, "context": context})
        if scheduler.draining and not scheduler.scheduled:
            # Whom the first step wakes is then stepped in the same turn of the loop.
            scheduler.wake()
        return 0

    # -- the fast road -------------------------------------------------------------------------

    cdef int prefetch_step(self) except -1:
        prefetch(<PyObject*>self.coroutine, FRAME_SIZE)
        prefetch(<PyObject*>self.context, 32)
        prefetch(<PyObject*>self.task, 32)  # which is only counted
        prefetch(<PyObject*>self.park, 80)
        prefetch(<PyObject*>self.box, 96)
        return 0

    cdef Park own_park(self):
        if self.scheduler.stepping is not self:
            return None
        if EAGER_TASKS and current_task(self.scheduler.loop) is not self.task:
            return None  # a task that starts eagerly inside a step of this process
        if self.park is None:
            self.park = new_park(self, self.scheduler.loop)
        return self.park

    cdef bint keep_cancel(self, object message) except -1:
        if self.scheduler.stepping is not self:
            if self.meter.hand != NO_HAND:
                self.box.settle_hand()  # it is woken for the cancel, not for what is sent now
            return False
        self.cancel_pending = True
        self.cancel_message = message
        return True

    cdef int step(self) except -1:
        """Mail (or a timeout, or a cancel) has come for the parked task; called by a drain."""
        cdef Park park = self.park
        if park is None or park.callback is None:
            return 0
        if not park.woken and self.meter.hand != FULL_HAND:
            return 0
        context = park.context
        PyContext_Enter(context)
        try:
            if park.cancel_requested or not self.alive:
                self.wake_task(park)
            else:
                self.fast_step(park)
        except BaseException as error:
            self.scheduler.say("fault", self, error)
        finally:
            PyContext_Exit(context)
        return 0

    cdef int fast_step(self, Park park) except -1:
        """Step the user's coroutine; the task hears of it only if it did not park again."""
        cdef Scheduler scheduler = self.scheduler
        cdef PyObject* result = NULL
        cdef int status
        task = self.task
        enter_task(scheduler.loop, task)
        scheduler.stepping = self
        set_hint(self)
        status = PyIter_Send(<PyObject*>self.coroutine, Py_None, &result)
        scheduler.stepping = None
        if status == PYGEN_NEXT and result == <PyObject*>park and not self.cancel_pending:
            Py_XDECREF(result)
            clear_hint()
            leave_task(scheduler.loop, task)
            return 0
        if status == PYGEN_ERROR:
            result = take_exception()
        self.outcome = take_object(result)
        clear_hint()
        leave_task(scheduler.loop, task)
        if self.cancel_pending:
            self.settle_cancel()
        if status == PYGEN_NEXT and self.outcome is park:
            # Parked again, but it cancelled itself on the way: the cancel is due at this await.
            self.outcome = None
            if not self.cancel_pending:
                return 0
            self.cancel_pending = False
            park.cancel_requested = True
            park.cancel_message, self.cancel_message = self.cancel_message, None
        else:
            self.outcome_status = status
            self.has_outcome = True
        self.wake_task(park)
        return 0

    cdef int wake_task(self, Park park) except -1:
        """Let the task run: it steps the proxy, which hands over what is kept."""
        callback, park.callback = park.callback, None
        park.context = None
        callback(park)
        return 0

    # -- the coroutine that the task steps -----------------------------------------------------

    cdef int resume(self, PyObject* value, PyObject** result) except? -1:
        """`send` of the proxy."""
        cdef Scheduler scheduler = self.scheduler
        cdef object outer = scheduler.stepping
        cdef int status
        if self.has_outcome:
            return self.hand_over(result)
        if self.coroutine is None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self.cancel_pending or not self.alive:
            return self.throw_in(self.take_cancel(), result)
        scheduler.stepping = self
        set_hint(self)
        status = PyIter_Send(<PyObject*>self.coroutine, value, result)
        clear_hint()
        scheduler.stepping = outer
        return self.after_step(status, result)

    cdef int settle_cancel(self) except -1:
        if UNCANCEL_TAKES_BACK and self.alive and self.task.cancelling() == 0:
            self.cancel_pending = False
            self.cancel_message = None
        return 0

    cdef object take_cancel(self):
        self.cancel_pending = False
        message, self.cancel_message = self.cancel_message, None
        return CancelledError() if message is None else CancelledError(message)

    cdef int hand_over(self, PyObject** result) except? -1:
        """Give the task what the last fast step ended with."""
        outcome, self.outcome = self.outcome, None
        self.has_outcome = False
        if self.outcome_status == PYGEN_ERROR:
            self.finish_failed(outcome)
            give_object(None, result)
            return PYGEN_RETURN
        if self.outcome_status == PYGEN_NEXT and self.cancel_pending and self.alive:
            # As Task does for a cancel that came during its step: cancel what it now awaits.
            cancel = getattr(outcome, "cancel", None)
            if cancel is not None and cancel(msg=self.cancel_message):
                self.cancel_pending = False
                self.cancel_message = None
        give_object(outcome, result)
        return self.after_step(self.outcome_status, result)

    cdef int throw_in(self, object error, PyObject** result) except? -1:
        """Throw into the user's coroutine."""
        cdef Scheduler scheduler = self.scheduler
        cdef object outer = scheduler.stepping
        cdef int status
        if isinstance(error, CancelledError):
            self.cancel_pending = False
        scheduler.stepping = self
        try:
            value = self.coroutine.throw(error)
            status = PYGEN_NEXT
        except StopIteration as stop:
            value = stop.value
            status = PYGEN_RETURN
        except BaseException as failure:
            self.finish_failed(failure)
            value = None
            status = PYGEN_RETURN
            give_object(None, result)
            return status
        finally:
            scheduler.stepping = outer
        give_object(value, result)
        return self.after_step(status, result)

    cdef int after_step(self, int status, PyObject** result) except? -1:
        """What the task is told after a step of the user's coroutine."""
        if status == PYGEN_NEXT:
            if self.alive:
                return PYGEN_NEXT
            awaited = take_object(result[0])
            result[0] = NULL
            give_object(self.refuse(awaited), result)
            return PYGEN_NEXT
        return self.finish(status, result)

    cdef object refuse(self, object awaited):
        """A dead process awaits again: CancelledError comes at the task's next step."""
        cdef bint cancelled = False
        if awaited is not self.park:  # which nobody else waits on: the next step gives it up
            try:
                cancel = getattr(awaited, "cancel", None)
                cancelled = cancel is not None and cancel()
            except Exception as error:
                self.scheduler.say("late", self, error)
        self.refusals += 1
        if self.refusals <= PATIENT_REFUSALS:
            # The task waits until the cancel has its effect; for a bare yield, a turn of the loop.
            return awaited if cancelled else None
        return pause(self.scheduler.loop, awaited)

    cdef int finish(self, int status, PyObject** result) except? -1:
        """The user's coroutine is done."""
        if status == PYGEN_ERROR:
            self.finish_failed(take_object(take_exception()))
            give_object(None, result)
            return PYGEN_RETURN
        value = take_object(result[0])
        result[0] = NULL  # whoever raises leaves no result
        if self.cancel_pending or (self.task is not None and self.task._must_cancel):
            self.finish_failed(self.take_cancel())
        self.end(NORMAL, value, None)
        self.let_go()
        give_object(value, result)
        return PYGEN_RETURN

    cdef int finish_failed(self, object error) except -1:
        """The coroutine ended with an exception: the exit, its log line, and what the task sees."""
        cdef bint alive = self.alive
        if isinstance(error, CancelledError):
            self.end(CANCELLED, None, None)
            self.let_go()
            raise error
        leaving = exit_in(error)
        if leaving is not None:
            self.end(reason_of(leaving), None, None)
        elif alive:
            self.scheduler.say("crash", self, error)
            self.end(ERROR, None, error)
        elif not isinstance(error, GeneratorExit):
            self.scheduler.say("late", self, error)
        self.let_go()
        if alive and isinstance(error, (SystemExit, KeyboardInterrupt)):
            self.scheduler.say("interrupt", self, error)
        return 0

    cdef int let_go(self) except -1:
        """Break the ring process, task, coroutine, park."""
        self.coroutine = None
        self.park = None
        self.task = None
        self.context = None
        if self.scheduler.unfinished:
            self.scheduler.unfinished.pop(self, None)
        return 0

    # -- ends ----------------------------------------------------------------------------------

    cdef int end(self, str reason, object value, object error) except -1:
        if not self.alive:
            return 0
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        Process.end(self, reason, value, error)
        self.shut_boxes()
        return 0

    cdef int on_signal(self, PID source, str reason, object result) except -1:
        if not self.alive:
            return 0
        if self.trap_links:
            self.deliver_event(new_event("LINK_DOWN", source, reason, result, None))
            return 0
        error = LinkFailed(source, reason)
        cause = result.error
        if isinstance(cause, LinkFailed) and cause.__cause__ is not None:
            cause = cause.__cause__  # in a long chain each keeps the first cause, not the chain
        error.__cause__ = cause
        return self.stop_now("link_failed", error)

    cdef int stop_now(self, str reason, object error) except -1:
        """Dead at once; the task gets CancelledError at each await until it ends."""
        if not self.alive:
            return 0
        self.scheduler.unfinished[self] = None
        task = self.task
        self.end(reason, None, error)
        if task is not None:
            task.cancel()
        return 0

    def terminate(self, str reason="killed") -> None:
        """Dead at once, EXIT `killed`."""
        self.stop_now(reason, None)

    def cancel(self, reason=None, deadline=None, sender=None) -> None:
        """Ask politely: a CANCEL event, or CancelledError where `events()` was never opened.

        Args:
            reason: text that travels with it.
            deadline: seconds until the process is terminated; None: never.
        """
        cdef Event event
        if not self.alive:
            return
        if self.event_box is not None and self.event_box.opened:
            event = new_event("CANCEL", sender, reason or CANCELLED, new_result(None, None), None)
            event.deadline = deadline
            self.deliver_event(event)
        else:
            self.task.cancel(reason)
        if deadline is not None and self.alive:
            if self.deadline is not None:
                self.deadline.cancel()
            self.deadline = self.scheduler.loop.call_later(
                deadline, self.terminate, context=self.scheduler.context)

    # -- coroutine protocol --------------------------------------------------------------------

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        cdef PyObject* result = NULL
        if self.resume(<PyObject*>value, &result) == PYGEN_NEXT:
            return take_object(result)
        raise StopIteration(take_object(result))

    def throw(self, kind, value=None, traceback=None):
        cdef PyObject* result = NULL
        cdef int status
        error = exception_of(kind, value, traceback)
        if self.has_outcome:
            # A cancel that met a kept outcome: a return is cancelled as in Task, an error stands.
            self.cancel_pending = isinstance(error, CancelledError)
            status = self.hand_over(&result)
        elif self.coroutine is None:
            raise error
        else:
            status = self.throw_in(error, &result)
        if status == PYGEN_NEXT:
            return take_object(result)
        raise StopIteration(take_object(result))

    def close(self):
        if self.coroutine is not None:
            try:
                self.coroutine.close()
            finally:
                self.end(CANCELLED, None, None)
                self.let_go()

    # What stacks and task listings show is the user's function.

    @property
    def __name__(self):
        return getattr(self.coroutine, "__name__", self.entry)

    @property
    def __qualname__(self):
        return getattr(self.coroutine, "__qualname__", self.entry)

    @property
    def cr_frame(self):
        return getattr(self.coroutine, "cr_frame", None)

    @property
    def cr_code(self):
        return getattr(self.coroutine, "cr_code", None)

    @property
    def cr_await(self):
        return getattr(self.coroutine, "cr_await", None)

    @property
    def cr_running(self):
        return getattr(self.coroutine, "cr_running", False)

    @property
    def cr_suspended(self):
        return getattr(self.coroutine, "cr_suspended", False)

    @property
    def cr_origin(self):
        return getattr(self.coroutine, "cr_origin", None)


cdef CoroutineProcess new_process(Scheduler scheduler, Host host, object coroutine, str entry):
    """Make a process that is not started; see the class."""
    cdef CoroutineProcess process = CoroutineProcess.__new__(CoroutineProcess)
    process.coroutine = coroutine
    process.outcome = process.admit(scheduler, host, entry)
    return process


# The slots are set by hand, see `_slots`.


cdef PyObject* process_next(PyObject* self) except? NULL:
    cdef PyObject* result = NULL
    if (<CoroutineProcess>self).resume(Py_None, &result) == PYGEN_NEXT:
        return result
    return stop_with(result)


cdef int process_send(PyObject* self, PyObject* value, PyObject** result) except? -1:
    return (<CoroutineProcess>self).resume(value, result)


set_slots(<PyTypeObject*>CoroutineProcess, <void*>process_next, <void*>process_send)
