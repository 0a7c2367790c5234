"""The bars: what is measured for each, against whom, and when it is met."""

from dataclasses import dataclass

from bench.compare import Ratio, Side
from bench.kinds import FLOOR
from bench.work import Workload

KIB = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """A load that all servers get in turn: its work (None: idle connections), who is judged, and
    which rivals cannot take part."""

    title: str
    work: Workload | None
    subjects: tuple[str, ...] = ("wsrelay",)
    without: tuple[str, ...] = ()

    @property
    def fan(self) -> bool:
        """Tell whether its servers answer everybody."""
        return self.work is not None and self.work.kind == "fan"


CASES = {
    "echo": Case("echo, one message in flight", Workload()),
    "pipelined": Case("echo, 16 messages in flight", Workload(in_flight=16)),
    "large": Case("echo of 16 KiB", Workload(size=16 * KIB)),
    "fan": Case(
        "one message to all",
        Workload(kind="fan", connections=1000),
        ("wsrelay", "wsrelay-loop"),
        ("queue",),
    ),
    "fan-text": Case(
        "4 KiB of text to all, with non-ASCII characters",
        Workload(kind="fan", connections=1000, size=4 * KIB, accents=True),
        without=("queue",),
    ),
    "session": Case(
        "sessions", Workload(kind="session", connections=32), without=("raw", "queue", FLOOR)
    ),
    "idle": Case("idle connections", None, ("wsrelay-shared", "wsrelay"), ("raw", "queue")),
    "latency": Case("echo at a fixed rate", Workload(kind="paced", rate=1.0)),
}
"""The rate of `latency` is a placeholder here: `peers` finds one that all servers can keep."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the table of bars: ratio that must be reached, and where we go.

    In the case `idle` it is the bytes of a connection that must not be passed.
    """

    name: str
    case: str
    against: str
    must: float
    aim: float
    subject: str = "wsrelay"


BARS = (
    Bar("P1", "echo", "picows", 1.05, 1.15),
    Bar("P1a", "echo", "queue", 1.4, 1.6),
    Bar("P1b", "echo", "raw", 0.8, 0.95),
    Bar("P2", "pipelined", "picows", 4.0, 6.0),
    Bar("P3", "large", "picows", 0.9, 1.0),
    Bar("P4", "fan", "picows", 0.95, 1.05),
    Bar("P4a", "fan-text", "picows", 1.0, 1.2),
    Bar("P4b", "fan", "picows", 0.85, 1.0, subject="wsrelay-loop"),
    Bar("P5", "session", "aiohttp", 1.2, 1.5),
    Bar("P6", "idle", "aiohttp", 3 * KIB, 2 * KIB, subject="wsrelay-shared"),
    Bar("P6b", "idle", "aiohttp", 5 * KIB, 3.5 * KIB),
)


def verdict(bar: Bar, ratio: Ratio, subject: Side, rival: Side) -> str:
    """Say in one line whether a bar is met.

    A load generator that holds the subject back makes the ratio a lower bound, which can still show
    that the bar is met; one that holds the rival back shows nothing.
    """
    at_least = "at least " if subject.load_was_limit else ""
    figures = (
        f"{bar.name}: {subject.label} is {at_least}{ratio.of_medians:.2f} x {rival.label} "
        f"(pairs {ratio.range}; must {bar.must:g}, aim {bar.aim:g})"
    )
    if subject.noisy or rival.noisy:
        return f"{figures}: NOT DECIDED, the machine was too noisy"
    if ratio.of_medians >= bar.must and not rival.load_was_limit:
        return f"{figures}: MET{', aim too' if ratio.of_medians >= bar.aim else ''}"
    if subject.load_was_limit or rival.load_was_limit:
        return f"{figures}: NOT DECIDED, the load generator was the limit"
    return f"{figures}: NOT MET"


def verdict_of_memory(bar: Bar, subject: float, rival: float | None) -> str:
    """Say in one line whether a bar of memory is met: bytes of a connection, and of the rival's."""
    against = f" ({bar.against} {rival / KIB:.1f})" if rival is not None else ""
    figures = (
        f"{bar.name}: {bar.subject} takes {subject / KIB:.2f} KiB a connection{against} "
        f"(must {bar.must / KIB:g}, aim {bar.aim / KIB:g})"
    )
    if subject > bar.must:
        return f"{figures}: NOT MET"
    return f"{figures}: MET{', aim too' if subject <= bar.aim else ''}"
