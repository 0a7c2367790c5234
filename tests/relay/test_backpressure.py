"""Slow clients and fast clients: bounded memory, nothing lost, everybody else is served."""

import asyncio

import pytest
from memory import memory_below
from support import BINARY, CLOSE, PING, PONG, TEXT, Mail, both_loops, echo, room, run_on, until

from wsrelay import process
from wsrelay.errors import NoProcess
from wsrelay_core import resolve
from wsrelay_core._frame import FrameCodec

KIB = 1024
MIB = 1024 * KIB
FRAME = {"type": "binary", "data": bytes(64 * KIB)}
FRAMES = 100 * MIB // (64 * KIB)
SLOW = {"receive": 4 * KIB}  # a client whose kernel takes little


async def echoes(client, count):
    """The client is served."""
    for number in range(count):
        client.send(str(number))
        assert await client.receive() == (TEXT, str(number))


# -- a client that does not read -------------------------------------------------------------------


async def stream(pid, wait, done):
    """Send 100 MiB; `done` gets how many frames were accepted."""
    accepted = 0
    for _ in range(FRAMES):
        if wait == "drained":
            await process.drained(pid)
        elif wait == "sleep":
            await asyncio.sleep(0)
        accepted += process.send(pid, "ws.send", FRAME)
    done.set_result(accepted)


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest"])
@pytest.mark.parametrize("wait", ["drained", "sleep", "none"])
@both_loops
def test_a_hundred_mebibytes_for_a_client_that_never_reads(loop, wait, policy):
    async def main():
        options = {"wsrelay.queue.policy": policy}
        async with room(options) as here, here.client(**SLOW) as slow:
            here.target = here.spawn(echo)
            async with here.client() as other:
                await echoes(other, 5)
                done = asyncio.get_running_loop().create_future()
                with memory_below(2 * MIB):
                    sender = process.spawn(stream, None, slow.pid, wait, done)
                    await echoes(other, 50)
                    if wait != "drained":
                        await done
                facts = process.info(slow.pid)
                assert facts.queue_bytes <= MIB + KIB
                if wait == "drained":
                    assert not done.done() and facts.state == "running"
                    process.terminate(sender)
                elif policy == "close":
                    assert facts.state == "closing" and done.result() < FRAMES // 10
                else:
                    assert facts.state == "running" and facts.dropped > FRAMES // 2
                    assert (done.result() == FRAMES) == (policy == "drop_oldest")

    run_on(loop, main())


@both_loops
def test_drop_newest_keeps_the_first_and_drop_oldest_the_last(loop):
    async def main(policy):
        options = {"wsrelay.queue.policy": policy, "wsrelay.queue.max": "200KiB"}
        async with room(options) as here, here.client(**SLOW) as client:
            sent = 600
            for number in range(sent):
                data = number.to_bytes(4, "big") * (5 * KIB)
                process.send(client.pid, "ws.send", {"data": data})
            facts = process.info(client.pid)
            assert facts.dropped > 0 and facts.handled + facts.dropped == sent
            process.send(client.pid, "ws.close")
            got = await client.rest()
            numbers = [int.from_bytes(data[:4], "big") for kind, data in got if kind == BINARY]
            assert numbers == sorted(numbers) and len(numbers) == facts.handled
            assert got[-1] == (CLOSE, (1000, ""))
            if policy == "drop_newest":
                assert numbers == list(range(facts.handled))
            else:
                assert numbers[0] == 0 and numbers[-1] == sent - 1
            record = (await here.exit_of(client)).result.value
            assert record["messages_out"] == facts.handled

    run_on(loop, main("drop_newest"))
    run_on(loop, main("drop_oldest"))


@pytest.mark.parametrize("limit", ["1B", "100B", "10KiB"])
@both_loops
def test_a_small_limit_still_takes_any_message_of_a_client_that_reads(loop, limit):
    async def main():
        async with room({"wsrelay.queue.max": limit}) as here:
            here.target = here.spawn(echo)
            async with here.client() as client:
                for text in ("a", "b" * 1000, "c" * 200_000):
                    client.send(text)
                    assert await client.receive() == (TEXT, text)

    run_on(loop, main())


@both_loops
def test_drained_waits_until_the_client_has_read(loop):
    async def main():
        async with room() as here, here.client(**SLOW) as client:
            await process.drained(client.pid)
            while process.info(client.pid).queue_bytes < 600 * KIB:
                assert process.send(client.pid, "ws.send", FRAME)
                await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await process.drained(client.pid, timeout=0.01)
            waiting = asyncio.ensure_future(process.drained(client.pid))
            last = asyncio.ensure_future(process.drained(client.pid, below=1))
            await asyncio.sleep(0)
            process.send(client.pid, "ws.close")
            await client.rest()
            await waiting
            await last

    run_on(loop, main())


