"""An `http.service` with TLS: clients of two libraries, certificates, bad peers, reloads."""

import asyncio
import logging
import os
import shutil
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
import websockets
from certificates import Pair, client_context, pair_in, self_signed, signed_by

from wsrelay import TLS, App, ConfigError, Response, process, relay_to
from wsrelay.http import StreamingResponse
from wsrelay.http.limits import Timeouts

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`server` and `other` are certificates for localhost, `ann` is signed by `authority`."""
    folder = tmp_path_factory.mktemp("tls")
    self_signed(folder, "server")
    self_signed(folder, "other")
    authority = self_signed(folder, "authority", subject="/CN=authority")
    signed_by(authority, folder, "ann", "/CN=ann")
    return folder


@pytest.fixture
def tls(folder):
    pair = pair_in(folder, "server")
    return TLS(cert=pair.cert, key=pair.key)


@pytest.fixture
def trust(folder):
    """TLS of a client that trusts the server."""
    return client_context(pair_in(folder, "server"))


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


async def echo():
    async for message in process.inbox():
        if message.topic == "ws.message":
            process.send(message.sender, "ws.send", message.payload)


async def greet():
    async for message in process.inbox():
        if message.topic == "ws.join":
            process.send(message.sender, "ws.send", {"data": message.payload["metadata"]})


async def stream_body():
    for _ in range(40):  # KiB; less than what makes a transport pause
        yield bytes(1024)


def name_of(certificate):
    return certificate and dict(pair for (pair,) in certificate["subject"])["commonName"]


def make_app(tls, **settings):
    app = App()
    app.service(tls=tls, **settings)
    origins = {"wsrelay.allowed.origins": "https://elsewhere.example"}
    router = app.router("", post_middleware=["websocket_relay"], post_options=origins)

    @router.get("/")
    def facts(request):
        seen = name_of(request.client_certificate)
        return {"scheme": request.scheme, "url": request.url, "client": seen}

    @router.get("/large")
    def large(request):
        return Response(bytes(8 * MIB), headers={"Connection": "close"})

    @router.get("/stream")
    async def stream(request):
        return StreamingResponse(stream_body(), headers={"Connection": "close"})

    @router.get("/echo")
    def connect(request):
        return relay_to(process.spawn(echo))

    @router.get("/greet")
    def welcome(request):
        user = name_of(request.client_certificate)
        return relay_to(process.spawn(greet), metadata={"user": user})

    return app


@asynccontextmanager
async def serving(tls, **settings):
    app = make_app(tls, **settings)
    async with app.running() as server:
        yield app, server


def connect(server, trust, path="/echo", **settings):
    """A WebSocket client."""
    settings = {"max_size": 2 * MIB, "server_hostname": "localhost", "ssl": trust, **settings}
    return websockets.connect(f"{server.websocket_url}{path}", **settings)


async def stream(server, trust, **settings):
    """A connection after its handshake."""
    return await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=trust, server_hostname="localhost", **settings
    )


def complaints(caplog):
    """What the log says of peers that never became clients."""
    own = ("wsrelay.app", "wsrelay.connection", "wsrelay.access")
    return [one for one in caplog.records if one.levelno >= logging.INFO and one.name not in own]


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


# -- what works ------------------------------------------------------------------------------------


def test_http_and_websocket(run_both, tls, trust):
    async def main():
        async with serving(tls) as (_, server), aiohttp.ClientSession() as session:
            assert server.url == f"https://127.0.0.1:{server.port}"
            assert server.websocket_url == f"wss://127.0.0.1:{server.port}"
            async with session.get(f"{server.url}/", ssl=trust) as answer:
                url = f"{server.url}/"
                assert await answer.json() == {"scheme": "https", "url": url, "client": None}
            async with session.ws_connect(f"{server.url}/echo", ssl=trust, max_msg_size=0) as one:
                async with connect(server, trust, origin=server.url) as other:
                    for data in ("x", "y" * MIB, bytes(MIB)):
                        await other.send(data)
                        assert await other.recv() == data
                    await one.send_bytes(bytes(MIB))
                    assert (await one.receive()).data == bytes(MIB)
                assert other.close_code == 1000

    run_both(main())


def test_two_hundred_connections(run_both, tls, trust):
    async def main():
        async with serving(tls) as (app, server):

            async def one(number):
                async with connect(server, trust, compression=None) as client:
                    await client.send(str(number))
                    assert await client.recv() == str(number)
                    open_now.append(number)
                    if len(open_now) == 200:
                        all_open.set()
                    await all_open.wait()

            open_now, all_open = [], asyncio.Event()
            await asyncio.gather(*map(one, range(200)))
            await until(lambda: not [one for one in app.processes() if one.entry == "websocket"])

    run_both(main())


def test_an_own_server_with_tls_is_https_too(run_both, tls, trust):
    async def main():
        app = make_app(None)
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(tls.cert, tls.key)
        loop = asyncio.get_running_loop()
        async with app:
            factory = app.protocol_factory()
            async with (
                await loop.create_server(factory, "127.0.0.1", 0, ssl=own) as listener,
                aiohttp.ClientSession() as session,  # ends first: the server waits for its clients
            ):
                port = listener.sockets[0].getsockname()[1]
                async with session.get(f"https://127.0.0.1:{port}/", ssl=trust) as answer:
                    assert (await answer.json())["scheme"] == "https"

    run_both(main())


def test_over_a_unix_socket(run_both, tls, trust, tmp_path):
    async def main():
        async with serving(tls, addr=f"unix:{tmp_path}/s") as (_, server):
            assert server.url == server.websocket_url == f"unix:{tmp_path}/s"
            async with websockets.unix_connect(
                f"{tmp_path}/s", "wss://localhost/echo", ssl=trust
            ) as client:
                await client.send("x")
                assert await client.recv() == "x"

    run_both(main())


def test_files_that_can_not_serve(run, tls, tmp_path):
    async def main():
        missing = replace(tls, key=tmp_path / "none")
        with pytest.raises(ConfigError) as raised:
            async with serving(missing):
                raise AssertionError("it listens")
        assert str(raised.value) == (
            f'http.service "app:gateway": tls.key: "{tmp_path}/none" can\'t be read: '
            "No such file or directory"
        )

    run(main())


# -- certificates of clients -----------------------------------------------------------------------


def test_the_certificate_of_a_client(run_both, tls, folder):
    authority, ann = (pair_in(folder, name) for name in ("authority", "ann"))
    knows = client_context(pair_in(folder, "server"), ann)

    async def main():
        mutual = replace(tls, client_ca=authority.cert, client_auth="")
        assert mutual.client_auth == "required"
        async with serving(mutual) as (_, server), connect(server, knows, "/greet") as client:
            assert await client.recv() == '{"user":"ann"}'

    run_both(main())


@pytest.mark.parametrize("shown", [None, "other"])
def test_a_client_without_a_good_one_is_refused(run_both, tls, folder, caplog, shown):
    authority = pair_in(folder, "authority")
    own = None if shown is None else pair_in(folder, shown)
    stranger = client_context(pair_in(folder, "server"), own)

    async def main():
        mutual = replace(tls, client_ca=authority.cert, client_auth="required")
        async with serving(mutual) as (_, server):
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                reader, writer = await stream(server, stranger)  # of TLS 1.3 this end is done here
                try:
                    await reader.readexactly(1)
                finally:
                    writer.transport.abort()
            assert server.state.accepted == 0

    run_both(main())
    assert complaints(caplog) == []


def test_an_optional_certificate(run_both, tls, folder, trust):
    authority, ann = (pair_in(folder, name) for name in ("authority", "ann"))
    knows = client_context(pair_in(folder, "server"), ann)

    async def main():
        either = replace(tls, client_ca=authority.cert, client_auth="optional")
        async with serving(either) as (_, server), aiohttp.ClientSession() as session:
            for context, name in ((trust, None), (knows, "ann")):
                async with session.get(f"{server.url}/", ssl=context) as answer:
                    assert (await answer.json())["client"] == name
                    answer.close()  # the next one shakes hands anew

    run_both(main())


# -- bad peers -------------------------------------------------------------------------------------


def test_what_is_no_tls_is_closed_without_a_word_in_the_log(run_both, tls, trust, caplog):
    caplog.set_level(logging.INFO)

    async def main():
        async with serving(tls) as (_, server):

            async def bad(data, end):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(data)
                if end:
                    writer.write_eof()
                await asyncio.gather(reader.read(), return_exceptions=True)
                writer.close()

            peers = [(GET, False), (b"\x16\x03\x01\x02\x00\x01", True), (b"", True)] * 20
            peers += [(bytes(1000), False), (b"\xff" * 1000, False)] * 20
            await asyncio.gather(*(bad(*peer) for peer in peers))
            with pytest.raises(ssl.SSLCertVerificationError):
                await stream(server, ssl.create_default_context())
            reader, writer = await stream(server, trust)
            raw = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
            raw.send(b"no record of TLS")  # into a good connection
            raw.close()
            await asyncio.gather(reader.read(), return_exceptions=True)
            writer.transport.abort()
            await until(lambda: not server.state.connections)
            async with connect(server, trust) as client:
                await client.send("x")
                assert await client.recv() == "x"

    run_both(main())
    assert complaints(caplog) == []


def test_a_silent_peer_is_closed(run_both, tls):
    async def main():
        async with serving(tls, timeouts=Timeouts(header=0.05)) as (_, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await asyncio.gather(reader.read(), return_exceptions=True)
            writer.close()
            assert server.state.accepted == 0

    run_both(main())


def test_a_handshake_that_ends_after_the_app(run_both, tls, trust):
    """Its connection was accepted before; nobody is left to serve it."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(tls) as (_, server):
            late = socket.create_connection(("127.0.0.1", server.port))
            late.setblocking(False)
            async with connect(server, trust):  # so the server has seen the other one as well
                pass
        reader, writer = await asyncio.open_connection(
            sock=late, ssl=trust, server_hostname="localhost"
        )
        writer.write(GET)
        [end] = await asyncio.gather(reader.read(), return_exceptions=True)
        assert end == b"" or isinstance(end, (ConnectionError, ssl.SSLError))
        writer.transport.abort()
        await until(lambda: not server.state.connections)
        assert server.state.requests == 1 and loop.is_running()

    run_both(main())


