"""A handler that answers nonsense, never answers, is cancelled, or leaves a process behind."""

import asyncio
import json
import time

import pytest
from relay_helpers import (
    ANY_ORIGIN,
    ask,
    dial,
    handshake_bytes,
    read_answer,
    spawn_recorder,
    stage,
    until,
    with_header,
)

from wsrelay import Response, process, relay_to
from wsrelay_core import reset_on_close

PLAIN = handshake_bytes(Connection=None, Upgrade=None)


def changed(**attributes):
    """A response whose attributes were set to what they are not."""

    def make():
        response = Response()
        for name, value in attributes.items():
            setattr(response, name, value)
        return response

    return make


def raw_header(name, value):
    def make():
        response = Response()
        response.headers.raw.append((name, value))
        return response

    return make


def deep():
    made = []
    for _ in range(100_000):
        made = [made]
    return made


def ring():
    made = {}
    made["self"] = made
    return made


class NoBody(Response):
    @property
    def body(self):
        raise MemoryError("no room for the body")

    @body.setter
    def body(self, value): ...


async def pieces():
    yield b"piece"


NONSENSE = {
    "int": lambda: 3,
    "bool": lambda: True,
    "object": object,
    "set": lambda: {1},
    "tuple": lambda: (200, "ok"),
    "class": lambda: Response,
    "function": lambda: pieces,
    "generator": lambda: (one for one in "ab"),
    "async generator": pieces,
    "exception": lambda: ValueError("returned, not raised"),
    "dict of what is no JSON": lambda: {"a": object()},
    "dict without end": ring,
    "list too deep": deep,
    "text that is no UTF-8": lambda: "\ud800",
    "status as text": changed(status_code="200"),
    "status of none": changed(status_code=None),
    "status that is none": changed(status_code=99),
    "body as text": changed(body="text"),
    "body as number": changed(body=5),
    "no headers": changed(headers=None),
    "headers as dict": changed(headers={"a": "b"}),
    "header of numbers": raw_header(1, 2),
    "header as text": raw_header("a", "b"),
    "body that fails": NoBody,
}


class Errors:
    """How many failures are in the log since the last look."""

    def __init__(self, caplog):
        self._caplog = caplog

    def __call__(self):
        found = [one for one in self._caplog.records if one.levelname in ("ERROR", "CRITICAL")]
        self._caplog.clear()
        return len(found)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("request_of", ["plain", "handshake"])
def test_nonsense_is_a_500_and_one_line(run, caplog, kind, request_of):
    """The process it had spawned ends, if the client had asked for a WebSocket."""
    kinds = list(NONSENSE.items())

    def connect(request, here):
        spawn_recorder(here)
        return kinds[here.calls - 1][1]() if here.calls <= len(kinds) else "sense"

    async def connect_async(request, here):
        await asyncio.sleep(0)
        return connect(request, here)

    async def main():
        errors = Errors(caplog)
        handshake = request_of == "handshake"
        async with stage(connect if kind == "sync" else connect_async) as here:
            for name, _ in kinds:
                answer = await ask(here.port, handshake_bytes() if handshake else PLAIN)
                assert (answer.status, answer.body) == (500, b"Internal Server Error"), name
                assert errors() == 1, name
                if handshake:
                    await here.until_alone()
            assert len(here.spawned) == len(NONSENSE)
            assert (await ask(here.port, PLAIN)).text == "sense"

    run(main())


WRONG_FIELDS = [
    {"target_pid": 5},
    {"target_pid": ["x"]},
    {"target_pid": None},
    {"message_topic": 5},
    {"message_topic": {"a": 1}},
    {"heartbeat_interval": []},
    {"heartbeat_interval": True},
    {"heartbeat_interval": "soon"},
    {"heartbeat_interval": 1e400},
    {"metadata": 5},
    {"metadata": ["x"]},
    {"subprotocol": 5},
]


@pytest.mark.parametrize("fields", WRONG_FIELDS, ids=repr)
def test_a_wrong_type_in_the_relay_header_is_a_400(run, fields):
    def connect(request, here):
        value = {"target_pid": str(spawn_recorder(here)), **fields}
        # JSON has no infinity; Python's own encoder writes one, as a handler's might.
        return with_header(here, json.dumps(value).encode())

    async def main():
        async with stage(connect) as here:
            answer = await ask(here.port, handshake_bytes())
            assert (answer.status, answer.closed) == (400, True)
            await here.until_alone()

    run(main())


