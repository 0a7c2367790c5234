"""Parked fragments on many connections (CVE-2026-48779 of ws, #2331 on its first mend).

CVE-2026-12151 (undici) is the same in a client.

The bound is on pinned bytes, of each connection and of the whole server, not on a generous count.
"""

import gc
import tracemalloc

import pytest
from attack_helpers import KIB, MIB, target
from memory import memory_below
from raw_frames import BINARY, CONT, FIN, PING, TEXT, raw

from wsrelay_core import resolve

SERVER = 64 * MIB  # what all unfinished messages may pin


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("piece", [b"", b"x", b"x" * 60], ids=["empty", "one-byte", "small"])
def test_fragments_count_by_what_they_pin(run, kind, piece):
    """As many as an honest message may have hold no more than the message itself."""

    async def main():
        async with target({"message.max": "128KiB"}) as here:
            peer = await here.upgraded()
            count = min(1024 + 2048, 128 * KIB // max(1, len(piece)))
            stream = raw(kind, piece) + raw(CONT, piece) * (count - 1)
            gc.collect()
            with memory_below(512 * KIB):
                await peer.send(stream)
                await peer.arrived()
                assert resolve(peer.pid).is_open
            await peer.send(raw(CONT, piece or b"x") * 2)
            assert await peer.closed_with() == 1009

    run(main())


def test_a_few_dozen_attackers_do_not_make_the_server_refuse_others(run):
    """Those who pin most must go; who sends a whole message in fragments meanwhile is served."""

    async def main():
        async with target({"message.max": "2MiB"}) as here:
            honest = await here.upgraded()
            honest.write(raw(TEXT, b"begun, "))
            await honest.arrived()
            attackers = [await here.upgraded() for _ in range(36)]
            parked = raw(BINARY, bytes(2 * MIB - 1))
            with memory_below(SERVER + 32 * MIB):
                for peer in attackers:
                    await peer.send(parked)
                    await peer.arrived()
                ended = [peer for peer in attackers if not resolves_open(peer)]
                # 36 times 2 MiB are 8 MiB more than the server's limit.
                assert 4 <= len(ended) <= 8
                for peer in ended:
                    assert await peer.closed_with() == 1009
            await here.serves()
            honest.write(raw(FIN | PING) + raw(FIN | CONT, b"finished"))
            await honest.receive()
            assert await honest.receive() == (TEXT, b"begun, finished")

    run(main())


def resolves_open(peer):
    connection = resolve(peer.pid)
    return connection is not None and connection.is_open


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_what_was_parked_comes_back_with_its_connections(run, traced):
    async def main():
        async with target() as here:
            half = raw(BINARY, bytes(MIB // 2))
            before = tracemalloc.get_traced_memory()[0]
            for way in ("reset", "half_close", "end"):
                peers = [await here.upgraded() for _ in range(10)]
                for peer in peers:
                    await peer.send(half)
                    await peer.arrived()
                assert tracemalloc.get_traced_memory()[0] - before > 10 * MIB // 2
                for peer in peers:
                    getattr(peer, way)()
                await here.has_only(0)
                await here.forget_peers()
                del peers, peer
                gc.collect()
                assert tracemalloc.get_traced_memory()[0] - before < MIB // 2

    run(main())


def test_parked_for_too_long(run):
    """Pongs and new fragments do not make it younger: 1008 after a minute."""

    async def main():
        async with target() as here:
            peers = [await here.upgraded() for _ in range(10)]
            for peer in peers:
                await peer.send(raw(BINARY, b"x" * KIB))
                await peer.arrived()
            for _ in range(7):
                here.pass_time(8.5)
                for peer in peers:
                    await peer.send(raw(CONT, b"x"))
                    await peer.arrived()
            assert len(here.websockets) == 10
            here.pass_time(1)
            for peer in peers:
                assert await peer.closed_with() == 1008
            await here.has_only(0)

    run(main())
