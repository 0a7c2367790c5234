"""wsrelay against its peers: bars P1 to P6b, with tables, a JSON file and plots in build/bench/.

Rivals that are not installed are left out, and said to be. Status 0: measured (met or not, no wall
time is a gate). Status 1: there is a case without a measurement.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bench import machine, memory, plots
from bench.bars import BARS, CASES, Bar, Case, verdict, verdict_of_memory
from bench.compare import ROOT, BenchError, Plan, Ratio, Report, compare, cores_of
from bench.kinds import FAN_KINDS, KINDS, RIVALS, missing, packages
from bench.memory import Growth
from bench.work import Workload

Measured = TypeVar("Measured")
HALF = 0.5  # of what the slowest server can do is the rate of `latency`
PROBE = 0.3  # seconds of the round that finds that out
OUTPUT = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run. `connections` bounds those of every case; `rate` 0: find one for `latency`."""

    cases: tuple[str, ...] = tuple(CASES)
    rivals: tuple[str, ...] = RIVALS
    rounds: int = 7
    seconds: float = 1.0
    connections: int | None = None
    counts: tuple[int, ...] = memory.COUNTS
    memory_rounds: int = 3
    rate: float = 0.0
    server_core: int = 0
    load_core: int = 1

    def plan(self, work: Workload) -> Plan:
        """Make the plan of a case."""
        connections = min(work.connections, self.connections or work.connections)
        work = replace(work, seconds=self.seconds, connections=connections)
        work = replace(work, warmup=min(work.warmup, self.seconds))
        return Plan(work, self.rounds, self.server_core, self.load_core)


@dataclass(slots=True)
class Run:
    """A whole run: what was measured, and what could not be."""

    settings: Settings
    facts: dict[str, object]
    reports: dict[str, Report] = field(default_factory=dict)
    idle: list[Growth] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def verdicts(self) -> list[str]:
        """Say for each bar that was measured whether it is met."""
        lines = [
            verdict_in(bar, self.reports[bar.case]) for bar in BARS if bar.case in self.reports
        ]
        sizes = {side.label: side.per_connection for side in self.idle}
        lines += [
            verdict_of_memory(bar, sizes[bar.subject], sizes.get(bar.against))
            for bar in BARS
            if bar.case == "idle" and sizes
        ]
        return lines

    def trust(self) -> str:
        """Say in one line whether the figures are worth something."""
        sides = [side for report in self.reports.values() for side in report.sides]
        if not sides:
            return "Memory does not depend on what else the machine does."
        noisy = sum(side.noisy for side in sides)
        limited = sum(side.load_was_limit for side in sides)
        if not noisy and not limited:
            return f"All {len(sides)} figures are valid: little noise, the load was not the limit."
        return (
            f"Of {len(sides)} figures {noisy} are INVALID because the machine was too noisy, "
            f"{limited} because the load generator was the limit (see the tables)."
        )

    def as_json(self) -> dict[str, object]:
        """Make what goes to the JSON file."""
        return {
            "machine": self.facts,
            "settings": asdict(self.settings),
            "left_out": self.left_out,
            "failed": self.failed,
            "cases": {name: report.as_json() for name, report in self.reports.items()},
            "idle": [side.as_json() for side in self.idle],
            "bars": self.verdicts(),
            "trust": self.trust(),
        }


def verdict_in(bar: Bar, report: Report) -> str:
    """Judge a bar by the report of its case."""
    sides = {side.label: side for side in report.sides}
    if bar.against not in sides:
        return f"{bar.name}: NOT MEASURED, {bar.against} is not there"
    subject, rival = sides[bar.subject], sides[bar.against]
    return verdict(bar, Ratio.of(subject, rival), subject, rival)


def run(settings: Settings, say: Callable[[str], object] = print) -> Run:
    """Measure all cases, and say what comes out as it comes."""
    done = Run(settings, machine.facts(packages()))
    say("\n".join(f"{name}: {value}" for name, value in done.facts.items()))
    lacking = missing(settings.rivals)
    for name, lacked in lacking.items():
        note = f"{name}: not measured, not installed: {', '.join(lacked)}"
        done.left_out.append(note)
        say(note)
    rivals = tuple(name for name in settings.rivals if name not in lacking)
    for name in settings.cases:
        say(f"\n== {name}: {CASES[name].title}\n")
        try:
            measure_case(done, name, rivals, say)
        except BenchError as error:
            done.failed.append(f"{name}: {error}")
            say(f"not measured: {error}")
    return done


def measure_case(done: Run, name: str, rivals: Sequence[str], say: Callable[[str], object]) -> None:
    """Measure one case, and say its table."""
    case, settings = CASES[name], done.settings
    kinds = FAN_KINDS if case.fan else KINDS
    names = [*case.subjects, *(rival for rival in rivals if rival not in case.without)]

    memory.allow_files(most_connections(case, settings))

    def measure(present: Sequence[str]) -> Report | list[Growth]:
        if case.work is None:
            return memory.measure(
                present, kinds, settings.counts, settings.memory_rounds, settings.server_core
            )
        return compare(present, settings.plan(work_of(case, settings, present)), kinds)

    def dropped(label: str, why: str) -> None:
        note = f"{label}: left out of {name}: {why}"
        done.left_out.append(note)
        say(note)

    found = without_failing(names, case.subjects, measure, dropped)
    if isinstance(found, Report):
        done.reports[name] = found
        say(found.as_text())
    else:
        done.idle = found
        say(memory.as_text(found))