# -- never -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [False, True], ids=["awaits", "ignores its cancel"])
def test_a_stop_with_handlers_that_never_answer(run_both, deaf):
    """They are cancelled within the shutdown timeout; no process and no connection is left."""

    async def main():
        tasks = []

        async def connect(request, here):
            spawn_recorder(here)
            tasks.append(asyncio.current_task())
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not deaf or len(tasks) > 2:
                        raise

        async with stage(connect) as here:
            here.app.services["app:gateway"].shutdown = 0.3
            clients = []
            for data in (PLAIN, handshake_bytes()):
                reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
                writer.write(data)
                clients.append((reader, writer))
            await until(lambda: len(tasks) == 2)
            state = here.server.state
            begin = time.monotonic()
            await here.app.stop()
            assert time.monotonic() - begin < 3
            for reader, writer in clients:
                assert (await reader.read())[:12] in (b"", b"HTTP/1.1 503")
                writer.close()
            await until(lambda: not state.connections)
            tasks.append(None)  # from here on a cancel is obeyed
            for task in tasks[:2]:
                task.cancel()
            await until(lambda: not state.tasks)

    run_both(main())


def test_a_handler_that_never_answers_hangs_for_itself_alone(run_both):
    """It has no timeout of the server's: others are served, and its client may leave."""

    async def main():
        go = asyncio.Event()

        async def connect(request, here):
            if request.path_params or "wait" not in request.query_params:
                return relay_to(spawn_recorder(here))
            await go.wait()
            return "late"

        async with stage(connect) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(PLAIN.replace(b"/ws", b"/ws?wait"))
            async with dial("websockets", here.url) as client:
                await client.send("x")
                await here.mail.next("ws.message")
            go.set()
            answer = await read_answer(reader)
            assert answer.text == "late"
            writer.close()

    run_both(main())


# -- cancelled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "cancels itself", "is cancelled", "its group fails"])
def test_a_cancelled_handler_is_a_503_or_500_and_leaves_nothing(run_both, how):
    async def main():
        started = asyncio.Event()

        async def fails():
            raise RuntimeError("on purpose")

        async def connect(request, here):
            spawn_recorder(here)
            started.set()
            if how == "raises":
                raise asyncio.CancelledError
            if how == "its group fails":
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
                    await asyncio.Event().wait()
            if how == "cancels itself":
                asyncio.current_task().cancel()
            await asyncio.Event().wait()

        options = {**ANY_ORIGIN, "wsrelay.connections.max": "1"}
        async with stage(connect, options=options) as here:
            for data in (handshake_bytes(), handshake_bytes(), PLAIN):
                started.clear()
                asking = asyncio.ensure_future(ask(here.port, data))
                await started.wait()
                if how == "is cancelled":
                    for task in list(here.server.state.tasks):
                        task.cancel()
                answer = await asking
                assert answer.status == (500 if how == "its group fails" else 503)
                if data is not PLAIN:
                    await here.until_alone()
                await until(lambda: not here.server.state.tasks)
            assert len(here.spawned) == 3

    run_both(main())


# -- ends by force ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("too deep"), BaseException("base")]
)
def test_errors_that_are_not_usual(run_both, caplog, error):
    """A 500 and one line, and the others go on."""

    async def main():
        async def connect(request, here):
            if "fail" in request.query_params:
                spawn_recorder(here)
                raise error
            return relay_to(spawn_recorder(here))

        async with stage(connect) as here, dial("websockets", here.url) as client:
            await here.mail.next("ws.join")
            answer = await ask(here.port, handshake_bytes("/ws?fail"))
            assert answer.status == 500
            await until(lambda: len(here.app.processes()) == 2)
            await client.send("x")
            await here.mail.next("ws.message")

    run_both(main())
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1


def test_exit_in_a_handler_is_no_exit_of_anybody(run_both, caplog):
    async def main():
        async with stage(lambda *_: process.exit("bye")) as here:
            for data in (PLAIN, handshake_bytes()):
                assert (await ask(here.port, data)).status == 500
            assert here.app.is_running

    run_both(main())


def test_a_log_that_fails_leaves_no_client_without_an_answer(run_both, monkeypatch):
    def no_log(*_, **__):
        raise OSError(24, "Too many open files")

    async def connect(request, here):
        spawn_recorder(here)
        raise RuntimeError("on purpose")

    async def main():
        monkeypatch.setattr("wsrelay.http.chain.escape", no_log)
        async with stage(connect) as here:
            for data in (PLAIN, handshake_bytes()):
                assert (await ask(here.port, data)).status == 500

    run_both(main())


def test_a_response_that_is_used_again_is_of_its_request_only(run_both):
    """What another request spawned does not end with a client that did not wait."""

    async def main():
        kept, go, asked = Response(), asyncio.Event(), asyncio.Event()

        async def connect(request, here):
            if request.is_handshake:
                spawn_recorder(here)
                return kept
            asked.set()
            await go.wait()
            return kept

        async with stage(connect) as here:
            assert (await ask(here.port, handshake_bytes())).status == 200
            _, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(PLAIN)
            await asked.wait()
            reset_on_close(writer.transport)
            writer.transport.abort()
            await until(lambda: not here.server.state.connections)
            go.set()
            await until(lambda: not here.server.state.tasks)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(here.app.processes()) == 1

    run_both(main())
