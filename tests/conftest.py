"""What all tests share: loops to run on, and an eye on what loops complain about."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

LIMIT = 30.0  # seconds; a test that waits longer hangs

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LOOPS: dict[str, dict[str, Any]] = {
    "uvloop": {"loop_factory": uvloop.new_event_loop},
    "asyncio": {"loop_factory": asyncio.new_event_loop},
    "asyncio-debug": {"loop_factory": asyncio.new_event_loop, "debug": True},
}


def runner_fixture(settings: dict[str, Any]) -> Iterator[Run]:
    """Run coroutines on one loop; what its exception handler hears fails the test."""
    complaints: list[dict[str, Any]] = []

    async def limited(coroutine: Coroutine[Any, Any, Any]) -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        async with asyncio.timeout(LIMIT):
            return await coroutine

    with asyncio.Runner(**settings) as runner:
        yield lambda coroutine: runner.run(limited(coroutine))
        gc.collect()
    assert complaints == []


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a coroutine on uvloop, the loop of production."""
    yield from runner_fixture(LOOPS["uvloop"])


@pytest.fixture(params=LOOPS)
def run_everywhere(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on uvloop, on stock asyncio, and on stock asyncio with debug=True."""
    yield from runner_fixture(LOOPS[request.param])
