"""Reading, back-pressure and unfinished messages, without a socket."""

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

from wsrelay_core import send

MIB = 1024 * 1024


# -- reading and back-pressure ---------------------------------------------------------------------


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


# -- frames that are dear to decode ----------------------------------------------------------------

FRAGMENTED = client_frame(TEXT, b"a", fin=False) + client_frame(0, b"b")


@on_loop
async def test_fragments_are_decoded_a_few_in_a_turn():
    stage = Stage()
    connection, wire = stage.connect()
    stage.read(connection, FRAGMENTED * 300 + client_frame(PING, b"end"))
    assert connection.messages_in <= 16 and not wire.reading
    stage.read(connection, client_text("behind"))  # read although paused
    turns = 0
    while connection.messages_in <= 300:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 2
    await settle()
    assert stage.data() == ["ab"] * 300 + ["behind"]
    assert frames(wire) == [(PONG, b"end")]
    assert wire.reading
    await stage.stop()


@on_loop
async def test_lost_amid_fragments_what_was_read_is_still_delivered():
    stage = Stage()
    connection, _ = stage.connect()
    stage.read(connection, FRAGMENTED * 300)
    connection.connection_lost(None)
    assert connection.messages_in < 300
    assert not say(connection, "too late")
    await until(lambda: stage.exits)
    await settle()
    assert stage.data() == ["ab"] * 300
    assert stage.leave["reason"] == "connection_lost"
    await stage.stop()


@pytest.mark.parametrize(
    "end, reason",
    [
        (lambda stage, one: one.terminate(), "killed"),
        (lambda stage, one: one.cancel(), "cancelled"),
        (lambda stage, one: stage.target.terminate(), "normal"),
    ],
)
def test_an_end_amid_fragments_of_a_client_that_is_gone(end, reason):
    @on_loop
    async def main():
        stage = Stage()
        connection, _ = stage.connect()
        stage.read(connection, FRAGMENTED * 300)
        connection.connection_lost(None)
        end(stage, connection)
        await until(lambda: stage.exits)
        (event,) = stage.exits
        assert (event.result.value["messages_in"] < 300, event.reason) == (True, reason)
        await settle()
        assert not [report for report in stage.reports if report[0] == "fault"]
        assert stage.scheduler.idle
        await stage.stop()

    main()


@on_loop
async def test_an_end_amid_fragments_of_a_client_that_is_there():
    stage = Stage()
    connection, wire = stage.connect()
    stage.read(connection, FRAGMENTED * 300)
    connection.cancel()
    stage.read(connection, client_close(1001))
    await until(lambda: stage.exits)
    assert stage.record["clean"] and frames(wire)[-1][0] == CLOSE
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
