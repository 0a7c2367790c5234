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
from websockets.exceptions import ConnectionClosed, InvalidStatus

import wsrelay.demo
from wsrelay import App, process

HOME = Path(wsrelay.demo.__file__).parent


@pytest.fixture
def run(monkeypatch):
    """Run a scenario in the demo's app, with other values for some names in chat.py."""

    async def inside(scenario, **values):
        app = App.from_file(HOME / "app.yaml")
        names = app.registry.processes["demo:room"].__globals__
        for name, value in values.items():
            assert name in names
            monkeypatch.setitem(names, name, value)
        async with asyncio.timeout(20), app.running(port=0) as server:
            await scenario(app, server.port)

    with asyncio.Runner() as runner:
        yield lambda scenario, **values: runner.run(inside(scenario, **values))


class Clock:
    """Stands for the module `time`, and stands still until the test moves it."""

    def __init__(self):
        self.now = 1e9

    def time(self):
        return self.now

    monotonic = time


async def wish_all(room, name, wishes):
    """Stands for a connection that wishes, and then stays until the room ends."""
    me = {"client_pid": process.pid()}
    process.send(room, "ws.join", {**me, "metadata": {"name": name}})
    for wish in wishes:
        process.send(room, "ws.message", {**me, "data": orjson.dumps(wish)})
    await asyncio.Event().wait()


class Guest:
    """A client of the chat."""

    def __init__(self, port, name, room):
        self.url = f"ws://127.0.0.1:{port}/ws/{room}?name={name}"

    async def __aenter__(self):
        self.socket = await connect(self.url, max_queue=None)  # a close must not wait for us
        self.room = await self.until("room")
        self.pid = self.room["pid"]
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def until(self, topic, **wanted):
        """The data of the next message of this topic in which all wanted values are."""
        while True:
            data = await self.next(topic)
            if wanted.items() <= data.items():
                return data

    async def next(self, *topics):
        """The data of the next message of one of these topics."""
        while True:
            message = orjson.loads(await self.socket.recv())
            if message["topic"] in topics:
                return message["data"]

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
            facts = await ann.until("room")
            assert (facts["name"], facts["pid"], facts["lines"]) == ("garden", ann.pid, [])
            assert facts["process"] == process.lookup("room:garden") != ann.room["process"]
            assert rooms(app) == ["room:garden", "room:tea"]
        await all_ended(app)
        assert [info.names for info in app.processes()] == [("demo:lobby", "lobby")]

    run(scenario, IDLE=0)


