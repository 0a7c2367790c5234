"""The connection without a socket: birth, faults, time, the record."""

import asyncio

import pytest
from connection_helpers import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Stage,
    Wire,
    client_close,
    client_frame,
    client_text,
    echo,
    flood,
    frames,
    hang,
    on_loop,
    say,
    settle,
)

from wsrelay_core import Connection, ConnectionSettings, process_var, send
from wsrelay_core._errors import NoProcess


class Deflate:
    """An extension in which something is broken."""

    name = "broken"

    def enabled(self):
        return True

    def frame_inbound_header(self, *_):
        raise RuntimeError("a fault amid frames")

    def frame_outbound(self, proto, opcode, rsv, data, fin):
        raise RuntimeError("a fault while encoding")


# -- birth -----------------------------------------------------------------------------------------


@on_loop
async def test_join_then_what_came_with_the_handshake():
    stage = Stage()
    stage.connect(rest=client_text("a") + client_frame(TEXT, b"b")[:3])
    await settle()
    assert stage.topics() == ["ws.join", "ws.message"]
    assert stage.data() == ["a"]
    await stage.stop()


@on_loop
async def test_target_ends_before_the_start():
    stage = Stage()
    connection = Connection(stage.scheduler, stage.host, "websocket")
    connection.watch_target(stage.target.pid)
    stage.target.terminate()
    assert not connection.is_open
    wire = Wire()
    wire.protocol = connection
    connection.start(wire, client_text("x") + client_close(1011))
    await settle()
    assert frames(wire) == [(CLOSE, (1011, "target process failed"))]
    assert wire.calls == ["close"]
    await stage.stop()


@on_loop
async def test_end_before_the_start_leaves_no_open_transport():
    for end, calls, sent in (
        (lambda one: one.terminate(), ["close"], []),
        (
            lambda one: (one.close(1001, "bye", "server_shutdown"), one.cut_off()),
            ["close"],
            [(CLOSE, (1001, "bye"))],
        ),
    ):
        stage = Stage()
        connection = Connection(stage.scheduler, stage.host, "websocket")
        connection.watch_target(stage.target.pid)
        end(connection)
        wire = Wire()
        wire.protocol = connection
        connection.start(wire, client_text("x"))
        await settle()
        assert frames(wire) == sent and wire.calls == calls
        assert stage.topics() == []
        stage.advance(5.1)
        assert wire.calls == [*calls, "abort"]
        connection.connection_lost(None)
        assert not stage.scheduler.lingering
        await stage.stop()


@on_loop
async def test_abandon_ends_it_once_without_a_leave():
    stage = Stage()
    connection = Connection(stage.scheduler, stage.host, "websocket")
    connection.watch_target(stage.target.pid)
    connection.abandon()
    connection.abandon()
    await settle()
    assert not connection.alive and stage.topics() == []
    assert not stage.target.has_relations()
    await stage.stop()


@on_loop
async def test_what_is_sent_before_the_start_goes_out_behind_it():
    stage = Stage()
    connection = Connection(stage.scheduler, stage.host, "websocket")
    connection.watch_target(stage.target.pid)
    assert say(connection, "early")
    await settle()
    wire = Wire()
    wire.protocol = connection
    connection.start(wire)
    await settle()
    assert frames(wire) == [(TEXT, "early")] and stage.topics() == ["ws.join"]
    await stage.stop()


@on_loop
async def test_abandon_after_a_transfer_leaves_who_was_joined():
    stage = Stage()
    settings = ConnectionSettings(queue_max=10)
    connection = Connection(stage.scheduler, stage.host, "websocket", settings)
    connection.watch_target(stage.target.pid)
    connection.join()
    assert say(connection, "early")
    waiting = connection.drained()
    connection.abandon()
    await settle()
    assert stage.topics() == ["ws.join", "ws.leave"] and stage.leave["code"] == 1006
    with pytest.raises(NoProcess):
        await waiting
    await stage.stop()


@on_loop
async def test_without_a_target_it_closes():
    stage = Stage()
    connection = Connection(stage.scheduler, stage.host, "websocket")
    assert not connection.watch_target("{app:test|0xdead}")
    wire = Wire()
    wire.protocol = connection
    connection.start(wire)
    await settle()
    assert frames(wire) == [(CLOSE, (1011, "target process failed"))]
    await stage.stop()


@on_loop
async def test_a_connection_is_no_target():
    stage = Stage()
    one, _ = stage.connect()
    other, _ = stage.connect()
    with pytest.raises(TypeError):
        one.transfer(other.pid)
    with pytest.raises(TypeError):
        one.watch_target(other.pid)
    assert one.target_pid == stage.target.pid
    await stage.stop()


