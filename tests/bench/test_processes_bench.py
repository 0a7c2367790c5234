"""The bars of processes: what is made of rounds, and each side that is always there, once."""

import importlib
import json
import os
import resource
import sys
from pathlib import Path

import pytest

from bench import processes
from bench.compare import BenchError
from bench.processes import (
    ASYNCIO,
    BARS,
    ECHO,
    EPOLL,
    UVLOOP,
    WSRELAY,
    Bar,
    Column,
    Outcome,
    Runs,
    Side,
)
from bench.sides import measure
from bench.sides.measure import Cost, WrongResult


def bar(must: float = 4.0, aim: float = 8.0, **more: bool) -> Bar:
    """Make a bar of two columns."""
    runs = (Runs("own", WSRELAY, (10,)), Runs("rival", ASYNCIO, (10,)))
    return Bar("P0", "title", "ping_pong", runs, must, aim, **more)


def outcome(
    judged: Bar, own: list[float], rival: list[float], others: float = 0.0, quick: bool = False
) -> Outcome:
    """Make an outcome of two columns."""
    return Outcome(judged, [Column("own", own, others), Column("rival", rival, 0.0)], quick)


# -- what is made of rounds ------------------------------------------------------------------------


def test_ratios_are_of_medians_and_of_each_pair() -> None:
    made = outcome(bar(), [1.0, 2.0, 3.0], [4.0, 8.0, 6.0])
    assert made.ratio(made.columns[1]) == pytest.approx(3.0)
    assert made.ratios(made.columns[1]) == pytest.approx([4.0, 4.0, 2.0])
    assert made.columns[0].spread == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rival", "end"), [(3.9, ": NOT MET"), (4.0, ": MET"), (7.9, ": MET"), (8.0, ": MET, aim too")]
)
def test_a_ratio_is_at_least(rival: float, end: str) -> None:
    assert outcome(bar(), [1.0], [rival]).verdict().endswith(end)


@pytest.mark.parametrize(
    ("own", "end"), [(1.4, ": NOT MET"), (1.3, ": MET"), (1.1, ": MET, aim too")]
)
def test_growth_is_at_most(own: float, end: str) -> None:
    assert outcome(bar(1.3, 1.1, growth=True), [own], [1.0]).verdict().endswith(end)


@pytest.mark.parametrize(
    ("own", "end"), [(2561, ": NOT MET"), (2560, ": MET"), (1500, ": MET, aim too")]
)
def test_an_absolute_figure_is_at_most(own: float, end: str) -> None:
    assert outcome(bar(2560, 1536, absolute=True), [own], [1e9]).verdict().endswith(end)


def test_noise_decides_nothing_only_where_it_could() -> None:
    line = outcome(bar(), [1.0, 1.0, 1.0], [3.5, 4.5, 4.2], others=0.06).verdict()
    assert line.endswith(": NOT DECIDED, the machine was too noisy")
    assert outcome(bar(), [1.0, 1.0], [4.5, 5.0], others=0.06).verdict().endswith(": MET")
    assert outcome(bar(), [1.0, 1.0], [3.5, 4.5], others=0.04).verdict().endswith(": MET")


def test_quick_decides_nothing() -> None:
    assert outcome(bar(), [1.0], [9.0], quick=True).verdict().endswith(": quick, decides nothing")


def test_the_table() -> None:
    text = outcome(bar(), [1.0], [4.5]).as_text().split("\n")
    assert text[0] == "P0  title"
    assert text[2].split() == ["own", "1.000", "0.0%", "0.0%"]
    assert text[3].split() == ["rival", "4.500", "0.0%", "0.0%", "4.50", "4.50", "…", "4.50"]


def test_each_bar_of_the_design_is_there() -> None:
    musts = {(one.name, one.must, one.aim) for one in BARS if one.name != "P7"}
    assert musts == {("P8", 4, 8), ("P9", 0.8, 1.2), ("P10", 2560, 1536), ("P11", 1.3, 1.1)}
    wanted = (5.0, 8.0) if sys.version_info < (3, 12) else (3.0, 5.0)
    assert [(one.must, one.aim) for one in BARS if one.name == "P7"] == [wanted]
    assert [one.work for one in BARS if one.name == "P11"] == ["growth", "connections"]
    (idle,) = [one for one in BARS if one.name == "P10"]
    assert idle.columns[0].numbers == (1_000_000,)


# -- the sides -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [WSRELAY, ASYNCIO], ids=lambda side: side.name)
@pytest.mark.parametrize("work", ["ping_pong", "fan_in", "spawn_exit", "idle"])
def test_a_work_of_a_side(side: Side, work: str) -> None:
    cost = getattr(importlib.import_module(f"bench.sides.{side.module}"), work)(300)
    assert cost.operations == 300
    assert cost.cpu > 0


def test_growth_goes_round_all_processes() -> None:
    from bench.sides import wsrelay_processes

    assert wsrelay_processes.growth(150, 400).operations == 300


