"""The load generator: N connections with M messages in flight each, every reply byte checked.

Plain sockets and one epoll, no asyncio. What is sent and expected is made before the clock starts
(`wire.py`), so that a message costs one read, one comparison and one write in the loop, which is C
(`pump.c`); connecting, shaking hands and ending are here. Four kinds of work:

- `echo`, a closed loop: a connection sends a whole window of M frames at once, waits for all M
  answers and sends its next window. Shows the rate.
- `paced`, an open loop: windows are due at a fixed rate, connection after connection, whatever the
  server does; a latency counts from when a window was due. Shows the latency.
- `fan`: one connection publishes a message, every connection gets it; then the next one.
- `session` (`sessions.py`): connect, handshake, one echo, close; then the next one.

As a program it runs one round and prints its result as one line of JSON.
"""

import argparse
import base64
import contextlib
import ctypes
import json
import os
import select
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench import machine, pump, wire
from bench.sessions import Sessions
from bench.work import (
    KINDS,
    HandshakeFailed,
    LoadError,
    Measured,
    MissingReply,
    Round,
    ServerClosed,
    Workload,
    WrongReply,
)

CONNECT_TIMEOUT = 5.0  # seconds for a TCP connect and for a handshake
HANDSHAKE_MAX = 16 * 1024  # bytes of a handshake's answer
SHARES = {
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99.9": 0.999,
    "max": 1.0,
}
KEY = base64.b64encode(b"wsrelay's bench!").decode()


@dataclass(frozen=True, slots=True)
class Result:
    """What a round measured. CPU figures are shares of one core, latencies are microseconds.

    `messages` are answers of `echo` and `paced`, deliveries of `fan`, whole sessions of `session`.

    A latency is that of a whole window (first byte out, last byte in); of `fan`, until the last
    connection has the message; of `session`, of a whole one. Seen from inside a closed loop it
    tells two servers apart under the same load, it is not what a user would wait. That of `paced`
    is, and `late_us` tells how late the load generator itself was there, at the same percentiles.
    `server_cpu`, `server_others` and `load_others` are None where they are not known; `…_others`
    is what was spent on that core by anybody else (`machine.py`).
    """

    messages: int
    seconds: float
    rate: float
    load_cpu: float
    server_cpu: float | None
    server_us_per_message: float | None
    load_others: float | None
    server_others: float | None
    latency_us: dict[str, float]
    late_us: dict[str, float] | None = None


