"""A bare uvloop `Protocol` that writes back what it reads: no WebSocket, the loop's floor."""

import asyncio
from importlib.metadata import version
from typing import cast

import uvloop


class RawEcho(asyncio.Protocol):
    """Writes every read back as it is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        """Answer one read."""
        self.write(data)


async def main() -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(RawEcho, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, "raw protocol on uvloop", version("uvloop"), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
