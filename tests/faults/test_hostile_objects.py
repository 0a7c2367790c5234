"""Objects of the application that fail when they are touched: as payload, topic, name, reason.

What they raise reaches at most the one who passed them; clients and other processes go on.
"""

import asyncio
import enum
import logging

import pytest
from relay_helpers import Mail, dial, stage, until
from support import both_loops, room, run_on

from wsrelay import process
from wsrelay.errors import NoProcess, WSRelayError
from wsrelay_core._errors import ProcessExit

# What a method of an object may raise; the first is what a machine without memory does.
ERRORS = [MemoryError, RecursionError]


def hostile(base, error, *names):
    """A class whose methods of these names raise."""

    def fails(self, *_, **__):
        raise error("touched")

    return type("Hostile", (base,), dict.fromkeys(names, fails))


ALL = (
    "__repr__",
    "__str__",
    "__eq__",
    "__hash__",
    "__bool__",
    "__len__",
    "__iter__",
    "__getitem__",
    "__contains__",
    "__format__",
)


def payloads(error):
    """Payloads whose encoding fails; none is a frame."""
    value = hostile(object, error, *ALL)()
    mapping = hostile(dict, error, "get", "items", "keys", "__iter__", "__getitem__", *ALL)
    key = hostile(bytes, error, "__bytes__", "__len__", "__buffer__", "__repr__", "__str__")
    return {
        "the payload": value,
        "a dict": mapping(type="text", data="x"),
        "its data": {"data": value},
        "in its data": {"data": {"a": [value]}},
        "a key in its data": {"data": {key(b"k"): 1}},
        "its type": {"type": value, "data": "x"},
        "a deep one": {"data": deep()},
    }


def deep():
    made = []
    for _ in range(50_000):
        made = [made]
    return made


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@both_loops
def test_payloads_towards_a_client(loop, error, caplog):
    """Each is dropped, counted and told; the client gets what comes before and behind it."""

    async def main():
        async with room() as here, here.client() as client:
            before = process.info(client.pid).dropped
            bad = payloads(error)
            for number, payload in enumerate(bad.values()):
                assert process.send(client.pid, "ws.send", payload)
                assert process.send(client.pid, "ws.send", {"data": str(number)})
            assert await client.texts(len(bad)) == [str(number) for number in range(len(bad))]
            assert process.info(client.pid).dropped - before == len(bad)
            value = bad["the payload"]
            others = [("news", value), ("news", {"a": value}), ("ws.close", value)]
            others += [("ws.control", value), ("ws.other", value)]
            for topic, payload in others:
                assert process.send(client.pid, topic, payload)
            assert process.broadcast([client.pid], "news", value) == 1
            assert process.send(client.pid, "ws.send", value, {"data": "last"}, value)
            assert await client.texts(1) == ["last"]
            assert here.mail.topics() == ["ws.join"]

    caplog.set_level(logging.WARNING)
    run_on(loop, main())
    assert all(
        "dropped" in one.getMessage()
        or "refused" in one.getMessage()
        or "left out" in one.getMessage()
        for one in caplog.records
    )
    assert 0 < len(caplog.records) <= 10


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_payloads_between_processes(run_both, error):
    """A process gets them as they are; nobody on the way touches them."""

    async def main():
        mail = Mail()
        async with stage() as here:
            pid = process.spawn(mail.record)
            value = hostile(object, error, *ALL)()
            for payload in (value, {"a": value}, (value,)):
                assert process.send(pid, "t", payload)
                message = await mail.next()
                assert message.payload is payload
                assert "t" in repr(message) and "t" in str(message)
            assert process.broadcast([pid, pid], "t", value) == 2
            timer = process.send_after(0.0, pid, "later", value)
            assert (await mail.next("later")).payload is value and not timer.cancel()

            async def answers():
                message = await process.receive()
                message.reply(message.payload)
                return value

            answering = process.spawn(answers)
            ended = asyncio.ensure_future(process.wait(answering))
            await asyncio.sleep(0)
            assert await process.call(answering, "t", value) is value
            event = await ended
            assert event.result.value is value and "EXIT" in repr(event) and repr(event.result)
            assert here.app.processes()

    run_both(main())


