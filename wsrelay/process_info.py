"""What `info` tells of a living process."""

from dataclasses import dataclass, field
from typing import Any

from wsrelay_core import PID, Process


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What is known of a living process; the second half is set for WebSocket connections only."""

    pid: PID
    state: str  # "running" or, for a connection in its closing handshake, "closing"
    entry: str
    host: str
    names: tuple[str, ...]
    age: float  # seconds
    links: tuple[PID, ...]
    monitors: tuple[Any, ...]
    monitored_by: tuple[PID, ...]
    queue_length: int  # messages in the mailbox; for a connection, frames towards the client
    queue_bytes: int
    handled: int  # messages taken from the mailbox; for a connection, messages to the client
    dropped: int
    client: tuple[str, int] | None = None
    path: str | None = None
    subprotocol: str | None = None
    target: PID | None = None
    last_rtt_ms: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """The first registered name."""
        return self.names[0] if self.names else None


def info_of(process: Process) -> ProcessInfo:
    """`ProcessInfo` of a process record."""
    facts = process.describe()
    facts.setdefault("state", "running")
    return ProcessInfo(**facts)
