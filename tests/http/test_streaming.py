"""Bodies that are made while they are sent, over real sockets."""

import asyncio
import contextvars
from contextlib import suppress

import aiohttp
import pytest

from wsrelay.http import Router, StreamingResponse, Timeouts
from wsrelay.http.streaming import ShortStream, framed

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TIMES = Timeouts(header=10, read=30, idle=75, linger=2)
PIECE = b"x" * 65_536


async def pieces(*contents):
    for content in contents:
        yield content


def with_length(response, length):
    response.content_length = length
    return response


def collect(response, chunked=False):
    async def main():
        return [piece async for piece in framed(response, chunked=chunked)]

    return asyncio.run(main())


# -- framing ---------------------------------------------------------------------------------------


def test_pieces_of_all_kinds():
    response = StreamingResponse(pieces(b"a", "ä", bytearray(b"b"), b"", memoryview(b"c")))
    assert b"".join(collect(response)) == "aäbc".encode()


def test_chunks():
    response = StreamingResponse(pieces(b"abc", b"", b"x" * 17))
    assert collect(response, chunked=True) == [
        b"3\r\nabc\r\n",
        b"11\r\n" + b"x" * 17 + b"\r\n",
        b"0\r\n\r\n",
    ]
    assert collect(StreamingResponse(pieces()), chunked=True) == [b"0\r\n\r\n"]


@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_length_that_is_not_true(length):
    with pytest.raises(ShortStream):
        collect(with_length(StreamingResponse(pieces(b"abc")), length))


def test_a_length_that_is_true():
    assert collect(with_length(StreamingResponse(pieces(b"a", b"bc")), 3)) == [b"a", b"bc"]


def test_what_can_not_be_streamed():
    for content in (b"abc", ["a"], None):
        with pytest.raises(TypeError, match="async iterable"):
            StreamingResponse(content)
    with pytest.raises(TypeError, match="is str or bytes, not int"):
        collect(StreamingResponse(pieces(5)))


def test_an_iterator_without_aclose():
    class Once:
        def __init__(self):
            self.left = [b"a", b"b"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    assert collect(StreamingResponse(Once())) == [b"b", b"a"]


# -- on the wire -----------------------------------------------------------------------------------


def streaming(make, method="get"):
    """A router whose `/` answers with what `make` returns, in a task; `/sync` does it inline."""
    router = Router()

    async def endpoint(request):
        return make(request)

    router.route("/", [method.upper()])(endpoint)
    router.route("/sync", [method.upper()])(lambda request: make(request))
    router.get("/next")(lambda request: "next")
    return router


NEXT = GET.replace(b"/ ", b"/next ")


@pytest.mark.parametrize("path", [b"/", b"/sync"])
def test_a_chunked_body_and_what_follows(run, serve, how, path):
    async def main():
        router = streaming(lambda request: StreamingResponse(pieces(b"ab", "c"), 201, {"X-A": "b"}))
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET.replace(b"/ ", path + b" ") + NEXT, how)
            block = await client.reader.readuntil(b"\r\n\r\n")
            assert block.startswith(b"HTTP/1.1 201 Created\r\n")
            assert block.endswith(b"\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n")
            expected = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
            assert await client.reader.readexactly(len(expected)) == expected
            assert (await client.response()).body == b"next"

    run(main())


def test_a_known_length(run, serve):
    async def main():
        router = streaming(lambda request: with_length(StreamingResponse(pieces(b"ab", b"c")), 3))
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET + NEXT)
            answer = await client.response()
            assert (answer.headers["content-length"], answer.body) == ("3", b"abc")
            assert "transfer-encoding" not in answer.headers
            assert (await client.response()).body == b"next"

    run(main())


def test_an_empty_body(run, serve):
    async def main():
        router = streaming(lambda request: with_length(StreamingResponse(pieces()), 0))
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET * 3 + NEXT)
            for _ in range(3):
                assert (await client.response()).headers["content-length"] == "0"
            assert (await client.response()).body == b"next"

    run(main())


