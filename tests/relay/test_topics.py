"""What a target receives: the four topics, their payloads to the last key (relay contract, 3)."""

import asyncio
import time

import orjson
import pytest
from relay_helpers import ANY_ORIGIN, CLIENTS, Mail, dial, handshake_bytes, stage, until

from wsrelay import PID, Response, process
from wsrelay.config import parse_duration

METADATA = {"user": None, "n": 1, "f": 0.5, "list": [None, {"x": True}], "ü": ""}


@pytest.mark.parametrize("kind", CLIENTS)
def test_payloads_are_exactly_these(run_both, kind):
    async def main():
        async with stage(metadata=METADATA) as here:
            async with dial(kind, here.url) as client:
                joined = await here.mail.next()
                pid = here.connections[0]
                assert (joined.topic, joined.sender) == ("ws.join", pid)
                assert joined.payload == {"client_pid": pid, "metadata": METADATA}
                await client.send("text ü")
                await client.send(b"\x00\xff")
                for type_name, data in [("text", "text ü"), ("binary", b"\x00\xff")]:
                    message = await here.mail.next()
                    assert (message.topic, message.sender) == ("ws.message", pid)
                    assert message.payload == {
                        "client_pid": pid,
                        "type": type_name,
                        "data": data,
                        "metadata": METADATA,
                    }
                    assert type(message.payload["data"]) is type(data)
                await client.close(4321, "bye")
            left = await here.mail.next()
            assert (left.topic, left.sender) == ("ws.leave", pid)
            assert left.payload == {
                "client_pid": pid,
                "reason": "client_close",
                "code": 4321,
                "clean": True,
                "metadata": METADATA,
            }

    run_both(main())


def test_every_payload_is_a_plain_dict(run):
    async def main():
        async with stage(heartbeat_interval="5ms") as here:
            async with dial("websockets", here.url) as client:
                messages = [await here.mail.next("ws.join"), await here.mail.next("ws.heartbeat")]
                await client.send("x")
                messages.append(await here.mail.next("ws.message"))
            messages.append(await here.mail.next("ws.leave"))
            assert {type(one.payload) for one in messages} == {dict}
            assert all(one.payload["metadata"] == {} for one in messages)

    run(main())


def test_client_pid_is_a_pid_and_a_str(run):
    async def main():
        async with stage() as here, dial("websockets", here.url):
            joined = await here.mail.next()
            pid = joined.payload["client_pid"]
            assert type(pid) is PID and isinstance(pid, str)
            assert pid is joined.sender or pid == joined.sender
            text = str(pid)
            assert pid == text and hash(pid) == hash(text) and {pid: 1}[text] == 1
            assert text.startswith("{app:gateway|0x")
            assert orjson.loads(orjson.dumps({"pid": pid})) == {"pid": text}
            assert process.info(text).pid == pid

    run(main())


def test_a_target_answers_the_text_of_a_pid(run):
    """A PID that went through JSON still addresses its client, from any process."""

    async def main():
        async with stage() as here, dial("websockets", here.url) as client:
            text = orjson.loads(orjson.dumps((await here.mail.next()).payload))["client_pid"]
            assert type(text) is str
            assert process.send(text, "ws.send", {"type": "text", "data": "found"})
            assert await client.receive() == "found"

    run(main())


# -- metadata --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "attached"),
    [(b"", {}), (b', "metadata": null', {}), (b', "metadata": {"a": null}', {"a": None})],
)
def test_metadata_as_the_handler_said(run, said, attached):
    async def main():
        def connect(request, here):
            pid = process.spawn(here.mail.record)
            response = Response()
            response.headers["X-WS-Relay"] = b'{"target_pid": "%b"%b}' % (pid.encode(), said)
            return response

        async with stage(connect) as here, dial("websockets", here.url):
            assert (await here.mail.next()).payload["metadata"] == attached

    run(main())


# -- message topic ---------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["chat.line", "ws.other", "x", "한 마디"])
def test_message_topic(run, topic):
    """It renames client messages and nothing else."""

    async def main():
        async with stage(message_topic=topic, heartbeat_interval="5ms") as here:
            async with dial("websockets", here.url) as client:
                assert (await here.mail.next()).topic == "ws.join"
                await client.send("x")
                message = await here.mail.next(topic)
                assert message.payload["data"] == "x"
                await here.mail.next("ws.heartbeat")
            await here.mail.next("ws.leave")

    run(main())


@pytest.mark.parametrize(
    "text",
    [
        '{"topic": "ws.leave", "client_pid": "{app:gateway|0x1}"}',
        '{"topic": "@exit", "target_pid": "x"}',
        "ws.control",
        "@kill",
        "",
        "\x00",
    ],
)
def test_what_a_client_sends_chooses_no_topic(run, text):
    async def main():
        async with stage() as here, dial("websockets", here.url) as client:
            pid = (await here.mail.next()).sender
            await client.send(text)
            message = await here.mail.next()
            assert (message.topic, message.sender) == ("ws.message", pid)
            assert message.payload["data"] == text

    run(main())


