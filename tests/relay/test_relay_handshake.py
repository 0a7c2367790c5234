"""The opening handshake: rows of the status table, and the order of the checks.

Keys, versions and tokens: `tests/attacks/test_handshake_tokens.py`.
"""

import asyncio

import pytest
from relay_helpers import (
    ANY_ORIGIN,
    ask,
    dial,
    handshake_bytes,
    read_answer,
    refused,
    spawn_recorder,
    stage,
    until,
    with_header,
)

from wsrelay import App, process, relay_to

# -- rows of the table -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": None, "Upgrade": None},
        {"Connection": "keep-alive"},
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Upgrade": "xwebsocket"},
        {"Connection": "notupgrade"},
    ],
)
def test_a_plain_request_whose_handler_set_the_header(run, method, changes):
    async def main():
        async with stage() as here:
            data = handshake_bytes(method=method, **changes)
            answer = await ask(here.port, data, head=method == "HEAD")
            assert answer.status == 426
            assert answer["Upgrade"] == "websocket"
            assert answer["Connection"] == "Upgrade"
            assert answer.all("x-ws-relay") == []
            assert here.calls == 1
            await here.until_alone()

    run(main())


def test_a_handshake_of_http_1_0_is_plain(run):
    async def main():
        async with stage() as here:
            answer = await ask(here.port, handshake_bytes(version="1.0"))
            assert answer.status == 426
            await here.until_alone()

    run(main())


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {"Origin": "https://evil.example"}),
        ({}, {"Origin": "null"}),
        ({}, {"Origin": ["http://127.0.0.1", "http://127.0.0.1"]}),
        ({"wsrelay.allowed.origins": "app.example.com"}, {"Origin": "https://x.example.com"}),
        ({"wsrelay.require.origin": "true"}, {}),
        ({"wsrelay.require.origin": "true", **ANY_ORIGIN}, {}),
    ],
)
def test_origin_refused_before_the_handler(run, options, changes):
    async def main():
        async with stage(options=options) as here:
            await refused(here, handshake_bytes(**changes), 403)
            assert here.calls == 0

    run(main())


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({}, {"Origin": "http://127.0.0.1"}),
        ({}, {"Origin": "https://APP.example:8443", "Host": "app.example:8443"}),
        ({"wsrelay.allowed.origins": "https://*.example.com"}, {"Origin": "https://a.example.com"}),
        ({"wsrelay.allowed.origins": "a.example, b.example"}, {"Origin": "https://b.example"}),
        (ANY_ORIGIN, {"Origin": "null"}),
        ({"wsrelay.require.origin": "true"}, {"Origin": "http://127.0.0.1"}),
    ],
)
def test_origin_allowed(run, options, changes):
    async def main():
        async with stage(options=options) as here:
            assert (await ask(here.port, handshake_bytes(**changes))).status == 101

    run(main())


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("{app:processes|0x0}", 503),
        ("{elsewhere@app:processes|0x1}", 503),
        ("nobody", 503),
        ("{app:processes", 400),
        ("app:processes|0x1}", 400),
        ("{app:processes}", 400),
        ("{|}", 400),
    ],
)
def test_targets_that_are_not_there(run, target, status):
    async def main():
        def connect(request, here):
            spawn_recorder(here)
            return relay_to(target)

        async with stage(connect) as here:
            answer = await refused(here, handshake_bytes(), status)
            assert target not in answer.text
            assert here.calls == 1
            await here.until_alone()

    run(main())


def test_a_malformed_pid_is_named_as_the_field(run):
    async def main():
        async with stage(lambda *_: relay_to("{s3cret")) as here:
            assert (await ask(here.port, handshake_bytes())).text == "target_pid: malformed PID"

    run(main())


def test_a_dead_target(run):
    async def main():
        async def connect(request, here):
            dead = process.spawn(here.mail.record)
            process.terminate(dead)
            await process.wait(dead)
            return relay_to(dead)

        async with stage(connect) as here:
            await refused(here, handshake_bytes(), 503)

    run(main())


