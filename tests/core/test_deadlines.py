"""Deadlines and the timer wheel, with time that the test makes."""

import asyncio
import gc
import weakref

from connection_helpers import Stage, client_text, on_loop, settle, until

from wsrelay_core import Connection, Scheduler
from wsrelay_core._deadlines import Deadlines

NOTHING, SEND_PING, PING_TIMEOUT, IDLE_TIMEOUT, MESSAGE_TIMEOUT, HEARTBEAT, CLOSE_TIMEOUT, KILL = (
    range(8)
)


def due(deadlines, when):
    """All that is due by then."""
    found = []
    while (action := deadlines.due(when)) != NOTHING:
        found.append(action)
    return found


def started(**settings):
    deadlines = Deadlines(**settings)
    deadlines.start(100)
    return deadlines


def test_all_off_is_never():
    deadlines = started()
    assert deadlines.next() == 0
    assert due(deadlines, 1e9) == []


def test_ping_waits_for_its_pong_and_starts_anew():
    deadlines = started(ping_interval=20, ping_timeout=5)
    assert deadlines.next() == 120
    assert due(deadlines, 119.9) == []
    assert due(deadlines, 120) == [SEND_PING]
    assert deadlines.next() == 125
    deadlines.ponged(121)
    assert deadlines.next() == 141
    assert due(deadlines, 141) == [SEND_PING]
    assert due(deadlines, 145.9) == []
    assert due(deadlines, 146) == [PING_TIMEOUT]
    assert deadlines.next() == 0


def test_pings_without_a_timeout_go_on():
    deadlines = started(ping_interval=20)
    assert due(deadlines, 120) == [SEND_PING]
    assert deadlines.next() == 140


def test_idle_counts_from_the_last_message():
    deadlines = started(idle_timeout=10)
    deadlines.message(108)
    assert due(deadlines, 117) == []
    assert due(deadlines, 118) == [IDLE_TIMEOUT]


def test_age_of_a_message_counts_from_its_first_byte():
    deadlines = started(message_timeout=60)
    deadlines.unfinished(100)
    deadlines.unfinished(150)
    assert deadlines.next() == 160
    assert due(deadlines, 160) == [MESSAGE_TIMEOUT]


def test_age_ends_with_the_message():
    for end in (lambda one: one.message(101), lambda one: one.all_finished()):
        deadlines = started(message_timeout=60)
        deadlines.unfinished(100)
        end(deadlines)
        assert deadlines.next() == 0
        deadlines.unfinished(130)
        assert deadlines.next() == 190


def test_bytes_of_an_unfinished_message_are_life():
    deadlines = started(ping_interval=20, ping_timeout=20, idle_timeout=50)
    assert due(deadlines, 120) == [SEND_PING]
    deadlines.unfinished(139)
    assert due(deadlines, 150) == []
    assert due(deadlines, 159) == [PING_TIMEOUT]
    assert due(deadlines, 188.9) == []
    assert due(deadlines, 189) == [IDLE_TIMEOUT]


def test_clocks_stand_still_while_reading_is_paused():
    deadlines = started(ping_interval=20, ping_timeout=20, idle_timeout=50, message_timeout=60)
    deadlines.unfinished(100)
    assert due(deadlines, 120) == [SEND_PING]
    deadlines.pause(130)
    assert due(deadlines, 1000) == []
    assert deadlines.next() == 0
    deadlines.resume(1030)
    assert deadlines.next() == 1040
    assert due(deadlines, 1040) == [PING_TIMEOUT]
    assert due(deadlines, 1049.9) == []
    assert due(deadlines, 1050) == [IDLE_TIMEOUT]
    assert due(deadlines, 1060) == [MESSAGE_TIMEOUT]


def test_ping_interval_stands_still_too():
    deadlines = started(ping_interval=20, ping_timeout=20)
    deadlines.pause(110)
    deadlines.resume(200)
    assert deadlines.next() == 210


def test_heartbeat_goes_on_while_paused():
    deadlines = started(heartbeat=10)
    deadlines.pause(101)
    assert due(deadlines, 110) == [HEARTBEAT]


def test_heartbeat_keeps_its_beat_and_does_not_catch_up():
    deadlines = started(heartbeat=10)
    assert due(deadlines, 113) == [HEARTBEAT]
    assert deadlines.next() == 120
    assert due(deadlines, 157) == [HEARTBEAT]
    assert deadlines.next() == 167


def test_heartbeat_changes_and_stops():
    deadlines = started(heartbeat=10)
    deadlines.set_heartbeat(3, 105)
    assert deadlines.next() == 108
    deadlines.set_heartbeat(0, 106)
    assert deadlines.next() == 0


def test_in_the_closing_handshake_only_its_timeout_counts():
    deadlines = started(
        ping_interval=20, ping_timeout=20, idle_timeout=50, message_timeout=60, heartbeat=10
    )
    deadlines.unfinished(100)
    deadlines.pause(101)
    deadlines.closing(102)
    assert due(deadlines, 106.9) == []
    assert due(deadlines, 107) == [CLOSE_TIMEOUT]
    assert due(deadlines, 1e6) == []


def test_kill_comes_before_all_else():
    deadlines = started()
    deadlines.closing(100)
    deadlines.kill_at(102)
    assert deadlines.next() == 102
    assert due(deadlines, 105) == [KILL, CLOSE_TIMEOUT]


# -- the wheel -------------------------------------------------------------------------------------


@on_loop
async def test_wheel_calls_at_most_a_tick_late_and_not_early():
    stage = Stage()
    _, wire = stage.connect(ping_interval=5)
    stage.advance(4.99)
    await settle()
    assert wire.writes == 0
    stage.advance(0.03)
    await settle()
    assert wire.writes == 1
    await stage.stop()


@on_loop
async def test_wheel_uses_one_timer_handle_for_all():
    stage = Stage()
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)
    for interval in (9, 8, 7, 7, 7, 20):
        stage.connect(ping_interval=interval)
    live = [handle for handle in loop._scheduled if not handle.cancelled()]
    assert len(live) == before + 1
    await stage.stop()


@on_loop
async def test_wheel_fires_by_the_loop_alone():
    stage = Stage()
    clock = asyncio.get_running_loop().time
    stage.scheduler.stop()
    stage.scheduler = Scheduler(asyncio.get_running_loop(), print, None, clock)
    stage.scheduler.start()
    target = stage.spawn(stage._record)
    _, wire = stage.connect(target, ping_interval=0.03)
    await until(lambda: wire.writes)
    await stage.stop()


@on_loop
async def test_a_fault_in_one_timer_leaves_the_others():
    class Faulty(Connection):
        def uptime(self):
            raise RuntimeError("broken")

    stage = Stage()
    faulty, wire = stage.connect(kind=Faulty)
    faulty.configure("ws.message", {}, 3)
    _, other = stage.connect(ping_interval=3)
    stage.advance(3.1)
    await settle()
    assert other.writes == 1
    assert not faulty.is_open and wire.writes == 1
    assert [kind for kind, _, _ in stage.reports] == ["fault"]
    await stage.stop()


@on_loop
async def test_the_wheel_keeps_no_ended_connection_alive():
    class Seen(Connection):
        pass

    stage = Stage()
    connection, wire = stage.connect(kind=Seen, ping_interval=5, idle_timeout=500)
    stage.read(connection, client_text("x"))
    connection.cancel(deadline=400)
    connection.connection_lost(None)
    wire.protocol = None
    gone = weakref.ref(connection)
    await settle()
    del connection, wire
    gc.collect()
    assert gone() is None
    await stage.stop()
