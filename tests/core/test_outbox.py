"""The bounded queue towards one client: limit, policies, counters, and who waits for it."""

import asyncio

import pytest
from connection_helpers import Wire, on_loop

from wsrelay_core._errors import NoProcess
from wsrelay_core._outbox import Outbox

DROPPED, ACCEPTED, OVERFULL = 0, 1, 2
COST = 64  # of a frame beside its bytes
PONG = b"\x8a\x01"


class Protocol:
    """What a transport calls; a connection does the same."""

    def __init__(self, outbox):
        self.outbox = outbox

    def pause_writing(self):
        self.outbox.pause()

    def resume_writing(self):
        self.outbox.resume()


def outbox(limit=1000, policy="close", room=0):
    """An outbox on a wire that takes `room` bytes; with none, one byte blocks it."""
    box = Outbox(limit, policy)
    wire = Wire(room)
    wire.protocol = Protocol(box)
    box.start(wire)
    return box, wire


def stuck(limit=1000, policy="close"):
    """An outbox whose transport holds a backlog of ten bytes."""
    box, wire = outbox(limit, policy)
    box.put(data(10))
    box.flush()
    assert box.paused and box.queued() == 10
    return box, wire


def data(size, mark=b"."):
    return b"\x82" + mark * (size - 1)


def test_frames_of_a_drain_are_one_write():
    box, wire = outbox(room=None)
    for mark in b"abc":
        assert box.put(data(5, bytes([mark]))) == ACCEPTED
    assert wire.writes == 0
    box.flush()
    assert wire.writes == 1
    assert wire.taken == data(5, b"a") + data(5, b"b") + data(5, b"c")
    assert box.queued() == 0 and box.written == 15


def test_counter_returns_to_zero_and_high_water_stays():
    box, wire = stuck()
    box.put(data(100))
    assert box.queued() == 10 + 100 + COST
    wire.drain()
    assert box.queued() == 0 and not box.paused
    assert box.high_water == 10 + 100 + COST
    assert bytes(wire.taken) == data(10) + data(100)


def test_over_the_limit_what_is_queued_is_written_first():
    box, wire = outbox(limit=300, room=None)
    for _ in range(10):
        assert box.put(data(200)) == ACCEPTED
    assert wire.writes == 9


def test_an_empty_queue_takes_any_message():
    box, wire = outbox(limit=100, room=None)
    assert box.put(data(5000)) == ACCEPTED
    assert box.put(data(5000)) == ACCEPTED
    box.flush()
    assert len(wire.taken) == 10000


def test_a_message_just_at_the_limit_fits():
    box, _ = stuck(limit=10 + 100 + COST)
    assert box.put(data(100)) == ACCEPTED
    box, _ = stuck(limit=10 + 100 + COST - 1)
    assert box.put(data(100)) == OVERFULL


def test_policy_close_says_overfull():
    box, _ = stuck()
    assert box.put(data(800)) == ACCEPTED
    assert box.put(data(800)) == OVERFULL
    assert box.dropped == 0


def test_policy_drop_newest_keeps_what_is_there():
    box, wire = stuck(policy="drop_newest")
    assert box.put(data(500, b"a")) == ACCEPTED
    assert box.put(data(500, b"b")) == DROPPED
    assert box.put(data(50, b"c")) == ACCEPTED
    assert (box.dropped, box.withdrawn) == (1, 0)
    wire.drain()
    assert bytes(wire.taken) == data(10) + data(500, b"a") + data(50, b"c")


def test_policy_drop_oldest_drops_as_many_as_needed():
    box, wire = stuck(policy="drop_oldest")
    for mark in b"abcd":
        assert box.put(data(150, bytes([mark]))) == ACCEPTED
    assert box.put(data(300, b"e")) == ACCEPTED
    assert (box.dropped, box.withdrawn) == (2, 2)
    wire.drain()
    assert bytes(wire.taken) == data(10) + b"".join(
        [data(150, b"c"), data(150, b"d"), data(300, b"e")]
    )


def test_drop_oldest_keeps_control_frames_and_order():
    box, wire = stuck(policy="drop_oldest")
    ping = b"\x89\x01p"
    box.put(data(400, b"a"))
    box.put_control(ping)
    box.put(data(300, b"b"))
    assert box.put(data(400, b"c")) == ACCEPTED
    wire.drain()
    assert bytes(wire.taken) == data(10) + ping + data(300, b"b") + data(400, b"c")


def test_drop_oldest_drops_nothing_in_vain():
    box, wire = stuck(policy="drop_oldest")
    assert box.put(data(100, b"a")) == ACCEPTED
    assert box.put(data(2000, b"b")) == DROPPED
    assert (box.dropped, box.withdrawn) == (1, 0)
    wire.drain()
    assert bytes(wire.taken) == data(10) + data(100, b"a")


