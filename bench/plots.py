"""Pictures of a run: throughput, latency by percentile, memory by idle connections.

matplotlib is imported where it is used: without it there are tables and figures all the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.compare import UNITS, Report, Side, describe
from bench.load import SHARES
from bench.memory import Growth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "wsrelay"
OUR_COLOUR, GREY = "#c2410c", "#94a3b8"
OUR_LINE = {"color": OUR_COLOUR, "linewidth": 2.5}


class NoPlots(Exception):
    """matplotlib is not installed."""


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure, which needs no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlots("no plots: pip install 'wsrelay[bench]' brings matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")


def throughput(reports: Mapping[str, Report], path: Path) -> None:
    """Draw what each server did in each case: medians, with the lowest and highest round."""
    figure = new_figure(8, 0.7 + sum(0.6 + 0.28 * len(r.sides) for r in reports.values()))
    ratios = [len(report.sides) + 2 for report in reports.values()]
    axes = figure.subplots(len(reports), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axis, report in zip(axes, reports.values(), strict=True):
        sides = report.sides[::-1]
        rates = [side.rate for side in sides]
        errors = [
            [side.rate - min(r.rate for r in side.rounds) for side in sides],
            [max(r.rate for r in side.rounds) - side.rate for side in sides],
        ]
        colours = [OUR_COLOUR if side.label.startswith(OURS) else GREY for side in sides]
        axis.barh([name_of(side) for side in sides], rates, xerr=errors, color=colours, capsize=2)
        axis.set_title(describe(report.plan.work), fontsize="small", loc="left")
        axis.set_xlabel(UNITS.get(report.plan.work.kind, "msg/s"), fontsize="small")
        axis.tick_params(labelsize="small")
        axis.xaxis.set_major_formatter("{x:,.0f}")
    save(figure, path)


def name_of(side: Side) -> str:
    """Name a side; one whose figures are invalid says so."""
    return f"{side.label} (invalid)" if side.remark else side.label


def latency(report: Report, path: Path) -> None:
    """Draw the latency of each server at a fixed rate, by percentile."""
    figure = new_figure(8, 5)
    axis = figure.subplots()
    names = list(SHARES)
    for side in report.sides:
        line: dict[str, Any] = OUR_LINE if side.label == OURS else {}
        values = [side.latency(name) for name in names]
        axis.plot(names, values, marker="o", markersize=4, label=name_of(side), **line)
    axis.set_yscale("log")
    axis.set_ylabel("µs from when a message was due to its echo")
    axis.set_title(describe(report.plan.work), fontsize="small", loc="left")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize="small")
    save(figure, path)


def memory(sides: Sequence[Growth], path: Path) -> None:
    """Draw how much memory each server has by its idle connections."""
    figure = new_figure(8, 5)
    axis = figure.subplots()
    for side in sides:
        line: dict[str, Any] = OUR_LINE if side.label.startswith(OURS) else {}
        style = "--" if side.label == OURS else "-"  # a process for each connection
        label = f"{side.label}: {side.per_connection / 1024:.1f} KiB a connection"
        sizes = [size / 2**20 for size in side.medians]
        axis.plot(side.counts, sizes, style, marker="o", markersize=4, label=label, **line)
    axis.set_xlabel("idle connections")
    axis.set_ylabel("MiB of the whole server (RSS)")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    save(figure, path)


def growth(curves: Mapping[str, Sequence[tuple[int, Sequence[float]]]], path: Path) -> None:
    """Draw the price of one operation by how many there are of what grows.

    Args:
        curves: by title: counts, each with the CPU time of all rounds in µs.
        path: of the picture.
    """
    figure = new_figure(8, 4)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (title, points) in zip(panels, curves.items(), strict=True):
        counts = [count for count, _ in points]
        middle = [median(prices) for _, prices in points]
        errors = [
            [median(prices) - min(prices) for _, prices in points],
            [max(prices) - median(prices) for _, prices in points],
        ]
        axis.errorbar(counts, middle, errors, marker="o", markersize=4, capsize=3, **OUR_LINE)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize="small", loc="left")
        axis.set_ylabel("µs CPU", fontsize="small")
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize="small")
    save(figure, path)


def save(figure: "Figure", path: Path) -> None:
    """Write the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
