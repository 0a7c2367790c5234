"""When the micro-benchmarks are measured, and that the test suite has them."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


# What is installed beside them has nothing to do with this, and takes seconds to be imported.
PLUGINS = ("no:cacheprovider", "pytest_benchmark.plugin", "pytest_timeout")


def run(*args: str) -> str:
    """Run pytest in a process of its own.

    Returns:
        What it has written.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *(f"-p{plugin}" for plugin in PLUGINS), *args],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("beside", "measured"), [([], True), (["tests/config/test_durations.py"], False)]
)
def test_only_asked_for_alone_they_are_measured(beside: list[str], measured: bool) -> None:
    few = ("--benchmark-min-rounds=2", "--benchmark-max-time=0.001", "--benchmark-warmup=off")
    said = run("bench/micro/test_frame.py", *beside, "-k", "ping", *few)
    assert "1 passed" in said
    assert re.findall(r"^(test_decode_ping) +\d", said, re.MULTILINE) == (
        ["test_decode_ping"] * measured
    )


def test_the_suite_collects_them() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests", "bench/micro"]
