"""Who a request comes from, over real sockets: proxies that are trusted, and strangers."""

import asyncio
import contextlib
import socket
import struct
from ipaddress import ip_network

import pytest

from wsrelay.http import HTTPProtocol, Response, ServerState
from wsrelay.http.addresses import TrustedPeers
from wsrelay.http.forwarded import FORWARDED, ProxyHeaders
from wsrelay.http.peer import Peer
from wsrelay.http.proxy_protocol import SIGNATURE
from wsrelay.log import Limited

GET = b"GET / HTTP/1.1\r\nHost: app.example\r\n%b\r\n"
PLAIN = GET % b""
FOR = GET % b"X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
V1 = b"PROXY TCP4 192.0.2.9 127.0.0.1 999 80\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 9, 127, 0, 0, 1]) + b"\x03\xe7\x00\x50"
V2_TLS = (
    SIGNATURE + b"\x21\x11\x00\x14" + bytes([192, 0, 2, 9, 127, 0, 0, 1]) + b"\x03\xe7\x00\x50"
    b"\x20\x00\x05\x01\x00\x00\x00\x00"
)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNKNOWN = b"PROXY UNKNOWN\r\n"


async def tell(request):
    """Whom the request comes from, as the handler sees it."""
    host = request.client[0] if request.client else None
    return Response(f"{request.peer} {host} {request.scheme}".encode())


def headers(*trusted, kind="x-forwarded"):
    return ProxyHeaders(TrustedPeers(trusted), kind)


LOOPBACK = ip_network("127.0.0.0/8")
ELSEWHERE = ip_network("10.0.0.0/8")


def test_a_trusted_proxy_speaks_for_its_client(run, serve, how):
    async def main():
        async with serve(tell, proxy_headers=headers(LOOPBACK)) as server:
            assert (await server.exchange(FOR, how)).body == b"127.0.0.1 192.0.2.1 https"
            assert (await server.exchange(PLAIN, how)).body == b"127.0.0.1 127.0.0.1 http"

    run(main())


def test_each_request_of_a_connection_has_its_own_client(run, serve):
    async def main():
        async with serve(tell, proxy_headers=headers(LOOPBACK)) as server:
            client = await server.connect()
            await client.send(FOR + PLAIN)
            assert (await client.response()).body == b"127.0.0.1 192.0.2.1 https"
            assert (await client.response()).body == b"127.0.0.1 127.0.0.1 http"

    run(main())


@pytest.mark.parametrize("trusted", [(), (ELSEWHERE,), ("unix",)])
def test_a_stranger_speaks_for_himself(run, serve, trusted):
    async def main():
        fields = b"Forwarded: for=192.0.2.2;proto=https\r\nX-Real-IP: 192.0.2.3\r\n"
        data = FOR[:-2] + fields + b"\r\n"
        for kind in ("x-forwarded", FORWARDED):
            async with serve(tell, proxy_headers=headers(*trusted, kind=kind)) as server:
                assert (await server.exchange(data)).body == b"127.0.0.1 127.0.0.1 http"

    run(main())


def test_forwarded_of_a_trusted_proxy(run, serve):
    async def main():
        async with serve(tell, proxy_headers=headers(LOOPBACK, kind=FORWARDED)) as server:
            good = GET % b'Forwarded: for="[2001:db8::1]:80";proto=https\r\n'
            assert (await server.exchange(good)).body == b"127.0.0.1 2001:db8::1 https"
            bad = GET % b'Forwarded: for="6.6.6.6, for=192.0.2.1\r\n'
            client = await server.connect()
            await client.send(bad + PLAIN)
            answer = await client.response()
            assert (answer.status, answer.body) == (400, b"Malformed Forwarded")
            assert await client.rest() == b""

    run(main())


@pytest.mark.parametrize(("trusted", "client"), [(("unix",), "192.0.2.1"), ((LOOPBACK,), "None")])
def test_a_proxy_on_a_unix_socket(run, tmp_path, trusted, client):
    async def main():
        state = ServerState(proxy_headers=headers(*trusted))
        path = str(tmp_path / "s")
        loop = asyncio.get_running_loop()
        listener = await loop.create_unix_server(lambda: HTTPProtocol(tell, state), path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(FOR)
        await reader.readuntil(b"\r\n\r\n")
        scheme = "https" if client != "None" else "http"
        assert await reader.readexactly(len(f"unix {client} {scheme}")) == (
            f"unix {client} {scheme}".encode()
        )
        writer.close()
        await writer.wait_closed()
        listener.close()
        await state.wait_closed()

    run(main())


def test_a_peer_that_is_gone_already_is_nobody():
    """A TCP peer without an address must not pass for one on a Unix socket."""
    state = ServerState(proxy_headers=headers("unix", LOOPBACK))
    with socket.socket() as sock:
        for extra in ({"peername": None, "socket": sock}, {}):
            peer = Peer(asyncio.BaseTransport(extra), state)
            assert (peer.address, peer.client, peer.is_trusted) == (None, None, False)


def test_ipv4_through_a_socket_for_both_families():
    state = ServerState(proxy_headers=headers(LOOPBACK))
    peer = Peer(asyncio.BaseTransport({"peername": ("::ffff:127.0.0.1", 5, 0, 0)}), state)
    assert (peer.address, peer.client, peer.is_trusted) == ("127.0.0.1", ("127.0.0.1", 5), True)


# -- the PROXY protocol ----------------------------------------------------------------------------


def proxied(*trusted):
    return {"proxy_headers": headers(*trusted), "proxy_protocol": True}


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (V1, b"192.0.2.9 192.0.2.9 http"),
        (V2, b"192.0.2.9 192.0.2.9 http"),
        (V2_TLS, b"192.0.2.9 192.0.2.9 https"),
        # the proxy speaks for itself, and its headers are its own
        (LOCAL, b"127.0.0.1 192.0.2.1 https"),
        # nobody knows who it is: what it says is not believed
        (UNKNOWN, b"None 127.0.0.1 http"),
    ],
)
def test_a_proxy_header_names_the_other_side(run, serve, how, start, seen):
    async def main():
        async with serve(tell, **proxied(LOOPBACK)) as server:
            client = await server.connect()
            await client.send(start + FOR, how)
            assert (await client.response()).body == seen
            await client.send(FOR, how)  # once for the connection, not for each request
            assert (await client.response()).body == seen

    run(main())


