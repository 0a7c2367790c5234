"""What `import wsrelay` costs (bar P13): what is judged, and one small run."""

import json
from pathlib import Path

import pytest

from bench import startup
from bench.compare import BenchError
from bench.startup import Startup


@pytest.mark.parametrize(
    ("cost", "end"), [(0.121, ": NOT MET"), (0.120, ": MET"), (0.060, ": MET, aim too")]
)
def test_the_bar_is_met_or_not(cost: float, end: str) -> None:
    found = Startup([0.0] * 3, [cost, cost, 9.0])
    assert found.cost == cost and found.verdict().endswith(end)


def test_bytecode_is_written_once_for_all_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each round would compile, which no user of an installed package pays."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = "import sys; sys.exit(sys.dont_write_bytecode or not sys.pycache_prefix)"
    assert startup.cpu_of(code, str(tmp_path)) > 0


def test_what_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="NameError"):
        startup.cpu_of("no_such_name", str(tmp_path))


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "startup.json"
    assert startup.main(["--rounds", "1", "--json", str(path)]) == 0
    report = json.loads(path.read_text("utf-8"))
    assert report["importing"][0] > report["bare"][0] > 0
    assert report["verdict"] in capsys.readouterr().out
