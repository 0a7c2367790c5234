"""What keeps pauses short in a whole OS process; each in one of its own."""

import subprocess
import sys

import pytest


def told(code: str) -> str:
    """Run it in another interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("before", "argument", "after"),
    [
        ("", "", "10000"),
        ("gc.set_threshold(2000)", "", "10000"),  # as Python since 3.13
        ("gc.set_threshold(20_000)", "", "20000"),
        ("gc.set_threshold(20_000)", "5_000", "5000"),
        ("", "0", "0"),
    ],
)
def test_garbage_is_collected_seldom_and_without_what_was_imported(before, argument, after):
    code = f"""
import gc
{before}
from wsrelay.tuning import tune
tune({argument})
print(gc.get_threshold()[0], gc.get_freeze_count() > 10_000)
"""
    assert told(code) == f"{after} True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc's")
def test_what_is_large_goes_back_to_the_system_at_once():
    code = """
import os
from wsrelay.tuning import tune

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

tune()
first = b"x" * 1_000_000
del first  # from now on glibc would keep what is smaller
large = [b"x" * 500_000 for _ in range(100)]
last = b"x" * 500_000  # and all that lies before this one, until it goes too
before = resident()
del large
print(before - resident() > 40_000_000)
"""
    assert told(code) == "True"
