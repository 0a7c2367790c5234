"""wsrelay: echo for those who are measured, and what attackers find beside it.

`/` is relayed to an echo process each; `/feed` gets a message of 4 KiB a hundred times a second
from one process for all, and `/flood`, which takes compression, goes to a process each that reads
all and answers nothing. A full queue drops its oldest messages at `/feed`, so that who never reads
stays. There are no pings, which the load generator does not expect.
"""

import socket
from importlib.metadata import version
from pathlib import Path

import wsrelay
from wsrelay import App, Request, Response, process, relay_to
from wsrelay.tuning import tune

TICK = 0.01  # seconds between two messages of the feed
NEWS = {"type": "text", "data": "n" * 4096}
ORIGINS = {"wsrelay.allowed.origins": "*", "wsrelay.ping.interval": "0"}
DROPPING = {**ORIGINS, "wsrelay.queue.policy": "drop_oldest"}
COMPRESSED = {**ORIGINS, "wsrelay.compression": "permessage-deflate"}

app = App(namespace="bench")
measured = app.router("", post_middleware=["websocket_relay"], post_options=ORIGINS)
fed = app.router("/feed", post_middleware=["websocket_relay"], post_options=DROPPING)
flooding = app.router("/flood", post_middleware=["websocket_relay"], post_options=COMPRESSED)


@app.process("echo")
async def echo() -> None:
    """Send every message back to the client that it came from, until it leaves."""
    send = process.send
    async for msg in process.inbox():
        if msg.topic == "ws.message":
            payload = msg.payload
            send(msg.sender, "ws.send", {"type": payload["type"], "data": payload["data"]})
        elif msg.topic == "ws.leave":
            return


@app.process("feed")
async def feed() -> None:
    """Send all clients the same, at a fixed pace."""
    clients: set[process.PID] = set()
    process.send_after(TICK, process.pid(), "tick")
    async for msg in process.inbox():
        match msg.topic:
            case "tick":
                process.broadcast(clients, "ws.send", NEWS)
                process.send_after(TICK, process.pid(), "tick")
            case "ws.join":
                clients.add(msg.sender)
            case "ws.leave":
                clients.discard(msg.sender)


@app.process("sink")
async def sink() -> None:
    """Read all, until the client leaves."""
    async for msg in process.inbox():
        if msg.topic == "ws.leave":
            return


@measured.get("/")
def to_echo(_request: Request) -> Response:
    """Relay the connection to a new process."""
    return relay_to(process.spawn(echo))


@fed.get("")
def to_feed(_request: Request) -> Response:
    """Relay the connection to the process that feeds all."""
    return relay_to(process.lookup("feed") or process.spawn(feed, name="feed"))


@flooding.get("")
def to_sink(_request: Request) -> Response:
    """Relay the connection to a new process."""
    return relay_to(process.spawn(sink))


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    port = free_port()
    tune()  # as `wsrelay run` does
    print(port, "wsrelay", version("wsrelay"), "from", Path(wsrelay.__file__).parent, flush=True)
    app.run(f"127.0.0.1:{port}")
