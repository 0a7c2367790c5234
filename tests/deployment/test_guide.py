"""The rest of docs/deployment.md: the app, the systemd unit, the container."""

import json
import os
import re
import signal
import stat
import sys
import urllib.request
from configparser import ConfigParser
from pathlib import Path

import pytest
from certificates import self_signed
from commands import Command, finish, serving
from proxies import blocks, changed, verified_unit, write_app
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import unix_connect

from wsrelay.config import read_file
from wsrelay.config.durations import parse_duration

UNIT = "/etc/systemd/system/wsrelay@.service"
TLS_UNIT = f"{UNIT}.d/tls.conf"
ADDRESS = "ADDR=unix:/run/wsrelay-%i/ws.sock"


def unit(title):
    """The settings of a unit's services; twice the same is an error."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(blocks()[title])
    return parser["Service"]


def test_every_file_is_one_that_is_tested():
    upstream, haproxy = "/etc/nginx/conf.d/upstream.conf", "/etc/haproxy/haproxy.cfg"
    assert blocks().keys() == {
        "app.yaml",
        "handlers.py",
        UNIT,
        TLS_UNIT,
        "/etc/nginx/conf.d/app.conf",
        upstream,
        f"{upstream} over TCP",
        f"{upstream} for rooms",
        f"{upstream} for any",
        haproxy,
        f"{haproxy} with the PROXY protocol",
        "gateway, with the PROXY protocol",
        "Dockerfile",
    }


def test_what_the_proxies_are_told_fits_the_app(tmp_path):
    """Bodies have one limit; pings come well before the timeouts, and find the dead before them."""
    config, problems = read_file(str(write_app(tmp_path)))
    assert not problems
    (gateway,) = [entry for entry in config.entries if entry.kind == "http.service"]
    files = blocks()
    site = files["/etc/nginx/conf.d/app.conf"]
    assert f"client_max_body_size {gateway.limits.body // 2**20}m;" in site
    texts = [site, *(text for title, text in files.items() if "haproxy" in title)]
    found = [
        parse_duration(value)
        for text in texts
        for value in re.findall(r"(?:_timeout|timeout (?:client|server|tunnel)) (\w+)", text)
    ]
    assert len(found) == 2 + 3 + 2
    assert min(found) > 20 + 20  # wsrelay.ping.interval and .timeout


def test_check(tmp_path):
    write_app(tmp_path)
    assert finish("check", "app.yaml", cwd=tmp_path).returncode == 0
    done = finish("check", "app.yaml", "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout) == []
    (tmp_path / "handlers.py").write_text("")
    for command in ("check", "run"):  # the status that the unit does not start again after
        done = finish(command, "app.yaml", cwd=tmp_path, ADDR="127.0.0.1:0")
        assert done.returncode == int(unit(UNIT)["RestartPreventExitStatus"]) == 2


# -- systemd ---------------------------------------------------------------------------------------


def test_the_unit_as_systemd_reads_it(tmp_path):
    """Keys and values that it does not know, programs that are not there."""
    text = changed(
        blocks()[UNIT],
        {"/opt/app/venv/bin/wsrelay": sys.executable, "WorkingDirectory=/opt/app": ""},
    )
    file = tmp_path / "wsrelay@.service"
    for more in ("", "\n".join(blocks()[TLS_UNIT].splitlines())):
        file.write_text(text.replace("[Install]", f"{more}\n[Install]"))
        assert verified_unit(file) == ""


def test_what_the_unit_says(tmp_path):
    service = unit(UNIT)
    assert service["Type"] == "exec"
    assert service["KillSignal"] == "SIGTERM"
    assert service["RestartKillSignal"] == "SIGUSR2"
    assert service["Restart"] == "always"
    assert int(service["LimitNOFILE"]) > 1024
    assert service["Environment"] == ADDRESS
    assert service["RuntimeDirectory"] == "wsrelay-%i"
    config, _ = read_file(str(write_app(tmp_path)))
    (gateway,) = [entry for entry in config.entries if entry.kind == "http.service"]
    assert parse_duration(service["TimeoutStopSec"]) >= gateway.timeouts.shutdown + 5
    assert unit(TLS_UNIT)["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("KillSignal", (1001, "server shutting down")),
        ("RestartKillSignal", (1012, "service restart")),
    ],
)
def test_the_unit_s_command(tmp_path, setting, told):
    """The command line, the socket with its mode, and the signals."""
    write_app(tmp_path)
    service = unit(UNIT)
    program, *arguments = service["ExecStart"].split()
    assert Path(program).name == "wsrelay"
    path = tmp_path / "ws.sock"
    _, value = service["Environment"].replace("/run/wsrelay-%i/ws.sock", str(path)).split("=")
    before = os.umask(int(service["UMask"], 8))
    try:
        command = Command("-m", "wsrelay", *arguments, cwd=tmp_path, ADDR=value)
    finally:
        os.umask(before)
    with command:
        command.line("listening on unix:")
        assert json.loads(command.lines[-1])["logger"] == "wsrelay.app"
        assert stat.S_IMODE(path.stat().st_mode) == 0o770
        with unix_connect(str(path), "ws://app.example.com/ws/rooms/x") as client:
            client.send("hello")
            assert json.loads(client.recv()) == {"from": None, "text": "hello"}
            command.signal(getattr(signal, service[setting]))
            with pytest.raises(ConnectionClosed):
                client.recv()
            assert (client.close_code, client.close_reason) == told
        assert command.status() == 0
        assert not path.exists()


def test_reload_is_for_tls(tmp_path):
    """With it, certificates; without it, SIGHUP ends the program, as the guide warns."""
    file = write_app(tmp_path)
    pair = self_signed(tmp_path)
    number = signal.Signals[f"SIG{unit(TLS_UNIT)['ExecReload'].split()[1][1:]}"]
    with serving("run", "app.yaml", cwd=tmp_path, ADDR="127.0.0.1:0") as command:
        command.signal(number)
        assert command.status() == -number
    shutdown = "    timeouts: {shutdown: 10s}\n"
    tls = f"    tls: {{cert: {pair.cert.name}, key: {pair.key.name}}}\n"
    file.write_text(changed(file.read_text(), {shutdown: shutdown + tls}))
    with serving("run", "app.yaml", cwd=tmp_path, ADDR="127.0.0.1:0") as command:
        command.signal(number)
        command.line("new certificate of app:gateway in use")
        command.signal(signal.SIGTERM)
        assert command.status() == 0


# -- containers ------------------------------------------------------------------------------------


def test_the_container_s_command(tmp_path):
    """`CMD` is a list, so that wsrelay gets the signals itself; all that is copied is there."""
    write_app(tmp_path)
    lines = [line.split(maxsplit=1) for line in blocks()["Dockerfile"].splitlines() if line]
    (command,) = [json.loads(rest) for word, rest in lines if word == "CMD"]
    (copied,) = [rest for word, rest in lines if word == "COPY" and "--from" not in rest]
    assert all((tmp_path / name).exists() for name in copied.split()[:-1])
    settings = dict(rest.split("=", 1) for word, rest in lines if word == "ENV")
    assert settings["ADDR"] == ":8080" and ["EXPOSE", "8080"] in lines
    program, *arguments = command
    assert program == "wsrelay"
    with serving(*arguments, cwd=tmp_path, ADDR="127.0.0.1:0") as server:
        url = f"http://127.0.0.1:{server.port}/healthz"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert json.load(answer) == {"status": "ok"}
        seen = json.loads(server.lines[-1])
        assert seen["logger"] == "wsrelay.app"
        server.signal(signal.SIGTERM)
        assert server.status() == 0
