"""`websockets`: its asyncio server on uvloop; compression off, as its page on memory advises.

    websockets_server.py [echo|fan]

The echo is that of its README. The fan-out is `broadcast`, which its guide "Broadcasting messages"
has for this.
"""

import asyncio
import sys
from importlib.metadata import version

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

clients: set[ServerConnection] = set()


async def echo(websocket: ServerConnection) -> None:
    """Send every message back."""
    async for message in websocket:
        await websocket.send(message)


async def fan(websocket: ServerConnection) -> None:
    """Send every message to all clients."""
    clients.add(websocket)
    try:
        async for message in websocket:
            broadcast(clients, message)
    finally:
        clients.discard(websocket)


async def main(handler: str) -> None:
    """Serve until ended."""
    handle = {"echo": echo, "fan": fan}[handler]
    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(port, "websockets", version("websockets"), "on uvloop", version("uvloop"), flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:] or ["echo"]))
