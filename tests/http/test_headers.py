import pytest

from wsrelay.http import Headers, MutableHeaders, QueryParams
from wsrelay.http.headers import has_token, is_token, list_tokens


def test_a_request_header_is_found_in_any_case():
    headers = Headers([("X-A", "1"), (b"x-a", b"2"), ("B", b"\xe4")])
    assert headers["x-A"] == headers.get("X-a") == "1"
    assert headers.getlist("X-A") == ["1", "2"]
    assert headers["b"] == "ä"
    assert "X-A" in headers
    assert list(headers) == ["x-a", "b"]
    assert len(headers) == 2
    assert headers.raw == [(b"x-a", b"1"), (b"x-a", b"2"), (b"b", b"\xe4")]
    assert dict(headers.items()) == {"x-a": "1", "b": "ä"}


def test_a_missing_header():
    headers = Headers({})
    assert headers.get("x") is None
    assert headers.getlist("x") == []
    assert "ключ" not in headers
    assert 1 not in headers
    with pytest.raises(KeyError, match="X-B"):
        headers["X-B"]
    assert headers.values_of(b"x") == []


def test_response_headers_are_set_replaced_and_repeated():
    headers = MutableHeaders({"A": "1"})
    headers["a"] = b"2"
    headers.append("Set-Cookie", "x=1")
    headers.add("set-cookie", "y=1")
    assert headers.raw == [(b"a", b"2"), (b"Set-Cookie", b"x=1"), (b"set-cookie", b"y=1")]
    assert headers.getlist("SET-COOKIE") == ["x=1", "y=1"]
    assert headers.setdefault("A", "3") == "2"
    assert headers.setdefault("New", "4") == "4"
    assert list(headers) == ["a", "set-cookie", "new"]
    assert len(headers) == 3
    del headers["Set-Cookie"]
    assert "set-cookie" not in headers
    with pytest.raises(KeyError):
        del headers["set-cookie"]
    with pytest.raises(KeyError):
        headers["set-cookie"]


def test_text_goes_out_as_utf_8_and_bytes_as_they_are():
    headers = MutableHeaders()
    headers["X-WS-Relay"] = '{"user":"ö"}'
    headers["Y"] = b"\xff"
    assert headers.raw[0][1] == '{"user":"ö"}'.encode()
    assert headers["x-ws-relay"] == '{"user":"ö"}'
    assert headers["y"] == "ÿ"


WAYS_IN = [
    lambda headers, name, value: headers.__setitem__(name, value),
    lambda headers, name, value: headers.append(name, value),
    lambda headers, name, value: headers.setdefault(name, value),
    lambda headers, name, value: headers.update({name: value}),
    lambda headers, name, value: MutableHeaders({name: value}),
    lambda headers, name, value: MutableHeaders([(name, value)]),
    lambda headers, name, value: Headers([(name, value)]),
]


@pytest.mark.parametrize("enter", WAYS_IN)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nSet-Cookie: b=c"),
        ("X", "a\n"),
        ("X", b"a\rb"),
        ("X", "a\0"),
        ("X", "a\x7f"),
        ("X", "a\x0b"),
        ("X", "\ud800"),
        ("X\r\n", "a"),
        ("X:", "a"),
        ("X Y", "a"),
        ("", "a"),
        ("ключ", "a"),
    ],
)
def test_nothing_that_splits_a_response_gets_in(enter, name, value):
    headers = MutableHeaders()
    with pytest.raises(ValueError, match="header"):
        enter(headers, name, value)
    assert headers.raw == []


def test_a_value_is_str_or_bytes():
    with pytest.raises(TypeError, match="not int"):
        MutableHeaders({"X": 1})


def test_the_error_does_not_show_the_value():
    with pytest.raises(ValueError, match="control") as caught:
        MutableHeaders({"X": "secret\n"})
    assert "secret" not in str(caught.value)


def test_query_parameters():
    params = QueryParams(b"a=1&b=&c&a=2&%C3%A4=x+y&z=%ff")
    assert params["a"] == params.get("a") == "2"
    assert params.getlist("a") == ["1", "2"]
    assert params.getlist("nothing") == []
    assert params["b"] == params["c"] == ""
    assert params["ä"] == "x y"
    assert params["z"] == "\ufffd"
    assert params.get("nothing") is None
    assert "a" in params
    assert list(params) == ["a", "b", "c", "ä", "z"]
    assert len(params) == 5
    assert dict(QueryParams("")) == {}


def test_tokens():
    assert is_token(b"permessage-deflate")
    assert not is_token(b"")
    assert not is_token(b"a b")
    assert not is_token(b"a\n")
    assert list_tokens([b"Keep-Alive , UPGRADE", b",", b""]) == [b"keep-alive", b"upgrade"]


def test_a_token_in_a_field():
    long = b"a, " * 50 + b"Close"
    for values in ([b" Close"], [b"x, close ,y"], [b"x", b"CLOSE"], [long]):
        assert has_token(values, b"close")
    for values in ([], [b""], [b"closed"], [b"x close"], [b"x", b"y"], [b"a, " * 50]):
        assert not has_token(values, b"close")


def test_a_field_is_taken():
    headers = MutableHeaders([("A", "1"), ("b", "2"), ("a", "3")])
    assert headers.take(b"a") == [b"1", b"3"]
    assert headers.raw == [(b"b", b"2")]
    assert headers.take(b"a") == [] and headers.raw == [(b"b", b"2")]


def test_they_show_what_is_in_them():
    assert repr(Headers({"A": "b"})) == "Headers([(b'a', b'b')])"
    assert repr(MutableHeaders({"A": "b"})) == "MutableHeaders([(b'A', b'b')])"
    assert repr(QueryParams("a=b")) == "QueryParams([('a', 'b')])"
