"""The tail (bar P12): what the attackers send, what is judged, and one small run."""

import json
from pathlib import Path

import pytest
from bench_servers import Server
from wsproto.extensions import PerMessageDeflate

from bench import attack, tail
from bench.attack import BOMB, SIZE, Done, Refused
from bench.load import SHARES, Result
from bench.tail import Round, Settings, Tail
from wsrelay_core._frame import FrameCodec

# -- what the attackers send -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "frames"),
    [("plain", "f" * SIZE, 1), ("fragmented", "f" * SIZE, SIZE), ("compressed", " " * BOMB, 1)],
)
def test_a_flood_is_of_sound_messages(kind: str, text: str, frames: int) -> None:
    deflate = PerMessageDeflate()
    deflate.finalize("permessage-deflate")
    codec = FrameCodec(max_message=1024 * 1024, deflate=deflate)
    data = attack.MESSAGES[kind]()
    assert codec.feed(data * 2) == [(1, text)] * 2
    assert data.count(attack.MASK) >= frames  # zeros that are masked look like one, too


def test_who_is_not_let_in_says_so() -> None:
    with Server() as server, pytest.raises(Refused, match="101"):
        attack.connect(server.port, "/", attack.DEFLATE)  # it takes no extension


# -- what is judged --------------------------------------------------------------------------------


def rounds(p99: float, late: float = 0.0, rate: float = 100.0, others: float = 0.0) -> list[Round]:
    """Make three equal rounds."""
    latency, lateness = dict.fromkeys(SHARES, p99), dict.fromkeys(SHARES, late)
    result = Result(100, 1.0, rate, 0.5, 0.9, 9.0, others, 0.0, latency, lateness)
    done = Done("plain", sent=2**20, seconds=1.0)
    return [Round(result, 2**20, done)] * 3


def measured(alone: list[Round], attacked: list[Round]) -> Tail:
    """Make a measurement at 100 messages a second."""
    facts: dict[str, object] = dict.fromkeys(("cpu", "cores", "kernel", "python"), "?")
    return Tail(Settings(), facts, "wsrelay 1", 100.0, 2**20, alone, attacked)


@pytest.mark.parametrize(
    ("alone", "attacked", "end"),
    [
        (rounds(100), rounds(120), ": MET, aim too"),
        (rounds(100), rounds(200), ": MET"),
        (rounds(100), rounds(201), ": NOT MET"),
        (rounds(100), rounds(100, rate=97), ": NOT MET"),
        (rounds(100, rate=97), rounds(100), "the rate was too high even without attackers"),
        (rounds(100, others=0.06), rounds(100), ": NOT DECIDED, the machine was too noisy"),
        (rounds(100, late=21), rounds(100), ": NOT DECIDED, the load generator was the limit"),
        (rounds(100), rounds(201, late=50), ": NOT DECIDED, the load generator was the limit"),
        (rounds(100), rounds(199, late=50), ": MET"),  # it is no more than that
    ],
)
def test_the_bar_is_met_or_not(alone: list[Round], attacked: list[Round], end: str) -> None:
    line = measured(alone, attacked).verdict()
    assert line.startswith("P12 (plain): p99 with attackers is ") and line.endswith(end)


def test_attackers_that_were_cut_off_prove_nothing() -> None:
    one = rounds(100)[0]
    lost = Round(one.result, one.resident, Done("plain", lost=2, seconds=1.0))
    found = measured([one], [lost])
    assert found.verdict().endswith(": NOT DECIDED, 2 attackers were cut off")


def test_the_limit_is_told() -> None:
    assert measured(rounds(100), rounds(100)).limit() == "The load generator was not the limit."
    late = measured(rounds(100, late=21), rounds(100, late=21)).limit()
    assert late == "The load generator was the limit in: alone, attacked."


@pytest.mark.parametrize(
    "wrong", [["--attack", "magic"], ["--rounds", "0"], ["--rate", "-1"], ["--floods", "-1"]]
)
def test_wrong_options_are_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        tail.arguments(wrong)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_several_attacks_are_measured_one_after_the_other() -> None:
    found = tail.arguments(["--quick", "--attack", "plain,compressed", "--floods", "3"]).settings
    assert [one.attack for one in found] == ["plain", "compressed"]
    assert {(one.connections, one.rounds, one.floods) for one in found} == {(100, 2, 3)}


# -- a small run -----------------------------------------------------------------------------------


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--connections 5 --rounds 1 --seconds 0.2 --rate 100 --silent 1 --floods 1"
    path = tmp_path / "tail.json"
    assert tail.main([*options.split(), "--attack", "compressed", "--json", str(path)]) == 0
    (report,) = json.loads(path.read_text("utf-8"))
    (attacked,), (alone,) = report["attacked"], report["alone"]
    assert alone["done"] is None and attacked["done"]["sent"] > 100_000
    assert attacked["done"]["lost"] == 0
    assert min(alone["result"]["messages"], attacked["result"]["messages"]) > 0
    assert min(alone["resident"], attacked["resident"], report["idle_bytes"]) > 2**20
    shown = capsys.readouterr().out
    assert report["verdict"] in shown and report["limit"] in shown
    assert "5 clients at 100 msg/s (open loop), without and with 1 that never read" in shown
