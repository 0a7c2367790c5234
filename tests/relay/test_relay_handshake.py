"""The opening handshake: each row of the status table, the order of the checks, the headers."""

import asyncio
import base64
import logging

import orjson
import pytest
from relay_helpers import (
    ANY_ORIGIN,
    ask,
    dial,
    handshake_bytes,
    read_answer,
    spawn_recorder,
    stage,
)

from wsrelay import App, HTTPError, PlainTextResponse, Response, process, relay_to

KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3
PLAIN = {"Connection": None, "Upgrade": None}


def with_header(here, value=None, **fields):
    """A response with the relay's header, built by hand."""
    response = Response()
    if value is None:
        value = orjson.dumps({"target_pid": str(spawn_recorder(here)), **fields})
    response.headers["X-WS-Relay"] = value
    return response


async def refused(here, data, status, **settings):
    """Ask, and check what every refusal of a handshake has in common."""
    answer = await ask(here.port, data, **settings)
    assert answer.status == status, answer
    assert answer.closed
    assert answer.all("x-ws-relay") == []
    return answer


# -- rows of the table -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "x",
        base64.b64encode(b"fifteen bytes..").decode(),
        base64.b64encode(b"seventeen bytes..").decode(),
        KEY[:-2],
        KEY + "=",
        "!" + KEY[1:],
        KEY[:21] + "-==",
        [KEY, KEY],
        f"{KEY}, {KEY}",
    ],
)
def test_key(run, key):
    async def main():
        async with stage() as here:
            await refused(here, handshake_bytes(Sec_WebSocket_Key=key), 400)
            assert here.calls == 0

    run(main())


@pytest.mark.parametrize("version", [None, "", ["13", "13"], "13, 8", ["8", "13"]])
def test_version_missing_or_several(run, version):
    async def main():
        async with stage() as here:
            await refused(here, handshake_bytes(Sec_WebSocket_Version=version), 400)
            assert here.calls == 0

    run(main())


@pytest.mark.parametrize("version", ["8", "14", "013", "13.0", "x"])
def test_version_of_another_time(run, version):
    async def main():
        async with stage() as here:
            answer = await refused(here, handshake_bytes(Sec_WebSocket_Version=version), 426)
            assert answer["Sec-WebSocket-Version"] == "13"
            assert answer["Upgrade"] == "websocket"
            assert answer["Connection"] == "Upgrade, close"
            assert here.calls == 0

    run(main())


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
    ("connection", "upgrade"),
    [
        ("upgrade", "WebSocket"),
        ("keep-alive, UPGRADE", "websocket"),
        (["keep-alive", "Upgrade"], ["h2c", "websocket"]),
        (" ,upgrade,,", "h2c , websocket"),
    ],
)
def test_handshake_tokens_are_lists_in_any_case(run, connection, upgrade):
    async def main():
        async with stage() as here:
            answer = await ask(here.port, handshake_bytes(Connection=connection, Upgrade=upgrade))
            assert answer.status == 101

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
            while not here.server.state.connections:
                await asyncio.sleep(0)
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
        async with stage(options={"wsrelay.connections.max": "1"}) as here:
            async with dial("websockets", here.url):
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


# -- the header ------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [False, True])
def test_the_header_is_text_or_bytes(run, as_text):
    async def main():
        def connect(request, here):
            fields = {"target_pid": str(spawn_recorder(here)), "metadata": {"ü": "한"}}
            value = orjson.dumps(fields)
            return with_header(here, value.decode() if as_text else value)

        async with stage(connect) as here, dial("websockets", here.url):
            assert (await here.mail.next()).payload["metadata"] == {"ü": "한"}

    run(main())


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"s3cret", "X-WS-Relay: not JSON"),
        (b'["s3cret"]', "X-WS-Relay: not a JSON object"),
        (b'{"other": "s3cret"}', "target_pid: missing"),
        (b'{"target_pid": {"a": "s3cret"}}', "target_pid: must be a string"),
        (b'{"target_pid": "x", "message_topic": "@s3cret"}', "message_topic: must not begin"),
        (b'{"target_pid": "x", "metadata": "s3cret"}', "metadata: must be an object"),
        (b'{"target_pid": "{s3cret"}', "target_pid: malformed PID"),
    ],
)
def test_a_bad_header(run, caplog, value, rule):
    """The client reads field and rule; the log has the value, escaped."""

    async def main():
        async with stage(lambda request, here: with_header(here, value)) as here:
            answer = await refused(here, handshake_bytes(), 400)
            assert answer.text.startswith(rule)

    run(main())
    (line,) = [one.getMessage() for one in caplog.records if one.name == "wsrelay.relay"]
    assert rule in line and "s3cret" in line


