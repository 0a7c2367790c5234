"""The two context variables: which process, and which App's scheduler, the running code acts as."""

from contextvars import ContextVar
from typing import Any

process_var: ContextVar[Any] = ContextVar("wsrelay_process", default=None)
scheduler_var: ContextVar[Any] = ContextVar("wsrelay_app", default=None)