def connect(port: int, raw: bool) -> socket.socket:
    """Open a connection to the loopback and shake hands, unless the server is a raw one."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_TIMEOUT)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not raw:
            shake_hands(sock, port)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def shake_hands(sock: socket.socket, port: int) -> None:
    """Do the opening handshake of RFC 6455 and check its answer."""
    sock.sendall(wire.upgrade_request(port, KEY))
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = sock.recv(4096)
        answer += data
        if not data or len(answer) > HANDSHAKE_MAX:
            raise HandshakeFailed(f"no whole answer: {answer[:200]!r}")
    if not wire.is_switch(answer, KEY):
        raise HandshakeFailed(f"answer: {answer[:200]!r}")


class Load:
    """The connections of a round. All memory that the C loop uses is held here."""

    def __init__(self, port: int, work: Workload) -> None:
        self.work = work
        self._pump = pump.library()
        self._epoll = select.epoll()
        self._sockets: list[socket.socket] = []
        self._connections = (pump.Connection * work.connections)()
        self._latencies = (ctypes.c_int64 * pump.BUCKETS)()
        self._lateness = (ctypes.c_int64 * pump.BUCKETS)()
        self._windows = windows_of(work)
        request, reply = self._windows[0][0]
        at_once = work.in_flight * work.together  # messages
        self._scratch = ctypes.create_string_buffer(len(reply) + 1)
        self._state = pump.State(
            connections=self._connections,
            scratch=ctypes.addressof(self._scratch),
            latencies=self._latencies,
            lateness=self._lateness,
            count=work.connections,
            pause=int(1e9 * at_once / work.rate) if work.kind == "paced" else 0,
            together=work.together,
            mode=pump.MODES[work.kind],
            request_size=len(request),
            reply_size=len(reply),
            epoll=self._epoll.fileno(),
        )
        try:
            for connection, windows in zip(self._connections, self._windows, strict=True):
                self._open(port, connection, windows)
            self._check(self._pump.attach(self._state))
        except BaseException:
            self.abort()
            raise

    def _open(self, port: int, connection: pump.Connection, windows: list[wire.Window]) -> None:
        """Open one connection."""
        sock = connect(port, self.work.raw)
        self._sockets.append(sock)
        connection.fd = sock.fileno()
        for turn, window in enumerate(windows):
            connection.windows[turn] = window

    def start(self) -> None:
        """Forget what was measured so far, allow all messages, and let the resting ones begin."""
        answers = self.work.connections if self.work.kind == "fan" else self.work.in_flight
        self._state.windows_left = max(1, self.work.max_messages // answers)
        self._state.windows_done = 0
        for counts in (self._latencies, self._lateness):
            ctypes.memset(counts, 0, ctypes.sizeof(counts))
        self._check(self._pump.start(self._state))

    def serve(self, seconds: float) -> None:
        """Exchange windows for so long, or until every connection rests."""
        self._check(self._pump.serve(self._state, int(seconds * 1e9)))

    @property
    def waiting(self) -> int:
        """How many connections wait for an answer."""
        return int(self._state.waiting)

    def measured(self) -> Measured:
        """Tell what was answered since `start`."""
        lateness = list(self._lateness) if self.work.kind == "paced" else None
        messages = self._state.windows_done * self.work.in_flight
        return Measured(messages, list(self._latencies), lateness)

    def finish(self) -> None:
        """Send no more, wait for the answers under way, close all connections in order."""
        self._state.windows_left = 0
        self.serve(self.work.patience)
        if self.waiting:
            raise MissingReply(
                f"{self.waiting} of {len(self._sockets)} connections still wait for an "
                f"answer after {self.work.patience} s"
            )
        for sock in self._sockets:
            say_goodbye(sock, self.work)

    def abort(self) -> None:
        """Close every socket, whatever its state."""
        for sock in self._sockets:
            sock.close()
        self._epoll.close()

    def _check(self, fault: int) -> None:
        """Raise what the C loop found wrong."""
        if fault == pump.OK:
            return
        number = self._state.faulty
        if fault == pump.CLOSED:
            raise ServerClosed(f"connection {number}")
        if fault == pump.FAILED:
            raise OSError(self._state.error, os.strerror(self._state.error))
        got = self._scratch.raw[: self._state.scratch_size]
        raise WrongReply(
            f"connection {number}: got {got[:80]!r}, expected {self._expected(number)}"
        )

    def _expected(self, number: int) -> str:
        """Show what a connection still waits for."""
        connection = self._connections[number]
        if not connection.busy:
            return "nothing"
        reply = self._windows[number][connection.turn].reply
        return repr(reply[connection.got :][:80])


def windows_of(work: Workload) -> list[list[wire.Window]]:
    """Make the windows of all connections; with `fan` all expect what the last one sends."""
    shared = work.kind == "fan"
    numbers = range(1 if shared else work.connections)
    made = [wire.windows(n, work.in_flight, work.size, work.raw, work.accents) for n in numbers]
    return made * work.connections if shared else made


def say_goodbye(sock: socket.socket, work: Workload) -> None:
    """End a connection in order, and check that the server had nothing more to say."""
    sock.settimeout(work.patience)
    with contextlib.suppress(ConnectionError, TimeoutError), sock:
        if not work.raw:
            sock.sendall(wire.client_frame(wire.CLOSE, wire.CLOSE_NORMAL, b"\1\2\3\4"))
        sock.shutdown(socket.SHUT_WR)
        rest = sock.recv(1024)
        if rest and (work.raw or rest[0] != wire.CLOSE):
            raise WrongReply(f"after the last answer: {rest[:80]!r}")


def run(port: int, work: Workload, server: machine.Where | None = None) -> Result:
    """Run one round against the server at a loopback port.

    `server` tells which process and core to watch. Raises `LoadError` if any answer is wrong,
    missing or one too many, or if the server ends a connection.
    """
    load = round_of(port, work)
    try:
        if work.warmup > 0:
            load.start()
            load.serve(work.warmup)
        before = machine.Sample.now(server)
        load.start()
        load.serve(work.seconds)
        spent = machine.Sample.now(server) - before
        measured = load.measured()
        load.finish()
    finally:
        load.abort()
    return result_of(measured, spent)


def round_of(port: int, work: Workload) -> Round:
    """Make what loads a server in this way."""
    return Sessions(port, work) if work.kind == "session" else Load(port, work)


def result_of(measured: Measured, spent: machine.Spent) -> Result:
    """Put the figures of a round together."""
    cpu, messages = spent.server_cpu, measured.messages
    return Result(
        messages=messages,
        seconds=spent.seconds,
        rate=messages / spent.seconds,
        load_cpu=spent.own_cpu / spent.seconds,
        server_cpu=None if cpu is None else cpu / spent.seconds,
        server_us_per_message=None if cpu is None or not messages else cpu / messages * 1e6,
        load_others=spent.own_core_others,
        server_others=spent.server_core_others,
        latency_us=percentiles(measured.latencies),
        late_us=None if measured.lateness is None else percentiles(measured.lateness),
    )


def percentiles(counts: Sequence[int]) -> dict[str, float]:
    """Read the microseconds at every share out of a histogram."""
    return {name: pump.percentile(counts, share) for name, share in SHARES.items()}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    defaults = Workload()
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("port", type=int, help="loopback port of a running server")
    parser.add_argument("--kind", choices=KINDS, default=defaults.kind, help="of work")
    parser.add_argument("--connections", type=int, default=defaults.connections)
    parser.add_argument("--in-flight", type=int, default=defaults.in_flight)
    parser.add_argument("--size", type=int, default=defaults.size, help="bytes of a payload")
    parser.add_argument("--seconds", type=float, default=defaults.seconds)
    parser.add_argument("--warmup", type=float, default=defaults.warmup, help="seconds before")
    parser.add_argument("--max-messages", type=int, default=defaults.max_messages)
    parser.add_argument("--raw", action="store_true", help="no handshake; expect the sent bytes")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="messages/s of paced")
    parser.add_argument("--accents", action="store_true", help="send text that is not ASCII")
    parser.add_argument(
        "--server-pid", type=int, nargs="+", help="processes whose CPU time is reported"
    )
    parser.add_argument("--server-core", type=int, help="core that this process is pinned to")
    return parser.parse_args()


def main() -> int:
    """Run one round, print its result; status 1 and one line on stderr when there is none."""
    args = arguments()
    work = Workload(
        connections=args.connections,
        in_flight=args.in_flight,
        size=args.size,
        seconds=args.seconds,
        warmup=args.warmup,
        max_messages=args.max_messages,
        raw=args.raw,
        kind=args.kind,
        rate=args.rate,
        accents=args.accents,
    )
    server = machine.Where(tuple(args.server_pid), args.server_core) if args.server_pid else None
    try:
        print(json.dumps(asdict(run(args.port, work, server))))
    except (LoadError, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
