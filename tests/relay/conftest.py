"""Loops for tests over real sockets."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.SelectorEventLoop,
}
LONGEST = 20  # seconds that one test may take

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def _limited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async with asyncio.timeout(LONGEST):
        return await coroutine


def _runner(name: str) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=LOOPS[name], debug=name == "asyncio") as runner:
        yield lambda coroutine: runner.run(_limited(coroutine))


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine on uvloop."""
    yield from _runner("uvloop")


@pytest.fixture(params=LOOPS)
def run_both(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on uvloop, and in another test on the stock loop in debug mode."""
    yield from _runner(request.param)