@both_loops
def test_drained_fails_with_the_connection(loop):
    async def main():
        async with room() as here, here.client(**SLOW) as client:
            while process.info(client.pid).queue_bytes < 600 * KIB:
                process.send(client.pid, "ws.send", FRAME)
                await asyncio.sleep(0)
            waiting = asyncio.ensure_future(process.drained(client.pid))
            await asyncio.sleep(0)
            process.terminate(client.pid)
            with pytest.raises(NoProcess):
                await waiting
            with pytest.raises(NoProcess):
                await process.drained(client.pid)

    run_on(loop, main())


@both_loops
def test_a_stream_with_drained_arrives_whole(loop):
    async def streamer(pid):
        for number in range(400):
            await process.drained(pid)
            assert process.send(pid, "ws.send", {"data": number.to_bytes(4, "big") * 4 * KIB})
        process.send(pid, "ws.close")

    async def main():
        async with room({"wsrelay.queue.max": "100KiB"}) as here, here.client() as client:
            process.spawn(streamer, None, client.pid)
            got = await client.rest()
            assert [int.from_bytes(data[:4], "big") for _, data in got[:-1]] == list(range(400))

    run_on(loop, main())


@both_loops
def test_a_fast_reader_does_not_let_its_streamer_keep_the_loop(loop):
    """`drained` gives way even where it need not wait."""

    async def streamer(pid, turns):
        for _ in range(20):
            await process.drained(pid)
            turns.append("stream")

    async def main():
        async with room() as here, here.client() as client:
            turns = []
            process.spawn(streamer, None, client.pid, turns)
            while turns.count("stream") < 20:
                turns.append("loop")
                await asyncio.sleep(0)
            assert turns.count("loop") >= 10

    run_on(loop, main())


@both_loops
def test_a_flood_of_pings_from_a_client_that_does_not_read(loop):
    async def main():
        async with room() as here:
            here.target = here.spawn(echo)
            async with here.client(**SLOW) as client, here.client() as other:
                while not process.info(client.pid).queue_bytes:
                    process.send(client.pid, "ws.send", FRAME)
                    await asyncio.sleep(0)
                pings = [client.frame(PING, b"%d" % number) for number in range(20_000)]
                with memory_below(4 * MIB):
                    client.write(b"".join(pings))
                    await client.read_by_server()
                    await until(lambda: here.app.scheduler.idle)  # and has decoded all
                    await echoes(other, 10)
                queued = process.info(client.pid).queue_length
                assert queued <= 2
                process.send(client.pid, "ws.close")
                got = await client.rest()
                pongs = [payload for kind, payload in got if kind == PONG]
                assert pongs == [b"19999"]

    run_on(loop, main())


@both_loops
def test_a_flood_of_pings_from_a_client_that_reads(loop):
    async def main():
        async with room() as here, here.client() as client:
            for start in range(0, 20_000, 1000):
                numbers = [b"%d" % number for number in range(start, start + 1000)]
                client.write(b"".join(client.frame(PING, number) for number in numbers))
                assert [await client.receive() for _ in numbers] == [(PONG, n) for n in numbers]

    run_on(loop, main())


# -- a client that floods --------------------------------------------------------------------------


async def flood(client, count, size=0):
    """Numbered messages as fast as TCP takes them."""
    for start in range(0, count, 100):
        client.send(*(str(number).rjust(size) for number in range(start, start + 100)))
        await client.writer.drain()


async def taker(mail, most, limit, turn):
    """A target that takes a few messages in each turn of the loop."""
    if limit:
        process.set_options(mailbox_max=limit)
    async for message in process.inbox():
        facts = process.info(process.pid())
        most["length"] = max(most["length"], facts.queue_length)
        most["bytes"] = max(most["bytes"], facts.queue_bytes)
        most["dropped"] = facts.dropped
        mail.put(message)
        if len(mail.all) % turn == 0:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "limit, size, turn, length, most_bytes",
    [(0, 0, 20, 1024, MIB), (100, 0, 5, 50, MIB), (0, 64 * KIB, 1, 129, 8 * MIB + 64 * KIB)],
    ids=["count", "mailbox_max", "bytes"],
)
@both_loops
def test_a_flooding_client_is_slowed_and_nothing_is_lost(
    loop, limit, size, turn, length, most_bytes
):
    count = 2000 if size else 20_000

    async def main():
        async with room() as here:
            mail, most = Mail(), {"length": 0, "bytes": 0, "dropped": 0}
            here.target = process.spawn(taker, None, mail, most, limit, turn)
            async with here.client() as client:
                here.target = here.spawn(echo)
                async with here.client() as other:
                    flooding = asyncio.ensure_future(flood(client, count, size))
                    await echoes(other, 30)
                    await until(lambda: len(mail.of("ws.message")) == count)
                    await flooding
            assert [int(data) for data in mail.data()] == list(range(count))
            assert length - 2 <= most["length"] <= length + 2
            assert most["bytes"] <= most_bytes and most["dropped"] == 0

    run_on(loop, main())


