"""The App that `stop_of_many.py` stops: each client says what it wants of its process."""

from wsrelay import Request, Response, process, relay_to

PIECE = bytes(32 * 1024)
PIECES = 64  # at most for one client; the kernel takes some of them

drowned: list[process.PID] = []  # clients for which data waits


def connect(request: Request) -> Response:
    """Relay to a process of the connection's own."""
    return relay_to(process.spawn("app:talker"))


def count(request: Request) -> str:
    """For how many clients data waits."""
    return str(len(drowned))


async def talker() -> None:
    """On `drown` send until something waits here, as that client does not read."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            drown(message.sender)


def drown(client: process.PID) -> None:
    """Send, until the kernel takes no more."""
    for _ in range(PIECES):
        process.send(client, "ws.send", {"data": PIECE})
        waits = process.info(client)
        if waits.queue_length > 1 and waits.queue_bytes > len(PIECE) * waits.queue_length:
            break
    drowned.append(client)
