"""Accepting pauses at the limit of connections, or of descriptors, and goes on by itself."""

import asyncio
import contextlib
import os
import resource
import socket
from contextlib import asynccontextmanager

import pytest
import websockets
from certificates import tls_contexts

from wsrelay import App, listener, process, relay_to
from wsrelay.http import Limits
from wsrelay.listener import RESERVE, Listener, descriptors_run_out

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(listener, "RETRY", 0.001)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


class Client:
    """A connection that asks when it is told; `answered` tells whether it got an answer."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.answered = False

    @classmethod
    async def open(cls, port, path=None):
        if path is not None:
            return cls(*await asyncio.open_unix_connection(path))
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self):
        self.writer.write(GET)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        await self.reader.readexactly(2)
        self.answered = True

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def silent():
    await asyncio.Event().wait()


@asynccontextmanager
async def site(limit=0, addr="127.0.0.1:0"):
    """A running server with a limit of connections: `/` says ok, `/ws` relays."""
    app = App()
    app.service(limits=Limits(connections=limit))
    router = app.router(
        "",
        post_middleware=["websocket_relay"],
        post_options={"wsrelay.allowed.origins": "*"},
    )
    router.get("/")(lambda request: "ok")
    router.get("/ws")(lambda request: relay_to(process.spawn(silent)))
    async with app.running(addr) as server:
        yield server


def test_over_the_limit_clients_wait_for_their_turn(run_everywhere, caplog):
    async def main():
        async with site(2) as server:
            first, second = [await Client.open(server.port) for _ in range(2)]
            await until(lambda: server.state.open_connections == 2)
            third, fourth = [await Client.open(server.port) for _ in range(2)]
            waiting = [asyncio.create_task(one.ask()) for one in (third, fourth)]
            await second.ask()
            await first.ask()
            assert server.state.accepted == 2
            assert not third.answered and not fourth.answered
            await first.close()
            await until(lambda: third.answered or fourth.answered)
            await second.ask()
            assert server.state.accepted == 3
            await second.close()
            await asyncio.gather(*waiting)
            for one in (third, fourth):
                await one.close()
            await until(lambda: server._listener.accepting)
            await until(lambda: not server.state.open_connections)

    run_everywhere(main())
    (record,) = [one for one in caplog.records if one.name == "wsrelay.server"]
    assert record.getMessage() == (
        "app:gateway accepts no more connections for now: limits.connections is 2"
    )


def test_a_websocket_is_a_connection_too(run_everywhere):
    async def main():
        async with site(1) as server:
            url = f"ws://127.0.0.1:{server.port}/ws"
            async with websockets.connect(url):
                assert server.state.open_connections == 1
                waiting = await Client.open(server.port)
                asked = asyncio.create_task(waiting.ask())
                await until(lambda: not server._listener.accepting)
                for _ in range(20):
                    await asyncio.sleep(0.001)
                assert server.state.accepted == 1
            await asked
            await waiting.close()

    run_everywhere(main())


def test_a_storm_is_served_to_the_last(run_everywhere):
    async def main():
        most = 0
        async with site(5) as server:
            opened = server.state.opened

            def watch(connection):
                nonlocal most
                opened(connection)
                most = max(most, server.state.open_connections)

            server.state.opened = watch

            async def visit():
                client = await Client.open(server.port)
                await client.ask()
                await client.close()

            await asyncio.gather(*(visit() for _ in range(100)))
            assert most == 5
            assert server.state.accepted == 100

    run_everywhere(main())


def test_up_to_the_limit_nobody_waits(run_everywhere, caplog):
    """Also of those that come at once, none counts twice on its way in."""

    async def main():
        async with site(20) as server:
            clients = await asyncio.gather(*(Client.open(server.port) for _ in range(20)))
            await asyncio.gather(*(one.ask() for one in clients))
            assert server.state.accepted == 20 and server._listener.accepting
            for one in clients:
                await one.close()

    run_everywhere(main())
    assert not caplog.records


def lowest_free():
    """The lowest descriptor that is free."""
    with open(os.devnull) as file:
        return file.fileno()


@contextlib.contextmanager
def descriptors(count):
    """So many are left beyond the reserve."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free() + RESERVE + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_reserve_of_descriptors_is_kept(run_everywhere, caplog):
    """Ours are those of the clients, too: each connection takes two here."""

    async def main():
        async with site() as server:
            with descriptors(20):
                clients = [await Client.open(server.port) for _ in range(12)]
                await until(lambda: not server._listener.accepting)
                with contextlib.ExitStack() as files:  # the application has what it needs
                    for _ in range(8):
                        files.enter_context(open(os.devnull))
                accepted = server.state.accepted
                assert 0 < accepted < 12
                for one in clients[:accepted]:
                    await one.ask()
                for one in clients[:accepted]:
                    await one.close()
                for one in clients[accepted:]:
                    await one.ask()
                    await one.close()
                await until(lambda: server._listener.accepting)

    run_everywhere(main())
    (record,) = caplog.records
    assert "ulimit -n" in record.getMessage()


def test_when_descriptors_run_out(monkeypatch):
    with socket.socket() as sock:
        free = lowest_free()
        for limit, out in (
            (free + RESERVE, True),
            (free + RESERVE + 1, False),
            (resource.RLIM_INFINITY, False),
        ):
            monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
            assert descriptors_run_out(sock) is out
            assert descriptors_run_out(sock, max(0, free - RESERVE)) is out

        def no_more(_):
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(os, "dup", no_more)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (10**6, 10**6))
        assert descriptors_run_out(sock)
        assert descriptors_run_out(sock, 10**6 - 2 * RESERVE)
        assert not descriptors_run_out(sock, 10**6 - 2 * RESERVE - 1)


