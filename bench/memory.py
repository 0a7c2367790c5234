"""Memory of idle connections: how a server process grows as they become more.

A fresh server for each round. Connections are opened and stay as they are after the handshake; at
each count the resident memory (RSS) of all the server's processes is read once it no longer
changes. What a connection takes is the growth from the first count to the last: the first ones also
pay for what is made once. What the kernel keeps for a socket is not in it, and alike for all.
"""

import contextlib
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench import compare, machine
from bench.compare import BenchError
from bench.kinds import Kind
from bench.load import connect
from bench.work import LoadError

COUNTS = (100, 1000, 2000, 5000)
PAUSE = 0.05  # seconds between two looks at the memory
PATIENCE = 3.0  # seconds after which it is taken as it is
SPARE_FILES = 100  # descriptors that a process needs besides its connections


@dataclass(frozen=True, slots=True)
class Growth:
    """What a server's memory was: bytes at each count of connections, for each round."""

    label: str
    identity: str
    counts: tuple[int, ...]
    rounds: list[list[int]]

    @property
    def medians(self) -> list[float]:
        """Bytes at each count."""
        return [median(column) for column in zip(*self.rounds, strict=True)]

    @property
    def per_connection(self) -> float:
        """Bytes of a connection, median of the rounds."""
        added = self.counts[-1] - self.counts[0]
        return median((sizes[-1] - sizes[0]) / added for sizes in self.rounds)

    def as_json(self) -> dict[str, object]:
        """Make what goes to the JSON file."""
        return {
            "label": self.label,
            "identity": self.identity,
            "counts": self.counts,
            "bytes": self.rounds,
            "per_connection": self.per_connection,
        }


def allow_files(connections: int) -> None:
    """Raise this process's limit of open files, and that of the servers it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(f"{connections} connections need more open files: ulimit -n {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def measure(
    names: Sequence[str], kinds: Mapping[str, Kind], counts: Sequence[int], rounds: int, core: int
) -> list[Growth]:
    """Measure servers in turn, each round on fresh ones."""
    counts = tuple(sorted(set(counts)))
    if len(counts) < 2:
        raise BenchError("memory needs at least two counts of connections")
    found: dict[str, list[list[int]]] = {name: [] for name in names}
    identities = {}
    for _ in range(rounds):
        for name in names:
            with compare.running(name, kinds[name], core) as server:
                identities[name] = server.identity
                found[name].append(one_round(server, counts))
    return [Growth(name, identities[name], counts, found[name]) for name in names]


def one_round(server: compare.Server, counts: Sequence[int]) -> list[int]:
    """Open ever more connections; tell the server's memory at each count."""
    sizes = []
    with contextlib.ExitStack() as stack:
        opened = 0
        for count in counts:
            try:
                for _ in range(count - opened):
                    stack.enter_context(connect(server.port, server.kind.raw))
            except (LoadError, OSError) as error:
                text = f"{server.label}: {error}\n{server.complaint()}".rstrip()
                raise BenchError(text, server.label) from error
            opened = count
            sizes.append(settled(server.pids))
    return sizes


def settled(pids: Sequence[int]) -> int:
    """Wait until memory no longer changes, and tell it."""
    deadline = time.monotonic() + PATIENCE
    before, size = -1, machine.resident(pids)
    while size != before and time.monotonic() < deadline:
        time.sleep(PAUSE)
        before, size = size, machine.resident(pids)
    return size


def as_text(sides: Sequence[Growth]) -> str:
    """Make the table."""
    counts = sides[0].counts
    head = f"{'server':<14} {'KiB a connection':>17}"
    lines = [
        f"memory (RSS) by idle connections; {len(sides[0].rounds)} rounds, each on a fresh server",
        "",
        head + "".join(f" {f'{count:,}':>10}" for count in counts) + "  MiB at so many",
    ]
    for side in sides:
        sizes = "".join(f" {size / 2**20:>10.1f}" for size in side.medians)
        lines.append(f"{side.label:<14} {side.per_connection / 1024:>17.2f}{sizes}")
    return "\n".join([*lines, "", *(f"{side.label}: {side.identity}" for side in sides)])
