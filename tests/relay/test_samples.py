"""Each sample of the source document, under the name of its section, with two client libraries."""

import asyncio
import sys
from types import SimpleNamespace

import orjson
import pytest
from relay_helpers import ANY_ORIGIN, CLIENTS, Mail, dial, spawn_recorder, stage

from wsrelay import App, Response, process, relay_to

pytestmark = pytest.mark.parametrize("kind", CLIENTS)


async def echo():
    """A target that sends back what it gets."""
    async for message in process.inbox():
        if message.topic == "ws.message":
            kind, data = message.payload["type"], message.payload["data"]
            process.send(message.sender, "ws.send", {"type": kind, "data": data})


def relay_to_echo(request, here):
    pid = process.spawn(echo)
    here.spawned.append(pid)
    return relay_to(pid)


# -- 작동 방식 (how it works) ----------------------------------------------------------------------


def test_how_it_works(run_both, kind):
    """작동 방식: the header upgrades, messages flow both ways, the target's end closes."""

    async def main():
        async with stage(relay_to_echo) as here, dial(kind, here.url) as client:
            assert here.calls == 1
            await client.send("hello")
            assert await client.receive() == "hello"
            await client.send(b"\x00\xff")
            assert await client.receive() == b"\x00\xff"
            process.cancel(here.spawned[0])
            assert await client.closed() == (1000, "target process exited")

    run_both(main())


# -- 프로세스 시맨틱스 (process semantics) ---------------------------------------------------------


def test_process_semantics_monitor(run_both, kind):
    """프로세스 시맨틱스, 모니터링 가능: another process monitors a WebSocket PID, and gets EXIT."""

    async def watcher(websocket_pid, watching, ended):
        process.monitor(websocket_pid)
        watching.set()
        ended.set_result(await process.events().receive())

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            joined = await here.mail.next("ws.join")
            watching, ended = asyncio.Event(), asyncio.get_running_loop().create_future()
            process.spawn(watcher, None, joined.payload["client_pid"], watching, ended)
            await watching.wait()
            await client.close(1000, "done")
            event = await ended
            assert (event.kind, event.sender, event.reason) == ("EXIT", joined.sender, "normal")
            assert event.result.value["cause"] == "client_close"

    run_both(main())


def test_process_semantics_send(run_both, kind):
    """프로세스 시맨틱스, 주소 지정 가능: any process sends to the client, not only the target."""

    async def stranger(websocket_pid):
        assert process.send(websocket_pid, "ws.send", {"type": "text", "data": "hello"})

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            joined = await here.mail.next("ws.join")
            process.spawn(stranger, None, joined.sender)
            assert await client.receive() == "hello"

    run_both(main())


def test_process_semantics_link(run_both, kind):
    """프로세스 시맨틱스, 연결 가능: a linked process that fails takes the connection down."""

    async def fragile(websocket_pid):
        process.link(websocket_pid)
        raise RuntimeError("on purpose")

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            joined = await here.mail.next("ws.join")
            process.spawn(fragile, None, joined.sender)
            assert await client.closed() == (1011, "linked process failed")
            assert (await here.mail.next("ws.leave")).payload["reason"] == "link_failed"

    run_both(main())


def test_process_semantics_name(run_both, kind):
    """프로세스 시맨틱스: a connection is registrable, and addressable by its name then."""

    async def main():
        async with stage() as here:
            async with dial(kind, here.url) as client:
                joined = await here.mail.next("ws.join")
                process.register("the client", joined.sender)
                assert process.send("the client", "ws.send", {"type": "text", "data": "named"})
                assert await client.receive() == "named"
                await client.close()
            await here.mail.next("ws.leave")
            assert process.lookup("the client") is None

    run_both(main())


def test_process_semantics_target_exits(run, kind):
    """프로세스 시맨틱스, tip: the relay monitors the target; the client gets a close frame."""

    async def fails(go):
        await go.wait()
        raise RuntimeError("on purpose")

    async def main():
        go = asyncio.Event()
        async with (
            stage(lambda *_: relay_to(process.spawn(fails, None, go))) as here,
            dial(kind, here.url) as client,
        ):
            go.set()
            assert await client.closed() == (1011, "target process failed")

    run(main())


# -- 연결 전송 (connection transfer) ---------------------------------------------------------------


