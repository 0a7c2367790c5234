"""An App in a fresh interpreter, for `test_imports.py`: which modules there are, and when.

Usage: python imports_app.py [FOLDER]. Prints the status line of each answer, then a JSON object:
the modules when wsrelay is imported, when the App is made, when it listens, and when it has served
a bit of everything. Without a folder it declares and serves nothing.
"""

import asyncio
import json
import sys

from wsrelay import App, Response, Router, process, relay_to

KEY = bytes(4)

imported = sorted(sys.modules)
app = App()
made = sorted(sys.modules)


async def echo():
    async for message in process.inbox():
        if message.topic == "ws.message":
            process.send(message.sender, "ws.send", {"data": {"said": message.payload}})


def declare(folder):
    """Routers with all middleware that needs nothing else, a service, files."""
    names = ["cors", "ratelimit", "compress", "real_ip", "metrics"]
    router = app.router("/api", middleware=names, options={"metrics.path": "/api/metrics"})
    add_routes(router)
    relay = {"wsrelay.allowed.origins": "*", "wsrelay.compression": "permessage-deflate"}
    sockets = app.router("/ws", middleware=["websocket_relay"], options=relay)
    sockets.add("GET", "/", lambda request: relay_to(process.spawn(echo)))
    app.static("/files", folder)
    app.supervise("waiting", echo)


def add_routes(router: Router):
    @router.post("/json")
    async def said(request):
        return {"said": await request.json()}

    @router.get("/cookie")
    def cookie(request):
        response = Response("c" * 5000)
        response.delete_cookie("a")
        return response

    @router.get("/wrong")
    def wrong(request):
        process.spawn("ecko")


async def ask(port, *lines, more=b""):
    """Send a head and more; print the first line of the answer, and read its head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "Host: localhost", "", ""]).encode() + more)
    head = await reader.readuntil(b"\r\n\r\n")
    print(head.split(b"\r\n")[0].decode())
    return reader, writer


async def requests(port):
    for lines, more in (
        (["POST /api/json HTTP/1.1", "Content-Length: 2"], b"{}"),
        (["GET /api/cookie HTTP/1.0", "Accept-Encoding: gzip"], b""),
        (["GET /api/wrong HTTP/1.1", "Origin: http://another"], b""),
        (["GET /api/metrics HTTP/1.1"], b""),
        (["GET /files/a.txt HTTP/1.1", "Range: bytes=0-1"], b""),
        (["GET /files/a.txt HTTP/1.1", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"], b""),
        (["GET /malformed HTTP/1.1", "A: b", " folded"], b""),
    ):
        _, writer = await ask(port, *lines, more=more)
        writer.close()


async def websocket(port):
    """A compressed connection: a message in two fragments, its answer, the close."""
    reader, writer = await ask(
        port,
        "GET /ws/ HTTP/1.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Extensions: permessage-deflate",
    )
    writer.write(b"\x01\x81" + KEY + b"a" + b"\x80\x81" + KEY + b"b")
    first, length = await reader.readexactly(2)
    await reader.readexactly(length)
    print("compressed" if first & 0x40 else "plain")
    writer.write(b"\x88\x80" + KEY)
    await reader.read()
    writer.close()


async def main():
    if sys.argv[1:]:
        declare(sys.argv[1])
    async with app.running() as server:
        listening = sorted(sys.modules)
        if sys.argv[1:]:
            await requests(server.port)
            await websocket(server.port)
        served = sorted(sys.modules)
    modules = {"imported": imported, "made": made, "listening": listening, "served": served}
    print(json.dumps(modules))


asyncio.run(main())
