"""Bar P12, the tail: how long ordinary clients wait while others do harm, against the same without.

1000 clients at half of the top rate (an open loop, so a late message counts from when it was due),
in rounds without and with attackers in turn: 10 that never read what they are sent, and 10 that
send as fast as TCP takes it. One server on one core; load and attackers on the other.

Status 0: measured (met or not, no wall time is a gate). Status 1: there is no measurement.
"""

import argparse
import contextlib
import json
import math
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from bench import attack, machine
from bench.compare import (
    FACTS_SHOWN,
    ROOT,
    BenchError,
    Server,
    Side,
    cores_of,
    running,
)
from bench.kinds import Kind
from bench.load import Load, Result, result_of
from bench.memory import allow_files
from bench.work import LoadError, Workload

MUST, AIM = 2.0, 1.2  # p99 with attackers to p99 without
HALF = 0.5  # of the top rate is that of the rounds
TOGETHER = 10  # clients that send at the same time: the load would be the limit if it woke for each
PROBE = 1.0  # seconds of the round that finds the top rate
READY_TIMEOUT = 60.0  # seconds until the attackers are connected
END_TIMEOUT = 30.0  # seconds for their last line: the load goes first
MOST_SECONDS = 120.0  # of an attack, whatever happens to this process
KIND = Kind("wsrelay_tail.py")
SHOWN = ("p50", "p99", "p99.9", "max")
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run. `rate`: messages a second of all clients, 0 to find half of the most."""

    attack: str = "plain"
    connections: int = 1000
    silent: int = 10
    floods: int = 10
    rounds: int = 7
    seconds: float = 2.0
    rate: float = 0.0
    server_core: int = 0
    load_core: int = 1


@dataclass(frozen=True, slots=True)
class Round:
    """A round: the load's figures, the server's resident bytes, and what the attackers did."""

    result: Result
    resident: int
    done: attack.Done | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """A whole measurement of one kind of attack."""

    settings: Settings
    facts: dict[str, object]
    identity: str
    rate: float
    idle: int  # resident bytes of the server without a connection
    alone: list[Round]
    attacked: list[Round]

    def side(self, label: str) -> Side:
        """The rounds of `alone` or `attacked`, with the judgements of `bench.compare`."""
        rounds = [one.result for one in getattr(self, label)]
        return Side(label, self.identity, rounds, self.rate)

    def ratio(self, name: str) -> float:
        """How many times longer a share of the messages took with attackers; of medians."""
        return self.side("attacked").latency(name) / self.side("alone").latency(name)

    @property
    def pairs(self) -> list[float]:
        """The same for the p99 of each round's pair."""
        both = zip(self.attacked, self.alone, strict=True)
        return [a.result.latency_us["p99"] / b.result.latency_us["p99"] for a, b in both]

    @property
    def lost(self) -> int:
        """How many attackers the server has ended; then they did less harm than they could."""
        return sum(one.done.lost for one in self.attacked if one.done is not None)

    def limit(self) -> str:
        """Say in one line whether the load generator was the limit."""
        found = [name for name in ("alone", "attacked") if self.side(name).load_was_limit]
        if not found:
            return "The load generator was not the limit."
        return f"The load generator was the limit in: {', '.join(found)}."

    def verdict(self) -> str:
        """Say in one line whether the bar is met.

        A load generator that is late under attack makes the ratio an upper bound, which can still
        show that the bar is met; one that is late without shows nothing.
        """
        alone, attacked = self.side("alone"), self.side("attacked")
        at_most = "at most " if attacked.load_was_limit else ""
        ratio = self.ratio("p99")
        figures = (
            f"P12 ({self.settings.attack}): p99 with attackers is {at_most}{ratio:.2f} x that "
            f"without (pairs {min(self.pairs):.2f} … {max(self.pairs):.2f}; must {MUST:g}, "
            f"aim {AIM:g})"
        )
        if alone.noisy or attacked.noisy:
            return f"{figures}: NOT DECIDED, the machine was too noisy"
        if self.lost:
            return f"{figures}: NOT DECIDED, {self.lost} attackers were cut off"
        if alone.load_was_limit or (attacked.load_was_limit and ratio > MUST):
            return f"{figures}: NOT DECIDED, the load generator was the limit"
        if not alone.kept_rate:
            return f"{figures}: NOT DECIDED, the rate was too high even without attackers"
        if ratio > MUST or not attacked.kept_rate:
            return f"{figures}: NOT MET"
        return f"{figures}: MET{', aim too' if ratio <= AIM else ''}"

    def as_text(self) -> str:
        """Make the table."""
        settings = self.settings
        head = "".join(f" {f'{name} µs':>10}" for name in SHOWN)
        lines = [
            f"{settings.connections} clients at {self.rate:,.0f} msg/s (open loop), without and "
            f"with {settings.silent} that never read and {settings.floods} that flood "
            f"({settings.attack}); {settings.rounds} rounds of {settings.seconds:g} s in turn; "
            f"server on core {settings.server_core}, load on core {settings.load_core}",
            " · ".join(f"{name} {self.facts[name]}" for name in FACTS_SHOWN),
            self.identity,
            "",
            f"{'':<10} {'msg/s':>9} {'server':>7} {'load':>6} {'others':>7}{head} "
            f"{'late p99':>9} {'RSS MiB':>8}",
            *(self.row(name) for name in ("alone", "attacked")),
            "with / without:"
            + "".join(f"  {name} {self.ratio(name):.2f}" for name in SHOWN)
            + f"; the server without a connection has {self.idle / MIB:.1f} MiB",
            f"attackers sent {self.attack_rate() / MIB:,.1f} MiB/s; {self.lost} were cut off",
            self.limit(),
        ]
        return "\n".join(lines)

    def row(self, label: str) -> str:
        """Make one line of the table."""
        side = self.side(label)
        shares = "".join(f" {side.latency(name):>10,.0f}" for name in SHOWN)
        memory = median(one.resident for one in getattr(self, label)) / MIB
        return (
            f"{label:<10} {side.rate:>9,.0f} {side.server_cpu:>7.1%} {side.load_cpu:>6.1%} "
            f"{side.others:>7.1%}{shares} {side.late:>9,.0f} {memory:>8.1f}  {side.remark}"
        ).rstrip()

    def attack_rate(self) -> float:
        """Bytes a second that the floods sent, median."""
        known = [one.done for one in self.attacked if one.done is not None]
        return median(done.sent / done.seconds for done in known)

    def as_json(self) -> dict[str, object]:
        """Make what goes to the JSON file."""
        return {
            "machine": self.facts,
            "settings": asdict(self.settings),
            "identity": self.identity,
            "rate": self.rate,
            "idle_bytes": self.idle,
            "ratios": {name: self.ratio(name) for name in SHOWN},
            "pairs_p99": self.pairs,
            "alone": [asdict(one) for one in self.alone],
            "attacked": [asdict(one) for one in self.attacked],
            "limit": self.limit(),
            "verdict": self.verdict(),
        }


