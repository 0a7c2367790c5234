import pytest

from wsrelay.http import Upgrade


class Nobody:
    def start(self, transport, trailing_data, descriptor): ...


def test_the_whole_101():
    upgrade = Upgrade(b"token", Nobody(), subprotocol="chat", extension="permessage-deflate; a=1")
    assert upgrade.status_code == 101
    assert upgrade.head() == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: token\r\nSec-WebSocket-Protocol: chat\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; a=1\r\n\r\n"
    )
    upgrade.abandon()


def test_other_headers_go_on_it_but_none_of_its_own():
    headers = [
        ("Set-Cookie", "a=b"),
        ("Set-Cookie", "c=d"),
        ("Content-Length", "1"),
        ("content-type", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("Sec-WebSocket-Accept", "x"),
        ("X-WS-Relay", "{}"),
    ]
    upgrade = Upgrade(b"t", Nobody(), headers=headers)
    assert upgrade.head().split(b"\r\n")[3:] == [
        b"Sec-WebSocket-Accept: t",
        b"Set-Cookie: a=b",
        b"Set-Cookie: c=d",
        b"",
        b"",
    ]
    upgrade.headers["X-Late"] = "1"
    assert b"X-Late: 1\r\n" in upgrade.head()


@pytest.mark.parametrize("subprotocol", ["", "a b", "a\r\nX: y", "a,b", "ä"])
def test_a_subprotocol_is_a_token(subprotocol):
    with pytest.raises(ValueError, match="token"):
        Upgrade(b"t", Nobody(), subprotocol=subprotocol)


@pytest.mark.parametrize("extension", ["a\r\nX: y", "ä", "a\0"])
def test_an_extension_splits_nothing(extension):
    with pytest.raises(ValueError, match="printable"):
        Upgrade(b"t", Nobody(), extension=extension)
