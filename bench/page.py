"""The tables of docs/performance.md and of README, made of figures that were measured.

    python -m bench.page --take build/bench    # keep what these runs measured, and write the pages
    python -m bench.page                       # write the pages again

What is kept (docs/performance/figures.json) is the medians, not the rounds, and no path of the
machine. A table stands between `<!-- measured: NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.bars import CASES
from bench.compare import FACTS_SHOWN, ROOT, UNITS, describe
from bench.work import Workload

FIGURES = ROOT / "docs" / "performance" / "figures.json"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")
PICTURES = ("throughput.png", "latency.png", "memory.png", "growth.png")
SIDES = (
    *("wsrelay", "wsrelay-loop", "picows", "queue", "raw", "websockets", "aiohttp", "starlette"),
    *("granian", "socketify"),
)
KIB, MIB = 1024, 1024 * 1024

Figures = dict[str, Any]


# -- what is kept ----------------------------------------------------------------------------------


def kept_peers(run: Mapping[str, Any]) -> Figures:
    """Keep of `peers.json` what the page shows."""
    return {
        "machine": kept_machine(run["machine"]),
        "rounds": run["settings"]["rounds"],
        "seconds": run["settings"]["seconds"],
        "cases": {name: kept_case(case) for name, case in run["cases"].items()},
        "idle": [
            {
                "label": side["label"],
                "bytes": side["per_connection"],
                "counts": side["counts"],
                "sizes": [median(column) for column in zip(*side["bytes"], strict=True)],
            }
            for side in run["idle"]
        ],
        "bars": run["bars"],
        "trust": run["trust"],
        "left_out": run["left_out"],
    }


def kept_machine(facts: Mapping[str, Any]) -> Figures:
    """Keep the facts of a machine that are shown, and the versions of what was measured."""
    kept = {name: facts[name] for name in FACTS_SHOWN}
    return {**kept, "time": facts["time"], "packages": facts.get("packages", {})}


def kept_case(case: Mapping[str, Any]) -> Figures:
    """Keep the medians of a case."""
    work = Workload(**case["plan"]["work"])
    return {
        "load": describe(work),
        "unit": UNITS.get(work.kind, "msg/s"),
        "sides": [
            {
                "label": side["label"],
                "rate": side["rate_median"],
                "spread": side["rate_spread"],
                "cpu": side["server_us_per_message_median"],
                "p50": median(one["latency_us"]["p50"] for one in side["rounds"]),
                "p99": median(one["latency_us"]["p99"] for one in side["rounds"]),
                "remark": side["remark"],
            }
            for side in case["sides"]
        ],
    }


def kept_processes(run: Mapping[str, Any]) -> Figures:
    """Keep of `processes.json` what the page shows."""
    names = ("bar", "title", "unit", "verdict", "ratios")
    return {
        "machine": kept_machine(run["machine"]),
        "bars": [
            {
                **{name: bar[name] for name in names},
                "columns": [
                    {"label": one["label"], "price": one["price_median"]} for one in bar["columns"]
                ],
            }
            for bar in run["bars"]
        ],
    }


def kept_tail(runs: Sequence[Mapping[str, Any]]) -> list[Figures]:
    """Keep of `tail.json` what the page shows."""
    return [
        {
            "attack": run["settings"]["attack"],
            "rate": run["rate"],
            "ratios": run["ratios"],
            "alone": kept_latency(run["alone"]),
            "attacked": kept_latency(run["attacked"]),
            "verdict": run["verdict"],
        }
        for run in runs
    ]


def kept_latency(rounds: Sequence[Mapping[str, Any]]) -> Figures:
    """Keep medians of latencies (µs), and of the server's memory (bytes)."""
    shares = {
        name: median(one["result"]["latency_us"][name] for one in rounds)
        for name in ("p50", "p99", "max")
    }
    return {**shares, "resident": median(one["resident"] for one in rounds)}


def take(folder: Path, figures: Path) -> None:
    """Keep what was measured into a folder, with its pictures; what is not there stays as it is."""
    kept: Figures = json.loads(figures.read_text("utf-8")) if figures.exists() else {}
    makers: dict[str, Callable[[Any], Any]] = {
        "peers": kept_peers,
        "processes": kept_processes,
        "tail": kept_tail,
        "startup": lambda run: run["verdict"],
    }
    for name, make in makers.items():
        source = folder / f"{name}.json"
        if source.exists():
            kept[name] = make(json.loads(source.read_text("utf-8")))
    figures.parent.mkdir(parents=True, exist_ok=True)
    figures.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for picture in PICTURES:
        if (folder / picture).exists():
            shutil.copy(folder / picture, figures.with_name(picture))


# -- tables ----------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine_line(facts: Mapping[str, Any]) -> str:
    """Tell the machine, the day, and the versions."""
    shown = ", ".join(f"{name} {facts[name]}" for name in FACTS_SHOWN)
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return f"{facts['time'][:10]}; {shown}; {versions}."


