"""Tasks and queues of asyncio, on uvloop; `put_nowait`, as nothing here is bounded."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import uvloop

from bench.sides.measure import BURST, SENDERS, Cost, check, costs

Queue = asyncio.Queue[int]


def run(main: Coroutine[Any, Any, Cost]) -> Cost:
    """Run a coroutine on a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def echo(inbox: Queue, outbox: Queue) -> None:
    """Answer each item with itself."""
    while True:
        outbox.put_nowait(await inbox.get())


def ping_pong(count: int) -> Cost:
    """An item to another task and back, through two queues."""

    async def main() -> Cost:
        there, back, total = Queue(), Queue(), 0
        other = asyncio.create_task(echo(there, back))
        with costs(count) as cost:
            for number in range(count):
                there.put_nowait(number)
                total += await back.get()
        check("sum of the answers", total, sum(range(count)))
        other.cancel()
        return cost

    return run(main())


def fan_in(count: int) -> Cost:
    """Items of many tasks to one."""
    each = count // SENDERS

    async def send(queue: Queue) -> None:
        for start in range(0, each, BURST):
            for number in range(start, min(start + BURST, each)):
                queue.put_nowait(number)
            await asyncio.sleep(0)

    async def receive(queue: Queue) -> int:
        total = 0
        for _ in range(each * SENDERS):
            total += await queue.get()
        return total

    async def main() -> Cost:
        queue = Queue()
        with costs(each * SENDERS) as cost:
            receiver = asyncio.create_task(receive(queue))
            senders = [asyncio.create_task(send(queue)) for _ in range(SENDERS)]
            total = await receiver
        check("sum of the items", total, SENDERS * sum(range(each)))
        await asyncio.gather(*senders)
        return cost

    return run(main())


def spawn_exit(count: int) -> Cost:
    """Create a task and await it, one after the other."""

    async def give(value: int) -> int:
        return value

    async def main() -> Cost:
        total = 0
        with costs(count) as cost:
            for number in range(count):
                total += await asyncio.create_task(give(number))
        check("sum of the results", total, sum(range(count)))
        return cost

    return run(main())


def idle(count: int) -> Cost:
    """Tasks that each wait for a queue of their own; all are asked afterwards whether they live."""

    async def main() -> Cost:
        answers = Queue()
        with costs(count) as cost:
            queues = [Queue() for _ in range(count)]
            tasks = [asyncio.create_task(echo(queue, answers)) for queue in queues]
            await asyncio.sleep(0)
        for number, queue in enumerate(queues):
            queue.put_nowait(number)
        check("answers", sum([await answers.get() for _ in queues]), sum(range(count)))
        for task in tasks:
            task.cancel()
        return cost

    return run(main())
