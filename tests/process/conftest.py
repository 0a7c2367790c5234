"""Fixtures that run a process function in an App of its own."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from process_helpers import STEPS, in_app

Inside = Callable[..., Any]


def _run_inside(run: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return run(in_app(*args, **options))


@pytest.fixture
def inside(run: Callable[..., Any]) -> Inside:
    """Run a process function in an App, on uvloop; its value or its error."""
    return partial(_run_inside, run)


@pytest.fixture
def inside_everywhere(run_everywhere: Callable[..., Any]) -> Inside:
    """The same on each loop, and with eager tasks where Python has them."""
    return partial(_run_inside, run_everywhere)


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`await step()` goes on in a step of the task, and in another test in a fast step."""
    return STEPS[request.param]


@pytest.fixture
def crashes(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """`crashes()` is the lines that the process log has so far."""
    caplog.set_level(logging.INFO, "wsrelay.process")
    return lambda: [one.getMessage() for one in caplog.records if one.name == "wsrelay.process"]
