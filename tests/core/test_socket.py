"""Writes that go to a transport's socket without the transport, and those that must not."""

import asyncio
import socket
from asyncio.selector_events import _SelectorSocketTransport
from contextlib import suppress

import pytest
import uvloop
from certificates import tls_contexts
from connection_helpers import Stage, client_close, say, settle, until
from sockets import Trap

from wsrelay_core import Connection
from wsrelay_core._outbox import Outbox

LIMIT = 64 * 1024 * 1024
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Peer(asyncio.Protocol):
    """One end of a connection, with an outbox as a connection has it."""

    def __init__(self):
        self.box = Outbox(LIMIT, "close")
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.box.pause()

    def resume_writing(self):
        self.box.resume()

    def connection_lost(self, error):
        self.box.close()
        self.lost.set_result(error)


async def connected(**options):
    """A peer, and the plain socket at the other end."""
    near, far = socket.socketpair()
    far.setblocking(False)
    _, peer = await asyncio.get_running_loop().create_connection(Peer, sock=near, **options)
    return peer, far


def frame(size, mark=0):
    return b"\x82" + bytes([mark % 256]) * (size - 1)


def put(box, *frames):
    for one in frames:
        assert box.put(one) == 1
    box.flush()


async def receive(far, size):
    """Exactly `size` bytes."""
    got = bytearray()
    while len(got) < size:
        part = await asyncio.get_running_loop().sock_recv(far, size - len(got))
        assert part, "the end came before"
        got += part
    return bytes(got)


@pytest.fixture(params=LOOPS)
def go(request):
    """Run a coroutine on each of the loops."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asyncio.wait_for(coroutine, 30))

    return run


def watched(transport):
    """What the transport is given from now on. (Only asyncio's can be watched.)"""
    given = []
    write = transport.write

    def record(data):
        given.append(bytes(data))
        write(data)

    transport.write = record
    return given


def test_what_the_kernel_takes_needs_no_transport():
    async def main():
        peer, far = await connected()
        given = watched(peer.transport)
        peer.box.start(peer.transport)
        put(peer.box, frame(10, 1), frame(20, 2))
        # It is there before the loop had a turn.
        assert far.recv(100) == frame(10, 1) + frame(20, 2)
        assert given == []
        assert peer.box.written == 30 and peer.box.queued() == 0
        peer.transport.abort()
        far.close()

    asyncio.run(main())


def test_what_the_kernel_does_not_take_is_the_transports():
    async def main():
        peer, far = await connected()
        given = watched(peer.transport)
        peer.box.start(peer.transport)
        big = frame(8 * 1024 * 1024, 7)
        put(peer.box, big)
        assert peer.box.paused
        assert len(given) == 1 and 0 < len(given[0]) < len(big), "a part went out before"
        assert big.endswith(given[0])
        assert await receive(far, len(big)) == big
        peer.transport.abort()
        far.close()

    asyncio.run(main())


def test_a_single_byte_in_the_transport_is_not_overtaken(go):
    """One byte does not make it pause."""

    async def main():
        peer, far = await connected()
        peer.transport.write(b"!")  # uvloop writes it at the end of the loop's turn
        peer.box.start(peer.transport)
        assert not peer.box.paused
        put(peer.box, frame(10, 1))
        assert await receive(far, 11) == b"!" + frame(10, 1)
        peer.transport.abort()
        far.close()

    go(main())


def test_order_is_kept_through_full_and_empty_sockets(go):
    """Frames of all sizes while the reader is now slower, now faster."""

    async def main():
        peer, far = await connected()
        peer.box.start(peer.transport)
        expected = bytearray()

        async def write():
            for number in range(3000):
                one = frame(1 + number * 7919 % 20_000, number)
                expected.extend(one)
                put(peer.box, one)
                while peer.box.queued() > 1_000_000:
                    await asyncio.sleep(0)
                if number % 50 == 0:
                    await asyncio.sleep(0)

        writing = asyncio.ensure_future(write())
        got = bytearray()
        while not writing.done() or len(got) < len(expected):
            got += await asyncio.get_running_loop().sock_recv(far, 50_000)
            assert expected.startswith(bytes(got[-50_000:]), max(0, len(got) - 50_000))
        assert got == expected
        assert peer.box.written == len(expected) and peer.box.queued() == 0
        peer.transport.abort()
        far.close()

    go(main())


def test_a_transport_that_still_holds_something_is_not_overtaken(go):
    """The 101 may wait in the transport when the frames begin."""

    async def main():
        peer, far = await connected()
        head = b"h" * (8 * 1024 * 1024)
        peer.transport.write(head)
        peer.box.start(peer.transport)
        put(peer.box, frame(10, 1))
        assert await receive(far, len(head) + 10) == head + frame(10, 1)
        peer.transport.abort()
        far.close()

    go(main())


def test_a_peer_that_is_gone_is_the_transports_to_find(go):
    async def main():
        peer, far = await connected()
        peer.box.start(peer.transport)
        far.close()
        for _ in range(3):
            put(peer.box, frame(10))
        await peer.lost
        assert peer.box.broken is None
        peer.box.put(frame(10))
        peer.box.flush()  # into nothing: the descriptor may be another one's by now

    go(main())


def test_a_descriptor_is_not_used_when_its_transport_has_ended(go):
    async def main():
        peer, far = await connected()
        peer.box.start(peer.transport)
        number = peer.transport.get_extra_info("socket").fileno()
        peer.transport.abort()
        await peer.lost
        await asyncio.sleep(0)
        others = [socket.socketpair() for _ in range(8)]
        assert number in [one.fileno() for pair in others for one in pair]
        put(peer.box, frame(10))
        ends = [one for pair in others for one in pair]
        for one in ends:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)
        for one in ends:
            one.close()
        far.close()

    go(main())


