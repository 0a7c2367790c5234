"""`ws.control`: a live connection moves, or changes in place (relay contract, section 5)."""

import asyncio
import enum
import logging
import random

import pytest
from support import Mail, both_loops, keeper, room, run_on, until

from wsrelay import process


def control(client, **fields):
    """`ws.control` from outside a process: without a sender."""
    return process.send(client.pid, "ws.control", fields)


async def as_process(client, fields, mail):
    """Send a control, and keep what comes back."""
    process.send(client.pid, "ws.control", fields)
    await keeper(mail)


# -- what a transfer does --------------------------------------------------------------------------


@both_loops
def test_leave_with_the_old_metadata_then_join_with_the_new(loop):
    async def main():
        async with room() as here:
            here.fields = {"metadata": {"room": 1, "user": 7}}
            other, mail = here.keeper()
            async with here.client() as client:
                client.send("one")
                await here.mail.until_topic("ws.message")
                assert control(client, target_pid=str(other), metadata={"room": 2})
                client.send("two")
                message = await mail.until_topic("ws.message")
                assert mail.topics() == ["ws.join", "ws.message"]
                join = mail.all[0]
                assert join.sender == client.pid
                assert join.payload == {"client_pid": client.pid, "metadata": {"room": 2}}
                assert message["metadata"] == {"room": 2}
                assert here.mail.topics() == ["ws.join", "ws.message", "ws.leave"]
                assert here.mail.all[-1].payload == {
                    "client_pid": client.pid,
                    "reason": "transferred",
                    "code": 1006,
                    "clean": True,
                    "metadata": {"room": 1, "user": 7},
                }
                assert process.info(client.pid).target == other

    run_on(loop, main())


class Word(str, enum.Enum):  # noqa: UP042 - its str() is its name, a StrEnum's its value
    TOPIC = "chat"
    TARGET = "other"


@both_loops
def test_texts_may_be_members_of_an_enum(loop):
    async def main():
        async with room() as here, here.client() as client:
            other, mail = here.keeper()
            process.register(Word.TARGET, other)
            assert control(client, target_pid=Word.TARGET, message_topic=Word.TOPIC)
            client.send("one")
            await mail.until(2)
            assert mail.topics() == ["ws.join", "chat"]

    run_on(loop, main())


@both_loops
def test_messages_before_it_go_to_the_old_target_and_later_ones_to_the_new(loop):
    async def main():
        async with room() as here, here.client() as client:
            other, mail = here.keeper()
            client.send(*map(str, range(50)))
            await here.mail.until(51)
            control(client, target_pid=other)
            client.send(*map(str, range(50, 100)))
            await mail.until(51)
            assert here.mail.data() == [str(number) for number in range(50)]
            assert mail.data() == [str(number) for number in range(50, 100)]

    run_on(loop, main())


@both_loops
def test_pid_uptime_and_message_count_survive(loop):
    async def main():
        async with room(clock=True) as here:
            here.fields = {"heartbeat_interval": "10s"}
            other, mail = here.keeper()
            async with here.client() as client:
                client.send("a", "b")
                await here.mail.until(3)
                here.advance(6)
                control(client, target_pid=other)
                client.send("c")
                await mail.until_topic("ws.message")
                here.advance(4.5)
                beat = await mail.until_topic("ws.heartbeat")
                assert beat == {
                    "client_pid": client.pid,
                    "uptime": "10.5s",
                    "uptime_ms": 10500,
                    "message_count": 3,
                    "metadata": {},
                }
                assert here.mail.of("ws.heartbeat") == []
                client.close(1000)
                record = (await here.exit_of(client)).result.value
                assert record["messages_in"] == 3

    run_on(loop, main())


@both_loops
def test_the_old_target_no_longer_matters(loop):
    async def main():
        async with room() as here, here.client() as client:
            other, mail = here.keeper()
            control(client, target_pid=other)
            process.terminate(here.target)
            client.send("on")
            await mail.until_topic("ws.message")
            process.terminate(other)
            assert (await client.rest())[-1][1] == (1011, "target process failed")

    run_on(loop, main())


@both_loops
def test_a_registered_name_is_a_target(loop):
    async def main():
        async with room() as here, here.client() as client:
            other, mail = here.keeper()
            process.register("lobby", other)
            control(client, target_pid="lobby")
            client.send("x")
            await mail.until_topic("ws.message")

    run_on(loop, main())