def measure(settings: Settings) -> Tail:
    """Measure one kind of attack. Raises `BenchError`."""
    allow_files(settings.connections + settings.silent + settings.floods)
    facts = machine.facts()
    alone, attacked = [], []
    rate = settings.rate
    with machine.pinned(settings.load_core):
        for _ in range(settings.rounds):
            # A fresh one each: what floods have sent is read for long after they are gone.
            with running("wsrelay", KIND, settings.server_core) as server:
                idle = machine.resident(server.pids)
                rate = rate or max(1, round(HALF * top_rate(server, settings)))
                work = Workload(
                    settings.connections,
                    seconds=settings.seconds,
                    kind="paced",
                    rate=rate,
                    together=math.gcd(settings.connections, TOGETHER),
                )
                alone.append(one_round(server, settings, work))
                attacked.append(one_round(server, settings, work, attacked=True))
    return Tail(settings, facts, server.identity, rate, idle, alone, attacked)


def top_rate(server: Server, settings: Settings) -> float:
    """Find what the server can do for so many clients, in a closed loop."""
    work = Workload(settings.connections, seconds=min(PROBE, settings.seconds))
    return one_round(server, settings, work).result.rate


def one_round(server: Server, settings: Settings, work: Workload, attacked: bool = False) -> Round:
    """Load the server once; the attackers come when all others are connected."""
    try:
        return loaded(server, settings, work, attacked)
    except (LoadError, OSError) as error:
        text = f"{type(error).__name__}: {error}\n{server.complaint()}".rstrip()
        raise BenchError(text) from error