def test_connection_transfer(run_both, kind):
    """연결 전송: `ws.control` moves a live connection to another process."""

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            joined = await here.mail.next("ws.join")
            elsewhere = Mail()
            new_process_pid = process.spawn(elsewhere.record)
            control = {"target_pid": new_process_pid, "message_topic": "ws.message"}
            assert process.send(joined.sender, "ws.control", control)
            assert (await here.mail.next("ws.leave")).payload["reason"] == "transferred"
            assert (await elsewhere.next()).topic == "ws.join"
            await client.send("over there")
            message = await elsewhere.next()
            assert (message.topic, message.payload["data"]) == ("ws.message", "over there")
            assert len(here.mail) == 0

    run_both(main())


# -- 설정 (configuration) --------------------------------------------------------------------------


def test_configuration(run, kind):
    """설정: the relay behind the match of a router with a prefix, with allowed origins."""

    async def main():
        app = App()
        app.service("gateway")
        router = app.router(
            "/ws",
            server="gateway",
            post_middleware=["websocket_relay"],
            post_options={"wsrelay.allowed.origins": "https://app.example.com"},
        )

        @router.get("/echo")
        def connect(request):
            return relay_to(process.spawn(echo))

        async with (
            app.running() as server,
            dial(kind, f"ws://127.0.0.1:{server.port}/ws/echo") as client,
        ):
            await client.send("configured")
            assert await client.receive() == "configured"

    run(main())


# -- 핸들러 설정 (handler settings) ----------------------------------------------------------------


def test_handler_settings(run_both, kind, monkeypatch):
    """핸들러 설정: the handler spawns by import path and sets the header as JSON."""
    mail = Mail()
    monkeypatch.setitem(sys.modules, "app.ws", SimpleNamespace(handler=mail.record))

    async def connect(request, here):
        pid = process.spawn("app.ws:handler", "app:processes")
        response = Response()
        response.headers["X-WS-Relay"] = orjson.dumps(
            {
                "target_pid": str(pid),
                "message_topic": "ws.message",
                "heartbeat_interval": "30s",
                "metadata": {"user_id": request.query.get("user_id")},
            }
        )
        return response

    async def main():
        async with stage(connect) as here, dial(kind, here.url + "?user_id=42") as client:
            joined = await mail.next()
            assert joined.payload == {
                "client_pid": joined.sender,
                "metadata": {"user_id": "42"},
            }
            assert "X-WS-Relay" not in client.headers

    run_both(main())


def test_relay_fields(run, kind):
    """릴레이 설정 필드: a topic of the handler's own, heartbeats, and metadata on all messages."""

    async def main():
        fields = {
            "message_topic": "chat.line",
            "heartbeat_interval": "20ms",
            "metadata": {"room": "lobby"},
        }
        async with stage(**fields) as here, dial(kind, here.url) as client:
            assert (await here.mail.next("ws.join")).payload["metadata"] == {"room": "lobby"}
            await client.send("hello")
            message = await here.mail.next("chat.line")
            assert (message.payload["data"], message.payload["metadata"]) == (
                "hello",
                {"room": "lobby"},
            )
            beat = await here.mail.next("ws.heartbeat")
            assert beat.payload["metadata"] == {"room": "lobby"}

    run(main())


# -- 메시지 토픽 (message topics) ------------------------------------------------------------------


def test_message_topics(run, kind):
    """메시지 토픽: what the target gets when, and what is in it."""

    async def main():
        async with stage(heartbeat_interval="30ms", metadata={"n": 1}) as here:
            async with dial(kind, here.url) as client:
                joined = await here.mail.next()
                assert joined.topic == "ws.join"
                assert set(joined.payload) == {"client_pid", "metadata"}
                await client.send("x")
                message = await here.mail.next("ws.message")
                assert set(message.payload) == {"client_pid", "type", "data", "metadata"}
                beat = await here.mail.next("ws.heartbeat")
                assert {"client_pid", "uptime", "message_count"} <= set(beat.payload)
                await client.close()
            left = await here.mail.next("ws.leave")
            assert {"client_pid", "reason", "metadata"} <= set(left.payload)
            assert {each.payload["client_pid"] for each in (joined, message, beat, left)} == {
                joined.sender
            }

    run(main())


# -- 메시지 수신 (receiving messages) --------------------------------------------------------------


