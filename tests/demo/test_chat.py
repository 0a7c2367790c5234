"""The demo's processes: rooms that come and go, and clients that move between them."""

import asyncio
import contextlib
import random
import re
from pathlib import Path
from string import ascii_lowercase

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import wsrelay.demo
from wsrelay import App, process

HOME = Path(wsrelay.demo.__file__).parent


@pytest.fixture
def run():
    with asyncio.Runner() as runner:
        yield lambda scenario: runner.run(inside(scenario))


async def inside(scenario):
    app = App.from_file(HOME / "app.yaml")
    async with asyncio.timeout(20), app.running(port=0) as server:
        await scenario(app, server.port)


class Guest:
    """A client of the chat."""

    def __init__(self, port, name, room):
        self.url = f"ws://127.0.0.1:{port}/ws/{room}?name={name}"

    async def __aenter__(self):
        self.socket = await connect(self.url, max_queue=None)  # a close must not wait for us
        self.pid = (await self.until("room"))["pid"]
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def until(self, topic, **wanted):
        """The data of the next message of this topic in which all wanted values are."""
        while True:
            message = orjson.loads(await self.socket.recv())
            data = message["data"]
            if message["topic"] == topic and wanted.items() <= data.items():
                return data

    async def wish(self, **wish):
        await self.socket.send(orjson.dumps(wish).decode())


def rooms(app):
    return sorted(info.name for info in app.processes() if info.entry == "demo:room")


async def all_ended(app):
    """Wait for the end of the rooms; their last clients are gone."""
    pids = [info.pid for info in app.processes() if info.entry == "demo:room"]
    await asyncio.gather(*map(process.wait, pids))
    assert rooms(app) == []


def test_a_room_is_there_while_somebody_is_in_it(run):
    async def scenario(app, port):
        assert rooms(app) == []
        async with Guest(port, "ann", "tea") as ann, Guest(port, "bob", "tea"):
            await ann.until("people", what="joined", who="bob", there=["ann", "bob"])
            assert rooms(app) == ["room:tea"]
            await ann.wish(move="garden")
            assert await ann.until("room") == {"name": "garden", "pid": ann.pid}
            assert rooms(app) == ["room:garden", "room:tea"]
        await all_ended(app)
        assert [info.name for info in app.processes()] == ["lobby"]

    run(scenario)


async def ear(heard):
    """Stands for a connection that stays: what a room sends to it goes to a queue."""
    async for msg in process.inbox():
        heard.put_nowait(msg)


async def mouth(room, name, *texts):
    """Stands for a connection that says something and is gone, before the room comes to run."""
    me = {"client_pid": process.pid()}
    process.send(room, "ws.join", {**me, "metadata": {"name": name}})
    for text in texts:
        process.send(room, "ws.message", {**me, "data": orjson.dumps({"say": text})})
    process.send(room, "ws.leave", {**me, "reason": "connection_lost"})


def test_last_words_come_before_the_news_of_the_end(run):
    async def scenario(app, port):
        heard = asyncio.Queue()
        listener = process.spawn(ear, None, heard)
        room = process.spawn("demo:room", None, "tea")
        process.send(room, "ws.join", {"client_pid": listener, "metadata": {"name": "ann"}})
        assert [(await heard.get()).topic for _ in range(2)] == ["room", "people"]
        for name in ("bob", "eva", "bob", "bob", "eva"):  # whichever inbox select looks at first
            process.spawn(mouth, None, room, name, "one", "two")
            news = [(await heard.get()).payload for _ in range(4)]
            assert [each.get("text", each.get("what")) for each in news] == [
                "joined", "one", "two", "left"
            ]  # fmt: skip
            assert {each["who"] for each in news} == {name}

    run(scenario)


async def passer_by(room):
    """Stands for a connection that has moved on and ended, before its old room comes to run."""
    me = {"client_pid": process.pid()}
    process.send(room, "ws.join", {**me, "metadata": {"name": "bob"}})
    process.send(room, "ws.leave", {**me, "reason": "transferred"})


