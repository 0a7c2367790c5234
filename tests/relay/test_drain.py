"""The end of an App with open connections: batches, time limits, nothing left."""

import asyncio

import pytest
from support import CLOSE, Client, both_loops, room, run_on, until

from wsrelay import process


async def timed_close(client, loop):
    """When the close frame came, and which."""
    while (event := await client.receive()) is not None:
        if event[0] == CLOSE:
            moment = loop.time()
            client.close(event[1][0])
            assert await client.receive() is None
            return moment, event[1]
    raise AssertionError("no close frame")


@both_loops
def test_many_connections_are_closed_in_batches_over_the_drain_time(loop):
    async def main():
        running = asyncio.get_running_loop()
        async with room({"wsrelay.drain": "1200ms"}) as here:
            clients = [await Client.open(here.port) for _ in range(250)]
            begin = running.time()
            stopping = asyncio.ensure_future(here.app.stop())
            ends = await asyncio.gather(*(timed_close(client, running) for client in clients))
            await stopping
            assert {frame for _, frame in ends} == {(1001, "server shutting down")}
            moments = sorted(moment - begin for moment, _ in ends)
            # Three batches: at once, after 200 to 600 and after 600 to 1000 ms.
            assert moments[100] >= 0.2 and moments[200] >= 0.6
            assert moments[99] < moments[100] and moments[199] < moments[200]
            assert running.time() - begin < 5
            for client in clients:
                await client.end()

    run_on(loop, main())


def test_batches_are_jittered_and_drawn_by_lot(monkeypatch):
    """So that the clients of many servers that stop at once do not come back in step."""

    async def main():
        running = asyncio.get_running_loop()
        async with room({"wsrelay.drain": "600ms"}) as here:
            clients = [await Client.open(here.port) for _ in range(210)]
            begin = running.time()
            stopping = asyncio.ensure_future(here.app.stop())
            ends = await asyncio.gather(*(timed_close(client, running) for client in clients))
            await stopping
            moments = [moment - begin for moment, _ in ends]
            # Of three batches the second is due after 200 ms, and half of that later by its jitter.
            assert sorted(moments)[100] >= 0.3
            first = sorted(range(210), key=moments.__getitem__)[:100]
            assert set(first) != set(range(100))
            for client in clients:
                await client.end()

    monkeypatch.setattr("wsrelay.lifecycle.random.uniform", lambda least, most: most)
    run_on("uvloop", main())


@both_loops
def test_few_connections_do_not_wait(loop):
    async def main():
        running = asyncio.get_running_loop()
        async with room({"wsrelay.drain": "10s"}) as here, here.client() as client:
            begin = running.time()
            stopping = asyncio.ensure_future(here.app.stop())
            await client.rest()
            await stopping
            assert running.time() - begin < 2  # of five

    run_on(loop, main())


@pytest.mark.parametrize("reading", [True, False], ids=["silent", "not_reading"])
@both_loops
def test_stalled_clients_do_not_hold_the_stop_up(loop, reading):
    """They never answer the close frame; the second kind does not even read it."""

    async def main():
        running = asyncio.get_running_loop()
        async with (
            room(shutdown=0.5) as here,
            here.client(receive=4096) as client,
            here.client() as good,
        ):
            if not reading:
                while not process.info(client.pid).queue_bytes:
                    process.send(client.pid, "ws.send", {"data": bytes(2**16)})
                    await asyncio.sleep(0)
            begin = running.time()
            stopping = asyncio.ensure_future(here.app.stop())
            assert (await good.rest())[-1] == (CLOSE, (1001, "server shutting down"))
            await stopping
            assert running.time() - begin < 3  # of five
            for one in (client, good):
                event = await here.exit_of(one)
                assert event.reason == "normal"
                record = event.result.value
                assert record["cause"] == "server_shutdown" and record["code"] == 1001
                assert record["clean"] is (one is good)
            leaves = {one.sender: one.payload for one in here.mail.of("ws.leave")}
            assert leaves[client.pid]["reason"] == "server_shutdown"
            assert len(leaves) == 2
            assert [one[0] for one in await client.rest()].count(CLOSE) == reading

    run_on(loop, main())


@both_loops
def test_a_client_that_closed_but_does_not_read_is_cut_off_too(loop):
    """Its EXIT is out, and its transport still has bytes to write."""

    async def main():
        running = asyncio.get_running_loop()
        async with room(shutdown=0.5) as here, here.client(receive=4096) as client:
            while not process.info(client.pid).queue_bytes:
                process.send(client.pid, "ws.send", {"data": bytes(2**16)})
                await asyncio.sleep(0)
            client.close(1000)
            await here.exit_of(client)
            scheduler = here.app.scheduler
            assert len(scheduler.lingering) == 1
            begin = running.time()
            await here.app.stop()
            assert running.time() - begin < 3
            assert not scheduler.lingering

    run_on(loop, main())


@both_loops
def test_targets_live_until_the_leaves_are_delivered(loop):
    async def main():
        async with room() as here:
            clients = [await Client.open(here.port) for _ in range(20)]
            stopping = asyncio.ensure_future(here.app.stop())
            await asyncio.gather(*(client.rest() for client in clients))
            await stopping
            assert len(here.mail.of("ws.leave")) == 20
            assert {one.payload["clean"] for one in here.mail.of("ws.leave")} == {True}
            for client in clients:
                await client.end()

    run_on(loop, main())


@both_loops
def test_a_handshake_under_way_is_closed_as_well(loop):
    async def main():
        async with room(shutdown=3.0) as here:
            opening = asyncio.ensure_future(Client.open(here.port, path="/slow"))
            await here.entered.wait()
            async with here.client() as client:
                stopping = asyncio.ensure_future(here.app.stop())
                await until(lambda: not here.app.servers or here.app.servers[0].state.draining)
                here.go.set()
                late = await opening
                await client.rest()
                assert (await late.rest())[-1] == (CLOSE, (1001, "server shutting down"))
                await stopping
                await late.end()

    run_on(loop, main())


@both_loops
def test_a_restart_says_so(loop):
    async def main():
        async with room() as here, here.client() as client:
            here.app.request_stop(restart=True)
            stopping = asyncio.ensure_future(here.app.stop())
            assert await client.rest() == [(CLOSE, (1012, "service restart"))]
            await stopping

    run_on(loop, main())


@both_loops
def test_a_drain_ends_within_the_shutdown_time(loop):
    async def main():
        running = asyncio.get_running_loop()
        async with room({"wsrelay.drain": "1h"}, shutdown=1.0) as here:
            clients = [await Client.open(here.port) for _ in range(210)]
            stopping = asyncio.ensure_future(here.app.stop())
            ends = await asyncio.gather(*(timed_close(client, running) for client in clients))
            await stopping
            assert {frame for _, frame in ends} == {(1001, "server shutting down")}
            for client in clients:
                await client.end()

    run_on(loop, main())
