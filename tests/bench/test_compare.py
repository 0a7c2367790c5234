"""What a comparison makes of its rounds, and one real comparison of a few milliseconds."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import bars, compare
from bench.compare import BenchError, Plan, Ratio, Report, Side, running
from bench.kinds import Kind
from bench.load import Result
from bench.work import Workload


def result(rate: float, load: float = 0.8, server: float = 0.99, others: float = 0.0) -> Result:
    """Make a round's result."""
    latency = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0}
    return Result(100, 1.0, rate, load, server, 1e6 * server / rate, others, 0.0, latency)


def side(label: str, *rates: float, load: float = 0.8, server: float = 0.99) -> Side:
    """Make a side of rounds that differ in their rate only."""
    return Side(label, label, [result(rate, load, server) for rate in rates])


BAR = bars.Bar("P0", "echo", "rival", must=1.05, aim=1.15)


def verdict(subject: Side, rival: Side) -> str:
    """Judge two sides by a bar."""
    return bars.verdict(BAR, Ratio.of(subject, rival), subject, rival)


def test_ratios_are_of_medians_and_of_each_pair() -> None:
    ratio = Ratio.of(side("a", 100, 330, 200), side("b", 100, 110, 400))
    assert ratio.of_medians == pytest.approx(200 / 110)
    assert ratio.of_pairs == pytest.approx([1.0, 3.0, 0.5])
    assert ratio.range == "0.50 … 3.00"
    assert ratio.of_cpu == pytest.approx(200 / 110)


def test_spread_is_the_range_over_the_median() -> None:
    assert side("a", 90, 100, 120).spread == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("load", "server", "limit"),
    [
        (0.89, 0.50, False),
        (0.91, 0.98, False),
        (0.91, 0.96, True),
        (0.96, 0.99, False),
        (0.98, 0.99, True),
    ],
)
def test_when_the_load_generator_was_the_limit(load: float, server: float, limit: bool) -> None:
    judged = side("a", 100, load=load, server=server)
    assert judged.load_was_limit is limit
    assert judged.remark.startswith("INVALID: the load generator") is limit


def test_noise_on_either_core_is_told() -> None:
    noisy = Side("a", "a", [result(100, others=0.06)] * 3)
    assert noisy.remark == "INVALID: noise, others took 6% of a core"
    assert "NOT DECIDED, the machine was too noisy" in verdict(noisy, side("b", 50, 50, 50))


@pytest.mark.parametrize(
    ("rate", "end"), [(104, ": NOT MET"), (106, ": MET"), (116, ": MET, aim too")]
)
def test_a_bar_is_met_or_not(rate: float, end: str) -> None:
    assert verdict(side("a", rate), side("b", 100)).endswith(end)


def test_a_load_generator_that_holds_the_subject_back_can_still_show_a_bar_met() -> None:
    line = verdict(side("a", 110, load=0.99), side("b", 100))
    assert "at least 1.10 x b" in line
    assert line.endswith(": MET")
    assert "NOT DECIDED" in verdict(side("a", 100, load=0.99), side("b", 100))


def test_a_load_generator_that_holds_the_rival_back_shows_nothing() -> None:
    assert "NOT DECIDED" in verdict(side("a", 120), side("b", 100, load=0.99))


def test_servers_of_a_kind_are_numbered() -> None:
    assert compare.labels(["a", "b", "a"]) == ["a#1", "b", "a#2"]


def one_core_plan() -> Plan:
    """Make a plan that runs anywhere, and measures nothing that matters."""
    core = min(os.sched_getaffinity(0))
    return Plan(Workload(connections=2, seconds=0.02, warmup=0.01), 2, core, core)


def test_a_whole_comparison(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    report = compare.compare(["raw", "raw"], one_core_plan())
    compare.save(report, tmp_path / "new" / "report.json")
    saved = json.loads((tmp_path / "new" / "report.json").read_text())
    assert [s["label"] for s in saved["sides"]] == ["raw#1", "raw#2"]
    assert [len(s["rounds"]) for s in saved["sides"]] == [2, 2]
    assert all(r["messages"] > 0 and r["server_cpu"] > 0 for r in saved["sides"][0]["rounds"])
    assert len(saved["ratios"][0]["of_pairs"]) == 2
    assert "raw#1 / raw#2: " in report.as_text()
    assert os.sched_getaffinity(0) == before


def test_a_round_that_fails_is_no_measurement(tmp_path: Path) -> None:
    kind = Kind("uvloop_raw.py")  # spoken to as if it knew WebSocket
    plan = one_core_plan()
    with running("fake", kind, plan.server_core) as server:
        with pytest.raises(BenchError, match="fake: HandshakeFailed"):
            compare.one_round(server, plan)
        pid = server.process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise SystemExit('no such rival here')", ["did not print its port", "no such rival"]),
        ("print(1); raise SystemExit('gone')", ["does not listen", "gone"]),
        ("print('ready')", ["did not print its port: 'ready'"]),
    ],
)
def test_a_server_that_does_not_start(tmp_path: Path, script: str, told: Sequence[str]) -> None:
    (tmp_path / "server.py").write_text(script)
    with (
        pytest.raises(BenchError) as caught,
        running("fake", Kind(str(tmp_path / "server.py")), min(os.sched_getaffinity(0))),
    ):
        pass
    assert all(text in str(caught.value) for text in told)


def test_the_table_names_what_was_measured() -> None:
    facts: dict[str, object] = dict.fromkeys(compare.FACTS_SHOWN, "?")
    text = Report(one_core_plan(), facts, [side("a", 110), side("b", 100, load=0.99)]).as_text()
    assert "64 B, 2 connections x 1 in flight" in text
    assert "a / b: 1.100" in text
    assert text.count("INVALID") == 1
