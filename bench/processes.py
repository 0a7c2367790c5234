"""Bars P7 to P11: processes against asyncio's queues and tasks, and against actor libraries.

Every round of every side is an OS process of its own, pinned to one core; the sides take turns.
What counts is CPU time, not wall time. Status 0: measured, whether or not a bar is met; 1: it could
not be.
"""

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from bench import compare, machine, plots
from bench.compare import ROOT, BenchError, Plan
from bench.kinds import FLOOR, KINDS
from bench.load import Workload
from bench.sides.measure import Cost

OTHERS = 0.05  # more of the core than this spent by anybody else is noise
ROUND_TIMEOUT = 600.0  # seconds
QUICK_SHARE = 20  # `--quick` does a work that many times less often
DESCRIPTORS = 256  # of a server or load generator, beside one for each connection


@dataclass(frozen=True, slots=True)
class Side:
    """Who does a work: name in the table, module in `sides/`, and what must be installed."""

    name: str
    module: str
    package: str | None = None
    threaded: bool = False  # a thread for each actor: not pinned to one core


WSRELAY = Side("wsrelay", "wsrelay_processes")
# Servers, by their names in `bench.kinds`.
ECHO = Side("wsrelay", "wsrelay")
UVLOOP = Side("bare uvloop", "raw")
EPOLL = Side("C on epoll", FLOOR)
ASYNCIO = Side("asyncio", "asyncio_queues")
LIBRARIES = (
    Side("pykka", "pykka_actors", "pykka", threaded=True),
    Side("thespian", "thespian_actors", "thespian"),
    Side("xoscar", "xoscar_actors", "xoscar"),
)


