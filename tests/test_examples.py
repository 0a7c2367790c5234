"""The examples run as they are written."""

import json
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from commands import PATIENCE, Command, environment, finish, serving
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_echo():
    with Command(str(EXAMPLES / "echo.py"), "127.0.0.1:0") as command:
        with connect(f"ws://127.0.0.1:{command.listening().port}/") as client:
            for message in ("hello", b"\x00\xff", ""):
                client.send(message)
                assert client.recv(PATIENCE) == message
        command.line("ended: client_close code=1000")
        command.signal(signal.SIGTERM)
        assert command.status() == 0


@pytest.mark.parametrize("folder", [EXAMPLES, EXAMPLES / "clock", Path("/")], ids=str)
def test_clock(folder):
    file = EXAMPLES / "clock" / "app.yaml"
    shown = str(file.relative_to(folder)) if folder != Path("/") else str(file)
    with serving("run", shown, cwd=folder, ADDR="127.0.0.1:0") as command:
        with connect(f"ws://127.0.0.1:{command.port}/clock") as client:
            told = json.loads(client.recv(PATIENCE))
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    assert told["topic"] == "time"
    assert abs(datetime.now() - datetime.fromisoformat(told["data"])) < timedelta(seconds=20)


def test_the_clock_is_right():
    assert finish("check", "clock/app.yaml", cwd=EXAMPLES).returncode == 0


def test_members():
    folder = EXAMPLES / "members"
    secret = {"SECRET": "of this test"}
    token = subprocess.check_output(
        [sys.executable, "members.py", "ann"],
        cwd=folder,
        env=environment(**secret),
        text=True,
        timeout=PATIENCE,
    ).strip()
    with serving("run", "app.yaml", cwd=folder, ADDR="127.0.0.1:0", **secret) as server:
        url = f"ws://127.0.0.1:{server.port}/rooms"
        for room, given, status in (
            ("ann", "", 401),
            ("ann", f"{token}0", 401),
            ("bob", token, 403),
        ):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"{url}/{room}?access_token={given}")
            assert refused.value.response.status_code == status
        with connect(f"{url}/ann?access_token={token}") as client:
            client.send("hello")
            told = json.loads(client.recv(PATIENCE))
        server.signal(signal.SIGTERM)
        assert server.status() == 0
    assert told["data"] == {"by": "ann", "text": "hello"}
