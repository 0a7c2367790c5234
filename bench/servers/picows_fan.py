"""`picows` to many: a plain loop of `transport.send`, of which its documentation has no other way.

A text is decoded, as an application that looks at it would, and encoded once for all clients.
"""

from importlib.metadata import version

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

clients: set[WSTransport] = set()


class Room(WSListener):
    """Sends every text message to all clients."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Let a client hear what all hear."""
        clients.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send one message to all."""
        if frame.msg_type == WSMsgType.TEXT:
            data = frame.get_payload_as_utf8_text().encode()
            for client in clients:
                client.send(WSMsgType.TEXT, data)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Forget a client."""
        clients.discard(transport)


def listener(_request: WSUpgradeRequest) -> WSListener:
    """Make the listener of one connection."""
    return Room()


async def main() -> None:
    """Serve until ended."""
    server = await ws_create_server(listener, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(
        port, "picows", version("picows"), "send in a loop, uvloop", version("uvloop"), flush=True
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
