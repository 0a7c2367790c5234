"""permessage-deflate with real clients, and with queues that drop."""

import asyncio
import os

import pytest
from relay_helpers import CLIENTS, dial, stage, with_options

from wsrelay import process

LONG = "all work and no play makes jack a dull boy. " * 2000


@pytest.mark.parametrize("kind", CLIENTS)
def test_compression_is_off_by_default(run, kind):
    async def main():
        async with stage() as here, dial(kind, here.url, compression="deflate") as client:
            assert "Sec-WebSocket-Extensions" not in client.headers
            pid = (await here.mail.next()).sender
            process.send(pid, "ws.send", {"data": LONG})
            assert await client.receive() == LONG

    run(main())


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest"])
@pytest.mark.parametrize("kind", CLIENTS)
def test_compression_end_to_end(run_both, kind, policy):
    async def main():
        options = with_options(compression="permessage-deflate", queue_policy=policy)
        async with stage(options=options) as here:
            async with dial(kind, here.url, compression="deflate") as client:
                answer = client.headers["Sec-WebSocket-Extensions"]
                assert answer.startswith("permessage-deflate")
                assert ("server_no_context_takeover" in answer) == (policy != "close")
                pid = (await here.mail.next()).sender
                for _ in range(3):
                    for data in (LONG, LONG.encode(), "", os.urandom(1000)):
                        await client.send(data)
                        assert (await here.mail.next()).payload["data"] == data
                        process.send(pid, "ws.send", {"data": data})
                        assert await client.receive() == data
                process.send(pid, "topic", {"a": LONG})
                assert LONG in await client.receive()
                await client.close()
            await here.mail.next("ws.leave")

    run_both(main())


def test_a_client_that_offers_nothing_gets_nothing(run):
    async def main():
        async with (
            stage(options=with_options(compression="permessage-deflate")) as here,
            dial("websockets", here.url) as client,
        ):
            assert "Sec-WebSocket-Extensions" not in client.headers

    run(main())


def test_what_is_sent_is_small(run):
    async def main():
        async with (
            stage(options=with_options(compression="permessage-deflate")) as here,
            dial("websockets", here.url, compression="deflate") as client,
        ):
            pid = (await here.mail.next()).sender
            waiting = asyncio.ensure_future(process.wait(pid))
            process.send(pid, "ws.send", {"data": LONG})
            assert await client.receive() == LONG
            await client.close()
            assert (await waiting).result.value["bytes_out"] < len(LONG) / 50

    run(main())


def test_broadcast_to_a_mix(run):
    """One frame for those without compression, and one for each of the others."""

    async def main():
        async with (
            stage(options=with_options(compression="permessage-deflate")) as here,
            dial("websockets", here.url) as plain,
            dial("websockets", here.url, compression="deflate") as small,
            dial("aiohttp", here.url, compression="deflate") as other,
            dial("aiohttp", here.url) as last,
        ):
            pids = [(await here.mail.next("ws.join")).sender for _ in range(4)]
            for data in (LONG, b"\x00" * 1000, {"a": 1}):
                assert process.broadcast(pids, "ws.send", {"data": data}) == 4
                expected = '{"a":1}' if isinstance(data, dict) else data
                for client in (plain, small, other, last):
                    assert await client.receive() == expected
            assert process.broadcast(pids, "topic", LONG) == 4
            for client in (plain, small, other, last):
                assert LONG in await client.receive()

    run(main())


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_a_dropped_frame_does_not_break_the_compressed_stream(run, policy):
    """Frames are compressed when they are queued; none may refer to one that is dropped later."""

    async def main():
        options = with_options(
            compression="permessage-deflate", queue_policy=policy, queue_max="256KiB"
        )
        async with (
            stage(options=options) as here,
            dial("websockets", here.url, compression="deflate", max_queue=1) as client,
        ):
            pid = (await here.mail.next()).sender
            sent, before = {}, b""
            for number in range(800):  # each begins with the end of the one before it
                noise = os.urandom(16_000)
                sent[number] = b"%04d" % number + before + noise
                process.send(pid, "ws.send", {"data": sent[number]})
                before = noise
            assert 0 < process.info(pid).dropped < 700
            draining = asyncio.ensure_future(process.drained(pid, 1, timeout=10))
            received = []
            while not draining.done() or len(received) < 800 - process.info(pid).dropped:
                data = await client.receive()
                received.append(int(data[:4]))
                assert data == sent[received[-1]]
            await draining
            assert received == sorted(received)
            assert (received[-1] == 799) == (policy == "drop_oldest")
            process.send(pid, "ws.send", {"data": before})
            assert await client.receive() == before

    run(main())
