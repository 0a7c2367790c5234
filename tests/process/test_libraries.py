"""Libraries that live in tasks: anyio and aiohttp inside a process."""

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from process_helpers import sends, settle, spawn_parked

from wsrelay import process


@pytest.fixture
def inside(inside_everywhere):
    return inside_everywhere


def test_anyio_move_on_after(inside, step):
    async def body():
        await step()
        with anyio.move_on_after(0.01) as scope:
            await process.inbox().receive()
        assert scope.cancelled_caught
        process.spawn(sends, None, process.pid(), "after")
        assert (await process.inbox().receive()).topic == "after"

    inside(body)


def test_anyio_fail_after(inside, step):
    async def body():
        await step()
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await process.inbox().receive()

    inside(body)


def test_anyio_cancel_scope_of_its_own(inside, step):
    async def body():
        await step()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await process.inbox().receive()
        assert scope.cancelled_caught
        await anyio.lowlevel.checkpoint()

    inside(body)


def test_an_outer_cancel_passes_an_anyio_scope(inside, step):
    async def child():
        await step()
        with anyio.CancelScope():
            await process.inbox().receive()

    async def body():
        pid = await spawn_parked(child)
        process.cancel(pid)
        assert (await process.wait(pid)).reason == "cancelled"

    inside(body)


def test_anyio_task_group(inside, step):
    async def child(seen):
        seen.append((await process.inbox().receive()).topic)

    async def body():
        await step()
        seen = []
        async with anyio.create_task_group() as group:
            group.start_soon(child, seen)
            await anyio.lowlevel.checkpoint()
            process.send(process.pid(), "one")
            await settle()
            group.cancel_scope.cancel()
            await process.inbox().receive()
        assert seen == ["one"]

    inside(body)


def test_anyio_thread(inside, step):
    async def body():
        await step()
        assert await anyio.to_thread.run_sync(lambda: 6 * 7) == 42

    inside(body)


def test_aiohttp_client(inside, step):
    async def hello(_):
        return web.Response(text="hello")

    async def body():
        server = web.Application()
        server.router.add_get("/", hello)
        runner = web.AppRunner(server)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0]
            await step()
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{host}:{port}/") as response:
                    assert (response.status, await response.text()) == (200, "hello")
                await step()
        finally:
            await runner.cleanup()

    inside(body)