# -- faults ----------------------------------------------------------------------------------------


@on_loop
async def test_a_fault_amid_frames_ends_this_connection():
    stage = Stage()
    connection, wire = stage.connect(deflate=Deflate())
    other, other_wire = stage.connect(stage.spawn(echo))
    await settle()
    stage.read(connection, b"\xc1\x81" + b"k" * 5)
    stage.read(connection, b"\xc1\x81" + b"k" * 5)
    stage.read(other, client_text("on"))
    await settle()
    assert frames(wire) == [(CLOSE, (1011, "internal error"))]
    assert wire.calls == ["write_eof"]
    assert [(kind, who) for kind, who, _ in stage.reports] == [("fault", connection)]
    assert frames(other_wire) == [(TEXT, "on")]
    connection.connection_lost(None)
    assert stage.record["cause"] == "internal_error" and stage.exits[0].reason == "error"
    await stage.stop()


@on_loop
async def test_a_fault_while_encoding_is_a_malformed_message():
    stage = Stage()
    connection, _ = stage.connect(deflate=Deflate())
    assert say(connection, "x")
    assert connection.malformed == 1 and connection.is_open
    await stage.stop()


@on_loop
async def test_a_write_that_fails_ends_this_connection_and_no_sender():
    stage = Stage()
    connection, wire = stage.connect(queue_max=1000)
    other, other_wire = stage.connect()
    wire.error = RuntimeError("the handle is closed")
    assert say(connection, "x" * 900)
    assert say(connection, "x" * 900)
    assert say(other, "on")
    await settle()
    assert wire.calls == ["abort"] and stage.record["cause"] == "internal_error"
    assert stage.record["code"] == 1006 and frames(other_wire) == [(TEXT, "on")]
    await stage.stop()


@on_loop
async def test_a_failing_hook_harms_nobody():
    class Faulty(Connection):
        def on_dropped(self, topic, error):
            raise RuntimeError("log")

        def on_control_message(self, payload, sender):
            raise RuntimeError("control")

        def on_ended(self, record):
            raise RuntimeError("ended")

    stage = Stage()
    connection, wire = stage.connect(kind=Faulty)
    assert send(connection.pid, "ws.send", None)
    assert send(connection.pid, "ws.control", {})
    connection.connection_lost(None)
    await settle()
    assert wire.calls == [] and stage.topics() == ["ws.join", "ws.leave"]
    assert [str(error) for _, _, error in stage.reports] == ["log", "log", "ended"]
    assert len(stage.exits) == 1
    await stage.stop()


# -- time ------------------------------------------------------------------------------------------


@on_loop
async def test_ping_pong_and_round_trip_time():
    stage = Stage()
    connection, wire = stage.connect()
    stage.advance(20)
    stage.advance(0.02)
    await settle()
    ((kind, payload),) = frames(wire)
    assert kind == PING
    stage.clock.now += 0.25
    stage.read(connection, client_frame(PONG, b"other"))
    assert connection.describe()["last_rtt_ms"] is None
    stage.read(connection, client_frame(PONG, payload))
    assert connection.describe()["last_rtt_ms"] == pytest.approx(250, abs=1)
    stage.advance(19.9)
    await settle()
    assert connection.is_open and frames(wire) == []
    stage.advance(0.2)
    await settle()
    assert [kind for kind, _ in frames(wire)] == [PING]
    stage.advance(20.1)
    await settle()
    assert frames(wire) == [(CLOSE, (1011, "ping timeout"))]
    await stage.stop()


@on_loop
async def test_clocks_stop_while_reading_is_paused():
    stage = Stage()
    release = asyncio.Event()

    async def waits(process):
        await release.wait()
        await stage._record(process)

    connection, wire = stage.connect(stage.spawn(waits), idle_timeout=30)
    flood(stage, connection, 1500)
    stage.advance(1000)
    await settle()
    assert connection.is_open and frames(wire) == []
    release.set()
    await settle()
    assert wire.reading
    stage.advance(19.9)
    await settle()
    assert frames(wire) == []
    stage.advance(0.2)
    await settle()
    ((kind, payload),) = frames(wire)
    assert kind == PING
    stage.read(connection, client_frame(PONG, payload))
    stage.advance(9.5)
    assert connection.is_open
    stage.advance(0.7)
    await settle()
    assert frames(wire) == [(CLOSE, (1001, "idle timeout"))]
    await stage.stop()


