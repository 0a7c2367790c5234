import pytest

from wsrelay.http import (
    HandshakeError,
    Opening,
    Request,
    check_opening,
    choose_subprotocol,
    negotiate_deflate,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    "Host": "example.com",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def handshake(*extra, without=(), method="GET", body=b""):
    pairs = [(name, value) for name, value in FIELDS.items() if name not in without]
    return Request(method, "/", [*pairs, *extra], body=body)


def refusal(request):
    with pytest.raises(HandshakeError) as caught:
        check_opening(request)
    return caught.value


def test_the_example_of_the_rfc():
    opening = check_opening(
        handshake(("Sec-WebSocket-Protocol", "chat, superchat"), ("Origin", "http://example.com"))
    )
    assert opening.key == KEY.encode()
    assert opening.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert opening.subprotocols == ("chat", "superchat")
    assert opening.offers == ()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        KEY[:-1],
        KEY + "=",
        KEY[:-2],
        "A" * 24,
        "A" * 23 + "=",
        "A" * 20 + "==",
        "A" * 24 + "==",
        "A" * 21 + "-==",
        "A" * 21 + "_==",
        "A" * 10 + " " + "A" * 11 + "==",
        f"{KEY}, {KEY}",
        f'"{KEY}"',
        b"\xff" * 22 + b"==",
    ],
)
def test_a_key_is_sixteen_bytes_of_base64(key):
    request = handshake(("Sec-WebSocket-Key", key), without=["Sec-WebSocket-Key"])
    assert refusal(request).status_code == 400


def test_a_key_is_there_once():
    assert refusal(handshake(without=["Sec-WebSocket-Key"])).status_code == 400
    assert refusal(handshake(("sec-websocket-key", KEY))).status_code == 400


@pytest.mark.parametrize(
    ("versions", "status"),
    [
        ([], 400),
        ([""], 400),
        (["13", "13"], 400),
        (["13", "8"], 400),
        (["13, 8"], 400),
        (["13,13"], 400),
        (["8"], 426),
        (["0"], 426),
        (["14"], 426),
        (["013"], 426),
        (["13.0"], 426),
        (["x"], 426),
        ([b"\xff"], 426),
    ],
)
def test_the_version(versions, status):
    extra = [("Sec-WebSocket-Version", version) for version in versions]
    error = refusal(handshake(*extra, without=["Sec-WebSocket-Version"]))
    assert error.status_code == status
    if status == 426:
        assert error.headers == {
            "Sec-WebSocket-Version": "13",
            "Upgrade": "websocket",
            "Connection": "Upgrade, close",
        }


def test_the_order_of_the_checks():
    bad = [("Sec-WebSocket-Version", "8")]
    without = ["Sec-WebSocket-Version", "Sec-WebSocket-Key"]
    assert refusal(handshake(*bad, without=without, body=b"x")).status_code == 400
    assert refusal(handshake(*bad, without=without)).status_code == 426
    assert refusal(handshake(("Sec-WebSocket-Protocol", ","), without=without)).status_code == 400


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "get"])
def test_a_handshake_is_a_get(method):
    error = refusal(handshake(method=method))
    assert error.status_code == 405
    assert error.headers == {"Allow": "GET"}


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        (["a"], ("a",)),
        (["a,b ,\tc"], ("a", "b", "c")),
        (["a", "b, c"], ("a", "b", "c")),
        ([",a,,b,"], ("a", "b")),
        (["v1.app.example.com"], ("v1.app.example.com",)),
    ],
)
def test_subprotocols(values, tokens):
    request = handshake(*(("Sec-WebSocket-Protocol", value) for value in values))
    assert check_opening(request).subprotocols == tokens


@pytest.mark.parametrize(
    "values",
    [[""], [","], ["a b"], ["a,b/c"], ["a", "a"], ["a,a"], ['"a"'], [b"\xe4"], ["a;b"], ["a\tb"]],
)
def test_malformed_subprotocols(values):
    request = handshake(*(("Sec-WebSocket-Protocol", value) for value in values))
    assert refusal(request).status_code == 400


@pytest.mark.parametrize(
    ("offered", "named", "listed", "chosen"),
    [
        (("a", "b"), "b", ["a"], "b"),
        (("a", "b"), "c", ["x", "b", "a"], "b"),
        (("a", "b"), None, ["b", "a"], "b"),
        (("a",), None, [], None),
        (("a",), "c", ["d"], None),
        ((), "a", ["a"], None),
        (("A",), "a", ["a"], None),
    ],
)
def test_the_choice_of_a_subprotocol(offered, named, listed, chosen):
    assert choose_subprotocol(Opening(KEY.encode(), offered), named, listed) == chosen


def test_compression():
    request = handshake(("Sec-WebSocket-Extensions", "permessage-deflate"))
    value, extension = negotiate_deflate(check_opening(request))
    assert value == "permessage-deflate"
    assert extension.enabled()
    assert negotiate_deflate(check_opening(handshake())) is None


def test_malformed_extensions_fail_the_handshake():
    assert refusal(handshake(("Sec-WebSocket-Extensions", "a;"))).status_code == 400
