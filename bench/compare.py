"""Two or more servers under the same load, in turn: A B A B …, one core for servers, one for load.

All servers live all the time, but only one runs at a time: the others are stopped (SIGSTOP), as
some of them poll when they have nothing to do. Figures are medians over rounds; ratios are those of
the first server to each other one. See README.md for what makes one invalid.
"""

import argparse
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO

from bench import machine
from bench.kinds import KINDS, Kind
from bench.load import SHARES, Result
from bench.work import Workload

ROOT = Path(__file__).parents[1]
READY_TIMEOUT = 20.0  # seconds for a server to listen
STOP_TIMEOUT = 5.0  # seconds for a server to end after SIGTERM
WARMUP_ROUND = 0.5  # seconds of the first round of each server, which is thrown away

LOAD_BUSY = 0.90  # above this the load generator may be the limit,
SERVER_BUSY = 0.97  # unless the server's core is at least this busy;
LOAD_SATURATED = 0.97  # and from here on it is one, whatever the server's figure (README.md)
LATE = 0.2  # share of the server's p99 at a fixed rate that the load generator may itself be late
KEPT = 0.98  # share of a fixed rate that must have been answered
OTHERS = 0.05  # more of a core than this spent by anybody else is noise

UNITS = {"fan": "deliveries/s", "session": "sessions/s"}  # of a rate, where not msg/s
FACTS_SHOWN = ("cpu", "cores", "kernel", "python")


class BenchError(Exception):
    """There is no measurement: a server did not start, or a round failed.

    `label` is that of the server, if it was one's fault.
    """

    def __init__(self, text: str, label: str | None = None) -> None:
        super().__init__(text)
        self.label = label


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: the load of a round, the rounds, the cores."""

    work: Workload
    rounds: int
    server_core: int
    load_core: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its first process, and the PIDs of all of its processes."""

    label: str
    kind: Kind
    process: "subprocess.Popen[str]"
    errors: IO[str]
    port: int
    identity: str
    pids: tuple[int, ...]

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run for a while."""
        tell(self.pids, signal.SIGCONT)
        try:
            yield
        finally:
            tell(self.pids, signal.SIGSTOP)

    def complaint(self) -> str:
        """Return the end of what it wrote to stderr."""
        self.errors.seek(0)
        return self.errors.read()[-2000:]


@dataclass(frozen=True, slots=True)
class Side:
    """What all rounds of a server gave; `asked` is the fixed rate, 0 if there was none."""

    label: str
    identity: str
    rounds: list[Result]
    asked: float = 0.0

    @property
    def rate(self) -> float:
        """Messages a second, median."""
        return median(r.rate for r in self.rounds)

    @property
    def spread(self) -> float:
        """Range of the rates, as a share of their median."""
        rates = [r.rate for r in self.rounds]
        return (max(rates) - min(rates)) / self.rate

    @property
    def us_per_message(self) -> float:
        """CPU microseconds of the server for a message, median."""
        return median_known(r.server_us_per_message for r in self.rounds)

    @property
    def server_cpu(self) -> float:
        """Share of its core that the server used, median."""
        return median_known(r.server_cpu for r in self.rounds)

    @property
    def load_cpu(self) -> float:
        """Share of its core that the load generator used, median."""
        return median(r.load_cpu for r in self.rounds)

    @property
    def others(self) -> float:
        """Share that went to anybody else, on the worse of the two cores, median."""
        return median(max(r.load_others or 0.0, r.server_others or 0.0) for r in self.rounds)

    def latency(self, name: str) -> float:
        """Microseconds at a percentile, median."""
        return median(r.latency_us[name] for r in self.rounds)

    @property
    def late(self) -> float:
        """Microseconds that the load generator was itself late at a fixed rate: p99, median."""
        return median(r.late_us["p99"] if r.late_us else 0.0 for r in self.rounds)

    @property
    def kept_rate(self) -> bool:
        """Tell whether the server answered at the rate that it was loaded with."""
        return self.rate >= KEPT * self.asked

    @property
    def load_was_limit(self) -> bool:
        """Tell whether the load generator may have been what kept the rate down, or was late."""
        if self.asked and self.late > LATE * self.latency("p99"):
            return True
        if self.load_cpu > LOAD_SATURATED:
            return True
        return self.load_cpu > LOAD_BUSY and self.server_cpu < SERVER_BUSY

    @property
    def noisy(self) -> bool:
        """Tell whether others used the two cores too much."""
        return self.others > OTHERS

    @property
    def remark(self) -> str:
        """Say why the figures are invalid; empty if they are not."""
        if self.noisy:
            return f"INVALID: noise, others took {self.others:.0%} of a core"
        if self.load_was_limit:
            late = f", {self.late:,.0f} µs late" if self.asked else ""
            return f"INVALID: the load generator was the limit ({self.load_cpu:.0%} CPU{late})"
        return "" if self.kept_rate else f"could not keep up with {self.asked:,.0f} msg/s"


@dataclass(frozen=True, slots=True)
class Ratio:
    """The first server against another: of medians, of each round's pair, of CPU per message."""

    against: str
    of_medians: float
    of_pairs: list[float]
    of_cpu: float

    @classmethod
    def of(cls, subject: Side, rival: Side) -> "Ratio":
        """Compare two sides; above 1 the first one is better, for CPU too."""
        pairs = [a.rate / b.rate for a, b in zip(subject.rounds, rival.rounds, strict=True)]
        cpu = rival.us_per_message / subject.us_per_message
        return cls(rival.label, subject.rate / rival.rate, pairs, cpu)

    @property
    def range(self) -> str:
        """Lowest and highest pair."""
        return f"{min(self.of_pairs):.2f} … {max(self.of_pairs):.2f}"


