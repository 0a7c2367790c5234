"""A stop with hundreds of WebSockets, half of which take no part in it; 5000 are a command."""

import resource
from collections import Counter

import pytest
import stop_of_many
from stop_of_many import Figures, Wrong, allow_descriptors, complaints

CONNECTIONS = 600
SHUTDOWN = 1.5  # seconds


def test_all_are_ended_in_time() -> None:
    figures = stop_of_many.stop_of_many(CONNECTIONS, SHUTDOWN, drain=0.5)
    assert complaints(figures, SHUTDOWN) == []


def figures(**changes: object) -> Figures:
    """Those of a good stop of eight connections, but for the changes."""
    kinds = Counter(good=4, silent=2, drowning=2)
    good = {
        "connections": 8,
        "status": 0,
        "seconds": 2.0,
        "last_end": 1.6,
        "told": kinds,
        "ended": kinds,
        "descriptors": 20,
        "limit": 100,
        "resident": 1,
        "faults": [],
    }
    return Figures(**{**good, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": 1}, "the exit status is 1"),
        ({"seconds": 3.5}, "the stop took 3.50 s of 1.5"),
        ({"ended": Counter(good=4, silent=2)}, "ended"),
        ({"told": Counter(good=3, silent=2)}, "of 4 good clients 3 saw 1001"),
        ({"descriptors": 8}, "8 descriptors"),
        ({"descriptors": 101}, "101 descriptors"),
        ({"faults": ["a line"]}, "a line"),
    ],
)
def test_what_is_a_bad_stop(changes: dict[str, object], told: str) -> None:
    assert complaints(figures(), SHUTDOWN) == []
    (found,) = complaints(figures(**changes), SHUTDOWN)
    assert told in found


def test_a_limit_that_is_too_low_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    with pytest.raises(Wrong, match="5200 descriptors are needed and the hard limit is 4096"):
        allow_descriptors(5200)
