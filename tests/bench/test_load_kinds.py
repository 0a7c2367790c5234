"""The other kinds of load: a fixed rate, one to all, whole sessions; servers right and wrong."""

import contextlib
import socket
import threading
from collections.abc import Iterable

import pytest
from bench_servers import HangUp, Reply, Server, at, one_shot, work
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from bench import load, wire
from bench.load import WrongReply

# --- a fixed rate -----------------------------------------------------------------------------


def paced(**changes: float | str) -> load.Workload:
    """Make a tiny workload at a fixed rate."""
    return work(**{"kind": "paced", "rate": 2000.0, "in_flight": 1, "max_messages": 60, **changes})


def test_at_a_fixed_rate_every_message_is_sent_once() -> None:
    with Server() as server:
        result = load.run(server.port, paced())
    assert result.messages == len(server.messages) == 60
    assert result.seconds >= 59 / 2000  # the last one is not due earlier
    assert result.late_us is not None
    assert 0 <= result.late_us["p50"] <= result.late_us["max"]


def test_a_late_message_counts_from_when_it_was_due() -> None:
    held = threading.Event()

    def hold_the_first(number: int, text: str) -> Iterable[Reply]:
        if number == 1:
            held.wait(0.2)
        return [text]

    with Server(hold_the_first) as server:
        result = load.run(server.port, paced(connections=1, rate=200.0, max_messages=10))
    # The tenth message was due 45 ms after the first, whose answer came after 200 ms.
    assert result.messages == 10
    assert result.latency_us["p50"] > 150_000
    assert result.latency_us["max"] >= 200_000 * 63 / 64


def test_connections_take_turns() -> None:
    order: list[int] = []

    def note(number: int, text: str) -> list[str]:
        order.append(int(text.split()[0].split(".")[2], 16))
        return [text]

    with Server(note) as server:
        load.run(server.port, paced(max_messages=3))
    assert sorted(order) == [0, 1, 2]


def test_who_sends_together_is_due_at_once() -> None:
    """Each alone, only the first would be within the round."""
    together = paced(connections=6, together=6, rate=0.5, max_messages=6, seconds=1.0)
    with Server() as server:
        assert load.run(server.port, together).messages == 6


def test_some_send_together_in_turn() -> None:
    order: list[int] = []

    def note(number: int, text: str) -> list[str]:
        order.append(int(text.split()[0].split(".")[2], 16))
        return [text]

    with Server(note) as server:
        result = load.run(server.port, paced(connections=6, together=3, rate=60.0, max_messages=12))
    assert result.seconds >= 3 * 3 / 60  # four times three
    turns = [set(order[at : at + 3]) for at in range(0, 12, 3)]
    assert turns == [{0, 1, 2}, {3, 4, 5}] * 2


def test_at_a_fixed_rate_a_wrong_byte_is_found() -> None:
    with Server(at(5, lambda text: [text.upper() + "!"])) as server, pytest.raises(WrongReply):
        load.run(server.port, paced())


def test_at_a_fixed_rate_a_missing_reply_is_found() -> None:
    with Server(at(3, lambda _: [])) as server, pytest.raises(load.MissingReply):
        load.run(server.port, paced(seconds=0.2))


# --- one message to all -----------------------------------------------------------------------


class Room(Server):
    """Sends every message to all connections; `faults` are (message, receiver) and what to send."""

    def __init__(self) -> None:
        super().__init__()
        self.members: list[tuple[socket.socket, WSConnection]] = []
        self.faults: dict[tuple[int, int], bytes] = {}

    def _talk(self, sock: socket.socket) -> None:
        connection = WSConnection(ConnectionType.SERVER)
        while data := sock.recv(65536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, Request):
                    self.members.append((sock, connection))
                    sock.sendall(connection.send(AcceptConnection()))
                elif isinstance(event, TextMessage):
                    self.messages.append(event.data)
                    self._tell_all(event.data)
                elif isinstance(event, CloseConnection):
                    sock.sendall(connection.send(event.response()))
                    return

    def _tell_all(self, text: str) -> None:
        for receiver, (sock, _) in enumerate(self.members):
            frame = wire.server_frame(wire.TEXT, text.encode())
            with contextlib.suppress(OSError):
                sock.sendall(self.faults.get((len(self.messages), receiver), frame))


def fan(**changes: float | str) -> load.Workload:
    """Make a tiny workload of one to all."""
    return work(**{"kind": "fan", "in_flight": 1, "connections": 5, "max_messages": 40, **changes})


@pytest.mark.parametrize("size", [64, 5000])
def test_every_message_reaches_all(size: int) -> None:
    with Room() as server:
        result = load.run(server.port, fan(size=size))
    assert result.messages == 40
    assert len(server.messages) == 8
    assert len(set(server.messages)) == wire.TURNS
    assert 0 < result.latency_us["p50"] <= result.latency_us["max"]


def test_a_message_to_all_has_one_latency_that_of_the_last_receiver() -> None:
    with Room() as server:
        one = load.Load(server.port, fan())
        one.start()
        one.serve(5.0)
        measured = one.measured()
        one.finish()
        one.abort()
    assert measured.messages == 40
    assert sum(measured.latencies) == 8