@dataclass(frozen=True, slots=True)
class Report:
    """A whole comparison. The first side is the one that the ratios are about."""

    plan: Plan
    facts: dict[str, object]
    sides: list[Side]

    @property
    def ratios(self) -> list[Ratio]:
        """The first side against each other one."""
        subject, *rivals = self.sides
        return [Ratio.of(subject, rival) for rival in rivals]

    def as_json(self) -> dict[str, object]:
        """Make what goes to the JSON file."""
        return {
            "machine": self.facts,
            "plan": asdict(self.plan),
            "sides": [
                {
                    "label": s.label,
                    "identity": s.identity,
                    "rate_median": s.rate,
                    "rate_spread": s.spread,
                    "server_us_per_message_median": s.us_per_message,
                    "remark": s.remark,
                    "rounds": [asdict(r) for r in s.rounds],
                }
                for s in self.sides
            ],
            "ratios": [asdict(r) for r in self.ratios],
        }

    def as_text(self) -> str:
        """Make the table."""
        work = self.plan.work
        lines = [
            f"{describe(work)}; "
            f"{self.plan.rounds} rounds of {work.seconds:g} s in turn; server on core "
            f"{self.plan.server_core}, load on core {self.plan.load_core}",
            " · ".join(f"{name} {self.facts[name]}" for name in FACTS_SHOWN),
            "",
            f"{'server':<14} {UNITS.get(work.kind, 'msg/s'):>12} {'spread':>7} {'µs CPU each':>11} "
            f"{'server':>7} {'load':>6} {'others':>7} {'p50 µs':>8} {'p99 µs':>8}",
        ]
        lines += [row(side) for side in self.sides]
        lines += ["", *(f"{side.label}: {side.identity}" for side in self.sides), ""]
        return "\n".join(lines + (self.percentiles() if work.rate else self.ratios_as_text()))

    def ratios_as_text(self) -> list[str]:
        """Make a line of each ratio."""
        subject = self.sides[0].label
        return [
            f"{subject} / {r.against}: {r.of_medians:.3f} (pairs {r.range}; CPU {r.of_cpu:.3f})"
            for r in self.ratios
        ]

    def percentiles(self) -> list[str]:
        """Make the table of latencies at a fixed rate, where a ratio of rates says nothing."""
        names = list(SHARES)
        head = "".join(f" {name:>8}" for name in names)
        lines = [f"{'µs from when due':<18}{head}   load itself late (p99)"]
        for side in self.sides:
            values = "".join(f" {side.latency(name):>8,.0f}" for name in names)
            lines.append(f"{side.label:<18}{values} {side.late:>14,.0f}")
        return lines


