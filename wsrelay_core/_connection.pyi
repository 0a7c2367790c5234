from asyncio import Transport
from typing import Any, Literal, Never, final

from wsproto.extensions import PerMessageDeflate

from wsrelay_core._pid import PID
from wsrelay_core._process import Host
from wsrelay_core._receiving import Receiving
from wsrelay_core._scheduler import Scheduler

@final
class ConnectionSettings:
    def __init__(
        self,
        *_: Never,  # keywords only; stubtest wants what a compiled __init__ seems to take
        queue_max: int = 1048576,
        queue_policy: Literal["close", "drop_newest", "drop_oldest"] = "close",
        message_max: int = 1048576,
        message_timeout: float = 60,
        ping_interval: float = 20,
        ping_timeout: float = 20,
        idle_timeout: float = 0,
        close_timeout: float = 5,
        raw: bool = False,
    ) -> None: ...

class Connection(Receiving):
    def __init__(
        self,
        scheduler: Scheduler,
        host: Host,
        entry: str,
        settings: ConnectionSettings | None = None,
        deflate: PerMessageDeflate | None = None,
    ) -> None: ...
    @property
    def target_pid(self) -> PID | None: ...
    @property
    def heartbeat_interval(self) -> float: ...
    @property
    def is_open(self) -> bool: ...
    def watch_target(self, dest: PID | str) -> bool: ...
    def configure(self, topic: str, metadata: Any, heartbeat: float) -> None: ...
    def start(
        self, transport: Transport, trailing_data: bytes | bytearray = b"", descriptor: int = -1
    ) -> None: ...
    def abandon(self) -> None: ...
    def join(self) -> None: ...
    def transfer(self, dest: PID | str) -> bool: ...
    def heartbeat(self) -> None: ...
    def uptime(self) -> str: ...
