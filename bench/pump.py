"""The loops of the load generator, in C: built here on first use with the system's C compiler.

Why C: with one message in flight, sending and receiving one takes the kernel as long on this side
as on the server's. The same loop in Python added about a sixth to that, which was enough to make
the load generator the limit before the faster servers were. And why not the wsrelay core: a tool
that shares code with what it measures hides that code's faults.
"""

import ctypes
import hashlib
import os
import shlex
import subprocess
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.wire import TURNS

SOURCES = tuple(Path(__file__).with_name(name) for name in ("pump.c", "sessions.c", "floor.c"))
BUILD = Path(__file__).parents[1] / "build" / "bench"
BUCKETS = 64 * 59
ANSWER = 4096  # bytes that sessions.c keeps of an answer

OK, WRONG, CLOSED, FAILED = range(4)
MODES = {"echo": 0, "paced": 1, "fan": 2}


class Window(ctypes.Structure):
    """`struct window`."""

    _fields_ = (("request", ctypes.c_char_p), ("reply", ctypes.c_char_p))


class Connection(ctypes.Structure):
    """`struct connection`."""

    _fields_ = (
        ("windows", Window * TURNS),
        ("sent_at", ctypes.c_int64),
        ("due", ctypes.c_int64),
        ("sent", ctypes.c_uint32),
        ("got", ctypes.c_uint32),
        ("fd", ctypes.c_int32),
        ("turn", ctypes.c_int32),
        ("busy", ctypes.c_int32),
    )


class State(ctypes.Structure):
    """`struct load`."""

    _fields_ = (
        ("connections", ctypes.POINTER(Connection)),
        ("scratch", ctypes.c_void_p),
        ("latencies", ctypes.POINTER(ctypes.c_int64)),
        ("lateness", ctypes.POINTER(ctypes.c_int64)),
        ("count", ctypes.c_int64),
        ("pause", ctypes.c_int64),
        ("together", ctypes.c_int64),
        ("slot", ctypes.c_int64),
        ("slot_due", ctypes.c_int64),
        ("windows_left", ctypes.c_int64),
        ("windows_done", ctypes.c_int64),
        ("waiting", ctypes.c_int64),
        ("faulty", ctypes.c_int64),
        ("scratch_size", ctypes.c_int64),
        ("request_size", ctypes.c_uint32),
        ("reply_size", ctypes.c_uint32),
        ("epoll", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("mode", ctypes.c_int32),
    )


class Script(ctypes.Structure):
    """`struct script` of sessions.c."""

    _fields_ = (
        ("upgrade", ctypes.c_char_p),
        ("accept", ctypes.c_char_p),
        ("request", ctypes.c_char_p),
        ("reply", ctypes.c_char_p),
    )


class Session(ctypes.Structure):
    """`struct session`."""

    _fields_ = (
        ("scripts", Script * TURNS),
        ("begun_at", ctypes.c_int64),
        ("got", ctypes.c_uint32),
        ("fd", ctypes.c_int32),
        ("turn", ctypes.c_int32),
        ("stage", ctypes.c_int32),
        ("answer", ctypes.c_char * ANSWER),
    )


class SessionsState(ctypes.Structure):
    """`struct sessions`."""

    _fields_ = (
        ("sessions", ctypes.POINTER(Session)),
        ("close", ctypes.c_char_p),
        ("latencies", ctypes.POINTER(ctypes.c_int64)),
        ("count", ctypes.c_int64),
        ("left", ctypes.c_int64),
        ("begun", ctypes.c_int64),
        ("done", ctypes.c_int64),
        ("open", ctypes.c_int64),
        ("faulty", ctypes.c_int64),
        ("upgrade_size", ctypes.c_uint32),
        ("accept_size", ctypes.c_uint32),
        ("request_size", ctypes.c_uint32),
        ("reply_size", ctypes.c_uint32),
        ("close_size", ctypes.c_uint32),
        ("epoll", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("port", ctypes.c_uint16),
    )


@cache
def library() -> ctypes.CDLL:
    """Build the loop unless this very source is built already, and load it."""
    text = b"".join(source.read_bytes() for source in SOURCES)
    target = BUILD / f"pump-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not target.exists():
        compile_to(target)
    loaded = ctypes.CDLL(str(target))
    state, sessions = ctypes.POINTER(State), ctypes.POINTER(SessionsState)
    loaded.attach.argtypes = loaded.start.argtypes = [state]
    loaded.serve.argtypes = [state, ctypes.c_int64]
    loaded.sessions_start.argtypes = [sessions]
    loaded.sessions_serve.argtypes = [sessions, ctypes.c_int64]
    loaded.sessions_abort.argtypes = [sessions]
    loaded.sessions_abort.restype = None
    loaded.floor_serve.argtypes = [ctypes.c_int32]
    loaded.bucket_of.argtypes = [ctypes.c_int64]
    loaded.bucket_of.restype = ctypes.c_int64
    return loaded


def compile_to(target: Path) -> None:
    """Compile the loops; several processes may do so at a time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    options = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-shared", "-fPIC"]
    command = [*compiler, *options, "-o", str(unfinished), *map(str, SOURCES)]
    subprocess.run(command, check=True)
    unfinished.rename(target)


def bucket_floor(index: int) -> int:
    """Tell the nanoseconds at which a bucket of latencies begins: the inverse of `bucket_of`."""
    width = max(0, index // 64 - 1)
    return (index - width * 64) << width


def percentile(counts: Sequence[int], share: float) -> float:
    """Find the microseconds that this share of all latencies does not pass (to 1/64); 0 of none."""
    left = share * sum(counts)
    for index, count in enumerate(counts):
        left -= count
        if count and left <= 0:
            return bucket_floor(index) / 1000
    return 0.0
