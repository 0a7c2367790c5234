"""The connection without a socket: its states, its ends, back-pressure, faults, time."""

import asyncio

import pytest
from connection_helpers import (
    BINARY,
    CLOSE,
    HIGH,
    PING,
    PONG,
    TEXT,
    Stage,
    Wire,
    client_close,
    client_frame,
    client_text,
    frames,
    on_loop,
    say,
    settle,
    until,
)

from wsrelay_core import Connection, process_var, send
from wsrelay_core._errors import NoProcess

MIB = 1024 * 1024


class Deflate:
    """An extension in which something is broken."""

    name = "broken"

    def enabled(self):
        return True

    def frame_inbound_header(self, *_):
        raise RuntimeError("a fault amid frames")

    def frame_outbound(self, proto, opcode, rsv, data, fin):
        raise RuntimeError("a fault while encoding")


async def echo(process):
    """A target that answers without waiting."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            send(message.sender, "ws.send", {"data": message.payload["data"]})


async def hang(process):
    """A target that takes nothing until it is told by `process.gate`."""
    await asyncio.get_running_loop().create_future()


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
        (lambda one: (one.close(1001, "bye", "server_shutdown"), one.cut_off()), ["close"],
         [(CLOSE, (1001, "bye"))]),
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


# -- the closing handshake -------------------------------------------------------------------------


@on_loop
async def test_message_and_close_in_one_segment_echo_first():
    stage = Stage()
    connection, wire = stage.connect(stage.spawn(echo))
    await settle()
    stage.read(connection, client_text("a", "b") + client_close(4001, "bye"))
    await settle()
    assert frames(wire) == [(TEXT, "a"), (TEXT, "b"), (CLOSE, (4001, ""))]
    assert wire.writes == 2 and wire.calls == ["close"]
    assert stage.record["cause"] == "client_close" and stage.record["clean"]
    assert (stage.record["code"], stage.record["reason"]) == (4001, "bye")
    await stage.stop()


@on_loop
async def test_a_long_backlog_is_echoed_before_the_close():
    stage = Stage()
    connection, wire = stage.connect(stage.spawn(echo))
    await settle()
    texts = [str(number) for number in range(HIGH - 1)]
    stage.read(connection, client_text(*texts) + client_close(1000))
    await settle()
    assert frames(wire) == [*((TEXT, text) for text in texts), (CLOSE, (1000, ""))]
    await stage.stop()


@on_loop
async def test_the_answer_waits_for_a_drain_that_was_cut_short():
    async def busy(process, last):
        """Keeps the run queue full: each round takes the rest of the drain's time."""
        async for message in process.inbox():
            stage.clock.now  # noqa: B018 - nothing but a step
            end = asyncio.get_running_loop().time() + 0.001
            while asyncio.get_running_loop().time() < end:
                pass
            if message.payload < last:
                process.tell(process.pid, "again", message.payload + 1)

    stage = Stage()
    workers = [stage.spawn(busy, 8) for _ in range(64)]
    connection, wire = stage.connect(stage.spawn(echo))
    await settle()
    for worker in workers:
        send(worker.pid, "again", 0)
    stage.read(connection, client_text("late") + client_close(1000))
    await until(lambda: stage.exits)
    assert frames(wire) == [(TEXT, "late"), (CLOSE, (1000, ""))]
    await stage.stop()


@on_loop
async def test_the_answer_does_not_wait_for_ever():
    async def restless(process):
        async for _ in process.inbox():
            process.tell(process.pid, "again", None)

    stage = Stage()
    restless = stage.spawn(restless)
    connection, wire = stage.connect()
    send(restless.pid, "again")
    stage.read(connection, client_close(1000))
    for _ in range(60):
        await asyncio.sleep(0)
    assert frames(wire) == [(CLOSE, (1000, ""))]
    await stage.stop()


@on_loop
async def test_send_is_false_from_the_moment_a_close_is_queued():
    stage = Stage()
    connection, wire = stage.connect()
    assert say(connection, "before")
    assert send(connection.pid, "ws.close", 4000)
    assert not say(connection, "after")
    assert not send(connection.pid, "ws.close", 4001)
    assert not send(connection.pid, "news", 1)
    stage.read(connection, client_text("discarded") + client_frame(PING, b"p"))
    await settle()
    assert frames(wire) == [(TEXT, "before"), (CLOSE, (4000, ""))]
    assert stage.topics() == ["ws.join"] and connection.messages_in == 0
    stage.read(connection, client_close(1000))
    await settle()
    assert stage.leave["code"] == 4000 and stage.leave["clean"]
    assert stage.record["cause"] == "closed_by_process"
    await stage.stop()


