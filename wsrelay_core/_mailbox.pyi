from typing import Any, final

from typing_extensions import disjoint_base

from wsrelay_core._pid import PID

__pyx_capi__: dict[str, object]

@final
class Message:
    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> Any: ...
    @property
    def sender(self) -> PID | None: ...
    def reply(self, value: Any) -> bool: ...

@disjoint_base
class Waiter: ...

@disjoint_base
class Mailbox:
    @property
    def closed(self) -> bool: ...