def test_time_ends_a_round_of_one_to_all() -> None:
    with Room() as server:
        result = load.run(server.port, fan(warmup=0.05, seconds=0.05, max_messages=10**9))
    assert 0 < result.messages < 5 * len(server.messages)


@pytest.mark.parametrize("message", [1, 8])
@pytest.mark.parametrize("receiver", [0, 4])
def test_one_receiver_that_gets_something_else_is_found(message: int, receiver: int) -> None:
    server = Room()
    server.faults[message, receiver] = wire.server_frame(wire.TEXT, b"x" * 64)
    with server, pytest.raises(WrongReply, match=f"connection {receiver}: "):
        load.run(server.port, fan())


def test_one_receiver_that_gets_it_twice_is_found() -> None:
    server = Room()
    server.faults[8, 2] = b""  # the last message is missing at one, so that the round does not end
    server.faults[7, 3] = wire.server_frame(wire.TEXT, b"y" * 64) * 2
    with server, pytest.raises(WrongReply, match="connection 3: "):
        load.run(server.port, fan())


def test_one_receiver_that_gets_nothing_is_found() -> None:
    server = Room()
    server.faults[8, 2] = b""
    with server, pytest.raises(load.MissingReply, match="1 of 5 connections"):
        load.run(server.port, fan(seconds=0.3))


def test_text_with_accents_is_valid_utf8_of_the_size_that_was_asked() -> None:
    for size in range(16, 80):
        text = wire.payload_of(size, 3, 2, 1, accents=True)
        assert len(text) == size
        assert not text.decode().isascii()


# --- sessions ---------------------------------------------------------------------------------


def sessions(**changes: float | str) -> load.Workload:
    """Make a tiny workload of whole sessions."""
    return work(**{"kind": "session", "in_flight": 1, "max_messages": 24, **changes})


@pytest.mark.parametrize("at_a_time", [1, 1 << 20])
def test_every_session_is_gone_through_once(at_a_time: int) -> None:
    with Server(at_a_time=at_a_time) as server:
        result = load.run(server.port, sessions())
    assert result.messages == len(server.messages) == 24
    assert len(set(server.messages)) == 3 * wire.TURNS
    assert 0 < result.latency_us["p50"] <= result.latency_us["max"]


def test_time_ends_a_round_of_sessions() -> None:
    with Server() as server:
        result = load.run(server.port, sessions(warmup=0.05, seconds=0.05, max_messages=10**9))
    assert 0 < result.messages < len(server.messages)


def test_a_wrong_echo_of_a_session_is_found() -> None:
    with (
        Server(at(1, lambda text: [text[:-1] + "!"])) as server,
        pytest.raises(WrongReply, match="waiting for the echo: got "),
    ):
        load.run(server.port, sessions())


def test_a_reply_too_many_in_a_session_is_found() -> None:
    with Server(at(1, lambda text: [text, text])) as server, pytest.raises(WrongReply):
        load.run(server.port, sessions())


def test_an_echo_that_does_not_come_is_found() -> None:
    with (
        Server(at(1, lambda _: [])) as server,
        pytest.raises(load.MissingReply, match=r"not over .*waiting for the echo"),
    ):
        load.run(server.port, sessions(seconds=0.2))


def test_a_server_that_closes_in_a_session_is_found() -> None:
    def hang_up(_text: str) -> list[Reply]:
        raise HangUp

    with Server(at(1, hang_up)) as server, pytest.raises(load.ServerClosed, match="session"):
        load.run(server.port, sessions())


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye"])
def test_a_close_frame_may_have_no_code_or_a_reason(payload: bytes) -> None:
    server = Server()
    server.close_answer = wire.server_frame(wire.CLOSE, payload)
    with server:
        assert load.run(server.port, sessions(max_messages=3)).messages == 3


@pytest.mark.parametrize(
    "answer",
    [
        wire.server_frame(wire.CLOSE, b"\x03\xf3"),  # 1011
        wire.server_frame(wire.CLOSE, b"x"),  # half a code
        wire.server_frame(wire.CLOSE, b"\x03\xe8") + b"\0",
        wire.server_frame(wire.TEXT, b"more"),
    ],
)
def test_a_wrong_close_frame_is_found(answer: bytes) -> None:
    server = Server()
    server.close_answer = answer
    with server, pytest.raises(WrongReply, match="closing: got "):
        load.run(server.port, sessions())


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 101 " + b"x" * 5000,
    ],
)
def test_a_refused_handshake_of_a_session_is_found(reply: bytes) -> None:
    with one_shot(reply) as port, pytest.raises(WrongReply, match="in the handshake"):
        load.run(port, sessions(connections=1))


def test_nobody_listens_for_sessions() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError, match="connecting"):
            load.run(taken.getsockname()[1], sessions())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"kind": "flood"}, "kind must be one of echo, paced, fan, session"),
        ({"kind": "paced"}, "rate must be positive"),
        ({"connections": 10, "together": 3}, "connections must be a multiple of together"),
        ({"kind": "fan", "in_flight": 2}, "in_flight of fan must be 1"),
        ({"kind": "session", "in_flight": 1, "raw": True}, "must not be raw"),
    ],
)
def test_a_senseless_kind_is_refused(wrong: dict[str, float | str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        work(**wrong)