@dataclass(frozen=True, slots=True)
class Runs:
    """One column of a bar: a side, and the numbers that its work gets.

    Libraries do a work less often: what counts is the price of one operation.
    """

    label: str
    side: Side
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the table of bars.

    Attributes:
        unit: of the figures, and the attribute of `Cost` that they are made of.
        must, aim: of the first column: its ratio to the second one (at least; or at most, where
            `growth`), or its own figure (at most, where `absolute`).
    """

    name: str
    title: str
    work: str
    columns: tuple[Runs, ...]
    must: float
    aim: float
    unit: str = "µs CPU"
    growth: bool = False
    absolute: bool = False


def columns(count: int, of_libraries: int) -> tuple[Runs, ...]:
    """Make the columns of a work that every side knows."""
    libraries = (Runs(side.name, side, (of_libraries,)) for side in LIBRARIES)
    return (
        Runs("wsrelay", WSRELAY, (count,)),
        Runs("asyncio", ASYNCIO, (count,)),
        *libraries,
    )


PING_PONG_MUST = (5.0, 8.0) if sys.version_info < (3, 12) else (3.0, 5.0)
CONNECTIONS = "connections"  # the work that needs a server

BARS = (
    Bar(
        "P7",
        "ping-pong of two, against two asyncio.Queues",
        "ping_pong",
        columns(500_000, 10_000),
        *PING_PONG_MUST,
    ),
    Bar(
        "P8",
        "100 senders to one receiver, against an asyncio.Queue",
        "fan_in",
        columns(1_000_000, 50_000),
        must=4.0,
        aim=8.0,
    ),
    Bar(
        "P9",
        "spawn and EXIT, against create_task and await",
        "spawn_exit",
        columns(100_000, 2_000),
        must=0.8,
        aim=1.2,
    ),
    Bar(
        "P10",
        "memory of an idle process, all alive; of a task with a queue",
        "idle",
        (
            Runs("wsrelay", WSRELAY, (1_000_000,)),
            Runs("asyncio", ASYNCIO, (100_000,)),
            *(Runs(side.name, side, (2_000,)) for side in LIBRARIES),
        ),
        must=2560,
        aim=1536,
        unit="bytes",
        absolute=True,
    ),
    Bar(
        "P11",
        "growth of a message there and back, by processes: among 100 000, against among 100",
        "growth",
        (
            Runs("100 000 processes", WSRELAY, (100_000, 1_000_000)),
            Runs("100 processes", WSRELAY, (100, 1_000_000)),
            Runs("1 000 processes", WSRELAY, (1_000, 1_000_000)),
            Runs("10 000 processes", WSRELAY, (10_000, 1_000_000)),
            Runs("1 000 000 processes", WSRELAY, (1_000_000, 1_000_000)),
        ),
        must=1.3,
        aim=1.1,
        growth=True,
    ),
    Bar(
        "P11",
        "growth of an echo, by connections: among 10 000, against among 100",
        CONNECTIONS,
        (
            Runs("10 000 connections", ECHO, (10_000,)),
            Runs("100 connections", ECHO, (100,)),
            Runs("10 connections", ECHO, (10,)),
            Runs("1 000 connections", ECHO, (1_000,)),
            Runs("10 000, bare uvloop", UVLOOP, (10_000,)),
            Runs("100, bare uvloop", UVLOOP, (100,)),
            Runs("10 000, C on epoll", EPOLL, (10_000,)),
            Runs("100, C on epoll", EPOLL, (100,)),
        ),
        must=1.3,
        aim=1.1,
        growth=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Column:
    """What all rounds of a column gave: the price of one operation, and noise."""

    label: str
    prices: list[float]
    others: float

    @property
    def price(self) -> float:
        """Median of the rounds."""
        return median(self.prices)

    @property
    def spread(self) -> float:
        """Range of the rounds, as a share of their median."""
        return (max(self.prices) - min(self.prices)) / self.price if self.price else math.nan


@dataclass(frozen=True, slots=True)
class Outcome:
    """A bar and its columns; the first one is judged."""

    bar: Bar
    columns: list[Column]
    quick: bool

    def ratios(self, column: Column) -> list[float]:
        """The ratio of each round's pair: above 1 the judged column is the better one."""
        pairs = zip(self.columns[0].prices, column.prices, strict=True)
        return [own / other if self.bar.growth else other / own for own, other in pairs]

    def ratio(self, column: Column) -> float:
        """The ratio of the medians."""
        own, other = self.columns[0].price, column.price
        return own / other if self.bar.growth else other / own

    def verdict(self) -> str:
        """Say in one line whether the bar is met."""
        bar, subject = self.bar, self.columns[0]
        if bar.absolute:
            figures, value = subject.prices, subject.price
            told = f"{subject.label} takes {value:,.0f} {bar.unit} (rounds {span(figures, ',.0f')}"
        else:
            figures, value = self.ratios(self.columns[1]), self.ratio(self.columns[1])
            told = f"{value:.2f} x {self.columns[1].label} (pairs {span(figures, '.2f')}"
        line = f"{bar.name}: {told}; must {bar.must:g}, aim {bar.aim:g})"
        if self.quick:
            return f"{line}: quick, decides nothing"
        at_most = bar.growth or bar.absolute
        noisy = max(column.others for column in self.columns[:2]) > OTHERS
        if noisy and min(figures) < bar.must < max(figures):
            return f"{line}: NOT DECIDED, the machine was too noisy"
        if value <= bar.aim if at_most else value >= bar.aim:
            return f"{line}: MET, aim too"
        met = value <= bar.must if at_most else value >= bar.must
        return f"{line}: {'MET' if met else 'NOT MET'}{self.of_others() if bar.growth else ''}"

    def of_others(self) -> str:
        """Tell how others grew by the same steps, if that was measured."""
        first, second = (runs.numbers for runs in self.bar.columns[:2])
        prices: dict[Side, dict[tuple[int, ...], float]] = {}
        for runs, column in zip(self.bar.columns, self.columns, strict=False):
            prices.setdefault(runs.side, {})[runs.numbers] = column.price
        own = self.bar.columns[0].side
        told = [
            f"{side.name} {price[first] / price[second]:.2f}"
            for side, price in prices.items()
            if side is not own and first != second and first in price and second in price
        ]
        return f" ({', '.join(told)})" if told else ""

    def by_size(self) -> list[tuple[int, Column]]:
        """Give the columns of a growth, each with how many there were of what grows."""
        own = self.bar.columns[0].side
        sizes = {runs.label: runs.numbers[0] for runs in self.bar.columns if runs.side is own}
        columns = [(sizes[one.label], one) for one in self.columns if one.label in sizes]
        return sorted(columns, key=lambda pair: pair[0])

    def as_text(self) -> str:
        """Make the table."""
        bar = self.bar
        head = f"{'':<20} {bar.unit:>10} {'spread':>7} {'others':>7} {'ratio':>7}  pairs"
        return "\n".join([f"{bar.name}  {bar.title}", head, *map(self._row, self.columns)])

    def _row(self, column: Column) -> str:
        row = (
            f"{column.label:<20} {column.price:>10,.3f} {column.spread:>7.1%} {column.others:>7.1%}"
        )
        if column is self.columns[0]:
            return row
        return f"{row} {self.ratio(column):>7.2f}  {span(self.ratios(column), '.2f')}"

    def as_json(self) -> dict[str, object]:
        """Make what goes to the JSON file."""
        return {
            "bar": self.bar.name,
            "title": self.bar.title,
            "unit": self.bar.unit,
            "must": self.bar.must,
            "aim": self.bar.aim,
            "verdict": self.verdict(),
            "columns": [{**asdict(one), "price_median": one.price} for one in self.columns],
            "ratios": {one.label: self.ratio(one) for one in self.columns[1:]},
        }