def test_a_unix_socket_keeps_its_file(run_everywhere, tmp_path):
    async def main():
        path = str(tmp_path / "s")
        async with site(1, f"unix:{path}") as server:
            first = await Client.open(0, path)
            await first.ask()
            second = await Client.open(0, path)
            await until(lambda: not server._listener.accepting)
            await first.close()
            await second.ask()
            await second.close()
            await until(lambda: server._listener.accepting)
            third = await Client.open(0, path)
            await third.ask()
            await third.close()
        with pytest.raises(FileNotFoundError):
            await Client.open(0, path)

    run_everywhere(main())


def test_all_its_sockets_pause_and_go_on(run_everywhere):
    async def main():
        async with site(1, ":0") as server:

            async def open_at(sock):
                host = "::1" if sock.family == socket.AF_INET6 else "127.0.0.1"
                return Client(*await asyncio.open_connection(host, sock.getsockname()[1]))

            first = await open_at(server.sockets[0])
            await first.ask()
            others = [await open_at(sock) for sock in server.sockets]
            await until(lambda: not server._listener.accepting)
            await first.ask()
            assert server.state.accepted == 1
            await first.close()
            for one in others:  # in turn, as each is closed behind the other
                asked = asyncio.create_task(one.ask())
                asked.add_done_callback(lambda _, one=one: one.writer.close())
            await until(lambda: all(one.answered for one in others))
            assert server.state.accepted == 1 + len(others)

    run_everywhere(main())


def test_a_server_that_stops_in_a_pause(run_everywhere):
    async def main():
        async with site(1) as server:
            port = server.port
            client = await Client.open(port)
            await client.ask()
            waiting = await Client.open(port)
        assert await client.reader.read() == b""
        with contextlib.suppress(ConnectionError):
            assert await waiting.reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await Client.open(port)
        for one in (client, waiting):
            await one.close()

    run_everywhere(main())


class Sockets:
    """A listening socket that fails as a test says."""

    def __init__(self, sock, *errors):
        self.sock, self.errors = sock, list(errors)

    def _accept(self):
        if self.errors:
            raise self.errors.pop(0)
        return self.sock._accept()

    def __getattr__(self, name):
        return getattr(self.sock, name)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(24, "Too many open files"), ["Too many open files"]),
        (OSError(105, "No buffer space available"), ["No buffer space available"]),
        (ConnectionAbortedError(), []),
        (InterruptedError(), []),
    ],
)
def test_an_accept_that_fails(run_everywhere, caplog, error, told):
    class Hello(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"hello")
            transport.close()

    async def main():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            made = Listener("it", [Sockets(sock, error)], lambda *_: Hello(), lambda _: None)
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            assert await reader.read() == b"hello"
            writer.close()
            await until(lambda: not made.connecting)
            made.close()
            assert not made.sockets and not made.accepting

    run_everywhere(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "wsrelay.server"]
    assert len(lines) == len(told)
    assert all(text in line for text, line in zip(told, lines, strict=True))


def test_sockets_that_can_t_listen_are_closed(run):
    async def main():
        with socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            one.bind(("127.0.0.1", 0))
            with pytest.raises(OSError):
                Listener("it", [one, other], lambda *_: asyncio.Protocol(), lambda _: None)
            assert one.fileno() == other.fileno() == -1

    run(main())


def test_a_connection_that_fails_is_no_more_than_a_line(run_everywhere, tmp_path, caplog):
    """A TLS handshake, say; while it is under way it counts as connecting."""
    caplog.set_level("DEBUG", "wsrelay.server")
    server_context, _ = tls_contexts(tmp_path)

    async def main():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            made = Listener(
                "it",
                [sock],
                lambda *_: asyncio.Protocol(),
                lambda _: None,
                ssl=server_context,
            )
            _, writer = await asyncio.open_connection(*sock.getsockname())
            await until(lambda: len(made.connecting) == 1)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: not made.connecting)
            writer.close()
            made.close()

    run_everywhere(main())
    (record,) = [one for one in caplog.records if one.name == "wsrelay.server"]
    assert record.getMessage().startswith("it: a connection failed: SSL")


def test_the_highest_descriptor_counts_not_the_last(run_everywhere):
    """One that fills a hole tells nothing of the end of the table."""
    accepted, asked = [], []

    def protocol(sock, _):
        accepted.append(sock.fileno())
        return asyncio.Protocol()

    def why_full(highest):
        asked.append(highest)

    async def main():
        accepted.clear()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            made = Listener("it", [sock], protocol, why_full)

            async def connect():
                count = len(accepted) + 1
                _, writer = await asyncio.open_connection(*sock.getsockname())
                await until(lambda: len(accepted) == count)
                return writer

            first, second = await connect(), await connect()
            first.close()
            await first.wait_closed()
            hole = min(accepted)
            await until(lambda: lowest_free() <= hole)
            third = await connect()
            assert accepted[-1] < max(accepted)
            fourth = await connect()
            assert max(accepted[:-1]) in asked and asked[-2] == max(accepted[:-1])
            for writer in (second, third, fourth):
                writer.close()
            made.close()

    run_everywhere(main())
