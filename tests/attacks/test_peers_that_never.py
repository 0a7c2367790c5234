"""Peers that never read, never answer, never close; half-closes, and resets in every state.

All of it is bounded and ends within its limit, and descriptors, connections and memory come back.
"""

import asyncio
import gc

import pytest
from attack_helpers import GET, KIB, MIB, descriptors, handshake, target, until
from memory import memory_below
from raw_frames import BINARY, CLOSE, CONT, FIN, PING, RSV1, TEXT, deflated, raw

from wsrelay import Response, process
from wsrelay_core import resolve

SLOW = 4 * KIB  # bytes that the kernel of a client takes which does not read


def many_bytes(request):
    return Response(b"x" * (16 * MIB))


# -- that never read -------------------------------------------------------------------------------


def test_a_peer_that_never_reads_its_response(run):
    async def main():
        async with target() as here:
            here.answer = many_bytes
            peer = await here.connect(SLOW)
            await peer.send(handshake())
            await until(lambda: here.upgrades == 1)
            for _ in range(4):
                here.pass_time(20)
            await until(lambda: here.connections == 0)

    run(main())


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest"])
def test_a_peer_that_never_reads_its_messages(run, policy):
    """The queue is bounded, the pings find nobody, and the end takes no longer than a close."""

    async def main():
        async with target({"queue.policy": policy}) as here:
            other, peer = await here.upgraded(), await here.upgraded(SLOW)
            payload = {"data": b"x" * (64 * KIB)}
            with memory_below(3 * MIB):
                for _ in range(400):
                    process.send(peer.pid, "ws.send", payload)
                    await asyncio.sleep(0)
                await other.echoes(5)
            for _ in range(6):
                here.pass_time(10)
                await other.answers_pings()
            await here.has_only(1)
            assert resolve(peer.pid) is None

    run(main())


def test_a_peer_that_sends_and_never_reads_the_echoes(run):
    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded(SLOW)
            frames = raw(FIN | BINARY, b"x" * KIB) * 100
            with memory_below(6 * MIB):
                sending = asyncio.ensure_future(flood(peer, frames))
                await until(lambda: resolve(peer.pid) is None or not resolve(peer.pid).is_open)
                await other.echoes(5)
            await here.has_only(1)
            await sending

    run(main())


async def flood(peer, data):
    for _ in range(10_000):
        if peer.writer.is_closing():
            return
        await peer.send(data)


# -- that never answer, never close ----------------------------------------------------------------


def test_a_peer_that_never_answers_a_ping(run):
    """Its messages are no answer."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            for _ in range(6):
                here.pass_time(8.3)
                peer.write(raw(FIN | TEXT, b"x"))
                await peer.arrived()
            assert await peer.closed_with() == 1011
            await here.has_only(0)

    run(main())


def test_a_peer_that_answers_pings_with_other_pongs(run):
    async def main():
        async with target() as here:
            peer = await here.upgraded()
            for _ in range(6):
                here.pass_time(8.3)
                peer.write(raw(FIN | 10, b"wrong"))
                await peer.arrived()
            assert await peer.closed_with() == 1011

    run(main())


def test_a_peer_that_never_closes(run):
    """Neither answers it the close frame nor ends it TCP: aborted after the close timeout."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            process.send(peer.pid, "ws.close")
            assert await peer.closed_with() == 1000
            here.pass_time(4.9)
            assert here.websockets == [peer.pid]
            here.pass_time(0.2)
            await until(lambda: not here.websockets)
            assert await peer.receive() is None

    run(main())


def test_a_peer_that_never_closes_after_its_own_close_frame(run):
    async def main():
        async with target() as here:
            before = descriptors()
            peer = await here.upgraded()
            await peer.send(raw(FIN | CLOSE, b"\x03\xe8"))
            assert await peer.closed_with() == 1000
            await here.has_only(0)
            assert descriptors() <= before + 1  # its own

    run(main())


def test_a_peer_that_never_closes_after_its_refusal(run):
    async def main():
        async with target() as here:
            before = descriptors()
            peers = [await here.ask(b"nonsense\r\n\r\n") for _ in range(20)]
            for peer in peers:
                assert (await peer.head()).status == 400
            await here.has_only(0)
            assert descriptors() <= before + 20

    run(main())


# -- half-closes -----------------------------------------------------------------------------------