def loaded(server: Server, settings: Settings, work: Workload, attacked: bool) -> Round:
    """As `one_round`, with the load's own errors."""
    load = Load(server.port, work)
    try:
        with contextlib.ExitStack() as stack:
            harm = stack.enter_context(attackers(server, settings)) if attacked else None
            load.start()
            load.serve(work.warmup)
            cpu = 0.0 if harm is None else machine.process_cpu(harm.pid)
            before = machine.Sample.now(machine.Where(server.pids, settings.server_core))
            load.start()
            load.serve(work.seconds)
            spent = machine.Sample.now(machine.Where(server.pids, settings.server_core)) - before
            if harm is not None:
                cpu = machine.process_cpu(harm.pid) - cpu
            measured = load.measured()
            resident = machine.resident(server.pids)
            done = None if harm is None else harm.end()
        load.finish()
    finally:
        load.abort()
    result = result_of(measured, spent)
    if not result.messages:
        raise BenchError(f"nothing was answered within {work.seconds:g} s: longer --seconds")
    if result.load_others is not None:  # the attackers are ours
        others = max(0.0, result.load_others - cpu / spent.seconds)
        result = replace(result, load_others=others)
    return Round(result, resident, done)


class Attackers:
    """A running `bench.attack`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def end(self) -> attack.Done:
        """End the attack, and tell what it did. Raises `BenchError`."""
        try:
            out, errors = self._process.communicate(timeout=END_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise BenchError("the attackers do not end") from error
        if self._process.returncode:
            raise BenchError(f"the attackers failed: {errors.strip()[-1000:]}")
        return attack.Done(**json.loads(out.splitlines()[-1]))


@contextlib.contextmanager
def attackers(server: Server, settings: Settings) -> Iterator[Attackers]:
    """Run the attackers for a while; they are ended by their PID."""
    options = {
        "--kind": settings.attack,
        "--silent": settings.silent,
        "--floods": settings.floods,
        "--seconds": MOST_SECONDS + settings.seconds,
    }
    command = [sys.executable, "-m", "bench.attack", str(server.port)]
    command += [text for option in options.items() for text in map(str, option)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        wait_until_ready(process)
        yield Attackers(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_until_ready(process: "subprocess.Popen[str]") -> None:
    """Wait until they are all connected and flood."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline().strip() if selector.select(READY_TIMEOUT) else ""
    if line != "ready":
        process.kill()
        errors = process.communicate()[1]
        raise BenchError(f"the attackers did not get in: {errors.strip()[-1000:] or line}")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m bench.tail", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shows that it works, decides nothing")
    parser.add_argument(
        "--attack", default="plain", help=f"kinds of flood, of {','.join(attack.KINDS)} (plain)"
    )
    parser.add_argument("--rounds", type=int, help="of each side (7; quick: 2)")
    parser.add_argument("--seconds", type=float, help="of a round (2; quick: 0.3)")
    parser.add_argument("--connections", type=int, help="ordinary clients (1000; quick: 100)")
    parser.add_argument("--silent", type=int, default=default.silent, help="never read (10)")
    parser.add_argument("--floods", type=int, default=default.floods, help="flood (10)")
    parser.add_argument("--rate", type=float, help="msg/s of all clients (half of the most)")
    parser.add_argument("--server-core", type=int, help="default: the first core")
    parser.add_argument("--load-core", type=int, help="default: the second core")
    parser.add_argument("--json", type=Path, help="where the figures go (build/bench/)")
    args = parser.parse_args(argv)
    try:
        args.settings = settings_of(args)
    except (ValueError, BenchError) as error:
        parser.error(str(error))
    return args


def settings_of(args: argparse.Namespace) -> list[Settings]:
    """Make the settings of each kind of attack that is asked for. Raises `ValueError`."""
    kinds = [name.strip() for name in args.attack.split(",") if name.strip()]
    if unknown := [name for name in kinds if name not in attack.KINDS]:
        raise ValueError(f"no such attack: {', '.join(unknown)} (of {', '.join(attack.KINDS)})")
    quick = Settings(connections=100, rounds=2, seconds=0.3)
    settings = quick if args.quick else Settings()
    names = ("rounds", "seconds", "connections", "rate")
    chosen = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if any(value <= 0 for value in chosen.values()) or min(args.silent, args.floods) < 0:
        raise ValueError("rounds, seconds, connections and rate must be positive")
    server, load = cores_of(args)
    return [
        replace(
            settings,
            attack=kind,
            silent=args.silent,
            floods=args.floods,
            server_core=server,
            load_core=load,
            **chosen,
        )
        for kind in dict.fromkeys(kinds)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and a line for each kind of attack, write the JSON file."""
    args = arguments(argv)
    done: list[Tail] = []
    try:
        for settings in args.settings:
            done.append(measure(settings))
            print(f"{done[-1].as_text()}\n{done[-1].verdict()}\n", flush=True)
    except BenchError as error:
        raise SystemExit(f"not measured: {error}") from error
    path: Path = args.json or ROOT / "build" / "bench" / "tail.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([tail.as_json() for tail in done], indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