def test_a_transport_of_somebody_else_is_not_passed_by():
    """One that changes what it is given has a socket too."""

    class Rot13(_SelectorSocketTransport):
        def write(self, data):
            super().write(bytes(data).translate(bytes(range(1, 256)) + b"\0"))

    async def main():
        near, far = socket.socketpair()
        far.setblocking(False)
        near.setblocking(False)
        peer = Peer()
        Rot13(asyncio.get_running_loop(), near, peer)
        await asyncio.sleep(0)
        peer.box.start(peer.transport)
        put(peer.box, b"\x82abc")
        assert far.recv(100) == b"\x83bcd"
        peer.transport.abort()
        far.close()

    asyncio.run(main())


def test_tls_is_not_passed_by(go, tmp_path):
    async def main():
        server_side, client_side = tls_contexts(tmp_path)
        accepted = asyncio.get_running_loop().create_future()

        class Accepted(Peer):
            def connection_made(self, transport):
                super().connection_made(transport)
                accepted.set_result(self)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(Accepted, "127.0.0.1", 0, ssl=server_side)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
        )
        peer = await accepted
        peer.box.start(peer.transport)
        put(peer.box, frame(10, 1), frame(20, 2))
        assert await reader.readexactly(30) == frame(10, 1) + frame(20, 2)
        writer.transport.abort()
        await peer.lost
        server.close()

    go(main())


def test_a_client_that_is_gone_when_the_backlog_is_written():
    """A write that fails inside of `resume_writing` makes asyncio end its transport twice."""

    class Wired(Connection, asyncio.BufferedProtocol):
        losses = 0

        def connection_lost(self, error):
            self.losses += 1
            super().connection_lost(error)

    async def main():
        loop, complaints = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, what: complaints.append(what))
        stage = Stage()
        near, far = socket.socketpair()
        trap = Trap(near)
        far.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=trap)
        connection = Wired(stage.scheduler, stage.host, "websocket")
        assert connection.watch_target(stage.target.pid)
        transport.set_protocol(connection)
        connection.start(transport)
        assert say(connection, "x" * 900_000)
        await settle()
        assert transport.get_write_buffer_size()
        assert say(connection, "y")
        trap.peer = far
        while far.fileno() >= 0:
            with suppress(BlockingIOError):
                far.recv(1 << 20)
            await asyncio.sleep(0)
        await until(lambda: connection.losses)
        await settle()
        assert (connection.losses, complaints) == (1, [])
        await stage.stop()

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_the_stream_ends_behind_the_answer_to_a_close_not_before(go, count):
    """Also where what is queued is written in parts, by the socket and by the transport."""

    class Wired(Connection, asyncio.BufferedProtocol):
        pass

    async def main():
        stage = Stage()
        near, far = socket.socketpair()
        far.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=near
        )
        connection = Wired(stage.scheduler, stage.host, "websocket")
        assert connection.watch_target(stage.target.pid)
        for _ in range(count):
            assert say(connection, "x" * 70_000)
        transport.set_protocol(connection)
        connection.start(transport, client_close(1000))
        received = bytearray()
        while data := await asyncio.get_running_loop().sock_recv(far, 1 << 20):
            received += data
        texts = (b"\x81\x7f" + (70_000).to_bytes(8, "big") + b"x" * 70_000) * count
        assert received == texts + b"\x88\x02\x03\xe8"
        far.close()
        await stage.stop()

    go(main())
