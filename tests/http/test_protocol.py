"""Requests and responses over real sockets; attacks are in
`tests/attacks`, times and pauses in `test_link.py`."""

import asyncio
import contextvars

import aiohttp
import pytest
from sockets import let_read

from wsrelay.http import (
    HTTPError,
    HTTPProtocol,
    JSONResponse,
    Response,
    Router,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path, *fields):
    return (
        f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode()
        + b"".join(field.encode() + b"\r\n" for field in fields)
        + b"\r\n"
    )


def post(body=b"", *fields, path="/echo"):
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def app():
    """Synchronous and asynchronous endpoints of all kinds."""
    router = Router()
    router.get("/")(lambda request: "root")
    router.get("/n/{n}")(lambda request: request.path_params["n"])
    router.get("/none")(lambda request: None)
    router.get("/client")(lambda request: list(request.client))
    router.get("/boom")(lambda request: 1 / 0)
    router.get("/nonsense")(lambda request: Response(status_code=99))
    router.get("/close")(lambda request: Response("x", headers={"Connection": "close"}))
    router.post("/ignore")(lambda request: "ignored")

    @router.post("/echo")
    async def echo(request):
        return Response(await request.body())

    @router.get("/slow/{n}")
    async def slow(request):
        await asyncio.sleep(0)
        return request.path_params["n"]

    @router.get("/error")
    async def error(request):
        raise HTTPError(418, "teapot", {"X-Tea": "green"})

    return router


def test_a_response(run, serve, how):
    async def main():
        async with serve(app(), server_header="wsrelay", wall_clock=lambda: 0.0) as server:
            client = await server.connect()
            await client.send(GET, how)
            block = await client.reader.readuntil(b"root")
            assert block == (
                b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: wsrelay\r\n"
                b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\nroot"
            )
            assert server.state.requests == 1

    run(main())


def test_keep_alive_one_request_after_another(run, serve, how):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            for path in ("/", "/slow/1", "/none", "/error", "/nowhere"):
                await client.send(get(path), how)
                answer = await client.response()
                assert "connection" not in answer.headers
            assert answer.status == 404
            assert server.state.accepted == 1
            assert server.state.requests == 5

    run(main())


def test_pipelined_requests_are_answered_in_their_order(run, serve, how):
    async def main():
        paths = [f"/slow/{n}" if n % 3 else f"/n/{n}" for n in range(40)]
        async with serve(app()) as server:
            client = await server.connect()
            stream = b"".join(map(get, paths)) + post(b"body") + get("/n/last")
            await client.send(stream, how if how == "whole" else "whole")
            for n in range(40):
                assert (await client.response()).body == str(n).encode()
            assert (await client.response()).body == b"body"
            assert (await client.response()).body == b"last"

    run(main())


def test_pipelined_requests_cut_anywhere(run, serve):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(get("/slow/1") + post(b"x") + get("/n/2"), "bytes")
            bodies = [(await client.response()).body for _ in range(3)]
            assert bodies == [b"1", b"x", b"2"]

    run(main())


def test_head_has_no_body(run, serve, how):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(GET.replace(b"GET", b"HEAD") + GET, how)
            answer = await client.response(head=True)
            assert answer.headers["content-length"] == "4"
            assert (await client.response()).body == b"root"

    run(main())


def test_statuses_without_content(run, serve):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(get("/none") + b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            for allow in (None, "GET, HEAD, OPTIONS"):
                answer = await client.response()
                assert answer.status == 204
                assert "content-length" not in answer.headers
                assert answer.headers.get("allow") == allow
            assert (await client.response()).body == b"root"

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        GET.replace(b"1.1", b"1.0"),
        get("/", "Connection: close"),
        get("/", "Connection: keep-alive, Close"),
        get("/close"),
    ],
)
def test_the_connection_ends_where_one_side_says_so(run, serve, data):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(data + GET)
            answer = await client.response()
            assert answer.headers["connection"] == "close"
            assert await client.rest() == b""

    run(main())


def test_a_half_closed_client_gets_its_answers(run, serve, how):
    async def main():
        async with serve(app()) as server:
            # One by one, the answers may be out before the end is seen.
            answers = await server.ask(get("/slow/1") + get("/n/2") + get("/slow/3"), how)
            assert answers.count(b"HTTP/1.1 200 OK") == 3
            assert (b"Connection: close" in answers) or how == "bytes"

    run(main())


def test_a_half_closed_client_with_half_a_request_gets_nothing(run, serve, how):
    async def main():
        async with serve(app()) as server:
            assert await server.ask(GET[:-2], how) == b""
            assert await server.ask(b"", how) == b""

    run(main())


