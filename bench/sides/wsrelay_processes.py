"""Processes of wsrelay, on uvloop."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any

import uvloop

from bench.sides.measure import BURST, SENDERS, Cost, check, costs
from wsrelay import PID, App, process

WINDOW = 100  # messages under way at a time in `growth`


def run(main: Callable[..., Coroutine[Any, Any, Cost]], *args: Any) -> Cost:
    """Run a process to its end in an App of its own."""

    async def body() -> Cost:
        async with App(namespace="bench"):
            cost = await process.exec(main, None, *args)
            assert isinstance(cost, Cost)
            return cost

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(body())


async def echo() -> None:
    """Answer each message with its payload."""
    send = process.send
    async for msg in process.inbox():
        send(msg.sender, "pong", msg.payload)


async def count_up(count: int) -> int:
    """End with the sum of so many messages."""
    receive, total = process.inbox().receive, 0
    for _ in range(count):
        total += (await receive()).payload
    return total


async def sender(dest: PID, count: int) -> None:
    """Send numbers, in bursts."""
    send = process.send
    for start in range(0, count, BURST):
        for number in range(start, min(start + BURST, count)):
            send(dest, "n", number)
        await asyncio.sleep(0)


async def give(value: int) -> int:
    """End at once with a value."""
    return value


def ping_pong(count: int) -> Cost:
    """A message to another process and back."""

    async def main() -> Cost:
        send, receive, total = process.send, process.inbox().receive, 0
        other = process.spawn(echo)
        with costs(count) as cost:
            for number in range(count):
                send(other, "ping", number)
                total += (await receive()).payload
        check("sum of the answers", total, sum(range(count)))
        process.terminate(other)
        return cost

    return run(main)


def fan_in(count: int) -> Cost:
    """Messages of many senders to one receiver."""
    each = count // SENDERS

    async def main() -> Cost:
        with costs(each * SENDERS) as cost:
            receiver = process.spawn(count_up, None, each * SENDERS)
            for _ in range(SENDERS):
                process.spawn(sender, None, receiver, each)
            total = (await process.wait(receiver)).result.value
        check("sum of the messages", total, SENDERS * sum(range(each)))
        return cost

    return run(main)


def spawn_exit(count: int) -> Cost:
    """Spawn, and wait for the EXIT, one after the other."""

    async def main() -> Cost:
        receive, total = process.events().receive, 0
        with costs(count) as cost:
            for number in range(count):
                process.spawn_monitored(give, None, number)
                total += (await receive()).result.value
        check("sum of the results", total, sum(range(count)))
        return cost

    return run(main)


def idle(count: int) -> Cost:
    """Processes that wait in their inbox; all are asked afterwards whether they live."""

    async def main() -> Cost:
        with costs(count) as cost:
            pids = [process.spawn(echo) for _ in range(count)]
            await asyncio.sleep(0)
            await ask(pids[-1:])  # the last one waits, so do all
        check("answers", await ask(pids), count)
        return cost

    return run(main)


async def ask(pids: list[PID]) -> int:
    """Send to each, a window at a time; count the answers."""
    inbox, answers, rest = process.inbox(), 0, iter(pids)
    while window := list(islice(rest, WINDOW)):
        for pid in window:
            process.send(pid, "ping", None)
        for _ in window:
            await inbox.receive()
            answers += 1
    return answers


def growth(processes: int, messages: int) -> Cost:
    """A message to one process after the other and back, among so many processes."""

    async def main() -> Cost:
        pids = [process.spawn(echo) for _ in range(processes)]
        await ask(pids)
        turns = max(1, messages // processes)
        with costs(turns * processes) as cost:
            answers = sum([await ask(pids) for _ in range(turns)])
        check("answers", answers, turns * processes)
        return cost

    return run(main)
