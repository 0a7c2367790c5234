"""Reading, back-pressure and unfinished messages, without a socket."""

import asyncio
import gc
import zlib
from collections import OrderedDict

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
    flood,
    frames,
    hang,
    on_loop,
    say,
    settle,
    until,
)
from memory import memory_below
from wsproto.extensions import PerMessageDeflate

from wsrelay_core import send

MIB = 1024 * 1024


# -- reading and back-pressure ---------------------------------------------------------------------


@on_loop
async def test_a_full_mailbox_stops_decoding_inside_the_read():
    stage = Stage()
    target = stage.spawn(hang)
    connection, wire = stage.connect(target)
    flood(stage, connection, 3000)
    assert target.describe()["queue_length"] == HIGH
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
                assert process.describe()["queue_length"] <= HIGH
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
    assert target.describe()["queue_length"] == 50 and target.describe()["dropped"] == 0
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
    assert 8 * MIB <= target.describe()["queue_bytes"] < 12 * MIB
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
async def test_a_newcomer_waits_behind_those_who_wait():
    """Who feeds as fast as the target takes would else keep the mailbox above half for ever."""
    stage = Stage()
    got = []

    async def slow(process):
        async for message in process.inbox():
            if message.topic == "ws.message":
                got.append(message.payload["data"])
            if 50 <= len(got) < 5000 and len(got) % 50 == 0:
                await asyncio.sleep(0)
                if newcomer_wire.reading:
                    stage.read(newcomer, client_text(*["new"] * 49))

    target = stage.spawn(slow)
    first, _ = stage.connect(target)
    second, _ = stage.connect(target)
    newcomer, newcomer_wire = stage.connect(target)
    flood(stage, first, 1100)
    stage.read(second, client_text("waited"))
    await until(lambda: "waited" in got)
    assert got.index("waited") < 1500
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
    assert target.describe()["queue_length"] == HIGH + 1  # the leave
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
    assert target.describe()["queue_length"] == 1502  # join and leave
    assert stage.record["messages_in"] == 1500
    await stage.stop()


@on_loop
async def test_terminated_while_paused_and_others_go_on():
    stage = Stage()
    target, received = stage.spawn_waiting()
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
    """Many fast clients of slow targets must not be taken for attackers."""
    stage = Stage()
    connections = []
    for _ in range(600):
        target = stage.spawn(hang)
        target.set_mailbox_max(8)  # full at four: the join and three messages
        connections.append(stage.connect(target)[0])
    whole = client_text("x" * 1000) * 120
    for connection in connections:
        begun = client_frame(BINARY, b"x" * 1000)
        stage.read(connection, begun[:500])
        stage.read(connection, begun[500:] + whole)
        assert connection.messages_in == 3
    assert all(connection.is_open for connection in connections)
    await stage.stop()


# -- turns: a client that sends without end does not hold up the others ----------------------------


def fragments(count: int) -> bytes:
    """A text of as many fragments of one byte."""
    inner = client_frame(0, b"f", fin=False) * (count - 2)
    return client_frame(TEXT, b"f", fin=False) + inner + client_frame(0, b"f")


def ticking(step: float = 0.00001) -> Stage:
    """A stage whose clock goes on by so much each time that somebody looks at it."""
    stage = Stage()
    stage.clock.step = step
    return stage


@on_loop
async def test_the_turn_of_a_flood_ends_inside_the_read():
    stage = ticking()
    connection, wire = stage.connect()
    flood(stage, connection, 1000)
    assert not wire.reading
    await asyncio.sleep(0)
    first = len(stage.data())
    assert 16 <= first < 200
    await until(lambda: wire.reading)
    await settle()
    assert stage.data() == [str(number) for number in range(1000)]
    await stage.stop()


@on_loop
async def test_a_short_read_ends_in_its_turn():
    """Whatever the clock says: it is not even looked at."""
    stage = ticking(1.0)
    connection, wire = stage.connect()
    flood(stage, connection, 15)
    assert wire.reading and connection.messages_in == 15
    await stage.stop()


@on_loop
async def test_others_are_served_between_the_turns_of_a_flood():
    stage = ticking()
    flooding, _ = stage.connect()
    other, _ = stage.connect()
    flood(stage, flooding, 5000)
    for number in range(10):
        stage.read(other, client_text(f"other {number}"))
        await asyncio.sleep(0)
        assert f"other {number}" in stage.data()
    assert flooding.messages_in < 2000
    await until(lambda: flooding.messages_in == 5000)
    await stage.stop()


@on_loop
async def test_the_fragments_of_one_message_take_turns_too():
    """One of them costs ten times what a whole message does, and none of them is an event."""
    stage = ticking()
    flooding, wire = stage.connect()
    other, _ = stage.connect()
    stage.read(flooding, fragments(5000))
    assert not wire.reading and flooding.messages_in == 0
    stage.read(other, client_text("other"))
    await asyncio.sleep(0)
    assert stage.data() == ["other"]
    await until(lambda: wire.reading)
    await settle()
    assert stage.data() == ["other", "f" * 5000]
    await stage.stop()


