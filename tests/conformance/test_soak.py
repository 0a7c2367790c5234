"""The short form of the soak, and what it calls a leak."""

import asyncio

import pytest
import soak

CONNECTIONS = 50 * len(soak.WAYS)


def sample(rss: int, blocks: int) -> dict[str, int]:
    return {"rss": rss, "blocks": blocks}


def test_what_ends_leaves_nothing() -> None:
    with asyncio.Runner() as runner:
        samples = runner.run(soak.soak(CONNECTIONS, 20, lambda _: None))
    assert len(samples) == soak.TENTHS
    assert soak.growth(samples, CONNECTIONS) == []


def test_flat_is_no_growth() -> None:
    begin = sample(30_000_000, 100_000)
    assert soak.growth([begin, sample(50_000_000, 900_000), begin], 100_000) == []
    assert soak.growth([begin, sample(31_000_000, 100_900)], 100_000) == []


def test_a_block_for_each_connection_of_one_way_is_a_leak() -> None:
    rest = 90_000 // len(soak.WAYS)
    begin = sample(30_000_000, 100_000)
    (found,) = soak.growth([begin, sample(30_000_000, 100_000 + rest)], 100_000)
    assert found == f"{rest} blocks of Python more"
    (found,) = soak.growth([begin, sample(34_000_000, 100_000)], 100_000)
    assert found == "resident memory grew by 4000000 bytes"


def test_an_end_that_is_another_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"the target exits": soak.ordered("exit", 1011, b"")}
    monkeypatch.setattr(soak, "WAYS", ways)
    with asyncio.Runner() as runner, pytest.raises(soak.Wrong) as raised:
        runner.run(soak.soak(10, 1, lambda _: None))
    assert str(raised.value).startswith("the target exits: ")
    assert "close 1000 b'target process exited' instead of 1011 b''" in str(raised.value)
