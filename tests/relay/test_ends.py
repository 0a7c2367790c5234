"""Every way in which a connection ends (relay contract, section 6), and the rules of closing."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from support import BINARY, CLOSE, TEXT, both_loops, echo, room, run_on, until

from wsrelay import process
from wsrelay.relay import RelayConnection
from wsrelay_core import resolve

RECORD_KEYS = [
    "code",
    "reason",
    "clean",
    "cause",
    "initiator",
    "uptime_ms",
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
    "queue_high_water",
    "last_rtt_ms",
]


@dataclass
class End:
    """A row of the table: what is done, and what must be seen of it."""

    name: str
    cause: Any
    frame: tuple[int, str] | None  # on the wire
    code: int
    reason: str
    exit: str
    initiator: str = "server"
    clean: bool = True
    target_lives: bool = True
    text: str | None = None  # reason in the record, if not that of the frame
    options: dict[str, str] = field(default_factory=dict)
    seconds: float = 0  # let pass after the cause

    @property
    def record(self):
        text = self.text if self.text is not None else self.frame[1] if self.frame else ""
        return self.code, text, self.clean, self.reason, self.initiator


def target_does(action):
    def cause(here, client):
        process.send(here.target, "do", action)

    return cause


def fails():
    raise RuntimeError("the target failed")


def on_target(call):
    def cause(here, client):
        call(here.target)

    return cause


def says_close(payload):
    def cause(here, client):
        assert process.send(client.pid, "ws.close", payload)

    return cause


def writes(data):
    def cause(here, client):
        client.write(data)

    return cause


def closes(*arguments):
    def cause(here, client):
        client.close(*arguments)

    return cause


def begins_a_message(here, client):
    # A whole fragment: inside a frame the client's close frame would be read as its rest.
    client.write(client.frame(BINARY, b"half", fin=False))


def too_slow(here, client):
    while process.send(client.pid, "ws.send", {"data": b"x" * 60000}):
        pass


def links_and_fails(here, client):
    async def linked():
        process.link(client.pid)
        raise RuntimeError("linked")

    process.spawn(linked)


def stops(restart):
    def cause(here, client):
        here.stopping = asyncio.ensure_future(here.app.stop(restart=restart))

    return cause


def breaks(here, client):
    process.send(client.pid, "ws.control", {"heartbeat_interval": "7s"})


OFF = {"wsrelay.ping.interval": "0"}
ENDS = [
    End(
        "target_normal",
        target_does(None),
        (1000, "target process exited"),
        1000,
        "target_exited",
        "normal",
        target_lives=False,
    ),
    End(
        "target_cancelled",
        on_target(process.cancel),
        (1000, "target process exited"),
        1000,
        "target_exited",
        "normal",
        target_lives=False,
    ),
    End(
        "target_error",
        target_does(fails),
        (1011, "target process failed"),
        1011,
        "target_exited",
        "normal",
        target_lives=False,
    ),
    End(
        "target_killed",
        on_target(process.terminate),
        (1011, "target process failed"),
        1011,
        "target_exited",
        "normal",
        target_lives=False,
    ),
    End(
        "node_lost",
        on_target(lambda pid: resolve(pid).terminate("noconnection")),
        (1012, ""),
        1012,
        "target_exited",
        "noconnection",
        target_lives=False,
    ),
    End(
        "ws_close",
        says_close({"code": 4000, "reason": "Session ended"}),
        (4000, "Session ended"),
        4000,
        "closed_by_process",
        "normal",
    ),
    End(
        "client_close",
        closes(3001, "bye"),
        (3001, ""),
        3001,
        "client_close",
        "normal",
        initiator="client",
        text="bye",
    ),
    End(
        "client_close_without_code",
        closes(),
        (1005, ""),
        1005,
        "client_close",
        "normal",
        initiator="client",
    ),
    End(
        "tcp_ended",
        lambda here, client: client.writer.write_eof(),
        None,
        1006,
        "connection_lost",
        "error",
        initiator="network",
        clean=False,
    ),
    End(
        "tcp_reset",
        lambda here, client: client.reset(),
        None,
        1006,
        "connection_lost",
        "error",
        initiator="network",
        clean=False,
    ),
    End(
        "too_big",
        writes(b"\x82\xff" + (2**20 + 1).to_bytes(8, "big") + b"mask"),
        (1009, "message too big"),
        1009,
        "message_too_big",
        "error",
        clean=False,
    ),
    End(
        "message_timeout",
        begins_a_message,
        (1008, "message timeout"),
        1008,
        "message_timeout",
        "error",
        clean=True,
        options=OFF,
        seconds=61,
    ),
    End(
        "protocol_error",
        writes(b"\x81\x00"),
        (1002, "server received unexpected unmasked frame"),
        1002,
        "protocol_error",
        "error",
        clean=False,
    ),
    End(
        "invalid_data",
        writes(b"\x81\x81\x00\x00\x00\x00\xff"),
        (1007, "invalid UTF-8"),
        1007,
        "invalid_data",
        "error",
        clean=False,
    ),
    End(
        "bad_close_code",
        writes(b"\x88\x82\x00\x00\x00\x00\x03\xed"),
        (1002, "remote CLOSE with local-only reason"),
        1002,
        "protocol_error",
        "error",
        clean=False,
    ),
    End(
        "bad_close_length",
        writes(b"\x88\x81\x00\x00\x00\x00\x03"),
        (1002, "CLOSE with 1 byte payload"),
        1002,
        "protocol_error",
        "error",
        clean=False,
    ),
    End("slow_consumer", too_slow, (1013, "slow consumer"), 1013, "slow_consumer", "error"),
    End(
        "ping_timeout",
        lambda here, client: here.advance(20.1),
        (1011, "ping timeout"),
        1011,
        "ping_timeout",
        "error",
        seconds=20.1,
    ),
    End(
        "idle_timeout",
        lambda here, client: None,
        (1001, "idle timeout"),
        1001,
        "idle_timeout",
        "normal",
        options={**OFF, "wsrelay.idle.timeout": "30s"},
        seconds=30.1,
    ),
    End(
        "server_stops",
        stops(False),
        (1001, "server shutting down"),
        1001,
        "server_shutdown",
        "normal",
    ),
    End(
        "server_restarts", stops(True), (1012, "service restart"), 1012, "server_shutdown", "normal"
    ),
    End(
        "cancelled",
        lambda here, client: process.cancel(client.pid),
        (1001, ""),
        1001,
        "cancelled",
        "cancelled",
    ),
    End(
        "terminated",
        lambda here, client: process.terminate(client.pid),
        None,
        1006,
        "terminated",
        "killed",
        clean=False,
    ),
    End(
        "link_failed",
        links_and_fails,
        (1011, "linked process failed"),
        1011,
        "link_failed",
        "link_failed",
    ),
    End(
        "internal_error",
        breaks,
        (1011, "internal error"),
        1011,
        "internal_error",
        "error",
        options=OFF,
        seconds=7.1,
    ),
]


@both_loops
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_end(loop, end, monkeypatch):
    """The frame on the wire, `ws.leave`, EXIT, the close record and its line in the log."""
    if end.name == "internal_error":
        monkeypatch.setattr(RelayConnection, "uptime", lambda self: 1 / 0)

    async def main():
        async with room(end.options, clock=True) as here:
            here.fields = {"metadata": {"user": 7}}
            async with here.client() as client:
                end.cause(here, client)
                if end.seconds:
                    await client.read_by_server()
                    here.advance(end.seconds)
                if end.name != "tcp_reset":
                    got = [one for one in await client.rest() if one[0] == CLOSE]
                    assert got == ([(CLOSE, end.frame)] if end.frame else [])
                event = await here.exit_of(client)
                check_exit(here, client, end, event)
                if end.target_lives:
                    await here.mail.until_topic("ws.leave")
                check_mail(here, client, end)
                await until(lambda: not here.app.is_running or not here.websockets())
            assert len(here.exits[client.pid]) == 1

    run_on(loop, main())


def check_exit(here, client, end, event):
    assert event.sender == client.pid and event.reason == end.exit
    record = event.result.value
    assert list(record) == RECORD_KEYS
    seen = tuple(record[key] for key in ("code", "reason", "clean", "cause", "initiator"))
    assert seen == end.record
    assert here.records.of(client.pid) == [record]


def check_mail(here, client, end):
    topics = here.mail.topics()
    assert topics[0] == "ws.join"
    leaves = here.mail.of("ws.leave")
    if not end.target_lives:
        assert leaves == []
        return
    assert topics[-1] == "ws.leave" and len(leaves) == 1
    assert leaves[0].sender == client.pid
    assert leaves[0].payload == {
        "client_pid": client.pid,
        "reason": end.reason,
        "code": end.code,
        "clean": end.clean,
        "metadata": {"user": 7},
    }


def test_every_word_of_the_closed_list_is_covered():
    words = (
        "client_close connection_lost closed_by_process target_exited message_too_big "
        "message_timeout protocol_error invalid_data slow_consumer ping_timeout idle_timeout "
        "server_shutdown cancelled terminated link_failed internal_error"
    )
    assert {end.reason for end in ENDS} == set(words.split())


# -- the rules of closing --------------------------------------------------------------------------


@both_loops
def test_leave_is_there_before_exit(loop):
    async def watcher(pid, mail, order):
        process.monitor(pid)
        await process.events().receive()
        order += mail.topics()

    async def main():
        async with room() as here, here.client() as client:
            order = []
            pid = process.spawn(watcher, None, client.pid, here.mail, order)
            await until(lambda: process.info(client.pid).monitored_by)
            client.close(1000)
            await process.wait(pid)
            await here.mail.until_topic("ws.leave")
            assert order[-1:] == ["ws.leave"]

    run_on(loop, main())


@both_loops
def test_message_and_close_in_one_segment_echo_first(loop):
    async def main():
        async with room() as here:
            here.target = here.spawn(echo)
            async with here.client() as client:
                texts = [str(number) for number in range(100)]
                data = b"".join(client.frame(TEXT, text.encode()) for text in texts)
                client.write(data + client.codec.encode_close(4001, "bye"))
                assert await client.rest() == [
                    *((TEXT, text) for text in texts),
                    (CLOSE, (4001, "")),
                ]

    run_on(loop, main())


@both_loops
def test_handshake_message_and_close_in_one_segment(loop):
    async def main():
        async with room() as here:
            here.target = here.spawn(echo)
            from support import Client

            codec = Client(None, None).codec
            trailing = codec.encode_message("hi") + codec.encode_close(1000)
            client = await Client.open(here.port, trailing)
            assert await client.rest() == [(TEXT, "hi"), (CLOSE, (1000, ""))]
            await client.end()

    run_on(loop, main())


@both_loops
def test_half_close_behind_the_close_frame_still_gets_the_answer(loop):
    async def main():
        async with room() as here:
            here.target = here.spawn(echo)
            async with here.client() as client:
                client.send("x")
                client.close(3000)
                client.writer.write_eof()
                assert await client.rest() == [(TEXT, "x"), (CLOSE, (3000, ""))]
                event = await here.exit_of(client)
                assert event.result.value["clean"] is True

    run_on(loop, main())


@both_loops
def test_first_cause_stands(loop):
    async def main():
        async with room() as here, here.client() as client:
            assert process.send(client.pid, "ws.close", {"code": 4000, "reason": "first"})
            assert not process.send(client.pid, "ws.close", {"code": 4001})
            assert not process.send(client.pid, "ws.send", {"data": "late"})
            process.cancel(client.pid)
            process.terminate(here.target)
            client.write(b"\xff\xff")
            assert await client.rest() == [(CLOSE, (4000, "first"))]
            event = await here.exit_of(client)
            assert event.reason == "normal" and event.result.value["cause"] == "closed_by_process"

    run_on(loop, main())


@both_loops
def test_client_data_is_discarded_while_closing(loop):
    async def main():
        async with room() as here, here.client() as client:
            process.send(client.pid, "ws.close", 4000)
            client.send("discarded")
            client.close(4000)
            assert await client.rest() == [(CLOSE, (4000, ""))]
            await here.mail.until_topic("ws.leave")
            assert here.mail.topics() == ["ws.join", "ws.leave"]
            assert (await here.exit_of(client)).result.value["messages_in"] == 0

    run_on(loop, main())


@both_loops
def test_a_client_that_does_not_answer_is_aborted_at_the_timeout(loop):
    async def main():
        options = {"wsrelay.close.timeout": "3s"}
        async with room(options, clock=True) as here, here.client() as client:
            process.send(client.pid, "ws.close", 4000)
            assert await client.receive() == (CLOSE, (4000, ""))
            here.advance(2.9)
            assert here.exits[client.pid] == []
            assert not process.send(client.pid, "ws.send", {"data": "late"})
            here.advance(0.2)
            assert await client.receive() is None
            event = await here.exit_of(client)
            assert event.result.value["clean"] is False and event.reason == "normal"
            leave = await here.mail.until_topic("ws.leave")
            assert leave["clean"] is False and leave["code"] == 4000

    run_on(loop, main())


@both_loops
def test_cancel_with_a_deadline_then_terminates(loop):
    async def main():
        async with room(clock=True) as here, here.client() as client:
            process.cancel(client.pid, "go", 2)
            assert await client.receive() == (CLOSE, (1001, "go"))
            here.advance(2.1)
            event = await here.exit_of(client)
            assert event.reason == "killed" and event.result.value["cause"] == "terminated"
            assert event.result.value["code"] == 1001

    run_on(loop, main())


@both_loops
def test_after_exit_the_pid_is_dead_for_ever(loop):
    async def main():
        async with room() as here:
            async with here.client() as client:
                process.terminate(client.pid)
                await here.exit_of(client)
                assert not process.send(client.pid, "ws.send", {"data": "x"})
                assert not process.terminate(str(client.pid))
                assert (await process.wait(client.pid)).reason == "noproc"
            async with here.client() as another:
                assert another.pid != client.pid

    run_on(loop, main())


@both_loops
def test_a_slow_consumer_gets_what_was_accepted_before_its_close(loop):
    async def main():
        async with room({"wsrelay.queue.max": "100KiB"}) as here, here.client() as client:
            sent = 0
            while process.send(client.pid, "ws.send", {"data": b"x" * 50000}):
                sent += 1
            got = await client.rest()
            assert [kind for kind, _ in got] == [BINARY] * sent + [CLOSE]
            assert got[-1] == (CLOSE, (1013, "slow consumer"))
            record = (await here.exit_of(client)).result.value
            assert record["messages_out"] == sent

    run_on(loop, main())
