"""What the benchmarks share: a loop with a running App."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from wsrelay import App, process

Run = Callable[[Coroutine[Any, Any, Any]], Any]
RunInside = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


async def keep_running(app: App, started: asyncio.Event, done: asyncio.Event) -> None:
    """Hold an App open."""
    async with app:
        started.set()
        await done.wait()


@pytest.fixture
def app() -> App:
    """The App in which `run` runs; declare routes before `run` is used."""
    return App(namespace="bench")


@pytest.fixture
def run(app: App) -> Iterator[Run]:
    """Run coroutines on one uvloop, in an App that runs all the time."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        started, done = asyncio.Event(), asyncio.Event()

        async def start() -> "asyncio.Task[None]":
            task = asyncio.create_task(keep_running(app, started, done))
            await started.wait()
            return task

        async def stop() -> None:
            done.set()
            await task

        task = runner.run(start())
        yield runner.run
        runner.run(stop())


@pytest.fixture
def run_inside(run: Run) -> RunInside:
    """Run coroutine functions as processes; what they return comes back."""

    async def execute(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return await process.exec(function)

    return lambda function: run(execute(function))