@on_loop
async def test_a_late_control_is_told_of():
    class Told(Connection):
        def on_dropped(self, topic, error):
            told.append((topic, str(error)))

    told = []
    stage = Stage()
    connection, _ = stage.connect(kind=Told)
    send(connection.pid, "ws.close")
    assert not send(connection.pid, "ws.control", {})
    assert told == [("ws.control", "the connection is closing")]
    await stage.stop()


@on_loop
async def test_close_timeout_aborts_and_is_not_clean():
    stage = Stage()
    connection, wire = stage.connect(close_timeout=5)
    stage.advance(1)
    send(connection.pid, "ws.close", 4000)
    await settle()
    stage.advance(4.9)
    assert stage.exits == []
    stage.advance(0.2)
    assert wire.calls == ["abort"]
    assert stage.record["clean"] is False and stage.record["code"] == 4000
    await settle()
    assert stage.leave["clean"] is False and stage.leave["reason"] == "closed_by_process"
    await stage.stop()


@on_loop
async def test_after_the_end_a_client_that_does_not_read_is_cut_off():
    stage = Stage()
    connection, wire = stage.connect(wire=Wire(room=0))
    say(connection, "x" * 100)
    stage.read(connection, client_close(1000))
    await settle()
    assert stage.record["clean"] and wire.calls == ["close"]
    assert list(stage.scheduler.lingering) == [connection]
    stage.advance(5.1)
    assert wire.calls == ["close", "abort"]
    connection.connection_lost(None)
    assert not stage.scheduler.lingering
    await stage.stop()


@on_loop
async def test_half_close_after_the_close_frame_still_gets_the_answer():
    stage = Stage()
    connection, wire = stage.connect(stage.spawn(echo))
    await settle()
    stage.read(connection, client_text("x") + client_close(3000))
    assert connection.eof_received() is True
    await settle()
    assert frames(wire) == [(TEXT, "x"), (CLOSE, (3000, ""))]
    assert stage.record["clean"]
    await stage.stop()


@on_loop
async def test_without_half_close_the_answer_comes_at_once():
    stage = Stage()
    connection, wire = stage.connect(wire=Wire(half_close=False))
    stage.read(connection, client_close(3000))
    assert not connection.eof_received()
    assert frames(wire) == [(CLOSE, (3000, ""))]
    assert stage.record["clean"] and wire.calls == ["close"]
    await stage.stop()


@on_loop
async def test_lost_before_the_answer_is_not_clean():
    stage = Stage()
    connection, wire = stage.connect()
    stage.read(connection, client_close(3000))
    connection.connection_lost(ConnectionResetError())
    await settle()
    assert frames(wire) == [] and stage.record["clean"] is False
    assert stage.record["cause"] == "client_close" and stage.record["code"] == 3000
    await stage.stop()


@on_loop
async def test_after_a_failure_our_close_then_the_end_of_the_stream():
    for half_close, call in ((True, "write_eof"), (False, "close")):
        stage = Stage()
        connection, wire = stage.connect(wire=Wire(half_close=half_close))
        stage.read(connection, client_text("a") + b"\x81\x00" + client_text("b"))
        await settle()
        assert [kind for kind, _ in frames(wire)] == [CLOSE]
        assert wire.calls == [call]
        stage.read(connection, b"more rubbish")
        assert stage.exits == []
        connection.eof_received()
        await settle()
        assert stage.record["cause"] == "protocol_error" and stage.record["code"] == 1002
        assert stage.topics() == ["ws.join", "ws.message", "ws.leave"]
        await stage.stop()


@on_loop
async def test_after_a_failure_a_blocked_close_frame_goes_out_first():
    stage = Stage()
    connection, wire = stage.connect(wire=Wire(room=0))
    say(connection, "x" * 10)
    await settle()
    stage.read(connection, b"\xff")
    stage.read(connection, b"\xff")
    await settle()
    assert wire.calls == []
    wire.drain()
    assert [kind for kind, _ in frames(wire)] == [TEXT, CLOSE]
    assert wire.calls == ["write_eof"]
    await stage.stop()


@on_loop
async def test_terminate_keeps_the_code_that_was_on_the_wire():
    stage = Stage()
    connection, wire = stage.connect()
    send(connection.pid, "ws.close", 4000)
    await settle()
    connection.terminate()
    assert wire.calls == ["abort"]
    assert (stage.record["code"], stage.record["cause"]) == (4000, "terminated")
    assert stage.exits[0].reason == "killed"
    await stage.stop()