def test_http_1_0_reads_until_the_close(run, serve):
    async def main():
        router = streaming(lambda request: StreamingResponse(pieces(b"ab", b"c")))
        async with serve(router) as server:
            answer = await server.ask(GET.replace(b"1.1", b"1.0"))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"Transfer-Encoding" not in head
            assert b"Connection: close" in head
            assert body == b"abc"

    run(main())


def test_head_and_statuses_without_content(run, serve):
    async def main():
        asked = []

        async def body():
            asked.append(1)
            yield b"abc"

        router = Router()
        router.get("/")(lambda request: StreamingResponse(body()))
        router.get("/empty")(lambda request: StreamingResponse(body(), 204))
        router.get("/next")(lambda request: "next")
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET.replace(b"GET", b"HEAD") + GET.replace(b"/ ", b"/empty ") + NEXT)
            answer = await client.response(head=True)
            assert answer.headers["transfer-encoding"] == "chunked"
            answer = await client.response()
            assert answer.status == 204
            assert not {"transfer-encoding", "content-length"} & set(answer.headers)
            assert (await client.response()).body == b"next"
            assert asked == []

    run(main())


def test_a_real_client(run, serve):
    async def main():
        router = streaming(lambda request: StreamingResponse(pieces(*[PIECE] * 20, "end")))
        async with serve(router) as server, aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.get(f"http://127.0.0.1:{server.port}/") as answer:
                    assert await answer.read() == PIECE * 20 + b"end"
            assert server.state.accepted == 1

    run(main())


def test_the_body_runs_in_the_context_of_its_request(run, serve):
    place = contextvars.ContextVar("place", default="outside")

    async def body():
        yield place.get()
        await asyncio.sleep(0)
        yield place.get()

    async def main():
        inside = contextvars.copy_context()
        inside.run(place.set, "inside")
        router = streaming(lambda request: with_length(StreamingResponse(body()), 12))
        async with serve(router, context=inside) as server:
            for path in (b"/", b"/sync"):
                answer = await server.exchange(GET.replace(b"/ ", path + b" "))
                assert answer.body == b"insideinside"

    run(main())


def test_a_status_that_can_not_be_sent(run, serve):
    async def main():
        router = streaming(lambda request: StreamingResponse(pieces(b"x"), 99))
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET + NEXT)
            assert (await client.response()).status == 500
            assert (await client.response()).body == b"next"

    run(main())


# -- faults ----------------------------------------------------------------------------------------


class Exit(BaseException):
    """As `wsrelay.exit()` raises."""


@pytest.mark.parametrize("error", [RuntimeError("spoiled"), Exit("spoiled")])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_that_fails_is_cut_off(run, serve, caplog, error, version):
    async def body():
        yield b"abc"
        raise error

    async def main():
        router = streaming(lambda request: StreamingResponse(body()))
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET.replace(b"1.1", version))
            if version == b"1.0":  # where the close is the body's end, a quiet one would be a lie
                with pytest.raises(ConnectionResetError):
                    while await client.reader.read(1000):
                        pass
            else:
                assert (await client.rest()).endswith(b"\r\n\r\n3\r\nabc\r\n")
            await server.until(lambda: not server.state.connections)

    run(main())
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"]
    assert caplog.records[0].exc_info[1] is error


def test_a_body_shorter_than_its_length_is_cut_off(run, serve, caplog):
    async def main():
        router = streaming(lambda request: with_length(StreamingResponse(pieces(b"abc")), 5))
        async with serve(router) as server:
            client = await server.connect()
            await client.send(GET + NEXT)
            assert (await client.rest()).endswith(b"Content-Length: 5\r\n\r\nabc")

    run(main())
    [record] = caplog.records
    assert record.getMessage() == (
        "GET /: connection cut: the body ended 2 bytes before its length"
    )


# -- clients that are slow or gone -----------------------------------------------------------------


