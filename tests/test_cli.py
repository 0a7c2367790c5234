"""The command line: real OS processes, sockets and signals."""

import errno
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from subprocess import CompletedProcess
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from click.testing import CliRunner
from commands import PATIENCE, Command, environment, finish, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wsrelay import App, __version__
from wsrelay.cli import _table, _told, main
from wsrelay.schema import file_schema

YAML = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    addr: ${env:ADDR|127.0.0.1:0}
    timeouts: {shutdown: "${env:SHUTDOWN|10s}"}
  - {name: pages, kind: http.router}
  - {name: hello, kind: http.endpoint, meta: {router: pages}, method: GET, path: /, func: h:hello}
  - {name: sockets, kind: http.router, prefix: /ws, post_middleware: [websocket_relay],
     post_options: {wsrelay.allowed.origins: "https://app.example.com"}}
  - {name: connect, kind: http.endpoint, meta: {router: sockets}, method: GET, path: "/{name}",
     func: h:connect}
  - {name: pool, kind: process.host}
  - {name: echo, kind: process.python, source: h:echo}
  - {name: busy, kind: process.python, source: h:busy}
  - {name: deaf, kind: process.python, source: h:deaf}
  - {name: leave, kind: process.python, source: h:leave}
"""

HANDLERS = """\
import asyncio
import logging
import sys
import time

from wsrelay import process, relay_to


def hello(request):
    return "hello"


def connect(request):
    return relay_to(process.spawn("app:" + request.path_params["name"]))


async def echo():
    async for msg in process.inbox():
        if msg.topic == "ws.message":
            process.send(msg.sender, "ws.send", msg.payload)


async def busy():
    await process.inbox().receive()
    logging.getLogger("test").info("busy")
    while True:
        time.sleep(0.01)


async def deaf():
    await process.inbox().receive()
    logging.getLogger("test").info("deaf")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


async def leave():
    await process.inbox().receive()
    sys.exit(3)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.yaml").write_text(YAML)
    (tmp_path / "h.py").write_text(HANDLERS)
    return tmp_path


@pytest.fixture
def tell(tmp_path, monkeypatch, capsys):
    """A command that only tells something, run in this process: an OS process takes far longer."""

    def call(*args):
        with pytest.raises(SystemExit) as end:
            main(args)
        return CompletedProcess(args, end.value.code, *capsys.readouterr())

    monkeypatch.chdir(tmp_path)
    yield call
    sys.modules.pop("h", None)  # of the folder of this test


