"""Options of the relay (relay contract, 8): read, defaulted, refused, and what each one does."""

import asyncio

import pytest
from relay_helpers import (
    ANY_ORIGIN,
    CLIENTS,
    ask,
    dial,
    dial_raw,
    handshake_bytes,
    stage,
    with_options,
)
from wsproto.frame_protocol import Opcode

from wsrelay import App, process
from wsrelay.middleware.options import OptionError, read_options
from wsrelay.middleware.table import ChainError
from wsrelay.relay import OPTIONS, PREFIXES, Relay

DEFAULTS = {
    "wsrelay.allowed.origins": None,
    "wsrelay.require.origin": False,
    "wsrelay.message.max": 1024 * 1024,
    "wsrelay.message.timeout": 60.0,
    "wsrelay.queue.max": 1024 * 1024,
    "wsrelay.queue.policy": "close",
    "wsrelay.ping.interval": 20.0,
    "wsrelay.ping.timeout": 20.0,
    "wsrelay.idle.timeout": 0.0,
    "wsrelay.close.timeout": 5.0,
    "wsrelay.compression": "off",
    "wsrelay.subprotocols": (),
    "wsrelay.connections.max": 0,
    "wsrelay.connections.per_ip": 0,
    "wsrelay.heartbeat.default": 0.0,
    "wsrelay.message.format": "envelope",
    "wsrelay.drain": 5.0,
    "allow_origins": None,
    "allowed_origins": None,
}


# -- the table -------------------------------------------------------------------------------------


def test_the_table_and_its_defaults():
    assert read_options(OPTIONS, {}, PREFIXES) == DEFAULTS


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("wsrelay.allowed.origins", "https://a.example, *.b.example", None),
        ("wsrelay.require.origin", "true", True),
        ("wsrelay.message.max", "64KiB", 65536),
        ("wsrelay.message.timeout", "0", 0.0),
        ("wsrelay.queue.max", "2MiB", 2 * 1024 * 1024),
        ("wsrelay.queue.policy", "drop_newest", "drop_newest"),
        ("wsrelay.queue.policy", "drop_oldest", "drop_oldest"),
        ("wsrelay.ping.interval", "1m30s", 90.0),
        ("wsrelay.ping.timeout", "0s", 0.0),
        ("wsrelay.idle.timeout", "1h", 3600.0),
        ("wsrelay.close.timeout", "500ms", 0.5),
        ("wsrelay.compression", "permessage-deflate", "permessage-deflate"),
        ("wsrelay.subprotocols", "v2, v1", ("v2", "v1")),
        ("wsrelay.connections.max", "10", 10),
        ("wsrelay.connections.per_ip", "3", 3),
        ("wsrelay.heartbeat.default", "30s", 30.0),
        ("wsrelay.message.format", "raw", "raw"),
        ("wsrelay.drain", "2s", 2.0),
    ],
)
def test_what_is_read(option, text, value):
    expected = text if value is None else value
    assert read_options(OPTIONS, {option: text}, PREFIXES) == {**DEFAULTS, option: expected}
    Relay({option: text})


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("wsrelay.allowed.origins", "a b", "bad origin pattern 'a b'"),
        ("wsrelay.allowed.origins", "https://a.example/", "write https://a.example"),
        ("allow_origins", "a,,b", "superfluous comma"),
        ("allowed_origins", "null", "only a lone *"),
        ("wsrelay.require.origin", "yes", "neither true nor false"),
        ("wsrelay.message.max", "0", "a size of 0"),
        ("wsrelay.message.max", "1 MiB", "unknown unit"),
        ("wsrelay.message.timeout", "60", 'write "60s"'),
        ("wsrelay.queue.max", "big", "is not a size"),
        ("wsrelay.queue.policy", "drop", "close, drop_newest, drop_oldest"),
        ("wsrelay.ping.interval", "-1s", "can't be negative"),
        ("wsrelay.ping.timeout", "soon", "is not a duration"),
        ("wsrelay.idle.timeout", "1x", 'unknown unit "x"'),
        ("wsrelay.close.timeout", "", "is not a duration"),
        ("wsrelay.compression", "gzip", "off, permessage-deflate"),
        ("wsrelay.subprotocols", "v 1", "is no token"),
        ("wsrelay.connections.max", "-1", "no whole number"),
        ("wsrelay.connections.per_ip", "1.5", "no whole number"),
        ("wsrelay.heartbeat.default", "30", 'write "30s"'),
        ("wsrelay.message.format", "json", "envelope, raw"),
        ("wsrelay.drain", "x", "is not a duration"),
    ],
)
def test_what_is_refused_names_the_key_and_the_mend(option, text, message):
    with pytest.raises(OptionError) as caught:
        Relay({option: text})
    ((key, problem),) = caught.value.problems
    assert key == option
    assert problem.startswith(f"{option}: ") and message in problem


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("wsrelay.allowed.origin", "wsrelay.allowed.origins"),
        ("wsrelay.ping.intervall", "wsrelay.ping.interval"),
        ("wsrelay.connections.per-ip", "wsrelay.connections.per_ip"),
        ("wsrelay.Drain", "wsrelay.drain"),
    ],
)
def test_an_unknown_option_names_the_nearest(key, near):
    with pytest.raises(ChainError, match=f'^unknown option "{key}", did you mean "{near}"\\?$'):
        App().router("", post_middleware=["websocket_relay"], post_options={key: "1"})


