import asyncio
import math

import pytest

from wsrelay.http import Response, Router, ServerState
from wsrelay.http import server as server_module

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Connection:
    def __init__(self, deadline=math.inf):
        self.deadline = deadline
        self.expired = []
        self.idle_closes = 0

    def expire(self, now):
        self.expired.append(now)

    def close_if_idle(self):
        self.idle_closes += 1

    def abort(self): ...


def router():
    made = Router()
    made.get("/")(lambda request: str(request.server.draining))
    return made


def test_a_sweep_expires_what_is_due():
    async def main():
        state = ServerState(clock=lambda: 20.0)
        due, later, never = Connection(10.0), Connection(30.0), Connection()
        for connection in (due, later, never):
            state.opened(connection)
        state.sweep()
        assert (due.expired, later.expired, never.expired) == ([20.0], [], [])
        state.sweep(30.0)
        assert later.expired == [30.0]
        for connection in (due, later, never):
            state.closed(connection)
        await state.wait_closed()

    asyncio.run(main())


def test_the_timer_sweeps_while_there_are_connections(monkeypatch):
    monkeypatch.setattr(server_module, "SWEEP_INTERVAL", 0.0)

    async def main():
        state = ServerState()
        swept = asyncio.Event()
        connection = Connection(0.0)
        connection.expire = lambda now: swept.set()
        state.opened(connection)
        for _ in range(2):
            swept.clear()
            await asyncio.wait_for(swept.wait(), 5)
        state.closed(connection)
        while state._timer is not None:
            await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.parametrize("draining_first", [True, False])
def test_the_timer_is_gone_when_the_server_has_drained(draining_first):
    async def main():
        state, connection = ServerState(), Connection()
        state.opened(connection)
        if draining_first:
            state.drain()
        state.closed(connection)
        state.drain()
        assert state._timer is None

    asyncio.run(main())


def test_the_date_is_built_once_a_second():
    moment = [0.2]
    state = ServerState(wall_clock=lambda: moment[0], server_header="wsrelay")
    lines = state.common_headers()
    assert lines == b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: wsrelay\r\n"
    moment[0] = 0.9
    assert state.common_headers() is lines
    moment[0] = 1.1
    assert b"00:00:01" in state.common_headers()
    assert b"Server" not in ServerState().common_headers()


def test_draining_ends_keep_alive(run, serve):
    async def main():
        async with serve(router()) as server:
            idle, begun, busy = [await server.connect() for _ in range(3)]
            await begun.send(b"GET / HTTP/1.1\r\nHost:", "bytes")
            await busy.send(GET)
            assert (await busy.response()).body == b"False"
            await server.until(lambda: server.state.accepted == 3)
            server.state.drain()
            assert await idle.rest() == b""
            assert await busy.rest() == b""
            await begun.send(b" a\r\n\r\n" + GET)
            answer = await begun.response()
            assert (answer.body, answer.headers["connection"]) == (b"True", "close")
            assert await begun.rest() == b""
            for client in (idle, begun, busy):
                await client.close()
            await server.state.wait_closed()

    run(main())


def test_waiting_waits_for_handlers_too(run, serve):
    async def main():
        started, finish = asyncio.Event(), asyncio.Event()

        async def handler(request):
            started.set()
            await finish.wait()
            return Response()

        async with serve(handler) as server:
            client = await server.connect()
            await client.send(GET)
            await started.wait()
            client.reset()
            await server.until(lambda: not server.state.connections)
            waiter = asyncio.create_task(server.state.wait_closed())
            await asyncio.sleep(0)
            assert not waiter.done()
            finish.set()
            await waiter
            assert not server.state.tasks

    run(main())


def test_abort_ends_all_at_once(run, serve):
    async def main():
        started = asyncio.Event()

        async def handler(request):
            started.set()
            await asyncio.Event().wait()

        async with serve(handler) as server:
            busy, idle = await server.connect(), await server.connect()
            await busy.send(GET)
            await started.wait()
            await server.until(lambda: server.state.accepted == 2)
            server.state.abort()
            assert await busy.rest() == await idle.rest() == b""
            await server.state.wait_closed()

    run(main())


def test_a_server_without_connections_is_closed():
    asyncio.run(asyncio.wait_for(ServerState().wait_closed(), 5))


def test_upgraded_connections_count(monkeypatch):
    state = ServerState()
    assert state.open_connections == 0
    state.upgraded_connections = lambda: 3
    assert state.open_connections == 3


@pytest.mark.parametrize("done", [True, False])
def test_a_tracked_task_is_let_go_when_it_is_done(done):
    async def main():
        state = ServerState()

        async def work(): ...

        task = asyncio.create_task(work())
        if done:
            await task
        state.track(task)
        assert len(state.tasks) == (not done)
        await task
        await state.wait_closed()
        assert not state.tasks

    asyncio.run(main())
