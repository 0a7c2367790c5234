"""The loop of the load generator, in C: built here on first use with the system's C compiler.

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
from functools import cache
from pathlib import Path

from bench.wire import TURNS

SOURCE = Path(__file__).with_suffix(".c")
BUILD = SOURCE.parents[1] / "build" / "bench"
BUCKETS = 64 * 59

OK, WRONG, CLOSED, FAILED = range(4)


class Window(ctypes.Structure):
    """`struct window`."""

    _fields_ = (("request", ctypes.c_char_p), ("reply", ctypes.c_char_p))


class Connection(ctypes.Structure):
    """`struct connection`."""

    _fields_ = (
        ("windows", Window * TURNS),
        ("sent_at", ctypes.c_int64),
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
        ("windows_left", ctypes.c_int64),
        ("windows_done", ctypes.c_int64),
        ("waiting", ctypes.c_int64),
        ("faulty", ctypes.c_int64),
        ("scratch_size", ctypes.c_int64),
        ("request_size", ctypes.c_uint32),
        ("reply_size", ctypes.c_uint32),
        ("epoll", ctypes.c_int32),
        ("error", ctypes.c_int32),
    )


@cache
def library() -> ctypes.CDLL:
    """Build the loop unless this very source is built already, and load it."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = BUILD / f"pump-{digest}.so"
    if not target.exists():
        compile_to(target)
    loaded = ctypes.CDLL(str(target))
    for function in (loaded.attach, loaded.start, loaded.serve):
        function.argtypes = (ctypes.POINTER(State), ctypes.c_int64)
        function.restype = ctypes.c_int
    loaded.bucket_of.argtypes = (ctypes.c_int64,)
    loaded.bucket_of.restype = ctypes.c_int64
    return loaded


def compile_to(target: Path) -> None:
    """Compile the loop; several processes may do so at a time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    options = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-shared", "-fPIC"]
    subprocess.run([*compiler, *options, "-o", str(unfinished), str(SOURCE)], check=True)
    unfinished.rename(target)


def bucket_floor(index: int) -> int:
    """Tell the nanoseconds at which a bucket of latencies begins: the inverse of `bucket_of`."""
    width = max(0, index // 64 - 1)
    return (index - width * 64) << width


def percentile(counts: list[int], share: float) -> float:
    """Find the microseconds that this share of all latencies does not pass (to 1/64); 0 of none."""
    left = share * sum(counts)
    for index, count in enumerate(counts):
        left -= count
        if count and left <= 0:
            return bucket_floor(index) / 1000
    return 0.0