# -- origins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"allow_origins": "allow.example"}, "allow"),
        ({"allowed_origins": "allowed.example"}, "allowed"),
        ({"allow_origins": "allow.example", "allowed_origins": "allowed.example"}, "allow"),
        ({"wsrelay.allowed.origins": "ws.example", "allow_origins": "allow.example"}, "ws"),
        ({"allowed_origins": "allowed.example", "wsrelay.allowed.origins": "ws.example"}, "ws"),
    ],
)
def test_precedence_of_origin_keys(run, options, allowed):
    async def main():
        async with stage(options=options) as here:
            for name in ("ws", "allow", "allowed"):
                data = handshake_bytes(Origin=f"https://{name}.example")
                expected = 101 if name == allowed else 403
                assert (await ask(here.port, data)).status == expected, name

    run(main())


def warnings_at_start(caplog):
    return [one.getMessage() for one in caplog.records if "no origins" in one.getMessage()]


def test_one_warning_at_start_when_no_origins_are_configured(run, caplog):
    async def main():
        app = App()
        relay = {"post_middleware": ["websocket_relay"]}
        app.router("/open", **relay, post_options=ANY_ORIGIN)
        app.router("/one", **relay)
        app.router("/two", middleware=["websocket_relay"], options={"allow_origins": " "})
        app.router("/plain")
        assert warnings_at_start(caplog) == []
        async with app.running() as server:
            await ask(server.port, handshake_bytes("/one"))
            await ask(server.port, handshake_bytes("/one"))

    run(main())
    (line,) = warnings_at_start(caplog)
    assert "/one, /two" in line and "wsrelay.allowed.origins" in line
    assert "/open" not in line and "/plain" not in line


def test_no_warning_where_origins_are_configured(run, caplog):
    async def main():
        async with stage(options={"allowed_origins": "https://a.example"}):
            pass

    run(main())
    assert warnings_at_start(caplog) == []


# -- sizes and times -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_message_max(run, kind, compression):
    """It counts what the message is when it is whole: after decompression."""

    async def main():
        options = with_options(message_max="64KiB", compression="permessage-deflate")
        async with (
            stage(options=options) as here,
            dial(kind, here.url, compression=compression) as client,
        ):
            await client.send("x" * 65536)
            assert len((await here.mail.next("ws.message")).payload["data"]) == 65536
            await client.send("x" * 65537)
            assert (await client.closed())[0] == 1009
            left = (await here.mail.next()).payload
            assert (left["reason"], left["code"]) == ("message_too_big", 1009)

    run(main())


def test_message_timeout(run):
    async def main():
        options = with_options(message_timeout="50ms", close_timeout="10ms")
        async with stage(options=options) as here, dial_raw(here.port) as client:
            client.writer.write(b"\x01\x81\0\0\0\0x")  # the first fragment, and no other
            assert await client.frames() == [(Opcode.CLOSE, (1008, "message timeout"))]
            left = (await here.mail.next("ws.leave")).payload
            assert left["reason"] == "message_timeout"

    run(main())


def test_message_timeout_is_off_at_0(run):
    async def main():
        options = with_options(message_timeout="0", idle_timeout="80ms", close_timeout="10ms")
        async with stage(options=options) as here, dial_raw(here.port) as client:
            client.writer.write(b"\x01\x81\0\0\0\0x")
            assert (await here.mail.next("ws.leave")).payload["reason"] == "idle_timeout"

    run(main())


