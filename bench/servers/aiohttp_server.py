"""`aiohttp`: the WebSocket handler of its documentation ("Web Server Quickstart"), on uvloop.

    aiohttp_server.py [echo|fan]

Its documentation has no call to send to many; the fan-out is the loop of its example
`web_ws.py`, and each `send_str` encodes the text anew.
"""

import socket
import sys
from importlib.metadata import version

import uvloop
from aiohttp import WSMsgType, web

CLIENTS = web.AppKey("clients", set[web.WebSocketResponse])


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for msg in ws:
        if msg.type == WSMsgType.TEXT:
            await ws.send_str(msg.data)
        elif msg.type == WSMsgType.BINARY:
            await ws.send_bytes(msg.data)
    return ws


async def fan(request: web.Request) -> web.WebSocketResponse:
    """Send every text message to all clients."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    clients = request.app[CLIENTS]
    clients.add(ws)
    try:
        async for msg in ws:
            if msg.type == WSMsgType.TEXT:
                for client in list(clients):
                    await client.send_str(msg.data)
    finally:
        clients.discard(ws)
    return ws


def main(handler: str) -> None:
    """Serve until ended."""
    app = web.Application()
    app[CLIENTS] = set()
    app.add_routes([web.get("/", {"echo": echo, "fan": fan}[handler])])
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    print(port, "aiohttp", version("aiohttp"), "on uvloop", version("uvloop"), flush=True)
    web.run_app(app, sock=sock, print=None, access_log=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main(*sys.argv[1:] or ["echo"])
