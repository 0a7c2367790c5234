"""Fixtures that run a process function in an App of its own."""

import asyncio
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from process_helpers import STEPS, in_app

Inside = Callable[..., Any]

TASKS: dict[str, Any] = {"lazy": None}
if sys.version_info >= (3, 12):
    TASKS["eager"] = asyncio.eager_task_factory


async def _with_tasks(factory: Any, body: Callable[..., Any], *args: Any, **options: Any) -> Any:
    asyncio.get_running_loop().set_task_factory(factory)
    return await in_app(body, *args, **options)


def _run_with(run: Callable[..., Any], factory: Any, *args: Any, **options: Any) -> Any:
    return run(_with_tasks(factory, *args, **options))


@pytest.fixture
def inside(run: Callable[..., Any]) -> Inside:
    """Run a process function in an App, on uvloop; its value or its error."""
    return partial(_run_with, run, None)


@pytest.fixture(params=TASKS)
def inside_everywhere(request: pytest.FixtureRequest, run_everywhere: Callable[..., Any]) -> Inside:
    """The same on each loop, and with eager tasks where Python has them."""
    return partial(_run_with, run_everywhere, TASKS[request.param])


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`await step()` goes on in a step of the task, and in another test in a fast step."""
    return STEPS[request.param]


@pytest.fixture
def crashes(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """`crashes()` is the lines that the process log has so far."""
    caplog.set_level(logging.INFO, "wsrelay.process")
    return lambda: [one.getMessage() for one in caplog.records if one.name == "wsrelay.process"]
