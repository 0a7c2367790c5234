from typing_extensions import disjoint_base

from wsrelay_core._process import Process

@disjoint_base
class HandProcess(Process): ...