@on_loop
async def test_a_message_that_is_large_only_unpacked_takes_turns():
    deflate = PerMessageDeflate()
    deflate._enabled = True
    stage = ticking()
    connection, wire = stage.connect(deflate=deflate)
    pack = zlib.compressobj(wbits=-15)
    packed = pack.compress(b" " * (MIB - 1)) + pack.flush(zlib.Z_SYNC_FLUSH)
    frame = bytearray(client_frame(TEXT, packed.removesuffix(b"\0\0\xff\xff")))
    frame[0] |= 0x40  # RSV1, RFC 7692 section 6
    stage.read(connection, bytes(frame) * 20)
    assert not wire.reading and connection.messages_in < 5
    await until(lambda: wire.reading)
    await settle()
    assert connection.messages_in == 20 and stage.data()[-1] == " " * (MIB - 1)
    await stage.stop()


@on_loop
async def test_floods_share_what_others_leave():
    """All of them get on, and in one turn of the loop together no more than one gets."""
    stage = ticking()
    floods = [stage.connect()[0] for _ in range(10)]
    for connection in floods:
        flood(stage, connection, 1000)
    await asyncio.sleep(0)
    before = [one.messages_in for one in floods]
    await asyncio.sleep(0)
    assert sum(one.messages_in for one in floods) - sum(before) < 400
    await until(lambda: min(one.messages_in for one in floods) > 500)
    assert max(one.messages_in for one in floods) - 500 < 200
    await until(lambda: len(stage.data()) == 10_000)
    await stage.stop()


@on_loop
async def test_a_flood_waits_while_others_have_something_to_say():
    """But not for ever: it has its share once in half a millisecond."""
    stage = ticking()
    flooding, _ = stage.connect()
    other, _ = stage.connect()
    flood(stage, flooding, 5000)
    await asyncio.sleep(0)
    served, waited = [], 0
    for _ in range(200):
        before = flooding.messages_in
        stage.read(other, client_text("other"))
        await asyncio.sleep(0)
        waited = 0 if flooding.messages_in > before else waited + 1
        served.append(waited)
    assert other.messages_in == 200
    assert 5 < max(served) < 40 and served.count(0) > 3
    await until(lambda: flooding.messages_in == 5000)
    await stage.stop()


@on_loop
async def test_who_floods_is_not_decoded_while_others_who_do_wait():
    stage = ticking()
    first, _ = stage.connect()
    second, wire = stage.connect()
    flood(stage, first, 5000)
    flood(stage, second, 500)
    begun = second.messages_in
    assert begun and not wire.reading
    await until(lambda: wire.reading)
    assert second.messages_in == 500 and first.messages_in < 5000
    flood(stage, second, 500)
    assert second.messages_in == 500 and not wire.reading
    await until(lambda: second.messages_in == 1000)
    await stage.stop()


@on_loop
async def test_what_waits_for_its_turn_counts_as_unfinished():
    """All together, that has its limit: here a thousand hold 128 KiB each."""
    stage = ticking()
    first, _ = stage.connect()
    begun = bytes((0x80 | BINARY, 0x80 | 127)) + MIB.to_bytes(8, "big") + bytes(4)
    pairs = [stage.connect() for _ in range(1000)]
    for connection, _ in pairs:
        stage.read(connection, begun)
    flood(stage, first, 3000)
    with memory_below(72 * MIB):
        for connection, _ in pairs:
            stage.read(connection, bytes(len(connection.get_buffer(-1))))
    await until(lambda: stage.scheduler.idle)
    assert sum(not connection.is_open for connection, _ in pairs) > 400
    await stage.stop()


@on_loop
async def test_who_took_too_long_reads_less_at_once():
    stage = Stage()
    connection, _ = stage.connect()
    whole = len(connection.get_buffer(-1))
    stage.clock.step = 0.00001
    flood(stage, connection, 1000)
    assert len(connection.get_buffer(-1)) == whole // 8
    await settle()
    stage.read(connection, client_text("short"))
    assert len(connection.get_buffer(-1)) == whole
    await stage.stop()


class Insatiable(Wire):
    """A transport of libuv, which reads up to 32 times while a read fills the whole buffer."""

    __module__ = "uvloop.loop"


@on_loop
async def test_a_read_that_fills_the_buffer_ends_the_turn_of_libuv():
    stage = Stage()
    whole = len(stage.scheduler.read_buffer)
    data = client_frame(BINARY, b"x" * 3 * whole)
    for wire, goes_on in ((Wire(), True), (Insatiable(), False)):
        connection, _ = stage.connect(wire=wire)
        stage.read(connection, data[:whole])
        assert wire.reading is goes_on
        await settle()
        assert wire.reading
        stage.read(connection, data[whole : 2 * whole - 1])
        assert wire.reading
    await stage.stop()


