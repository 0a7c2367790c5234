"""The load generator against servers that are right, and against each way of being wrong."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_servers import HangUp, Reply, Server, at, one_shot, work

from bench import load, pump, wire

# --- a server that is right -------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("size", [16, 64, 126, 70_000])
def test_every_message_is_sent_and_counted_once(in_flight: int, size: int) -> None:
    with Server() as server:
        result = load.run(server.port, work(in_flight=in_flight, size=size, max_messages=24))
    assert result.messages == len(server.messages) == 24
    assert {len(text) for text in server.messages} == {size}
    assert result.rate == pytest.approx(result.messages / result.seconds)


def test_messages_in_flight_differ_from_each_other() -> None:
    with Server() as server:
        load.run(server.port, work(connections=1, max_messages=4 * wire.TURNS))
    assert len(set(server.messages)) == len(server.messages) == 4 * wire.TURNS


def test_messages_of_connections_differ_from_each_other() -> None:
    windows = [window for number in range(300) for window in wire.windows(number, 20, 16, False)]
    replies = [window.reply[at : at + 18] for window in windows for at in range(0, 20 * 18, 18)]
    assert len(set(replies)) == len(replies) == 300 * wire.TURNS * 20


def test_replies_may_come_byte_by_byte() -> None:
    with Server(at_a_time=1) as server:
        assert load.run(server.port, work(max_messages=24)).messages == 24


def test_the_warm_up_is_not_counted() -> None:
    with Server() as server:
        result = load.run(server.port, work(warmup=5.0))
    assert result.messages == 120
    assert len(server.messages) == 240


def test_windows_in_flight_when_the_warm_up_ends_are_not_disturbed() -> None:
    with Server() as server:
        result = load.run(server.port, work(warmup=0.05, seconds=0.05, max_messages=10**9))
    assert 0 < result.messages < len(server.messages)


def test_a_window_larger_than_the_socket_takes_is_sent_in_parts() -> None:
    with Server() as server:
        large = work(connections=2, in_flight=16, size=400_000, max_messages=32, patience=5.0)
        assert load.run(server.port, large).messages == 32


def test_time_ends_a_round() -> None:
    with Server() as server:
        begun = time.monotonic()
        result = load.run(server.port, work(seconds=0.2, max_messages=10**9))
        took = time.monotonic() - begun
    assert 0.2 <= result.seconds < took < 2.0
    assert 0 < result.messages <= len(server.messages)


def test_latencies_are_ordered() -> None:
    with Server() as server:
        result = load.run(server.port, work())
    p50, p90, p99, highest = (result.latency_us[name] for name in ("p50", "p90", "p99", "max"))
    assert 0 < p50 <= p90 <= p99 <= highest < 5e6


# --- servers that are wrong -------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 31, 63])
@pytest.mark.parametrize("number", [1, 4, 5, 40])
def test_one_wrong_byte_is_found(number: int, place: int) -> None:
    def spoil(text: str) -> list[str]:
        return [text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]]

    with Server(at(number, spoil)) as server, pytest.raises(load.WrongReply, match="connection"):
        load.run(server.port, work())


def test_swapped_replies_are_found() -> None:
    held: list[str] = []

    def swap(number: int, text: str) -> list[str]:
        held.append(text)
        return [] if number % 2 else [held.pop(), held.pop()]

    with Server(swap) as server, pytest.raises(load.WrongReply):
        load.run(server.port, work(connections=1))


def test_a_reply_of_an_earlier_window_is_found() -> None:
    seen: list[str] = []

    def repeat(number: int, text: str) -> list[str]:
        seen.append(text)
        return [seen[0] if number == 5 else text]

    with Server(repeat) as server, pytest.raises(load.WrongReply):
        load.run(server.port, work(connections=1))


def test_a_reply_for_another_connection_is_found() -> None:
    first: list[str] = []

    def cross(number: int, text: str) -> list[str]:
        first.append(text)
        return [first[0]]

    with Server(cross) as server, pytest.raises(load.WrongReply):
        load.run(server.port, work(in_flight=1, connections=2))


@pytest.mark.parametrize("number", [1, 4, 20, 40])
def test_a_reply_too_many_is_found(number: int) -> None:
    with Server(at(number, lambda text: [text, text])) as server, pytest.raises(load.WrongReply):
        load.run(server.port, work())


@pytest.mark.parametrize("number", [1, 40])
def test_a_byte_too_many_is_found(number: int) -> None:
    with (
        Server(at(number, lambda text: [text, b"\0"])) as server,
        pytest.raises(load.WrongReply),
    ):
        load.run(server.port, work(in_flight=1))


def test_bytes_for_a_connection_that_rests_are_found() -> None:
    first = threading.Lock()
    rests, both_sent = threading.Event(), threading.Event()

    def answer(number: int, text: str) -> Iterator[Reply]:
        if first.acquire(blocking=False):
            yield text
            rests.wait(5)
            yield wire.server_frame(wire.TEXT, text.encode())[:10]
            both_sent.set()
        else:
            both_sent.wait(5)  # the load generator still waits for this connection
            yield text

    with Server(answer) as server:
        two = load.Load(server.port, work(connections=2, in_flight=1, max_messages=2, patience=5))
        two.start()
        while two.waiting > 1:
            two.serve(0.01)
        rests.set()
        with pytest.raises(load.WrongReply, match="expected nothing"):
            two.finish()
        two.abort()


def test_an_answer_before_its_request_is_whole_is_found() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n"
    one = work(connections=1, in_flight=16, size=400_000, patience=5.0)
    first = wire.windows(0, one.in_flight, one.size, raw=False)[1].reply
    with (
        one_shot(head % wire.accept_token(load.KEY), then=first) as port,
        pytest.raises(load.WrongReply),
    ):
        load.run(port, one)


@pytest.mark.parametrize("number", [1, 40])
def test_a_missing_reply_is_found(number: int) -> None:
    with Server(at(number, lambda _: [])) as server, pytest.raises(load.LoadError) as caught:
        load.run(server.port, work(connections=1, in_flight=1, max_messages=40, seconds=0.3))
    assert caught.type is load.MissingReply
    assert "1 of 1 connections" in str(caught.value)


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_closes_is_found(reset: bool) -> None:
    def hang_up(text: str) -> list[str]:
        raise HangUp

    server = Server(at(10, hang_up))
    server.reset = reset
    with server, pytest.raises(load.ServerClosed):
        load.run(server.port, work())


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 101 Switching",
        b"",
    ],
)
def test_a_refused_handshake_is_found(reply: bytes) -> None:
    with one_shot(reply) as port, pytest.raises(load.HandshakeFailed):
        load.run(port, work(connections=1))


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            load.run(taken.getsockname()[1], work())


@pytest.mark.parametrize(
    "wrong", [{"size": 15}, {"connections": 0}, {"in_flight": 0}, {"seconds": 0}]
)
def test_a_senseless_workload_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        work(**wrong)


# --- its parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("ns", [0, 1, 63, 64, 127, 128, 1000, 123_456, 10**9, 2**62, 2**63 - 1])
def test_buckets_hold_what_they_say(ns: int) -> None:
    index = pump.library().bucket_of(ns)
    low, high = pump.bucket_floor(index), pump.bucket_floor(index + 1)
    assert low <= ns < high
    assert high - low <= max(1, low / 64)
    assert index < pump.BUCKETS


def test_percentiles_are_nearest_rank() -> None:
    counts = [0] * 128
    counts[10], counts[20], counts[30] = 50, 49, 1
    found = [pump.percentile(counts, share) for share in (0.5, 0.51, 0.99, 1.0)]
    assert found == [0.01, 0.02, 0.02, 0.03]
    assert pump.percentile([0] * 128, 0.5) == 0.0


def command_line(port: int, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the load generator as a program."""
    root = Path(load.__file__).parents[1]
    command = [sys.executable, "-m", "bench.load", str(port), "--warmup", "0", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_as_a_program_it_prints_json() -> None:
    with Server() as server:
        ended = command_line(server.port, "--connections", "2", "--max-messages", "10")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["messages"] == 10
    assert 0 < result["load_cpu"] < 1.05


def test_as_a_program_it_tells_what_was_wrong() -> None:
    with Server(at(1, lambda text: [text.upper(), "x"])) as server:
        ended = command_line(server.port, "--connections", "1", "--max-messages", "10")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("WrongReply: connection 0: got ")
