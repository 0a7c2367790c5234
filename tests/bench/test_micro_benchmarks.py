"""When the micro-benchmarks are measured, and that the test suite has them."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*args: str) -> None:
    """Run pytest in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("beside", "measured"), [([], True), (["tests/config/test_durations.py"], False)]
)
def test_only_asked_for_alone_they_are_measured(
    tmp_path: Path, beside: list[str], measured: bool
) -> None:
    file = tmp_path / "figures.json"
    few = ("--benchmark-min-rounds=2", "--benchmark-max-time=0.001", "--benchmark-warmup=off")
    run("bench/micro/test_frame.py", *beside, "-k", "ping", *few, f"--benchmark-json={file}")
    figures = json.loads(file.read_text())["benchmarks"] if file.exists() else []
    assert [one["name"] for one in figures] == ["test_decode_ping"] * measured


def test_the_suite_collects_them() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests", "bench/micro"]
