"""Connection storms: a thousand dropped mid-handshake; the server recovers by itself.

When descriptors run out: `tests/test_listener.py`.
"""

import asyncio
import socket
import struct

import pytest
from attack_helpers import descriptors, handshake, target, until

STORM = 1000
RESET = struct.pack("ii", 1, 0)


def storm(port, data, way):
    """A thousand connections with this to say, all open before the first one goes away."""
    socks = []
    for _ in range(STORM):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        socks.append(sock)
        yield None
        try:
            sock.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionError):
            continue
    for sock in socks:
        if way == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()


@pytest.mark.parametrize(
    ("data", "way"),
    [
        (b"", "close"),
        (handshake()[:60], "close"),
        (handshake()[:60], "reset"),
        (handshake()[:-1], "reset"),
        (handshake(), "reset"),
        (handshake() + b"\x81", "close"),
    ],
    ids=["silent", "mid-handshake", "mid-handshake, RST", "a byte short", "behind it", "mid-frame"],
)
def test_a_thousand_dropped(run, caplog, data, way):
    """CVE-2024-49769 (waitress): one that was gone before it was asked for its name stayed."""

    async def main():
        async with target() as here:
            chat = await here.upgraded()
            before = descriptors()
            for number, _ in enumerate(storm(here.server.port, data, way)):
                if number % 50 == 0:
                    await chat.echoes(1)
            await chat.echoes(1)
            await until(lambda: here.server.state.accepted >= STORM)
            await here.has_only(1)
            await until(lambda: descriptors() <= before)
            await here.serves()
            await chat.echoes(1)

    run(main())
    assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


def test_a_thousand_at_once_are_all_served_in_the_end(run):
    """Beyond the listener's queue clients wait in the kernel."""

    async def main():
        async with target() as here:

            async def visit():
                peer = await here.ask(handshake())
                assert (await peer.head()).status == 101
                peer.end()

            await asyncio.gather(*(visit() for _ in range(200)))
            await here.has_only(0)
            assert here.upgrades == 200

    run(main())
