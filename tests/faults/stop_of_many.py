"""Stop a server that has very many WebSockets, half of which do not take part in it.

    python tests/faults/stop_of_many.py [--connections 5000] [--shutdown 10] [--drain 5]

`wsrelay run` serves `stop_app.py` in an OS process of its own. A half of the clients answer the
close frame; a quarter reads it and never answers; a quarter never reads, and has data waiting. Then
SIGTERM. The exit status is 0 if all were ended within the shutdown timeout, the server's status is
0, and each good client saw 1001; else 1. Linux only: descriptors are counted in /proc.
"""

import argparse
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPARE = 200  # descriptors of either side for other things than connections
PATIENCE = 20.0  # seconds for one answer, and for what follows the timeout
LATE = 1.0  # seconds for signal, log and the end of the interpreter, beside the timeout
RECEIVE = 4096  # bytes of the kernel's buffer of a client that does not read

YAML = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    addr: "127.0.0.1:0"
    timeouts: {{shutdown: "{shutdown}s"}}
  - name: sockets
    kind: http.router
    post_middleware: [websocket_relay]
    post_options: {{wsrelay.drain: "{drain}s", wsrelay.ping.interval: "0"}}
  - {{name: connect, kind: http.endpoint, meta: {{router: sockets}}, method: GET, path: /,
     func: "stop_app:connect"}}
  - {{name: count, kind: http.endpoint, meta: {{router: sockets}}, method: GET, path: /drowned,
     func: "stop_app:count"}}
  - {{name: thrift, kind: http.endpoint, meta: {{router: sockets}}, method: GET, path: /thrift,
     func: "stop_app:thrift"}}
  - {{name: pool, kind: process.host}}
  - {{name: talker, kind: process.python, source: "stop_app:talker"}}
"""
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MASK = b"\x00\x00\x00\x00"
GOING_AWAY = b"\x88\x16\x03\xe9server shutting down"
KINDS = ("good", "silent", "good", "drowning")


FAULT = re.compile(r" (ERROR|CRITICAL) |Traceback")


class Wrong(Exception):
    """The stop was not as it must be, or it can't be tried here."""


@dataclass
class Client:
    """One raw WebSocket.

    Attributes:
        kind: `good`, `silent` (reads, never answers) or `drowning` (does not read).
        told: whether it saw the close frame 1001.
        over: when its TCP ended, in seconds of the monotonic clock.
    """

    kind: str
    sock: socket.socket
    told: bool = False
    over: float | None = None
    received: bytearray = field(default_factory=bytearray)

    def take(self) -> bool:
        """Read what is there; False when TCP has ended."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.over = time.monotonic()
            return False
        self.received += data
        if not self.told and self.received.startswith(GOING_AWAY):
            self.told = True
            if self.kind == "good":
                self.sock.send(b"\x88\x82" + MASK + GOING_AWAY[2:4])
        return True


@dataclass
class Figures:
    """What was measured; seconds from the signal."""

    connections: int
    status: int
    seconds: float
    last_end: float
    told: Counter[str]
    ended: Counter[str]
    descriptors: int
    limit: int
    resident: int
    faults: list[str]


def allow_descriptors(count: int) -> None:
    """Raise the soft limit as far as needed; the server inherits it. Raises Wrong."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise Wrong(
                f"{count} descriptors are needed and the hard limit is {hard}: raise it "
                f"(`ulimit -Hn`, or LimitNOFILE), or try fewer --connections"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Service:
    """`wsrelay run` in an OS process of its own; its log is a file."""

    def __init__(self, folder: Path, shutdown: float, drain: float) -> None:
        (folder / "app.yaml").write_text(YAML.format(shutdown=f"{shutdown:g}", drain=f"{drain:g}"))
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wsrelay", "run", str(folder / "app.yaml")],
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}"},
                stderr=subprocess.STDOUT,
                stdout=log,
            )

    def port(self) -> int:
        """Wait until it listens."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listening on http://\S+:(\d+)", self._log.read_text())
            if found:
                return int(found[1])
            time.sleep(0.02)
        raise Wrong(f"the server does not listen:\n{self._log.read_text()}")

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def faults(self) -> list[str]:
        """Lines of the log that must not be there."""
        return [line for line in self._log.read_text().splitlines() if FAULT.search(line)]


@contextmanager
def serving(shutdown: float, drain: float) -> Iterator[Service]:
    """A `Service` that does not outlive the block."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), shutdown, drain)
        try:
            yield service
        finally:
            service.process.kill()
            service.process.wait()


