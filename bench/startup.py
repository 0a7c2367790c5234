"""Bar P13: what `import wsrelay` costs, in CPU time of a fresh interpreter.

Rounds in turn, with and without the import; user and system time of the whole process. Status 0:
measured (met or not, no wall time is a gate). Status 1: there is no measurement.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import machine
from bench.compare import FACTS_SHOWN, ROOT, BenchError

MUST, AIM = 0.120, 0.060  # seconds
IMPORTS = "import wsrelay"
TIMEOUT = 30.0  # seconds for one interpreter


@dataclass(frozen=True, slots=True)
class Startup:
    """What interpreters took, round by round: seconds of CPU."""

    bare: list[float]
    importing: list[float]

    @property
    def cost(self) -> float:
        """Seconds of the import: the difference of the medians."""
        return median(self.importing) - median(self.bare)

    def verdict(self) -> str:
        """Say in one line whether the bar is met."""
        pairs = [a - b for a, b in zip(self.importing, self.bare, strict=True)]
        figures = (
            f"P13: {IMPORTS} takes {self.cost * 1000:.0f} ms of CPU (pairs {min(pairs) * 1000:.0f} "
            f"… {max(pairs) * 1000:.0f}; the bare interpreter {median(self.bare) * 1000:.0f}; "
            f"must {MUST * 1000:g}, aim {AIM * 1000:g})"
        )
        if self.cost > MUST:
            return f"{figures}: NOT MET"
        return f"{figures}: MET{', aim too' if self.cost <= AIM else ''}"


def cpu_of(code: str, cache: str) -> float:
    """Run code in a fresh interpreter, and tell its CPU seconds. Raises `BenchError`.

    Args:
        code: what it does.
        cache: folder of its bytecode, which an installed package has: a first run fills it.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{code}: no end after {TIMEOUT:g} s") from error
    if done.returncode:
        raise BenchError(f"{code}: {done.stderr.strip()[-1000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(rounds: int) -> Startup:
    """Measure both in turn, after one round each that is thrown away: it compiles."""
    with tempfile.TemporaryDirectory() as cache:
        for code in ("pass", IMPORTS):
            cpu_of(code, cache)
        pairs = [(cpu_of("pass", cache), cpu_of(IMPORTS, cache)) for _ in range(rounds)]
    return Startup([bare for bare, _ in pairs], [importing for _, importing in pairs])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line, write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of each side (15)")
    parser.add_argument("--json", type=Path, help="where the figures go (build/bench/)")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error("--rounds: at least 1")
    facts = machine.facts()
    try:
        found = measure(args.rounds)
    except BenchError as error:
        raise SystemExit(f"not measured: {error}") from error
    print(" · ".join(f"{name} {facts[name]}" for name in FACTS_SHOWN))
    print(found.verdict())
    path: Path = args.json or ROOT / "build" / "bench" / "startup.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": facts, **asdict(found), "cost": found.cost, "verdict": found.verdict()}
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