@pytest.mark.parametrize("kind", ["messages", "fragments"])
@both_loops
def test_a_flood_that_comes_in_one_read_has_turns(loop, kind):
    """Others are served before it is all decoded, which takes 50 ms where it is fragments."""
    codec = FrameCodec(client=True)
    message = codec.encode_frame(TEXT, b"f", kind == "messages")
    if kind == "fragments":
        message += codec.encode_frame(0, b"f", True)
    count = 60_000 // len(message)

    async def main():
        async with room() as here:
            mail = Mail()
            here.target = process.spawn(taker, None, mail, {"length": 0, "bytes": 0}, 0, 10**9)
            async with here.client() as client:
                here.target = here.spawn(echo)
                async with here.client() as other:
                    client.write(message * count)
                    await client.read_by_server()
                    await echoes(other, 1)
                    assert len(mail.of("ws.message")) < count / 2
                    await until(lambda: len(mail.of("ws.message")) == count)

    run_on(loop, main())


@both_loops
def test_a_flooding_client_does_not_keep_others_from_the_same_target(loop):
    async def main():
        async with room() as here:
            mail, most = Mail(), {"length": 0, "bytes": 0, "dropped": 0}
            here.target = process.spawn(taker, None, mail, most, 0, 50)
            async with here.client() as client, here.client() as other:
                flooding = asyncio.ensure_future(flood(client, 10**9))
                await until(lambda: len(mail.all) > 3000)
                for number in range(10):
                    before = len(mail.all)
                    other.send(f"other {number}")
                    await until(lambda text=f"other {number}": text in mail.data()[-3000:])
                    assert len(mail.all) - before < 20_000
                flooding.cancel()

    run_on(loop, main())


@both_loops
def test_a_target_that_hangs_stops_the_clock_of_its_clients(loop):
    """Pings and idle time of a client that we do not read are not held against it."""

    async def hang():
        await asyncio.get_running_loop().create_future()

    async def main():
        async with room({"wsrelay.idle.timeout": "30s"}, clock=True) as here:
            here.target = here.spawn(hang)
            async with here.client() as client:
                client.send(*map(str, range(3000)))
                await until(lambda: process.info(here.target).queue_length >= 1024)
                here.advance(3600)
                assert resolve(client.pid).is_open
                process.terminate(here.target)
                assert (await client.rest())[-1] == (CLOSE, (1011, "target process failed"))

    run_on(loop, main())


# -- unfinished messages ---------------------------------------------------------------------------


@both_loops
def test_parked_fragments_end_the_biggest(loop):
    async def main():
        options = {"wsrelay.message.max": "40MiB"}
        async with (
            room(options) as here,
            here.client() as one,
            here.client() as two,
            here.client() as three,
        ):
            for client, size in ((one, 20), (two, 30), (three, 25)):
                client.write(client.frame(BINARY, bytes(size * MIB), fin=False))
                await client.writer.drain()
            assert (await two.rest())[-1] == (CLOSE, (1009, "message too big"))
            for client in (one, three):
                client.write(client.frame(0, b"end"))
            await here.mail.until(6)
            sizes = sorted(len(data) for data in here.mail.data())
            assert sizes == [20 * MIB + 3, 25 * MIB + 3]

    run_on(loop, main())


@both_loops
def test_a_trickle_is_life_until_the_message_is_too_old(loop):
    async def main():
        async with room(clock=True) as here, here.client() as client:
            data = client.frame(TEXT, b"x" * 100)
            for index in range(5):
                client.write(data[index : index + 1])
                await client.read_by_server()
                here.advance(11.9)
                assert resolve(client.pid).is_open
            here.advance(0.6)
            # Its answer would be read as bytes of the unfinished frame: only ours is looked at.
            while (event := await client.receive())[0] != CLOSE:
                pass
            assert event == (CLOSE, (1008, "message timeout"))

    run_on(loop, main())
