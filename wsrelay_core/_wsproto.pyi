from typing import final

@final
class WsprotoLane: ...
