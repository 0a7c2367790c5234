"""What a round of load is, what it counted, and the ways in which it fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SMALLEST_PAYLOAD = 16  # bytes: below that payloads are not told apart
KINDS = ("echo", "paced", "fan", "session")


class LoadError(Exception):
    """The server did not do what it must; the round has no result."""


class HandshakeFailed(LoadError):
    """The server did not switch to WebSocket."""


class WrongReply(LoadError):
    """A byte came that is not the expected one, or one too many."""


class MissingReply(LoadError):
    """Answers did not come in time."""


class ServerClosed(LoadError):
    """The server ended a connection."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a round does. It ends at `seconds` or at `max_messages`, whichever comes first.

    The warm-up counts in neither of the two, but is itself bounded by `max_messages`. `patience` is
    how many seconds the last answers may take after that. `rate` is the messages a second of
    `paced`, over all connections, of which so many as `together` says send at the same time;
    `accents` makes texts that are not ASCII.
    """

    connections: int = 100
    in_flight: int = 1
    size: int = 64
    seconds: float = 1.0
    warmup: float = 0.3
    max_messages: int = 20_000_000
    patience: float = 5.0
    raw: bool = False
    kind: str = "echo"
    rate: float = 0.0
    accents: bool = False
    together: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.kind == "paced" and self.rate <= 0:
            raise ValueError("rate must be positive")
        if self.together < 1 or self.connections % self.together:
            raise ValueError("connections must be a multiple of together")
        if self.kind == "session" and self.raw:
            raise ValueError("a session needs a handshake: it must not be raw")
        if self.kind in ("fan", "session") and self.in_flight != 1:
            raise ValueError(f"in_flight of {self.kind} must be 1")
        if self.size < SMALLEST_PAYLOAD:
            raise ValueError(f"size must be at least {SMALLEST_PAYLOAD} bytes")
        if min(self.connections, self.in_flight, self.max_messages) < 1 or self.seconds <= 0:
            raise ValueError("connections, in_flight, max_messages and seconds must be positive")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a round counted: messages, and histograms (`pump.percentile` reads them)."""

    messages: int
    latencies: Sequence[int]
    lateness: Sequence[int] | None = None


class Round(Protocol):
    """What loads a server: `Load`, or `Sessions`."""

    def start(self) -> None: ...
    def serve(self, seconds: float) -> None: ...
    def measured(self) -> Measured: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