def test_the_end_of_one_who_moved_on_is_no_news(run):
    async def scenario(app, port):
        heard = asyncio.Queue()
        listener, other = process.spawn(ear, None, heard), process.spawn(ear, None, asyncio.Queue())
        room = process.spawn("demo:room", None, "tea")
        process.send(room, "ws.join", {"client_pid": listener, "metadata": {"name": "ann"}})
        assert [(await heard.get()).topic for _ in range(2)] == ["room", "people"]
        for _ in range(5):
            await process.exec(passer_by, None, room)
            process.send(room, "ws.join", {"client_pid": other, "metadata": {"name": "eva"}})
            process.send(room, "ws.leave", {"client_pid": other, "reason": "transferred"})
            news = [(await heard.get()).payload["what"] for _ in range(4)]
            assert news == ["joined", "moved on"] * 2
        assert process.info(room).monitors == (listener,)

    run(scenario)


def test_who_moves_and_goes_at_once_is_gone_from_both_rooms(run, caplog):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann, Guest(port, "eva", "garden") as eva:
            async with Guest(port, "bob", "tea") as bob:
                await bob.wish(move="garden")
            assert (await ann.until("people", what="moved on", who="bob"))["there"] == ["ann"]
            assert (await eva.until("people", what="left", who="bob"))["there"] == ["eva"]

    run(scenario)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_nobody_ever_meets_a_room_that_ends(run, caplog):
    """Guests that come, move and go: rooms end all the time, and every guest gets into its room."""

    async def wander(port, number, chance):
        for visit in range(5):
            guest = Guest(port, f"guest{number}", chance.choice(ascii_lowercase))
            async with guest:
                for _ in range(chance.randrange(4)):
                    room = chance.choice(ascii_lowercase)
                    await guest.wish(move=room)
                    await guest.wish(say=f"visit {visit}")
                    await guest.until("said", pid=guest.pid)

    async def scenario(app, port):
        chance = random.Random(7)
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(wander(port, number, chance))
        await all_ended(app)

    run(scenario)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    "path", ["/ws/tea", "/ws/tea?name=", "/ws/tea?name=%3Cb%3E", "/ws/%7Btea%7D?name=ann"]
)
def test_names_that_are_refused(run, path):
    async def scenario(app, port):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}{path}")
        assert refused.value.response.status_code == 400
        assert app.processes() == []

    run(scenario)


def test_what_is_no_json_hurts_nobody(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann:
            for message in ("{", b"\xff", '{"say": "' + "x" * 501 + '"}', '{"say": [1]}'):
                await ann.socket.send(message)
                await ann.until("refused")
            await ann.wish(say=" fine ")
            assert (await ann.until("said"))["text"] == "fine"

    run(scenario)


async def get(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


def test_the_page_and_all_that_it_names(run):
    async def scenario(app, port):
        head, page = await get(port, "/")
        assert "Content-Type: text/html; charset=utf-8" in head
        assert "Content-Security-Policy: default-src 'self'" in head
        names = set(re.findall(rb'(?:src|href)="([^"]*)"', page))
        assert names == {b"/static/chat.js", b"/static/chat.css", b"/static/icon.svg"}
        for name in names:
            head, body = await get(port, name.decode())
            assert head.startswith("HTTP/1.1 200 ")
            assert body == HOME.joinpath(name.decode().strip("/")).read_bytes()
        for name in ("/static/chat.py", "/static/%2e%2e%2fchat.py", "/static/"):
            head, _ = await get(port, name)
            assert re.match(r"HTTP/1.1 40[04] ", head)

    run(scenario)


def test_the_python_of_the_demo_is_short():
    lines = HOME.joinpath("chat.py").read_text().splitlines()
    assert len(lines) < 150