def test_control_frames_ask_no_limit():
    box, wire = stuck(limit=100)
    box.put_control(b"\x88\x00")
    wire.drain()
    assert bytes(wire.taken) == data(10) + b"\x88\x00"


def test_only_the_newest_pong_is_kept_while_paused():
    box, wire = stuck()
    for mark in range(256):
        box.put_pong(PONG + bytes([mark]))
    assert box.queued() == 10
    wire.drain()
    assert bytes(wire.taken) == data(10) + PONG + b"\xff"


def test_the_kept_pong_goes_before_a_close_frame():
    box, wire = stuck()
    box.put_pong(PONG + b"x")
    box.put_control(b"\x88\x00")
    wire.drain()
    assert bytes(wire.taken) == data(10) + PONG + b"x" + b"\x88\x00"


def test_a_long_queue_is_written_part_by_part():
    """What the kernel does not take stays here, where it can still be dropped."""
    box, wire = outbox(limit=1024 * 1024, policy="drop_oldest", room=200_000)
    frames = [data(50_000, bytes([mark])) for mark in range(20)]
    for frame in frames:
        assert box.put(frame) == ACCEPTED
    box.flush()
    assert box.paused and wire.writes == 3
    assert len(wire.backlog) == 100_000 and box.queued() == 100_000 + 14 * (50_000 + COST)
    box.put_control(b"\x89\x00")
    assert box.put(data(400_000, b"n")) == ACCEPTED
    assert box.dropped == 4
    wire.drain()
    assert bytes(wire.taken) == (
        b"".join(frames[:6] + frames[10:]) + b"\x89\x00" + data(400_000, b"n")
    )
    assert box.queued() == 0 and box.written == len(wire.taken)


def test_write_out_writes_even_if_it_must_wait():
    box, wire = stuck(limit=1024 * 1024)
    for _ in range(8):
        box.put(data(50_000))
    box.write_out()
    assert len(wire.backlog) == 10 + 400_000 and box.queued() == 400_010


def test_a_flood_of_pongs_is_written_in_parts():
    box, wire = outbox(room=None)
    for _ in range(5000):
        box.put_pong(PONG + b"x")
        assert box.queued() < 128 * 1024
    box.flush()
    assert len(wire.taken) == 15000 and wire.writes > 1


def test_each_pong_is_written_in_order_while_writable():
    box, wire = outbox(room=None)
    for mark in b"abc":
        box.put_pong(PONG + bytes([mark]))
    box.flush()
    assert wire.taken == PONG + b"a" + PONG + b"b" + PONG + b"c"


def test_a_backlog_from_before_counts():
    box = Outbox(1000)
    wire = Wire(room=0)
    wire.protocol = Protocol(box)
    wire.backlog += b"HTTP/1.1 101"
    box.start(wire)
    assert box.paused and box.queued() == 12
    box.put(data(5))
    box.flush()
    assert wire.writes == 0
    wire.drain()
    assert bytes(wire.taken) == b"HTTP/1.1 101" + data(5)


def test_before_the_start_frames_wait():
    box = Outbox(1000)
    assert box.put(data(5)) == ACCEPTED
    box.flush()
    wire = Wire()
    box.start(wire)
    box.flush()
    assert wire.taken == data(5)


def test_resume_may_pause_again_at_once():
    box, wire = stuck()
    box.put(data(100))
    wire.drain(room=10 + 30)
    assert box.paused
    assert box.queued() == 70
    wire.drain()
    assert not box.paused and box.queued() == 0


def test_a_write_that_fails_is_kept_and_not_raised():
    box, wire = outbox(limit=100, room=None)
    wire.error = RuntimeError("closed")
    box.put(data(50))
    assert box.put(data(90)) == ACCEPTED
    assert box.broken is wire.error


def test_unknown_policy():
    with pytest.raises(KeyError):
        Outbox(10, "drop_all")


@on_loop
async def test_below_is_told_when_the_queue_is_short():
    box, wire = stuck()
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
    box.put(data(500))
    assert box.below(1000, futures[0])
    assert not box.below(200, futures[1])
    assert not box.below(5, futures[2])
    wire.drain(room=10 + 400)
    assert futures[1].done() and not futures[2].done()
    wire.drain()
    assert futures[2].done()
    await asyncio.gather(*futures[1:])


@on_loop
async def test_who_waits_is_told_of_the_end():
    box, _ = stuck()
    waiting, given_up = (asyncio.get_running_loop().create_future() for _ in range(2))
    box.below(1, waiting)
    box.below(1, given_up)
    given_up.cancel()
    box.fail_waiting("it ended")
    with pytest.raises(NoProcess, match="it ended"):
        await waiting


def test_close_gives_everything_back():
    box, _ = stuck()
    box.put(data(100))
    box.close()
    assert box.queued() == 0
    box.put(data(100))
    box.flush()
