from datetime import UTC, datetime

import pytest

from wsrelay.http import (
    HTTPError,
    JSONResponse,
    PlainTextResponse,
    Response,
    error_response,
    to_response,
)


def test_an_empty_response():
    response = Response()
    assert (response.status_code, response.body, response.headers.raw) == (200, b"", [])
    assert response.exception is None


@pytest.mark.parametrize("content", ["ä", "ä".encode(), bytearray("ä".encode())])
def test_the_content(content):
    assert Response(content).body == "ä".encode()
    assert Response(memoryview(b"x")).body == b"x"


def test_content_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="not dict"):
        Response({})


def test_the_media_type():
    assert Response("x", media_type="text/html").headers["content-type"] == (
        "text/html; charset=utf-8"
    )
    assert Response("x", media_type="image/png").headers["content-type"] == "image/png"
    given = PlainTextResponse("x", headers={"content-type": "text/csv"})
    assert given.headers.getlist("Content-Type") == ["text/csv"]


def test_json():
    response = JSONResponse({1: "ä"}, 201)
    assert response.body == '{"1":"ä"}'.encode()
    assert response.status_code == 201
    assert response.headers["Content-Type"] == "application/json"
    assert JSONResponse(None).body == b"null"
    with pytest.raises(TypeError):
        JSONResponse(object())


def test_what_return_values_stand_for():
    response = Response()
    assert to_response(response) is response
    assert to_response({"a": 1}).body == b'{"a":1}'
    assert to_response([1]).body == b"[1]"
    assert to_response("x").headers["content-type"] == "text/plain; charset=utf-8"
    assert to_response(b"x").headers["content-type"] == "application/octet-stream"
    assert (to_response(None).status_code, to_response(None).body) == (204, b"")


@pytest.mark.parametrize("value", [1, True, 1.5, {1}, (1,), object(), Response])
def test_another_return_value_is_named(value):
    with pytest.raises(TypeError, match=f"not {type(value).__name__}"):
        to_response(value)


def test_the_response_of_an_error():
    error = HTTPError(405, "no", {"Allow": "GET"})
    response = error_response(error)
    assert (response.status_code, response.body) == (405, b"no")
    assert response.headers["allow"] == "GET"
    assert response.exception is error


def test_cookies():
    response = Response()
    response.set_cookie("a", "b")
    moment = datetime(2030, 1, 2, 3, 4, 5)
    response.set_cookie(
        "c",
        "d",
        max_age=60,
        expires=moment,
        path=None,
        domain="example.com",
        secure=True,
        httponly=True,
        samesite=None,
    )
    response.delete_cookie("a", path="/x", secure=True)
    first, second, third = response.headers.getlist("set-cookie")
    assert first == "a=b; Path=/; SameSite=lax"
    assert second == (
        "c=d; Max-Age=60; Expires=Wed, 02 Jan 2030 03:04:05 GMT; Domain=example.com; "
        "Secure; HttpOnly"
    )
    assert third.startswith("a=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/x; Secure")
    response.set_cookie("e", expires=moment.replace(tzinfo=UTC))
    assert "03:04:05 GMT" in response.headers.getlist("set-cookie")[3]


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("a b", {}),
        ("", {}),
        ("ä", {}),
        ("a", {"value": "x; Domain=evil.com"}),
        ("a", {"value": "x\r\n"}),
        ("a", {"value": 'x"'}),
        ("a", {"value": "ä"}),
        ("a", {"path": "/; Secure"}),
        ("a", {"domain": "x\n"}),
    ],
)
def test_a_cookie_can_hide_nothing(key, arguments):
    response = Response()
    with pytest.raises(ValueError, match="cookie"):
        response.set_cookie(key, **arguments)
    assert response.headers.raw == []


def test_it_shows_its_status():
    assert repr(PlainTextResponse("x", 404)) == "<PlainTextResponse 404>"
