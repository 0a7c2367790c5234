"""wsrelay: one process is the target of all connections.

    wsrelay_room.py [echo|broadcast|loop]

`echo` answers the sender, `broadcast` sends to all clients with `process.broadcast`, and `loop`
with one `process.send` each.
"""

import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import wsrelay
from wsrelay import PID, App, Request, Response, process, relay_to

app = App(namespace="bench")
ws = app.router(
    "",
    post_middleware=["websocket_relay"],
    post_options={"wsrelay.allowed.origins": "*"},
)
Answer = Callable[[process.Message, set[PID], dict[str, Any]], object]


def answer_sender(msg: process.Message, _clients: set[PID], frame: dict[str, Any]) -> None:
    """Send to whom the message came from."""
    process.send(msg.payload["client_pid"], "ws.send", frame)


def broadcast(_msg: process.Message, clients: set[PID], frame: dict[str, Any]) -> None:
    """Send to all clients at once."""
    process.broadcast(clients, "ws.send", frame)


def loop(_msg: process.Message, clients: set[PID], frame: dict[str, Any]) -> None:
    """Send to one client after the other."""
    for client in clients:
        process.send(client, "ws.send", frame)


@app.process("room")
async def room(answer: Answer) -> None:
    """Know all clients and answer every message of theirs."""
    clients: set[PID] = set()
    async for msg in process.inbox():
        payload = msg.payload
        if msg.topic == "ws.message":
            answer(msg, clients, {"type": payload["type"], "data": payload["data"]})
        elif msg.topic == "ws.join":
            clients.add(payload["client_pid"])
        elif msg.topic == "ws.leave":
            clients.discard(payload["client_pid"])


@ws.get("/")
def connect(_request: Request) -> Response:
    """Relay the connection to the room, which the first one opens."""
    target = process.lookup("room")
    if target is None:
        target = process.spawn(room, None, ANSWERS[how], name="room")
    return relay_to(target)


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ANSWERS: dict[str, Answer] = {"echo": answer_sender, "broadcast": broadcast, "loop": loop}
how = (sys.argv[1:] or ["echo"])[0]

if __name__ == "__main__":
    port = free_port()
    folder = Path(wsrelay.__file__).parent
    print(port, "wsrelay", version("wsrelay"), "one process,", how, "from", folder, flush=True)
    app.run(f"127.0.0.1:{port}")
