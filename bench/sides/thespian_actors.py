"""Actors of thespian, in one OS process (`simpleSystemBase`, its fastest for a single process)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thespian.actors import Actor, ActorExitRequest, ActorSystem

from bench.sides.measure import SENDERS, Cost, check, costs


class Echo(Actor):  # type: ignore[misc]
    """Answers each message."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, int):
            self.send(sender, message)


class Player(Actor):  # type: ignore[misc]
    """Plays so many rounds with another one, then tells who asked."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, tuple):
            self.other, self.left = message
            self.total, self.asker = 0, sender
            self.send(self.other, 1)
        elif isinstance(message, int):
            self.total += message
            self.left -= 1
            if self.left:
                self.send(self.other, 1)
            else:
                self.send(self.asker, self.total)


class Receiver(Actor):  # type: ignore[misc]
    """Adds up what comes; tells who asked when all is here."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, tuple):
            senders, each = message
            self.total, self.left, self.asker = 0, len(senders) * each, sender
            for one in senders:
                self.send(one, (self.myAddress, each))
        elif isinstance(message, int):
            self.total += message
            self.left -= 1
            if not self.left:
                self.send(self.asker, self.total)


class Sender(Actor):  # type: ignore[misc]
    """Sends numbers."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, tuple):
            other, count = message
            for number in range(count):
                self.send(other, number)


@contextmanager
def system() -> Iterator[Any]:
    """Run an actor system for a while."""
    actors = ActorSystem("simpleSystemBase")
    try:
        yield actors
    finally:
        actors.shutdown()


def ping_pong(count: int) -> Cost:
    """A message to another actor and back."""
    with system() as actors:
        player, other = actors.createActor(Player), actors.createActor(Echo)
        with costs(count) as cost:
            total = actors.ask(player, (other, count))
        check("sum of the answers", total, count)
        return cost


def fan_in(count: int) -> Cost:
    """Messages of many senders to one receiver."""
    each = count // SENDERS
    with system() as actors:
        receiver = actors.createActor(Receiver)
        with costs(each * SENDERS) as cost:
            senders = [actors.createActor(Sender) for _ in range(SENDERS)]
            total = actors.ask(receiver, (senders, each))
        check("sum of the messages", total, SENDERS * sum(range(each)))
        return cost


def spawn_exit(count: int) -> Cost:
    """Create an actor, and ask it to end."""
    with system() as actors, costs(count) as cost:
        for _ in range(count):
            actors.tell(actors.createActor(Echo), ActorExitRequest())
        return cost


def idle(count: int) -> Cost:
    """Actors that wait; all are asked afterwards whether they live."""
    with system() as actors:
        with costs(count) as cost:
            waiting = [actors.createActor(Echo) for _ in range(count)]
        check("answers", sum(actors.ask(one, 1) for one in waiting), count)
        return cost