class Turncoat(str):
    """A text that is harmless until it is let loose."""

    loose: type[Exception] | None = None

    def _turn(self):
        if Turncoat.loose is not None:
            raise Turncoat.loose("touched")

    def __eq__(self, other):
        self._turn()
        return str.__eq__(self, other)

    def __hash__(self):
        self._turn()
        return str.__hash__(self)

    def __str__(self):
        self._turn()
        return str.__str__(self)

    def __repr__(self):
        self._turn()
        return str.__repr__(self)

    def __format__(self, spec):
        self._turn()
        return str.__format__(self, spec)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_texts_that_turn(run_both, monkeypatch, error):
    """Topics, names, reasons and PIDs of a class of the application's own: only their text is kept,
    so what they do later harms nobody who uses the same text."""

    async def main():
        mail = Mail()
        async with stage() as here, dial("websockets", here.url) as client:
            connection = (await here.mail.next("ws.join")).sender
            pid = process.spawn(mail.record, name=Turncoat("own"))
            process.register(Turncoat("name"), pid)
            process.send(pid, Turncoat("topic"), 1)
            timer = process.send_after(60, Turncoat("name"), Turncoat("later"))

            async def leaves():
                await process.receive()
                process.exit(Turncoat("reason"))

            async def listens():
                box = process.listen(Turncoat("news"))
                mail.put(await box.receive())

            leaving, listening = process.spawn(leaves), process.spawn(listens)
            ended = asyncio.ensure_future(process.wait(Turncoat(leaving)))
            await asyncio.sleep(0)
            process.send(connection, Turncoat("news"), "x")
            process.send(Turncoat(leaving), "go")
            assert await client.receive() == '{"topic":"news","data":"x"}'
            event = await ended
            monkeypatch.setattr(Turncoat, "loose", error)

            assert event.reason == "reason" and "reason" in repr(event)
            message = await mail.next()
            assert message.topic == "topic" and "topic" in repr(message)
            assert process.lookup("name") == process.lookup("own") == pid
            assert process.send("name", "t") and process.send(listening, "news")
            assert (await mail.next()).topic == "t"
            assert (await mail.next()).topic == "news"
            assert process.info("name").names == ("own", "name")
            assert "name" in str(here.app.processes())
            assert timer.cancel()
            process.unregister("name")
            process.cancel(pid)
            await until(lambda: process.lookup("own") is None)

    run_both(main())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_texts_that_fail(run_both, error):
    """What such a text raises, if anything, is its caller's, and is all that happens."""
    Text = hostile(str, error, "__str__", "__repr__", "__eq__", "__hash__", "__format__")

    async def main():
        mail = Mail()
        async with stage() as here, dial("websockets", here.url) as client:
            connection = (await here.mail.next("ws.join")).sender
            pid = process.spawn(mail.record)

            async def leaves():
                process.exit(Text("own"))

            calls = [
                lambda: process.send(pid, Text("topic"), 1),
                lambda: process.send(Text("nobody"), "t"),
                lambda: process.send(connection, Text("news"), "x"),
                lambda: process.send(connection, "ws.send", {"data": Text("text")}),
                lambda: process.send(connection, "ws.send", {"type": Text("text"), "data": ""}),
                lambda: process.send(connection, "ws.send", {"data": {Text("key"): 1}}),
                lambda: process.register(Text("name"), pid),
                lambda: process.lookup(Text("name")),
                lambda: process.monitor(Text("nobody")),
                lambda: process.spawn(leaves),
                lambda: process.spawn(Text("no.such:thing")),
                lambda: process.cancel(pid, Text("reason")),
                lambda: process.send(connection, "ws.close", {"reason": Text("bye")}),
            ]
            for call in calls:
                try:
                    call()
                except Exception as failure:
                    assert isinstance(failure, error | WSRelayError), failure
            assert await client.closed() == (1000, "bye")
            await until(lambda: len(here.app.processes()) == 1)  # the one whose client left

    run_both(main())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_what_is_no_text_raises_for_its_caller_alone(run_both, error):
    """Where a text is asked for, the caller reads what is wrong, whatever the object does."""
    value = hostile(object, error, *ALL)()

    async def main():
        async with stage() as here, dial("websockets", here.url) as client:
            connection = (await here.mail.next("ws.join")).sender
            calls = [
                lambda: process.send(connection, value, 1),
                lambda: process.send(value, "t"),
                lambda: process.broadcast([connection, value], "t"),
                lambda: process.monitor(value),
                lambda: process.register(value, here.spawned[0]),
                lambda: process.lookup(value),
                lambda: process.spawn(value),
                lambda: process.send_after(value, connection, "t"),
                lambda: process.exit(value),
            ]

            async def calls_all():
                for call in calls:
                    with pytest.raises((TypeError, ValueError, error)):
                        call()
                return True

            assert await process.exec(calls_all)
            await client.send("on")
            await here.mail.next("ws.message")

    run_both(main())


