"""A target crashes in every phase of a connection's life.

Each time: the client's close code of the relay contract, one EXIT for each monitor, one line for
the crash, and nothing left in the tables.
"""

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from relay_helpers import dial, stage
from support import CLOSE, TEXT, Client, both_loops, room, run_on, until

from wsrelay import process, relay_to
from wsrelay_core import current_scheduler, watch_exit

FAILED = (1011, "target process failed")


class Crash(RuntimeError):
    """What targets fail with."""


async def crashes_on(topic, mail):
    """A target that fails when the first message of a topic comes."""
    async for message in process.inbox():
        mail.put(message)
        if message.topic == topic:
            raise Crash


async def crashes_at_once(mail):
    raise Crash


async def crashes_when_cancelled(mail):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise Crash from None


async def watcher(pids, exits):
    """Monitor each PID twice, and keep every EXIT."""
    for pid in pids:
        process.monitor(pid)
        process.monitor(pid)
    async for event in process.events():
        if event.kind == "CANCEL":
            return
        exits.append((event.sender, event.reason))


@asynccontextmanager
async def crashing(caplog, crashes, options=None):
    """A room; at its end so many crashes were logged, each in one line with PID and entry, and
    nothing is left in any table."""
    async with room({"wsrelay.close.timeout": "200ms", **(options or {})}) as here:
        process.terminate(here.target)
        yield here
        scheduler = here.app.scheduler
        await until(lambda: not here.websockets() and not scheduler.lingering)
        left = [one for one in here.app.processes() if one.name != "kept"]
        for one in left:
            process.terminate(one.pid)
        await until(lambda: not scheduler.unfinished)
        assert len(scheduler.timers) == 0
    check_lines(caplog, crashes)


def check_lines(caplog, crashes):
    """Each crash is one line with PID and entry."""
    lines = [one.getMessage() for one in caplog.records if one.name == "wsrelay.process"]
    assert len(lines) == crashes, lines
    for line in lines:
        assert re.match(r"process \{app:processes\|0x\w+\} \(test_targets:.*crashes\w+\) ", line)


async def watched(here, *pids):
    """Watch PIDs from a process; its list of EXITs."""
    exits = []
    process.spawn(watcher, None, pids, exits, name="kept")
    await until(lambda: all(process.info(pid).monitored_by for pid in pids))
    return exits


# -- before the 101 --------------------------------------------------------------------------------