def describe(work: Workload) -> str:
    """Say in words what the load of a round is."""
    text = f"{work.size} B" + (" of text with non-ASCII characters" if work.accents else "")
    connections = f"{work.connections} connections"
    if work.kind == "fan":
        return f"one message to all of {connections}, {text}; latency until the last one has it"
    if work.kind == "session":
        return f"connect, handshake, one echo, close; {work.connections} at a time, {text}"
    if work.kind == "paced":
        return f"echo at {work.rate:,.0f} msg/s (open loop), {text}, {connections}"
    return f"echo, {text}, {connections} x {work.in_flight} in flight"


def row(side: Side) -> str:
    """Make one line of the table."""
    return (
        f"{side.label:<14} {side.rate:>12,.0f} {side.spread:>7.1%} {side.us_per_message:>11.2f} "
        f"{side.server_cpu:>7.1%} {side.load_cpu:>6.1%} {side.others:>7.1%} "
        f"{side.latency('p50'):>8,.0f} {side.latency('p99'):>8,.0f}  {side.remark}".rstrip()
    )


def median_known(values: Iterable[float | None]) -> float:
    """Take the median of the values that are known."""
    return median(value for value in values if value is not None)


def compare(names: Sequence[str], plan: Plan, kinds: Mapping[str, Kind] = KINDS) -> Report:
    """Measure servers against each other; a name that comes twice is two servers of a kind."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running(label, kinds[name], plan.server_core))
            for label, name in zip(labels(names), names, strict=True)
        ]
        warm = replace(plan, work=replace(plan.work, seconds=min(WARMUP_ROUND, plan.work.seconds)))
        for server in servers:
            tell(server.pids, signal.SIGSTOP)
        for server in servers:
            one_round(server, warm)
        results = [[one_round(server, plan) for server in servers] for _ in range(plan.rounds)]
    columns = zip(servers, zip(*results, strict=True), strict=True)
    asked = plan.work.rate
    sides = [Side(server.label, server.identity, list(rounds), asked) for server, rounds in columns]
    return Report(plan, machine.facts(), sides)


def labels(names: Sequence[str]) -> list[str]:
    """Number the names that come more than once."""
    return [
        name if names.count(name) == 1 else f"{name}#{names[: at + 1].count(name)}"
        for at, name in enumerate(names)
    ]


@contextlib.contextmanager
def running(label: str, kind: Kind, core: int) -> Iterator[Server]:
    """Run a server on a core for a while; it is ended by its PID."""
    script = ROOT / "bench" / "servers" / kind.script
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with machine.pinned(core):
            process = subprocess.Popen(
                [sys.executable, str(script), *kind.arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            line = first_line(process)
            port, identity = port_of(line), line.partition(" ")[2]
            wait_until_listening(process, port)
            pids = machine.family(process.pid)
            yield Server(label, kind, process, errors, port, identity, pids)
        except BenchError as error:
            if error.label is not None:  # of a round
                raise
            errors.seek(0)
            text = f"{label}: {error}\n{errors.read()[-2000:]}".rstrip()
            raise BenchError(text, label) from error
        finally:
            stop(process)


def first_line(process: "subprocess.Popen[str]") -> str:
    """Read the line by which a server tells that it is ready; empty if none comes."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().strip() if selector.select(READY_TIMEOUT) else ""