# -- without a move --------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
@both_loops
def test_without_a_target_or_with_the_same_one_only_the_rest_changes(loop, named):
    async def main():
        async with room(clock=True) as here:
            here.fields = {"heartbeat_interval": "5s", "metadata": {"a": 1, "b": 2}}
            async with here.client() as client:
                fields = {"target_pid": here.target} if named else {}
                control(client, **fields, message_topic="chat", metadata={"b": 3})
                client.send("x")
                message = await here.mail.until_topic("chat")
                assert message["metadata"] == {"b": 3}  # replaced, not merged
                here.advance(5.1)
                await here.mail.until_topic("ws.heartbeat")
                assert here.mail.topics() == ["ws.join", "chat", "ws.heartbeat"]

    run_on(loop, main())


@both_loops
def test_heartbeat_zero_stops_it_and_absent_keeps_it(loop):
    async def main():
        async with room(clock=True) as here:
            here.fields = {"heartbeat_interval": "5s"}
            async with here.client() as client:
                control(client, metadata={}, heartbeat_interval=None, message_topic=None)
                here.advance(5.1)
                await here.mail.until_topic("ws.heartbeat")
                control(client, heartbeat_interval=0)
                here.advance(100)
                control(client, heartbeat_interval=2000)
                here.advance(2.1)
                await here.mail.until(3)
                assert here.mail.topics() == ["ws.join", "ws.heartbeat", "ws.heartbeat"]

    run_on(loop, main())


# -- what is refused changes nothing ---------------------------------------------------------------


async def dead():
    pass


BAD = {
    "target_pid: no such process": {"target_pid": "nobody"},
    "target_pid: must be a string": {"target_pid": 5},
    "message_topic: must not begin with @": {"message_topic": "@x"},
    "message_topic: is one of the relay's own topics": {"message_topic": "ws.join"},
    "heartbeat_interval: is no duration from 0 up, such as 30s": {"heartbeat_interval": "-1s"},
    "metadata: must be an object": {"metadata": [1]},
}


@pytest.mark.parametrize("error", BAD)
@both_loops
def test_a_bad_field_changes_nothing_and_the_sender_is_told(loop, error):
    async def main():
        async with room(clock=True) as here:
            here.fields = {"metadata": {"kept": 1}}
            async with here.client() as client:
                other, moved = here.keeper()
                good = {
                    "target_pid": other,
                    "message_topic": "chat",
                    "heartbeat_interval": "1s",
                    "metadata": {},
                }
                fields = {**good, **BAD[error]}
                answers = Mail()
                process.spawn(as_process, None, client, fields, answers)
                answer = await answers.until_topic("ws.control.error")
                assert answer == {
                    "client_pid": client.pid,
                    "error": error,
                    "target_pid": fields["target_pid"],
                }
                assert answers.all[0].sender == client.pid
                client.send("x")
                message = await here.mail.until_topic("ws.message")
                assert message["metadata"] == {"kept": 1}
                here.advance(10)
                assert here.mail.topics() == ["ws.join", "ws.message"] and moved.all == []

    run_on(loop, main())


@both_loops
def test_dead_malformed_and_websocket_targets_are_refused(loop):
    async def main():
        async with room() as here, here.client() as client, here.client() as other:
            gone = process.spawn(dead)
            await process.wait(gone)
            answers = Mail()
            for target in (gone, "{broken", other.pid, client.pid, "{app:processes|0x1}"):
                process.spawn(as_process, None, client, {"target_pid": target}, answers)
            await answers.until(5)
            errors = {one.payload["target_pid"]: one.payload["error"] for one in answers.all}
            assert errors[gone] == errors["{app:processes|0x1}"] == "target_pid: no such process"
            assert (
                errors[other.pid]
                == errors[client.pid]
                == ("target_pid: must not be a WebSocket connection")
            )
            assert "{broken" in errors
            client.send("x")
            await here.mail.until_topic("ws.message")
            assert here.mail.of("ws.leave") == []

    run_on(loop, main())


@both_loops
def test_without_a_sender_it_is_only_logged(loop, caplog):
    async def main():
        async with room() as here, here.client() as client:
            assert control(client, target_pid="nobody")
            assert process.send(client.pid, "ws.control", "no mapping")
            assert "no such process" in caplog.text and "must be a dict" in caplog.text
            client.send("x")
            await here.mail.until_topic("ws.message")

    caplog.set_level(logging.WARNING)
    run_on(loop, main())


@both_loops
def test_a_flood_of_refused_controls_is_a_few_lines(loop, caplog):
    async def main():
        async with room() as here, here.client() as client:
            for _ in range(500):
                assert control(client, target_pid="nobody")

    caplog.set_level(logging.WARNING)
    run_on(loop, main())
    assert 0 < len([one for one in caplog.records if "refused" in one.getMessage()]) <= 20


