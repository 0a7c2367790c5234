"""Two or more servers under the same load, in turn: A B A B …, one core for servers, one for load.

All servers live all the time, but only one is loaded at a time. Figures are medians over rounds;
ratios are those of the first server to each other one. See README.md for what makes one invalid.
"""

import argparse
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO

from bench import machine
from bench.load import Result, Workload

ROOT = Path(__file__).parents[1]
READY_TIMEOUT = 20.0  # seconds for a server to listen
STOP_TIMEOUT = 5.0  # seconds for a server to end after SIGTERM
WARMUP_ROUND = 0.5  # seconds of the first round of each server, which is thrown away

LOAD_BUSY = 0.90  # above this the load generator may be the limit,
SERVER_BUSY = 0.97  # unless the server's core is at least this busy;
LOAD_SATURATED = 0.97  # and from here on it is one, whatever the server's figure (README.md)
OTHERS = 0.05  # more of a core than this spent by anybody else is noise

FACTS_SHOWN = ("cpu", "cores", "kernel", "python")


class BenchError(Exception):
    """There is no measurement: a server did not start, or a round failed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A server that can be measured: its script in `servers/`, and whether it is a raw one."""

    script: str
    raw: bool = False


KINDS = {
    "wsrelay": Kind("wsrelay_echo.py"),
    "picows": Kind("picows_echo.py"),
    "queue": Kind("picows_queue.py"),
    "raw": Kind("uvloop_raw.py", raw=True),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: the load of a round, the rounds, the cores."""

    work: Workload
    rounds: int
    server_core: int
    load_core: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    label: str
    kind: Kind
    process: "subprocess.Popen[str]"
    errors: IO[str]
    port: int
    identity: str

    def complaint(self) -> str:
        """Return the end of what it wrote to stderr."""
        self.errors.seek(0)
        return self.errors.read()[-2000:]


@dataclass(frozen=True, slots=True)
class Side:
    """What all rounds of a server gave."""

    label: str
    identity: str
    rounds: list[Result]

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
    def load_was_limit(self) -> bool:
        """Tell whether the load generator may have been what kept the rate down."""
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
            return f"INVALID: the load generator was the limit ({self.load_cpu:.0%} CPU)"
        return ""


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
            f"echo, {work.size} B, {work.connections} connections x {work.in_flight} in flight; "
            f"{self.plan.rounds} rounds of {work.seconds:g} s in turn; server on core "
            f"{self.plan.server_core}, load on core {self.plan.load_core}",
            " · ".join(f"{name} {self.facts[name]}" for name in FACTS_SHOWN),
            "",
            f"{'server':<10} {'msg/s':>10} {'spread':>7} {'µs CPU/msg':>11} {'server':>7} "
            f"{'load':>6} {'others':>7} {'p50 µs':>8} {'p99 µs':>8}",
        ]
        lines += [row(side) for side in self.sides]
        lines += ["", *(f"{side.label}: {side.identity}" for side in self.sides), ""]
        subject = self.sides[0].label
        lines += [
            f"{subject} / {r.against}: {r.of_medians:.3f} (pairs {r.range}; CPU {r.of_cpu:.3f})"
            for r in self.ratios
        ]
        return "\n".join(lines)


def row(side: Side) -> str:
    """Make one line of the table."""
    return (
        f"{side.label:<10} {side.rate:>10,.0f} {side.spread:>7.1%} {side.us_per_message:>11.2f} "
        f"{side.server_cpu:>7.1%} {side.load_cpu:>6.1%} {side.others:>7.1%} "
        f"{side.latency('p50'):>8,.0f} {side.latency('p99'):>8,.0f}  {side.remark}".rstrip()
    )


def median_known(values: Iterable[float | None]) -> float:
    """Take the median of the values that are known."""
    return median(value for value in values if value is not None)


def compare(names: Sequence[str], plan: Plan) -> Report:
    """Measure servers against each other; a name that comes twice is two servers of a kind."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running(label, KINDS[name], plan.server_core))
            for label, name in zip(labels(names), names, strict=True)
        ]
        warm = replace(plan, work=replace(plan.work, seconds=min(WARMUP_ROUND, plan.work.seconds)))
        for server in servers:
            one_round(server, warm)
        results = [[one_round(server, plan) for server in servers] for _ in range(plan.rounds)]
    columns = zip(servers, zip(*results, strict=True), strict=True)
    sides = [Side(server.label, server.identity, list(rounds)) for server, rounds in columns]
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
                [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            line = first_line(process)
            server = Server(label, kind, process, errors, port_of(line), line.partition(" ")[2])
            wait_until_listening(server)
            yield server
        except BenchError as error:
            errors.seek(0)
            raise BenchError(f"{label}: {error}\n{errors.read()[-2000:]}".rstrip()) from error
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


def wait_until_listening(server: Server) -> None:
    """Wait until the server takes connections: not each can tell by itself when it does."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", server.port), READY_TIMEOUT).close()
            return
        time.sleep(0.02)
    raise BenchError("does not listen")


def stop(process: "subprocess.Popen[str]") -> None:
    """End a server, by force if it takes too long."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def one_round(server: Server, plan: Plan) -> Result:
    """Load a server once, from a fresh load generator on the load's core."""
    work = plan.work
    options = {
        "--connections": work.connections,
        "--in-flight": work.in_flight,
        "--size": work.size,
        "--seconds": work.seconds,
        "--warmup": work.warmup,
        "--max-messages": work.max_messages,
        "--server-pid": server.process.pid,
        "--server-core": plan.server_core,
    }
    command = [sys.executable, "-m", "bench.load", str(server.port)]
    command += [text for option in options.items() for text in map(str, option)]
    command += ["--raw"] if server.kind.raw else []
    with machine.pinned(plan.load_core):
        load = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if load.returncode:
        raise BenchError(f"{server.label}: {load.stderr.strip()}\n{server.complaint()}".rstrip())
    return Result(**json.loads(load.stdout))


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
    cores = sorted(os.sched_getaffinity(0))
    server = cores[0] if args.server_core is None else args.server_core
    load = cores[-1 if len(cores) < 2 else 1] if args.load_core is None else args.load_core
    if server == load:
        raise BenchError("server and load need a core each")
    work = Workload(
        connections=args.connections,
        in_flight=args.in_flight,
        size=args.size,
        seconds=args.seconds,
    )
    return Plan(work, args.rounds, server, load)


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
