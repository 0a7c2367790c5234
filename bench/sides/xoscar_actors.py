"""Actors of xoscar, in one pool in this OS process."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import xoscar

from bench.sides.measure import SENDERS, Cost, check, costs


class Echo(xoscar.Actor):  # type: ignore[misc]
    """Answers each call."""

    async def ping(self, number: int) -> int:
        return number


class Receiver(xoscar.Actor):  # type: ignore[misc]
    """Adds up what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    async def add(self, number: int) -> None:
        self.total += number

    async def sum(self) -> int:
        return self.total


class Sender(xoscar.Actor):  # type: ignore[misc]
    """Sends numbers to an actor."""

    async def send(self, other: Any, count: int) -> None:
        for number in range(count):
            await other.add.tell(number)


class Player(xoscar.Actor):  # type: ignore[misc]
    """Plays with another actor."""

    async def play(self, other: Any, count: int) -> int:
        total = 0
        for number in range(count):
            total += await other.ping(number)
        return total


Create = Callable[[type[xoscar.Actor]], Coroutine[Any, Any, Any]]


def run(main: Callable[[Create], Coroutine[Any, Any, Cost]]) -> Cost:
    """Run a coroutine function with a pool; its argument creates an actor."""

    async def body() -> Cost:
        pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        async with pool:
            return await main(
                lambda actor: xoscar.create_actor(actor, address=pool.external_address)
            )

    return asyncio.run(body())


def ping_pong(count: int) -> Cost:
    """A call of another actor."""

    async def main(create: Create) -> Cost:
        player, other = await create(Player), await create(Echo)
        with costs(count) as cost:
            total = await player.play(other, count)
        check("sum of the answers", total, sum(range(count)))
        return cost

    return run(main)


def fan_in(count: int) -> Cost:
    """Messages of many senders to one receiver."""
    each = count // SENDERS

    async def main(create: Create) -> Cost:
        receiver, wanted, total = await create(Receiver), SENDERS * sum(range(each)), 0
        with costs(each * SENDERS) as cost:
            senders = [await create(Sender) for _ in range(SENDERS)]
            await asyncio.gather(*(sender.send(receiver, each) for sender in senders))
            for _ in range(each):  # what was told may still be on its way
                if (total := await receiver.sum()) == wanted:
                    break
        check("sum of the messages", total, wanted)
        return cost

    return run(main)


def spawn_exit(count: int) -> Cost:
    """Create an actor, and destroy it."""

    async def main(create: Create) -> Cost:
        with costs(count) as cost:
            for _ in range(count):
                await xoscar.destroy_actor(await create(Echo))
        return cost

    return run(main)


def idle(count: int) -> Cost:
    """Actors that wait; all are asked afterwards whether they live."""

    async def main(create: Create) -> Cost:
        with costs(count) as cost:
            waiting = [await create(Echo) for _ in range(count)]
        check("answers", sum([await one.ping(1) for one in waiting]), count)
        return cost

    return run(main)