@pytest.mark.parametrize("module", ["wsrelay_processes", "asyncio_queues"])
@pytest.mark.parametrize("work", ["ping_pong", "fan_in", "spawn_exit", "idle"])
def test_every_work_checks_what_it_did(
    monkeypatch: pytest.MonkeyPatch, module: str, work: str
) -> None:
    side = importlib.import_module(f"bench.sides.{module}")
    monkeypatch.setattr(side, "check", lambda what, got, wanted: measure.check(what, got, None))
    with pytest.raises(WrongResult, match=" instead of None"):
        getattr(side, work)(200)


# -- rounds in OS processes of their own -----------------------------------------------------------


def test_a_bar_from_rounds_to_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Runs("none", Side("none", "no_actors", "no_such_package_here"), (10,))
    small = bar()
    small = Bar("P7", "title", "ping_pong", (*small.columns, missing), 4.0, 8.0)
    monkeypatch.setattr(processes, "BARS", (small,))
    file = tmp_path / "new" / "processes.json"
    monkeypatch.setattr(sys, "argv", ["processes", "--rounds", "1", "--json", str(file)])
    before = os.sched_getaffinity(0)
    assert processes.main() == 0
    (saved,) = json.loads(file.read_text())["bars"]
    assert [column["label"] for column in saved["columns"]] == [
        "own",
        "rival",
    ]
    assert all(len(column["prices"]) == 1 for column in saved["columns"])
    assert saved["verdict"].startswith("P7: ")
    assert os.sched_getaffinity(0) == before


def test_a_round_that_fails_is_no_measurement() -> None:
    with pytest.raises(BenchError, match="has no attribute 'no_such_work'"):
        processes.one_round("no_such_work", Runs("own", ASYNCIO, ()), (), 0)


def test_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    (of_connections,) = [one for one in BARS if one.work == processes.CONNECTIONS]
    few = tuple(
        Runs(f"{count}, {side.name}", side, (count,))
        for side in (ECHO, UVLOOP, EPOLL)
        for count in (4, 2)
    )
    small = Bar(of_connections.name, "title", of_connections.work, few, 1.3, 1.1, growth=True)
    monkeypatch.setattr(processes, "smaller", lambda numbers: numbers)
    if len(os.sched_getaffinity(0)) < 2:
        with pytest.raises(BenchError, match="a core each"):
            processes.measure_connections(small, 1, quick=True)
        return
    made = processes.measure_connections(small, 1, quick=True)
    assert all(column.price > 0 for column in made.columns)
    assert len({column.price for column in made.columns}) > 1  # of three servers
    assert [size for size, _ in made.by_size()] == [2, 4]


def test_the_growth_of_others_is_told_beside_the_verdict() -> None:
    runs = tuple(
        Runs(f"{count}, {side.name}", side, (count,))
        for side in (ECHO, EPOLL)
        for count in (1000, 10)
    )
    grown = Bar("P11", "title", processes.CONNECTIONS, runs, 1.3, 1.1, growth=True)
    columns = [
        Column(run.label, [price], 0.0)
        for run, price in zip(runs, [6.0, 4.0, 5.0, 4.0], strict=True)
    ]
    line = Outcome(grown, columns, quick=False).verdict()
    assert line.endswith("must 1.3, aim 1.1): NOT MET (C on epoll 1.25)")


def test_too_few_descriptors_are_told() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with pytest.raises(BenchError, match=rf"needs {hard + 1} open files, and {hard} are allowed"):
        processes.allow_descriptors(hard + 1)


@pytest.mark.parametrize(
    ("args", "told"), [(["--only", "P1"], "no such bar: P1"), (["--rounds", "0"], "at least 1")]
)
def test_a_wrong_call(
    args: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["processes", *args])
    with pytest.raises(SystemExit, match="2"):
        processes.main()
    assert told in capsys.readouterr().err


def test_growth_is_drawn_by_size(tmp_path: Path) -> None:
    runs = tuple(Runs(f"{count}", WSRELAY, (count,)) for count in (1000, 10, 100))
    grown = Bar("P11", "growth of it: there", "growth", runs, 1.3, 1.1, growth=True)
    columns = [Column("1000", [3.0], 0.0), Column("10", [1.0], 0.0), Column("100", [2.0], 0.0)]
    made = Outcome(grown, columns, quick=False)
    assert [(size, one.price) for size, one in made.by_size()] == [(10, 1), (100, 2), (1000, 3)]
    picture = tmp_path / "growth.png"
    processes.draw([], picture)
    assert not picture.exists()
    processes.draw([made], picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_cost_counts_cpu_and_growth() -> None:
    with measure.costs(2) as cost:
        kept = [b"x" * (1 << 20) for _ in range(16)]
    assert len(kept) == 16
    assert isinstance(cost, Cost)
    assert cost.grown > 8 << 20
    assert processes.price_of(bar(), Cost(4, cpu=2e-6)) == pytest.approx(0.5)
