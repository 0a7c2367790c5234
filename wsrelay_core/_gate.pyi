from typing import final

from wsrelay_core._scheduler import Schedulable

@final
class Gate(Schedulable):
    def open(self) -> None: ...
