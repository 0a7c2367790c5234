"""Clients that do harm: some never read what they are sent, some send as fast as TCP takes it.

A program of its own, beside the load generator: where they share a core, it takes what that leaves
(SCHED_IDLE), so that what is measured is what the attack does to the server. It prints
`ready` when every flood has met a full socket, goes on until its input ends (or for `--seconds`),
and then prints what it did as one line of JSON.
"""

import argparse
import base64
import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from bench import wire

KINDS = ("plain", "fragmented", "compressed")
SIZE = 64  # bytes of a plain message, and number of fragments of one
BOMB = 1024 * 1024 - 64  # bytes of a compressed message, just under the default limit
BUFFER = 64 * 1024  # bytes of whole messages that a flood repeats
PIECE = 16 * 1024  # bytes of one send: the load waits until the kernel has taken them
AT_ONCE = 256  # sends in a row of one flood
DISCARD = 256 * 1024  # bytes that are read at once
SMALL = 4096  # bytes of the receive buffer of who never reads
SENDING = 64 * 1024  # bytes that the kernel keeps of what a flood has sent; it doubles them
TIMEOUT = 20.0  # seconds for a connect and a handshake, on a server that is being flooded
KEY = base64.b64encode(b"wsrelay's flood!").decode()
MASK = b"\x11\x22\x33\x44"
DEFLATE = "permessage-deflate"
RSV1 = 0x40  # RFC 7692 section 6
FIN = 0x80


@dataclass(slots=True)
class Done:
    """What the attackers did: bytes, and how many the server has ended."""

    kind: str
    sent: int = 0
    read: int = 0
    full: int = 0  # how often a socket took no more
    lost: int = 0
    seconds: float = 0.0


class Refused(Exception):
    """The server did not let an attacker in."""


def plain() -> bytes:
    """Make a small text message."""
    return wire.client_frame(wire.TEXT, b"f" * SIZE, MASK)


def fragmented() -> bytes:
    """Make a text message in fragments of one byte, RFC 6455 section 5.4."""
    text = wire.TEXT & ~FIN
    firsts = [text] + [0] * (SIZE - 2) + [FIN]
    return b"".join(wire.client_frame(first, b"f", MASK) for first in firsts)


def compressed() -> bytes:
    """Make a text message that a thousand times as much comes out of, RFC 7692 section 7.2.1."""
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(b" " * BOMB) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return wire.client_frame(wire.TEXT | RSV1, data.removesuffix(b"\0\0\xff\xff"), MASK)


MESSAGES: dict[str, Callable[[], bytes]] = {
    "plain": plain,
    "fragmented": fragmented,
    "compressed": compressed,
}


def connect(port: int, path: str, extension: str = "", buffer: int = 0) -> socket.socket:
    """Open a WebSocket; `buffer` bounds what the kernel receives for it. Raises `Refused`."""
    sock = socket.socket()
    try:
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        # At the end the server is to forget what it has not read yet: a reset, tcp(7), socket(7).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Endless buffers of floods that are full keep the core of the load in the kernel.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENDING)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", port))
        sock.sendall(wire.upgrade_request(port, KEY, path, extension))
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(1)  # what is behind it may be the first message
            answer += data
            if not data:
                break
        if not wire.is_switch(answer, KEY) or extension.encode() not in answer:
            raise Refused(f"{path}: {answer[:200]!r}")
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class Flood:
    """One client that sends whole messages one after the other, and reads away what comes."""

    def __init__(self, sock: socket.socket, messages: bytes, done: Done) -> None:
        self.sock = sock
        self._messages = memoryview(messages)
        self._at = 0
        self._done = done
        self.was_full = False

    def on_event(self, events: int) -> bool:
        """Read and send; False once the server has ended the connection."""
        try:
            if events & ~select.EPOLLOUT:
                with contextlib.suppress(BlockingIOError):
                    data = self.sock.recv(DISCARD)
                    self._done.read += len(data)
                    if not data:
                        return False
            if events & select.EPOLLOUT:
                self._fill()
        except ConnectionError:
            return False
        return True

    def _fill(self) -> None:
        """Send until the socket is full, or the others have to have their turn."""
        for _ in range(AT_ONCE):
            try:
                sent = self.sock.send(self._messages[self._at : self._at + PIECE])
            except BlockingIOError:
                self._done.full += 1
                self.was_full = True
                return
            self._done.sent += sent
            self._at = (self._at + sent) % len(self._messages)


def serve(floods: list[Flood], done: Done, deadline: float, said: Callable[[], object]) -> None:
    """Flood until the input ends or the time is over."""
    began = time.monotonic()
    poll = select.epoll()
    poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
    by_number = {flood.sock.fileno(): flood for flood in floods}
    for number in by_number:
        poll.register(number, select.EPOLLIN | select.EPOLLOUT)
    told = False
    while (left := deadline - time.monotonic()) > 0:
        for number, events in poll.poll(min(left, 0.1)):
            if number not in by_number:
                done.seconds = time.monotonic() - began
                return
            if not by_number[number].on_event(events):
                done.lost += 1
                poll.unregister(number)
        if not told and all(flood.was_full for flood in floods):
            told = True
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            said()
    done.seconds = time.monotonic() - began


def is_open(sock: socket.socket) -> bool:
    """Read all that was sent to who never read: does it end?"""
    with contextlib.suppress(BlockingIOError):
        try:
            while sock.recv(DISCARD):
                pass
        except ConnectionError:
            pass
        return False
    return True


@contextlib.contextmanager
def attackers(
    port: int, kind: str, silent: int, floods: int, done: Done
) -> Iterator[tuple[list[socket.socket], list[Flood]]]:
    """Connect them all."""
    message = MESSAGES[kind]()
    messages = message * max(1, BUFFER // len(message))
    extension = DEFLATE if kind == "compressed" else ""
    with contextlib.ExitStack() as stack:
        never_read = [
            stack.enter_context(connect(port, "/feed", buffer=SMALL)) for _ in range(silent)
        ]
        flooding = [
            Flood(stack.enter_context(connect(port, "/flood", extension)), messages, done)
            for _ in range(floods)
        ]
        yield never_read, flooding


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.attack", description=__doc__)
    parser.add_argument("port", type=int, help="loopback port of wsrelay_tail.py")
    parser.add_argument("--kind", choices=KINDS, default="plain", help="of the floods' messages")
    parser.add_argument("--silent", type=int, default=10, help="clients that never read (10)")
    parser.add_argument("--floods", type=int, default=10, help="clients that flood (10)")
    parser.add_argument("--seconds", type=float, default=60.0, help="at most (60)")
    return parser.parse_args()


def main() -> int:
    """Attack; status 1 and one line on stderr if the server did not let them in."""
    args = arguments()
    done = Done(args.kind)
    deadline = time.monotonic() + args.seconds
    try:
        with attackers(args.port, args.kind, args.silent, args.floods, done) as (silent, floods):
            serve(floods, done, deadline, lambda: print("ready", flush=True))
            done.lost += sum(not is_open(sock) for sock in silent)
    except (Refused, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(json.dumps(asdict(done)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