def test_a_websocket_as_target(run):
    async def main():
        def connect(request, here):
            if here.calls == 1:
                return relay_to(spawn_recorder(here))
            return relay_to(here.connections[0])

        async with stage(connect) as here, dial("websockets", here.url):
            answer = await refused(here, handshake_bytes(), 400)
            assert answer.text == "target_pid: must not be a WebSocket connection"

    run(main())


def test_a_name_as_target(run):
    async def main():
        def connect(request, here):
            return relay_to(process.lookup("room") and "room")

        async with stage(connect) as here:
            process.spawn(here.mail.record, name="room")
            async with dial("websockets", here.url):
                assert (await here.mail.next()).topic == "ws.join"

    run(main())


def test_a_name_is_resolved_once(run):
    async def main():
        async with stage(lambda *_: relay_to("room")) as here:
            process.spawn(here.mail.record, name="room")
            async with dial("websockets", here.url) as client:
                process.unregister("room")
                await client.send("still there")
                assert (await here.mail.next("ws.message")).payload["data"] == "still there"

    run(main())


def test_another_method(run):
    async def main():
        async with stage() as here:
            answer = await refused(here, handshake_bytes(method="DELETE"), 405)
            assert "GET" in answer["Allow"]
            assert here.calls == 0

    run(main())


def test_a_handshake_that_posts(run):
    """A relayed route of another method refuses a handshake, which is a GET."""

    async def main():
        app = App()
        router = app.router("", post_middleware=["websocket_relay"], post_options=ANY_ORIGIN)
        called = []

        @router.post("/ws")
        def connect(request):
            called.append(request)

        async with app.running() as server:
            answer = await ask(server.port, handshake_bytes(method="POST", Content_Length="0"))
            assert (answer.status, answer["Allow"], answer.closed) == (405, "GET", True)
            assert called == []

    run(main())


@pytest.mark.parametrize(
    ("changes", "body"),
    [({"Content-Length": "2"}, b"hi"), ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")],
)
def test_a_body(run, changes, body):
    async def main():
        async with stage() as here:
            await refused(here, handshake_bytes(body=body, **changes), 400)
            assert here.calls == 0

    run(main())


def test_draining(run):
    """A handshake under way when the server begins to stop."""

    async def main():
        async with stage() as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            half = handshake_bytes()
            writer.write(half[:30])
            await until(lambda: here.server.state.connections)
            async with dial("websockets", here.url):
                await here.mail.next()
                here.server.state.drain()
                writer.write(half[30:])
                answer = await read_answer(reader)
                assert (answer.status, answer.closed) == (503, True)
                assert int(answer["Retry-After"]) > 0
                assert here.calls == 1
            writer.close()
            await writer.wait_closed()

    run(main())


# -- the order of the checks -----------------------------------------------------------------------

# Each is wrong in one more way than the one behind it.
WRONGS = [
    (400, {"Content-Length": "2"}),
    (426, {"Sec-WebSocket-Version": "8"}),
    (400, {"Sec-WebSocket-Key": "short"}),
    (403, {"Origin": "https://evil.example"}),
    (503, {}),
]


@pytest.mark.parametrize("first", range(len(WRONGS)))
def test_order_of_checks(run, first):
    """Body, version, key, origin, limits; none of them costs a call of the handler."""
    status, _ = WRONGS[first]
    changes = {name: value for _, fields in WRONGS[first:] for name, value in fields.items()}
    body = b"hi" if "Content-Length" in changes else b""

    async def main():
        async with (
            stage(options={"wsrelay.connections.max": "1"}) as here,
            dial("websockets", here.url),
        ):
            answer = await refused(here, handshake_bytes(body=body, **changes), status)
            if first == 2:
                assert "Sec-WebSocket-Key" in answer.text
            assert here.calls == 1

    run(main())


def test_the_header_is_read_before_the_target_is_resolved(run):
    async def main():
        value = b'{"target_pid": "nobody", "metadata": 1}'
        async with stage(lambda request, here: with_header(here, value)) as here:
            await refused(here, handshake_bytes(), 400)

    run(main())
