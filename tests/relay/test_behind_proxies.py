"""A relay behind proxies: origins, and limits for each client."""

import asyncio

import pytest
import websockets
from relay_helpers import ANY_ORIGIN, ask, handshake_bytes, refused, until

from wsrelay import App, Response, process, relay_to

PER_IP = {**ANY_ORIGIN, "wsrelay.connections.per_ip": "1"}


async def silent():
    await asyncio.Event().wait()


class Site:
    """A running App; `/ws` relays, and keeps the requests that its handler saw."""

    def __init__(self, service, **router):
        self.app = App()
        self.app.service(**service)
        router.setdefault("post_options", ANY_ORIGIN)
        self.requests = []
        routes = self.app.router(
            "",
            post_middleware=["real_ip"] * router.pop("real_ip", False) + ["websocket_relay"],
            **router,
        )
        routes.get("/ws")(self.connect)
        self.running = self.app.running()

    def connect(self, request):
        self.requests.append(request)
        return relay_to(process.spawn(silent))

    async def __aenter__(self):
        self.port = (await self.running.__aenter__()).port
        return self

    async def __aexit__(self, *error):
        return await self.running.__aexit__(*error)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"

    def dial(self, **headers):
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return websockets.connect(self.url, additional_headers=fields)


def test_a_page_of_the_same_host_behind_a_proxy_that_ends_tls(run_both):
    """The proxy speaks HTTP to us, the page is HTTPS: default ports fold away."""

    async def main():
        service = {"trusted_proxies": ["127.0.0.1"]}
        async with Site(service, post_options={}) as site:
            fields = {
                "Host": "app.example.com",
                "Origin": "https://app.example.com",
                "X_Forwarded_For": "192.0.2.1",
                "X_Forwarded_Proto": "https",
            }
            assert (await ask(site.port, handshake_bytes(**fields))).status == 101
            (request,) = site.requests
            assert request.client == ("192.0.2.1", 0)
            assert request.url == "https://app.example.com/ws"
            # a host that only the proxy's header names is not ours
            fields["Origin"] = "https://evil.example.com"
            fields["X_Forwarded_Host"] = "evil.example.com"
            assert (await ask(site.port, handshake_bytes(**fields))).status == 403

    run_both(main())


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        ({"trusted_proxies": ["127.0.0.0/8"]}, {}),
        ({"trusted_proxies": ["127.0.0.0/8"]}, {"real_ip": True}),
        (
            {},
            {"real_ip": True, "post_options": {**PER_IP, "real_ip.trusted.subnets": "127.0.0.1"}},
        ),
    ],
    ids=["service", "real_ip", "real_ip with subnets of its own"],
)
def test_per_ip_counts_whom_a_trusted_proxy_names(run, service, settings):
    async def main():
        async with Site(service, **{"post_options": PER_IP, **settings}) as site:
            async with (
                site.dial(X_Forwarded_For="192.0.2.1"),
                site.dial(X_Forwarded_For="192.0.2.1, 192.0.2.2"),
                site.dial(X_Forwarded_For="2001:db8:0:1::5"),
                site.dial(X_Forwarded_For="2001:db8:0:2::5"),
            ):
                for again in (
                    "192.0.2.1",
                    # what the client itself put in front does not help
                    "6.6.6.6, 192.0.2.1",
                    "192.0.2.1:1000",
                    "::ffff:192.0.2.1",
                    # the rest of its /64 is the same subscriber's
                    "2001:db8:0:1:ffff::6",
                ):
                    data = handshake_bytes(X_Forwarded_For=again)
                    assert (await ask(site.port, data)).status == 429, again
            assert len(site.requests) == 4
            await until(lambda: len(site.app.processes()) == 4)  # the targets

    run(main())


