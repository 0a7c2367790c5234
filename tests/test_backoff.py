"""The delays of restarts: for every rule and every draw of the jitter."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay import Restart
from wsrelay.backoff import Backoff


def exactly(part):
    """A draw at a part of the way from the least to the most."""
    return lambda least, most: least + part * (most - least)


@st.composite
def rules(draw):
    longest = draw(st.floats(0, 1e6))
    return Restart(
        initial_delay=draw(st.floats(0, longest)),
        max_delay=longest,
        backoff_factor=draw(st.floats(1, 1000)),
        jitter=draw(st.floats(0, 1)),
        max_attempts=draw(st.integers(0, 20)),
    )


@given(rules(), st.lists(st.floats(0, 1), max_size=500))
def test_each_delay_is_within_its_bounds(rule, draws):
    parts = iter(draws)
    backoff = Backoff(rule, lambda least, most: exactly(next(parts))(least, most))
    base = rule.initial_delay
    for number, _ in enumerate(draws, 1):
        assert backoff.exhausted == (bool(rule.max_attempts) and number > rule.max_attempts)
        delay = backoff.next_delay()
        assert math.isfinite(delay)
        slack = 1e-9 * rule.max_delay
        assert base * (1 - rule.jitter) - slack <= delay
        assert delay <= min(base * (1 + rule.jitter), rule.max_delay) + slack
        assert backoff.attempts == number
        base = min(base * rule.backoff_factor, rule.max_delay)


@given(rules(), st.integers(0, 200))
def test_without_jitter_delays_grow_to_the_longest_and_a_reset_begins_anew(rule, count):
    rule = Restart(**{**vars(rule), "jitter": 0.0})
    backoff = Backoff(rule)
    delays = [backoff.next_delay() for _ in range(count)]
    assert all(before <= after for before, after in itertools.pairwise(delays))
    assert all(delay <= rule.max_delay for delay in delays)
    backoff.reset()
    assert backoff.attempts == 0
    assert [backoff.next_delay() for _ in range(count)] == delays


def test_the_defaults():
    backoff = Backoff(Restart(), exactly(0.5))
    delays = [backoff.next_delay() for _ in range(8)]
    assert delays[:7] == pytest.approx([1, 2, 4, 8, 16, 32, 64])
    assert delays[7] == pytest.approx((81 + 90) / 2), "spread below the longest, not heaped on it"
    assert not backoff.exhausted


def test_an_endless_row_stays_in_range():
    backoff = Backoff(Restart(initial_delay=1e-3, backoff_factor=1000.0, jitter=1.0))
    assert all(0 <= backoff.next_delay() <= 90 for _ in range(10_000))


def test_without_delay():
    backoff = Backoff(Restart(initial_delay=0.0, max_delay=0.0))
    assert [backoff.next_delay() for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initial_delay": -1.0}, "initial_delay and max_delay are seconds from 0 up"),
        ({"initial_delay": math.nan}, "initial_delay and max_delay are seconds from 0 up"),
        ({"max_delay": math.inf}, "initial_delay and max_delay are seconds from 0 up"),
        ({"initial_delay": 2.0, "max_delay": 1.0}, "initial_delay is longer than max_delay"),
        ({"backoff_factor": 0.5}, "backoff_factor is a number from 1 to 1000"),
        ({"jitter": 1.5}, "jitter is a number from 0 to 1"),
        ({"max_attempts": -1}, "max_attempts is a whole number from 0 up"),
    ],
)
def test_rules_that_are_none(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Restart(**fields)
