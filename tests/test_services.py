"""Several `http.service` entries in one App, in code and in YAML."""

import asyncio
import errno
import socket

import aiohttp
import pytest

from wsrelay import App, process, relay_to
from wsrelay.config import load_text
from wsrelay.http.limits import Limits


def in_code(**addresses):
    app = App()
    app.service("public", addr=addresses.get("public"), limits=Limits(body=3))
    app.service("inside", addr=addresses.get("inside"))
    for name in ("public", "inside"):
        add_routes(app.router("", server=name), name)
    return app


def add_routes(router, name):
    @router.get("/")
    def where(request):
        return name

    @router.post("/")
    async def size(request):
        return {"size": len(await request.body())}


def where_of_public(request):
    return "public"


def where_of_inside(request):
    return "inside"


async def size_of_body(request):
    return {"size": len(await request.body())}


def in_yaml(**addresses):
    lines = ['version: "1.0"', "namespace: app", "entries:"]
    for name, limits in (("public", "{body: 3}"), ("inside", "{}")):
        addr = addresses.get(name) or "127.0.0.1:0"
        lines += [
            f'  - {{name: {name}, kind: http.service, addr: "{addr}", limits: {limits}}}',
            f"  - {{name: r_{name}, kind: http.router, meta: {{server: {name}}}}}",
            f"  - {{name: g_{name}, kind: http.endpoint, meta: {{router: r_{name}}}, "
            f'method: GET, path: /, func: "{__name__}:where_of_{name}"}}',
            f"  - {{name: p_{name}, kind: http.endpoint, meta: {{router: r_{name}}}, "
            f'method: POST, path: /, func: "{__name__}:size_of_body"}}',
        ]
    return App.from_config(load_text("\n".join(lines)))


@pytest.mark.parametrize("make", [in_code, in_yaml])
def test_each_has_its_own_address_routes_and_limits(run_both, make):
    async def main():
        app = make()
        async with app.running() as servers, aiohttp.ClientSession() as session:
            assert [one.service.id for one in servers] == ["app:public", "app:inside"]
            assert len({one.port for one in servers}) == 2
            for name, status in (("public", 413), ("inside", 200)):
                server = servers.named(name)
                assert server is servers.named(f"app:{name}")
                async with session.get(server.url) as answer:
                    assert await answer.text() == name
                async with session.post(server.url, data=b"four") as answer:
                    assert answer.status == status

    run_both(main())


def test_pids_tell_the_service(run_both):
    async def quiet():
        await process.inbox().receive()

    async def main():
        app = App()
        for name in ("public", "inside"):
            app.service(name)
            router = app.router("", server=name, post_middleware=["websocket_relay"])
            router.get("/")(lambda request: relay_to(process.spawn(quiet)))
        async with app.running() as servers, aiohttp.ClientSession() as session:
            for server in servers:
                async with session.ws_connect(server.url):
                    [pid] = [one.pid for one in app.processes() if one.entry == "websocket"]
                    assert pid.startswith(f"{{{server.service.id}|")
                while [one for one in app.processes() if one.entry == "websocket"]:
                    await asyncio.sleep(0)

    run_both(main())


@pytest.mark.parametrize("what", ["port", "url", "websocket_url"])
def test_what_only_one_service_has(run, what):
    async def main():
        async with in_code().running() as servers:
            with pytest.raises(RuntimeError) as raised:
                getattr(servers, what)
            assert str(raised.value) == (
                "several http.services listen, app:public and app:inside: "
                f'take the {what} of one, as in servers.named("app:public").{what}'
            )
            with pytest.raises(LookupError, match=r'no http\.service "x"; there is app:public and'):
                servers.named("x")

    run(main())


@pytest.mark.parametrize("settings", [{"port": 0}, {"addr": "127.0.0.1:0"}])
def test_an_address_for_one_of_them(run, settings):
    async def main():
        with pytest.raises(ValueError, match="there are several: app:public, app:inside"):
            async with in_code().running(**settings):
                raise AssertionError("it listens")

    run(main())


def test_a_declared_address_is_used_and_others_are_free_ports(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with in_code(inside=f"127.0.0.1:{port}").running() as servers:
            assert servers.named("inside").port == port
            assert servers.named("public").port not in (port, 8080)

    run(main())


def test_a_bad_address_is_told_where_it_is_written():
    with pytest.raises(ValueError, match='"8080" has no port'):
        App().service(addr="8080")


@pytest.mark.parametrize("make", [in_code, in_yaml])
def test_one_that_can_not_listen_is_named_and_the_others_stop(run_both, make, tmp_path):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            app = make(public=f"unix:{tmp_path}/s", inside=f"127.0.0.1:{port}")
            async with app:
                with pytest.raises(OSError) as raised:
                    await app.listen()
                assert raised.value.errno == errno.EADDRINUSE
                assert raised.value.strerror == (
                    f"http.service app:inside: cannot listen on 127.0.0.1:{port}: "
                    "Address already in use"
                )
                assert app.servers == []
                assert not (tmp_path / "s").exists()
                taken.close()
                assert len(await app.listen()) == 2  # so nothing of it is in the way

    run_both(main())
