"""The short form of the churn."""

import asyncio

import churn
import pytest
import soak

CONNECTIONS = 100 * len(churn.WAYS)


def test_what_ends_leaves_nothing() -> None:
    with asyncio.Runner() as runner:
        samples = runner.run(churn.churn(CONNECTIONS, lambda _: None))
    assert len(samples) == soak.TENTHS
    assert soak.growth(samples, CONNECTIONS) == []
    assert samples[-1].get("live", 0) == 0


def test_an_answer_that_is_another_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(churn, "HEAD", churn.HEAD.replace(b"13", b"12"))
    with asyncio.Runner() as runner, pytest.raises(AssertionError, match=r"HTTP/1\.1 426 "):
        runner.run(churn.churn(10, lambda _: None))
