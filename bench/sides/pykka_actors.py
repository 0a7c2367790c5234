"""Actors of pykka: a thread each."""

import threading
from typing import Any

import pykka

from bench.sides.measure import SENDERS, Cost, check, costs


class Echo(pykka.ThreadingActor):
    """Answers each message of an actor."""

    def on_receive(self, message: Any) -> None:
        number, sender = message
        sender.tell(number)


class Player(pykka.ThreadingActor):
    """Sends, and sends again at each answer."""

    def __init__(self, other: Any, count: int, done: threading.Event) -> None:
        super().__init__()
        self.other, self.left, self.total, self.done = other, count, 0, done

    def on_receive(self, message: int) -> None:
        self.total += message
        self.left -= 1
        if self.left < 0:
            self.done.set()
        else:
            self.other.tell((1, self.actor_ref))


class Receiver(pykka.ThreadingActor):
    """Adds up what comes."""

    def __init__(self, count: int, done: threading.Event) -> None:
        super().__init__()
        self.left, self.total, self.done = count, 0, done

    def on_receive(self, message: int) -> None:
        self.total += message
        self.left -= 1
        if not self.left:
            self.done.set()


class Sender(pykka.ThreadingActor):
    """Sends numbers to an actor."""

    def on_receive(self, message: Any) -> None:
        other, count = message
        for number in range(count):
            other.tell(number)


def ping_pong(count: int) -> Cost:
    """A message to another actor and back."""
    done, other = threading.Event(), Echo.start()
    player = Player.start(other, count, done)
    with costs(count) as cost:
        player.tell(0)
        done.wait()
    check("sum of the answers", player.proxy().total.get(), count)
    pykka.ActorRegistry.stop_all()
    return cost


def fan_in(count: int) -> Cost:
    """Messages of many senders to one receiver."""
    each, done = count // SENDERS, threading.Event()
    receiver = Receiver.start(each * SENDERS, done)
    with costs(each * SENDERS) as cost:
        for sender in [Sender.start() for _ in range(SENDERS)]:
            sender.tell((receiver, each))
        done.wait()
    check("sum of the messages", receiver.proxy().total.get(), SENDERS * sum(range(each)))
    pykka.ActorRegistry.stop_all()
    return cost


def spawn_exit(count: int) -> Cost:
    """Start an actor and stop it, waiting."""
    stopped = 0
    with costs(count) as cost:
        for _ in range(count):
            stopped += bool(Echo.start().stop())
    check("stopped", stopped, count)
    return cost


def idle(count: int) -> Cost:
    """Actors that wait."""
    with costs(count) as cost:
        actors = [Echo.start() for _ in range(count)]
    check("alive", sum(actor.is_alive() for actor in actors), count)
    pykka.ActorRegistry.stop_all()
    return cost
