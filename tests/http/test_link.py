"""Times, pauses and ends, with a clock that the test moves."""

import asyncio
import socket
import struct
from contextlib import suppress

import pytest
from sockets import Trap, let_read

from wsrelay.http import (
    Dispatcher,
    HTTPProtocol,
    Limits,
    Response,
    Router,
    ServerState,
    Timeouts,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TIMES = Timeouts(header=10, read=30, idle=75, linger=2)


def small():
    router = Router()
    router.get("/")(lambda request: "root")
    router.post("/ignore")(lambda request: "ignored")

    @router.post("/echo")
    async def echo(request):
        return Response(await request.body())

    return router


def test_a_client_that_says_nothing(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            await server.until(lambda: server.state.accepted == 1)
            await server.pass_time(9.9)
            assert server.state.connections
            await server.pass_time(0.1)
            assert await client.rest() == b""

    run(main())


def test_a_header_that_trickles_in(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            for byte in GET[:11]:
                await client.send(bytes([byte]), "bytes")
                await server.pass_time(0.9)
            await server.pass_time(0.2)
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert await client.rest() == b""

    run(main())


def test_a_later_header_has_its_time_from_its_first_byte(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(GET)
            await client.response()
            await server.pass_time(70)
            await client.send(b"GET", "bytes")
            await server.pass_time(9)
            await client.send(b" / HT", "bytes")
            assert server.state.connections
            await server.pass_time(1)
            assert (await client.response()).status == 408

    run(main())


def test_a_connection_that_is_kept_for_nothing(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(GET)
            await client.response()
            await server.pass_time(74.9)
            await client.send(GET)
            await client.response()
            await server.pass_time(74.9)
            assert server.state.connections
            await server.pass_time(0.1)
            assert await client.rest() == b""

    run(main())


def test_a_body_that_trickles_in(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n")
            await server.until(lambda: server.state.requests == 1)
            for _ in range(3):
                await client.send(b"x", "bytes")
                await server.pass_time(9.9)
            assert server.state.connections
            await server.pass_time(0.4)
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (408, "close")

    run(main())


def test_a_body_that_nobody_awaits_and_that_does_not_come(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n")
            assert (await client.response()).body == b"ignored"
            await server.pass_time(30)
            assert await client.rest() == b""

    run(main())


def test_the_time_for_an_expected_body_begins_with_the_100(run, serve):
    async def main():
        proceed = asyncio.Event()

        async def handler(request):
            await proceed.wait()
            return Response(await request.body())

        async with serve(handler, timeouts=TIMES) as server:
            client = await server.connect()
            head = (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            await client.send(head)
            await server.until(lambda: server.state.requests == 1)
            await server.pass_time(1000)
            proceed.set()
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            await server.pass_time(29)
            await client.send(b"ok")
            assert (await client.response()).body == b"ok"

    run(main())


def test_a_handler_has_all_the_time(run, serve):
    async def main():
        finish = asyncio.Event()

        async def handler(request):
            await finish.wait()
            return Response("late")

        async with serve(handler, timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(GET)
            await server.until(lambda: server.state.requests == 1)
            await server.pass_time(10_000)
            finish.set()
            assert (await client.response()).body == b"late"

    run(main())


def test_a_client_that_reads_its_error_but_does_not_close(run, serve):
    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(b"nonsense\r\n\r\n" + b"x" * 1000)
            assert (await client.response()).status == 400
            assert await client.rest() == b""
            await client.send(b"more")
            assert server.state.connections
            await server.pass_time(2)
            await server.until(lambda: not server.state.connections)

    run(main())


def test_a_client_that_never_stops_sending(run, serve):
    async def main():
        async with serve(small(), limits=Limits(body=10)) as server:
            client = await server.connect()
            await client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
            assert (await client.response()).status == 413
            while server.state.connections:
                client.writer.write(b"x" * 65536)
                await client.settle()
                await asyncio.sleep(0)

    run(main())


def big(request):
    return Response(b"x" * 4_000_000)


def test_a_client_that_pipelines_and_never_reads(run, serve):
    async def main():
        served = []

        async def handler(request):
            served.append(1)
            return big(request)

        async with serve(handler, timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            client.writer.write(GET * 1000)
            await server.until(lambda: bool(served))
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(served) < 10
            (connection,) = server.state.connections
            await server.pass_time(74.9)
            assert connection in server.state.connections
            await server.pass_time(0.1)
            await server.until(lambda: not server.state.connections)

    run(main())


def test_a_client_that_reads_slowly_is_served_to_the_end(run, serve):
    async def main():
        async with serve(_slow_reader_app(), timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.write(GET * 2)
            total = 0
            while total < 2 * 4_000_000:
                total += len(await client.reader.readexactly(400_000))
                await server.pass_time(10)  # the kernel tells of its progress in large steps
            assert server.state.requests == 2

    run(main())


def test_a_body_goes_on_when_its_response_was_read(run, serve):
    """A handler answered before the body was there, with more than the client would take at once:
    once it has taken that, the rest of its body is read, and its next request."""

    async def main():
        big = b"x" * (8 * 1024 * 1024)
        router = small()
        router.post("/big")(lambda request: Response(big))
        async with serve(router, timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            await client.send(b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234")
            await server.until(lambda: any(one._write_paused for one in server.state.connections))
            client.writer.transport.resume_reading()
            assert (await client.response()).body == big
            await client.send(b"56789" + GET)
            assert (await client.response()).body == b"root"

    run(main())


def test_the_time_of_a_body_goes_on_when_its_response_was_read(run, serve):
    async def main():
        router = small()
        router.post("/big")(lambda request: Response(b"x" * (8 * 1024 * 1024)))
        async with serve(router, timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            await client.send(b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234")
            await server.until(lambda: any(one._write_paused for one in server.state.connections))
            client.writer.transport.resume_reading()
            await client.response()
            await server.pass_time(TIMES.read - 1)
            assert server.state.connections
            await server.pass_time(1)
            assert await client.rest() == b""

    run(main())


def test_a_last_response_is_read_slowly(run, serve):
    async def main():
        async with serve(_slow_reader_app(), timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.write(GET.replace(b"1.1", b"1.0"))
            total = len(await client.reader.readexactly(400_000))
            while piece := await client.reader.read(400_000):
                total += len(piece)
                await server.pass_time(3)
            assert total > 4_000_000

    run(main())


def test_a_last_response_that_is_not_read(run, serve):
    async def main():
        async with serve(_slow_reader_app(), timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            client.writer.write(GET.replace(b"1.1", b"1.0"))
            await server.until(lambda: server.state.requests == 1)
            for _ in range(40):
                await server.pass_time(2)
            await server.until(lambda: not server.state.connections)

    run(main())


def _slow_reader_app():
    router = Router()
    router.get("/")(big)
    return router


def test_reading_ahead_is_bounded_while_a_handler_runs(run, serve):
    async def main():
        finish = asyncio.Event()

        async def handler(request):
            await finish.wait()
            return Response("x")

        async with serve(handler) as server:
            client = await server.connect()
            client.writer.write(GET * 400_000)
            await server.until(lambda: server.state.requests == 1)
            (connection,) = server.state.connections
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(connection._buffer) < 400_000
            finish.set()
            for _ in range(100):
                await client.response()
            client.reset()

    run(main())


@pytest.mark.parametrize("where", ["line", "fields"])
def test_a_head_larger_than_what_is_read_ahead(run, serve, where):
    """Where the limits allow it, all of it is read, in however many segments it comes."""

    async def main():
        async with serve(
            small(), limits=Limits(header_bytes=300_000, request_line=300_000)
        ) as server:
            client = await server.connect()
            data = GET.replace(b"/", b"/?" + b"x" * 250_000, 1)
            if where == "fields":
                data = GET[:-2] + b"X: " + b"y" * 250_000 + b"\r\n\r\n"
            client.writer.write(data)
            assert (await client.response()).status == 200
            longer = data.replace(b"x", b"x" * 60_000, 1).replace(b"y", b"y" * 60_000, 1)
            client.writer.write(longer)
            assert (await client.response()).status == (414 if where == "line" else 431)

    run(main())


def test_one_pipelining_client_leaves_the_others_their_turn(run, serve):
    async def main():
        order = []
        router = Router()
        router.get("/{who}")(lambda request: order.append(request.path_params["who"]))
        async with serve(router) as server:
            flood, other = await server.connect(), await server.connect()
            flood.writer.write(GET.replace(b"/ ", b"/flood ") * 2000)
            other.writer.write(GET.replace(b"/ ", b"/other "))
            await other.response()
            assert order.index("other") < 1500

    run(main())


def test_too_many_connections(run, serve):
    async def main():
        async with serve(small(), limits=Limits(connections=2)) as server:
            first, second = await server.connect(), await server.connect()
            await server.until(lambda: server.state.accepted == 2)
            third = await server.connect()
            answer = await third.response()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert await third.rest() == b""
            await third.close()
            await first.close()
            await server.until(lambda: len(server.state.connections) == 1)
            fourth = await server.connect()
            await fourth.send(GET)
            assert (await fourth.response()).status == 200
            await second.send(GET)
            assert (await second.response()).status == 200

    run(main())


class StuckTransport(asyncio.Transport):
    """A transport whose client takes what the test says."""

    def __init__(self):
        super().__init__()
        self.unsent = 1_000_000
        self.aborted = False

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.aborted = True

    def pause_reading(self): ...

    def is_closing(self):
        return self.aborted


@pytest.mark.parametrize(("taken", "kept"), [(65_536, True), (65_535, False), (0, False)])
def test_the_pace_of_a_client_that_reads(taken, kept):
    async def main():
        clock = Clock()
        state = ServerState(clock=clock)
        protocol = HTTPProtocol(Dispatcher([]), state, timeouts=TIMES)
        transport = StuckTransport()
        protocol.connection_made(transport)
        protocol.pause_writing()
        for _ in range(3):
            transport.unsent -= taken
            clock.now += 75
            state.sweep()
        assert transport.aborted is not kept
        protocol.connection_lost(None)

    asyncio.run(main())


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Hidden(asyncio.Transport):
    """A transport of TLS to a client that reads nothing: what it took it does not count."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def write(self, data): ...

    def get_write_buffer_size(self):
        return 0

    def can_write_eof(self):
        return False

    def is_closing(self):
        return bool(self.ends)

    def close(self):
        self.ends.append("close")

    def abort(self):
        self.ends.append("abort")


@pytest.mark.parametrize(("size", "patience"), [(100, 2), (100_000, 75)])
def test_what_tls_took_may_still_be_on_its_way(size, patience):
    """A small response is with the kernel; of a larger one that can't be seen."""

    async def main():
        now = 1000.0
        state = ServerState(clock=lambda: now)
        router = Router()
        router.get("/")(lambda request: Response(bytes(size), headers={"Connection": "close"}))
        protocol = HTTPProtocol(Dispatcher([router]), state, timeouts=TIMES)
        transport = Hidden()
        protocol.connection_made(transport)
        let_read(protocol, GET)
        assert transport.ends == ["close"]
        now += patience - 0.5
        state.sweep()
        assert transport.ends == ["close"]
        now += 2.5
        state.sweep()
        assert transport.ends == ["close", "abort"]
        protocol.connection_lost(None)

    asyncio.run(main())


def test_a_client_that_resets_as_soon_as_it_has_its_answer(run_both, serve, monkeypatch):
    """HAProxy's checks of health do; the end of our half is then nothing that can be sent."""

    async def main():
        async with serve(small(), timeouts=TIMES) as server:
            client = socket.create_connection(("127.0.0.1", server.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            write = HTTPProtocol._write

            def write_and_reset(self, data):
                write(self, data)
                client.close()

            monkeypatch.setattr(HTTPProtocol, "_write", write_and_reset)
            client.sendall(b"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
            await server.until(lambda: client.fileno() < 0 and not server.state.connections)

    run_both(main())


def test_a_client_that_is_gone_when_the_backlog_is_written():
    """A write that fails inside of `resume_writing` makes asyncio end its transport twice."""

    class Counted(HTTPProtocol):
        losses = 0

        def connection_lost(self, exc):
            self.losses += 1
            super().connection_lost(exc)

    async def main():
        loop, complaints = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, what: complaints.append(what))
        router = Router()
        router.get("/")(lambda request: Response(bytes(900_000)))
        near, far = socket.socketpair()
        trap = Trap(near)
        for sock in (trap, far):
            sock.setblocking(False)
        dispatcher, state = Dispatcher([router]), ServerState()
        _, protocol = await loop.connect_accepted_socket(lambda: Counted(dispatcher, state), trap)
        await loop.sock_sendall(far, GET + GET)
        while not protocol._write_paused:
            await asyncio.sleep(0)
        trap.peer = far
        while far.fileno() >= 0:
            with suppress(BlockingIOError):
                far.recv(1 << 20)
            await asyncio.sleep(0)
        while not protocol.losses:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (protocol.losses, state.requests, complaints) == (1, 2, [])

    asyncio.run(asyncio.wait_for(main(), 10))