@on_loop
async def test_unfinished_bytes_are_life_until_the_message_is_too_old():
    stage = Stage()
    connection, wire = stage.connect(idle_timeout=25)
    data = client_frame(BINARY, b"x" * 100)
    for index in range(5):
        stage.read(connection, data[index : index + 1])
        stage.advance(11.9)
        await settle()
        assert connection.is_open
    stage.read(connection, data[5:6])
    stage.advance(0.6)
    await settle()
    assert [kind for kind, _ in frames(wire)] == [PING, CLOSE]
    connection.connection_lost(None)
    assert stage.record["cause"] == "message_timeout" and stage.record["code"] == 1008
    await stage.stop()


@on_loop
async def test_a_control_frame_cut_in_two_is_no_unfinished_message():
    stage = Stage()
    connection, _ = stage.connect(ping_interval=0)
    data = client_frame(PING, b"abc")
    stage.read(connection, data[:3])
    stage.read(connection, data[3:])
    stage.advance(61)
    assert connection.is_open
    await stage.stop()


@on_loop
async def test_one_ping_waits_while_the_client_does_not_read():
    stage = Stage()
    connection, wire = stage.connect(wire=Wire(room=0), ping_interval=1, ping_timeout=0)
    say(connection, "x")
    await settle()
    for _ in range(10):
        stage.advance(1.1)
        await settle()
    wire.drain()
    await settle()
    assert frames(wire) == [(TEXT, "x"), (PING, b"\x00\x00\x00\x01")]
    await stage.stop()


@on_loop
async def test_heartbeat():
    stage = Stage()
    connection, _ = stage.connect()
    connection.configure("ws.message", {"a": 1}, 10)
    stage.read(connection, client_text("x"))
    stage.advance(10.5)
    connection.configure("ws.message", {"a": 1}, 0)
    stage.advance(100)
    await settle()
    beats = [one.payload for one in stage.mail if one.topic == "ws.heartbeat"]
    assert beats == [
        {
            "client_pid": connection.pid,
            "uptime": "10500ms",
            "uptime_ms": 10500,
            "message_count": 1,
            "metadata": {"a": 1},
        }
    ]
    await stage.stop()


@on_loop
async def test_a_full_mailbox_refuses_heartbeats():
    stage = Stage()
    target = stage.spawn(hang)
    target.set_mailbox_max(3)
    connection, _ = stage.connect(target, ping_interval=0)
    connection.configure("ws.message", {}, 10)
    for _ in range(10):
        stage.advance(10.5)
    connection.connection_lost(None)
    await settle()
    inbox = target.inbox()
    topics = [inbox.receive_nowait().topic for _ in range(len(inbox))]
    assert topics == ["ws.join", "ws.heartbeat", "ws.heartbeat", "ws.leave"]
    assert target.describe()["dropped"] == 8
    target.terminate()
    await stage.stop()


# -- the record ------------------------------------------------------------------------------------


@on_loop
async def test_the_record_counts_bytes_of_the_wire():
    stage = Stage()
    connection, wire = stage.connect()
    data = client_text("ü" * 100) + client_close(1000)
    say(connection, "x" * 200)
    stage.read(connection, data)
    stage.clock.now += 1.5
    await settle()
    assert stage.record == {
        "code": 1000,
        "reason": "",
        "clean": True,
        "cause": "client_close",
        "initiator": "client",
        "uptime_ms": 1500,
        "messages_in": 1,
        "messages_out": 1,
        "bytes_in": len(data),
        "bytes_out": len(wire.taken),
        "queue_high_water": 204 + 64,
        "last_rtt_ms": None,
    }
    await stage.stop()


@on_loop
async def test_messages_out_leaves_out_what_was_dropped_again():
    stage = Stage()
    connection, wire = stage.connect(wire=Wire(room=0), queue_max=1000, queue_policy="drop_oldest")
    say(connection, "first")
    await settle()
    assert all(say(connection, "x" * 500) for _ in range(4))
    facts = connection.describe()
    assert (facts["handled"], facts["dropped"], facts["queue_length"]) == (2, 3, 1)
    wire.drain()
    await settle()
    assert len(frames(wire)) == 2
    await stage.stop()


@on_loop
async def test_drained_fails_when_the_connection_ends():
    stage = Stage()
    connection, _ = stage.connect(wire=Wire(room=0), queue_max=1000)
    assert connection.drained() is None
    say(connection, "x" * 700)
    future = connection.drained()
    assert connection.drained(800) is None
    connection.terminate()
    with pytest.raises(NoProcess):
        await future
    await stage.stop()


@on_loop
async def test_no_process_is_current_in_callbacks():
    stage = Stage()
    seen = []

    class Seen(Connection):
        def on_ended(self, record):
            seen.append(process_var.get())

    connection, _ = stage.connect(kind=Seen)
    connection.connection_lost(None)
    assert seen == [None]
    await stage.stop()
