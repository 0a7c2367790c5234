"""`picows` plain echo: the core API's server of its README, payload as a memoryview, on uvloop."""

from importlib.metadata import version

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):
    """Sends every frame back from inside the read call-back, without a copy of its payload."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer one frame."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


def listener(_request: WSUpgradeRequest) -> WSListener:
    """Make the listener of one connection."""
    return Echo()


async def main() -> None:
    """Serve until ended."""
    server = await ws_create_server(listener, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, "picows", version("picows"), "on uvloop", version("uvloop"), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