async def answer_of(port, path="/"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    data = await reader.read()
    writer.close()
    return data


@both_loops
def test_before_the_101(loop, caplog):
    """While the handler runs it is a 503, and no close frame."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_at_once, here.mail)
            opening = asyncio.ensure_future(answer_of(here.port, "/slow"))
            await here.entered.wait()
            await process.wait(here.target)
            here.go.set()
            assert (await opening).startswith(b"HTTP/1.1 503 ")
            assert here.exits == {} and here.records.lines == []

    run_on(loop, main())


async def crashes_before_it_looks():
    raise Crash


async def waits_for_its_crash(request, call_next):
    """A middleware outside of the relay, which is still at work when the upgrade is made."""
    response = await call_next(request)
    await process.wait("crashing")
    return response


@pytest.mark.parametrize("middleware", [[waits_for_its_crash], []], ids=["101", "join"])
def test_between_the_handler_the_101_and_its_join(run_both, caplog, middleware):
    """It fails in its first step, without a look at the join that is in its mailbox."""

    def connect(request, here):
        target = process.spawn(crashes_before_it_looks, name="crashing")
        here.exits = watch(target)
        return relay_to(target)

    async def main():
        async with stage(connect, middleware=middleware) as here:
            async with dial("websockets", here.url) as client:
                assert await client.closed() == FAILED
            await here.until_alone()
            assert here.exits == ["error"] * 2

    run_both(main())
    check_lines(caplog, 1)


def watch(pid):
    """Watch a PID twice from outside all processes; its list of exit reasons."""
    exits = []
    for _ in range(2):
        watch_exit(current_scheduler(), pid, lambda event: exits.append(event.reason))
    return exits


@both_loops
def test_on_its_join(loop, caplog):
    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_on, "ws.join", here.mail)
            exits = await watched(here, here.target)
            client = await Client.open(here.port)
            assert await client.rest() == [(CLOSE, FAILED)]
            assert here.mail.topics() == ["ws.join"]
            assert exits == [(here.target, "error")] * 2
            await client.end()

    run_on(loop, main())


# -- in a transfer ---------------------------------------------------------------------------------


def moves(client, pid):
    assert process.send(client.pid, "ws.control", {"target_pid": pid})


@both_loops
def test_the_new_target_on_its_join(loop, caplog):
    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn()
            async with here.client() as client:
                new = here.spawn(crashes_on, "ws.join", here.mail)
                exits = await watched(here, client.pid, new)
                moves(client, new)
                assert await client.rest() == [(CLOSE, FAILED)]
                assert (await here.exit_of(client)).reason == "normal"
                await until(lambda: len(exits) == 4)
                assert Counter(exits) == {(client.pid, "normal"): 2, (new, "error"): 2}
            # The old one was left before, and hears nothing of the end.
            leaves = here.mail.of("ws.leave")
            assert [one.payload["reason"] for one in leaves] == ["transferred"]

    run_on(loop, main())


@both_loops
def test_the_new_target_in_the_step_of_the_transfer(loop, caplog):
    """It has not had its first step yet."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn()
            async with here.client() as client:
                exits = await watched(here, client.pid)
                moves(client, here.spawn(crashes_at_once, here.mail))
                client.send("x")
                assert await client.rest() == [(CLOSE, FAILED)]
                await until(lambda: len(exits) == 2)

    run_on(loop, main())


@both_loops
def test_the_new_target_is_terminated_before_it_sees_its_join(loop, caplog):
    async def main():
        async with crashing(caplog, 0) as here:
            here.target = here.spawn()
            async with here.client() as client:
                new, mail = here.keeper()
                moves(client, new)
                process.terminate(new)
                assert await client.rest() == [(CLOSE, FAILED)]
                assert mail.all == []

    run_on(loop, main())


@both_loops
def test_the_old_target_on_its_leave(loop, caplog):
    """It is its own affair: the client goes on with the new one."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_on, "ws.leave", here.mail)
            exits = await watched(here, here.target)
            async with here.client() as client:
                new, mail = here.keeper()
                client.send("old")
                await here.mail.until_topic("ws.message")
                moves(client, new)
                client.send("new")
                await mail.until_topic("ws.message")
                await until(lambda: len(exits) == 2)
                assert mail.topics() == ["ws.join", "ws.message"]
                process.send(client.pid, "ws.close", 4000)
                assert await client.rest() == [(CLOSE, (4000, ""))]

    run_on(loop, main())


@both_loops
def test_both_targets_in_one_transfer(loop, caplog):
    async def main():
        async with crashing(caplog, 2) as here:
            here.target = here.spawn(crashes_on, "ws.leave", here.mail)
            async with here.client() as client:
                new = here.spawn(crashes_on, "ws.join", here.mail)
                exits = await watched(here, client.pid, here.target, new)
                moves(client, new)
                client.send("lost")
                assert await client.rest() == [(CLOSE, FAILED)]
                await until(lambda: len(exits) == 6)
                assert {exits.count(one) for one in exits} == {2}

    run_on(loop, main())


@both_loops
def test_the_mover_fails_behind_its_control(loop, caplog):
    """The target itself hands its client over, and crashes in the same step."""

    async def main():
        async with crashing(caplog, 1) as here:
            new, mail = here.keeper()

            async def crashes_behind_its_control():
                async for message in process.inbox():
                    if message.topic == "ws.message":
                        process.send(message.sender, "ws.control", {"target_pid": new})
                        raise Crash

            here.target = here.spawn(crashes_behind_its_control)
            async with here.client() as client:
                client.send("move")
                await mail.until_topic("ws.join")
                client.send("moved")
                assert (await mail.until_topic("ws.message"))["data"] == "moved"
                process.send(client.pid, "ws.close", 4000)
                assert await client.rest() == [(CLOSE, (4000, ""))]

    run_on(loop, main())


# -- in a close ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False])
@both_loops
def test_while_the_server_waits_for_the_clients_close(loop, caplog, answers):
    """The first cause stands, and the client may still answer."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_on, "now", here.mail)
            async with here.client() as client:
                exits = await watched(here, client.pid, here.target)
                process.send(client.pid, "ws.close", {"code": 4000, "reason": "bye"})
                process.send(here.target, "now")
                await until(lambda: len(exits) == 2)
                assert await client.receive() == (CLOSE, (4000, "bye"))
                if answers:
                    client.close(4000)
                assert await client.receive() is None
                record = (await here.exit_of(client)).result.value
                assert (record["code"], record["cause"]) == (4000, "closed_by_process")
                assert record["clean"] is answers
                await until(lambda: len(exits) == 4)
                assert exits[2:] == [(client.pid, "normal")] * 2

    run_on(loop, main())


@both_loops
def test_on_the_last_message_before_the_clients_close(loop, caplog):
    """Message and close frame come in one segment: the close is the client's, and is echoed."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_on, "ws.message", here.mail)
            async with here.client() as client:
                exits = await watched(here, client.pid, here.target)
                client.closing = True
                client.write(client.frame(TEXT, b"x") + client.codec.encode_close(3001))
                assert await client.rest() == [(CLOSE, (3001, ""))]
                record = (await here.exit_of(client)).result.value
                assert (record["cause"], record["clean"]) == ("client_close", True)
                await until(lambda: len(exits) == 4)

    run_on(loop, main())


@both_loops
def test_on_its_leave(loop, caplog):
    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_on, "ws.leave", here.mail)
            async with here.client() as client:
                exits = await watched(here, client.pid, here.target)
                client.close(1000)
                assert await client.rest() == [(CLOSE, (1000, ""))]
                await until(lambda: len(exits) == 4)
                assert exits[:2] == [(client.pid, "normal")] * 2
                assert exits[2:] == [(here.target, "error")] * 2

    run_on(loop, main())


@both_loops
def test_while_it_is_cancelled(loop, caplog):
    """It is asked to end, and fails over that: an error, and not the normal end."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_when_cancelled, here.mail)
            async with here.client() as client:
                exits = await watched(here, here.target)
                process.cancel(here.target)
                assert await client.rest() == [(CLOSE, FAILED)]
                assert exits == [(here.target, "error")] * 2

    run_on(loop, main())


@both_loops
def test_a_crowd_of_one_target(loop, caplog):
    """Fifty clients, some of them on their way out: each has one end, and one line."""

    async def main():
        async with crashing(caplog, 1) as here:
            here.target = here.spawn(crashes_on, "now", here.mail)
            clients = [await Client.open(here.port) for _ in range(50)]
            pids = here.websockets()
            for pid in pids:
                here.watch(pid)
            for client in clients[::5]:
                client.close(1000)
            for pid in pids[1::5]:
                process.send(pid, "ws.close", 4000)
            for client in clients[2::5]:
                client.reset()
            process.send(here.target, "now")
            codes = [await client.rest() for client in clients]
            assert {frames[-1][1][0] for frames in codes if frames} <= {1000, 1011, 4000}
            assert all(frames[-1][1] == FAILED for frames in codes[3::5])
            await until(lambda: all(here.exits.values()))
            assert {len(exits) for exits in here.exits.values()} == {1}
            assert len(here.records.lines) == 50
            for client in clients:
                await client.end()

    run_on(loop, main())