def span(values: Sequence[float], form: str) -> str:
    """Show the lowest and the highest."""
    return f"{min(values):{form}} … {max(values):{form}}"


def installed(side: Side) -> bool:
    """Tell whether what a side needs is there."""
    return side.package is None or find_spec(side.package) is not None


def smaller(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Divide the numbers of a work for `--quick`, but keep a hundred."""
    return tuple(max(100, number // QUICK_SHARE) for number in numbers)


def price_of(bar: Bar, cost: Cost) -> float:
    """Take the price of one operation out of what a round has cost."""
    spent = cost.grown if bar.unit == "bytes" else cost.cpu * 1e6
    return spent / cost.operations


def one_round(work: str, runs: Runs, numbers: Sequence[int], core: int) -> Cost:
    """Run one round in an OS process of its own."""
    command = [sys.executable, "-m", "bench.sides.run", runs.side.module, work]
    command += map(str, numbers)
    with ExitStack() as stack:
        if not runs.side.threaded:
            stack.enter_context(machine.pinned(core))
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=ROUND_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{runs.label}, {work}: no end after {ROUND_TIMEOUT} s") from error
    if done.returncode:
        raise BenchError(f"{runs.label}, {work}: {done.stderr.strip()[-1000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def measure(bar: Bar, rounds: int, quick: bool, core: int) -> Outcome:
    """Measure a bar whose sides need no server."""
    present = [runs for runs in bar.columns if installed(runs.side)]
    costs: list[list[Cost]] = [[] for _ in present]
    for _ in range(rounds):
        for runs, seen in zip(present, costs, strict=True):
            numbers = smaller(runs.numbers) if quick else runs.numbers
            seen.append(one_round(bar.work, runs, numbers, core))
    measured = [
        Column(
            runs.label,
            [price_of(bar, cost) for cost in seen],
            median(cost.others or 0.0 for cost in seen),
        )
        for runs, seen in zip(present, costs, strict=True)
    ]
    return Outcome(bar, measured, quick)


def measure_connections(bar: Bar, rounds: int, quick: bool) -> Outcome:
    """Measure the bar of connections, with servers and the load generator of `bench.compare`."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("server and load need a core each")
    counts = [smaller(runs.numbers)[0] if quick else runs.numbers[0] for runs in bar.columns]
    allow_descriptors(max(counts) + DESCRIPTORS)
    seconds, warmup = (0.3, 0.1) if quick else (2.0, 0.5)
    plans = [
        Plan(Workload(connections=count, seconds=seconds, warmup=warmup), rounds, *cores[:2])
        for count in counts
    ]
    results: list[list[tuple[float, float]]] = [[] for _ in plans]
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(compare.running(name, KINDS[name], cores[0]))
            for name in dict.fromkeys(runs.side.module for runs in bar.columns)
        }
        for server in servers.values():
            compare.tell(server.pids, signal.SIGSTOP)
        for _ in range(rounds):
            for runs, plan, seen in zip(bar.columns, plans, results, strict=True):
                result = compare.one_round(servers[runs.side.module], plan)
                seen.append((result.server_us_per_message or math.nan, result.server_others or 0.0))
    measured = [
        Column(runs.label, [price for price, _ in seen], median(others for _, others in seen))
        for runs, seen in zip(bar.columns, results, strict=True)
    ]
    return Outcome(bar, measured, quick)


