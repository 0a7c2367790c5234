"""Starlette's `WebSocket` under uvicorn with uvloop, httptools and its default WebSocket protocol.

    starlette_server.py [echo|fan]

One worker, no access log. Neither has a call to send to many; the fan-out is a loop over the
connections, as FastAPI's page "WebSockets" shows it for this very class.
"""

import socket
import sys
from importlib.metadata import version

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

clients: set[WebSocket] = set()


async def echo(websocket: WebSocket) -> None:
    """Send every text message back."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def fan(websocket: WebSocket) -> None:
    """Send every text message to all clients."""
    await websocket.accept()
    clients.add(websocket)
    try:
        async for text in websocket.iter_text():
            for client in list(clients):
                await client.send_text(text)
    finally:
        clients.discard(websocket)


def main(handler: str) -> None:
    """Serve until ended."""
    app = Starlette(routes=[WebSocketRoute("/", {"echo": echo, "fan": fan}[handler])])
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
    sock = socket.create_server(("127.0.0.1", 0), backlog=config.backlog)
    names = [f"{name} {version(name)}" for name in ("uvicorn", "starlette", "uvloop")]
    print(sock.getsockname()[1], ", ".join(names), flush=True)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(*sys.argv[1:] or ["echo"])
