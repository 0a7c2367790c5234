"""Echo, fan-out and idle against servers that are right, and against ways of being wrong."""

import asyncio
import errno
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from certificates import self_signed
from load_servers import load, plan_for, raw_server, server, switching
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from wsrelay import App, process, relay_to
from wsrelay.benchmark.errors import BenchmarkError
from wsrelay.benchmark.works import measure, why_not
from wsrelay_core import FrameCodec

Message = str | bytes
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Echo:
    """A handler that sends back what `change` makes of a message; it keeps what came."""

    def __init__(self, change: Callable[[int, Message], list[Message]] | None = None) -> None:
        self.change = change or (lambda number, message: [message])
        self.got: list[Message] = []
        self.paths: set[str] = set()
        self.origins: set[str | None] = set()

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.add(connection.request.path)
        self.origins.add(connection.request.headers.get("Origin"))
        number = 0
        async for message in connection:
            self.got.append(message)
            for reply in self.change(number, message):
                await connection.send(reply)
            number += 1


# -- echo ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("size", "in_flight"), [(1, 1), (64, 5), (70_000, 2)])
def test_echo(run_both: Run, size: int, in_flight: int, binary: bool) -> None:
    async def main() -> None:
        echo = Echo()
        async with server(echo) as port:
            result = await load(port, size=size, in_flight=in_flight, binary=binary)
        assert result.sent == len(echo.got) >= 3 * in_flight
        assert result.latencies.count == result.sent  # each reply was compared, the late ones too
        assert 0 <= result.messages <= result.sent
        assert result.handshakes.count == 3
        assert {(type(one), len(one)) for one in echo.got} == {(bytes if binary else str, size)}
        assert echo.paths == {"/path?q"}

    run_both(main())


def test_messages_differ_from_each_other(run: Run) -> None:
    async def main() -> None:
        echo = Echo()
        async with server(echo) as port:
            await load(port, in_flight=8)
        assert len(set(echo.got)) == len(echo.got)

    run(main())


def test_headers_are_sent(run: Run) -> None:
    async def main() -> None:
        echo = Echo()
        async with server(echo) as port:
            await load(port, headers=("Origin: http://a.example",))
        assert echo.origins == {"http://a.example"}

    run(main())


def spoiled(number: int, message: Message) -> list[Message]:
    return [message[:-1] + "y"] if number == 2 else [message]  # type: ignore[operator]


def swapped(number: int, message: Message) -> list[Message]:
    held.append(message)
    return [] if number % 2 == 0 else [held.pop(), held.pop()]


held: list[Message] = []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            spoiled,
            r'^connection 0: the server sent back "x{10}y" instead of "x{11}" \(from 53 on\)$',
        ),
        (swapped, r'sent back "1.0 x+\.{3}" instead of "0.0 x+\.{3}" \(from 0 on\)'),
        (lambda number, message: [message, message], "sent back .* instead of|a reply too many"),
        (lambda number, message: [message.encode()], "sent back .*, binary instead of text$"),
        (lambda number, message: [message * 1000], "no WebSocket frame .1009"),
    ],
    ids=["a byte", "order", "twice", "kind", "too long"],
)
def test_a_wrong_reply_is_told(
    run_both: Run, change: Callable[[int, Message], list[Message]], told: str
) -> None:
    async def main() -> None:
        held.clear()
        async with server(Echo(change)) as port:
            with pytest.raises(BenchmarkError, match=told):
                await load(port, connections=1, in_flight=2, seconds=5.0)

    run_both(main())


def test_missing_replies_are_counted(run_both: Run) -> None:
    async def main() -> None:
        async with server(Echo(lambda number, message: [])) as port:
            with pytest.raises(
                BenchmarkError, match=r"^after 0\.05 s some replies are missing: 6$"
            ):
                await load(port, in_flight=2, patience=0.05)

    run_both(main())


async def closing(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.close(1011, "no\nmore")


async def dropping(connection: ServerConnection) -> None:
    await connection.recv()
    connection.transport.close()


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (closing, r"the server closed the connection with 1011 no\\nmore$"),
        (dropping, "the server closed the connection without a closing handshake"),
    ],
)
def test_a_server_that_ends_a_connection(
    run_both: Run, handler: Callable[[ServerConnection], None], told: str
) -> None:
    async def main() -> None:
        async with server(handler) as port:  # type: ignore[arg-type]
            with pytest.raises(BenchmarkError, match=told):
                await load(port, seconds=5.0)

    run_both(main())


