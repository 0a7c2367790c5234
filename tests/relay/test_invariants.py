"""The eight invariants of the relay contract, section 7, each under its number."""

import asyncio
import random
import tracemalloc

import pytest
from support import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Client,
    Mail,
    both_loops,
    echo,
    keeper,
    room,
    run_on,
    until,
)

from wsrelay import process
from wsrelay_core import watch_exit

MIB = 1024 * 1024


async def hang():
    """A target that takes nothing."""
    await asyncio.get_running_loop().create_future()


async def bounded(mail, limit, go):
    """A target with a bounded mailbox that looks at it only when it is let `go`."""
    process.set_options(mailbox_max=limit)
    await go.wait()
    await keeper(mail)


async def fill(pid, limit):
    """Take every place of a bounded mailbox."""
    await asyncio.sleep(0)  # its first step sets the bound
    for _ in range(limit):
        assert process.send(pid, "filler")
    assert not process.send(pid, "filler")


@both_loops
def test_1_join_is_the_first_message(loop):
    """Also with messages right behind the handshake."""

    async def main():
        async with room() as here:
            codec = Client(None, None).codec
            client = await Client.open(here.port, codec.encode_message("early") * 3)
            await here.mail.until(4)
            assert here.mail.topics() == ["ws.join", *["ws.message"] * 3]
            assert len({message.sender for message in here.mail.all}) == 1
            await client.end()

    run_on(loop, main())


@both_loops
def test_2_one_leave_for_each_join_and_it_is_the_last(loop):
    async def main():
        async with room() as here:
            clients = [await Client.open(here.port) for _ in range(30)]
            for number, client in enumerate(clients):
                client.send("x", "y")
                if number % 3 == 0:
                    client.close(1000)
                elif number % 3 == 1:
                    client.reset()
                else:
                    client.write(b"\xff\xff")
            await asyncio.gather(*(client.rest() for client in clients))
            await until(lambda: len(here.mail.of("ws.leave")) == 30)
            assert not here.websockets()
            for pid in {message.sender for message in here.mail.all}:
                topics = [one.topic for one in here.mail.all if one.sender == pid]
                assert topics[0] == "ws.join" and topics[-1] == "ws.leave"
                assert topics.count("ws.join") == topics.count("ws.leave") == 1
            for client in clients:
                await client.end()

    run_on(loop, main())


@both_loops
def test_2_a_full_mailbox_refuses_neither_join_nor_leave(loop):
    async def main():
        async with room() as here:
            mail, go = Mail(), asyncio.Event()
            here.target = process.spawn(bounded, None, mail, 4, go)
            await fill(here.target, 4)
            async with here.client() as client:
                process.terminate(client.pid)
                await here.exit_of(client)
            go.set()
            await mail.until(6)
            assert mail.topics() == ["filler"] * 4 + ["ws.join", "ws.leave"]

    run_on(loop, main())


@both_loops
def test_3_messages_of_a_client_arrive_in_order(loop):
    async def main():
        async with room() as here, here.client() as client:
            sizes = random.Random(3)
            texts = [str(number).rjust(sizes.choice([5, 200, 70_000])) for number in range(300)]
            for text in texts:
                data = text.encode()
                if sizes.random() < 0.3:
                    client.write(client.frame(TEXT, data[:3], fin=False))
                    client.write(client.frame(0, data[3:]))
                else:
                    client.write(client.frame(TEXT, data))
                await client.writer.drain()
            await here.mail.until(301)
            assert here.mail.data() == texts

    run_on(loop, main())


@both_loops
def test_3_messages_of_a_sender_arrive_in_order_and_before_its_close(loop):
    async def sender(pid):
        for number in range(500):
            topic = "ws.send" if number % 2 else "news"
            assert process.send(pid, topic, {"data": str(number)})
        assert process.send(pid, "ws.close", {"code": 4000})

    async def main():
        async with room() as here, here.client() as client:
            process.spawn(sender, None, client.pid)
            got = await client.rest()
            assert got[-1] == (CLOSE, (4000, ""))
            numbers = [int(text.split('"')[-2] if "{" in text else text) for _, text in got[:-1]]
            assert numbers == list(range(500))

    run_on(loop, main())


@pytest.mark.parametrize("fails", [False, True])
@both_loops
def test_4_what_a_target_sent_is_written_before_the_close_frame(loop, fails):
    """Also to a client that reads slowly, and also if the target fails."""

    async def last_words():
        async for message in process.inbox():
            for number in range(12):
                data = bytes([number]) * 64 * 1024
                assert process.send(message.sender, "ws.send", {"data": data})
            if fails:
                raise RuntimeError("after its last words")
            return

    async def main():
        async with room() as here:
            here.target = here.spawn(last_words)
            async with here.client(receive=4096) as client:
                got = await client.rest()
                assert [data[0] for kind, data in got if kind == BINARY] == list(range(12))
                assert got[-1][1][0] == (1011 if fails else 1000)

    run_on(loop, main())


