"""The count of live objects of a debug build; `conftest.py` leaves this out of others."""

import gc

import pytest
from core_helpers import Core

from wsrelay_core import (
    PID,
    FrameCodec,
    Message,
    Process,
    Result,
    _live,
    current_process,
    send,
)


class Own(Process):
    """A class in Python on a class of the core."""


def grown(before: dict[str, int]) -> dict[str, int]:
    """What is alive that was not before."""
    return {
        name: count - before.get(name, 0)
        for name, count in _live.alive().items()
        if count != before.get(name, 0)
    }


@pytest.mark.parametrize("kind", [Result, Process, FrameCodec, PID])
def test_each_object_is_counted_once(kind: type) -> None:
    before = _live.alive()
    kept = [kind.__new__(kind) for _ in range(3)]
    assert grown(before) == {kind.__name__: 3}
    del kept[0]
    assert grown(before) == {kind.__name__: 2}
    kept.clear()
    assert grown(before) == {}


def test_a_class_in_python_counts_as_what_it_stands_on() -> None:
    before = _live.alive()
    kept = [Own(), Own()]
    assert grown(before) == {"Process": 2}
    kept.clear()
    assert grown(before) == {}


def test_an_object_that_is_refused_is_not_counted() -> None:
    before = _live.alive()
    with pytest.raises(TypeError):
        FrameCodec(no_such_option=1)
    gc.collect()
    assert grown(before) == {}


def test_messages_come_out_of_no_freelist(run) -> None:
    """Of one a message would die for each life, but be born only once."""

    async def body(found: list[Message]) -> None:
        box = current_process().inbox()
        for _ in range(5):
            send(current_process().pid, "n")
            found.append(await box.receive())

    async def main() -> None:
        async with Core() as core:
            for _ in range(2):
                before = _live.alive().get("Message", 0)
                found: list[Message] = []
                await core.spawn(body, found).task
                assert _live.alive()["Message"] - before == 5
                del found

    run(main())
