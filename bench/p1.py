"""Bars P1, P1a and P1b, and P2 with `--in-flight 16`: echo through a process against its rivals.

Status 0: measured (met or not, no wall time is a gate). Status 1: there is no measurement.
"""

import argparse
from dataclasses import dataclass

from bench.compare import (
    KINDS,
    ROOT,
    BenchError,
    Ratio,
    Side,
    add_options,
    compare,
    plan_of,
    save,
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the table of bars: ratio that must be reached, and where we go."""

    name: str
    in_flight: int
    against: str
    must: float
    aim: float


BARS = (
    Bar("P1", 1, "picows", 1.05, 1.15),
    Bar("P1a", 1, "queue", 1.4, 1.6),
    Bar("P1b", 1, "raw", 0.8, 0.95),
    Bar("P2", 16, "picows", 4.0, 6.0),
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


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.p1", description=__doc__)
    parser.add_argument("--against", default="picows,raw,queue", help="rivals, comma-separated")
    parser.add_argument("--subject", default="wsrelay", choices=KINDS, help="what is judged")
    add_options(parser)
    args = parser.parse_args()
    args.against = args.against.split(",")
    if unknown := set(args.against) - KINDS.keys():
        parser.error(f"no such rival: {', '.join(sorted(unknown))} (there are {', '.join(KINDS)})")
    return args


def main() -> int:
    """Measure, print the table, then one line a bar."""
    args = arguments()
    try:
        report = compare([args.subject, *args.against], plan_of(args))
    except BenchError as error:
        raise SystemExit(f"not measured: {error}") from error
    print(report.as_text(), end="\n\n")
    subject, *rivals = report.sides
    bars = {bar.against: bar for bar in BARS if bar.in_flight == args.in_flight}
    for kind, rival, ratio in zip(args.against, rivals, report.ratios, strict=True):
        if kind in bars:
            print(verdict(bars[kind], ratio, subject, rival))
    save(report, args.json or ROOT / "build" / "bench" / f"p1-{args.in_flight}.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