@on_loop
async def test_cancel_with_a_deadline_terminates_then():
    stage = Stage()
    connection, wire = stage.connect(close_timeout=50)
    connection.cancel("go", 2)
    await settle()
    assert frames(wire) == [(CLOSE, (1001, "go"))]
    stage.advance(1.9)
    assert stage.exits == []
    stage.advance(0.2)
    assert stage.exits[0].reason == "killed" and wire.calls == ["abort"]
    await stage.stop()


@on_loop
async def test_one_exit_whatever_comes_after():
    stage = Stage()
    connection, _ = stage.connect()
    await settle()
    connection.terminate()
    connection.terminate()
    connection.cancel("x", 1)
    connection.close(1000, "", "closed_by_process")
    connection.eof_received()
    connection.connection_lost(None)
    connection.connection_lost(None)
    stage.read(connection, client_text("x") + client_close())
    stage.advance(100)
    await settle()
    stage.target.terminate()
    await settle()
    assert len(stage.exits) == 1 and stage.topics() == ["ws.join", "ws.leave"]
    await stage.stop()


# -- reading and back-pressure ---------------------------------------------------------------------


def flood(stage, connection, count, start=0):
    """Numbered messages in one read."""
    stage.read(connection, client_text(*(str(number) for number in range(start, start + count))))


@on_loop
async def test_a_full_mailbox_stops_decoding_inside_the_read():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target)
    flood(stage, connection, 3000)
    assert target.meter.count == HIGH
    assert not wire.reading
    await stage.stop()


@on_loop
async def test_below_half_it_goes_on_without_loss():
    stage = Stage()
    got = []

    async def slow(process):
        async for message in process.inbox():
            if message.topic == "ws.message":
                got.append(int(message.payload["data"]))
                assert process.meter.count <= HIGH
            if len(got) % 200 == 0:
                await asyncio.sleep(0)

    connection, wire = stage.connect(stage.spawn(slow))
    flood(stage, connection, 5000)
    assert not wire.reading
    await until(lambda: len(got) == 5000)
    assert got == list(range(5000))
    await settle()
    assert wire.reading
    await stage.stop()


@on_loop
async def test_mailbox_max_halves_the_mark():
    stage = Stage()
    target = stage.spawn(hang)
    target.set_mailbox_max(100)
    connection, _ = stage.connect(target)
    flood(stage, connection, 300)
    assert target.meter.count == 50 and target.meter.dropped == 0
    await stage.stop()


@on_loop
async def test_the_mark_counts_bytes_too():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target, message_max=4 * MIB)
    for _ in range(4):
        data = client_frame(BINARY, b"x" * 3 * MIB)
        for start in range(0, len(data), 100_000):
            stage.read(connection, data[start : start + 100_000])
    assert not wire.reading
    assert 8 * MIB <= target.meter.size < 12 * MIB
    await stage.stop()


@on_loop
async def test_who_waits_goes_on_in_turn():
    """A client that floods must not keep the others out."""
    stage = Stage()
    got = []

    async def slow(process):
        async for message in process.inbox():
            if message.topic == "ws.message":
                got.append(message.payload["data"][0])
            if len(got) % 100 == 0:
                await asyncio.sleep(0)
                for name, (connection, wire) in clients.items():
                    if wire.reading:
                        stage.read(connection, client_text(*[name] * 2000))

    target = stage.spawn(slow)
    clients = {name: stage.connect(target) for name in "abcd"}
    stage.read(clients["a"][0], client_text(*["a"] * 5000))
    for name in "bcd":
        stage.read(clients[name][0], client_text(name))
    assert not any(wire.reading for _, wire in clients.values())
    await until(lambda: len(got) >= 20000)
    assert min(got.count(name) for name in "abcd") > 2000
    await stage.stop()


@on_loop
async def test_bytes_read_although_paused_wait_behind_the_held_ones():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target)
    flood(stage, connection, 2000)
    wire.reading = True  # whoever had the transport before resumed it
    flood(stage, connection, 2000, start=2000)
    assert not wire.reading
    connection.transfer(stage.target.pid)
    connection.join()
    await until(lambda: len(stage.data()) == 4000 - HIGH + 1)
    assert stage.data() == [str(number) for number in range(HIGH - 1, 4000)]
    await stage.stop()


@on_loop
async def test_transfer_while_paused_goes_on_with_the_new_target():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target)
    flood(stage, connection, 1500)
    assert connection.transfer(stage.target.pid)
    connection.join()
    assert stage.data() == []
    await settle()
    assert wire.reading
    assert stage.topics()[0] == "ws.join"
    assert stage.data() == [str(number) for number in range(HIGH - 1, 1500)]
    assert target.meter.count == HIGH + 1  # the leave
    await stage.stop()


