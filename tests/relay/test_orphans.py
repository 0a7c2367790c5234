"""What a handshake that becomes no WebSocket leaves behind: no process, no connection, no seat."""

import asyncio
import gc

import pytest
from relay_helpers import (
    ANY_ORIGIN,
    Mail,
    ask,
    dial,
    handshake_bytes,
    spawn_recorder,
    stage,
    until,
)

from wsrelay import HTTPError, PlainTextResponse, Response, process, relay_to
from wsrelay.relay_connection import RelayConnection
from wsrelay_core import spawn_scope


def spawn_and(act):
    """A handler that spawns, then does something else than to relay; sync and async."""

    def connect(request, here):
        spawn_recorder(here)
        return act(here)

    async def connect_async(request, here):
        await asyncio.sleep(0)
        return connect(request, here)

    return [connect, connect_async]


def fail(here):
    raise RuntimeError("on purpose")


def refuse(here):
    raise HTTPError(403)


def return_nonsense(here):
    return object()


def relay_to_the_dead(here):
    return relay_to("nobody")


def relay_badly(here):
    return relay_to(here.spawned[0], message_topic="ws.join")


def relay_with_a_body(here):
    response = relay_to(here.spawned[0])
    response.body = b"body"
    return response


def relay_with_a_raw_header(here):
    response = relay_to(here.spawned[0])
    response.headers.raw.append((b"not\r\nchecked", b""))
    return response


FAILURES = [
    fail,
    refuse,
    return_nonsense,
    relay_to_the_dead,
    relay_badly,
    relay_with_a_body,
    relay_with_a_raw_header,
]


@pytest.mark.parametrize("relay_outside", [False, True])
@pytest.mark.parametrize("sync", [0, 1])
@pytest.mark.parametrize("act", FAILURES)
def test_a_handler_that_fails_after_it_spawned(run, act, sync, relay_outside):
    async def main():
        async with stage(spawn_and(act)[sync], relay_outside=relay_outside) as here:
            answer = await ask(here.port, handshake_bytes())
            assert answer.closed and answer.status in (200, 400, 403, 500, 503)
            assert len(here.spawned) == 1
            await here.until_alone()

    run(main())


def test_what_a_plain_request_spawned_lives_when_there_is_no_header(run):
    async def main():
        async with stage(spawn_and(lambda _: "started")[0]) as here:
            data = handshake_bytes(Connection=None, Upgrade=None)
            assert (await ask(here.port, data)).text == "started"
            assert [one.pid for one in here.app.processes()] == here.spawned

    run(main())


# -- middleware around the relay -------------------------------------------------------------------


async def fails_after(request, call_next):
    await call_next(request)
    raise RuntimeError("on purpose")


async def replaces(request, call_next):
    await call_next(request)
    return PlainTextResponse("something else")


async def fails_before(request, call_next):
    spawn_recorder(request.state.here)
    raise RuntimeError("on purpose")


async def hides_failures(request, call_next):
    response = await call_next(request)
    if response.exception is not None:
        return PlainTextResponse("sorry", 500)
    return response


async def spawns(request, call_next):
    spawn_recorder(request.state.here)
    return await call_next(request)


def with_stage(middleware):
    """A middleware that finds the stage; the stage is set by the test."""

    async def around(request, call_next):
        request.state.here = around.here
        return await middleware(request, call_next)

    return around


@pytest.mark.parametrize("relay_outside", [False, True])
@pytest.mark.parametrize("middleware", [fails_after, replaces, fails_before])
def test_a_middleware_that_fails_or_replaces_the_upgrade(run, middleware, relay_outside):
    around = with_stage(middleware)

    async def main():
        options = {**ANY_ORIGIN, "wsrelay.connections.max": "1"}
        async with stage(middleware=[around], relay_outside=relay_outside, options=options) as here:
            around.here = here
            for _ in range(2):  # the second one finds the seat free
                answer = await ask(here.port, handshake_bytes())
                assert answer.status == (200 if middleware is replaces else 500)
                assert answer.closed
                await here.until_alone()
            assert len(here.spawned) == 2
            assert connection_objects() == 0

    run(main())


@pytest.mark.parametrize("act", [fail, relay_to_the_dead])
def test_a_middleware_that_hides_the_failure(run, act):
    async def main():
        async with stage(spawn_and(act)[0], middleware=[hides_failures]) as here:
            assert (await ask(here.port, handshake_bytes())).text == "sorry"
            await here.until_alone()

    run(main())


@pytest.mark.parametrize("outside", [[], [hides_failures]])
@pytest.mark.parametrize("changes", [{"Origin": "http://x.example"}, {"Sec-WebSocket-Key": "x"}])
def test_a_middleware_that_spawns_for_a_refused_client(run, changes, outside):
    around = with_stage(spawns)

    async def main():
        async with stage(middleware=[*outside, around], options={}) as here:
            around.here = here
            answer = await ask(here.port, handshake_bytes(**changes))
            assert answer.status in ((500,) if outside else (400, 403))
            assert (len(here.spawned), here.calls) == (1, 0)
            await here.until_alone()

    run(main())


def test_a_middleware_that_tries_twice(run):
    """Only the upgrade that is answered stays; what the other one joined is gone."""

    async def twice(request, call_next):
        await call_next(request)
        return await call_next(request)

    async def main():
        async with stage(middleware=[twice]) as here, dial("websockets", here.url) as client:
            joined = await here.mail.next("ws.join")
            assert here.connections == [joined.sender]
            await client.send("x")
            assert (await here.mail.next()).topic == "ws.message"

    run(main())


