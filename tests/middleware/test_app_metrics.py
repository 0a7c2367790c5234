"""What the page of `metrics` tells of an App: connections, processes, messages, ends."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as families
from websockets.asyncio.client import connect

from wsrelay import App, Request, Router, process, relay_to
from wsrelay.http import Dispatcher
from wsrelay.middleware.metrics import Metrics
from wsrelay.relay_tally import Tally


def echoing():
    """An app whose clients hear what they say, and close with 4001 on `bye`."""
    app = App()
    app.service("web")
    app.service("inner")

    async def echo():
        async for msg in process.inbox():
            if msg.topic == "ws.message" and msg.payload["data"] == "bye":
                process.send(msg.sender, "ws.close", {"code": 4001})
            elif msg.topic == "ws.message":
                process.send(msg.sender, "ws.send", msg.payload)

    routes = app.router(
        "/ws",
        server="web",
        middleware=["metrics"],
        options={"metrics.path": ""},
        post_middleware=["websocket_relay"],
    )
    app.host("echoes")

    @routes.get("")
    def handler(request):
        return relay_to(process.spawn(echo, "echoes"))

    app.router("", server="inner", middleware=["metrics"])
    return app


class Scraper:
    def __init__(self, session, url):
        self._session = session
        self._url = url

    async def __call__(self):
        """The App's own metrics, and the requests."""
        async with self._session.get(self._url) as response:
            text = await response.text()
        return {
            (one.name.removeprefix("wsrelay_"), *one.labels.values()): one.value
            for family in families(text)
            for one in family.samples
            if one.name.startswith(("wsrelay_", "http_requests_total"))
        }

    async def until(self, *key, value):
        """Wait for what sends no event; the page is what is asked for it."""
        while (found := await self()).get(key) != value:
            await asyncio.sleep(0)
        return found


@asynccontextmanager
async def serving(app):
    async with app:
        for service in app.services.values():
            service.addr = type(service.addr)("127.0.0.1", 0)
        web, inner = await app.listen()
        async with aiohttp.ClientSession() as session:
            yield f"ws://127.0.0.1:{web.port}/ws", Scraper(session, f"{inner.url}/metrics")


def test_the_life_of_connections(run_everywhere):
    async def main():
        async with serving(echoing()) as (url, scrape):
            found = await scrape()
            assert found["connections", "app:web"] == found["connections", "app:inner"] == 0
            assert found["messages_in_total",] == found["messages_out_total",] == 0
            async with connect(url) as first, connect(url) as second:
                for client in (first, second, second):
                    await client.send("x")
                    await client.recv()
                found = await scrape()
                assert found["connections", "app:web"] == 2
                assert found["processes", "app:echoes"] == 2
                assert found["messages_in_total",] == found["messages_out_total",] == 3
                # Upgraded ones speak HTTP no more; the scraper's does.
                assert found["http_connections", "app:web"] == 0
                assert found["http_connections", "app:inner"] == 1
                await second.send("bye")
                await second.wait_closed()
                found = await scrape.until("connections", "app:web", value=1)
                assert found["connections_ended_total", "closed_by_process", "4xxx"] == 1
            # What ended has been counted on.
            found = await scrape.until("connections", "app:web", value=0)
            assert found["connections_ended_total", "client_close", "1000"] == 1
            assert found["messages_in_total",] == 4
            assert found["messages_out_total",] == 3
            assert found["http_requests_total", "GET", "/ws", "1xx"] == 2

    run_everywhere(main())


def test_a_client_can_not_make_series_by_its_close_code(run):
    async def main():
        async with serving(echoing()) as (url, scrape):
            for code in range(4000, 4010):
                async with connect(url) as client:
                    await client.close(code)
            found = await scrape.until("connections", "app:web", value=0)
            ends = {key[1:]: value for key, value in found.items() if "ended_total" in key[0]}
            assert ends == {("client_close", "4xxx"): 10}

    run(main())


def test_a_counter_does_not_go_down(run):
    """`drop_oldest` takes back what was counted as sent already."""

    tally = Tally()

    async def main():
        app = App()
        relay = app.router("/ws", middleware=["websocket_relay"]).middleware[1]
        relay.tally = tally
        router = app.router("", middleware=["metrics"])
        async with app:
            texts = []
            for count in (5, 3, 6):
                tally.messages_out = count
                response = Dispatcher([router]).dispatch_sync(Request("GET", "/metrics"))
                texts.append(response.body.decode())
            return [
                next(line for line in text.splitlines() if line.startswith("wsrelay_messages_out"))
                for text in texts
            ]

    found = run(main())
    assert found == [f"wsrelay_messages_out_total {count}.0" for count in (5, 5, 6)]


def test_without_an_app_there_are_the_requests():
    metrics = Metrics(registry=CollectorRegistry())
    router = Router("", [metrics])
    metrics.add_pages(router)
    response = Dispatcher([router]).dispatch_sync(Request("GET", "/metrics"))
    assert b"http_requests_in_progress 0.0" in response.body
    assert b"wsrelay_" not in response.body
