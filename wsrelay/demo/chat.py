"""A chat whose rooms are processes, and whose clients move between them on one connection.

    browser ── connect ──> lobby ── ws.control ──> room "tea" ── ws.control ──> room "garden"

The lobby is who a client meets first, because it is always there. It hands the client over to a
room at once, and the room hands it over to the next one when the client asks for it.
"""

import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from wsrelay import PID, HostFull, HTTPError, Message, Request, Response, process, relay_to

LABEL = re.compile(r"\w[\w .'-]{0,23}")  # a name of a person or a room
TEXT_MAX = 500  # characters
HISTORY = 50  # lines that a room remembers
IDLE = 60.0  # seconds that a room waits for somebody to come
BURST, RATE = 10.0, 5.0  # wishes that a client may have at once, and more of them each second


def connect(request: Request) -> Response:
    """Connect a client to the lobby; where it wants to go travels as metadata."""
    name, room = request.query_params.get("name", ""), request.path_params["room"]
    if not LABEL.fullmatch(name) or not LABEL.fullmatch(room):
        raise HTTPError(400, "A name is 1 to 24 letters, digits, spaces and .'-")
    return relay_to("lobby", metadata={"name": name, "room": room})


@dataclass
class Guest:
    """Who a client is, and how many wishes it has left. It goes along as metadata."""

    name: str
    left: float = BURST
    at: float = 0.0

    def may_wish(self) -> bool:
        """Take one of the wishes that are left; more come with time."""
        before, self.at = self.at, time.monotonic()
        self.left = min(BURST, self.left + (self.at - before) * RATE)
        if self.left < 1:
            return False
        self.left -= 1
        return True


async def lobby() -> None:
    """Show each new client into the room that it wants."""
    async for msg in process.inbox():
        if msg.topic == "ws.join":
            client, wanted = msg.payload["client_pid"], msg.payload["metadata"]
            guest = Guest(wanted["name"])
            tell([client], "ws.join", client, guest, "connected")
            if not enter([client], client, guest, wanted["room"]):
                process.send(client, "ws.close", {"code": 1013, "reason": "all rooms are taken"})


def enter(witnesses: Iterable[PID], client: PID, guest: Guest, name: str) -> bool:
    """Hand a client over to a room, which is started if it is not there.

    There is no `await` here, so nothing happens in between: when `send` returns, the client's
    ws.join is in the inbox of a room that lives.
    """
    target = process.lookup(f"room:{name}")
    if target is None:
        try:
            target = process.spawn("demo:room", None, name, name=f"room:{name}")
        except HostFull:
            return False
    tell(witnesses, "ws.control", client, guest, f"is handed to room {name}", target)
    process.send(client, "ws.control", {"target_pid": target, "metadata": asdict(guest)})
    return True


def tell(
    whom: Iterable[PID], kind: str, client: PID, guest: Guest, note: str, to: PID | None = None
) -> None:
    """Tell clients what this process has just seen or done."""
    me = process.info(process.pid()).name
    news = {"kind": kind, "by": me, "who": guest.name, "note": note, "pid": client, "to": to}
    process.broadcast(whom, "event", news)


async def room(name: str) -> None:
    """One room; it ends when nobody has been in it for a while."""
    here = Room(name)
    inbox, events = process.inbox(), process.events()
    while True:
        try:
            limit = None if here.people else IDLE
            source, item = await process.select(inbox, events, timeout=limit)
        except TimeoutError:
            # No mail waits, and no `await` follows: the name is free again before anybody can
            # look for it, and `enter` never finds a room that ends.
            return
        if source is inbox:
            here.on_message(item)
        elif item.kind == "EXIT":
            while len(inbox):  # what they said before they left comes first
                here.on_message(inbox.receive_nowait())
            here.on_exit(item)
        else:  # CANCEL: the app stops
            return


class Room:
    """What a room knows. No other process has it, so it ends with the room's own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.people: dict[PID, Guest] = {}
        self.lines: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self.count = 0  # of all lines ever said here

    def on_message(self, msg: Message) -> None:
        """Something came from a client, or the relay tells of one."""
        client, data = msg.payload["client_pid"], msg.payload
        match msg.topic:
            case "ws.join":
                self.on_join(client, Guest(**data["metadata"]))
            case "ws.leave":
                guest = self.people[client]
                tell(self.people, "ws.leave", client, guest, f"left: {data['reason']}")
                if data["reason"] == "transferred":
                    process.unmonitor(client)
                    self.announce("moved on", self.people.pop(client))
            case "ws.message":
                self.on_wish(client, self.people[client], read(data["data"]))

    def on_join(self, client: PID, guest: Guest) -> None:
        """A client is here: from the lobby, or from another room."""
        process.monitor(client)
        self.people[client] = guest
        facts = {"name": self.name, "process": process.pid(), "pid": client}
        process.send(client, "room", {**facts, "lines": list(self.lines)})
        tell(self.people, "ws.join", client, guest, "is here, and monitored")
        self.announce("joined", guest)

    def on_exit(self, event: process.Event) -> None:
        """A client that the room monitors has ended; its close record is the result."""
        guest = self.people.pop(event.sender, None)
        if guest is not None:
            note = f"ended: {event.reason}, close code {(event.result.value or {}).get('code')}"
            tell(self.people, "EXIT", event.sender, guest, note)
            self.announce("left", guest)

    def on_wish(self, client: PID, guest: Guest, wish: Any) -> None:
        """A client wants something."""
        if not guest.may_wish():
            return refuse(client, "too fast")
        match wish:
            case {"say": str(text)} if 0 < len(text.strip()) <= TEXT_MAX:
                self.say(client, guest, text.strip())
            case {"typing": bool(on)}:
                others = self.people.keys() - {client}
                process.broadcast(others, "typing", {"who": guest.name, "pid": client, "on": on})
            case {"move": str(name)} if name == self.name:
                refuse(client, "you are in that room")
            case {"move": str(name)} if LABEL.fullmatch(name):
                if not enter(self.people, client, guest, name):
                    refuse(client, "all rooms are taken")
            case {"kill": True}:
                tell(self.people, "kill", client, guest, "killed this room's process")
                process.exit(f"killed by {guest.name}")  # for the clients: 1011
            case _:
                refuse(client, "not understood")

    def say(self, client: PID, guest: Guest, text: str) -> None:
        """Number a line, keep it, and send it to everybody: all get all lines in one order."""
        self.count += 1
        line = {"n": self.count, "at": time.time(), "who": guest.name, "pid": client, "text": text}
        self.lines.append(line)
        process.broadcast(self.people, "said", line)

    def announce(self, what: str, guest: Guest) -> None:
        """Tell everybody in the room who is there, and what changed."""
        there = sorted((each.name for each in self.people.values()), key=str.casefold)
        process.broadcast(self.people, "people", {"there": there, "what": what, "who": guest.name})


def refuse(client: PID, why: str) -> None:
    """Tell a client why not."""
    process.send(client, "refused", {"why": why})


def read(data: str | bytes) -> Any:
    """A client's JSON; None if it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