def test_ping_interval_and_timeout(run):
    """A client that does not answer is closed; one that answers stays, and is measured."""

    async def main():
        options = with_options(ping_interval="20ms", ping_timeout="60ms", close_timeout="100ms")
        async with stage(options=options) as here, dial("websockets", here.url):
            pid = (await here.mail.next("ws.join")).sender
            async with dial_raw(here.port) as silent:
                left = await here.mail.next("ws.leave")
                frames = await silent.frames()
            assert left.payload["reason"] == "ping_timeout"
            assert left.sender != pid
            (ping, _), close = frames
            assert ping is Opcode.PING
            assert close == (Opcode.CLOSE, (1011, "ping timeout"))
            assert process.info(pid).last_rtt_ms >= 0

    run(main())


def test_no_pings_when_off(run):
    async def main():
        options = with_options(ping_interval="0", idle_timeout="100ms", close_timeout="10ms")
        async with stage(options=options) as here, dial_raw(here.port) as silent:
            assert await silent.frames() == [(Opcode.CLOSE, (1001, "idle timeout"))]

    run(main())


def test_pings_without_a_timeout_only_ask(run):
    async def main():
        options = with_options(
            ping_interval="20ms", ping_timeout="0", idle_timeout="100ms", close_timeout="10ms"
        )
        async with stage(options=options) as here, dial_raw(here.port) as silent:
            *pings, close = await silent.frames()
            assert len(pings) >= 2 and {opcode for opcode, _ in pings} == {Opcode.PING}
            assert close == (Opcode.CLOSE, (1001, "idle timeout"))

    run(main())


def test_idle_timeout(run):
    """Messages are life; answers to pings are none."""

    async def main():
        loop = asyncio.get_running_loop()
        options = with_options(idle_timeout="120ms", ping_interval="10ms")
        async with stage(options=options) as here, dial("websockets", here.url) as client:
            for _ in range(4):
                await asyncio.sleep(0.06)
                await client.send("x")
            last = loop.time()
            assert await client.closed() == (1001, "idle timeout")
            assert loop.time() - last >= 0.11
            assert (await here.mail.next("ws.leave")).payload["reason"] == "idle_timeout"

    run(main())


def test_close_timeout(run):
    """A client that does not answer the close frame is cut off, and the end is not clean."""

    async def main():
        loop = asyncio.get_running_loop()
        options = with_options(close_timeout="80ms")
        async with stage(options=options) as here, dial_raw(here.port) as client:
            pid = (await here.mail.next("ws.join")).sender
            start = loop.time()
            process.send(pid, "ws.close", 4000)
            left = (await here.mail.next("ws.leave")).payload
            assert 0.07 <= loop.time() - start < 2
            assert (left["reason"], left["code"], left["clean"]) == (
                "closed_by_process",
                4000,
                False,
            )
            assert await client.frames() == [(Opcode.CLOSE, (4000, ""))]

    run(main())


# -- heartbeats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "beats"), [({}, True), ({"heartbeat_interval": "0"}, False), (None, True)]
)
def test_heartbeat_default(run, said, beats):
    """It is used where the handler names no interval; `0` is one."""

    async def main():
        options = with_options(heartbeat_default="20ms", idle_timeout="100ms", close_timeout="10ms")
        fields = {"heartbeat_interval": None} if said is None else said
        async with stage(options=options, **fields) as here, dial_raw(here.port):
            assert (await here.mail.next()).topic == "ws.join"
            topic = (await here.mail.next()).topic
            assert topic == ("ws.heartbeat" if beats else "ws.leave")

    run(main())


def test_a_handlers_interval_goes_before_the_default(run):
    async def main():
        options = with_options(heartbeat_default="1h")
        async with (
            stage(options=options, heartbeat_interval="10ms") as here,
            dial("websockets", here.url),
        ):
            await here.mail.next("ws.heartbeat")

    run(main())


# -- message format --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
def test_message_format_raw(run, kind):
    """The payload of client messages is just the data; the other topics stay as they are."""

    async def main():
        options = with_options(message_format="raw")
        async with stage(options=options, metadata={"a": 1}, message_topic="in") as here:
            async with dial(kind, here.url) as client:
                joined = await here.mail.next()
                assert joined.payload == {"client_pid": joined.sender, "metadata": {"a": 1}}
                for data in ("text", b"binary", "", b""):
                    await client.send(data)
                    message = await here.mail.next()
                    assert (message.topic, message.payload) == ("in", data)
                    assert message.sender == joined.sender
                await client.close()
            assert (await here.mail.next()).payload["metadata"] == {"a": 1}

    run(main())


def test_drain_is_the_relays():
    assert Relay({"wsrelay.drain": "1s"}).drain == 1.0
    assert Relay().drain == 5.0