class Loud(Exception):
    """Each text of it fails."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    def __str__(self):
        raise self._error("no text")

    __repr__ = __str__

    def __eq__(self, other):
        raise self._error("compared")

    def __hash__(self):
        raise self._error("hashed")


def recursion():
    return recursion()


def no_memory():
    return bytes(2**62)


FAULTS = {
    "memory": (no_memory, MemoryError),
    "recursion": (recursion, RecursionError),
    "an error without text": (lambda: raises(Loud(MemoryError)), Loud),
    "an error whose text orders": (lambda: raises(Loud(SystemExit)), Loud),
}


def raises(error):
    raise error


@pytest.mark.parametrize("fault", FAULTS)
@both_loops
def test_a_process_that_fails_so(loop, fault, caplog):
    """One EXIT for each monitor, one line with PID and entry; others and their clients go on."""
    call, kind = FAULTS[fault]

    async def faulty():
        async for message in process.inbox():
            if message.topic == "ws.message":
                call()

    async def watches(pid, mail, exits):
        refs = {process.monitor(pid), process.monitor(pid)}
        async for event in process.events():
            if event.kind == "CANCEL":
                return
            refs.remove(event.ref)
            exits.append((event.reason, type(event.result.error)))

    async def main():
        async with room() as here, here.client() as other:
            here.target = here.spawn(faulty)
            async with here.client() as client:
                exits = []
                process.spawn(watches, None, here.target, here.mail, exits)
                await until(lambda: process.info(here.target).monitored_by)
                client.send("fail")
                assert (await client.rest())[-1][1] == (1011, "target process failed")
                await until(lambda: len(exits) == 2)
                assert exits == [("error", kind)] * 2
                other.send("on")
                await here.mail.until_topic("ws.message")
                with pytest.raises(NoProcess):
                    process.info(here.target)

    caplog.set_level(logging.INFO, "wsrelay.process")
    run_on(loop, main())
    (line,) = [one.getMessage() for one in caplog.records if one.name == "wsrelay.process"]
    assert "{app:processes|0x" in line and "faulty" in line and kind.__name__ in line


@both_loops
def test_metadata_that_fails(loop):
    """It travels by reference; the connection does not look into it."""

    async def main():
        async with room() as here, here.client() as client:
            metadata = hostile(dict, MemoryError, *ALL)(user=7)
            other, mail = here.keeper()
            answers = []

            async def asks():
                process.send(client.pid, "ws.control", {"target_pid": other, "metadata": metadata})
                answers.append(await process.receive())

            process.spawn(asks)
            client.send("x")
            await until(lambda: mail.all or answers)
            if mail.all:
                assert mail.all[0].payload["metadata"] is metadata
            else:
                assert answers[0].topic == "ws.control.error"
            process.send(client.pid, "ws.close", 4000)
            assert (await client.rest())[-1][1] == (4000, "")

    run_on(loop, main())


class Word(str, enum.Enum):  # noqa: UP042 - its str() is its name, a StrEnum's its value
    DONE = "done"


@pytest.mark.parametrize("reason", [Word.DONE, 5, None, ""], ids=repr)
def test_an_exit_with_any_reason_is_an_exit(run_both, reason):
    """Also one that was made by hand, past the check of `wsrelay.exit`."""

    async def leaves():
        await process.receive()
        error = ProcessExit("x")
        error.reason = reason
        raise error

    async def main():
        async with stage():
            pid = process.spawn(leaves)
            ended = asyncio.ensure_future(process.wait(pid, timeout=2))
            await asyncio.sleep(0)
            process.send(pid, "go")
            assert (await ended).reason == ("done" if reason is Word.DONE else "error")

    run_both(main())


def test_a_cancel_with_a_word_of_an_enum(run_both):
    """Its text travels, to whoever is asked to end."""

    async def told(seen):
        seen.append((await process.events().receive()).reason)

    async def main():
        seen = []
        async with stage() as here, dial("websockets", here.url) as client:
            connection = (await here.mail.next("ws.join")).sender
            pid = process.spawn(told, None, seen)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert process.cancel(pid, Word.DONE) and process.cancel(connection, Word.DONE)
            assert await client.closed() == (1001, "done")
            await until(lambda: seen == ["done"])
            with pytest.raises(TypeError):
                process.cancel(here.spawned[0], 5)

    run_both(main())
