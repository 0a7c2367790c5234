"""Code of the application keeps the loop for a second: who waits for it suffers no more than that.

Server and clients are in threads of their own, or the clients would stand still as well.
"""

import asyncio
import threading
import time

import pytest
import uvloop
from support import BINARY, CLOSE, PING, PONG, TEXT, Client

from wsrelay import App, process, relay_to
from wsrelay.http import Timeouts

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
LONGEST = 15.0  # seconds of one test
SHORT = 0.25  # seconds of each timeout
BLOCK = 0.9  # seconds: each timeout that had begun is over when the block ends
OPTIONS = {
    "wsrelay.allowed.origins": "*",
    "wsrelay.ping.interval": f"{SHORT}s",
    "wsrelay.ping.timeout": f"{SHORT}s",
    "wsrelay.idle.timeout": f"{2 * SHORT}s",
    "wsrelay.message.timeout": f"{SHORT}s",
    "wsrelay.close.timeout": f"{SHORT}s",
}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BLOCKING = b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n"


class Blocked:
    """An App on a loop in another thread; `/block` and the message `block` keep that loop."""

    def __init__(self, new_loop):
        self._new_loop = new_loop
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.blocking = threading.Event()
        self.ends = []
        self.port = 0

    def _run(self):
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._serve())

    async def _serve(self):
        app = App()
        app.service(timeouts=Timeouts(header=SHORT, read=SHORT, idle=SHORT))
        router = app.router("", post_middleware=["websocket_relay"], post_options=OPTIONS)
        router.get("/ws")(lambda request: relay_to(process.spawn(self.echo)))
        router.get("/block")(self.block)
        router.get("/")(lambda request: "ok")
        router.post("/")(self.body)
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with app.running() as server:
            self.port = server.port
            self._ready.set()
            await self._stop.wait()

    def block(self, request=None):
        self.blocking.set()
        time.sleep(BLOCK)

    async def body(self, request):
        return await request.body()

    async def echo(self):
        async for message in process.inbox():
            if message.topic == "ws.leave":
                self.ends.append((message.payload["reason"], message.payload["clean"]))
            elif message.topic == "ws.message" and message.payload["data"] == "close":
                process.send(message.sender, "ws.close", 4000)
            elif message.topic == "ws.message":
                if message.payload["data"] == "block":
                    self.block()
                data = message.payload["data"]
                process.send(message.sender, "ws.send", {"data": data})

    async def begun(self):
        """Wait until the loop is kept."""
        assert await asyncio.to_thread(self.blocking.wait, LONGEST)

    async def websocket(self):
        return await Client.open(self.port, path="/ws")

    async def http(self, data):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(LONGEST)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LONGEST)


def run(main, loop="uvloop"):
    """Run the clients of a server whose loop is of that kind."""

    async def limited(server):
        async with asyncio.timeout(LONGEST):
            await main(server)

    with (
        Blocked(LOOPS[loop]) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(limited(server))


class Answering:
    """A client that answers pings by itself, as libraries do."""

    def __init__(self, client):
        self.client = client
        self.frames = asyncio.Queue()
        self._task = asyncio.ensure_future(self._read())

    async def _read(self):
        while (event := await self.client.receive()) is not None:
            if event[0] == PING:
                self.client.write(self.client.frame(PONG, event[1]))
            else:
                self.frames.put_nowait(event)
        self.frames.put_nowait(None)

    async def end(self):
        self._task.cancel()
        await self.client.end()


async def pinged(client):
    """Wait for a ping, and do not answer it yet."""
    while (event := await client.receive())[0] != PING:
        pass
    return event[1]


# Of uvloop the handler runs where the sockets are read, and timers come before the next look.
@pytest.mark.parametrize(("loop", "keeper"), [("asyncio", "process"), ("uvloop", "handler")])
def test_who_acts_in_time_is_not_ended(loop, keeper):
    """What they did waits in the kernel when the loop goes on, and each timeout is over."""

    async def main(server):
        guilty, busy, slow = [Answering(await server.websocket()) for _ in range(3)]
        silent = await server.websocket()
        ping = await pinged(silent)
        slow.client.write(slow.client.frame(BINARY, b"half", fin=False))
        if keeper == "process":
            guilty.client.send("block")
        else:
            _, writer = await server.http(BLOCKING)
            writer.close()
        await server.begun()

        silent.write(silent.frame(PONG, ping) + silent.frame(TEXT, b"on"))
        guilty.client.send("on")
        busy.client.send(*map(str, range(100)))
        slow.client.write(slow.client.frame(0, b"whole"))

        texts = [(TEXT, str(number)) for number in range(100)]
        assert [await busy.frames.get() for _ in texts] == texts
        assert await guilty.frames.get() == (TEXT, "block" if keeper == "process" else "on")
        assert await slow.frames.get() == (BINARY, b"halfwhole")
        assert await silent.receive() == (TEXT, "on")
        for client in (guilty, silent, busy, slow):
            await client.end()

    run(main, loop)


def test_a_close_that_is_answered_in_time_is_clean():
    async def main(server):
        closing = await server.websocket()
        closing.send("close")
        assert await closing.receive() == (CLOSE, (4000, ""))
        _, writer = await server.http(BLOCKING)
        writer.close()
        await server.begun()
        closing.close(4000)
        assert await closing.rest() == []
        assert server.ends == [("closed_by_process", True)]
        await closing.end()

    run(main)


def test_requests_that_are_whole_in_time_are_answered():
    """A head of which a half had come, a request on a kept connection, and a body."""

    async def main(server):
        rest = [b"Host: a\r\n\r\n", GET, b"hello"]
        begin = [GET[:16], GET, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"]
        clients = [await server.http(data) for data in begin]
        await clients[1][0].readuntil(b"ok")
        _, guilty = await server.http(BLOCKING)
        await server.begun()
        for (_, writer), data in zip(clients, rest, strict=True):
            writer.write(data)
        for (reader, writer), answer in zip(clients, (b"ok", b"ok", b"hello"), strict=True):
            assert (await reader.readuntil(answer)).startswith(b"HTTP/1.1 200 ")
            writer.close()
        guilty.close()

    run(main)
