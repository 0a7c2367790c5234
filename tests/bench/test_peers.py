"""What `bench.peers` makes of its rounds and of its command line, and one small run of it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import bars, kinds, memory, peers, plots
from bench.bars import Bar
from bench.compare import BenchError, Plan, Report, Side, describe
from bench.kinds import Kind
from bench.load import SHARES, Result
from bench.memory import Growth
from bench.peers import Run, Settings
from bench.work import Workload

PACED = Workload(kind="paced", rate=1000.0)


def side(
    label: str, rate: float, asked: float = 0.0, late: float = 0.0, others: float = 0.0
) -> Side:
    """Make a side of three equal rounds, whose p99 is 99 µs."""
    latency = {name: 100 * share for name, share in SHARES.items()}
    lateness = {name: late for name in SHARES} if asked else None
    result = Result(100, 1.0, rate, 0.5, 0.9, 9.0, others, 0.0, latency, lateness)
    return Side(label, label, [result] * 3, asked)


def report(*sides: Side, work: Workload | None = None) -> Report:
    """Make a report."""
    facts: dict[str, object] = dict.fromkeys(("cpu", "cores", "kernel", "python"), "?")
    return Report(Plan(work or Workload(), 3, 0, 1), facts, list(sides))


def growth(label: str, *sizes: Sequence[int]) -> Growth:
    """Make what idle connections took, by round."""
    return Growth(label, label, (100, 300, 1100), [list(round_) for round_ in sizes])


# --- arithmetic -------------------------------------------------------------------------------


def test_a_rate_that_was_not_kept_is_told() -> None:
    assert side("a", 990, asked=1000).remark == ""
    assert side("a", 970, asked=1000).remark == "could not keep up with 1,000 msg/s"


@pytest.mark.parametrize(("late", "limit"), [(19, False), (21, True)])
def test_a_load_generator_that_is_late_itself_is_told(late: float, limit: bool) -> None:
    judged = side("a", 1000, asked=1000, late=late)
    assert judged.load_was_limit is limit
    assert judged.remark.startswith("INVALID: the load generator was the limit") is limit


def test_at_a_fixed_rate_the_report_is_of_latencies() -> None:
    text = report(side("a", 1000, asked=1000, late=7), side("b", 900, asked=1000), work=PACED)
    lines = text.as_text().splitlines()
    assert lines[-2].split() == ["a", "50", "75", "90", "95", "99", "100", "100", "7"]
    assert "a / b" not in text.as_text()
    assert "could not keep up" in text.as_text()


def test_memory_of_a_connection_is_the_growth_from_the_first_count() -> None:
    measured = growth("a", [9_000_000, 9_400_000, 11_000_000], [9_000_000, 9_000_000, 9_500_000])
    assert measured.medians == [9_000_000, 9_200_000, 10_250_000]
    assert measured.per_connection == pytest.approx((2000 + 500) / 2)
    assert measured.as_json()["per_connection"] == measured.per_connection


@pytest.mark.parametrize(
    ("taken", "end"), [(3073, ": NOT MET"), (3072, ": MET"), (2048, ": MET, aim too")]
)
def test_a_bar_of_memory_is_met_or_not(taken: float, end: str) -> None:
    bar = Bar("P0", "idle", "rival", 3072, 2048)
    line = bars.verdict_of_memory(bar, taken, 14 * 1024)
    assert line.endswith(f"(rival 14.0) (must 3, aim 2){end}")
    assert "rival" not in bars.verdict_of_memory(bar, taken, None)


def test_a_run_judges_the_bars_that_it_measured() -> None:
    done = Run(Settings(), {})
    assert done.verdicts() == []
    done.reports["fan"] = report(
        side("wsrelay", 100), side("wsrelay-loop", 80), side("picows", 100)
    )
    done.reports["session"] = report(side("wsrelay", 100))
    done.idle = [growth("wsrelay", [0, 0, 5_000_000]), growth("wsrelay-shared", [0, 0, 1_000_000])]
    assert [line.partition(" (")[0] for line in done.verdicts()] == [
        "P4: wsrelay is 1.00 x picows",
        "P4b: wsrelay-loop is 0.80 x picows",
        "P5: NOT MEASURED, aiohttp is not there",
        "P6: wsrelay-shared takes 0.98 KiB a connection",
        "P6b: wsrelay takes 4.88 KiB a connection",
    ]
    assert [line.rpartition(": ")[2] for line in done.verdicts()][:2] == ["MET", "NOT MET"]


def test_a_run_says_in_one_line_whether_to_trust_it() -> None:
    done = Run(Settings(), {})
    assert done.trust().startswith("Memory does not depend")
    done.reports["echo"] = report(side("wsrelay", 100), side("picows", 90))
    assert done.trust().startswith("All 2 figures are valid")
    late = side("raw", 1000, asked=1000, late=90)
    done.reports["latency"] = report(late, side("picows", 1000, others=0.1), work=PACED)
    assert "Of 4 figures 1 are INVALID because the machine was too noisy, 1 because" in done.trust()


def test_a_load_is_described() -> None:
    works = {name: case.work for name, case in bars.CASES.items() if case.work}
    texts = {name: describe(work) for name, work in works.items()}
    assert texts["echo"] == "echo, 64 B, 100 connections x 1 in flight"
    assert texts["fan-text"].startswith(
        "one message to all of 1000 connections, 4096 B of text with non-ASCII"
    )
    assert describe(PACED).startswith("echo at 1,000 msg/s (open loop)")
    assert len(set(texts.values())) == len(texts)


# --- who takes part ---------------------------------------------------------------------------


def test_what_is_not_installed_is_missing() -> None:
    table = {
        "there": Kind("x.py", packages=("uvloop",)),
        "gone": Kind("x.py", (), ("no-such", "h11")),
    }
    assert kinds.missing(table, table) == {"gone": ["no-such"]}


def test_a_missing_rival_is_said_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "missing", lambda names: {"granian": ["granian"]})
    said: list[str] = []
    done = peers.run(Settings(cases=(), rivals=("granian",)), said.append)
    assert done.left_out == said[1:] == ["granian: not measured, not installed: granian"]
    assert not done.failed


def test_a_rival_that_fails_is_left_out_and_the_rest_measured_again() -> None:
    dropped: list[tuple[str, str]] = []

    def measure(names: Sequence[str]) -> list[str]:
        if "b" in names:
            raise BenchError("b: broken", "b")
        return list(names)

    found = peers.without_failing(
        "abc", "a", measure, lambda label, why: dropped.append((label, why))
    )
    assert found == ["a", "c"]
    assert dropped == [("b", "b: broken")]


@pytest.mark.parametrize("label", ["a", None])
def test_a_subject_that_fails_is_no_measurement(label: str | None) -> None:
    def measure(_names: Sequence[str]) -> None:
        raise BenchError("broken", label)

    with pytest.raises(BenchError, match="broken"):
        peers.without_failing("abc", "a", measure, lambda *_: None)


# --- the command line -------------------------------------------------------------------------


def settings(*argv: str) -> Settings:
    """Read a command line on a machine of two cores."""
    read = peers.arguments([*argv, "--server-core", "0", "--load-core", "1"]).settings
    assert isinstance(read, Settings)
    return read


def test_without_options_everything_is_measured() -> None:
    assert settings() == Settings()


def test_options_change_what_is_measured() -> None:
    chosen = settings("--only", "p3,P5,latency", "--rivals", "raw,aiohttp", "--rounds", "2")
    assert chosen.cases == ("large", "session", "latency")
    assert chosen.rivals == ("raw", "aiohttp")
    assert chosen.rounds == 2
    quick = settings("--quick", "--seconds", "0.1", "--counts", "5,7")
    assert (quick.rounds, quick.seconds, quick.counts) == (3, 0.1, (5, 7))


def test_no_case_has_more_connections_or_time_than_asked() -> None:
    small = replace(Settings(), connections=7, seconds=0.2)
    for case in bars.CASES.values():
        if case.work is not None:
            work = small.plan(case.work).work
            assert (work.connections, work.seconds, work.warmup) == (7, 0.2, 0.2)
    assert replace(small, connections=500).plan(Workload()).work.connections == 100


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--only", "P3,P99"], "no such bar: P99 (there are P1, P1a, "),
        (["--rivals", "raw,nobody"], "no such rival: nobody (there are picows, queue, "),
        (["--rounds", "0"], "must be positive"),
        (["--counts", "10"], "at least two counts"),
        (["--counts", "10,x"], "invalid literal"),
    ],
)
def test_a_wrong_option_is_told(
    capsys: pytest.CaptureFixture[str], argv: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(*argv)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_server_and_load_on_one_core_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        peers.arguments(["--server-core", "0", "--load-core", "0"])
    assert "a core each" in capsys.readouterr().err


def test_more_connections_than_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (256, 1024))
    done = peers.run(Settings(cases=("fan", "idle"), rivals=()), lambda _: None)
    assert done.failed == [
        "fan: 1000 connections need more open files: ulimit -n 1100",
        "idle: 5000 connections need more open files: ulimit -n 5100",
    ]


def test_the_limit_of_files_is_raised_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(memory.resource, "setrlimit", lambda _, limits: raised.append(limits))
    memory.allow_files(924)
    assert raised == []
    memory.allow_files(1000)
    assert raised == [(1100, 4096)]


# --- a run ------------------------------------------------------------------------------------


def test_a_whole_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    core = min(peers.machine.os.sched_getaffinity(0))
    monkeypatch.setattr(peers, "cores_of", lambda _: (core, core))
    argv = ["--quick", "--only", "P1b,P6", "--rivals", "raw", "--rounds", "1", "--seconds", "0.1"]
    argv += ["--connections", "2", "--counts", "1,3", "--output", str(tmp_path / "new")]
    assert peers.main(argv) == 0
    text = capsys.readouterr().out
    assert "echo, 64 B, 2 connections x 1 in flight" in text
    assert "P1: NOT MEASURED, picows is not there" in text
    assert "P1b: wsrelay is " in text
    assert "P6: wsrelay-shared takes " in text
    saved = json.loads((tmp_path / "new" / "peers.json").read_text())
    assert [s["label"] for s in saved["cases"]["echo"]["sides"]] == ["wsrelay", "raw"]
    assert [len(s["bytes"]) for s in saved["idle"]] == [1, 1]
    assert len(saved["bars"]) == 5
    assert saved["machine"]["packages"]["wsrelay"]


def a_run() -> Run:
    """Make a run of all three kinds of pictures."""
    done = Run(Settings(), {})
    done.reports["echo"] = report(side("wsrelay", 100), side("picows", 90, others=0.5))
    paced = [side("wsrelay", 1000, asked=1000), side("picows", 1000, asked=1000)]
    done.reports["latency"] = report(*paced, work=PACED)
    done.idle = [growth("wsrelay", [0, 1, 2]), growth("aiohttp", [0, 10, 20])]
    return done


def test_pictures_are_drawn(tmp_path: Path) -> None:
    drawn = peers.draw(a_run(), tmp_path)
    assert [path.name for path in drawn] == ["throughput.png", "latency.png", "memory.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_nothing_measured_draws_nothing(tmp_path: Path) -> None:
    assert peers.draw(Run(Settings(), {}), tmp_path) == []


def test_without_matplotlib_the_mend_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plots.NoPlots, match=r"pip install 'wsrelay\[bench\]'"):
        peers.draw(a_run(), tmp_path)
