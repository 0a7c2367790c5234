"""Who calls, and in which App."""

from wsrelay_core._process cimport Process
from wsrelay_core._scheduler cimport Scheduler


cdef Process running_process()
cpdef Scheduler current_scheduler()
cpdef Process resolve(object dest)
cpdef str check_topic(object topic)
