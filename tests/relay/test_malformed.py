"""What can't be sent is logged, counted and dropped: it ends nothing and raises in no sender."""

import asyncio
import logging

import pytest
from relay_helpers import connected

from wsrelay import process


class Hostile:
    """A value whose every text fails."""

    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


class HostileError(Exception):
    def __str__(self):
        raise RuntimeError("no text either")


class HostileDict(dict):
    def get(self, *_):
        raise HostileError


class HostileType:
    """Can't be compared, hashed or shown."""

    def __eq__(self, other):
        raise HostileError

    def __hash__(self):
        raise HostileError


DEEP = []
for _ in range(5000):
    DEEP = [DEEP]


# -- ws.send ---------------------------------------------------------------------------------------

MALFORMED = [
    (),
    (None,),
    ("just text",),
    (b"just bytes",),
    (["a list"],),
    ({},),
    ({"type": "text"},),
    ({"type": "text", "data": None},),
    ({"type": "text", "data": 7},),
    ({"type": "text", "data": b"\xff"},),
    ({"type": "text", "data": "\udc80"},),
    ({"type": "binary", "data": "\udc80"},),
    ({"type": "text", "data": {"\udc80": 1}},),
    ({"type": "text", "data": {"a": {1, 2}}},),
    ({"type": "text", "data": {"a": 2**70}},),
    ({"type": "text", "data": DEEP},),
    ({"type": "text", "data": [Hostile()]},),
    ({"type": "text", "data": [HostileType()]},),
    ({"type": "text", "data": Hostile()},),
    ({"type": "binary", "data": {"a": 1}},),
    ({"type": "binary", "data": 3},),
    ({"type": "Text", "data": "x"},),
    ({"type": 1, "data": "x"},),
    ({"type": HostileType(), "data": "x"},),
    ({"type": Hostile(), "data": "x"},),
    (HostileDict(type="text", data="x"),),
    (Hostile(),),
]


@pytest.mark.parametrize("compression", ["off", "permessage-deflate"])
def test_a_malformed_payload_is_logged_counted_and_dropped(run, caplog, compression):
    """It ends nothing, raises nothing in the sender, and the sender sees True."""
    options = {"wsrelay.allowed.origins": "*", "wsrelay.compression": compression}
    answers = []

    async def sender(pid, done):
        answers.extend(process.send(pid, "ws.send", *payloads) for payloads in MALFORMED)
        done.set()

    async def main():
        async with connected(options=options) as (here, client, pid):
            done = asyncio.Event()
            here.server.service.routers[0].post_middleware[0].dropped_log.most = 1000
            process.spawn(sender, None, pid, done)
            await done.wait()
            assert answers == [True] * len(MALFORMED)
            assert process.info(pid).dropped == len(MALFORMED)
            process.send(pid, "ws.send", {"data": "still here"})
            assert await client.receive() == "still here"

    run(main())
    lines = [one.getMessage() for one in caplog.records if one.name == "wsrelay.relay"]
    assert len([line for line in lines if "dropped ws.send" in line]) == len(MALFORMED)
    assert all(one.levelno < logging.ERROR for one in caplog.records)


def test_a_flood_of_malformed_payloads_is_a_few_lines(run, caplog):
    async def main():
        async with connected() as (_, _client, pid):
            for _ in range(500):
                process.send(pid, "ws.send", None)
            assert process.info(pid).dropped == 500

    run(main())
    assert len([one for one in caplog.records if "dropped" in one.getMessage()]) <= 10


# -- ws.close --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payloads",
    [
        ({"code": "1000"},),
        ({"code": 1000.0},),
        ({"code": True},),
        ({"reason": 7},),
        ({"reason": b"bytes"},),
        (True,),
        (1.5,),
        (b"bytes",),
        ([1000],),
        (1000, "reason"),
        (Hostile(),),
        (HostileDict(code=1000),),
    ],
)
def test_a_malformed_close_ends_nothing(run, caplog, payloads):
    async def main():
        async with connected() as (_, client, pid):
            assert process.send(pid, "ws.close", *payloads) is True
            assert process.info(pid).dropped == 1
            process.send(pid, "ws.send", {"data": "still here"})
            assert await client.receive() == "still here"

    run(main())
    assert len([one for one in caplog.records if "dropped ws.close" in one.getMessage()]) == 1


# -- ws.control ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payloads",
    [
        (),
        ("text",),
        ({}, {}),
        (Hostile(),),
        (HostileDict(),),
        (HostileDict(target_pid="x"),),
        ({"target_pid": Hostile()},),
        ({"target_pid": "{bad\x1b"},),
        ({"target_pid": "\udc80"},),
        ({"metadata": HostileType()},),
    ],
)
def test_a_malformed_control_changes_nothing(run, caplog, payloads):
    """Its sender, a process, is told; a line of the log says so too."""

    async def sender(pid, answers):
        assert process.send(pid, "ws.control", *payloads) is True
        answers.set_result(await process.inbox().receive())

    async def main():
        async with connected() as (here, client, pid):
            answers = asyncio.get_running_loop().create_future()
            process.spawn(sender, None, pid, answers)
            answer = await answers
            assert (answer.topic, answer.sender) == ("ws.control.error", pid)
            assert set(answer.payload) == {"client_pid", "error", "target_pid"}
            assert process.send(pid, "ws.control", *payloads) is True  # nobody to tell
            await client.send("still here")
            assert (await here.mail.next()).payload["data"] == "still here"

    run(main())
    lines = [one.getMessage() for one in caplog.records if "ws.control" in one.getMessage()]
    assert len(lines) == 2 and all(line.isprintable() for line in lines)


# -- other topics ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("x", Hostile()),
        ("x", {"a": {1}}),
        ("x", "\udc80"),
        ("\udc80", 1),
        ("x", 2**70),
        ("x", DEEP),
        ("x", {b"bytes": 1}),
        ("x", [HostileType()]),
    ],
)
def test_what_is_no_json_is_dropped(run, caplog, topic, payload):
    async def main():
        async with connected() as (_, client, pid):
            assert process.send(pid, topic, payload) is True
            assert process.broadcast([pid], topic, payload) == 1
            assert process.info(pid).dropped == 2
            process.send(pid, "ws.send", {"data": "next"})
            assert await client.receive() == "next"

    run(main())
    assert len([one for one in caplog.records if "dropped" in one.getMessage()]) == 2


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m"])
def test_what_is_dropped_is_logged_on_one_line(run, caplog, name):
    async def main():
        async with connected() as (_, _client, pid):
            process.send(pid, "ws." + name, 1)
            process.send(pid, "ws.send", type(name, (), {})())

    run(main())
    lines = [one.getMessage() for one in caplog.records if "dropped" in one.getMessage()]
    assert len(lines) == 2 and all(line.isprintable() for line in lines)
