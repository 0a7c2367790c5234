"""The server that the soak ends connections of, in an OS process of its own.

    python tests/conformance/soak_app.py

It prints its port. `GET /facts` tells what the process holds; `/ws` relays to a process for each
connection, which does what a client's message says.
"""

import asyncio
import contextlib
import gc
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from wsrelay import App, Request, Response, process, relay_to

FLOOD = 256  # frames of as many KiB as the queue holds, at most
QUEUE_KIB = 64

app = App(namespace="soak")


def fail() -> None:
    """End by an error, as a handler with a fault does."""
    raise RuntimeError("as ordered")


async def fail_linked(client: process.PID) -> None:
    """Take the connection along by a link."""
    process.link(client)
    fail()


def transfer(client: process.PID) -> None:
    """Hand the connection to a new target."""
    process.send(client, "ws.control", {"target_pid": process.spawn(target)})


def flood(client: process.PID) -> None:
    """Send until the queue is over its limit, or the client has had plenty."""
    for _ in range(FLOOD):
        if not process.send(client, "ws.send", {"data": b"x" * QUEUE_KIB * 1024}):
            return


ORDERS: dict[str, Callable[[process.PID], object]] = {
    "exit": lambda _: process.exit(),
    "fail": lambda _: fail(),
    "fail linked": lambda client: process.spawn(fail_linked, None, client),
    "close": lambda client: process.send(client, "ws.close", {"code": 4000, "reason": "bye"}),
    "cancel": process.cancel,
    "terminate": process.terminate,
    "transfer": transfer,
    "flood": flood,
}


async def target() -> None:
    """Greet, do what the client orders, echo what is no order, and end with the client."""
    async for message in process.inbox():
        client = message.sender
        if message.topic == "ws.join":
            process.send(client, "ws.send", {"data": "hello"})
        elif message.topic == "ws.message":
            data = message.payload["data"]
            if data in ORDERS:
                ORDERS[data](client)
            else:
                process.send(client, "ws.send", {"data": data})
        elif message.topic == "ws.leave":
            return


ws = app.router(
    "/ws",
    post_middleware=["websocket_relay"],
    post_options={
        "wsrelay.queue.max": f"{QUEUE_KIB}KiB",
        "wsrelay.compression": "permessage-deflate",
    },
)
web = app.router()


@ws.get("")
def connect(request: Request) -> Response:
    """Relay to a process of the connection's own."""
    return relay_to(process.spawn(target))


@web.get("/facts")
def facts(request: Request) -> dict[str, int]:
    """What the OS process holds, after a collection."""
    gc.collect()
    scheduler = app.scheduler
    assert scheduler is not None
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "processes": len(scheduler.table) + len(scheduler.unfinished),
        "lingering": len(scheduler.lingering),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "blocks": sys.getallocatedblocks(),
        "rss": pages * resource.getpagesize(),
    }


async def main() -> None:
    """Serve until standard input ends."""
    async with app.running() as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main())