def test_a_peer_that_does_not_answer_the_end_is_cut_off(run_both, tls, trust):
    async def main():
        async with serving(tls) as (_, server):
            clock = server.state.clock = Clock()
            _, writer = await stream(server, trust)
            writer.write(GET)
            await until(lambda: server.state.requests)
            writer.transport.pause_reading()  # it sees no close_notify
            for seconds in (75, 2):  # the idle time, then that of the end
                assert server.state.connections
                clock.now += seconds
                server.state.sweep()
            await until(lambda: not server.state.connections)
            writer.transport.abort()

    run_both(main())


@pytest.mark.parametrize("reads", [True, False])
def test_a_slow_reader_of_a_large_response(run_both, tls, trust, reads):
    """What the transport below TLS holds can't be seen: it has the idle time to read it."""

    async def main():
        async with serving(tls) as (_, server):
            clock = server.state.clock = Clock()
            reader, writer = await stream(server, trust, limit=1024)
            writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: server.state.requests)
            for _ in range(10):
                clock.now += 7
                server.state.sweep()
                await asyncio.sleep(0)
            assert server.state.connections
            if reads:
                assert len(await reader.read()) > 8 * MIB
            else:
                clock.now += 10
                server.state.sweep()
            await until(lambda: not server.state.connections)
            writer.transport.abort()

    run_both(main())