async def ear(heard):
    """Stands for a connection that stays: what a room sends to it goes to a queue, but for events,
    which have tests of their own."""
    async for msg in process.inbox():
        if msg.topic != "event":
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

    run(scenario, IDLE=0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_room_remembers_its_last_lines(run):
    async def scenario(app, port):
        room = process.spawn("demo:room", None, "tea", name="room:tea")
        for number in range(6):
            wishes = [{"say": f"{number}{letter}"} for letter in ascii_lowercase[:10]]
            process.spawn(wish_all, None, room, f"guest{number}", wishes)
        async with Guest(port, "ann", "tea") as ann:
            lines = ann.room["lines"]
            assert [line["n"] for line in lines] == list(range(11, 61))
            assert [line["text"] for line in lines] == [
                f"{number}{letter}" for number in range(1, 6) for letter in ascii_lowercase[:10]
            ]
            assert {(line["who"], line["at"]) for line in lines[-10:]} == {("guest5", 1e9)}
            await ann.wish(say="and one")
            assert (await ann.until("said"))["n"] == 61

    run(scenario, time=Clock())


def test_a_room_waits_for_those_who_come_back(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann:
            await ann.wish(say="till soon")
            await ann.until("said")
        await process.wait(ann.pid)
        async with Guest(port, "ann", "tea") as again:
            assert again.room["process"] == ann.room["process"]
            assert [line["text"] for line in again.room["lines"]] == ["till soon"]
            assert again.room["lines"][0]["pid"] == ann.pid != again.pid

    run(scenario)


def test_who_comes_at_the_last_moment_is_let_in(run):
    """For each turn of the loop around a room's end: it is not found, or it lives on."""

    async def scenario(app, port):
        found = []
        for turns in range(12):
            heard = asyncio.Queue()
            guest = process.spawn(ear, None, heard)
            room = process.spawn("demo:room", None, "tea", name="room:tea")
            for _ in range(turns):
                await asyncio.sleep(0)
            found.append(process.lookup("room:tea") == room)
            if found[-1]:
                me = {"client_pid": guest, "metadata": {"name": "ann"}}
                process.send("room:tea", "ws.join", me)
                assert (await heard.get()).topic == "room"
                process.send("room:tea", "ws.leave", {**me, "reason": "transferred"})
            await process.wait(room)
        assert (found[0], found[-1]) == (True, False)

    run(scenario, IDLE=0)


def test_all_hear_the_lines_in_one_order(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann, Guest(port, "bob", "tea") as bob:
            for number in range(5):
                await ann.wish(say=f"a{number}")
                await bob.wish(say=f"b{number}")
            heard = [[await guest.next("said") for _ in range(10)] for guest in (ann, bob)]
            assert heard[0] == heard[1]
            assert [line["n"] for line in heard[0]] == list(range(1, 11))
            for guest, letter in ((ann, "a"), (bob, "b")):
                mine = [line["text"] for line in heard[0] if line["pid"] == guest.pid]
                assert mine == [f"{letter}{number}" for number in range(5)]

    run(scenario)


def test_the_others_hear_who_is_typing(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann, Guest(port, "bob", "tea") as bob:
            for on in (True, False):
                await ann.wish(typing=on)
                assert await bob.next("typing") == {"who": "ann", "pid": ann.pid, "on": on}
            await ann.wish(typing="<b>")
            await ann.wish(say="done")
            assert (await ann.next("typing", "refused"))["why"] == "not understood"
            assert (await bob.next("typing", "said"))["text"] == "done"

    run(scenario)


def test_nobody_is_too_fast_for_the_others(run):
    clock = Clock()

    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann, Guest(port, "bob", "tea") as bob:

            async def flood(count):
                for number in range(count):
                    await ann.wish(**({"say": "x"} if number % 2 else {"typing": True}))
                return [await ann.next("said", "refused") for _ in range(count - 5)]

            answers = await flood(20)  # of which 10 are taken, and 5 of these are only for bob
            assert [each.get("why") for each in answers] == [None] * 5 + ["too fast"] * 10
            clock.now += 1.0
            for _ in range(6):
                await ann.wish(say="y")
            answers = [await ann.next("said", "refused") for _ in range(6)]
            assert [each.get("why") for each in answers] == [None] * 5 + ["too fast"]
            clock.now += 1.0
            await ann.wish(move="garden")  # it takes along the four that are left
            await ann.until("room")
            for _ in range(5):
                await ann.wish(say="z")
            answers = [await ann.next("said", "refused") for _ in range(5)]
            assert [each.get("why") for each in answers] == [None] * 4 + ["too fast"]
            await bob.wish(say="I have all of mine")
            await bob.until("said", who="bob")
            clock.now += 3600
            answers = await flood(20)
            assert [each.get("why") for each in answers] == [None] * 5 + ["too fast"] * 10

    run(scenario, time=clock)


def test_what_happened_is_told_with_pids(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann:
            await ann.until("event", kind="ws.join")
            bob = await connect(f"ws://127.0.0.1:{port}/ws/tea?name=bob")
            join = await ann.next("event")
            assert join.pop("note") == "is here, and monitored"
            pid = join["pid"]
            about = {"by": "room:tea", "who": "bob", "pid": pid, "to": None}
            assert join == {"kind": "ws.join", **about}
            first = [orjson.loads(await bob.recv())["data"] for _ in range(2)]
            assert [(each["kind"], each["by"], each["to"]) for each in first] == [
                ("ws.join", "demo:lobby", None),
                ("ws.control", "demo:lobby", ann.room["process"]),
            ]
            await bob.send('{"move": "garden"}')
            control, leave = await ann.next("event"), await ann.next("event")
            garden = process.lookup("room:garden")
            note = "is handed to room garden"
            assert control == {**about, "kind": "ws.control", "note": note, "to": garden}
            assert leave == {**about, "kind": "ws.leave", "note": "left: transferred"}
            await bob.send('{"move": "tea"}')
            assert (await ann.next("event"))["kind"] == "ws.join"
            await bob.close(4001)
            leave, end = await ann.next("event"), await ann.next("event")
            assert leave == {**about, "kind": "ws.leave", "note": "left: client_close"}
            assert end == {**about, "kind": "EXIT", "note": "ended: normal, close code 4001"}
            await ann.wish(move="tea")
            await ann.until("refused", why="you are in that room")

    run(scenario)


def test_a_killed_room_comes_back_as_another_process(run, caplog):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann, Guest(port, "bob", "tea") as bob:
            await bob.wish(say="hello")
            ending = asyncio.create_task(process.wait(ann.room["process"]))
            await ann.wish(kill=False)
            await ann.until("refused")
            await ann.wish(kill=True)
            for guest in (ann, bob):
                await guest.until("event", kind="kill", who="ann", pid=ann.pid)
                with pytest.raises(ConnectionClosed) as closed:
                    await guest.socket.recv()
                assert closed.value.rcvd.code == 1011
                assert closed.value.rcvd.reason == "target process failed"
            assert (await ending).reason == "killed by ann"
        async with Guest(port, "bob", "tea") as bob:
            assert bob.room["process"] != ann.room["process"]
            assert bob.room["lines"] == []

    run(scenario)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_there_is_an_end_of_rooms(run):
    async def scenario(app, port):
        for number in range(100):
            process.spawn("demo:room", None, f"r{number}", name=f"room:r{number}")
        async with Guest(port, "ann", "r7") as ann:
            await ann.wish(move="tea")
            await ann.until("refused", why="all rooms are taken")
            await ann.wish(move="r8")
            assert (await ann.until("room"))["name"] == "r8"
            async with connect(f"ws://127.0.0.1:{port}/ws/tea?name=bob") as bob:
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        await bob.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                1013, "all rooms are taken"
            )  # fmt: skip

    run(scenario)


def test_the_lobby_is_kept_alive(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann:
            process.terminate("lobby")
            while process.lookup("lobby") is None:
                await asyncio.sleep(0)
            await ann.wish(say="rooms don't need it")
            await ann.until("said")
            async with Guest(port, "bob", "tea"):
                await ann.until("people", what="joined", who="bob")

    run(scenario)


@pytest.mark.parametrize(
    "path", ["/ws/tea", "/ws/tea?name=", "/ws/tea?name=%3Cb%3E", "/ws/%7Btea%7D?name=ann"]
)
def test_names_that_are_refused(run, path):
    async def scenario(app, port):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}{path}")
        assert refused.value.response.status_code == 400
        assert [info.name for info in app.processes()] == ["demo:lobby"]

    run(scenario)


def test_what_is_no_json_hurts_nobody(run):
    async def scenario(app, port):
        async with Guest(port, "ann", "tea") as ann:
            for message in ("{", b"\xff", '{"say": "' + "x" * 501 + '"}', '{"say": [1]}'):
                await ann.socket.send(message)
                await ann.until("refused", why="not understood")
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
        policy = re.search("Content-Security-Policy: (.*)\r\n", head)[1].split("; ")
        assert policy == [
            "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
            "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        ]  # fmt: skip
        assert "X-Content-Type-Options: nosniff" in head
        names = set(re.findall(rb'(?:src|href)="([^"]*)"', page))
        files = {file.name for file in HOME.joinpath("static").iterdir()} - {"index.html"}
        assert names == {f"/static/{file}".encode() for file in files}
        # What the policy forbids, which older browsers don't know, is not there to be forbidden.
        assert re.search(rb"<style|<script>|\s(style|on\w+)=|https?:", page) is None
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
    assert len(lines) < 200