def test_a_trusted_proxy_behind_a_trusted_one(run, serve):
    """A balancer of TCP, and behind it a proxy whose headers count."""

    async def main():
        async with serve(tell, **proxied(LOOPBACK, ip_network("192.0.2.9"))) as server:
            assert (await server.exchange(V1 + FOR)).body == b"192.0.2.9 192.0.2.1 https"

    run(main())


@pytest.mark.parametrize(
    "data", [PLAIN, b"PROXY TCP4 1.1.1.1\r\n" + PLAIN, SIGNATURE + b"\x31" + PLAIN, b"\x16\x03\x01"]
)
def test_a_trusted_proxy_without_a_good_header_is_cut_off(run, serve, caplog, data):
    async def main():
        called = []
        async with serve(called.append, name="app:front", **proxied(LOOPBACK)) as server:
            client = await server.connect()
            await client.send(data)
            assert await client.rest() == b""
            assert not called

    run(main())
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("app:front: connection of 127.0.0.1 closed: ")
    assert message.isprintable()


@pytest.mark.parametrize("start", [V1, V2, LOCAL, UNKNOWN])
def test_a_stranger_s_header_is_no_http(run, serve, how, start):
    async def main():
        async with serve(tell, **proxied(ELSEWHERE)) as server:
            client = await server.connect()
            await client.send(start + PLAIN, how)
            assert (await client.response()).status == 400
            assert await client.rest() == b""
            assert (await server.exchange(PLAIN)).body == b"127.0.0.1 127.0.0.1 http"

    run(main())


def test_without_the_option_it_is_no_http_either(run, serve):
    async def main():
        async with serve(tell, proxy_headers=headers(LOOPBACK)) as server:
            for start in (V1, V2):
                assert (await server.exchange(start + PLAIN)).status == 400

    run(main())


def test_a_second_header_is_no_http(run, serve):
    async def main():
        async with serve(tell, **proxied(LOOPBACK)) as server:
            assert (await server.exchange(V1 + V1 + PLAIN)).status == 400

    run(main())


@pytest.mark.parametrize("data", [b"", V1[:9], V2[:14], V1, V1 + b"GET"])
def test_a_header_that_is_late_or_cut_short(run, serve, data):
    async def main():
        async with serve(tell, **proxied(LOOPBACK)) as server:
            slow, gone = await server.connect(), await server.connect()
            await slow.send(data)
            await gone.send(data)
            gone.writer.write_eof()
            assert await gone.rest() == b""
            await server.until(lambda: len(server.state.connections) == 1)
            await server.pass_time(11)
            expected = b"HTTP/1.1 408" if data.endswith(b"GET") else b""
            assert (await slow.rest())[:12] == expected

    run(main())


def test_an_idle_connection_ends_with_the_server(run, serve):
    async def main():
        async with serve(tell, **proxied(LOOPBACK)) as server:
            client = await server.connect()
            await server.until(lambda: server.state.accepted)
            server.state.drain()
            assert await client.rest() == b""

    run(main())


def test_a_flood_of_bad_headers_is_logged_a_few_times(run, serve, caplog):
    async def main():
        async with serve(tell, **proxied(LOOPBACK)) as server:
            server.state.warnings = Limited(most=3, clock=lambda: 0.0)
            for _ in range(20):
                client = await server.connect()
                await client.send(b"x")
                assert await client.rest() == b""
                await client.close()

    run(main())
    assert len(caplog.records) == 3


def test_a_proxy_that_resets_at_once(run, serve):
    async def main():
        async with serve(tell, **proxied(LOOPBACK)) as server:
            for _ in range(20):
                sock = socket.create_connection(("127.0.0.1", server.port))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(ConnectionError):
                    sock.send(V1[:5])
                sock.close()
            assert (await server.exchange(V1 + PLAIN)).status == 200
            await server.until(lambda: len(server.state.connections) <= 1)

    run(main())
