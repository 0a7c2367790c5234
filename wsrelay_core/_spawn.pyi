from collections.abc import Awaitable, Callable
from typing import Any

from wsrelay_core._context import spawn_scope as spawn_scope
from wsrelay_core._context import start_var as start_var
from wsrelay_core._coroutine import CoroutineProcess
from wsrelay_core._pid import PID
from wsrelay_core._process import Ref

_Target = str | Callable[..., Awaitable[Any]]

def spawn(
    target: _Target, host: str | None = None, /, *args: Any, name: str | None = None, **kwargs: Any
) -> PID: ...
def spawn_linked(
    target: _Target, host: str | None = None, /, *args: Any, name: str | None = None, **kwargs: Any
) -> PID: ...
def spawn_monitored(
    target: _Target, host: str | None = None, /, *args: Any, name: str | None = None, **kwargs: Any
) -> tuple[PID, Ref]: ...
def spawn_linked_monitored(
    target: _Target, host: str | None = None, /, *args: Any, name: str | None = None, **kwargs: Any
) -> tuple[PID, Ref]: ...
def prepare_process(
    target: _Target,
    host: str | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None,
) -> CoroutineProcess: ...
