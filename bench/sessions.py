"""Whole sessions against a server: connect, handshake, one echo, close; the loop is `sessions.c`.

A number of sessions is under way at a time, and each that is over makes room for the next one. A
session is over when the server's close frame came; every byte of the echo is compared, the 101 must
have the right `Sec-WebSocket-Accept`, and the close frame no code or 1000.
"""

import base64
import ctypes
import os
import random
import select

from bench import pump, wire
from bench.work import LoadError, Measured, MissingReply, ServerClosed, Workload, WrongReply

STAGES = ("at rest", "connecting", "in the handshake", "waiting for the echo", "closing")
CLOSE_FRAME = wire.client_frame(wire.CLOSE, wire.CLOSE_NORMAL, b"\1\2\3\4")


class Sessions:
    """`work.connections` sessions at a time. All memory that the C loop uses is held here."""

    def __init__(self, port: int, work: Workload) -> None:
        self.work = work
        self._pump = pump.library()
        self._epoll = select.epoll()
        self._scripts = [scripts(number, port, work.size) for number in range(work.connections)]
        self._sessions = (pump.Session * work.connections)()
        self._latencies = (ctypes.c_int64 * pump.BUCKETS)()
        upgrade, accept, request, reply = self._scripts[0][0]
        self._state = pump.SessionsState(
            sessions=self._sessions,
            close=CLOSE_FRAME,
            latencies=self._latencies,
            count=work.connections,
            upgrade_size=len(upgrade),
            accept_size=len(accept),
            request_size=len(request),
            reply_size=len(reply),
            close_size=len(CLOSE_FRAME),
            epoll=self._epoll.fileno(),
            port=port,
        )
        if len(reply) > pump.ANSWER - 1:
            raise ValueError(f"size of a session's message must be under {pump.ANSWER - 16} bytes")
        for session, own in zip(self._sessions, self._scripts, strict=True):
            for turn, script in enumerate(own):
                session.scripts[turn] = script

    def start(self) -> None:
        """Forget what was measured so far, allow all sessions, and let them begin."""
        self._state.left = self.work.max_messages
        self._state.done = 0
        ctypes.memset(self._latencies, 0, ctypes.sizeof(self._latencies))
        self._check(self._pump.sessions_start(self._state))

    def serve(self, seconds: float) -> None:
        """Go through sessions for so long, or until none is under way."""
        self._check(self._pump.sessions_serve(self._state, int(seconds * 1e9)))

    def measured(self) -> Measured:
        """Tell what was done since `start`."""
        return Measured(self._state.done, list(self._latencies))

    def finish(self) -> None:
        """Begin no more, and wait for those under way."""
        self._state.left = 0
        self.serve(self.work.patience)
        if self._state.open:
            stages = {STAGES[s.stage] for s in self._sessions if s.stage}
            raise MissingReply(
                f"{self._state.open} sessions are not over after {self.work.patience} s "
                f"({', '.join(sorted(stages))})"
            )

    def abort(self) -> None:
        """Close every socket."""
        self._pump.sessions_abort(self._state)
        self._epoll.close()

    def _check(self, fault: int) -> None:
        """Raise what the C loop found wrong."""
        if fault != pump.OK:
            session = self._sessions[self._state.faulty]
            where = f"session {self._state.faulty} {STAGES[session.stage]}"
            raise error_of(fault, where, session, self._state.error)


def error_of(fault: int, where: str, session: pump.Session, errno: int) -> LoadError | OSError:
    """Say what was wrong with a session."""
    if fault == pump.CLOSED:
        return ServerClosed(where)
    if fault == pump.FAILED:
        return OSError(errno, f"{os.strerror(errno)}: {where}")
    got = ctypes.string_at(ctypes.addressof(session) + pump.Session.answer.offset, session.got)
    return WrongReply(f"{where}: got {got[:200]!r}")


def scripts(number: int, port: int, size: int) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """Make what a session says and must hear, for each turn: its key and message are its own."""
    seeded = random.Random(number)
    keys = [base64.b64encode(seeded.randbytes(16)).decode() for _ in range(wire.TURNS)]
    return [
        (
            wire.upgrade_request(port, key),
            wire.accept_token(key) + b"\r\n",
            window.request,
            window.reply,
        )
        for key, window in zip(keys, wire.windows(number, 1, size, raw=False), strict=True)
    ]
