"""A bare uvloop `Protocol` that writes back what it reads: no WebSocket, the loop's floor.

    uvloop_raw.py [echo|fan]

With `fan` it writes what it reads to every connection.
"""

import asyncio
import sys
from importlib.metadata import version
from typing import ClassVar, cast

import uvloop


class RawEcho(asyncio.Protocol):
    """Writes every read back as it is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        """Answer one read."""
        self.write(data)


class RawFan(asyncio.Protocol):
    """Writes every read to all connections."""

    transports: ClassVar[set[asyncio.Transport]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast(asyncio.Transport, transport)
        self.transports.add(self.transport)

    def data_received(self, data: bytes) -> None:
        """Write one read."""
        for transport in self.transports:
            transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget a connection."""
        self.transports.discard(self.transport)


async def main(handler: str) -> None:
    """Serve until ended."""
    protocol = {"echo": RawEcho, "fan": RawFan}[handler]
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, "raw protocol on uvloop", version("uvloop"), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:] or ["echo"]))