@on_loop
async def test_what_a_flood_has_sent_before_it_went_away_is_delivered():
    stage = ticking()
    connection, _ = stage.connect()
    flood(stage, connection, 1000)
    assert connection.messages_in < 1000
    connection.connection_lost(None)
    await settle()
    assert stage.data() == [str(number) for number in range(1000)]
    assert stage.leave["reason"] == "connection_lost"
    await stage.stop()


@on_loop
async def test_a_flood_that_is_terminated_between_its_turns_is_over():
    stage = ticking()
    connection, wire = stage.connect()
    flood(stage, connection, 1000)
    connection.terminate()
    await settle()
    assert "abort" in wire.calls and connection.messages_in < 1000
    assert stage.scheduler.idle and not stage.reports
    await stage.stop()


@on_loop
async def test_the_clocks_of_a_flood_stand_still_between_its_turns():
    """The answer to the ping may be among what is not decoded yet."""
    stage = Stage()
    connection, wire = stage.connect(ping_interval=1, ping_timeout=1)
    stage.clock.step = 0.00001
    flood(stage, connection, 1000)
    assert not wire.reading
    stage.clock.step = 0
    stage.advance(30)
    assert connection.is_open and not frames(wire)
    await until(lambda: wire.reading)
    assert connection.is_open and connection.messages_in == 1000
    await stage.stop()


# -- the end of TCP amid the turns of a flood ------------------------------------------------------


@on_loop
async def test_lost_amid_its_turns_what_was_read_is_still_delivered():
    stage = ticking()
    connection, _ = stage.connect()
    flood(stage, connection, 1000)
    connection.connection_lost(None)
    assert connection.messages_in < 1000
    assert not say(connection, "too late")
    await until(lambda: stage.exits)
    await settle()
    assert stage.data() == [str(number) for number in range(1000)]
    assert stage.leave["reason"] == "connection_lost"
    assert stage.scheduler.idle
    await stage.stop()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda stage, one: one.terminate(), "killed"),
        (lambda stage, one: one.cancel(), "cancelled"),
        (lambda stage, one: stage.target.terminate(), "normal"),
    ],
)
def test_an_end_amid_the_turns_of_a_client_that_is_gone(end, reason):
    @on_loop
    async def main():
        stage = ticking()
        connection, _ = stage.connect()
        stage.read(connection, fragments(1000) * 2)
        connection.connection_lost(None)
        end(stage, connection)
        await until(lambda: stage.exits)
        (event,) = stage.exits
        assert (event.result.value["messages_in"] < 2, event.reason) == (True, reason)
        await settle()
        assert not [report for report in stage.reports if report[0] == "fault"]
        assert stage.scheduler.idle
        await stage.stop()

    main()


@on_loop
async def test_an_end_amid_the_turns_of_a_client_that_is_there():
    stage = ticking()
    connection, wire = stage.connect()
    flood(stage, connection, 1000)
    connection.cancel()
    stage.read(connection, client_close(1001))
    await until(lambda: stage.exits)
    assert stage.record["clean"] and frames(wire)[-1][0] == CLOSE
    await stage.stop()


# -- turns of those who wait at the gate of one target ---------------------------------------------


@on_loop
async def test_who_is_gone_does_not_wait_at_the_gate_any_more():
    """Amid the turns in which the rest of what it sent is delivered it still does."""
    stage = Stage()
    target = stage.spawn(hang)
    first, _ = stage.connect(target)
    flood(stage, first, 1500)
    second, _ = stage.connect(target)
    stage.read(second, client_frame(PING, b"x") * 1000)
    stage.clock.step = 0.00001
    second.connection_lost(None)
    assert second.pid in [process.pid for process in stage.scheduler.table.processes()]
    await until(lambda: stage.exits)
    assert not [one for one in gc.get_referrers(second) if isinstance(one, OrderedDict)]
    await stage.stop()


@on_loop
async def test_who_waits_at_the_gate_has_turns_too():
    """What they sent is no mail, and never fills the mailbox again."""
    stage = Stage()
    target, received = stage.spawn_waiting()
    first, _ = stage.connect(target)
    flood(stage, first, 1500)
    others = [stage.connect(target) for _ in range(40)]
    for connection, _ in others:
        stage.read(connection, client_frame(PING, b"x") * 20)
    assert not any(wire.reading for _, wire in others)
    stage.clock.step = 0.00001
    received.set()
    going_on, most = 0, 0
    while going_on < len(others):
        await asyncio.sleep(0)
        now = sum(wire.reading for _, wire in others)
        most = max(most, now - going_on)
        going_on = now
    assert most <= 20
    await stage.stop()