@pytest.mark.parametrize("service", [{}, {"trusted_proxies": ["10.0.0.0/8", "unix"]}])
@pytest.mark.parametrize("real_ip", [False, True])
def test_a_client_can_not_choose_its_address(run, service, real_ip):
    async def main():
        async with Site(service, post_options=PER_IP, real_ip=real_ip) as site, site.dial():
            for number in range(3):
                data = handshake_bytes(
                    X_Forwarded_For=f"192.0.2.{number}",
                    X_Real_IP=f"192.0.2.{number}",
                    Forwarded=f"for=192.0.2.{number}",
                )
                assert (await ask(site.port, data)).status == 429
            assert site.requests[0].client[0] == "127.0.0.1"

    run(main())


def test_x_real_ip_needs_the_middleware(run):
    async def main():
        service = {"trusted_proxies": ["127.0.0.1"]}
        for real_ip, client in ((False, "192.0.2.2"), (True, "192.0.2.9")):
            async with (
                Site(service, real_ip=real_ip) as site,
                site.dial(X_Real_IP="192.0.2.9", X_Forwarded_For="192.0.2.2"),
            ):
                assert site.requests[0].client[0] == client

    run(main())


def test_a_proxy_of_tcp_in_front(run_both):
    """Per client by the PROXY protocol; frames right behind the handshake are not lost."""

    async def main():
        service = {"trusted_proxies": ["127.0.0.1"], "proxy_protocol": True}
        async with Site(service, post_options=PER_IP) as site:
            line = b"PROXY TCP4 192.0.2.%d 127.0.0.1 9 80\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            closing = bytes([0x88, 0x82, 0, 0, 0, 0, 0x0F, 0xA0])  # 4000
            writer.write(line % 1 + handshake_bytes() + closing)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await reader.read() == bytes([0x88, 2, 0x0F, 0xA0])
            writer.close()
            await until(lambda: len(site.app.processes()) == 1)
            held, holder = await asyncio.open_connection("127.0.0.1", site.port)
            holder.write(line % 2 + handshake_bytes())
            await held.readuntil(b"\r\n\r\n")
            assert (await ask(site.port, line % 2 + handshake_bytes())).status == 429
            assert (await ask(site.port, line % 3 + handshake_bytes())).status == 101
            holder.close()
            assert [one.client[0] for one in site.requests] == [
                *("192.0.2.1", "192.0.2.2", "192.0.2.3")
            ]

    run_both(main())


def test_nginx_on_a_unix_socket(run, tmp_path):
    """The usual case: nobody else can open the socket, and `unix` says so."""

    async def main():
        app = App()
        app.service(trusted_proxies=["unix"])
        seen = []
        router = app.router("", post_middleware=["websocket_relay"], post_options=PER_IP)

        @router.get("/ws")
        def connect(request):
            seen.append((request.peer, request.client, request.scheme))
            return relay_to(process.spawn(silent))

        path = str(tmp_path / "s")
        fields = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}

        def dial():
            return websockets.unix_connect(path, "ws://a/ws", additional_headers=fields)

        async with app.running(f"unix:{path}"), dial():
            with pytest.raises(websockets.InvalidStatus, match="429"):
                async with dial():
                    pass
        assert seen == [("unix", ("192.0.2.1", 0), "https")]

    run(main())


def test_a_malformed_forwarded_is_no_request(run):
    async def main():
        service = {"trusted_proxies": ["127.0.0.1"], "proxy_headers": "forwarded"}
        async with Site(service) as site:
            data = handshake_bytes(Forwarded='for="6.6.6.6, for=192.0.2.1')
            await refused(site, data, 400)
            good = handshake_bytes(Forwarded="for=6.6.6.6, for=192.0.2.1;proto=https")
            assert (await ask(site.port, good)).status == 101
            assert site.requests[0].client == ("192.0.2.1", 0)

    run(main())


def test_plain_requests_see_the_client_too(run):
    async def main():
        app = App()
        app.service(trusted_proxies=["127.0.0.1"])
        router = app.router("", middleware=["real_ip"])

        @router.get("/")
        def who(request):
            return Response(f"{request.client[0]} {request.scheme}".encode())

        async with app.running() as server:
            data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
            answer = await ask(server.port, data)
            assert answer.body == b"192.0.2.1 http"

    run(main())