# -- the client goes away --------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
def test_a_client_that_goes_while_the_handler_runs(run_both, swallows):
    async def main():
        spawned = asyncio.Event()

        async def connect(request, here):
            pid = spawn_recorder(here)
            spawned.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not swallows:
                    raise
            return relay_to(pid)

        options = {**ANY_ORIGIN, "wsrelay.connections.max": "1"}
        async with stage(connect, options=options) as here:
            for _ in range(2):
                spawned.clear()
                _, writer = await asyncio.open_connection("127.0.0.1", here.port)
                writer.write(handshake_bytes())
                await spawned.wait()
                writer.close()
                await writer.wait_closed()
                await here.until_alone()
            assert here.calls == 2

    run_both(main())


def test_a_target_that_ends_before_the_101(run):
    """The handler's last await is where it ended: 503; just behind it: a close frame at once."""

    async def brief():
        pass

    async def main():
        async def connect(request, here):
            pid = process.spawn(brief)
            await process.wait(pid)
            return relay_to(pid)

        async with stage(connect) as here:
            assert (await ask(here.port, handshake_bytes())).status == 503
        async with (
            stage(lambda *_: relay_to(process.spawn(brief))) as here,
            dial("websockets", here.url) as client,
        ):
            assert await client.closed() == (1000, "target process exited")

    run(main())


# -- who is kept -----------------------------------------------------------------------------------


def test_what_somebody_else_knows_is_kept(run):
    async def watcher(pids, ready):
        process.monitor(pids[0])
        process.link(pids[1])
        ready.set()
        await asyncio.Event().wait()

    async def main():
        ready = asyncio.Event()

        async def connect(request, here):
            monitored, linked, _orphan = (spawn_recorder(here) for _ in range(3))
            here.spawned.append(process.spawn(here.mail.record, name="known"))
            here.keeper = process.spawn(watcher, None, [monitored, linked], ready, name="keeper")
            await ready.wait()
            raise RuntimeError("on purpose")

        async with stage(connect) as here:
            assert (await ask(here.port, handshake_bytes())).status == 500
            monitored, linked, orphan, named = here.spawned
            await process.wait(orphan)
            alive = {one.pid for one in here.app.processes()}
            assert alive == {monitored, linked, named, here.keeper}

    run(main())


def test_what_processes_spawned_is_kept(run):
    async def parent(mail, children, ready):
        children.append(process.spawn(mail.record))
        ready.set()
        await asyncio.Event().wait()

    async def main():
        children, ready = [], asyncio.Event()

        async def connect(request, here):
            process.spawn(parent, None, here.mail, children, ready)
            await ready.wait()
            return relay_to("nobody")

        async with stage(connect) as here:
            assert (await ask(here.port, handshake_bytes())).status == 503
            await until(lambda: len(here.app.processes()) == 1)
            assert [one.pid for one in here.app.processes()] == children

    run(main())


def test_what_a_task_of_the_handler_spawned_is_cancelled(run):
    async def main():
        async def connect(request, here):
            async def helper():
                spawn_recorder(here)

            await asyncio.create_task(helper())
            raise RuntimeError("on purpose")

        async with stage(connect) as here:
            assert (await ask(here.port, handshake_bytes())).status == 500
            assert len(here.spawned) == 1
            await here.until_alone()

    run(main())


def test_what_is_spawned_after_the_request_is_kept(run):
    async def main():
        tasks, go = [], asyncio.Event()

        async def connect(request, here):
            async def later():
                await go.wait()
                pid = spawn_recorder(here)
                assert spawn_scope.get() == []  # or it would grow for as long as the task runs
                return pid

            tasks.append(asyncio.create_task(later()))
            return relay_to("nobody")

        async with stage(connect) as here:
            assert (await ask(here.port, handshake_bytes())).status == 503
            go.set()
            pid = await tasks[0]
            await asyncio.sleep(0)
            assert [one.pid for one in here.app.processes()] == [pid]

    run(main())


@pytest.mark.parametrize("act", [*FAILURES, lambda here: PlainTextResponse("ordinary")])
def test_what_does_not_become_a_websocket_takes_no_seat(run, act):
    async def main():
        options = {**ANY_ORIGIN, "wsrelay.connections.max": "1"}
        async with stage(spawn_and(act)[0], options=options) as here:
            for _ in range(3):
                await ask(here.port, handshake_bytes())
            assert here.calls == 3

    run(main())


# -- memory ----------------------------------------------------------------------------------------


def connection_objects():
    """How many connection objects exist."""
    gc.collect()
    return sum(isinstance(one, RelayConnection) for one in gc.get_objects())


def test_a_target_does_not_keep_its_first_client(run):
    """A process keeps the context of the request that spawned it, and nothing through it."""

    async def main():
        mail, shared = Mail(), []

        def connect(request, here):
            if not shared:
                shared.append(process.spawn(mail.record))
            response = Response()
            response.headers["X-WS-Relay"] = relay_to(shared[0]).headers["X-WS-Relay"]
            return response

        async with stage(connect) as here:
            for _ in range(3):
                async with dial("websockets", here.url) as client:
                    await mail.next("ws.join")
                    await client.close()
                left = await mail.next("ws.leave")
            assert [one.pid for one in here.app.processes()] == shared
            del left
            await until(lambda: connection_objects() == 0)  # TCP ends behind EXIT

    run(main())