def test_the_logged_value_is_escaped_and_cut(run, caplog):
    async def main():
        value = b'{"target_pid": 1, "x": "' + "é\u2028".encode() + b"y" * 1000 + b'"}'
        async with stage(lambda request, here: with_header(here, value)) as here:
            await refused(here, handshake_bytes(), 400)

    run(main())
    (line,) = [one.getMessage() for one in caplog.records if one.name == "wsrelay.relay"]
    assert r"\xe9\u2028yyy" in line and len(line) < 400


def test_a_header_of_more_than_64_kib(run):
    async def main():
        def connect(request, here):
            return with_header(here, metadata={"x": "y" * 64 * 1024})

        async with stage(connect) as here:
            answer = await refused(here, handshake_bytes(), 400)
            assert answer.text == "X-WS-Relay: longer than 64 KiB"
            await here.until_alone()

    run(main())


def test_two_headers(run):
    async def main():
        def connect(request, here):
            response = with_header(here)
            response.headers.append("x-ws-relay", response.headers["X-WS-Relay"])
            return response

        async with stage(connect) as here:
            answer = await refused(here, handshake_bytes(), 400)
            assert answer.text == "X-WS-Relay: there must be one"
            await here.until_alone()

    run(main())


def test_a_header_of_the_request_is_ignored(run):
    async def main():
        async with stage(lambda *_: "ordinary") as here:
            target = process.spawn(here.mail.record)
            value = orjson.dumps({"target_pid": target}).decode()
            answer = await refused(here, handshake_bytes(X_WS_Relay=value), 200)
            assert answer.text == "ordinary"
            assert here.connections == []

    run(main())


# -- what the handler may answer -------------------------------------------------------------------


def test_no_header_is_an_ordinary_response(run):
    async def main():
        def connect(request, here):
            spawn_recorder(here)
            return PlainTextResponse("come back later", 403, {"X-Why": "late"})

        async with stage(connect) as here:
            answer = await refused(here, handshake_bytes(), 403)
            assert (answer.text, answer["X-Why"]) == ("come back later", "late")
            assert len(here.app.processes()) == 1  # it answered, nothing failed

    run(main())


