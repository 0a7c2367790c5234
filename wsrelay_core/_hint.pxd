"""Which process runs, and which task is current: the short ways of the hot road."""

from wsrelay_core._process cimport Process


cdef int set_hint(Process process) except -1
cdef Process hinted_process()
cdef int enter_task(object loop, object task) except -1
cdef int leave_task(object loop, object task) except -1