class Source:
    """An endless body that knows how much was asked of it."""

    def __init__(self):
        self.asked = 0
        self.ended = asyncio.Event()

    async def body(self):
        try:
            while True:
                self.asked += 1
                yield PIECE
        finally:
            self.ended.set()

    def response(self, request):
        return StreamingResponse(self.body())


@pytest.mark.parametrize("path", [b"/", b"/sync"])
def test_a_client_that_never_reads(run, serve, path):
    async def main():
        source = Source()
        async with serve(streaming(source.response), timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            await client.send(GET.replace(b"/ ", path + b" "))
            await server.until(lambda: source.asked > 0)
            (connection,) = server.state.connections
            await server.until(lambda: connection._write_paused)
            asked = source.asked
            for _ in range(50):
                await asyncio.sleep(0)
            assert source.asked == asked
            assert connection._transport.get_write_buffer_size() < 4 * len(PIECE)
            await server.pass_time(74.9)
            assert server.state.connections
            await server.pass_time(0.1)
            await source.ended.wait()
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_a_client_that_reads_slowly_gets_it_all(run, serve):
    async def main():
        router = streaming(
            lambda request: with_length(StreamingResponse(pieces(*[PIECE] * 100)), 100 * len(PIECE))
        )
        async with serve(router, timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(GET + NEXT)
            await client.reader.readuntil(b"\r\n\r\n")
            for _ in range(50):
                await client.reader.readexactly(2 * len(PIECE))
                await server.pass_time(10)
            assert (await client.response()).body == b"next"

    run(main())


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_client_that_goes_away(run, serve, way):
    async def main():
        source = Source()
        async with serve(streaming(source.response)) as server:
            client = await server.connect()
            await client.send(GET)
            await client.reader.readexactly(100_000)
            if way == "close":
                await client.close()
            else:
                client.reset()
            await source.ended.wait()
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_a_body_that_takes_no_notice_of_a_cancel(run, serve):
    async def main():
        never = asyncio.Event()

        async def body():
            while True:
                yield PIECE
                with suppress(asyncio.CancelledError):
                    await never.wait()

        async with serve(streaming(lambda request: StreamingResponse(body()))) as server:
            client = await server.connect()
            await client.send(GET)
            await client.reader.readexactly(len(PIECE))
            client.reset()
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_a_client_that_only_ends_its_own_side(run, serve):
    async def main():
        go = asyncio.Event()

        async def body():
            yield b"ab"
            await go.wait()
            yield b"c"

        async with serve(streaming(lambda request: StreamingResponse(body()))) as server:
            client = await server.connect()
            await client.send(GET)
            await client.reader.readuntil(b"ab\r\n")
            client.writer.write_eof()
            (connection,) = server.state.connections
            await server.until(lambda: connection._eof)
            go.set()
            assert await client.rest() == b"1\r\nc\r\n0\r\n\r\n"

    run(main())


def test_a_client_that_is_gone_before_its_answer(run, serve):
    async def main():
        go = asyncio.Event()
        discarded = []

        async def handler(request):
            await go.wait()
            response = StreamingResponse(pieces(b"x"))
            response.discard = lambda: discarded.append(response)
            return response

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(GET)
            await server.until(lambda: server.state.requests == 1)
            client.reset()
            await server.until(lambda: not server.state.connections)
            go.set()
            await server.until(lambda: not server.state.tasks)
            assert len(discarded) == 1

    run(main())


def test_an_endless_body_leaves_the_others_their_turn(run, serve):
    async def main():
        source = Source()
        async with serve(streaming(source.response)) as server:
            greedy, other = await server.connect(), await server.connect()
            await greedy.send(GET)
            await greedy.reader.readexactly(100_000)
            await other.send(NEXT)
            assert (await other.response()).body == b"next"
            greedy.reset()
            await source.ended.wait()

    run(main())


# -- a request's body, and the end of the server ---------------------------------------------------


def post(*fields, length=2):
    lines = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {length}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_body_that_answers_the_request_s_body_as_it_comes(run, serve):
    async def main():
        def make(request):
            async def body():
                yield b"first"
                yield await request.body()

            return StreamingResponse(body())

        async with serve(streaming(make, "post"), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(post("Expect: 100-continue"))
            # The answer begins before the body, so the connection ends with it (RFC 9110 10.1.1).
            block = await client.reader.readuntil(b"\r\n\r\n")
            assert b"Connection: close" in block
            await client.reader.readuntil(b"first\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            await client.send(b"ok")
            assert await client.rest() == b"2\r\nok\r\n0\r\n\r\n"

    run(main())


def waiting(go):
    async def body():
        yield b"ab"
        await go.wait()
        yield b"c"

    return lambda request: StreamingResponse(body())


WHOLE = b"1\r\nc\r\n0\r\n\r\n"


def test_a_request_body_that_nobody_awaits_and_that_does_not_come(run, serve):
    async def main():
        go = asyncio.Event()
        async with serve(streaming(waiting(go), "post"), timeouts=TIMES) as server:
            client = await server.connect()
            await client.send(post(length=99))
            await client.reader.readuntil(b"ab\r\n")
            await server.pass_time(30)
            go.set()
            assert await client.rest() == WHOLE

    run(main())


def test_a_pause_does_not_extend_the_time_of_the_request_body(run, serve):
    async def main():
        def make(request):
            return StreamingResponse(pieces(*[PIECE] * 100))

        async with serve(streaming(make, "post"), timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            await client.send(post(length=99))
            await server.until(lambda: bool(server.state.connections))
            (connection,) = server.state.connections
            await server.until(lambda: connection._write_paused)
            await server.pass_time(29)
            client.writer.transport.resume_reading()
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received = received[-10:] + await client.reader.read(len(PIECE))
            assert server.state.connections
            await server.pass_time(1)
            assert await client.rest() == b""

    run(main())


def paused_while_it_answers():
    """A long body, and behind it that of the request."""

    def make(request):
        async def body():
            for _ in range(100):
                yield PIECE
            yield await request.body()

        return StreamingResponse(body())

    return streaming(make, "post")


async def start_paused(server):
    """A client that does not read, and its connection, which waits for it."""
    client = await server.connect()
    client.writer.transport.pause_reading()
    await client.send(post())
    await server.until(lambda: bool(server.state.connections))
    (connection,) = server.state.connections
    await server.until(lambda: connection._write_paused)
    return client, connection


def test_a_pause_does_not_stop_the_request_body_for_good(run, serve):
    async def main():
        async with serve(paused_while_it_answers()) as server:
            client, connection = await start_paused(server)
            await client.send(b"o")
            await server.until(lambda: connection._read_paused)
            client.writer.transport.resume_reading()
            await client.send(b"k")
            received = b""
            while not received.endswith(b"\r\n2\r\nok\r\n0\r\n\r\n"):
                received = received[-20:] + await client.reader.read(len(PIECE))

    run(main())


def test_the_end_of_the_request_body_does_not_free_a_client_that_never_reads(run, serve):
    async def main():
        async with serve(paused_while_it_answers(), timeouts=TIMES) as server:
            client, connection = await start_paused(server)
            await client.send(b"ok")
            await server.until(lambda: connection._exchange.body.complete)
            await server.pass_time(75)
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_a_drain_ends_the_connection_after_the_body(run, serve):
    async def main():
        go = asyncio.Event()
        async with serve(streaming(waiting(go))) as server:
            client = await server.connect()
            await client.send(GET)
            await client.reader.readuntil(b"ab\r\n")
            server.state.drain()
            go.set()
            assert await client.rest() == WHOLE

    run(main())


def test_the_end_of_the_server_ends_the_body(run, serve):
    async def main():
        source = Source()
        async with serve(streaming(source.response)) as server:
            client = await server.connect()
            await client.send(GET)
            await client.reader.readexactly(100_000)
            server.state.abort()
            await server.state.wait_closed()
            assert source.ended.is_set()

    run(main())
