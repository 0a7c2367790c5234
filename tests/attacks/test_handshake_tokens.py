"""Handshake tokens: RFC 6455 4.2.1 to the letter."""

import base64

import pytest
from attack_helpers import handshake, target

KEY = base64.b64encode(b"sixteen bytes ok").decode()


async def answered(data):
    """The answer to a handshake, and how often the handler ran."""
    async with target() as here:
        answer = await (await here.ask(data)).head()
        return answer, here.upgrades


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "upgrade"},
        {"Connection": "UPGRADE"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": " ,\tupgrade\t,,"},
        {"Connection": ["keep-alive", "Upgrade"]},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c , websocket"},
        {"Upgrade": ["h2c", "websocket"]},
    ],
)
def test_lists_and_case(run, changes):
    async def main():
        answer, upgrades = await answered(handshake(**changes))
        assert (answer.status, upgrades) == (101, 1)

    run(main())


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "notupgrade"},
        {"Connection": "upgraded"},
        {"Connection": "up grade"},
        {"Connection": "keep-alive;upgrade"},
        {"Connection": '"upgrade"'},
        {"Connection": "keep-alive"},
        {"Connection": None},
        {"Upgrade": "xwebsocket"},
        {"Upgrade": "websockets"},
        {"Upgrade": "web socket"},
        {"Upgrade": "websocket/13"},
        {"Upgrade": "websocket;q=1"},
        {"Upgrade": '"websocket"'},
        {"Upgrade": b"websocket\xa0"},
        {"Upgrade": None},
    ],
)
def test_near_misses_are_plain_requests(run, changes):
    """Of a relayed route: 426, as of every plain request there."""

    async def main():
        answer, _ = await answered(handshake(**changes))
        assert answer.status == 426
        assert (answer.fields["upgrade"], answer.fields["connection"]) == ("websocket", "Upgrade")

    run(main())


@pytest.mark.parametrize(
    "key",
    {
        "none": None,
        "empty": "",
        "fifteen bytes": base64.b64encode(b"x" * 15).decode(),
        "seventeen bytes": base64.b64encode(b"x" * 17).decode(),
        "no padding": KEY[:-2],
        "too much padding": KEY + "=",
        "padding inside": KEY[:10] + "==" + KEY[12:],
        "base64url": KEY[:21] + "-==",
        "another alphabet": "!" + KEY[1:],
        "above 127": b"\xff" * 22 + b"==",
        "quoted": f'"{KEY}"',
        "a blank inside": KEY[:10] + " " + KEY[11:],
        "several": [KEY, KEY],
        "several in one": f"{KEY}, {KEY}",
    }.items(),
    ids=lambda item: item[0],
)
def test_keys_of_the_wrong_length_or_alphabet_and_several(run, key):
    async def main():
        answer, upgrades = await answered(handshake(Sec_WebSocket_Key=key[1]))
        assert (answer.status, answer.fields["connection"], upgrades) == (400, "close", 0)

    run(main())


@pytest.mark.parametrize("version", [None, "", ["13", "13"], ["8", "13"], "13, 8", "13,13"])
def test_versions_missing_or_several(run, version):
    async def main():
        answer, upgrades = await answered(handshake(Sec_WebSocket_Version=version))
        assert (answer.status, answer.fields["connection"], upgrades) == (400, "close", 0)

    run(main())


@pytest.mark.parametrize("version", ["8", "0", "7", "14", "013", "13.0", "0xd", "x", b"\xb9\xb3"])
def test_other_versions(run, version):
    async def main():
        answer, upgrades = await answered(handshake(Sec_WebSocket_Version=version))
        assert (answer.status, upgrades) == (426, 0)
        assert answer.fields["sec-websocket-version"] == "13"
        assert answer.fields["upgrade"] == "websocket"
        assert answer.fields["connection"] == "Upgrade, close"

    run(main())


@pytest.mark.parametrize(
    "subprotocols",
    ["", ",", "a b", "a/b", "a,a", ["a", "a"], '"a"', b"\xe4", "a;b", "a\tb", "a=b"],
)
def test_malformed_subprotocols(run, subprotocols):
    async def main():
        answer, upgrades = await answered(handshake(Sec_WebSocket_Protocol=subprotocols))
        assert (answer.status, upgrades) == (400, 0)

    run(main())
