from typing_extensions import disjoint_base

from wsrelay_core._sending import Sending

@disjoint_base
class Receiving(Sending):
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...

def pinned_of(connection: Receiving) -> int: ...
