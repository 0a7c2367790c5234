"""Request bodies over real sockets: both framings, limits, `100 Continue`, and cuts."""

import asyncio

import pytest

from wsrelay.http import HTTPError, Limits, Response, Router

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path, *fields):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def post(body=b"", path="/echo"):
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def app():
    router = Router()
    router.get("/")(lambda request: "root")
    router.get("/n/{n}")(lambda request: request.path_params["n"])
    router.post("/ignore")(lambda request: "ignored")

    @router.post("/echo")
    async def echo(request):
        return Response(await request.body())

    return router


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        ("Content-Length: 5", b"a\r\nbc"),
        ("Transfer-Encoding: chunked", b"2\r\na\r\r\n3;x=y\r\n\nbc\r\n0\r\nX: y\r\n\r\n"),
        ("Content-Length: 0", b""),
        ("Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ],
)
def test_bodies_and_what_is_behind_them(run, serve, how, framing, wire):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            head = f"POST /echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode()
            await client.send((head + wire) * 2 + get("/n/7"), how)
            expected = b"a\r\nbc" if b"bc" in wire else b""
            assert (await client.response()).body == expected
            assert (await client.response()).body == expected
            assert (await client.response()).body == b"7"

    run(main())


def test_a_body_that_nobody_reads(run, serve, how):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(post(b"x" * 50, path="/ignore") + get("/n/7"), how)
            assert (await client.response()).body == b"ignored"
            assert (await client.response()).body == b"7"

    run(main())


def test_a_body_over_the_limit(run, serve):
    async def main():
        async with serve(app(), limits=Limits(body=10)) as server:
            assert (await server.exchange(post(b"x" * 10))).status == 200
            client = await server.connect()
            await client.send(post(b"x" * 11) + GET)
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            assert await client.rest() == b""
            client = await server.connect()
            head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            await client.send(head + b"8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n" + GET)
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            assert await client.rest() == b""

    run(main())


@pytest.mark.parametrize("path", ["/echo", "/ignore"])
def test_a_malformed_chunk_ends_the_connection(run, serve, path):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            await client.send(head.encode() + b"zz\r\n" + GET)
            answer = await client.response()
            assert answer.status == (400 if path == "/echo" else 200)
            assert answer.headers["connection"] == "close"
            assert await client.rest() == b""

    run(main())


def test_a_body_that_is_cut_short(run, serve, how):
    async def main():
        async with serve(app()) as server:
            data = post(b"12345").replace(b"Length: 5", b"Length: 6")
            answer = await server.ask(data, how)
            assert answer.startswith(b"HTTP/1.1 400 ")

    run(main())


EXPECT = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"


def test_100_is_sent_when_the_body_is_awaited(run, serve):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(EXPECT % b"echo")
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"body" + GET)
            assert (await client.response()).body == b"body"
            assert (await client.response()).body == b"root"

    run(main())


def test_no_100_where_the_body_is_there_already(run, serve):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(EXPECT % b"echo" + b"body")
            assert (await client.response()).body == b"body"

    run(main())


def test_no_100_where_nobody_wants_the_body(run, serve):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(EXPECT % b"ignore")
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await client.rest() == b""

    run(main())


def test_an_unknown_expectation(run, serve):
    async def main():
        async with serve(app()) as server:
            answer = await server.exchange(get("/", "Expect: the-unexpected"))
            assert answer.status == 417

    run(main())


def test_a_body_read_ends_with_its_client(run, serve):
    async def main():
        started, errors = asyncio.Event(), []

        async def handler(request):
            started.set()
            try:
                await request.body()
            except HTTPError as error:
                errors.append(error.status_code)
                raise

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(post(b"12345")[:-1])
            await started.wait()
            client.writer.transport.abort()
            await server.state.wait_closed()
        assert errors == [400]

    run(main())
