"""wsrelay: every connection is relayed to an echo process of its own, spawned by the handler."""

import socket
from importlib.metadata import version
from pathlib import Path

import wsrelay
from wsrelay import App, Request, Response, process, relay_to

app = App(namespace="bench")
ws = app.router(
    "",
    post_middleware=["websocket_relay"],
    post_options={"wsrelay.allowed.origins": "*"},
)


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


@ws.get("/")
def connect(request: Request) -> Response:
    """Relay the connection to a new process."""
    return relay_to(process.spawn(echo))


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    port = free_port()
    print(port, "wsrelay", version("wsrelay"), "from", Path(wsrelay.__file__).parent, flush=True)
    app.run(f"127.0.0.1:{port}")
