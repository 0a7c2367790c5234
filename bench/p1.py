"""Bars P1, P1a and P1b, and P2 with `--in-flight 16`: echo through a process against its rivals.

A part of `bench.peers`, with a free choice of the load and of both sides.

Status 0: measured (met or not, no wall time is a gate). Status 1: there is no measurement.
"""

import argparse

from bench.bars import BARS, CASES, verdict
from bench.compare import ROOT, BenchError, add_options, compare, plan_of, save
from bench.kinds import KINDS


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
    bars = {
        bar.against: bar
        for bar in BARS
        if bar.case in ("echo", "pipelined") and in_flight(bar.case) == args.in_flight
    }
    for kind, rival, ratio in zip(args.against, rivals, report.ratios, strict=True):
        if kind in bars:
            print(verdict(bars[kind], ratio, subject, rival))
    save(report, args.json or ROOT / "build" / "bench" / f"p1-{args.in_flight}.json")
    return 0


def in_flight(case: str) -> int:
    """Tell how many messages a connection has in flight in a case."""
    work = CASES[case].work
    assert work is not None
    return work.in_flight


if __name__ == "__main__":
    raise SystemExit(main())
