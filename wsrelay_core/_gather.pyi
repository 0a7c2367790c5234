from typing import final

@final
class Gather: ...
