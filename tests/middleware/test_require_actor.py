"""The `require_actor` middleware: 401, 403, and handshakes that are refused in time."""

import asyncio

import aiohttp
import pytest
from middleware_helpers import answer, is_sync
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from wsrelay import App, HTTPError, Request, Router, process, relay_to
from wsrelay.http import Dispatcher
from wsrelay.middleware.options import OptionError
from wsrelay.middleware.require_actor import OPTIONS, RequireActor
from wsrelay.middleware.token_auth import TokenAuth

TOKEN = {"Authorization": "Bearer ann"}


def verify(token):
    return None if token == "nobody" else token


def check(actor, request):
    """Each actor may enter its own room only."""
    return request.path_params.get("room") == actor


async def check_slowly(actor, request):
    await asyncio.sleep(0)
    return check(actor, request)


def guarded(guard, actor="ann", calls=None):
    async def note(request, call_next):
        request.actor = actor
        return await call_next(request)

    def note_sync(request, call_next):
        request.actor = actor
        return call_next(request)

    note.call_sync = note_sync
    router = Router("", [note], [guard])

    @router.get("/{room}")
    @router.get("/")
    def handler(request):
        if calls is not None:
            calls.append(request.actor)
        return "in"

    return router


# -- 401 and 403 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [None, False])
@pytest.mark.parametrize("function", [None, check, check_slowly])
def test_nobody_is_not_authenticated(actor, function):
    calls = []
    response = answer(guarded(RequireActor(check=function), actor, calls), "GET", "/ann")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert calls == []


@pytest.mark.parametrize("actor", ["ann", 0, "", {}])
def test_any_actor_may_without_a_check(actor):
    """Also one that is empty, such as a user with the number 0."""
    assert answer(guarded(RequireActor(), actor), "GET", "/").body == b"in"


@pytest.mark.parametrize("function", [check, check_slowly])
def test_a_check_decides(function):
    calls = []
    router = guarded(RequireActor(check=function), calls=calls)
    assert answer(router, "GET", "/ann").body == b"in"
    calls.clear()
    response = answer(router, "GET", "/bob")
    assert (response.status_code, response.body) == (403, b"Forbidden")
    assert "WWW-Authenticate" not in response.headers
    assert calls == []


def test_a_check_that_says_nothing_says_no():
    assert answer(guarded(RequireActor(check=lambda *_: None)), "GET", "/").status_code == 403


@pytest.mark.parametrize("slow", [False, True])
def test_a_check_that_raises_is_no_yes(slow, caplog):
    def fail(actor, request):
        raise error

    async def fail_slowly(actor, request):
        raise error

    calls = []
    router = guarded(RequireActor(check=fail_slowly if slow else fail), calls=calls)
    error = HTTPError(402, "pay first")
    response = answer(router, "GET", "/")
    assert (response.status_code, response.body) == (402, b"pay first")
    assert caplog.text == ""
    error = ValueError("x")
    assert answer(router, "GET", "/").status_code == 500
    assert "GET / failed" in caplog.text
    assert calls == []


def test_what_would_have_to_be_awaited_is_no_yes():
    """Where the check is not declared as a coroutine function, and the handler runs inline."""
    router = guarded(RequireActor(check=lambda *args: check_slowly(*args)))
    assert Dispatcher([router]).dispatch_sync(Request("GET", "/ann")).status_code == 500
    assert asyncio.run(Dispatcher([router])(Request("GET", "/ann"))).body == b"in"


def test_only_a_slow_check_needs_a_task():
    assert is_sync(guarded(RequireActor()))
    assert is_sync(guarded(RequireActor(check=check)))
    assert not is_sync(guarded(RequireActor(check=check_slowly)))


# -- options ---------------------------------------------------------------------------------------


def test_an_import_path():
    for guard in (
        RequireActor({"require_actor.check": f"{__name__}:check"}),
        RequireActor(check=f"{__name__}:check"),
    ):
        assert answer(guarded(guard), "GET", "/bob").status_code == 403


def test_options_are_checked():
    with pytest.raises(OptionError, match=r'module "json" has no "nothing"'):
        RequireActor({"require_actor.check": "json:nothing"})
    with pytest.raises(OptionError, match=r'did you mean "require_actor\.check"'):
        RequireActor({"require_actor.chekc": "json:dumps"})
    assert all(option.about.endswith(".") for option in OPTIONS)


