"""Clients of the wrong speed: plain, fragmented, compressed and broadcast traffic.

What `tests/relay/test_backpressure.py` shows for plain frames of one sender is not repeated here.
"""

import asyncio
import logging
import os
import socket

import aiohttp
import pytest
from memory import memory_below
from prometheus_client.parser import text_string_to_metric_families as families
from support import BINARY, CLOSE, TEXT, Client, Mail, both_loops, echo, keeper, room, run_on, until

from wsrelay import process
from wsrelay_core import resolve

KIB = 1024
MIB = 1024 * KIB
SLOW = {"receive": 4 * KIB}  # a client whose kernel takes little
CLOSED = bytes([7])  # TCP_CLOSE of Linux
NOISE = os.urandom(64 * KIB)  # compression makes nothing of it
POLICIES = ["close", "drop_newest", "drop_oldest"]


async def scraped(port):
    """The page of `metrics`: values by name and labels."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = await answer.text()
    return {
        (one.name, *one.labels.values()): one.value
        for family in families(text)
        for one in family.samples
    }


def told(caplog):
    """Lines on messages that are dropped."""
    return [one for one in caplog.messages if "messages are dropped" in one]


# -- clients that do not read ----------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_has_its_counter_and_its_line(policy, caplog):
    """Of a broadcast a slow client's part is dropped, and the fast one's is not."""

    async def main():
        options = {
            "wsrelay.queue.policy": policy,
            "wsrelay.close.timeout": "100ms",
        }
        async with room(options, middleware=["metrics"]) as here, here.client(**SLOW) as slow:
            here.target = here.spawn()
            async with here.client() as fast:
                accepted = []
                with memory_below(3 * MIB):
                    for _ in range(60):  # 15 MiB; the kernel takes four at most
                        accepted.append(process.broadcast([slow.pid, fast.pid], "ws.send", FRAME))
                        assert await fast.receive() == (BINARY, FRAME["data"])
                lost = accepted.count(1)
                assert accepted[0] == 2 and (lost > 20 or policy == "drop_oldest")
                found = await scraped(here.port)
                key = ("wsrelay_messages_dropped_total", policy)
                if policy == "close":
                    assert key not in found and told(caplog) == []
                    record = (await here.exit_of(slow)).result.value
                    assert (record["cause"], record["code"]) == ("slow_consumer", 1013)
                    found = await scraped(here.port)
                    ended = ("wsrelay_connections_ended_total", "slow_consumer", "1013")
                    assert found[ended] == 1
                    return
                dropped = process.info(slow.pid).dropped
                assert found[key] == dropped > 20
                assert lost == (0 if policy == "drop_oldest" else dropped)
                assert len(told(caplog)) == 1
                assert slow.pid in told(caplog)[0] and policy in told(caplog)[0]
                process.terminate(slow.pid)
                await here.exit_of(slow)
                assert (await scraped(here.port))[key] == dropped  # it has been counted on

    caplog.set_level(logging.INFO)
    run_on("uvloop", main())
    assert len(told(caplog)) == (policy != "close")


FRAME = {"type": "binary", "data": bytes(256 * KIB)}


@both_loops
def test_many_slow_clients_are_few_lines(loop, caplog):
    """And a client that has caught up is told of anew when it falls behind again."""

    async def main():
        options = {"wsrelay.queue.policy": "drop_newest"}
        async with room(options) as here, here.client(**SLOW) as one, here.client(**SLOW) as two:

            def drown(client):
                while process.send(client.pid, "ws.send", FRAME):
                    pass

            drown(one)
            drown(two)
            drown(one)
            assert len(told(caplog)) == 1
            assert (await one.receive())[0] == BINARY
            while process.info(one.pid).queue_bytes:
                await one.receive()
            resolve(one.pid).relay.overflow_log.most = 100  # in place of ten seconds
            drown(one)
            assert len(told(caplog)) == 2

    caplog.set_level(logging.INFO)
    run_on(loop, main())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_compressed_client_that_does_not_read(policy):
    """Bounded by what is queued, which is the compressed form."""

    async def main():
        options = {"wsrelay.queue.policy": policy, "wsrelay.compression": "permessage-deflate"}
        async with room(options) as here, here.client(**SLOW, deflate=True) as slow:
            here.target = here.spawn(echo)
            async with here.client() as other:
                with memory_below(3 * MIB):
                    for number in range(160):  # 10 MiB
                        process.send(slow.pid, "ws.send", {"data": NOISE})
                        if number % 8 == 0:
                            other.send("x")
                            assert await other.receive() == (TEXT, "x")
                facts = process.info(slow.pid)
                assert facts.queue_bytes <= MIB + KIB
                assert facts.state == ("closing" if policy == "close" else "running")
                assert (facts.dropped > 0) == (policy != "close")

    run_on("uvloop", main())


@pytest.mark.parametrize("end", ["close", "terminate"])
@both_loops
def test_the_kernel_keeps_nothing_for_a_client_that_is_cut_off(loop, end):
    """It would go on for minutes to offer what it holds; the client is told by a reset."""

    async def main():
        async with room({"wsrelay.close.timeout": "100ms"}) as here, here.client(**SLOW) as slow:
            while not process.info(slow.pid).queue_bytes:
                process.send(slow.pid, "ws.send", FRAME)
                await asyncio.sleep(0)
            sock = slow.writer.get_extra_info("socket")
            if end == "close":
                process.send(slow.pid, "ws.close")
            else:
                process.terminate(slow.pid)
            await here.exit_of(slow)
            # Of a reset the client's kernel knows at once, without a read; ENOTCONN then.
            await until(lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == CLOSED)

    run_on(loop, main())


# -- clients that flood ----------------------------------------------------------------------------


def fragmented(client, text, pieces):
    """A text message in as many frames."""
    data = text.encode()
    size = -(-len(data) // pieces)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(parts) - 1
    return b"".join(
        client.frame(0 if at else TEXT, part, fin=at == last) for at, part in enumerate(parts)
    )


@pytest.mark.parametrize("how", ["fragmented", "compressed"])
def test_a_flood_to_a_slow_target(how):
    """The client is slowed by TCP; every message arrives once and in order, in bounded memory."""
    count, size = 600, 16 * KIB
    compressed = how == "compressed"

    async def slow_target(mail):
        async for message in process.inbox():
            mail.put(message)
            if message.topic == "ws.message":
                message.payload["data"] = message.payload["data"][:10]  # the test keeps little
            if len(mail.all) % 20 == 0:
                await asyncio.sleep(0)

    async def main():
        options = {"wsrelay.compression": "permessage-deflate"} if compressed else {}
        async with room(options) as here:
            mail = Mail()
            here.target = here.spawn(slow_target, mail)
            async with here.client(deflate=compressed) as client:
                client.writer.transport.set_write_buffer_limits(high=64 * KIB)

                async def flood():
                    for number in range(count):
                        text = str(number).ljust(size, ".")
                        client.write(
                            client.codec.encode_message(text)
                            if compressed
                            else fragmented(client, text, 8)
                        )
                        await client.writer.drain()

                here.target = here.spawn(echo)
                async with here.client() as other:
                    with memory_below(12 * MIB):
                        flooding = asyncio.ensure_future(flood())
                        for number in range(20):
                            other.send(str(number))
                            assert await other.receive() == (TEXT, str(number))
                        await flooding
                        await until(lambda: len(mail.of("ws.message")) == count)
            numbers = [int(data.rstrip(".")) for data in mail.data()]
            assert numbers == list(range(count))

    run_on("uvloop", main())


@pytest.mark.parametrize("how", ["fragmented", "compressed"])
def test_a_flood_to_a_target_that_hangs(how):
    """Not more than the high-water mark waits for it, however the messages come."""
    compressed = how == "compressed"

    async def hangs(go, mail):
        await go.wait()
        await keeper(mail)

    async def main():
        go, mail = asyncio.Event(), Mail()
        options = {"wsrelay.compression": "permessage-deflate"} if compressed else {}
        async with room(options) as here:
            here.target = here.spawn(hangs, go, mail)
            async with here.client(deflate=compressed) as client:
                texts = [str(number) for number in range(5000)]
                for text in texts:
                    client.write(
                        client.codec.encode_message(text)
                        if compressed
                        else fragmented(client, text, 2)
                    )
                target = here.target
                await until(lambda: process.info(target).queue_length >= 1024)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert process.info(target).queue_length <= 1026
                process.send(client.pid, "ws.send", {"data": "still heard"})
                assert await client.receive() == (TEXT, "still heard")
                go.set()
                await until(lambda: len(mail.of("ws.message")) == 5000)
                assert mail.data() == texts

    run_on("uvloop", main())


def test_a_stalled_client_holds_no_broadcast_up():
    """Six of eight do not read; the others get every message at once, in order."""

    async def main():
        options = {"wsrelay.queue.policy": "drop_oldest", "wsrelay.queue.max": "256KiB"}
        async with room(options) as here:
            clients = [await Client.open(here.port, **SLOW) for _ in range(8)]
            pids = here.websockets()
            reading = clients[::4]
            for number in range(80):  # 5 MiB for each
                data = number.to_bytes(4, "big") * 16 * KIB
                assert process.broadcast(pids, "ws.send", {"data": data}) == 8
                for client in reading:
                    assert await client.receive() == (BINARY, data)
            queues = [process.info(pid) for pid in pids]
            assert all(one.queue_bytes <= 256 * KIB for one in queues)
            assert sum(one.dropped > 0 for one in queues) == 6
            assert process.broadcast(pids, "ws.close", 4000) == 8
            for client in reading:
                assert await client.receive() == (CLOSE, (4000, ""))
            for client in clients:
                await client.end()

    run_on("uvloop", main())