def connect(port: int, kind: str) -> Client:
    """Shake hands; who will not read asks for its data."""
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    if kind == "drowning":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
    sock.connect(("127.0.0.1", port))
    sock.sendall(HANDSHAKE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = sock.recv(1024)
        if not data:
            raise Wrong(f"no upgrade: {head!r}")
        head += data
    if not head.startswith(b"HTTP/1.1 101 "):
        raise Wrong(f"no upgrade: {head!r}")
    if kind == "drowning":
        sock.sendall(b"\x81\x85" + MASK + b"drown")
    return Client(kind, sock)


def wait_for_the_drowning(port: int, count: int) -> None:
    """Wait until data is queued for so many clients."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with urlopen(f"http://127.0.0.1:{port}/drowned", timeout=PATIENCE) as answer:
            if int(answer.read()) >= count:
                return
        time.sleep(0.05)
    raise Wrong("not all clients that do not read have data waiting")


def watch(clients: list[Client], deadline: float) -> None:
    """Play the clients until each one's TCP has ended, or the time is over."""
    by_number = {client.sock.fileno(): client for client in clients}
    with select.epoll() as poll:
        for number, client in by_number.items():
            client.sock.setblocking(False)
            reads = client.kind != "drowning"
            poll.register(number, select.EPOLLIN if reads else select.EPOLLRDHUP)
        while by_number and (left := deadline - time.monotonic()) > 0:
            for number, events in poll.poll(left):
                client = by_number[number]
                if client.kind == "drowning":
                    client.over = time.monotonic()
                if events and (client.over or not client.take()):
                    poll.unregister(number)
                    del by_number[number]


def stop_of_many(connections: int, shutdown: float, drain: float) -> Figures:
    """Connect, send SIGTERM, and measure; raises Wrong where it can't be done."""
    allow_descriptors(connections + SPARE)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    clients: list[Client] = []
    with serving(shutdown, drain) as service:
        try:
            port = service.port()
            urlopen(f"http://127.0.0.1:{port}/thrift", timeout=PATIENCE).close()
            kinds = [KINDS[at % len(KINDS)] for at in range(connections)]
            clients.extend(connect(port, kind) for kind in kinds)
            wait_for_the_drowning(port, kinds.count("drowning"))
            descriptors, resident = service.descriptors(), service.resident()
            begin = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            watch(clients, begin + shutdown + PATIENCE)
            try:
                status = service.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise Wrong("the server does not end") from None
            seconds = time.monotonic() - begin
            return Figures(
                connections,
                status,
                seconds,
                max((client.over or float("inf")) - begin for client in clients),
                Counter(client.kind for client in clients if client.told),
                Counter(client.kind for client in clients if client.over is not None),
                descriptors,
                limit,
                resident,
                service.faults(),
            )
        finally:
            for client in clients:
                client.sock.close()


def complaints(figures: Figures, shutdown: float) -> list[str]:
    """What is not as it must be."""
    kinds = Counter(KINDS[at % len(KINDS)] for at in range(figures.connections))
    found = []
    if figures.status != 0:
        found.append(f"the exit status is {figures.status}")
    if figures.seconds > shutdown + LATE:
        found.append(f"the stop took {figures.seconds:.2f} s of {shutdown:g}")
    if figures.ended != kinds:
        found.append(f"of {dict(kinds)} connections {dict(figures.ended)} ended")
    found += [
        f"of {kinds[kind]} {kind} clients {figures.told[kind]} saw 1001"
        for kind in ("good", "silent")
        if figures.told[kind] != kinds[kind]
    ]
    if not figures.connections < figures.descriptors <= figures.limit:
        found.append(f"{figures.descriptors} descriptors, and the limit is {figures.limit}")
    return found + figures.faults


def table(figures: Figures, shutdown: float) -> str:
    """The figures, for people."""
    kinds = Counter(KINDS[at % len(KINDS)] for at in range(figures.connections))
    rows = [
        (
            "connections that answer · never answer · never read",
            " · ".join(str(kinds[kind]) for kind in ("good", "silent", "drowning")),
        ),
        (
            "of them ended",
            " · ".join(str(figures.ended[k]) for k in ("good", "silent", "drowning")),
        ),
        (
            "saw the close frame 1001",
            " · ".join(str(figures.told[kind]) for kind in ("good", "silent")),
        ),
        ("descriptors of the server, limit", f"{figures.descriptors}, {figures.limit}"),
        ("resident memory of the server", f"{figures.resident / 2**20:.0f} MiB"),
        ("last connection ended after", f"{figures.last_end:.2f} s"),
        ("the server ended after", f"{figures.seconds:.2f} s of {shutdown:g} s"),
        ("exit status", str(figures.status)),
    ]
    return "\n".join(["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> int:
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Stop a server that has very many WebSockets.")
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--shutdown", type=float, default=10.0, help="timeouts.shutdown, seconds")
    parser.add_argument("--drain", type=float, default=5.0, help="wsrelay.drain, seconds")
    options = parser.parse_args()
    try:
        figures = stop_of_many(options.connections, options.shutdown, options.drain)
    except Wrong as error:
        print(error, file=sys.stderr)
        return 1
    print(table(figures, options.shutdown))
    found = complaints(figures, options.shutdown)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