def test_pings_of_the_server_are_answered(run_both: Run) -> None:
    async def pinging(connection: ServerConnection) -> None:
        await (await connection.ping(b"12345678"))
        answered.append(1)
        await Echo()(connection)

    answered: list[int] = []

    async def main() -> None:
        async with server(pinging) as port:
            await load(port)
        assert len(answered) == 3

    run_both(main())


# -- fan-out ---------------------------------------------------------------------------------------


Change = Callable[[str], list[str]]


class Room:
    """A handler that sends each message to all connections."""

    def __init__(
        self, to_sender: bool = True, left_out: int = -1, change: Change | None = None
    ) -> None:
        self.to_sender, self.left_out = to_sender, left_out
        self.change = change or (lambda message: [message])  # for all but the sender
        self.members: list[ServerConnection] = []
        self.got: list[Message] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.members.append(connection)
        try:
            async for message in connection:
                self.got.append(message)
                for number, one in enumerate(self.members):
                    if one is connection:
                        broadcast([one] if self.to_sender else [], message)
                    elif number != self.left_out:
                        for changed in self.change(message):
                            broadcast([one], changed)
        except ConnectionClosed:
            return


@pytest.mark.parametrize("to_sender", [True, False])
def test_fan_out(run_both: Run, to_sender: bool) -> None:
    async def main() -> None:
        room = Room(to_sender)
        async with server(room) as port:
            result = await load(port, work="fan-out", connections=4)
        assert result.sent == len(room.got) == len(set(room.got)) >= 1
        assert result.latencies.count == 3 * result.sent

    run_both(main())


@pytest.mark.parametrize(
    ("room", "told"),
    [
        (
            # The one that is left out keeps the next message back.
            lambda: Room(left_out=2, change=lambda message: [message, message]),
            "connection [13]: the server sent a message twice",
        ),
        (
            lambda: Room(change=lambda message: [message[:-1] + "y"]),
            r'connection [123]: the server sent "x{10}y" instead of "x{11}" .*; fan-out needs',
        ),
        (lambda: Room(left_out=2), r"^after 0\.5 s some copies of a message are missing: 1$"),
        (Echo, r"^after 0\.5 s some copies of a message are missing: 3$"),
        (lambda: Echo(lambda number, message: ["other"]), "sent the sender what it had not sent"),
    ],
    ids=["twice", "a byte", "one left out", "echo", "other"],
)
def test_a_wrong_fan_out_is_told(run: Run, room: Callable[[], Room | Echo], told: str) -> None:
    async def main() -> None:
        async with server(room()) as port:
            with pytest.raises(BenchmarkError, match=told):
                await load(port, work="fan-out", connections=4, patience=0.5)

    run(main())


# -- idle ------------------------------------------------------------------------------------------


def test_idle(run_both: Run) -> None:
    async def main() -> None:
        echo = Echo()
        async with server(echo) as port:
            result = await load(port, work="idle", connections=5)
        assert result.messages == result.latencies.count == result.sent == 5
        assert echo.got == []

    run_both(main())


@pytest.mark.parametrize("pong", [b"", b"another"])
def test_a_server_without_the_right_pong(run_both: Run, pong: bytes) -> None:
    def reply(data: bytes) -> bytes:
        return FrameCodec().encode_frame(10, pong) if pong else b""

    async def main() -> None:
        async with raw_server(switching, reply) as port:
            with pytest.raises(
                BenchmarkError, match=r"^3 of 3 connections answered no ping within"
            ):
                await load(port, work="idle", patience=0.1)

    run_both(main())


def test_a_message_that_nobody_asked_for(run_both: Run) -> None:
    def talkative(head: bytes) -> bytes:
        return switching(head) + FrameCodec().encode_message("hello")

    async def main() -> None:
        async with raw_server(talkative) as port:
            with pytest.raises(BenchmarkError, match='sent what nobody asked for: "hello"'):
                await load(port, work="idle", seconds=5.0)

    run_both(main())


