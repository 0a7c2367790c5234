"""Connections over TLS, where there is no half-close and the loop keeps buffers of its own."""

import asyncio
import tracemalloc

import pytest
from certificates import tls_contexts
from support import BINARY, CLOSE, TEXT, Client, both_loops, echo, room, run_on

from wsrelay import process

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """TLS contexts of a server and of a client that trusts it."""
    return tls_contexts(tmp_path_factory.mktemp("tls"))


@both_loops
def test_messages_of_all_sizes_and_the_closing_handshake(loop, contexts):
    async def main():
        async with room(tls=contexts) as here:
            here.target = here.spawn(echo)
            async with here.client() as client:
                for size in (0, 1, 1000, 70_000, MIB):
                    text = "x" * size
                    client.send(text)
                    assert await client.receive() == (TEXT, text)
                client.send(*map(str, range(5000)))
                assert await client.texts(5000) == [str(number) for number in range(5000)]
                client.close(3000)
                assert await client.rest() == [(CLOSE, (3000, ""))]
                assert (await here.exit_of(client)).result.value["clean"]

    run_on(loop, main())


@both_loops
def test_after_a_failure_the_close_frame_still_arrives(loop, contexts):
    async def main():
        async with room(tls=contexts) as here, here.client() as client:
            client.write(b"\xff\xff")
            assert [kind for kind, _ in await client.rest()] == [CLOSE]
            record = (await here.exit_of(client)).result.value
            assert record["code"] == 1002 and record["cause"] == "protocol_error"

    run_on(loop, main())


@both_loops
def test_the_servers_close_is_answered(loop, contexts):
    async def main():
        async with room(tls=contexts) as here, here.client() as client:
            process.send(client.pid, "ws.send", {"data": "last"})
            process.send(client.pid, "ws.close", 4000)
            assert await client.rest() == [(TEXT, "last"), (CLOSE, (4000, ""))]
            assert (await here.exit_of(client)).result.value["clean"]

    run_on(loop, main())


@both_loops
def test_a_client_that_never_reads_is_bounded(loop, contexts):
    async def main():
        options = {"wsrelay.queue.max": "300KiB"}
        async with room(options, tls=contexts) as here, here.client(receive=4096) as slow:
            here.target = here.spawn(echo)
            async with here.client() as other:
                sent = 0
                while process.send(slow.pid, "ws.send", {"data": bytes(50_000)}):
                    sent += 1
                    other.send("on")
                    assert await other.receive() == (TEXT, "on")
                assert sent < 200
                got = await slow.rest()
                assert [kind for kind, _ in got] == [BINARY] * sent + [CLOSE]
                assert got[-1] == (CLOSE, (1013, "slow consumer"))

    run_on(loop, main())


@both_loops
def test_a_flooding_client_is_slowed_and_nothing_is_lost(loop, contexts):
    async def main():
        async with room(tls=contexts) as here:
            got = []

            async def slow():
                async for message in process.inbox():
                    if message.topic == "ws.message":
                        got.append(int(message.payload["data"]))
                    if len(got) % 50 == 0:
                        assert process.info(process.pid()).queue_length <= 1026
                        await asyncio.sleep(0)
                    if len(got) == 8000:
                        return

            here.target = here.spawn(slow)
            async with here.client() as client:
                client.send(*map(str, range(8000)))
                assert (await client.rest())[-1] == (CLOSE, (1000, "target process exited"))
                assert got == list(range(8000))

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_a_hundred_mebibytes_for_a_client_that_never_reads(loop, policy, contexts):
    """Also what the transport below TLS holds, which is in no count, is bounded."""

    async def main():
        options = {"wsrelay.queue.policy": policy}
        async with room(options, tls=contexts) as here, here.client(receive=4096) as slow:
            frame = {"type": "binary", "data": bytes(65536)}
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(100 * MIB // 65536):
                    process.send(slow.pid, "ws.send", frame)
                    await asyncio.sleep(0)
                assert tracemalloc.get_traced_memory()[1] - before < 3 * MIB
            finally:
                tracemalloc.stop()
            facts = process.info(slow.pid)
            assert facts.queue_bytes <= MIB + 1024
            assert facts.state == "running" and facts.dropped > 800

    run_on(loop, main())


@both_loops
def test_a_client_that_never_reads_is_cut_off(loop, contexts):
    """It does not see the close frame, nor the end of TLS."""

    async def main():
        async with room(tls=contexts, clock=True) as here, here.client(receive=4096) as slow:
            while not process.info(slow.pid).queue_bytes:
                process.send(slow.pid, "ws.send", {"data": bytes(65536)})
                await asyncio.sleep(0)
            process.send(slow.pid, "ws.close", 1000)
            await asyncio.sleep(0)
            here.advance(6.0)
            record = (await here.exit_of(slow)).result.value
            assert (record["code"], record["clean"]) == (1000, False)
            here.advance(6.0)
            while here.app.scheduler.lingering:
                await asyncio.sleep(0)

    run_on(loop, main())


@both_loops
def test_the_clients_end_of_tls_is_its_end(loop, contexts):
    """There is no half-close: close_notify without a close frame is a lost connection."""

    async def main():
        async with room(tls=contexts) as here, here.client() as client:
            client.send("last words")
            client.writer.close()
            record = (await here.exit_of(client)).result.value
            assert (record["cause"], record["clean"]) == ("connection_lost", False)
            assert here.mail.data() == ["last words"]

    run_on(loop, main())


@both_loops
def test_a_stop_tells_all_clients(loop, contexts):
    async def main():
        async with room(tls=contexts) as here:
            settings = {"ssl": contexts[1], "server_hostname": "localhost"}
            clients = [await Client.open(here.port, **settings) for _ in range(20)]
            stopping = asyncio.ensure_future(here.app.stop())
            ends = await asyncio.gather(*(client.rest() for client in clients))
            await stopping
            assert ends == [[(CLOSE, (1001, "server shutting down"))]] * 20
            assert {one.payload["clean"] for one in here.mail.of("ws.leave")} == {True}
            for client in clients:
                await client.end()

    run_on(loop, main())