def test_receiving(run_both, kind):
    """메시지 수신: a loop over the inbox that tells the topics apart."""

    async def handler(clients, log):
        async for message in process.inbox():
            match message.topic:
                case "ws.join":
                    clients[message.payload["client_pid"]] = True
                case "ws.message":
                    log.put_nowait(
                        (message.payload["client_pid"], orjson.loads(message.payload["data"]))
                    )
                case "ws.leave":
                    clients.pop(message.payload["client_pid"], None)
                    log.put_nowait("left")

    async def main():
        clients, log = {}, asyncio.Queue()
        async with stage(lambda *_: relay_to(process.spawn(handler, None, clients, log))) as here:
            async with dial(kind, here.url) as client:
                await client.send('{"event": "move", "x": 3}')
                pid, content = await log.get()
                assert content == {"event": "move", "x": 3}
                assert list(clients) == [pid]
                await client.close()
            assert await log.get() == "left"
            assert clients == {}

    run_both(main())


# -- 클라이언트로 전송 (sending to the client) -----------------------------------------------------


def test_sending_text(run, kind):
    """클라이언트로 전송, 텍스트 메시지."""

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            client_pid = (await here.mail.next()).payload["client_pid"]
            data = orjson.dumps({"event": "update", "value": 42})
            process.send(client_pid, "ws.send", {"type": "text", "data": data})
            assert await client.receive() == '{"event":"update","value":42}'

    run(main())


def test_sending_binary(run, kind):
    """클라이언트로 전송, 바이너리."""

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            client_pid = (await here.mail.next()).payload["client_pid"]
            process.send(client_pid, "ws.send", {"type": "binary", "data": bytes(range(256))})
            assert await client.receive() == bytes(range(256))

    run(main())


def test_sending_close(run, kind):
    """클라이언트로 전송, 연결 종료: the process ends the connection with a code and a reason."""

    async def main():
        async with stage() as here, dial(kind, here.url) as client:
            client_pid = (await here.mail.next()).payload["client_pid"]
            process.send(client_pid, "ws.close", {"code": 1000, "reason": "Session ended"})
            assert await client.closed() == (1000, "Session ended")
            left = (await here.mail.next("ws.leave")).payload
            assert (left["reason"], left["code"], left["clean"]) == (
                "closed_by_process",
                1000,
                True,
            )

    run(main())


# -- 브로드캐스팅 (broadcasting) -------------------------------------------------------------------


async def room(clients):
    """The document's loop: tracks the clients, and sends to all of them, one by one."""
    async for message in process.inbox():
        match message.topic:
            case "ws.join":
                clients[message.payload["client_pid"]] = True
            case "ws.leave":
                clients.pop(message.payload["client_pid"], None)
            case "ws.message":
                for pid in clients:
                    line = {"type": "text", "data": message.payload["data"]}
                    process.send(pid, "ws.send", line)


@pytest.mark.parametrize("by_one_call", [False, True])
def test_broadcasting(run, kind, by_one_call):
    """브로드캐스팅: clients tracked by PID, one line to all, by a loop and by `broadcast`."""

    async def main():
        clients, pid = {}, None

        def connect(request, here):
            nonlocal pid
            pid = pid or process.spawn(room, None, clients)
            return relay_to(pid)

        async with (
            stage(connect) as here,
            dial(kind, here.url) as one,
            dial(kind, here.url) as two,
            dial(kind, here.url) as three,
        ):
            if by_one_call:
                line = {"type": "text", "data": "to all"}
                assert process.broadcast(clients, "ws.send", line) == 3
            else:
                await one.send("to all")
            for client in (one, two, three):
                assert await client.receive() == "to all"
            await two.close()

    run(main())


# -- what the samples rest on ----------------------------------------------------------------------


def test_one_target_for_many_clients(run, kind):
    """A manager process that many connections share tells its clients apart."""

    async def main():
        shared = None

        def connect(request, here):
            nonlocal shared
            shared = shared or spawn_recorder(here)
            return relay_to(shared, metadata={"name": request.query["name"]})

        async with (
            stage(connect, options=ANY_ORIGIN) as here,
            dial(kind, here.url + "?name=ann") as ann,
            dial(kind, here.url + "?name=bob") as bob,
        ):
            joins = [await here.mail.next("ws.join") for _ in range(2)]
            pids = {join.payload["metadata"]["name"]: join.sender for join in joins}
            await bob.send("from bob")
            message = await here.mail.next("ws.message")
            assert message.sender == pids["bob"]
            process.send(pids["ann"], "ws.send", {"type": "text", "data": "to ann"})
            assert await ann.receive() == "to ann"

    run(main())
