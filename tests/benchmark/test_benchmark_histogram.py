"""Percentiles against sorted lists, and the rows that people see."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.benchmark.histogram import PER_OCTAVE, Histogram

TIMES = st.lists(st.integers(10, 10**12).map(lambda n: n / 1e9), min_size=1, max_size=50)


def histogram_of(times: list[float]) -> Histogram:
    histogram = Histogram()
    for one in times:
        histogram.record(one)
    return histogram


@given(TIMES, st.integers(0, 1000).map(lambda n: n / 1000))
@settings(max_examples=60, deadline=None)
def test_a_percentile_is_never_too_short_and_hardly_too_long(
    times: list[float], share: float
) -> None:
    exact = sorted(times)[max(0, math.ceil(share * len(times)) - 1)]
    told = histogram_of(times).percentile(share)
    assert exact * (1 - 1e-9) <= told <= exact * 2 ** (1 / PER_OCTAVE) * (1 + 1e-9)


@given(TIMES)
@settings(max_examples=60, deadline=None)
def test_rows_hold_every_time(times: list[float]) -> None:
    rows = histogram_of(times).rows()
    assert sum(count for _, _, count in rows) == len(times)
    assert all(one[1] == following[0] for one, following in pairwise(rows))
    error = 2 ** (1 / PER_OCTAVE)
    assert rows[0][0] / error <= min(times) * 1e6
    assert max(times) * 1e6 <= rows[-1][1] * error


def test_a_summary() -> None:
    summary = histogram_of([0.001] * 98 + [0.002, 0.004]).summary()
    assert summary["min"] == pytest.approx(1000)
    assert summary["p50"] == pytest.approx(1000, rel=0.03)
    assert summary["p99"] == pytest.approx(2000, rel=0.03)
    assert summary["max"] == pytest.approx(4000)
    assert summary["mean"] == pytest.approx(1040)


def test_rows_are_steps_of_one_two_and_five() -> None:
    rows = histogram_of([3e-6, 3e-6, 30e-6]).rows()
    assert [(round(low), round(high), count) for low, high, count in rows] == [
        (2, 5, 2),
        (5, 10, 0),
        (10, 20, 0),
        (20, 50, 1),
    ]


def test_nothing_and_extremes() -> None:
    assert Histogram().rows() == []
    assert set(Histogram().summary().values()) == {0.0}
    assert histogram_of([0.0, -1.0, 1e9]).count == 3