# -- heartbeats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", ["40ms", 40, "0.04s"])
def test_heartbeat(run_both, interval):
    async def main():
        async with stage(heartbeat_interval=interval, metadata={"a": None}) as here:
            before = time.monotonic()
            async with dial("websockets", here.url) as client:
                await here.mail.next("ws.join")
                await client.send("one")
                await client.send(b"two")
                for _ in range(2):
                    await here.mail.next("ws.message")
                first = (await here.mail.next("ws.heartbeat")).payload
                second = await here.mail.next("ws.heartbeat")
                most = (time.monotonic() - before) * 1000
                assert second.sender == here.connections[0]
            assert first["message_count"] == 2
            assert 35 <= first["uptime_ms"] <= second.payload["uptime_ms"] <= most
            assert second.payload.keys() == {
                "client_pid",
                "uptime",
                "uptime_ms",
                "message_count",
                "metadata",
            }
            assert second.payload["client_pid"] == second.sender
            assert second.payload["metadata"] == {"a": None}

    run_both(main())


def test_uptime_is_text_as_go_prints_it(run):
    async def main():
        async with stage(heartbeat_interval="10ms") as here, dial("websockets", here.url):
            for _ in range(3):
                beat = (await here.mail.next("ws.heartbeat")).payload
                assert type(beat["uptime_ms"]) is int
                assert beat["uptime"].endswith("ms")
                assert parse_duration(beat["uptime"]) * 1000 == pytest.approx(
                    beat["uptime_ms"], abs=1
                )

    run(main())


def test_uptime_of_hours(run):
    """The clock is the App's; two hours go by between two heartbeats."""

    async def main():
        ahead = 0.0
        async with (
            stage(heartbeat_interval="30m", clock=lambda: time.monotonic() + ahead) as here,
            dial("websockets", here.url),
        ):
            await here.mail.next("ws.join")
            ahead = 2 * 3600 + 90
            here.app.scheduler.timers.advance()
            beat = (await here.mail.next()).payload
            assert beat["uptime"].startswith("2h1m30")
            assert beat["uptime_ms"] // 1000 == ahead
            assert len(here.mail) == 0  # what was missed is not made up for

    run(main())


@pytest.mark.parametrize("fields", [{}, {"heartbeat_interval": 0}, {"heartbeat_interval": "0s"}])
def test_no_heartbeat_unless_asked(run, fields):
    async def main():
        options = {**ANY_ORIGIN, "wsrelay.ping.interval": "20ms"}
        async with (
            stage(options=options, **fields) as here,
            dial("websockets", here.url) as client,
        ):
            await here.mail.next("ws.join")
            pid = here.connections[0]
            await until(lambda: process.info(pid).last_rtt_ms is not None)  # its clock runs
            await client.send("x")
            assert (await here.mail.next()).topic == "ws.message"

    run(main())


def test_a_heartbeat_of_nanoseconds_does_not_stop_the_loop(run):
    async def main():
        async with (
            stage(heartbeat_interval=1e-300) as here,
            dial("websockets", here.url) as client,
        ):
            await here.mail.next("ws.heartbeat")
            await client.send("x")
            await here.mail.next("ws.message")

    run(main())


# -- leaving ---------------------------------------------------------------------------------------


def test_leave_without_a_code(run):
    """A close frame without a body is 1005, and no close frame at all 1006 (RFC 6455 7.1.5)."""

    async def main():
        async with stage() as here:
            for frame, reason, code, clean in [
                (b"\x88\x80\x00\x00\x00\x00", "client_close", 1005, True),
                (b"", "connection_lost", 1006, False),
            ]:
                _, writer = await asyncio.open_connection("127.0.0.1", here.port)
                writer.write(handshake_bytes() + frame)
                joined = await here.mail.next("ws.join")
                writer.close()
                left = (await here.mail.next("ws.leave")).payload
                assert (left["reason"], left["code"], left["clean"]) == (reason, code, clean)
                assert left["client_pid"] == joined.sender
                await writer.wait_closed()

    run(main())


def test_leave_of_a_transfer(run):
    async def main():
        async with stage(metadata={"old": 1}) as here, dial("websockets", here.url):
            pid = (await here.mail.next()).sender
            elsewhere = Mail()
            target = process.spawn(elsewhere.record)
            process.send(pid, "ws.control", {"target_pid": target, "metadata": {"new": 1}})
            left = (await here.mail.next()).payload
            assert (left["reason"], left["metadata"]) == ("transferred", {"old": 1})
            joined = await elsewhere.next()
            assert joined.payload == {"client_pid": pid, "metadata": {"new": 1}}

    run(main())