@pytest.mark.parametrize(
    ("status", "content"), [(200, "a body"), (201, None), (204, None), (302, None), (403, "no")]
)
def test_a_response_that_is_no_empty_200(run, caplog, status, content):
    async def main():
        def connect(request, here):
            response = with_header(here)
            response.status_code = status
            if content is not None:
                response.body = content.encode()
            return response

        async with stage(connect) as here:
            answer = await refused(here, handshake_bytes(), status)
            assert answer.text == (content or "")
            await here.until_alone()

    run(main())
    (line,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert "X-WS-Relay ignored" in line and "/ws" in line


def test_headers_on_the_101(run):
    async def main():
        def connect(request, here):
            response = relay_to(spawn_recorder(here))
            response.set_cookie("session", "abc")
            response.set_cookie("second", "def")
            response.headers["X-Mine"] = "yes"
            response.headers["Content-Type"] = "text/plain"
            response.headers["Content-Length"] = "5"
            response.headers["Transfer-Encoding"] = "chunked"
            response.headers["Connection"] = "close"
            response.headers["Upgrade"] = "h2c"
            response.headers["Sec-WebSocket-Accept"] = "forged"
            response.headers["Sec-WebSocket-Protocol"] = "forged"
            return response

        async with stage(connect) as here:
            answer = await ask(here.port, handshake_bytes(Sec_WebSocket_Key=KEY))
            assert answer.status == 101
            cookies = [value.partition(";")[0] for value in answer.all("set-cookie")]
            assert cookies == ["session=abc", "second=def"]
            assert answer["X-Mine"] == "yes"
            assert answer["Connection"] == "Upgrade"
            assert answer["Upgrade"] == "websocket"
            assert answer["Sec-WebSocket-Accept"] == ACCEPT
            for name in (
                "content-type",
                "content-length",
                "transfer-encoding",
                "sec-websocket-protocol",
                "sec-websocket-extensions",
                "x-ws-relay",
            ):
                assert answer.all(name) == [], name

    run(main())


def test_the_header_leaves_with_no_response(run):
    """Whoever sets it: a handler that fails, a middleware, on 404, 405, 500 and plain answers."""

    async def marks(request, call_next):
        response = await call_next(request)
        response.headers["X-WS-Relay"] = '{"target_pid": "room"}'
        return response

    async def main():
        def connect(request, here):
            match request.query.get("do"):
                case "fail":
                    raise RuntimeError("on purpose")
                case "refuse":
                    raise HTTPError(409, headers={"X-WS-Relay": "x"})
            return "ordinary"

        async with stage(connect, middleware=[marks]) as here:
            for path, status in [
                ("/ws", 200),
                ("/ws?do=fail", 500),
                ("/ws?do=refuse", 409),
                ("/nowhere", 404),
            ]:
                await refused(here, handshake_bytes(path), status)
                answer = await ask(here.port, handshake_bytes(path, **PLAIN))
                assert answer.all("x-ws-relay") == []
                assert answer.status in (status, 426)

    run(main())


# -- subprotocols ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["websockets", "aiohttp"])
@pytest.mark.parametrize(
    ("named", "server", "offered", "chosen"),
    [
        ("v2", "", ["v1", "v2"], "v2"),
        ("v3", "", ["v1", "v2"], None),
        ("v3", "v2, v1", ["v1", "v2"], "v2"),
        (None, "v2, v1", ["v1", "v2"], "v2"),
        (None, "v3", ["v1"], None),
        ("v1", "v1", [], None),
        (None, "", ["v1"], None),
    ],
)
def test_subprotocol(run, kind, named, server, offered, chosen):
    async def main():
        options = {**ANY_ORIGIN, "wsrelay.subprotocols": server}
        async with stage(options=options, subprotocol=named) as here:
            async with dial(kind, here.url, subprotocols=offered) as client:
                assert client.subprotocol == chosen
                await here.mail.next()
                assert process.info(here.connections[0]).subprotocol == chosen

    run(main())


@pytest.mark.parametrize("value", ["a,,a", "a b", "a, a", '"a"'])
def test_malformed_subprotocols(run, value):
    async def main():
        async with stage() as here:
            await refused(here, handshake_bytes(Sec_WebSocket_Protocol=value), 400)
            assert here.calls == 0

    run(main())


# -- relay_to is sugar -----------------------------------------------------------------------------


def test_relay_to_and_the_header_by_hand_are_one_path(run):
    fields = {
        "message_topic": "chat",
        "heartbeat_interval": "1h",
        "metadata": {"a": [1, None]},
        "subprotocol": "v1",
    }

    async def facts(connect):
        async with stage(connect) as here:
            async with dial("websockets", here.url, subprotocols=["v1"]) as client:
                joined = await here.mail.next()
                await client.send("x")
                message = await here.mail.next()
                payload = dict(message.payload, client_pid=None)
                return joined.payload["metadata"], message.topic, payload, client.subprotocol

    by_hand = run(facts(lambda request, here: with_header(here, **fields)))
    by_sugar = run(facts(lambda request, here: relay_to(spawn_recorder(here), **fields)))
    assert by_hand == by_sugar
