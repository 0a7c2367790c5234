"""Response splitting through anything echoed: refused where it enters.

CVE-2020-7695 (uvicorn), CVE-2023-49081 and CVE-2023-49082 (aiohttp), CVE-2026-1527 (undici).
"""

import pytest
from attack_helpers import handshake, target

from wsrelay import Response, relay_to

SPLITS = [
    "x\r\nSet-Cookie: a=b",
    "x\nSet-Cookie: a=b",
    "x\rSet-Cookie: a=b",
    "x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "x\0y",
    "x\x0b",
    "x\x7f",
    "\r\n x",
]
every_split = pytest.mark.parametrize("text", SPLITS, ids=repr)
# In a request CRLF is the end of a field and nothing to refuse, unless a folded line follows.
IN_A_REQUEST = [text for text in SPLITS if not text.startswith("x\r\n")]
every_one_in_a_request = pytest.mark.parametrize("text", IN_A_REQUEST, ids=repr)


def percent(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


async def nothing_split(peer, status):
    """One response of this status, without the field that was to be smuggled in."""
    answer = await peer.head()
    assert answer.status == status
    assert "set-cookie" not in answer.fields
    if status != 101:
        assert await peer.rest() == b""
    return answer


@every_split
@pytest.mark.parametrize("way", ["value", "name", "append", "argument", "upgrade", "subprotocol"])
def test_header_values_from_handlers_that_echo_the_target(run, caplog, text, way):
    """A fault of the handler: 500 without details, and nothing of the value on the wire."""

    def answer(here, request):
        value = request.query_params["x"]
        assert value == text
        response = Response("ok")
        if way == "value":
            response.headers["X-Echo"] = value
        elif way == "name":
            response.headers["X" + value] = "y"
        elif way == "append":
            response.headers.append("X-Echo", value)
        elif way == "argument":
            response = Response("ok", headers={"X-Echo": value})
        elif way == "upgrade":
            response = relay_to(here.room)
            response.headers["X-Echo"] = value
        else:
            response = relay_to(here.room, subprotocol=value)
        return response

    async def main():
        async with target() as here:
            here.answer = lambda request: answer(here, request)
            peer = await here.ask(handshake(f"/chat/ws?x={percent(text)}"))
            # A subprotocol that the client did not offer is none at all.
            found = await nothing_split(peer, 101 if way == "subprotocol" else 500)
            assert "sec-websocket-protocol" not in found.fields
            assert "Set-Cookie" not in found.body.decode()

    run(main())
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == (
        0 if way == "subprotocol" else 1
    )


@every_one_in_a_request
def test_subprotocol(run, text):
    """What a client offers is a list of tokens, or the handshake fails."""

    async def main():
        async with target({"subprotocols": "chat"}) as here:
            peer = await here.ask(handshake(Sec_WebSocket_Protocol="chat, " + text))
            await nothing_split(peer, 400)

    run(main())


@every_one_in_a_request
def test_target(run, text):
    """A redirect, or a log, would echo it; with such bytes it is none."""

    async def main():
        async with target() as here:
            raw = await here.ask(b"GET /" + text.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            await nothing_split(raw, 400)

    run(main())


@every_one_in_a_request
def test_host_and_key_and_origin(run, text):
    async def main():
        async with target({"allowed.origins": "*"}) as here:
            for name in ("Host", "Sec-WebSocket-Key", "Origin", "Sec-WebSocket-Extensions"):
                peer = await here.ask(handshake(**{name: text}))
                await nothing_split(peer, 400)
            assert here.upgrades == 0

    run(main())