def case_table(case: Mapping[str, Any]) -> str:
    """Make the table of one case."""
    rows = [
        [
            one["label"] + (f" ({one['remark']})" if one["remark"] else ""),
            f"{one['rate']:,.0f}",
            f"{one['spread']:.0%}",
            f"{one['cpu']:,.2f}",
            f"{one['p50']:,.0f}",
            f"{one['p99']:,.0f}",
        ]
        for one in case["sides"]
    ]
    head = ["", case["unit"], "spread", "µs CPU each", "p50 µs", "p99 µs"]
    return f"{case['load'][0].upper()}{case['load'][1:]}:\n\n{table(head, rows)}"


def overview(peers: Mapping[str, Any]) -> str:
    """Make the table of all cases by server: thousands a second."""
    cases = {name: case for name, case in peers["cases"].items() if name != "latency"}
    rates = {
        name: {one["label"]: one["rate"] for one in case["sides"]} for name, case in cases.items()
    }
    present = [side for side in SIDES if any(side in found for found in rates.values())]
    rows = [
        [
            CASES[name].title,
            *(
                f"{rates[name][side] / 1000:,.1f}" if side in rates[name] else ""
                for side in present
            ),
        ]
        for name in cases
    ]
    sizes = {one["label"]: one["bytes"] / KIB for one in peers["idle"]}
    if sizes:
        cells = [f"{sizes[side]:,.1f}" if side in sizes else "" for side in present]
        rows.append(["KiB of an idle connection", *cells])
    return table(["thousands a second", *present], rows)


def idle_table(peers: Mapping[str, Any]) -> str:
    """Make the table of memory by idle connections."""
    sides = peers["idle"]
    head = ["", "KiB a connection", *(f"{count:,}" for count in sides[0]["counts"])]
    rows = [
        [one["label"], f"{one['bytes'] / KIB:.2f}", *(f"{size / MIB:.1f}" for size in one["sizes"])]
        for one in sides
    ]
    return "MiB of the whole server (RSS) at so many connections:\n\n" + table(head, rows)


def processes_table(bar: Mapping[str, Any]) -> str:
    """Make the table of one bar of processes."""
    digits = ",.0f" if bar["unit"] == "bytes" else ",.3f"
    rows = [
        [
            one["label"],
            f"{one['price']:{digits}}",
            f"{bar['ratios'][one['label']]:.2f}" if one["label"] in bar["ratios"] else "",
        ]
        for one in bar["columns"]
    ]
    title = f"{bar['title'][0].upper()}{bar['title'][1:]}"
    return f"{title}:\n\n{table(['', bar['unit'], 'ratio'], rows)}"


def tail_table(tails: Sequence[Mapping[str, Any]]) -> str:
    """Make the table of the tail under attack."""
    rows = [
        [
            one["attack"],
            f"{one['rate']:,.0f}",
            f"{one['alone']['p99']:,.0f}",
            f"{one['attacked']['p99']:,.0f}",
            f"{one['ratios']['p99']:.2f}",
            f"{one['alone']['resident'] / MIB:.1f}",
            f"{one['attacked']['resident'] / MIB:.1f}",
        ]
        for one in tails
    ]
    head = ["the floods", "msg/s", "p99 µs alone", "p99 µs attacked", "ratio", "MiB alone", "MiB"]
    return table(head, rows)


def bullets(lines: Sequence[str]) -> str:
    """Make a list."""
    return "\n".join(f"- {line}" for line in lines)


def parts(figures: Figures) -> dict[str, str]:
    """Make every part of the pages that has figures, by name."""
    peers, processes = figures["peers"], figures["processes"]
    verdicts = [bar["verdict"] for bar in processes["bars"]]
    verdicts += [one["verdict"] for one in figures["tail"]]
    made = {
        "machine": machine_line(peers["machine"]),
        "overview": overview(peers),
        "idle": idle_table(peers),
        "processes": "\n\n".join(processes_table(bar) for bar in processes["bars"]),
        "tail": tail_table(figures["tail"]),
        "bars": bullets([*peers["bars"], *verdicts, figures["startup"]]),
        "trust": " ".join([peers["trust"], *peers["left_out"]]),
    }
    return made | {name: case_table(case) for name, case in peers["cases"].items()}


def filled(page: str, made: Mapping[str, str]) -> str:
    """Put the parts into a page. Raises KeyError for a name that there is not."""
    return re.sub(
        r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}",
        page,
        flags=re.DOTALL,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Keep figures, and write the pages."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--take", type=Path, help="folder of measured figures (build/bench)")
    args = parser.parse_args(argv)
    if args.take is not None:
        take(args.take, FIGURES)
    made = parts(json.loads(FIGURES.read_text("utf-8")))
    for page in PAGES:
        page.write_text(filled(page.read_text("utf-8"), made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
