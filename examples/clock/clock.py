"""One process tells all clients the time, once a second."""

from datetime import datetime

from wsrelay import Request, Response, process, relay_to


def connect(request: Request) -> Response:
    """Connect a client to the clock, which is started for the first one."""
    return relay_to(process.lookup("clock") or process.spawn("example:clock", name="clock"))


async def clock() -> None:
    """Tell the time to who is there."""
    clients = set()
    process.send(process.pid(), "tick")
    async for msg in process.inbox():
        match msg.topic:
            case "ws.join":
                clients.add(msg.sender)
            case "ws.leave":
                clients.discard(msg.sender)
            case "tick":
                process.broadcast(clients, "time", datetime.now().isoformat(timespec="seconds"))
                process.send_after("1s", process.pid(), "tick")
