"""The App that `stop_of_many.py` stops: each client says what it wants of its process."""

import socket

from wsrelay import Request, Response, process, relay_to
from wsrelay_core import current_scheduler

PIECE = bytes(32 * 1024)
PIECES = 64  # at most for one client; the kernel takes some of them
SEND = 16 * 1024  # bytes of the kernel's buffer towards a client, of which it makes the double

drowned: list[process.PID] = []  # clients for which data waits


def connect(request: Request) -> Response:
    """Relay to a process of the connection's own."""
    return relay_to(process.spawn("app:talker"))


def thrift(request: Request) -> None:
    """Let the kernel take little for clients that come now: the rest is the server's to hold."""
    for server in current_scheduler().app.servers:
        for sock in server.sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND)


def count(request: Request) -> str:
    """For how many clients data waits."""
    return str(len(drowned))


async def talker() -> None:
    """On a message send until something waits here, as that client does not read."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            await drown(message.sender)


async def drown(client: process.PID) -> None:
    """Send, until the kernel takes no more."""
    for _ in range(PIECES):
        process.send(client, "ws.send", {"data": PIECE})
        await process.drained(client)  # what the kernel takes is written then
        if process.info(client).queue_bytes:
            drowned.append(client)
            return
