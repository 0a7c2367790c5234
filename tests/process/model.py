"""What processes are, in plain Python: the model that `test_model` holds the real ones against."""

from collections import deque
from typing import Any

HARMLESS = ("normal", "cancelled")


class Puppet:
    """One process as the model sees it."""

    def __init__(self, pid: str) -> None:
        self.pid = pid
        self.alive = True
        self.trap = False
        self.opened = False
        self.inbox: list[tuple[str, int]] = []  # sender, number
        self.events: list[tuple[str, str, str, Any]] = []  # kind, sender, reason, ref
        self.links: dict[Puppet, None] = {}
        self.monitors: dict[Any, Puppet] = {}  # ref -> watcher, in order
        self.watched: dict[Any, Puppet] = {}  # ref -> watched
        self.refs: list[Any] = []  # all it ever had


class Model:
    """All processes of one App, and their names."""

    def __init__(self) -> None:
        self.puppets: dict[str, Puppet] = {}
        self.names: dict[str, Puppet] = {}

    @property
    def living(self) -> list[Puppet]:
        """Who lives, oldest first."""
        return [puppet for puppet in self.puppets.values() if puppet.alive]

    def add(self, pid: str) -> Puppet:
        """A process was spawned."""
        self.puppets[pid] = puppet = Puppet(pid)
        return puppet

    def names_of(self, puppet: Puppet) -> set[str]:
        """Its registered names."""
        return {name for name, holder in self.names.items() if holder is puppet}

    def send(self, sender: Puppet, target: Puppet, number: int) -> bool:
        """Whether the message was accepted."""
        if target.alive:
            target.inbox.append((sender.pid, number))
        return target.alive

    def monitor(self, watcher: Puppet, target: Puppet, ref: Any) -> None:
        """`ref` is what the real call returned."""
        watcher.refs.append(ref)
        if target.alive:
            target.monitors[ref] = watcher
            watcher.watched[ref] = target
        else:
            watcher.events.append(("EXIT", target.pid, "noproc", ref))

    def unmonitor(self, watcher: Puppet, ref: Any) -> None:
        """No event of this monitor, not even one that waits."""
        watched = watcher.watched.pop(ref, None)
        if watched is not None:
            del watched.monitors[ref]
        watcher.events = [event for event in watcher.events if event[3] is not ref]

    def unmonitor_all(self, watcher: Puppet, target: Puppet) -> None:
        """All of the watcher's monitors on one process."""
        for ref in watcher.refs:
            if ref.target == target.pid:
                self.unmonitor(watcher, ref)

    def link(self, one: Puppet, other: Puppet) -> None:
        """Both ways; a process has no link to itself."""
        if one is not other:
            one.links[other] = other.links[one] = None

    def unlink(self, one: Puppet, other: Puppet) -> None:
        """Both ways."""
        one.links.pop(other, None)
        other.links.pop(one, None)

    def end(self, puppet: Puppet, reason: str) -> None:
        """The exit, and what falls with it, one by one."""
        falling = deque([(puppet, reason)])
        signals: deque[tuple[Puppet, Puppet, str]] = deque()
        while falling or signals:
            if falling:
                signals.extend(self._end_one(*falling.popleft()))
                continue
            other, source, why = signals.popleft()
            if other.alive and other.trap:
                other.events.append(("LINK_DOWN", source.pid, why, None))
            elif other.alive:
                falling.append((other, "link_failed"))

    def _end_one(self, puppet: Puppet, reason: str) -> list[tuple[Puppet, Puppet, str]]:
        puppet.alive = False
        self.names = {name: one for name, one in self.names.items() if one is not puppet}
        for ref, watched in puppet.watched.items():
            watched.monitors.pop(ref, None)
        puppet.watched = {}
        for ref, watcher in puppet.monitors.items():
            del watcher.watched[ref]
            watcher.events.append(("EXIT", puppet.pid, reason, ref))
        puppet.monitors = {}
        linked, puppet.links = list(puppet.links), {}
        for other in linked:
            del other.links[puppet]
        return [] if reason in HARMLESS else [(other, puppet, reason) for other in linked]
