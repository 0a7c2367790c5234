"""What payloads mean as frames: `ws.send`, `ws.close`, other topics (relay contract, section 4)."""

import array
import enum
import re

import pytest
from connection_helpers import BINARY, CLOSE, TEXT, Stage, frames, on_loop, say, settle

from wsrelay_core import PID, broadcast, send


class Word(str, enum.Enum):  # noqa: UP042 - its own str() is another text
    YES = "yes"


class Hostile(dict):
    def get(self, *_):
        raise RuntimeError("never")


class Unequal:
    def __eq__(self, other):
        raise RuntimeError("never")

    __hash__ = None


GOOD = [
    ({"data": "ü"}, (TEXT, "ü")),
    ({"type": "text", "data": "x"}, (TEXT, "x")),
    ({"type": None, "data": b"x"}, (BINARY, b"x")),
    ({"type": "text", "data": "ü".encode()}, (TEXT, "ü")),
    ({"type": "text", "data": {"a": [1, None]}}, (TEXT, '{"a":[1,null]}')),
    ({"data": [1, "b"]}, (TEXT, '[1,"b"]')),
    ({"data": {PID.parse("{h|0x1}"): 1}}, (TEXT, '{"{h|0x1}":1}')),
    ({"type": "binary", "data": "ü"}, (BINARY, "ü".encode())),
    ({"data": bytearray(b"ba")}, (BINARY, b"ba")),
    ({"data": memoryview(b"abcd")[::2]}, (BINARY, b"ac")),
    ({"data": array.array("B", [1, 2])}, (BINARY, b"\x01\x02")),
    ({"data": Word.YES}, (TEXT, "yes")),
    ({"type": "binary", "data": PID.parse("{h|0x1}")}, (BINARY, b"{h|0x1}")),
    ({"data": ""}, (TEXT, "")),
    ({"data": b""}, (BINARY, b"")),
    ({"data": "x" * 70000}, (TEXT, "x" * 70000)),
]
BAD = [
    None,
    "text",
    b"bytes",
    5,
    [],
    {},
    {"type": "text"},
    {"data": None},
    {"data": 5},
    {"data": object()},
    {"data": (1, 2)},
    {"data": {1, 2}},
    {"type": "image", "data": "x"},
    {"type": 1, "data": "x"},
    {"type": "binary", "data": {"a": 1}},
    {"type": "text", "data": b"\xff"},
    {"data": "\ud800"},
    {"data": {"a": object()}},
    {"data": {b"k": 1}},
    {"type": Unequal(), "data": "x"},
    Hostile(data="x"),
]


@pytest.mark.parametrize("payload, frame", GOOD)
@on_loop
async def test_send(payload, frame):
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "ws.send", payload)
    await settle()
    assert frames(wire) == [frame]
    assert connection.malformed == 0
    await stage.stop()


def shown(payload):
    """A name that is the same in each run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(payload))


@pytest.mark.parametrize("payload", BAD, ids=shown)
@on_loop
async def test_malformed_send_is_dropped_and_counted(payload):
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "ws.send", payload)
    await settle()
    assert frames(wire) == []
    assert connection.malformed == 1 and connection.is_open
    assert say(connection, "on")
    await settle()
    assert frames(wire) == [(TEXT, "on")]
    await stage.stop()


@on_loop
async def test_nested_beyond_what_json_takes_is_malformed():
    stage = Stage()
    connection, _ = stage.connect()
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert say(connection, deep)
    assert connection.malformed == 1
    await stage.stop()


@on_loop
async def test_several_payloads_are_several_frames_in_order():
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "ws.send", {"data": "a"}, {"data": 5}, {"data": b"b"})
    assert send(connection.pid, "ws.send")
    await settle()
    assert frames(wire) == [(TEXT, "a"), (BINARY, b"b")]
    assert connection.malformed == 2
    await stage.stop()


@pytest.mark.parametrize(
    "payloads, text",
    [
        ([{"a": 1}], '{"topic":"news","data":{"a":1}}'),
        ([], '{"topic":"news","data":null}'),
        ([None], '{"topic":"news","data":null}'),
        (["a", 2], '{"topic":"news","data":["a",2]}'),
        ([b"\x00\xff"], '{"topic":"news","data":"AP8="}'),
        ([{"raw": bytearray(b"x")}], '{"topic":"news","data":{"raw":"eA=="}}'),
        ([memoryview(b"abcd")[::2]], '{"topic":"news","data":"YWM="}'),
    ],
)
@on_loop
async def test_other_topics_are_envelopes(payloads, text):
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "news", *payloads)
    await settle()
    assert frames(wire) == [(TEXT, text)]
    await stage.stop()


@on_loop
async def test_what_is_no_json_is_malformed():
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "news", object())
    assert send(connection.pid, "news", {"a": {1, 2}})
    await settle()
    assert frames(wire) == [] and connection.malformed == 2
    await stage.stop()


@pytest.mark.parametrize("topic", ["ws.join", "ws.leave", "ws.heartbeat", "ws.other", "ws."])
@on_loop
async def test_reserved_topics_never_reach_the_client(topic):
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, topic, {"data": "x"})
    await settle()
    assert frames(wire) == [] and connection.malformed == 1
    await stage.stop()


CLOSES = [
    ((), (1000, ""), 0),
    ((None,), (1000, ""), 0),
    (("bye",), (1000, "bye"), 0),
    ((3001,), (3001, ""), 0),
    (({},), (1000, ""), 0),
    (({"code": 4999, "reason": "ü"},), (4999, "ü"), 0),
    (({"code": None, "reason": None},), (1000, ""), 0),
    (({"reason": "ü" * 62},), (1000, "ü" * 61), 0),
    (({"reason": "\ud800"},), (1000, "?"), 0),
    *[((code,), (code, ""), 0) for code in (1000, 1001, 1003, 1007, 1013, 3000, 4999)],
    *[
        ((code,), (1000, ""), 1)
        for code in (0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 10**30, 10**5000)
    ],
]


@pytest.mark.parametrize("payloads, frame, malformed", CLOSES)
@on_loop
async def test_close(payloads, frame, malformed):
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "ws.close", *payloads)
    await settle()
    assert frames(wire) == [(CLOSE, frame)]
    assert connection.malformed == malformed
    connection.connection_lost(None)
    assert (stage.record["code"], stage.record["reason"]) == frame
    await stage.stop()


@pytest.mark.parametrize(
    "payload",
    [1.5, True, b"bye", {"code": "1000"}, {"code": True}, {"reason": 5}, [], Hostile()],
    ids=repr,
)
@on_loop
async def test_malformed_close_is_dropped(payload):
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "ws.close", payload)
    await settle()
    assert frames(wire) == [] and connection.is_open and connection.malformed == 1
    await stage.stop()


@on_loop
async def test_a_broadcast_is_encoded_once():
    class Counted(dict):
        reads = 0

        def get(self, key, default=None):
            Counted.reads += 1
            return super().get(key, default)

    stage = Stage()
    several = [stage.connect() for _ in range(3)]
    pids = [connection.pid for connection, _ in several]
    assert broadcast(pids, "ws.send", Counted(data="x")) == 3
    await settle()
    assert [frames(wire) for _, wire in several] == [[(TEXT, "x")]] * 3
    assert Counted.reads == 2
    await stage.stop()


@on_loop
async def test_close_code_1014_may_be_sent():
    stage = Stage()
    connection, wire = stage.connect()
    assert send(connection.pid, "ws.close", 1014)
    await settle()
    assert wire.taken == b"\x88\x02\x03\xf6"  # wsproto's own client would refuse it
    await stage.stop()
