from typing import final

from wsrelay_core._scheduler import Schedulable

__pyx_capi__: dict[str, object]

@final
class Gate(Schedulable):
    def open(self) -> None: ...
