"""The closing handshake and the ends, without a socket."""

import asyncio

from connection_helpers import (
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
    echo,
    frames,
    on_loop,
    say,
    settle,
    until,
)

from wsrelay_core import Connection, send

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
    workers = [stage.spawn(busy, 1) for _ in range(64)]
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
    assert wire.taken.endswith(b"\x88\x02\x0f\xa0")  # nothing is behind the close frame
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
async def test_what_came_before_a_failure_in_one_segment_is_answered_first():
    stage = Stage()
    connection, wire = stage.connect(stage.spawn(echo))
    await settle()
    texts = [str(number) for number in range(HIGH - 1)]
    stage.read(connection, client_text(*texts) + client_frame(PING, b"p") + b"\x81\x00")
    await settle()
    *answers, last = frames(wire)
    assert [answer for answer in answers if answer[0] == TEXT] == [(TEXT, text) for text in texts]
    assert (PONG, b"p") in answers and len(answers) == len(texts) + 1
    assert last[0] == CLOSE and last[1][0] == 1002
    assert wire.calls == ["write_eof"]
    connection.eof_received()
    assert stage.record["cause"] == "protocol_error" and stage.record["messages_out"] == len(texts)
    await stage.stop()


@on_loop
async def test_a_target_that_closes_before_it_hears_of_a_failure_was_first():
    async def close(process):
        async for message in process.inbox():
            if message.topic == "ws.message":
                process.tell(message.sender, "ws.close", 4000)

    stage = Stage()
    connection, wire = stage.connect(stage.spawn(close))
    await settle()
    stage.read(connection, client_text("a") + b"\x81\x00")
    await settle()
    assert frames(wire) == [(CLOSE, (4000, ""))] and wire.calls == ["write_eof"]
    connection.eof_received()
    assert (stage.record["cause"], stage.record["code"]) == ("closed_by_process", 4000)
    await stage.stop()


@on_loop
async def test_a_failure_and_the_end_of_the_stream_at_once():
    def lose(connection):
        connection.connection_lost(None)

    for end, written in ((Connection.eof_received, [CLOSE]), (lose, [])):
        stage = Stage()
        connection, wire = stage.connect()
        stage.read(connection, b"\x81\x00")
        end(connection)
        await settle()
        assert (stage.record["cause"], stage.record["code"]) == ("protocol_error", 1002)
        assert [kind for kind, _ in frames(wire)] == written
        assert stage.leave["reason"] == "protocol_error"
        await stage.stop()


@on_loop
async def test_terminated_between_a_failure_and_its_close_frame():
    stage = Stage()
    connection, wire = stage.connect()
    stage.read(connection, b"\x81\x00")
    connection.terminate()
    await settle()
    assert frames(wire) == [] and wire.calls == ["abort"]
    assert (stage.record["cause"], stage.record["code"]) == ("terminated", 1006)
    await stage.stop()


@on_loop
async def test_the_close_frame_of_a_failure_does_not_wait_for_ever():
    async def restless(process):
        async for _ in process.inbox():
            process.tell(process.pid, "again", None)

    stage = Stage()
    busy = stage.spawn(restless)
    connection, wire = stage.connect()
    send(busy.pid, "again")
    stage.read(connection, b"\x81\x00")
    for _ in range(60):
        await asyncio.sleep(0)
    assert [kind for kind, _ in frames(wire)] == [CLOSE]
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
    await settle()
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
