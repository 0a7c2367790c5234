"""What all tests share: loops to run on, and an eye on what loops complain about."""

import asyncio
import compileall
import gc
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.internal.entropy  # looks for referrers, which a freeze would hide
import pytest
import uvloop
from live_objects import COUNTED, nothing_stays_alive  # noqa: F401 - counts in debug builds

LIMIT = 15.0  # seconds; a test that waits longer hangs

collect_ignore = [] if COUNTED else ["core/test_live.py"]

# In debug mode asyncio notes where each callback was made: one frame of that tells enough, and ten
# of them are most of what such a test takes.
asyncio.constants.DEBUG_STACK_DEPTH = 1

# What a busy machine does to the clock is no result: neither of an example nor of making them.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


def pytest_sessionstart() -> None:
    """Leave bytecode of what the tests run as commands, even where PYTHONDONTWRITEBYTECODE is set:
    each of some hundred OS processes would compile the package anew, which is half of its start."""
    with suppress(OSError):  # of a checkout that is read-only
        for folder in ("wsrelay", "wsrelay_core", "bench"):
            compileall.compile_dir(Path(__file__).parents[1] / folder, quiet=2)
    gc.disable()  # what is imported and collected now stays


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of the collections after each test: they are many,
    and each would walk all of it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def keep_imports_out() -> Iterator[None]:
    """The same for what the tests of a file import when they run, such as matplotlib."""
    yield
    gc.collect()
    gc.freeze()


Run = Callable[[Coroutine[Any, Any, Any]], Any]

LOOPS: dict[str, dict[str, Any]] = {
    "uvloop": {"loop_factory": uvloop.new_event_loop},
    "asyncio": {"loop_factory": asyncio.new_event_loop},
    "asyncio-debug": {"loop_factory": asyncio.new_event_loop, "debug": True},
}

if sys.version_info >= (3, 12):
    # Tasks of users that start at once; processes start as ever.
    def eager(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOPS["asyncio-eager"] = {"loop_factory": partial(eager, asyncio.new_event_loop)}
    # From 3.13 on uvloop passes `eager_start`, which the factory of CPython 3.13.0 does not know.
    if (
        sys.version_info < (3, 13)
        or "eager_start" in inspect.signature(asyncio.eager_task_factory).parameters
    ):
        LOOPS["uvloop-eager"] = {"loop_factory": partial(eager, uvloop.new_event_loop)}


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
    """Run a coroutine on uvloop, stock asyncio, the same with debug=True, and with eager tasks."""
    yield from runner_fixture(LOOPS[request.param])


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests that want one; each opens and closes windows of its own."""
    from chromium import browser

    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(params=["uvloop", "asyncio"])
def run_both(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on uvloop and on stock asyncio."""
    yield from runner_fixture(LOOPS[request.param])