@on_loop
async def test_target_dies_while_paused():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target)
    await settle()
    flood(stage, connection, 1500)
    target.terminate()
    await settle()
    assert frames(wire) == [(CLOSE, (1011, "target process failed"))]
    assert wire.reading
    stage.read(connection, client_close(1011))
    assert stage.record["clean"]
    await stage.stop()


@on_loop
async def test_close_while_paused_reads_on_for_the_clients_close():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target)
    flood(stage, connection, 1500)
    send(connection.pid, "ws.close", 4000)
    await settle()
    assert wire.reading and connection.messages_in == HIGH - 1
    stage.read(connection, client_close(4000))
    assert stage.record["clean"]
    await stage.stop()


@on_loop
async def test_lost_while_paused_what_was_read_is_still_delivered():
    stage = Stage()
    target = stage.spawn(hang)
    connection, _ = stage.connect(target)
    flood(stage, connection, 1500)
    connection.connection_lost(None)
    assert target.meter.count == 1502  # join and leave
    assert stage.record["messages_in"] == 1500
    await stage.stop()


@on_loop
async def test_terminated_while_paused_and_others_go_on():
    stage = Stage()
    received = asyncio.Event()

    async def waits(process):
        await received.wait()
        await stage._record(process)

    target = stage.spawn(waits)
    one, _ = stage.connect(target)
    other, other_wire = stage.connect(target)
    flood(stage, one, 1500)
    flood(stage, other, 10)
    assert not other_wire.reading
    one.terminate()
    await settle()
    received.set()
    await settle()
    assert other_wire.reading
    assert len(stage.data()) == HIGH - 2 + 10
    await stage.stop()


@on_loop
async def test_pings_are_answered_in_order_and_not_while_closing():
    stage = Stage()
    connection, wire = stage.connect()
    stage.read(connection, b"".join(client_frame(PING, bytes([mark])) for mark in b"abc"))
    await settle()
    assert frames(wire) == [(PONG, b"a"), (PONG, b"b"), (PONG, b"c")]
    await stage.stop()


@on_loop
async def test_unfinished_messages_have_a_common_limit():
    stage = Stage()
    connections = [stage.connect(message_max=40 * MIB) for _ in range(3)]
    for size, (connection, _) in zip((20, 30, 25), connections, strict=True):
        data = client_frame(BINARY, b"x" * size * MIB)[:-1]
        for start in range(0, len(data), 128 * 1024):
            stage.read(connection, data[start : start + 128 * 1024])
    await settle()
    assert [connection.is_open for connection, _ in connections] == [True, False, True]
    assert frames(connections[1][1]) == [(CLOSE, (1009, "message too big"))]
    assert connections[1][1].calls == ["write_eof"]
    stage.read(connections[0][0], b"x")
    stage.read(connections[2][0], b"x")
    await settle()
    assert [len(data) for data in stage.data()] == [20 * MIB, 25 * MIB]
    await stage.stop()


@on_loop
async def test_held_messages_are_not_unfinished_ones():
    """Many fast clients of a slow target must not be taken for attackers."""
    stage = Stage()
    target = stage.spawn(hang)
    connections = [stage.connect(target, message_max=MIB) for _ in range(600)]
    whole = client_text("x" * 1000) * 120
    for connection, _ in connections:
        begun = client_frame(BINARY, b"x" * 1000)
        stage.read(connection, begun[:500])
        stage.read(connection, begun[500:] + whole)
    assert all(connection.is_open for connection, _ in connections)
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
        {"client_pid": connection.pid, "uptime": "10500ms", "uptime_ms": 10500,
         "message_count": 1, "metadata": {"a": 1}}
    ]
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
        "code": 1000, "reason": "", "clean": True, "cause": "client_close",
        "initiator": "client", "uptime_ms": 1500, "messages_in": 1, "messages_out": 1,
        "bytes_in": len(data), "bytes_out": len(wire.taken), "queue_high_water": 204 + 64,
        "last_rtt_ms": None,
    }
    await stage.stop()


@on_loop
async def test_messages_out_leaves_out_what_was_dropped_again():
    stage = Stage()
    connection, wire = stage.connect(
        wire=Wire(room=0), queue_max=1000, queue_policy="drop_oldest"
    )
    say(connection, "first")
    await settle()
    assert all(say(connection, "x" * 500) for _ in range(4))
    facts = connection.describe()
    assert (facts["handled"], facts["dropped"], facts["queue_length"]) == (2, 3, 1)
    wire.drain()
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