@both_loops
def test_a_closing_connection_moves_no_more(loop, caplog):
    async def main():
        async with room() as here, here.client() as client:
            other, mail = here.keeper()
            process.send(client.pid, "ws.close", 4000)
            answers = Mail()
            process.spawn(as_process, None, client, {"target_pid": other}, answers)
            await client.rest()
            await here.exit_of(client)
            await here.mail.until_topic("ws.leave")
            assert mail.all == [] and answers.all == []
            assert here.mail.of("ws.leave")[0].payload["reason"] == "closed_by_process"
            assert "dropped ws.control" in caplog.text

    caplog.set_level(logging.WARNING)
    run_on(loop, main())


@both_loops
def test_ws_close_right_behind_a_transfer(loop):
    async def main():
        async with room() as here, here.client() as client:
            other, mail = here.keeper()
            control(client, target_pid=other)
            process.send(client.pid, "ws.close", 4000)
            await client.rest()
            await mail.until_topic("ws.leave")
            assert mail.topics() == ["ws.join", "ws.leave"]
            assert mail.all[1].payload["reason"] == "closed_by_process"
            assert here.mail.topics() == ["ws.join", "ws.leave"]

    run_on(loop, main())


@both_loops
def test_transfer_behind_the_clients_close(loop):
    """The answer is not out yet: the connection moves, and the new target sees the end."""

    async def main():
        async with room() as here:
            other, mail = here.keeper()

            async def mover():
                async for message in process.inbox():
                    here.mail.put(message)
                    if message.topic == "ws.message":
                        process.send(message.sender, "ws.control", {"target_pid": other})

            here.target = here.spawn(mover)
            async with here.client() as client:
                client.write(client.frame(1, b"x") + client.codec.encode_close(3000))
                await mail.until_topic("ws.leave")
                assert here.mail.topics() == ["ws.join", "ws.message", "ws.leave"]
                leave = here.mail.all[-1].payload
                assert (leave["reason"], leave["code"], leave["clean"]) == (
                    "transferred",
                    1006,
                    True,
                )
                last = mail.all[-1].payload
                assert mail.topics() == ["ws.join", "ws.leave"]
                assert (last["reason"], last["code"], last["clean"]) == ("client_close", 3000, True)

    run_on(loop, main())


# -- the big one -----------------------------------------------------------------------------------

MESSAGES = 10_000  # of each client
TRANSFERS = 200
BATCH = MESSAGES // TRANSFERS


def check_stays(mail, pid):
    """One join and one leave for each stay, messages only between them; how many had messages."""
    inside = False
    with_messages = 0
    before = None
    for message in mail.all:
        if message.payload["client_pid"] != pid:
            continue
        if message.topic == "ws.join":
            assert not inside
            inside = True
        else:
            assert inside
            inside = message.topic != "ws.leave"
            with_messages += before == "ws.join" and inside
        before = message.topic
    assert not inside
    return with_messages


def numbers_of(mail, pid):
    return [int(one.payload["data"]) for one in mail.of("ws.message") if one.sender == pid]


async def pump_and_move(clients, targets):
    """Messages of all clients, and after each batch a transfer of one, a random moment later."""
    chance = random.Random(7)
    for start in range(0, MESSAGES, BATCH):
        for client in clients:
            client.send(*map(str, range(start, start + BATCH)))
        if chance.random() < 0.7:
            await chance.choice(clients).read_by_server()
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        assert control(chance.choice(clients), target_pid=chance.choice(targets))


@both_loops
def test_ten_thousand_messages_across_two_hundred_transfers(loop):
    """No loss, no duplicate, order kept, one join and one leave for each stay."""

    async def main():
        async with room() as here:
            keepers = [here.keeper() for _ in range(3)]
            mails = [mail for _, mail in keepers]
            here.target = keepers[0][0]
            async with here.client() as one, here.client() as two:
                await pump_and_move([one, two], [pid for pid, _ in keepers])
                for client in (one, two):
                    client.close(1000)
                    assert (await here.exit_of(client)).result.value["clean"]
                await until(
                    lambda: (
                        sum(mail.topics().count("ws.join") for mail in mails)
                        == sum(mail.topics().count("ws.leave") for mail in mails)
                    )
                )
                for client in (one, two):
                    stays = sum(check_stays(mail, client.pid) for mail in mails)
                    assert stays > TRANSFERS // 5  # else the transfers met no messages
                    each = [numbers_of(mail, client.pid) for mail in mails]
                    assert all(numbers == sorted(numbers) for numbers in each)
                    assert sorted(sum(each, [])) == list(range(MESSAGES))  # noqa: RUF017

    run_on(loop, main())