# -- in front of a WebSocket -----------------------------------------------------------------------


def relayed(with_metadata=True, **router):
    """An app whose route relays to a process that answers its join with what it is told there."""
    app = App()
    app.calls = 0

    async def target():
        async for msg in process.inbox():
            if msg.topic == "ws.join":
                told = {key: msg.payload[key] for key in msg.payload if key != "client_pid"}
                process.send(msg.sender, "ws.send", {"data": told})

    routes = app.router("", **router)

    @routes.get("/{room}")
    def handler(request):
        app.calls += 1
        metadata = {"actor": request.actor} if with_metadata else {}
        return relay_to(process.spawn(target), metadata=metadata)

    return app


AUTH = {"token_auth.verify": f"{__name__}:verify"}
CHECK = {"require_actor.check": f"{__name__}:check"}
ORDERS = {
    "all behind the match": {
        "post_middleware": ["token_auth", "require_actor", "websocket_relay"],
        "post_options": AUTH | CHECK,
    },
    "token outside": {
        "middleware": ["token_auth"],
        "options": AUTH,
        "post_middleware": ["require_actor", "websocket_relay"],
        "post_options": CHECK,
    },
    "objects": {
        "middleware": [TokenAuth(verify=verify)],
        "post_middleware": [RequireActor(check=check_slowly), "websocket_relay"],
    },
    "relay first": {
        "middleware": ["token_auth"],
        "options": AUTH,
        "post_middleware": ["websocket_relay", "require_actor"],
        "post_options": CHECK,
    },
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_handshake_is_refused_before_its_handler(order, run_everywhere):
    app = relayed(**ORDERS[order])

    async def main():
        async with app.running() as server:
            url = f"ws://127.0.0.1:{server.port}"
            for path, headers, status in (
                ("ann", {}, 401),
                ("ann", {"Authorization": "Bearer nobody"}, 401),
                ("bob", TOKEN, 403),
            ):
                with pytest.raises(InvalidStatus) as caught:
                    async with connect(f"{url}/{path}", additional_headers=headers):
                        pass
                response = caught.value.response
                assert response.status_code == status
                assert response.headers["Connection"] == "close"
                assert response.headers.get("WWW-Authenticate") == {401: "Bearer"}.get(status)
            assert app.calls == 0
            assert app.processes() == []
            async with connect(f"{url}/ann", additional_headers=TOKEN) as client:
                assert await client.recv() == '{"metadata":{"actor":"ann"}}'

    run_everywhere(main())


def test_a_refused_upgrade_ends_the_connection(run):
    """What a client pipelines behind it is never read as a request."""
    app = relayed(**ORDERS["all behind the match"])
    handshake = (
        b"GET /ann HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )

    async def main():
        async with app.running() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(handshake + b"GET /ann HTTP/1.1\r\nHost: a\r\n\r\n")
            data = await reader.read()
            writer.close()
            return data

    data = run(main())
    assert data.startswith(b"HTTP/1.1 401 ")
    assert data.count(b"HTTP/1.1 ") == 1


def test_the_target_sees_the_actor_in_the_metadata_only(run):
    app = relayed(with_metadata=False, **ORDERS["objects"])

    async def main():
        async with app.running() as server:
            url = f"ws://127.0.0.1:{server.port}/ann"
            async with connect(url, additional_headers=TOKEN) as client:
                return await client.recv()

    assert run(main()) == '{"metadata":{}}'


@pytest.mark.parametrize("key", ["middleware", "post_middleware"])
def test_by_name_over_a_socket(key, run_everywhere):
    app = App()
    router = app.router("", **{key: ["token_auth", "require_actor"], OPTIONS_OF[key]: AUTH})

    @router.get("/")
    def handler(request):
        return request.actor

    async def main():
        async with app.running() as server, aiohttp.ClientSession(server.url) as session:
            found = []
            for path, headers in (("/", TOKEN), ("/", {}), ("/none", {})):
                async with session.get(path, headers=headers) as response:
                    found.append(response.status)
            return found

    # Outside of the match strangers do not even learn what is there.
    assert run_everywhere(main()) == [200, 401, 401 if key == "middleware" else 404]


OPTIONS_OF = {"middleware": "options", "post_middleware": "post_options"}
