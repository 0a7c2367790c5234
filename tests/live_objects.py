"""In a debug build (`WSRELAY_DEBUG=1`): no test leaves an object of the core alive."""

import gc
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

try:
    from wsrelay_core import _live
except ImportError:  # a release build counts nothing
    _live = None
else:
    _live.watch()

COUNTED = _live is not None
PATIENCE = 1.0  # seconds


@pytest.fixture(autouse=COUNTED)
def nothing_stays_alive(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test after which there are more objects of the core than before it."""
    before = Counter(_live.alive())
    threads = threading.enumerate()
    yield
    for phase in ("setup", "call", "teardown"):
        caplog.get_records(phase).clear()  # pytest keeps them, and they their tracebacks
    for thread in set(threading.enumerate()).difference(threads):
        thread.join(PATIENCE)  # one of a pool that ends just now holds what it ran last
    gc.collect()
    left = dict(Counter(_live.alive()) - before)
    if left:
        pytest.fail(f"objects of the core are still alive: {left}", pytrace=False)