# -- opening ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            lambda head: b"HTTP/1.1 404 Not\x1bFound\r\n\r\n",
            r"refuses the handshake with 404 Not\\x1bFound; is the path of the URL right",
        ),
        (
            lambda head: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "refuses the handshake with 403 Forbidden; it may want an origin",
        ),
        (lambda head: b"HTTP/1.1 200 OK\r\n\r\n", "with 200 OK; is there a WebSocket at this path"),
        (lambda head: switching(head, accept=b"x"), "a wrong Sec-WebSocket-Accept"),
        (
            lambda head: switching(head).replace(b"Upgrade: websocket", b"Upgrade: h2c"),
            "without `Upgrade: websocket`",
        ),
        (
            lambda head: switching(head, b"Sec-WebSocket-Extensions: permessage-deflate"),
            "extensions that were not offered",
        ),
        (lambda head: b"SSH-2.0-OpenSSH\r\n\r\n", "does not answer in HTTP"),
        (lambda head: b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "does not answer in HTTP"),
        (lambda head: b"", r"no answer to the handshake within 0\.2 s"),
    ],
)
def test_a_handshake_that_is_answered_wrongly(
    run_both: Run, answer: Callable[[bytes], bytes], told: str
) -> None:
    async def main() -> None:
        async with raw_server(answer) as port:
            with pytest.raises(BenchmarkError, match=f"^connection 0: .*{told}") as caught:
                await load(port, timeout=0.2 if "no answer" in told else 5.0)
        assert str(caught.value).isprintable()

    run_both(main())


def test_an_answer_after_another_informational_one(run_both: Run) -> None:
    def early(head: bytes) -> bytes:
        return b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + switching(head)

    def pong(data: bytes) -> bytes:
        events = FrameCodec().feed(data)
        return b"".join(FrameCodec().encode_frame(10, one) for kind, one in events if kind == 9)

    async def main() -> None:
        async with raw_server(early, pong) as port:
            assert (await load(port, work="idle")).messages == 3

    run_both(main())


def test_nobody_listens(run_both: Run) -> None:
    async def main() -> None:
        async with raw_server(switching) as port:
            pass
        with pytest.raises(BenchmarkError, match=f"^connection 0: 127.0.0.1:{port}: connection re"):
            await load(port)

    run_both(main())


def test_a_later_connection_that_is_refused(run_both: Run) -> None:
    """The others are given up, and nothing is complained of."""
    count = iter(range(100))

    def answer(head: bytes) -> bytes:
        if next(count) == 20:
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        return switching(head)

    async def main() -> None:
        async with raw_server(answer) as port:
            with pytest.raises(BenchmarkError, match="503 Service Unavailable; it is full"):
                await load(port, connections=60)

    run_both(main())


def test_too_many_open_files() -> None:
    assert "ulimit -n" in why_not(OSError(errno.EMFILE, "Too many open files"))


def test_tls(run_both: Run, tmp_path: Path) -> None:
    pair = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    ca = str(pair.cert)

    async def main() -> None:
        echo = Echo()
        async with server(echo, context) as port:
            result = await load(port, scheme="wss", ca=ca)
            assert result.sent == len(echo.got) >= 3
            with pytest.raises(BenchmarkError, match=r"certificate is not trusted .*: --ca"):
                await load(port, scheme="wss")
        async with server(Echo()) as port:
            with pytest.raises(
                BenchmarkError, match=r"does not speak TLS|connection refused or re"
            ):
                await load(port, scheme="wss", ca=ca)

    run_both(main())


# -- wsrelay itself --------------------------------------------------------------------------------


def test_against_wsrelay(run_both: Run) -> None:
    app = App()
    ws = app.router("/path", post_middleware=["websocket_relay"])

    async def echo() -> None:
        async for msg in process.inbox():
            if msg.topic == "ws.message":
                process.send(msg.sender, "ws.send", msg.payload)

    @ws.get("")
    def connect(request: object) -> object:
        return relay_to(process.spawn(echo))

    async def main() -> None:
        async with app.running() as running:
            phases: list[str] = []
            plan = plan_for(running.port, in_flight=3)
            result = await measure(plan, lambda phase, share: phases.append(phase))
            assert result.latencies.count == result.sent >= 9
            assert phases[0] == "connecting"
            assert "echo" in phases
            await asyncio.sleep(0)

    run_both(main())
