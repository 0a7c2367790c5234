"""`granian`: an application of its own interface RSGI, the fastest that it offers; one worker.

    granian_server.py [echo|fan]

It has no call to send to many; the fan-out is a loop over the connections. Server and worker are
two processes.
"""

import socket
import sys
from importlib.metadata import version
from typing import Any

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.rsgi import WebsocketMessageType

clients: set[Any] = set()


async def echo(_scope: Any, protocol: Any) -> None:
    """Send every message back."""
    transport = await protocol.accept()
    while True:
        message = await transport.receive()
        if message.kind == WebsocketMessageType.string:
            await transport.send_str(message.data)
        elif message.kind == WebsocketMessageType.bytes:
            await transport.send_bytes(message.data)
        else:
            break
    protocol.close()


async def fan(_scope: Any, protocol: Any) -> None:
    """Send every text message to all clients."""
    transport = await protocol.accept()
    clients.add(transport)
    try:
        while (message := await transport.receive()).kind != WebsocketMessageType.close:
            if message.kind == WebsocketMessageType.string:
                for client in list(clients):
                    await client.send_str(message.data)
    finally:
        clients.discard(transport)
    protocol.close()


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(handler: str) -> None:
    """Serve until ended."""
    port = free_port()
    print(port, "granian", version("granian"), "RSGI on uvloop", version("uvloop"), flush=True)
    Granian(
        f"granian_server:{handler}",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["echo"])
