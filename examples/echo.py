"""Each client gets a process of its own, which sends back what it hears.

python examples/echo.py                 # then connect to ws://127.0.0.1:8080/
python examples/echo.py 127.0.0.1:0     # any free port; the log names it
"""

import logging
import sys

from wsrelay import App, Request, Response, process, relay_to

app = App()
sockets = app.router(post_middleware=["websocket_relay"])


@app.process("echo")
async def echo() -> None:
    """Echo one client, until it is gone."""
    async for msg in process.inbox():
        match msg.topic:
            case "ws.message":
                process.send(msg.sender, "ws.send", msg.payload)
            case "ws.leave":
                return


@sockets.get("/")
def connect(request: Request) -> Response:
    """Start the process of a client that connects."""
    return relay_to(process.spawn(echo))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app.run(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080")