def get(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.makefile("rb").read()


HANDSHAKE = (
    b"GET /ws/%b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def silent_client(port: int, process: str) -> socket.socket:
    """A WebSocket client that never answers anything, not even a close frame."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(HANDSHAKE % process.encode() + b"\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
    return client


# -- run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 1001, "server shutting down"),
        (signal.SIGINT, 1001, "server shutting down"),
        (signal.SIGUSR2, 1012, "service restart"),
    ],
)
def test_a_signal_stops_in_order(folder, number, code, reason):
    with serving("run", "app.yaml", cwd=folder) as command:
        with connect(f"ws://127.0.0.1:{command.port}/ws/echo") as client:
            client.send("hello")
            assert client.recv(PATIENCE) == "hello"
            command.signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(PATIENCE)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
        assert command.status() == 0
    log = "\n".join(command.lines)
    assert f"wsrelay.app: {number.name}: stopping" in log
    assert re.search(rf"wsrelay.connection: \{{app:gateway\|0x\w+\}} ended: .*code={code}", log)
    assert "Traceback" not in log


def test_collections_do_not_walk_what_was_imported(folder):
    handler = "\n\ndef hello(request):\n    import gc\n    return str(gc.get_freeze_count())\n"
    with (folder / "h.py").open("a") as file:
        file.write(handler)
    with serving("run", "app.yaml", cwd=folder) as command:
        assert int(get(command.port).rpartition(b"\r\n")[2]) > 10_000


@pytest.mark.parametrize(
    ("options", "own", "threshold"),
    [
        ((), "", b"10000"),
        ((), "gc.set_threshold(20000)", b"20000"),
        (("--gc-threshold", "5000"), "gc.set_threshold(20000)", b"5000"),
        (("--gc-threshold", "0"), "", b"0"),
    ],
)
def test_how_often_garbage_is_collected(folder, options, own, threshold):
    handler = "def hello(request):\n    return str(gc.get_threshold()[0])\n"
    with (folder / "h.py").open("a") as file:
        file.write(f"\n\nimport gc\n{own}\n{handler}")
    with serving("run", "app.yaml", *options, cwd=folder) as command:
        assert get(command.port).rpartition(b"\r\n")[2] == threshold


def test_a_stopping_server_takes_no_new_client(folder):
    with serving("run", "app.yaml", cwd=folder) as command:
        address = ("127.0.0.1", command.port)
        with (
            socket.create_connection(address, PATIENCE) as late,
            silent_client(command.port, "echo"),
        ):
            late.sendall(HANDSHAKE % b"echo")  # all but its end
            assert get(command.port).endswith(b"hello")  # so the server has seen that by now
            command.signal(signal.SIGTERM)
            command.line("draining: 1 connections")
            late.sendall(b"\r\n")
            assert late.recv(4096).startswith(b"HTTP/1.1 503 ")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, PATIENCE)
        assert command.status() == 0


def test_the_shutdown_timeout_bounds_a_stop(folder):
    with (
        serving("run", "app.yaml", cwd=folder, SHUTDOWN="500ms") as command,
        silent_client(command.port, "echo"),
    ):
        begun = time.monotonic()
        command.signal(signal.SIGTERM)
        assert command.status() == 0
        assert time.monotonic() - begun < 4  # the client had five seconds to answer


# The command, that does not give what is left two seconds to end.
HURRIED = """
from wsrelay import lifecycle
from wsrelay.cli import main

assert lifecycle.CLOSE_SECONDS == 2.0
lifecycle.CLOSE_SECONDS = 0.2
main()
"""


def test_a_process_that_ignores_its_end_does_not_hold_the_stop(folder):
    arguments = ("-c", HURRIED, "run", "app.yaml")
    with (
        Command(*arguments, cwd=folder, ADDR="127.0.0.1:0", SHUTDOWN="300ms") as command,
        silent_client(command.listening().port, "deaf"),
    ):
        command.line("INFO    test: deaf")
        command.signal(signal.SIGTERM)
        assert command.status() == 1
    assert any("app:deaf" in line and "did not end" in line for line in command.lines)
    assert "ended by force" in command.lines[-1]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_second_signal_forces_the_end(folder, second):
    with (
        serving("run", "app.yaml", cwd=folder) as command,
        silent_client(command.port, "echo"),
    ):
        command.signal(signal.SIGTERM)
        command.line("SIGTERM: stopping")
        begun = time.monotonic()
        command.signal(second)
        assert command.status() == -second
        assert time.monotonic() - begun < 4  # the client had five seconds to answer
    assert any("ended by force" in line for line in command.lines)


def test_a_second_signal_ends_even_what_never_awaits(folder):
    with (
        serving("run", "app.yaml", cwd=folder) as command,
        silent_client(command.port, "busy"),
    ):
        command.line("INFO    test: busy")
        command.signal(signal.SIGTERM)
        command.signal(signal.SIGINT)
        assert command.status() in (-signal.SIGTERM, -signal.SIGINT)


def test_sys_exit_in_a_process_is_the_exit_status(folder):
    with (
        serving("run", "app.yaml", cwd=folder) as command,
        connect(f"ws://127.0.0.1:{command.port}/ws/leave") as client,
    ):
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE)
        assert command.status() == 3
    assert "Traceback" not in "\n".join(command.lines)


def test_run_in_another_thread_leaves_signals_alone():
    app = App()
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=app.run, kwargs={"port": 0})
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not (app.servers and app.servers[0].sockets):
        assert time.monotonic() < deadline
    assert signal.getsignal(signal.SIGTERM) is before
    app.scheduler.loop.call_soon_threadsafe(app.request_stop)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_port_and_host_replace_those_of_the_file(folder):
    arguments = ("run", "app.yaml", "--host", "127.0.0.2", "--port", "0")
    with serving(*arguments, cwd=folder, ADDR="127.0.0.1:1") as command:
        assert command.lines[-1].endswith(f"listening on http://127.0.0.2:{command.port}")
        with socket.create_connection(("127.0.0.2", command.port), PATIENCE):
            pass


def test_a_unix_socket(folder):
    address = f"unix:{folder}/s"
    with Command("-m", "wsrelay", "run", "app.yaml", cwd=folder, ADDR=address) as command:
        command.line(f"listening on {address}$")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{folder}/s")
            client.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"hello")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    assert not (folder / "s").exists()


def test_the_log_has_one_readable_line_for_each_thing(folder):
    with serving("run", "app.yaml", cwd=folder) as command:
        assert get(command.port).endswith(b"hello")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    form = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    wsrelay\.\w+: \S.*"
    assert [line for line in command.lines if not re.fullmatch(form, line)] == []
    assert re.search(r"wsrelay.access: 127.0.0.1 GET / 200 5B \d+\.\dms$", command.lines[1])
    assert len(command.lines) == 4


def test_the_log_as_json(folder):
    arguments = ("-m", "wsrelay", "run", "app.yaml", "--log-format", "json")
    with Command(*arguments, cwd=folder, ADDR="127.0.0.1:0") as command:
        port = int(command.line(r"listening on http://\S+:(\d+)")[1])
        assert get(port).endswith(b"hello")
        with connect(f"ws://127.0.0.1:{port}/ws/echo?token=secret") as client:
            client.send("hello")
            assert client.recv(PATIENCE) == "hello"
        command.line("client_close")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    lines = [json.loads(line) for line in command.lines]
    assert all(
        list(line)[:4] == ["time", "level", "logger", "message"] and line["level"] == "info"
        for line in lines
    )
    first, second, end = (one for one in lines if one["logger"] != "wsrelay.app")
    assert (first["path"], first["status"], first["bytes"]) == ("/", 200, 5)
    assert (second["path"], second["status"], second["bytes"]) == ("/ws/echo", 101, 0)
    assert (end["logger"], end["path"], end["client"]) == (
        "wsrelay.connection",
        "/ws/echo",
        "127.0.0.1",
    )
    assert (end["record"]["cause"], end["record"]["messages_in"]) == ("client_close", 1)
    assert "secret" not in "\n".join(command.lines)


QUOTING = """\
version: "1.0"
namespace: app
entries:
  - {name: gateway, kind: http.service, addr: "127.0.0.1:0"}
  - {name: r, kind: http.router, post_middleware: [websocket_relay]}
  - {name: quote, kind: http.endpoint, method: GET, path: "/quote/{text}", func: q:quote}
  - {name: connect, kind: http.endpoint, method: GET, path: /connect, func: q:connect}
"""
QUOTER = """\
from wsrelay import process, relay_to


def quote(request):
    raise ValueError(request.path_params["text"])


def connect(request):
    return relay_to(process.spawn(fail))


async def fail():
    async for msg in process.inbox():
        if msg.topic == "ws.message":
            raise ValueError(msg.payload["data"] if isinstance(msg.payload, dict) else msg.payload)
"""
FORGERY = "a\r\n2026-01-01 00:00:00,000 ERROR   forged: x\x1b[31m\u202egnp\u2028\x9b\x7fb"


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_client_sends_forges_no_line(tmp_path, form):
    """In paths, exceptions that quote it, close reasons, and where it is 7 kB long."""
    (tmp_path / "app.yaml").write_text(QUOTING)
    (tmp_path / "q.py").write_text(QUOTER)
    arguments = ("-m", "wsrelay", "run", "app.yaml", "--log-format", form)
    with Command(*arguments, cwd=tmp_path) as command:
        port = int(command.line(r"listening on http://\S+:(\d+)")[1])
        for path in (f"/quote/{quote(FORGERY)}", "/" + "x" * 7000):
            with pytest.raises(HTTPError), urlopen(f"http://127.0.0.1:{port}{path}"):
                pass
        with connect(f"ws://127.0.0.1:{port}/connect") as client:
            client.send(FORGERY)
            with pytest.raises(ConnectionClosed):
                client.recv(PATIENCE)
        with connect(f"ws://127.0.0.1:{port}/connect") as client:
            client.close(1000, FORGERY)
        command.line("ended: client_close")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    log = "\n".join(command.lines)
    assert log.count("forged") >= 4 and "x" * 300 not in log
    assert "".join(command.lines).isprintable()
    if form == "json":
        assert all(json.loads(line)["level"] for line in command.lines)
    else:
        start = re.compile(r"\d{4}-\d\d-\d\d .* (INFO|WARNING|ERROR) +wsrelay\.\w+: |    ")
        assert [line for line in command.lines if not start.match(line)] == []


def test_the_log_without_requests(folder):
    with serving("run", "app.yaml", "--no-access-log", cwd=folder) as command:
        assert get(command.port).endswith(b"hello")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    assert len(command.lines) == 3


def test_the_log_level(folder):
    arguments = ("-m", "wsrelay", "run", "app.yaml", "--log-level", "error")
    with Command(*arguments, cwd=folder, ADDR=f"unix:{folder}/s") as command:
        deadline = time.monotonic() + PATIENCE
        with socket.socket(socket.AF_UNIX) as client:
            while client.connect_ex(f"{folder}/s"):
                assert time.monotonic() < deadline
                time.sleep(0.01)  # the server needs the core to start
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    assert command.lines == []


# -- mistakes --------------------------------------------------------------------------------------


def test_an_address_in_use(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = finish("run", "app.yaml", "--port", str(port), cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "stop the program that has it, or take another port (--port)\n"
    )


def test_a_host_that_is_none(folder):
    done = finish("run", "app.yaml", "--host", "no.such.host.invalid", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot listen on no.such.host.invalid:0: ")
    assert done.stderr.endswith("; take another host (--host)\n")


def test_a_folder_that_takes_no_socket(folder):
    done = finish("run", "app.yaml", cwd=folder, ADDR="unix:/no/such/folder/s")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: cannot listen on unix:/no/such/folder/s: No such file or directory\n"
    )


def test_a_port_without_permission():
    error = OSError(errno.EACCES, "cannot listen on :80: Permission denied")
    assert _told(error) == (
        "cannot listen on :80: Permission denied; "
        "ports below 1024 are for root; take a higher one (--port)"
    )


BROKEN = """\
version: "1.0"
namespace: app
entries:
  - {name: a, kind: http.rooter}
  - {name: b, kind: process.python, source: h:ecko}
"""


BROKEN_LIST = [
    (4, 21, 'entry "a"', 'kind: there is no kind "http.rooter", did you mean "http.router"?'),
    (5, 45, 'process.python "b"', 'source: module "h" has no "ecko", did you mean "echo"?'),
]


@pytest.mark.parametrize("command", ["run", "check", "routes"])
def test_a_broken_file_gives_the_list(folder, command):
    """Of all that is wrong: in the file itself, and in what it names."""
    (folder / "app.yaml").write_text(BROKEN)
    done = finish(command, "app.yaml", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "".join(
            f"app.yaml:{line}:{column}: {entry}: {text}\n"
            for line, column, entry, text in BROKEN_LIST
        )
        + "2 problems in app.yaml; nothing was started\n"
    )


def test_check_as_json(folder, tell):
    (folder / "app.yaml").write_text(BROKEN)
    done = tell("check", "app.yaml", "--format", "json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout) == [
        {
            "file": "app.yaml",
            "line": line,
            "column": column,
            "severity": "error",
            "entry": entry,
            "message": text,
        }
        for line, column, entry, text in BROKEN_LIST
    ]


def test_check_as_json_of_what_is_no_file(tmp_path, tell):
    done = tell("check", "no.yaml", "--format", "json")
    assert (done.returncode, done.stderr) == (2, "")
    (problem,) = json.loads(done.stdout)
    assert problem == {
        "file": "no.yaml",
        "line": None,
        "column": None,
        "severity": "error",
        "entry": None,
        "message": "can't be read: No such file or directory",
    }


def test_check_as_json_of_what_is_right(folder, tell):
    done = tell("check", "app.yaml", "--format", "json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_functions_give_the_list(folder, command):
    (folder / "app.yaml").write_text(
        BROKEN.replace("http.rooter", "process.python, source: g:echo")
    )
    done = finish(command, "app.yaml", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'app.yaml:4:45: process.python "a": source: there is no module "g" to import\n'
        'app.yaml:5:45: process.python "b": source: module "h" has no "ecko", '
        'did you mean "echo"?\n'
        "2 problems in app.yaml; nothing was started\n"
    )


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_file_that_is_not_there(tmp_path, command):
    done = finish(command, "no.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "no.yaml: can't be read: No such file or directory\n"
        "1 problem in no.yaml; nothing was started\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run"], "Missing argument 'FILE'"),
        (["run", "app.yaml", "--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["run", "app.yaml", "--port", "http"], "'http' is not a valid integer"),
        (["run", "app.yaml", "--log-level", "loud"], "'loud' is not one of"),
        (["run", "app.yaml", "--gc-threshold", "3000000000"], "is not in the range 0<=x<="),
        (["run", "app.yaml", "--prot", "1"], "No such option"),
        (["rum"], "No such command 'rum'"),
    ],
)
def test_a_wrong_call(args, message):
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert message in result.output


def test_an_address_for_one_of_several_services(tmp_path):
    (tmp_path / "app.yaml").write_text(
        'version: "1.0"\nnamespace: app\nentries:\n'
        '  - {name: a, kind: http.service, addr: ":1"}\n'
        '  - {name: b, kind: http.service, addr: ":2"}\n'
    )
    done = finish("run", "app.yaml", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "there are several: app:a, app:b" in done.stderr


# -- the others ------------------------------------------------------------------------------------


def test_check(folder):
    done = finish("check", "app.yaml", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "app.yaml: ok (1 http.service, 2 http.router, 2 http.endpoint, 1 process.host "
        "and 4 process.python)\n"
    )


def test_check_of_an_empty_app(tmp_path, tell):
    (tmp_path / "app.yaml").write_text('version: "1.0"\nnamespace: app\nentries: []\n')
    assert tell("check", "app.yaml").stdout == "app.yaml: ok (no entries)\n"


ROUTES = """\
METHOD  PATH        FUNCTION   ROUTER   MIDDLEWARE         SERVICE
GET     /           h:hello    pages    -                  gateway (127.0.0.1:0)
GET     /ws/{name}  h:connect  sockets  | websocket_relay  gateway (127.0.0.1:0)
"""


def test_routes(folder):
    done = finish("routes", "app.yaml", cwd=folder)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", ROUTES)


def test_routes_as_json(folder, tell):
    done = tell("routes", "app.yaml", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (len(found["routes"]), found["services"]) == (2, [])
    assert found["routes"][1] == {
        "kind": "http.endpoint",
        "name": "connect",
        "method": "GET",
        "path": "/ws/{name}",
        "function": "h:connect",
        "router": "sockets",
        "middleware": [],
        "post_middleware": ["websocket_relay"],
        "service": "gateway",
        "address": "127.0.0.1:0",
    }


def test_routes_of_an_empty_app(tmp_path, tell):
    (tmp_path / "app.yaml").write_text('version: "1.0"\nnamespace: app\nentries: []\n')
    assert tell("routes", "app.yaml").stdout == "no routes\n"


def test_a_table_steers_no_terminal():
    assert _table(("A", "B"), [("a\x1b[31m\n", "ü")]) == ("A            B\n" + r"a\x1b[31m\n  ü")


def test_schema():
    done = finish("schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == file_schema()


def test_version():
    assert finish("--version").stdout == f"wsrelay {__version__}\n"


@pytest.mark.parametrize(
    "args", [[], ["run"], ["check"], ["routes"], ["schema"], ["demo"], ["bench"]]
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_has_examples(args, option):
    result = CliRunner().invoke(main, [*args, option])
    assert result.exit_code == 0
    assert f"  wsrelay {args[0] if args else 'run'}" in result.output
    assert "Show this message and exit." in result.output


def test_the_environment_of_these_tests_has_the_package():
    assert os.path.isdir(os.path.join(environment()["PYTHONPATH"], "wsrelay"))
