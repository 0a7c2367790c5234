"""`socketify`: uWebSockets (C++) under call-backs in Python, as in its documentation.

    socketify_server.py [echo|fan]

No compression; the fan-out is its `subscribe` and `publish`.
"""

import sys
from importlib.metadata import version
from typing import Any

from socketify import App, CompressOptions, OpCode, WebSocket

TOPIC = "all"
MESSAGE_MAX = 1 << 20  # bytes; its default of 16 KiB is what one bar sends


def opened(ws: WebSocket) -> None:
    """Let a client hear what all hear."""
    ws.subscribe(TOPIC)


def echo(ws: WebSocket, message: str | bytes, opcode: OpCode) -> None:
    """Send a message back."""
    ws.send(message, opcode)


def fan(ws: WebSocket, message: str | bytes, opcode: OpCode) -> None:
    """Send a message to all clients."""
    ws.publish(TOPIC, message, opcode)


def ready(config: Any) -> None:
    """Tell the port."""
    print(config.port, "socketify", version("socketify"), flush=True)


def main(handler: str) -> None:
    """Serve until ended."""
    behaviour: dict[str, Any] = {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": MESSAGE_MAX,
        "message": {"echo": echo, "fan": fan}[handler],
    }
    if handler == "fan":
        behaviour["open"] = opened
    app = App()
    app.ws("/*", behaviour)
    app.listen(0, ready)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["echo"])
