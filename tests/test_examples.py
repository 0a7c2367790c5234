"""The examples run as they are written."""

import json
import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from commands import PATIENCE, Command, finish, serving
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