def test_a_slow_reader_of_a_stream(run_both, tls, trust):
    """It is as large as all of its pieces, each of which the kernel may well have taken."""

    async def main():
        async with serving(tls) as (_, server):
            clock = server.state.clock = Clock()
            for listening in server.sockets:  # the kernel does not take all
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            small = socket.socket()
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            small.setblocking(False)
            await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", server.port))
            reader, writer = await asyncio.open_connection(
                sock=small, ssl=trust, server_hostname="localhost", limit=1024
            )
            writer.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: server.state.requests and not server.state.tasks)
            for _ in range(10):
                clock.now += 7
                server.state.sweep()
                await asyncio.sleep(0)
            assert (await reader.read()).endswith(b"0\r\n\r\n")
            await until(lambda: not server.state.connections)
            writer.transport.abort()

    run_both(main())


# -- reload ----------------------------------------------------------------------------------------


@pytest.fixture
def renewable(folder, tmp_path):
    """Files in use, of which `server` is the first."""
    files = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    pair_in(folder, "server").copy_to(files)
    return files


async def shown_by(server):
    """The certificate of a new handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await stream(server, context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(certificate)


def test_a_renewed_certificate(run_both, folder, renewable, trust, caplog):
    caplog.set_level(logging.INFO, "wsrelay.app")
    first, second = (pair_in(folder, name).cert.read_text() for name in ("server", "other"))

    async def main():
        tls = TLS(cert=renewable.cert, key=renewable.key)
        async with serving(tls) as (app, server), connect(server, trust) as client:
            pair_in(folder, "other").copy_to(renewable)
            assert await shown_by(server) == first
            app.reload_certificates()
            assert await shown_by(server) == second
            shutil.copy(pair_in(folder, "ann").key, renewable.key)
            with pytest.raises(ConfigError, match=r"tls\.key: .* is not the key of "):
                app.reload_certificates()
            assert await shown_by(server) == second
            await client.send("still here")
            assert await client.recv() == "still here"

    run_both(main())
    lines = [record.getMessage() for record in caplog.records if "certificate" in record.msg]
    assert lines == ["new certificate of app:gateway in use"]


def test_a_renewed_authority_of_clients(run_both, tls, folder, tmp_path):
    ann = client_context(pair_in(folder, "server"), pair_in(folder, "ann"))
    trusted = tmp_path / "trusted.pem"
    shutil.copy(pair_in(folder, "authority").cert, trusted)

    async def main():
        async with serving(replace(tls, client_ca=trusted, client_auth="")) as (app, server):
            async with connect(server, ann) as client:
                shutil.copy(pair_in(folder, "other").cert, trusted)
                app.reload_certificates()
                await client.send("still here")
                assert await client.recv() == "still here"
            with pytest.raises((OSError, websockets.InvalidHandshake, EOFError)):
                await connect(server, ann)

    run_both(main())


def test_one_service_of_several_is_broken(run, folder, renewable, tls):
    second = pair_in(folder, "other").cert.read_text()

    async def main():
        app = App()
        app.service("broken", tls=TLS(cert=renewable.cert, key=renewable.key))
        app.service("plain")
        app.service("good", tls=replace(tls, cert=folder / "c.pem", key=folder / "k.pem"))
        pair_in(folder, "server").copy_to(Pair(folder / "c.pem", folder / "k.pem"))
        async with app.running() as servers:
            pair_in(folder, "other").copy_to(Pair(folder / "c.pem", folder / "k.pem"))
            renewable.cert.unlink()
            with pytest.raises(ConfigError) as raised:
                app.reload_certificates()
            assert str(raised.value).startswith('http.service "app:broken": tls.cert: ')
            assert await shown_by(servers.named("good")) == second

    run(main())
