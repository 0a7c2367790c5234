"""A transport without a socket: what is written stays until somebody takes it."""

import asyncio
from typing import Any


class MemoryTransport(asyncio.Transport):
    """Keeps what a protocol writes; the other side never holds it back.

    Attributes:
        protocol: the protocol that has it; set by whoever connects it, and by upgrades.
    """

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8080)})
        self.protocol: Any = None
        self._written: list[bytes] = []
        self._closing = False

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self._written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Nothing is ever left unsent."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no limit."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand over to another protocol."""
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that has it."""
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def is_reading(self) -> bool:
        """Always."""
        return True

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def write_eof(self) -> None:
        """The protocol writes no more."""

    def is_closing(self) -> bool:
        """Tell whether `close` or `abort` was called."""
        return self._closing

    def close(self) -> None:
        """Tell the protocol that it is over, soon."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        """Nothing is ever unsent: the same as `close`."""
        self.close()
