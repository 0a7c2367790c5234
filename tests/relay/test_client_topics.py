"""What a connection accepts: `ws.send`, `ws.close`, other topics (relay contract, 4)."""

import array
import base64
import enum

import orjson
import pytest
from relay_helpers import CLIENTS, connected

from wsrelay import process


class Color(str, enum.Enum):  # noqa: UP042 - its str() is its name, a StrEnum's its value
    RED = "red"


class Code(enum.IntEnum):
    GONE = 4004


# -- ws.send ---------------------------------------------------------------------------------------

FORMS = [
    ({"type": "text", "data": "hello ü 한 😀"}, "hello ü 한 😀"),
    ({"type": "text", "data": ""}, ""),
    ({"type": "text", "data": "x" * 70_000}, "x" * 70_000),
    ({"type": "text", "data": "é".encode()}, "é"),
    ({"type": "text", "data": bytearray(b"bytes")}, "bytes"),
    ({"type": "text", "data": memoryview(b"bytes")}, "bytes"),
    ({"type": "text", "data": orjson.dumps({"a": 1})}, '{"a":1}'),
    ({"type": "text", "data": {"a": [1, None], 2: "b"}}, '{"a":[1,null],"2":"b"}'),
    ({"type": "text", "data": [1, "ü"]}, '[1,"ü"]'),
    ({"type": "text", "data": Color.RED}, "red"),
    ({"type": "binary", "data": b"\x00\xff"}, b"\x00\xff"),
    ({"type": "binary", "data": b""}, b""),
    ({"type": "binary", "data": bytearray(b"\xfe")}, b"\xfe"),
    ({"type": "binary", "data": memoryview(b"abcdef")[::2]}, b"ace"),
    ({"type": "binary", "data": memoryview(array.array("H", [1, 2]))}, b"\x01\x00\x02\x00"),
    ({"type": "binary", "data": "ü"}, "ü".encode()),
    ({"data": "ü"}, "ü"),
    ({"data": b"abc"}, b"abc"),
    ({"data": bytearray(b"abc")}, b"abc"),
    ({"data": memoryview(b"abc")}, b"abc"),
    ({"data": {"a": 1}}, '{"a":1}'),
    ({"data": [1]}, "[1]"),
    ({"type": None, "data": "x"}, "x"),
    ({"type": "text", "data": "x", "more": object()}, "x"),
]


@pytest.mark.parametrize("kind", CLIENTS)
def test_each_form_is_exactly_one_frame(run_both, kind):
    async def main():
        async with connected(kind) as (_, client, pid):
            for payload, expected in FORMS:
                assert process.send(pid, "ws.send", payload) is True
                received = await client.receive()
                assert received == expected and type(received) is type(expected), payload

    run_both(main())


def test_several_payloads_are_several_frames_in_order(run):
    async def main():
        async with connected() as (_, client, pid):
            payloads = [{"data": "a"}, {"data": b"b"}, {"type": "text", "data": ["c"]}]
            assert process.send(pid, "ws.send", *payloads) is True
            assert [await client.receive() for _ in payloads] == ["a", b"b", '["c"]']

    run(main())


def test_a_malformed_payload_among_several(run):
    async def main():
        async with connected() as (_, client, pid):
            assert process.send(pid, "ws.send", {"data": "a"}, {"data": 1}, {"data": "b"}) is True
            assert [await client.receive() for _ in range(2)] == ["a", "b"]
            assert process.info(pid).dropped == 1

    run(main())


# -- ws.close --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("payloads", "code", "reason"),
    [
        (({"code": 1000, "reason": "Session ended"},), 1000, "Session ended"),
        (({"code": 4000},), 4000, ""),
        (({"reason": "only that"},), 1000, "only that"),
        (({},), 1000, ""),
        (({"code": None, "reason": None},), 1000, ""),
        (("a reason",), 1000, "a reason"),
        ((4999,), 4999, ""),
        ((Code.GONE,), 4004, ""),
        ((Color.RED,), 1000, "red"),
        ((), 1000, ""),
        ((None,), 1000, ""),
    ],
)
def test_close_forms(run, kind, payloads, code, reason):
    async def main():
        async with connected(kind) as (here, client, pid):
            assert process.send(pid, "ws.close", *payloads) is True
            assert await client.closed() == (code, reason)
            left = (await here.mail.next("ws.leave")).payload
            assert (left["reason"], left["code"]) == ("closed_by_process", code)

    run(main())


SENDABLE = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]


@pytest.mark.parametrize("code", SENDABLE)
def test_codes_that_may_be_sent(run, code):
    async def main():
        async with connected("aiohttp") as (_, client, pid):
            process.send(pid, "ws.close", {"code": code})
            assert (await client.closed())[0] == code

    run(main())


