"""Processes that run a coroutine, and the fast road from mail to step."""

cimport cython

from cpython.object cimport PyObject

from wsrelay_core._flag cimport flag
from wsrelay_core._park cimport Park
from wsrelay_core._mail cimport MailProcess
from wsrelay_core._process cimport Host
from wsrelay_core._scheduler cimport Scheduler


@cython.final
cdef class CoroutineProcess(MailProcess):
    cdef object coroutine        # the user's; None once it is done
    cdef readonly object task
    cdef object deadline         # TimerHandle of a cancel with deadline
    # What a fast step ended with and the task has not seen yet (decision 1 of the architecture).
    # Until there is a task: its name, the PID as a plain str, which Task takes without a copy.
    cdef object outcome
    cdef signed char outcome_status
    cdef flag has_outcome
    cdef flag cancel_pending     # a self-cancel in a fast step, due at the next await
    cdef public flag trap_links
    cdef int refusals            # awaits after its end, each answered with CancelledError
    cdef object cancel_message

    cdef int begin(self) except -1
    cdef int fast_step(self, Park park) except -1
    cdef int wake_task(self, Park park) except -1
    cdef int resume(self, PyObject* value, PyObject** result) except? -1
    cdef int hand_over(self, PyObject** result) except? -1
    cdef int after_step(self, int status, PyObject** result) except? -1
    cdef int finish(self, int status, PyObject** result) except? -1
    cdef int finish_failed(self, object error) except -1
    cdef int settle_cancel(self) except -1
    cdef object take_cancel(self)
    cdef object refuse(self, object awaited)
    cdef int let_go(self) except -1
    cdef int throw_in(self, object error, PyObject** result) except? -1
    cdef int stop_now(self, str reason, object error) except -1


cdef CoroutineProcess new_process(Scheduler scheduler, Host host, object coroutine, str entry)
