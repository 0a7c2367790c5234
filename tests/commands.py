"""Commands of the command line in an OS process of their own, and their logs."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import wsrelay

ROOT = Path(wsrelay.__file__).parents[1]
PATIENCE = 15.0  # seconds; an upper bound, never what a test takes


def environment(**more: str) -> dict[str, str]:
    """The environment of a command that finds the package under test."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def finish(*args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `wsrelay` with arguments to its end."""
    return subprocess.run(
        [sys.executable, "-m", "wsrelay", *args],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Program:
    """A program that runs.

    Attributes:
        lines: what it has written so far and `line` has looked at.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            pass_fds=pass_fds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self._queue.put(text.rstrip("\n"))
        self._queue.put(None)

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log in which the pattern is found."""
        deadline = time.monotonic() + PATIENCE
        while True:
            text = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            assert text is not None, f"it ended without {pattern!r}:\n" + "\n".join(self.lines)
            self.lines.append(text)
            if match := re.search(pattern, text):
                return match

    def so_far(self) -> list[str]:
        """All lines that it has written by now."""
        while not self._queue.empty():
            text = self._queue.get_nowait()
            if text is None:
                self._queue.put(None)
                break
            self.lines.append(text)
        return self.lines

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def status(self) -> int:
        """Wait for the end; the exit status. `lines` is complete then."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        while (text := self._queue.get_nowait()) is not None:
            self.lines.append(text)
        self._queue.put(None)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Command(Program):
    """A command of Python that runs.

    Attributes:
        port: set by `listening`.
    """

    port: int

    def __init__(self, *args: str, cwd: Path | None = None, **env: str) -> None:
        super().__init__([sys.executable, *args], cwd=cwd, env=environment(**env))

    def listening(self) -> Self:
        """Wait until it listens."""
        self.port = int(self.line(r"listening on https?://\S+:(\d+)")[1])
        return self


@contextmanager
def serving(*args: str, cwd: Path | None = None, **env: str) -> Iterator[Command]:
    """`wsrelay` with arguments, from when it listens on a port."""
    with Command("-m", "wsrelay", *args, cwd=cwd, **env) as command:
        yield command.listening()
