"""What a benchmark shows: a table and a histogram in the terminal (with rich), or JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wsrelay.benchmark.errors import BenchmarkError
from wsrelay.benchmark.histogram import Histogram
from wsrelay.benchmark.works import Plan, Progress, Result
from wsrelay.log import printable

__all__ = ["as_json", "need_rich", "progress_bar", "show"]

BAR = 40  # columns of the longest bar
PERCENTILES = ("min", "p50", "p90", "p99", "p99.9", "max", "mean")
COUNTED = {"echo": "replies", "fan-out": "deliveries", "idle": "pongs"}


def need_rich() -> None:
    """Raise BenchmarkError, with the mend, where rich is not installed."""
    try:
        import rich  # noqa: F401
    except ImportError as error:
        raise BenchmarkError(
            f"the table needs rich: pip install 'wsrelay[bench]', or take --json ({error})"
        ) from None


def as_json(result: Result) -> dict[str, Any]:
    """What --json writes; times are microseconds."""
    plan = result.plan
    return {
        "url": plan.target.url,
        "mode": plan.work,
        "connections": plan.connections,
        "in_flight": plan.in_flight if plan.work == "echo" else None,
        "size": plan.size if plan.work != "idle" else None,
        "binary": plan.binary,
        "seconds": round(result.seconds, 3),
        COUNTED[plan.work]: result.messages,
        "per_second": rate_of(result),
        "client_cpu": round(result.own_share, 3),
        "client_was_limit": result.was_limit,
        "handshake_us": result.handshakes.summary(),
        "latency_us": result.latencies.summary(),
        "histogram": [
            {"from_us": low, "to_us": high, "count": count}
            for low, high, count in result.latencies.rows()
        ],
    }


def rate_of(result: Result) -> float | None:
    """Replies or deliveries a second; a handful of pongs has no rate."""
    if result.plan.work == "idle" or not result.seconds:
        return None
    return round(result.messages / result.seconds, 1)


@contextmanager
def progress_bar(plan: Plan) -> Iterator[Progress]:
    """Show on stderr, while it is a terminal, how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda phase, share: None
        return
    shown = (TextColumn("{task.description:<14}"), BarColumn(BAR), TimeElapsedColumn())
    with Bars(*shown, console=console, transient=True) as bars:
        task = bars.add_task("connecting", total=1.0)
        yield lambda phase, share: bars.update(task, description=phase, completed=share)


def show(result: Result) -> None:
    """Write table and histogram to stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for line in headlines(result):
        console.print(Text(line))
    table = Table(box=None, pad_edge=False)
    table.add_column("µs")
    for name in PERCENTILES:
        table.add_column(name, justify="right")
    latencies = "ping to pong" if result.plan.work == "idle" else "latency"
    for title, histogram in (("handshake", result.handshakes), (latencies, result.latencies)):
        summary = histogram.summary()
        table.add_row(title, *(f"{summary[name]:,.0f}" for name in PERCENTILES))
    console.print(table)
    console.print(Text(f"\n{latencies}"))
    console.print(bars_of(result.latencies))
    if result.was_limit:
        console.print(Text(LIMIT.format(share=result.own_share)))


LIMIT = (
    "\nThis command used {share:.0%} of a core: it may have been slower than the server. "
    "Take what it shows as the least that the server can do, and the latencies as too long."
)


def headlines(result: Result) -> list[str]:
    """What was done, and what came of it."""
    plan = result.plan
    count = f"{plan.connections} connection{'s' * (plan.connections > 1)}"
    kind = "bytes" if plan.binary else "bytes of text"
    what = {
        "echo": f"{count}, {plan.in_flight} in flight each, {plan.size} {kind}",
        "fan-out": f"1 sender, {plan.connections - 1} receivers, {plan.size} {kind}",
        "idle": f"{count}, {plan.seconds:g} s without a message, then a ping each",
    }[plan.work]
    done = f"{result.messages:,} {COUNTED[plan.work]}, each compared byte for byte"
    rate = rate_of(result)
    if rate is not None:
        done += f", in {result.seconds:.1f} s: {rate:,.0f} a second"
    return [printable(f"{plan.target.url}  {plan.work}: {what}"), done, ""]


def bars_of(histogram: Histogram) -> Any:
    """A row with a bar for each step of 1, 2 and 5."""
    from rich.bar import Bar
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column(width=BAR)
    table.add_column(justify="right")
    rows = histogram.rows()
    most = max((count for _, _, count in rows), default=1)
    for low, high, count in rows:
        share = f"{count:,} ({count / histogram.count:.1%})"
        table.add_row(f"{time(low)} … {time(high)}", Bar(most, 0, count, width=BAR), share)
    return table


def time(microseconds: float) -> str:
    """A time that is 1, 2 or 5 of a power of ten."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds * 1e3:g} ns"