@pytest.mark.parametrize("end", ["client_close", "terminate", "reset"])
@both_loops
def test_5_leave_precedes_exit_and_the_pid_is_dead_for_ever(loop, end):
    """At the moment of EXIT the target, which had no turn yet, has `ws.leave` in its mailbox."""

    async def main():
        pids = set()
        for _ in range(2):  # a second App is a restart
            async with room() as here:
                here.target = target = here.spawn(hang)
                lengths = []
                async with here.client() as client:
                    watch_exit(
                        here.app.scheduler,
                        client.pid,
                        lambda _, to=lengths, pid=target: to.append(process.info(pid).queue_length),
                    )
                    if end == "client_close":
                        client.close(1000)
                    elif end == "terminate":
                        process.terminate(client.pid)
                    else:
                        client.reset()
                    await here.exit_of(client)
                    assert lengths == [2]  # join and leave
                    assert not process.send(client.pid, "ws.send", {"data": "x"})
                    assert client.pid not in pids
                    assert not any(process.send(pid, "x") for pid in pids)
                    pids.add(client.pid)

    run_on(loop, main())


@both_loops
def test_6_every_connection_ends_in_exactly_one_exit(loop):
    """All causes at once, in random order, on sixty connections."""
    causes = [
        lambda here, client: process.terminate(client.pid),
        lambda here, client: process.cancel(client.pid, None, 0.01),
        lambda here, client: process.send(client.pid, "ws.close", 4000),
        lambda here, client: client.close(1000),
        lambda here, client: client.reset(),
        lambda here, client: client.write(b"\xff\xff"),
        lambda here, client: client.write(client.frame(PING, b"x") * 50),
        lambda here, client: client.send(*map(str, range(2000))),
        lambda here, client: process.send(client.pid, "ws.send", {"data": bytes(MIB)}),
    ]

    async def main():
        chance = random.Random(6)
        async with room({"wsrelay.close.timeout": "50ms"}) as here:
            clients = []
            for _ in range(60):
                here.target = here.spawn(echo)
                client = await Client.open(here.port)
                (client.pid,) = set(here.websockets()) - {one.pid for one in clients}
                here.watch(client.pid)
                client.target = here.target
                clients.append(client)
            for client in clients:
                for cause in chance.sample(causes, 4):
                    if not client.writer.transport.is_closing():
                        cause(here, client)
                    if chance.random() < 0.3:
                        await asyncio.sleep(0)
                if chance.random() < 0.3:
                    process.terminate(client.target)
            for client in clients:
                process.send(client.pid, "ws.close")
            await until(lambda: all(here.exits.values()) and not here.app.scheduler.lingering)
            for client in clients:
                assert len(here.exits[client.pid]) == 1
                assert len(here.records.of(client.pid)) == 1
                await client.end()

    run_on(loop, main())


@both_loops
def test_7_nobody_blocks_another(loop):
    """A slow client, a fast one and a hanging target; another client goes on."""

    async def flood(client):
        while True:
            client.send(*["x" * 1000] * 50)
            await client.writer.drain()

    async def main():
        async with room({"wsrelay.queue.policy": "drop_oldest"}) as here:
            hanging = here.target = here.spawn(hang)
            async with here.client(receive=4096) as slow, here.client() as fast:
                here.target = here.spawn(echo)
                async with here.client() as other:
                    flooding = asyncio.ensure_future(flood(fast))
                    for number in range(100):
                        process.send(slow.pid, "ws.send", {"data": bytes(64 * 1024)})
                        other.send(str(number))
                        assert await other.receive() == (TEXT, str(number))
                    assert process.info(hanging).queue_length <= 1026
                    assert process.info(slow.pid).queue_bytes <= MIB
                    flooding.cancel()

    run_on(loop, main())


@both_loops
def test_8_memory_of_a_connection_is_bounded_whatever_its_client_does(loop):
    """Ten clients that do not read: pings, unfinished messages, messages nobody takes."""

    async def main():
        async with room() as here:
            here.target = here.spawn(hang)
            clients = [await Client.open(here.port, receive=4096) for _ in range(10)]
            probe = clients[0]
            flood = probe.frame(PING, b"x" * 100) * 30_000
            flood += probe.frame(TEXT, b"x" * 1000) * 100
            flood += probe.frame(BINARY, bytes(MIB // 2), fin=False)
            tracemalloc.start()
            try:
                for client in clients:
                    client.writer.transport.set_write_buffer_limits(high=0)
                    client.write(flood)
                await asyncio.sleep(0)
                sent = tracemalloc.get_traced_memory()[0]
                await until(
                    lambda: (
                        all(one.writer.transport.get_write_buffer_size() == 0 for one in clients)
                        or process.info(here.target).queue_length >= 1024
                    )
                )
                grown = tracemalloc.get_traced_memory()[0] - sent
            finally:
                tracemalloc.stop()
            assert grown < 10 * 2 * MIB
            for client in clients:
                await client.end()

    run_on(loop, main())