def allow_descriptors(count: int) -> None:
    """Raise this process's limit of open files, which its children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(f"needs {count} open files, and {hard} are allowed (ulimit -Hn)")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def outcomes(bars: Sequence[Bar], rounds: int, quick: bool) -> Iterator[Outcome]:
    """Measure bars one after the other."""
    core = min(os.sched_getaffinity(0))
    for bar in bars:
        if bar.work == CONNECTIONS:
            yield measure_connections(bar, rounds, quick)
        else:
            yield measure(bar, rounds, quick, core)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = sorted({bar.name for bar in BARS}, key=lambda name: int(name[1:]))
    parser = argparse.ArgumentParser(prog="python -m bench.processes", description=__doc__)
    parser.add_argument("--only", default=",".join(names), help="bars, comma-separated (all)")
    parser.add_argument("--rounds", type=int, help="of each side (7; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="shows that it works, decides nothing")
    parser.add_argument("--json", type=Path, help="where the figures go (build/bench/)")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(names):
        parser.error(f"no such bar: {', '.join(sorted(unknown))} (there are {', '.join(names)})")
    if args.rounds is None:
        args.rounds = 2 if args.quick else 7
    if args.rounds < 1:
        parser.error("--rounds: at least 1")
    return args


def main() -> int:
    """Measure, print a table and a verdict for each bar, write the JSON file."""
    args = arguments()
    facts = machine.facts()
    packages = {side.name: machine.installed(side.package or "") for side in LIBRARIES}
    facts["packages"] = {**dict(facts["packages"]), **packages}  # type: ignore[call-overload]
    print(" · ".join(f"{name} {facts[name]}" for name in compare.FACTS_SHOWN))
    for name in [name for name, found in packages.items() if found is None]:
        print(f"{name} is not installed: left out")
    done: list[Outcome] = []
    try:
        for outcome in outcomes([b for b in BARS if b.name in args.only], args.rounds, args.quick):
            print(f"\n{outcome.as_text()}\n{outcome.verdict()}", flush=True)
            done.append(outcome)
    except BenchError as error:
        raise SystemExit(f"not measured: {error}") from error
    path: Path = args.json or ROOT / "build" / "bench" / "processes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": facts, "bars": [outcome.as_json() for outcome in done]}
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nfigures: {path}")
    draw([outcome for outcome in done if outcome.bar.growth], path.with_name("growth.png"))
    return 0


def draw(grown: Sequence[Outcome], path: Path) -> None:
    """Draw what grew, if anything was measured of it."""
    if not grown:
        return
    curves = {
        outcome.bar.title.partition(":")[0].removeprefix("growth of "): [
            (size, column.prices) for size, column in outcome.by_size()
        ]
        for outcome in grown
    }
    try:
        plots.growth(curves, path)
    except plots.NoPlots as error:
        print(error)
    else:
        print(f"plot: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
