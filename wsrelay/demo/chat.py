"""A chat whose rooms are processes, and whose clients move between them on one connection.

    browser ── connect ──> lobby ── ws.control ──> room "tea" ── ws.control ──> room "garden"

The lobby is who a client meets first, because it is always there. It hands the client over to a
room at once, and the room hands it over to the next one when the client asks for it.
"""

import mimetypes
import re
from pathlib import Path
from typing import Any

import orjson

from wsrelay import PID, HTTPError, Message, Request, Response, process, relay_to

FILES = {file.name: file.read_bytes() for file in Path(__file__).with_name("static").iterdir()}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
LABEL = re.compile(r"\w[\w .'-]{0,23}")  # a name of a person or a room
TEXT_MAX = 500  # characters


def page(request: Request) -> Response:
    """The page and its files."""
    name = request.path_params.get("file", "index.html")
    if name not in FILES:
        raise HTTPError(404)
    return Response(FILES[name], headers=HEADERS, media_type=mimetypes.guess_type(name)[0])


def connect(request: Request) -> Response:
    """Connect a client to the lobby; where it wants to go travels as metadata."""
    name, room = request.query_params.get("name", ""), request.path_params["room"]
    if not LABEL.fullmatch(name) or not LABEL.fullmatch(room):
        raise HTTPError(400, "A name is 1 to 24 letters, digits, spaces and .'-")
    target = process.lookup("lobby") or process.spawn("demo:lobby", name="lobby")
    return relay_to(target, metadata={"name": name, "room": room})


async def lobby() -> None:
    """Show each new client into the room that it wants."""
    async for msg in process.inbox():
        if msg.topic == "ws.join":
            enter(msg.payload["client_pid"], msg.payload["metadata"]["room"])


def enter(client: PID, name: str) -> None:
    """Hand a client over to a room, which is started if it is not there.

    There is no `await` here, so nothing happens in between: when `send` returns, the client's
    ws.join is in the inbox of a room that lives.
    """
    target = process.lookup(f"room:{name}")
    if target is None:
        target = process.spawn("demo:room", None, name, name=f"room:{name}")
    process.send(client, "ws.control", {"target_pid": target})


async def room(name: str) -> None:
    """One room; it ends when nobody is in it, nor on the way."""
    people: dict[PID, str] = {}
    inbox, events = process.inbox(), process.events()
    while people or len(inbox):
        source, item = await process.select(inbox, events)
        if source is inbox:
            on_message(name, people, item)
        elif item.kind == "EXIT":
            while len(inbox):  # what they said before they left comes first
                on_message(name, people, inbox.receive_nowait())
            if item.sender in people:
                announce(people, "left", people.pop(item.sender))
        else:  # CANCEL: the app stops
            return
    # No `await` since the look at the inbox, so `enter` can't have found this room meanwhile.
    process.unregister(f"room:{name}")


def on_message(name: str, people: dict[PID, str], msg: Message) -> None:
    """Something came from a client, or the relay tells of one."""
    client, data = msg.payload["client_pid"], msg.payload
    match msg.topic:
        case "ws.join":
            process.monitor(client)
            people[client] = data["metadata"]["name"]
            process.send(client, "room", {"name": name, "pid": client})
            announce(people, "joined", people[client])
        case "ws.leave" if data["reason"] == "transferred":
            process.unmonitor(client)
            announce(people, "moved on", people.pop(client))
        case "ws.message":
            on_wish(people, client, read(data["data"]))


def on_wish(people: dict[PID, str], client: PID, wish: Any) -> None:
    """A client wants to say something, or to go somewhere else."""
    match wish:
        case {"say": str(text)} if 0 < len(text.strip()) <= TEXT_MAX:
            said = {"who": people[client], "pid": client, "text": text.strip()}
            process.broadcast(people, "said", said)
        case {"move": str(name)} if LABEL.fullmatch(name):
            enter(client, name)
        case _:
            process.send(client, "refused", {})


def announce(people: dict[PID, str], what: str, who: str) -> None:
    """Tell everybody in the room who is there, and what changed."""
    there = sorted(people.values(), key=str.casefold)
    process.broadcast(people, "people", {"there": there, "what": what, "who": who})


def read(data: str | bytes) -> Any:
    """A client's JSON; None if it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
