"""Certificates under `wsrelay run` and `check`: SIGHUP in a real OS process, broken files."""

import asyncio
import signal
import socket

import pytest
from certificates import Pair, client_context, dated, pair_in, self_signed
from commands import PATIENCE, Command, finish, serving
from websockets.asyncio.client import connect

YAML = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0
    tls:
      cert: cert.pem
      key: cert.key
  - name: inside
    kind: http.service
    addr: ${env:INSIDE|unix:/tmp/none}
  - {name: sockets, kind: http.router, meta: {server: gateway}, post_middleware: [websocket_relay],
     post_options: {wsrelay.allowed.origins: "*"}}
  - {name: connect, kind: http.endpoint, method: GET, path: /, func: h:connect}
"""
HANDLERS = """\
from wsrelay import process, relay_to


def connect(request):
    return relay_to(process.spawn(echo))


async def echo():
    async for msg in process.inbox():
        if msg.topic == "ws.message":
            process.send(msg.sender, "ws.send", msg.payload)
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    dated(folder, "expired", "20200101", "20200102")
    return {name: self_signed(folder, name) for name in ("first", "second")} | {
        "expired": pair_in(folder, "expired")
    }


@pytest.fixture
def files(tmp_path, pairs):
    """A folder with an app; its certificate is the first."""
    (tmp_path / "app.yaml").write_text(YAML)
    (tmp_path / "h.py").write_text(HANDLERS)
    files = Pair(tmp_path / "cert.pem", tmp_path / "cert.key")
    pairs["first"].copy_to(files)
    return files


def client(port, pair):
    """A client that trusts this certificate only.

    Not one of `websockets.sync`: its two threads share a TLS object, which loses requests now and
    then on CPython 3.11, whatever the server.
    """
    return connect(f"wss://127.0.0.1:{port}/", ssl=client_context(pair), open_timeout=PATIENCE)


async def answers(one):
    await one.send("x")
    return await one.recv() == "x"


def test_sighup_takes_a_renewed_certificate(run, files, pairs):
    folder = files.cert.parent

    async def hangup(command, line):
        command.signal(signal.SIGHUP)
        await asyncio.to_thread(command.line, line)
        async with client(command.port, pairs["second"]) as new:
            assert await answers(new)

    async def main(command):
        async with client(command.port, pairs["first"]) as old:
            pairs["second"].copy_to(files)
            await hangup(command, "wsrelay.app: new certificate of app:gateway in use$")
            assert await answers(old)
            files.key.write_text("nonsense")
            told = "ERROR   wsrelay.app: SIGHUP: the certificate in use stays: "
            where = f'http.service "app:gateway": tls.key: "{files.key}" holds no private key'
            await hangup(command, told + where)
            assert await answers(old)

    with serving("run", "app.yaml", cwd=folder, INSIDE=f"unix:{folder}/s") as command:
        run(main(command))
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    assert "Traceback" not in "\n".join(command.lines)


def test_without_tls_sighup_is_the_end_of_the_terminal(files):
    folder = files.cert.parent
    text = (folder / "app.yaml").read_text()
    tls = "    tls:\n      cert: cert.pem\n      key: cert.key\n"
    (folder / "app.yaml").write_text(text.replace(tls, ""))
    with serving("run", "app.yaml", cwd=folder, INSIDE=f"unix:{folder}/s") as command:
        command.signal(signal.SIGHUP)
        assert command.status() == -signal.SIGHUP


@pytest.mark.parametrize("command", ["check", "run"])
def test_broken_files_are_told_with_their_place(files, pairs, command):
    pairs["expired"].copy_to(files)
    done = finish(command, "app.yaml", cwd=files.cert.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f'app.yaml:8:13: http.service "gateway": tls.cert: "{files.cert}" has expired; renew it\n'
        "1 problem in app.yaml; nothing was started\n"
    )


def test_all_files_are_told_at_once(files):
    folder = files.cert.parent
    files.cert.unlink()
    files.key.unlink()
    done = finish("check", "app.yaml", cwd=folder)
    assert done.stderr.splitlines() == [
        f'app.yaml:8:13: http.service "gateway": tls.cert: "{files.cert}" can\'t be read: '
        "No such file or directory",
        f'app.yaml:9:12: http.service "gateway": tls.key: "{files.key}" can\'t be read: '
        "No such file or directory",
        "2 problems in app.yaml; nothing was started",
    ]


def test_an_address_in_use_names_its_service(files):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = finish("run", "app.yaml", cwd=files.cert.parent, INSIDE=address)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: http.service app:inside: cannot listen on {address}: Address already in use; "
        "stop the program that has it, or take another port\n"
    )


def test_a_service_on_a_unix_socket_is_in_the_log(files):
    folder = files.cert.parent
    arguments = ("-m", "wsrelay", "run", "app.yaml")
    with Command(*arguments, cwd=folder, INSIDE=f"unix:{folder}/s") as command:
        command.line(r"listening on https://127.0.0.1:\d+$")
        command.line(f"listening on unix:{folder}/s$")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    assert not (folder / "s").exists()