POST = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", b""),
        (GET[:10], b""),
        (GET, b"HTTP/1.1 200 "),
        (POST + b"x", b"HTTP/1.1 400 "),
        (POST + b"x" * 9, b"HTTP/1.1 200 "),
        (handshake()[:30], b""),
        (handshake(), b"HTTP/1.1 101 "),
        (handshake() + raw(FIN | TEXT, b"x"), b"HTTP/1.1 101 "),
        (handshake() + raw(FIN | TEXT, b"x")[:3], b"HTTP/1.1 101 "),
        (handshake() + raw(FIN | CLOSE, b"\x03\xe8"), b"HTTP/1.1 101 "),
        (handshake("/chat/slow"), b""),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
    ],
)
def test_half_closes(run, data, answer):
    """The server ends its half too, at once."""

    async def main():
        async with target() as here:
            peer = await here.ask(data)
            if b"/slow" in data:
                await here.inside.wait()
            peer.half_close()
            assert (await peer.rest()).startswith(answer)
            here.go.set()
            await until(lambda: here.connections == 0)

    run(main())


# -- resets ----------------------------------------------------------------------------------------

HELLO = handshake(Sec_WebSocket_Extensions="permessage-deflate")
STREAMS = {
    "in requests and bodies": POST + b"x" * 9 + GET + POST[:-2],
    "in a chunked body": POST.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked")
    + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "in a handshake and its frames": HELLO
    + raw(FIN | TEXT, b"x" * 200)
    + raw(FIN | PING, b"ping")
    + raw(TEXT, b"begun")
    + raw(FIN | PING)
    + raw(CONT, b"and")
    + raw(FIN | CONT, b"ended")
    + raw(FIN | TEXT | RSV1, deflated(b"x" * 100))
    + raw(FIN | CLOSE, b"\x03\xe8"),
    "in what breaks the protocol": HELLO + raw(TEXT, b"x") + raw(FIN | 3, b"x") + b"\xff" * 20,
}


@pytest.mark.parametrize("answered", [True, False], ids=["after the answer", "at once"])
@pytest.mark.parametrize("name", STREAMS)
def test_resets_in_every_state(run_both, caplog, name, answered):
    """RST behind every few bytes, also mid-frame: nothing is left, and no word in the log."""
    stream = STREAMS[name]

    async def main():
        async with target({"compression": "permessage-deflate"}) as here:
            await here.serves()
            await here.has_only(0)
            before, alive = descriptors(), len(here.app.processes())
            step = 7 if len(stream) > 200 else 3
            for length in range(0, len(stream) + 1, step):
                peer = await here.ask(stream[:length])
                if answered and length >= len(HELLO) and stream.startswith(HELLO):
                    await peer.head()
                peer.reset()
            await here.has_only(0)
            await until(lambda: descriptors() <= before)
            assert len(here.app.processes()) == alive
            await here.serves()

    run_both(main())
    assert not [one for one in caplog.records if one.levelname != "INFO"]


def test_resets_while_the_handler_of_an_upgrade_runs(run_both):
    async def main():
        async with target() as here:
            peers = [await here.ask(handshake("/chat/slow")) for _ in range(20)]
            await here.inside.wait()
            for peer in peers:
                peer.reset()
            await here.has_only(0)
            here.go.set()
            assert here.upgrades == 0

    run_both(main())


@pytest.mark.parametrize("way", ["reset", "half_close", "end"])
def test_ends_while_the_server_is_closing(run_both, way):
    async def main():
        async with target() as here:
            peers = [await here.upgraded() for _ in range(10)]
            for peer in peers:
                process.send(peer.pid, "ws.send", {"data": b"x" * 100_000})
                process.send(peer.pid, "ws.close")
                getattr(peer, way)()
            await until(lambda: here.connections == 0)

    run_both(main())


def test_memory_comes_back(run):
    """Connections that ended in all these ways leave nothing that grows with their number."""

    async def main():
        async with target() as here:

            async def round_of(count):
                for index in range(count):
                    peer = await here.ask(STREAMS["in a handshake and its frames"][: 40 + index])
                    (peer.reset, peer.end, peer.half_close)[index % 3]()
                await here.has_only(0)
                await here.forget_peers()
                del peer
                gc.collect()

            await round_of(60)
            with memory_below(512 * KIB):
                before = len(gc.get_objects())
                for _ in range(3):
                    await round_of(60)
                grown = len(gc.get_objects()) - before
            assert grown < 60, f"{grown} objects"

    run(main())
