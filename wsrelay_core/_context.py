"""The context variables: whom the running code acts as, and who follows what it spawns."""

from contextvars import ContextVar
from typing import Any

process_var: ContextVar[Any] = ContextVar("wsrelay_process", default=None)
# The App's scheduler, where there is no process to tell it.
scheduler_var: ContextVar[Any] = ContextVar("wsrelay_app", default=None)

# Its `append(pid)` is told of what code outside of processes spawns, such as a request.
spawn_scope: ContextVar[Any] = ContextVar("wsrelay_spawned", default=None)
# The `family.add(pid)` of it is told of all that comes from the start of a service.
start_var: ContextVar[Any] = ContextVar("wsrelay_start", default=None)