def port_of(line: str) -> int:
    """Read the port at the start of that line."""
    port = line.partition(" ")[0]
    if not port.isdecimal():
        raise BenchError(f"did not print its port: {line!r}")
    return int(port)


def wait_until_listening(process: "subprocess.Popen[str]", port: int) -> None:
    """Wait until the server takes connections: not each can tell by itself when it does."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port), READY_TIMEOUT).close()
            return
        time.sleep(0.02)
    raise BenchError("does not listen")


def tell(pids: Iterable[int], what: signal.Signals) -> None:
    """Send a signal to processes; one that has ended is none of our business here."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def stop(process: "subprocess.Popen[str]") -> None:
    """End a server and its children, by force if it takes too long."""
    pids = machine.family(process.pid)
    tell(pids, signal.SIGCONT)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        tell(pids, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def one_round(server: Server, plan: Plan) -> Result:
    """Load a server once, from a fresh load generator on the load's core."""
    work = plan.work
    options = {
        "--kind": work.kind,
        "--rate": work.rate,
        "--connections": work.connections,
        "--in-flight": work.in_flight,
        "--size": work.size,
        "--seconds": work.seconds,
        "--warmup": work.warmup,
        "--max-messages": work.max_messages,
        "--server-core": plan.server_core,
    }
    command = [sys.executable, "-m", "bench.load", str(server.port)]
    command += [text for option in options.items() for text in map(str, option)]
    command += ["--server-pid", *map(str, server.pids)]
    command += ["--raw"] if server.kind.raw else []
    command += ["--accents"] if work.accents else []
    with machine.pinned(plan.load_core), server.awake():
        load = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if load.returncode:
        text = f"{server.label}: {load.stderr.strip()}\n{server.complaint()}".rstrip()
        raise BenchError(text, server.label)
    result = Result(**json.loads(load.stdout))
    if not result.messages:
        text = f"{server.label}: nothing was answered within {work.seconds:g} s: longer --seconds"
        raise BenchError(text, server.label)
    return result


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every comparison takes."""
    work = Workload()
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each server (7)")
    parser.add_argument("--seconds", type=float, default=work.seconds, help="of a round (1)")
    parser.add_argument("--in-flight", type=int, default=work.in_flight, help="per connection (1)")
    parser.add_argument("--connections", type=int, default=work.connections, help="(100)")
    parser.add_argument("--size", type=int, default=work.size, help="bytes of a payload (64)")
    parser.add_argument("--server-core", type=int, help="default: the first core")
    parser.add_argument("--load-core", type=int, help="default: the second core")
    parser.add_argument("--json", type=Path, help="where the figures go (build/bench/)")


def plan_of(args: argparse.Namespace) -> Plan:
    """Make the plan that the options ask for."""
    server, load = cores_of(args)
    work = Workload(
        connections=args.connections,
        in_flight=args.in_flight,
        size=args.size,
        seconds=args.seconds,
    )
    return Plan(work, args.rounds, server, load)


def cores_of(args: argparse.Namespace) -> tuple[int, int]:
    """Tell the cores of server and load."""
    cores = sorted(os.sched_getaffinity(0))
    server = cores[0] if args.server_core is None else args.server_core
    load = cores[-1 if len(cores) < 2 else 1] if args.load_core is None else args.load_core
    if server == load:
        raise BenchError("server and load need a core each")
    return server, load


def save(report: Report, path: Path) -> None:
    """Write the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report.as_json(), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def main() -> int:
    """Compare the servers named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("servers", nargs="+", choices=KINDS, help="the first against the others")
    add_options(parser)
    args = parser.parse_args()
    if len(args.servers) < 2:
        parser.error("at least two servers")
    try:
        report = compare(args.servers, plan_of(args))
    except BenchError as error:
        raise SystemExit(f"not measured: {error}") from error
    print(report.as_text())
    save(report, args.json or ROOT / "build" / "bench" / "compare.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
