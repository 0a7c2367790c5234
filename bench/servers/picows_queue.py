"""`picows` that relays each message through an `asyncio.Queue` to a task per connection.

What a user of `picows` writes to get what a wsrelay process gives: ordinary `async` code per
connection. The queue is the one of picows' topic guide "Async iteration"; a queued payload must be
a copy, because a frame's memory lives only as long as its call-back.
"""

import asyncio
from importlib.metadata import version

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

Inbox = asyncio.Queue[tuple[WSMsgType, str | bytes] | None]


class Relay(WSListener):
    """Hands messages to the connection's own task."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Start the task that answers."""
        self.inbox: Inbox = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(echo(self.inbox, transport))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Queue one message."""
        if frame.msg_type == WSMsgType.TEXT:
            self.inbox.put_nowait((frame.msg_type, frame.get_payload_as_utf8_text()))
        elif frame.msg_type == WSMsgType.BINARY:
            self.inbox.put_nowait((frame.msg_type, frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Let the task end."""
        self.inbox.put_nowait(None)


async def echo(inbox: Inbox, transport: WSTransport) -> None:
    """Send every message back until the connection ends."""
    while (message := await inbox.get()) is not None:
        transport.send(*message)


def listener(_request: WSUpgradeRequest) -> WSListener:
    """Make the listener of one connection."""
    return Relay()


async def main() -> None:
    """Serve until ended."""
    server = await ws_create_server(listener, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, "picows", version("picows"), "through asyncio.Queue", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
