import asyncio

import pytest

from wsrelay.http import Headers, HTTPError, Request

HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket"}


def test_the_parts_of_a_target():
    request = Request("GET", "/a%20b/c?x=1?&y=%20", {"Host": "example.com:81"})
    assert request.method == "GET"
    assert request.raw_path == b"/a%20b/c"
    assert request.path == "/a b/c"
    assert request.query_string == b"x=1?&y=%20"
    assert request.query_params["x"] == "1?"
    assert request.query is request.query_params
    assert request.url == "http://example.com:81/a%20b/c?x=1?&y=%20"
    assert request.scheme == "http"
    assert request.http_version == "1.1"
    assert "/a%20b/c" in repr(request)


def test_path_parameters_have_an_alias():
    request = Request("GET", b"/")
    request.path_params = {"id": "7"}
    assert request.params["id"] == "7"


def test_what_a_middleware_may_set():
    request = Request("GET", "/", client=("10.0.0.1", 5))
    request.client = ("192.0.2.1", 0)
    request.actor = "me"
    request.state.user = 7
    assert request.client == ("192.0.2.1", 0)
    assert request.state.user == 7
    assert Request("GET", "/").client is None
    assert Request("GET", "/").actor is None


def test_cookies():
    request = Request("GET", "/", [("Cookie", 'a=1; b="x y"; a=2;c; =d;e='), ("Cookie", "f=g=h")])
    assert request.cookies == {"a": "1", "b": "x y", "e": "", "f": "g=h"}
    assert Request("GET", "/").cookies == {}


@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [
        (["Upgrade"], ["websocket"]),
        (["keep-alive, UPGRADE"], ["WebSocket"]),
        (["keep-alive", "upgrade"], ["h2c, websocket"]),
        (["\tupgrade ,"], ["h2c", "websocket"]),
    ],
)
def test_a_handshake(connection, upgrade):
    fields = [("Connection", value) for value in connection]
    fields += [("Upgrade", value) for value in upgrade]
    assert Request("GET", "/", fields).is_handshake


@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [
        ("notupgrade", "websocket"),
        ("upgraded", "websocket"),
        ("upgrade", "xwebsocket"),
        ("upgrade", "websocket2"),
        ("upgrade", "web socket"),
        ("upgrade", "websocket/13"),
        ("upgrade;q=1", "websocket"),
        ('"upgrade"', "websocket"),
        ("keep-alive", "websocket"),
        ("upgrade", ""),
        ("", ""),
    ],
)
def test_a_near_miss_is_a_plain_request(connection, upgrade):
    fields = {"Connection": connection, "Upgrade": upgrade}
    assert not Request("GET", "/", fields).is_handshake


def test_http_1_0_has_no_handshake():
    assert Request("GET", "/", HANDSHAKE).is_handshake
    assert not Request("GET", "/", HANDSHAKE, http_version="1.0").is_handshake
    assert not Request("GET", "/", {"Connection": "upgrade"}).is_handshake
    assert not Request("GET", "/", {"Upgrade": "websocket"}).is_handshake


def test_the_body():
    async def main():
        request = Request("POST", "/", body=b'{"a":1}')
        assert request.has_body
        assert await request.json() == {"a": 1}
        assert await request.body() == await request.body() == b'{"a":1}'
        assert not Request("POST", "/").has_body
        for body in (b"", b"{", b"[" * 5000):
            with pytest.raises(HTTPError) as caught:
                await Request("POST", "/", body=body).json()
            assert caught.value.status_code == 400

    asyncio.run(main())


def test_headers_are_kept_or_made():
    headers = Headers({"A": "b"})
    assert Request("GET", "/", headers).headers is headers
    assert Request("GET", "/", {"A": "b"}).headers["a"] == "b"