@pytest.mark.parametrize(
    "code",
    [
        *(0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 2**64),
        pytest.param(10**5000, id="of more digits than int has text"),
    ],
)
def test_a_code_that_may_not_be_sent(run, caplog, code):
    """It is logged, and 1000 used, with the reason."""

    async def main():
        async with connected() as (here, client, pid):
            assert process.send(pid, "ws.close", {"code": code, "reason": "why"}) is True
            assert await client.closed() == (1000, "why")
            await here.mail.next("ws.leave")

    run(main())
    (line,) = [one.getMessage() for one in caplog.records if "dropped" in one.getMessage()]
    assert "may not be sent" in line and len(line) < 300


@pytest.mark.parametrize(
    ("reason", "cut"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("é" * 100, "é" * 61),
        ("x" + "é" * 100, "x" + "é" * 61),
        ("한" * 100, "한" * 41),
        ("xx" + "😀" * 50, "xx" + "😀" * 30),
        ("\udc80 lone", "? lone"),
    ],
)
def test_a_reason_is_cut_at_a_character(run, reason, cut):
    async def main():
        async with connected() as (here, client, pid):
            process.send(pid, "ws.close", {"reason": reason})
            assert await client.closed() == (1000, cut)
            await here.mail.next("ws.leave")

    run(main())


# -- other topics ----------------------------------------------------------------------------------

RAW = bytes(range(256))


@pytest.mark.parametrize("kind", CLIENTS)
def test_an_other_topic_is_an_envelope(run, kind):
    async def main():
        async with connected(kind) as (_, client, pid):
            for payloads, data in [
                (({"a": [1, None, True]},), {"a": [1, None, True]}),
                (("text ü",), "text ü"),
                ((7,), 7),
                ((None,), None),
                ((), None),
                ((1, "two", {"three": 3}), [1, "two", {"three": 3}]),
                ((RAW,), base64.b64encode(RAW).decode()),
                ((bytearray(RAW), [memoryview(b"x")]), [base64.b64encode(RAW).decode(), ["eA=="]]),
                (({1: "int key", pid: "pid key"},), {"1": "int key", str(pid): "pid key"}),
                ((pid,), str(pid)),
            ]:
                assert process.send(pid, "score.changed", *payloads) is True
                text = await client.receive()
                assert type(text) is str
                assert orjson.loads(text) == {"topic": "score.changed", "data": data}
                assert list(orjson.loads(text)) == ["topic", "data"]

    run(main())


@pytest.mark.parametrize(
    "topic", ["x", "wsx.send", "ws", "WS.send", " ws.send", "채팅", '"\n', "w@"]
)
def test_topics_that_are_sent(run, topic):
    async def main():
        async with connected() as (_, client, pid):
            assert process.send(pid, topic, 1)
            assert orjson.loads(await client.receive()) == {"topic": topic, "data": 1}

    run(main())


def test_a_topic_of_an_enum_is_its_text(run):
    async def main():
        async with connected() as (_, client, pid):
            assert process.send(pid, Color.RED, 1)
            assert orjson.loads(await client.receive()) == {"topic": "red", "data": 1}

    run(main())


@pytest.mark.parametrize(
    "topic",
    ["ws.", "ws.other", "ws.message", "ws.join", "ws.leave", "ws.heartbeat", "ws.control.error"],
)
def test_the_relays_own_topics_are_never_forwarded(run, caplog, topic):
    async def main():
        async with connected() as (_, client, pid):
            assert process.send(pid, topic, {"data": "x"}) is True
            assert process.info(pid).dropped == 1
            process.send(pid, "ws.send", {"data": "next"})
            assert await client.receive() == "next"

    run(main())
    (line,) = [one.getMessage() for one in caplog.records if "dropped" in one.getMessage()]
    assert topic in line


def test_an_at_topic_never_leaves_the_sender(run):
    async def main():
        async with connected() as (_, _client, pid):
            with pytest.raises(ValueError, match="the system's"):
                process.send(pid, "@exit", 1)
            with pytest.raises(ValueError, match="the system's"):
                process.broadcast([pid], "@exit", 1)
            assert process.info(pid).dropped == 0

    run(main())


# -- when it is over -------------------------------------------------------------------------------


def test_send_is_false_from_the_close_frame_on(run):
    async def main():
        async with connected() as (here, client, pid):
            assert process.send(pid, "ws.close", 4000) is True
            for topic, payload in [
                ("ws.send", {"data": "x"}),
                ("ws.send", None),
                ("ws.close", 1000),
                ("ws.control", {}),
                ("x", 1),
            ]:
                assert process.send(pid, topic, payload) is False, topic
            assert process.broadcast([pid], "ws.send", {"data": "x"}) == 0
            assert await client.closed() == (4000, "")
            await here.mail.next("ws.leave")
            assert process.send(pid, "ws.send", {"data": "x"}) is False
            assert process.send(str(pid), "ws.send", {"data": "x"}) is False

    run(main())


def test_what_was_sent_before_the_close_comes_first(run):
    async def main():
        async with connected() as (_, client, pid):
            process.send(pid, "ws.send", {"data": "last words"})
            process.send(pid, "ws.close", 4000)
            assert await client.receive() == "last words"
            assert await client.closed() == (4000, "")

    run(main())
