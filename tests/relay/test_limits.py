"""How many may be connected: `wsrelay.connections.max` and `wsrelay.connections.per_ip`."""

import asyncio

import pytest
import websockets
from relay_helpers import ANY_ORIGIN, ask, dial, handshake_bytes, spawn_recorder, stage

from wsrelay import App, process, relay_to


@pytest.mark.parametrize(
    ("option", "status"),
    [("wsrelay.connections.max", 503), ("wsrelay.connections.per_ip", 429)],
)
def test_limits_count_and_count_down(run, option, status):
    async def main():
        async with stage(options={**ANY_ORIGIN, option: "2"}) as here:
            async with dial("websockets", here.url) as one, dial("websockets", here.url):
                answer = await ask(here.port, handshake_bytes())
                assert (answer.status, answer.closed) == (status, True)
                assert int(answer["Retry-After"]) > 0
                assert here.calls == 2
                await one.close()
                await here.mail.next("ws.leave")
                async with dial("websockets", here.url):
                    assert (await ask(here.port, handshake_bytes())).status == status
            for _ in range(2):
                await here.mail.next("ws.leave")

    run(main())


def test_per_ip_counts_each_address(run):
    async def somebody_else(request, call_next):
        request.client = (request.headers["X-From"], 1)
        return await call_next(request)

    async def main():
        options = {**ANY_ORIGIN, "wsrelay.connections.per_ip": "1"}
        async with stage(options=options, middleware=[somebody_else]) as here:
            url = here.url
            async with (
                dial("websockets", url, additional_headers={"X-From": "10.0.0.1"}),
                dial("websockets", url, additional_headers={"X-From": "10.0.0.2"}),
            ):
                answer = await ask(here.port, handshake_bytes(X_From="10.0.0.1"))
                assert answer.status == 429

    run(main())


@pytest.mark.parametrize(
    ("option", "status"),
    [("wsrelay.connections.max", 503), ("wsrelay.connections.per_ip", 429)],
)
def test_handshakes_in_a_handler_count(run, option, status):
    """Many clients at once can't pass a limit together, while their handlers wait."""

    async def main():
        inside, go = asyncio.Event(), asyncio.Event()

        async def connect(request, here):
            inside.set()
            await go.wait()
            return relay_to(spawn_recorder(here))

        async with stage(connect, options={**ANY_ORIGIN, option: "1"}) as here:
            first = asyncio.create_task(ask(here.port, handshake_bytes()))
            await inside.wait()
            assert (await ask(here.port, handshake_bytes())).status == status
            go.set()
            assert (await first).status == 101
            assert here.calls == 1

    run(main())


def test_clients_of_a_unix_socket_have_no_address_to_count(run, tmp_path):
    async def main():
        app = App()
        options = {**ANY_ORIGIN, "wsrelay.connections.per_ip": "1"}
        router = app.router("", post_middleware=["websocket_relay"], post_options=options)

        async def silent():
            await asyncio.Event().wait()

        @router.get("/ws")
        def connect(request):
            return relay_to(process.spawn(silent))

        path = str(tmp_path / "s")
        async with (
            app.running(f"unix:{path}"),
            websockets.unix_connect(path, "ws://localhost/ws"),
            websockets.unix_connect(path, "ws://localhost/ws"),
        ):
            assert len(app.processes()) == 4

    run(main())
