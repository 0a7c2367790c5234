"""What runs once for each request: HTTP parse, handshake check, route, relay command."""

from typing import Any

import pytest

from wsrelay import Request, relay_to
from wsrelay.http import Dispatcher, Limits, Router
from wsrelay.http.handshake import check_opening
from wsrelay.http.head import read_head
from wsrelay.relay_command import RELAY_HEADER, read_header

Benchmark = Any  # the fixture of pytest-benchmark, which has no types

SHORT = [
    ("Host", "localhost:8080"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]
BROWSER = [
    *SHORT,
    ("Origin", "http://localhost:8080"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
]


def head_of(fields: list[tuple[str, str]]) -> bytes:
    """Make the head of a handshake."""
    lines = ["GET /ws/rooms/lobby?user=ann HTTP/1.1", *(f"{k}: {v}" for k, v in fields), "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("fields", [SHORT, BROWSER], ids=["5 headers", "13 headers"])
def test_http_head_parsed(benchmark: Benchmark, fields: list[tuple[str, str]]) -> None:
    head = benchmark(read_head, head_of(fields), Limits())
    assert head.method == "GET"
    assert len(head.headers.raw) == len(fields)


def test_handshake_checked(benchmark: Benchmark) -> None:
    request = Request("GET", "/ws", BROWSER)
    assert benchmark(check_opening, request).accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_router_match_among_many(benchmark: Benchmark) -> None:
    router = Router("/api")
    for number in range(200):
        router.add("GET", f"/things{number}/{{id}}/parts/{{part}}", lambda request: "other")
    router.add("GET", "/rooms/{name}/lines/{line}", lambda request: dict(request.path_params))
    dispatcher = Dispatcher([router])
    response = benchmark(
        lambda: dispatcher.dispatch_sync(Request("GET", "/api/rooms/lobby/lines/7"))
    )
    assert response.body == b'{"name":"lobby","line":"7"}'


def test_relay_header_written(benchmark: Benchmark) -> None:
    response = benchmark(
        relay_to, "{app:processes|0x1f}", metadata={"user": "ann"}, heartbeat_interval="30s"
    )
    assert RELAY_HEADER in response.headers


def test_relay_header_read(benchmark: Benchmark) -> None:
    header = (
        b'{"target_pid":"{app:processes|0x1f}","message_topic":"chat","heartbeat_interval":"30s",'
        b'"metadata":{"user":"ann","rooms":["lobby"]}}'
    )
    command = benchmark(read_header, [header])
    assert (command.topic, command.heartbeat) == ("chat", 30.0)
