"""An App that echoes: the server under test. `/plain` refuses compression, `/deflate` takes it."""

from wsrelay import App, Request, Response, process, relay_to

PATHS = {"/plain": "off", "/deflate": "permessage-deflate"}  # and their wsrelay.compression
LARGEST = "64MiB"  # the suite's largest message has 16 MiB, and a thousand of 128 KiB may queue


async def echo() -> None:
    """Send every message back to the client that it came from, as the same type."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            payload = message.payload
            answer = {"type": payload["type"], "data": payload["data"]}
            process.send(message.sender, "ws.send", answer)


def connect(request: Request) -> Response:
    """Relay the connection to an echo process of its own."""
    return relay_to(process.spawn(echo))


def echo_app() -> App:
    """The App, to be run by the caller."""
    app = App(namespace="conformance")
    app.process("echo")(echo)
    for path, compression in PATHS.items():
        router = app.router(
            path,
            post_middleware=["websocket_relay"],
            post_options={
                "wsrelay.allowed.origins": "*",
                "wsrelay.compression": compression,
                "wsrelay.message.max": LARGEST,
                "wsrelay.queue.max": LARGEST,
            },
        )
        router.get("")(connect)
    return app