def most_connections(case: Case, settings: Settings) -> int:
    """Tell how many connections a case has at most."""
    if case.work is None:
        return max(settings.counts)
    return settings.plan(case.work).work.connections


def work_of(case: Case, settings: Settings, names: Sequence[str]) -> Workload:
    """Tell the load of a case; the rate of an open loop is one that all of its servers can keep."""
    assert case.work is not None
    if case.work.kind != "paced":
        return case.work
    if settings.rate:
        return replace(case.work, rate=settings.rate)
    closed = replace(case.work, kind="echo", rate=0.0)
    plan = settings.plan(closed)
    short = replace(plan.work, seconds=min(PROBE, plan.work.seconds))
    probe = compare(names, replace(plan, work=short, rounds=1))
    return replace(case.work, rate=round(HALF * min(side.rate for side in probe.sides)))


def without_failing(
    names: Sequence[str],
    needed: Sequence[str],
    measure: Callable[[Sequence[str]], Measured],
    dropped: Callable[[str, str], None],
) -> Measured:
    """Measure; a rival that fails is left out and the rest measured again."""
    names = list(names)
    while True:
        try:
            return measure(names)
        except BenchError as error:
            if error.label not in names or error.label in needed:
                raise
            names.remove(error.label)
            dropped(error.label, str(error))


def draw(done: Run, folder: Path) -> list[Path]:
    """Draw what was measured; tell which files were written. Raises `plots.NoPlots`."""
    drawn = []
    closed = {name: report for name, report in done.reports.items() if name != "latency"}
    if closed:
        plots.throughput(closed, folder / "throughput.png")
        drawn.append(folder / "throughput.png")
    if "latency" in done.reports:
        plots.latency(done.reports["latency"], folder / "latency.png")
        drawn.append(folder / "latency.png")
    if done.idle:
        plots.memory(done.idle, folder / "memory.png")
        drawn.append(folder / "memory.png")
    return drawn


def cases_of(only: str) -> tuple[str, ...]:
    """Read `--only`: names of bars and of cases. Raises `ValueError` with what there is."""
    by_bar = {bar.name.lower(): bar.case for bar in BARS}
    wanted = set()
    for name in filter(None, (name.strip() for name in only.split(","))):
        case = name if name in CASES else by_bar.get(name.lower())
        if case is None:
            bars = ", ".join(bar.name for bar in BARS)
            raise ValueError(f"no such bar: {name} (there are {bars}; cases: {', '.join(CASES)})")
        wanted.add(case)
    return tuple(case for case in CASES if case in wanted)


def rivals_of(names: str) -> tuple[str, ...]:
    """Read `--rivals`. Raises `ValueError` with what there is."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in RIVALS]:
        raise ValueError(f"no such rival: {', '.join(unknown)} (there are {', '.join(RIVALS)})")
    return tuple(dict.fromkeys(wanted))


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it works")
    parser.add_argument("--only", help="bars or cases, comma-separated: P3,P5 or latency")
    parser.add_argument("--rivals", help=f"comma-separated, of {','.join(RIVALS)}")
    parser.add_argument("--rounds", type=int, help="rounds of each server (7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="of a round (1; quick: 0.3)")
    parser.add_argument("--connections", type=int, help="bound those of every case but idle")
    parser.add_argument("--counts", help="of idle connections, comma-separated")
    parser.add_argument("--rate", type=float, help="msg/s of latency (half of the slowest server)")
    parser.add_argument("--server-core", type=int, help="default: the first core")
    parser.add_argument("--load-core", type=int, help="default: the second core")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder (build/bench)")
    args = parser.parse_args(argv)
    try:
        args.settings = settings_of(args)
    except (ValueError, BenchError) as error:
        parser.error(str(error))
    return args


def settings_of(args: argparse.Namespace) -> Settings:
    """Make the settings that the options ask for. Raises `ValueError`."""
    quick = Settings(rounds=3, seconds=0.3, counts=(100, 1000), memory_rounds=1)
    settings = quick if args.quick else Settings()
    server, load = cores_of(args)
    counts = settings.counts
    if args.counts:
        counts = tuple(int(count) for count in args.counts.split(","))
    chosen = {name: getattr(args, name) for name in ("rounds", "seconds", "connections", "rate")}
    if any(value is not None and value <= 0 for value in (*chosen.values(), *counts)):
        raise ValueError("rounds, seconds, connections, counts and rate must be positive")
    if len(set(counts)) < 2:
        raise ValueError("memory needs at least two counts of connections")
    return replace(
        settings,
        cases=tuple(CASES) if args.only is None else cases_of(args.only),
        rivals=RIVALS if args.rivals is None else rivals_of(args.rivals),
        counts=counts,
        server_core=server,
        load_core=load,
        **{name: value for name, value in chosen.items() if value is not None},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables and one line a bar, write the JSON file and the plots."""
    args = arguments(argv)
    done = run(args.settings)
    print("\n== bars\n", *done.verdicts(), "", done.trust(), *done.left_out, sep="\n")
    path = args.output / "peers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(done.as_json(), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"\nfigures: {path}")
    try:
        for drawn in draw(done, args.output):
            print(f"plot: {drawn}")
    except plots.NoPlots as error:
        print(error)
    return 1 if done.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
