"""Listening on a UNIX socket: whose file it is, and clients that come through it."""

import errno
import os
import socket
import stat

import aiohttp
import pytest
import websockets

from wsrelay import App, process, relay_to
from wsrelay.config import parse_address
from wsrelay.unix_socket import SocketFile


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


async def echo():
    async for message in process.inbox():
        if message.topic == "ws.message":
            process.send(message.sender, "ws.send", message.payload)


def make_app():
    app = App()
    router = app.router("", post_middleware=["websocket_relay"])

    @router.get("/")
    def facts(request):
        return {"client": request.client, "url": request.url}

    @router.get("/echo")
    def connect(request):
        return relay_to(process.spawn(echo))

    return app


def listener(path):
    """A server that listens; closed, it leaves its file behind."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    return server


# -- clients ---------------------------------------------------------------------------------------


def test_clients_of_two_libraries(run_both, path):
    async def main():
        connector = aiohttp.UnixConnector(path)
        async with (
            make_app().running(f"unix:{path}") as server,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            assert server.url == server.websocket_url == f"unix:{path}"
            with pytest.raises(RuntimeError, match="app:gateway listens on no port"):
                assert server.port
            async with session.get("http://app.example/") as answer:
                assert await answer.json() == {"client": None, "url": "http://app.example/"}
            async with session.ws_connect("http://app.example/echo") as client:
                await client.send_str("x")
                assert (await client.receive()).data == "x"
            async with websockets.unix_connect(path, "ws://app.example/echo") as client:
                await client.send(b"y")
                assert await client.recv() == b"y"

    run_both(main())
    assert not os.path.lexists(path)


@pytest.mark.parametrize(
    ("origin", "status"), [("https://app.example", 101), ("https://evil.example", 403)]
)
def test_the_origin_is_compared_with_the_host(run_both, path, origin, status):
    """There is no port and no address; a proxy in front passes `Host` on."""

    async def main():
        async with make_app().running(f"unix:{path}"):
            opening = websockets.unix_connect(path, "ws://app.example/echo", origin=origin)
            if status == 101:
                async with opening:
                    return
            with pytest.raises(websockets.InvalidStatus) as raised:
                await opening
            assert raised.value.response.status_code == status

    run_both(main())


# -- the file --------------------------------------------------------------------------------------


def test_what_a_dead_server_left_is_removed(run_both, path):
    listener(path).close()
    assert stat.S_ISSOCK(os.stat(path).st_mode)

    async def main():
        async with (
            make_app().running(f"unix:{path}"),
            websockets.unix_connect(path, "ws://x/echo"),
        ):
            pass

    run_both(main())


def test_a_living_server_keeps_its_file(run_both, path):
    async def main():
        async with make_app().running(f"unix:{path}"):
            with pytest.raises(OSError) as raised:
                async with make_app().running(f"unix:{path}"):
                    raise AssertionError("it took the file")
            assert raised.value.errno == errno.EADDRINUSE
            assert raised.value.strerror == (
                f"cannot listen on unix:{path}: Address already in use"
            )
            async with websockets.unix_connect(path, "ws://x/echo"):
                pass

    run_both(main())


def test_a_busy_server_lives_as_well(path):
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(path)
        server.listen(0)
        waiting.connect(path)  # now the backlog is full
        with pytest.raises(OSError) as raised:
            SocketFile(path)
        assert raised.value.errno == errno.EADDRINUSE


def test_a_file_that_is_no_socket_stays(run_both, path):
    with open(path, "w") as file:
        file.write("precious")

    async def main():
        with pytest.raises(OSError) as raised:
            async with make_app().running(f"unix:{path}"):
                raise AssertionError("it listens")
        assert raised.value.strerror == (
            f"cannot listen on unix:{path}: a file that is no socket is in the way"
        )

    run_both(main())
    with open(path) as file:
        assert file.read() == "precious"


def test_a_link_is_no_socket(path, tmp_path):
    listener(f"{tmp_path}/other").close()
    os.symlink(f"{tmp_path}/other", path)
    with pytest.raises(OSError, match="a file that is no socket is in the way"):
        SocketFile(path)


def test_the_file_of_a_successor_stays(run_both, path):
    async def main():
        async with make_app().running(f"unix:{path}"):
            os.unlink(path)
            return listener(path)

    successor = run_both(main())
    assert os.path.lexists(path)
    successor.close()


def test_a_file_that_is_gone_is_no_trouble(run_both, path):
    async def main():
        async with make_app().running(f"unix:{path}"):
            os.unlink(path)

    run_both(main())


@pytest.mark.parametrize("umask", [0o077, 0o007])
def test_who_may_connect_is_the_umask_s_to_say(path, umask):
    before = os.umask(umask)
    try:
        file = SocketFile(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777 & ~umask
    file.socket.close()
    file.remove()
    assert not os.path.lexists(path)


def test_no_folder(run_both, path):
    async def main():
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}/s: No such file"):
            async with make_app().running(f"unix:{path}/s"):
                raise AssertionError("it listens")

    run_both(main())


def test_the_longest_path(tmp_path):
    longest = str(tmp_path / "x")
    longest += "x" * (107 - len(longest))
    assert parse_address(f"unix:{longest}").path == longest
    file = SocketFile(longest)
    file.socket.close()
    file.remove()
    with pytest.raises(ValueError, match="has 108 bytes; the path of a UNIX socket has at most"):
        parse_address(f"unix:{longest}x")
