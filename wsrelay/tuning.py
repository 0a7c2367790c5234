"""Settings of the whole OS process that keep pauses short; `wsrelay run` makes them.

They belong to the program, not to a library in it: an app in code calls `tune()` itself, once, when
all is imported and before `app.run()`.
"""

import contextlib
import ctypes
import gc

__all__ = ["GC_THRESHOLD", "tune"]

GC_THRESHOLD = 10_000
PYTHONS_THRESHOLDS = (700, 2000)  # until 3.12, and since
M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE = 128 * 1024  # bytes; where glibc begins, before it adapts


def tune(gc_threshold: int | None = None) -> None:
    """Let nobody wait for garbage collections and for the growth of large messages.

    What was imported is kept out of collections (`gc.freeze`), and they are seldom: messages that
    wait for their turn look like many new objects, though hardly any is garbage that only a
    collection finds. Large memory is taken from the system by itself (glibc only): it grows without
    being copied, and goes back whole.

    Args:
        gc_threshold: new objects until garbage is collected (`gc.set_threshold`), 0 for never; None
            for 10 000, or for what the program has set by itself.
    """
    gc.collect()
    gc.freeze()
    if gc_threshold is not None:
        gc.set_threshold(gc_threshold)
    elif gc.get_threshold()[0] in PYTHONS_THRESHOLDS:
        gc.set_threshold(GC_THRESHOLD)
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
