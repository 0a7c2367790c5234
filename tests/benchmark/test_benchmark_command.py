"""The command: its options, what it writes, and an OS process of its own against wsrelay."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from commands import PATIENCE, environment, finish
from websockets.sync.server import Server, ServerConnection, serve

from wsrelay.benchmark import works
from wsrelay.benchmark.report import as_json, time
from wsrelay.benchmark.target import parse_target
from wsrelay.benchmark.works import WORKS, Plan, Result
from wsrelay.cli import main

SHORT = ("-t", "0.05", "-c", "2")


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server: Server
    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/a"
        server.shutdown()
        thread.join()


def test_json(url: str) -> None:
    done = finish("bench", url, *SHORT, "--in-flight", "2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["url"], told["mode"], told["connections"]) == (url, "echo", 2)
    assert (told["in_flight"], told["size"]) == (2, 64)
    assert sum(row["count"] for row in told["histogram"]) >= 4
    assert 0 < told["latency_us"]["p50"] <= told["latency_us"]["p99"] <= told["latency_us"]["max"]


@pytest.mark.parametrize(
    ("mode", "lines"),
    [
        ("echo", ["echo: 2 connections, 1 in flight each, 64 bytes of text", "a second"]),
        ("idle", ["idle: 2 connections, ", "2 pongs, each compared byte for byte"]),
    ],
)
def test_for_people(url: str, mode: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = CliRunner().invoke(main, ["bench", url, *SHORT, "--mode", mode])
    assert (done.exit_code, done.stderr) == (0, "")
    wanted = [*lines, "p99.9", "handshake", " … ", "%)"]
    assert [text for text in wanted if text not in done.stdout] == []


def test_without_rich_json_is_left(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    done = CliRunner().invoke(main, ["bench", url, *SHORT])
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "Error: the table needs rich: pip install 'wsrelay[bench]', or take --json ("
    )
    assert CliRunner().invoke(main, ["bench", url, *SHORT, "--json"]).exit_code == 0


def test_a_server_that_fails_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = CliRunner().invoke(main, ["bench", f"ws://127.0.0.1:{port}", *SHORT])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: connection 0: 127.0.0.1:{port}: connection refused or reset; does the server run, "
        "and listen at this port?\n"
    )


def test_the_timeout_is_also_for_the_last_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []
    monkeypatch.setattr(works, "run", lambda plan: plans.append(plan) or Result(plan))
    done = CliRunner().invoke(main, ["bench", "ws://localhost/", "--timeout", "3", "--json"])
    assert done.exit_code == 0
    assert [(plan.timeout, plan.patience) for plan in plans] == [(3.0, 3.0)]


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["http://localhost/"], 2, "did you mean ws://localhost/?"),
        (["ws://192.0.2.1/"], 1, "say so with --remote"),
        (["ws://localhost/", "--mode", "fan-out", "-c", "1"], 2, "a sender and a receiver"),
        (["ws://localhost/", "-c", "20001"], 2, "20001 is not in the range"),
        (["ws://localhost/", "-t", "601"], 2, "601.0 is not in the range"),
        (
            ["ws://localhost/", "-c", "1000", "--size", "1000000"],
            2,
            "1000 messages of 1000000 bytes would be under way at a time, more than 256 MiB",
        ),
        (["ws://localhost/", "-H", "Origin"], 2, "must be 'Name: value'"),
        (["wss://127.0.0.1/", "--ca", "/nothing/here", "--json"], 1, "--ca /nothing/here: No such"),
        ([], 2, "Missing argument 'URL'"),
    ],
)
def test_a_wrong_call(args: list[str], status: int, told: str) -> None:
    done = CliRunner().invoke(main, ["bench", *args])
    assert done.exit_code == status
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_each_mode_is_known() -> None:
    assert list(WORKS) == ["echo", "fan-out", "idle"]


def test_a_command_that_was_the_limit_is_told() -> None:
    plan = Plan(parse_target("ws://localhost/"))
    busy, idle = Result(plan, seconds=1.0, cpu=0.95), Result(plan, seconds=1.0, cpu=0.5)
    assert [as_json(one)["client_was_limit"] for one in (busy, idle)] == [True, False]


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0.5, "500 ns"), (2, "2 µs"), (5000, "5 ms"), (1e6, "1 s")]
)
def test_times_for_people(microseconds: float, text: str) -> None:
    assert time(microseconds) == text


def test_other_commands_do_not_pay_for_it() -> None:
    code = "import sys, wsrelay.cli; print([m for m in sys.modules if m in sys.argv[1:]])"
    modules = ["rich", "wsrelay.benchmark.works", "wsrelay.benchmark.report"]
    done = subprocess.run(
        [sys.executable, "-c", code, *modules],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "[]\n"
