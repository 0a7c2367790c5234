"""The relay's header, and what goes out with a 101 or instead of one."""

import logging
from functools import partial

import orjson
import pytest
from relay_helpers import (
    ANY_ORIGIN,
    CLIENTS,
    ask,
    dial,
    handshake_bytes,
    refused,
    spawn_recorder,
    stage,
    with_header,
)

from wsrelay import HTTPError, PlainTextResponse, process, relay_to
from wsrelay.log import Limited

KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3
PLAIN = {"Connection": None, "Upgrade": None}


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


def test_a_target_that_is_not_there_is_logged(run, caplog):
    """What is wrong with the handler's name or PID is not for the client to read."""

    async def main():
        value = b'{"target_pid": "nobody\\u0007"}'
        async with stage(lambda request, here: with_header(here, value)) as here:
            answer = await refused(here, handshake_bytes(), 503)
            assert answer.text == "The target is not there"

    run(main())
    (line,) = [one.getMessage() for one in caplog.records if one.name == "wsrelay.relay"]
    assert "X-WS-Relay: target_pid: no such process in" in line and "nobody" in line


@pytest.mark.parametrize("status", [200, 403])
def test_a_flood_of_bad_headers_is_a_few_lines(run, caplog, monkeypatch, status):
    """Each handshake of a client can cause one."""
    monkeypatch.setattr("wsrelay.relay.Limited", partial(Limited, clock=lambda: 1000.0))

    def connect(request, here):
        response = with_header(here, b"s3cret")
        response.status_code = status
        return response

    async def main():
        async with stage(connect) as here:
            for _ in range(8):
                await refused(here, handshake_bytes(), 400 if status == 200 else status)

    run(main())
    assert len([one for one in caplog.records if one.name == "wsrelay.relay"]) == 5


@pytest.mark.parametrize(("value", "status"), [(b"{}", 400), (b'{"target_pid": "x"}', 404)])
def test_a_flood_of_bad_answers_is_a_few_lines(run, caplog, value, status):
    async def main():
        def connect(request, here):
            response = with_header(here, value)
            response.status_code = 200 if status == 400 else status
            return response

        async with stage(connect) as here:
            for _ in range(50):
                await refused(here, handshake_bytes(), status)

    run(main())
    lines = [one for one in caplog.records if one.name == "wsrelay.relay"]
    assert 0 < len(lines) <= 20


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


@pytest.mark.parametrize("kind", CLIENTS)
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
        async with (
            stage(options=options, subprotocol=named) as here,
            dial(kind, here.url, subprotocols=offered) as client,
        ):
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
        async with (
            stage(connect) as here,
            dial("websockets", here.url, subprotocols=["v1"]) as client,
        ):
            joined = await here.mail.next()
            await client.send("x")
            message = await here.mail.next()
            payload = dict(message.payload, client_pid=None)
            return joined.payload["metadata"], message.topic, payload, client.subprotocol

    by_hand = run(facts(lambda request, here: with_header(here, **fields)))
    by_sugar = run(facts(lambda request, here: relay_to(spawn_recorder(here), **fields)))
    assert by_hand == by_sugar
