"""Drains amid many reads: what they brought is worked off while it is near."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from connection_helpers import TEXT, Stage, client_text, echo, frames, on_loop, say, settle, until


async def in_one_turn(stage: Stage, pairs: list, look: Callable[[], Any]) -> Any:
    """A message of each client, as a loop brings it: from no task; what is to be seen then."""

    def read() -> None:
        for number, (connection, _) in enumerate(pairs):
            stage.read(connection, client_text(str(number)))
        done.set_result(look())

    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(read)
    return await done


@on_loop
async def test_what_many_reads_brought_is_answered_before_the_loop_reads_on():
    stage = Stage()
    pairs = [stage.connect(stage.spawn(echo)) for _ in range(100)]
    await settle()
    writes = await in_one_turn(stage, pairs, lambda: [wire.writes for _, wire in pairs])
    assert writes == [1] * 96 + [0] * 4
    await settle()
    assert [frames(wire) for _, wire in pairs] == [[(TEXT, str(number))] for number in range(100)]
    await stage.stop()


@on_loop
async def test_a_message_for_all_is_not_written_early():
    """All that a turn of the loop brings goes out to each of them in one write."""
    stage = Stage()

    async def shout(process):
        async for message in process.inbox():
            if message.topic == "ws.message":
                for connection, _ in pairs:
                    say(connection, message.payload["data"])

    target = stage.spawn(shout)
    pairs = [stage.connect(target) for _ in range(100)]
    await settle()
    assert not await in_one_turn(stage, pairs, lambda: sum(wire.writes for _, wire in pairs))
    await settle()
    assert [len(frames(wire)) for _, wire in pairs] == [100] * 100
    assert [wire.writes for _, wire in pairs] == [1] * 100
    await stage.stop()


@on_loop
@pytest.mark.parametrize("took", [0.001, 0.0002])
async def test_early_drains_of_a_turn_have_a_limit(took):
    """One drain's, and three times what reading takes."""
    stage = Stage()

    async def slow(process):
        async for message in process.inbox():
            if message.topic == "ws.message":
                end = time.perf_counter() + took
                while time.perf_counter() < end:
                    pass
                stepped.append(message)

    stepped = []
    pairs = [stage.connect(stage.spawn(slow)) for _ in range(200)]
    await settle()
    begin = time.perf_counter()
    early, end = await in_one_turn(stage, pairs, lambda: (len(stepped), time.perf_counter()))
    reading = end - begin - early * took
    most = 0.005 + 3 * reading + 8 * took  # steps between two looks at the clock
    assert 0 < early * took <= most
    await until(lambda: len(stepped) == 200)
    await stage.stop()


def test_what_ends_the_program_is_no_fault_of_the_connection_that_read_last():
    """The loop gets it, as from any drain, and not the transport."""

    async def main():
        stage = Stage()
        pairs = [stage.connect(stage.spawn(echo)) for _ in range(32)]
        await settle()
        pairs[0][1].error = SystemExit("enough")
        try:
            await in_one_turn(stage, pairs, lambda: reached.append(True))
            await settle()
        finally:
            pairs[0][1].error = None
            await stage.stop()

    reached = []
    with pytest.raises(SystemExit, match="enough"):
        asyncio.run(main())
    assert reached