def test_what_a_handler_does_wrong_stays_inside(run, serve, caplog):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            for path in ("/boom", "/nonsense"):
                await client.send(get(path))
                answer = await client.response()
                assert (answer.status, answer.body) == (500, b"Internal Server Error")
            await client.send(get("/error"))
            answer = await client.response()
            assert (answer.status, answer.body) == (418, b"teapot")
            assert answer.headers["x-tea"] == "green"

    run(main())
    assert len(caplog.records) == 2
    assert "ZeroDivisionError" in caplog.text


def test_any_callable_is_a_handler(run, serve, caplog):
    async def handler(request):
        if request.path == "/bad":
            raise ValueError("internal")
        return JSONResponse({"path": request.path})

    async def main():
        async with serve(handler) as server:
            assert (await server.exchange(get("/x"))).body == b'{"path":"/x"}'
            answer = await server.exchange(get("/bad"))
            assert (answer.status, b"internal" in answer.body) == (500, False)

    run(main())


def test_the_clients_address(run, serve):
    async def main():
        async with serve(app()) as server:
            client = await server.connect()
            await client.send(get("/client"))
            host, port = client.writer.get_extra_info("sockname")
            assert (await client.response()).body == f'["{host}",{port}]'.encode()

    run(main())


def test_each_request_has_a_copy_of_the_context(run, serve):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []
    router = Router()

    def endpoint(request):
        seen.append(variable.get())
        variable.set("changed")

    async def endpoint_async(request):
        endpoint(request)

    router.get("/sync")(endpoint)
    router.get("/async")(endpoint_async)

    async def main():
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        async with serve(router, context=context) as server:
            for path in ("/sync", "/async", "/sync"):
                await server.exchange(get(path))

    run(main())
    assert seen == ["given"] * 3


def test_a_plain_request_runs_on_without_its_client(run, serve):
    async def main():
        started, finish = asyncio.Event(), asyncio.Event()
        finished = []

        async def handler(request):
            started.set()
            await finish.wait()
            finished.append(request.path)
            return Response()

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(get("/work"))
            await started.wait()
            client.reset()
            await server.until(lambda: not server.state.connections)
            (task,) = server.state.tasks
            finish.set()
            await task
            assert finished == ["/work"]

    run(main())


def test_a_cancelled_handler_answers_503(run, serve):
    async def main():
        started = asyncio.Event()

        async def handler(request):
            started.set()
            await asyncio.Event().wait()

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(GET)
            await started.wait()
            for task in list(server.state.tasks):
                task.cancel()
            assert (await client.response()).status == 503

    run(main())


def test_aiohttp_gets_on_with_it(run, serve):
    async def main():
        async def chunks():
            for n in range(20):
                yield b"%d," % n
                await asyncio.sleep(0)

        async with serve(app()) as server, aiohttp.ClientSession() as session:
            base = f"http://127.0.0.1:{server.port}"
            for _ in range(3):
                async with session.get(f"{base}/n/é x") as response:
                    assert await response.text() == "é x"
            async with session.head(f"{base}/") as response:
                assert response.headers["content-length"] == "4"
            async with session.post(f"{base}/echo", data=chunks(), expect100=True) as response:
                assert (await response.read()).startswith(b"0,1,2,")
            async with session.post(f"{base}/echo", data=b"x" * 500_000) as response:
                assert len(await response.read()) == 500_000
            assert server.state.accepted == 1

    run(main())


def test_a_unix_socket_has_no_client_address(run, serve, tmp_path):
    async def main():
        from wsrelay.http import Dispatcher, ServerState

        router = Router()
        router.get("/")(lambda request: str(request.client))
        state, loop = ServerState(), asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        dispatcher = Dispatcher([router])
        listener = await loop.create_unix_server(lambda: HTTPProtocol(dispatcher, state), path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get("/", "Connection: close"))
        assert (await reader.read()).endswith(b"None")
        writer.close()
        await writer.wait_closed()
        listener.close()
        await state.wait_closed()

    run(main())


def test_the_scheme_is_the_servers(run, serve):
    async def handler(request):
        return Response(request.url)

    async def main():
        async with serve(handler, scheme="https") as server:
            assert (await server.exchange(get("/x?y"))).body == b"https://a/x?y"

    run(main())


def test_a_transport_without_half_close_is_closed():
    """TLS has none; a transport that says so stands for it."""

    class Transport(asyncio.Transport):
        written, closed = b"", False

        def write(self, data):
            self.written += data

        def can_write_eof(self):
            return False

        def get_write_buffer_size(self):
            return 0

        def is_closing(self):
            return self.closed

        def close(self):
            self.closed = True

    async def main():
        from wsrelay.http import Dispatcher, ServerState

        state = ServerState()
        protocol = HTTPProtocol(Dispatcher([app()]), state)
        transport = Transport()
        protocol.connection_made(transport)
        let_read(protocol, b"nonsense\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 400 ")
        assert transport.closed
        assert not protocol.eof_received()
        protocol.connection_lost(None)
        assert not state.connections

    asyncio.run(main())
