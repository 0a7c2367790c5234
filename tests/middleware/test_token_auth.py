"""The `token_auth` middleware: where a token is looked for, and what becomes of it."""

import asyncio
import functools
import logging
from urllib.parse import quote, quote_plus, urlencode

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from middleware_helpers import answer, is_sync

from wsrelay import App, HTTPError, PlainTextResponse, Request, Router
from wsrelay.http import Dispatcher
from wsrelay.middleware.options import OptionError
from wsrelay.middleware.token_auth import OPTIONS, TokenAuth

OPTIONS_OF = {"middleware": "options", "post_middleware": "post_options"}
USERS = {"ann-secret-1": "ann", "bob-secret-2": "bob"}


def verify(token):
    return USERS.get(token)


async def verify_slowly(token):
    await asyncio.sleep(0)
    return USERS.get(token)


def who(request):
    return PlainTextResponse(repr(request.actor))


def router_with(*middleware):
    router = Router("", middleware)
    router.add("GET", "/", who)
    return router


def actor(auth, target="/", *fields):
    text = answer(router_with(auth), "GET", target, *fields).body.decode()
    return None if text == "None" else text.strip("'")


def seen(header="", *, options=None, target="/", name="Authorization", **keywords):
    """The token that `verify` gets of a request, None for none."""
    tokens = []
    auth = TokenAuth(options, verify=tokens.append, **keywords)
    answer(router_with(auth), "GET", target, *([(name, header)] if header else []))
    assert len(set(tokens)) <= 1
    return tokens[0] if tokens else None


# -- verify ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [verify, verify_slowly])
def test_the_actor_of_a_token(function):
    auth = TokenAuth(verify=function)
    assert actor(auth, "/", ("Authorization", "Bearer ann-secret-1")) == "ann"
    assert actor(auth, "/", ("Authorization", "Bearer nobody")) is None
    assert actor(auth) is None


def test_only_a_slow_verify_needs_a_task():
    class Verifier:
        async def __call__(self, token):
            return token

    assert is_sync(router_with(TokenAuth(verify=verify)))
    for slow in (verify_slowly, functools.partial(verify_slowly), Verifier()):
        assert not is_sync(router_with(TokenAuth(verify=slow)))


def test_an_import_path():
    header = ("Authorization", "Bearer ann-secret-1")
    path = f"{__name__}:verify"
    assert actor(TokenAuth({"token_auth.verify": path}), "/", header) == "ann"
    assert actor(TokenAuth(verify=path), "/", header) == "ann"


def test_verify_is_required():
    with pytest.raises(OptionError, match=r'set token_auth\.verify, as in "app\.auth:verify"'):
        TokenAuth()
    with pytest.raises(OptionError, match=r'token_auth\.verify: "x" is not an import path'):
        TokenAuth({"token_auth.verify": "x"})


def test_a_verify_that_only_says_yes_or_no():
    """False is no actor, so nobody passes `require_actor` by it."""
    auth = TokenAuth(verify=lambda token: token == "right")
    assert actor(auth, "/", ("Authorization", "Bearer right")) == "True"
    assert actor(auth, "/", ("Authorization", "Bearer wrong")) is None


def test_an_actor_of_another_middleware_stays():
    async def outer(request, call_next):
        request.actor = "set before"
        return await call_next(request)

    router = router_with(outer, TokenAuth(verify=verify))
    for fields in ((), [("Authorization", "Bearer nobody")]):
        assert answer(router, "GET", "/", *fields).body == b"'set before'"


def test_it_runs_before_the_match():
    actors = []

    async def note(request, call_next):
        actors.append(request.actor)
        return await call_next(request)

    router = router_with(TokenAuth(verify=verify), note)
    assert answer(router, "GET", "/x", ("Authorization", "Bearer bob-secret-2")).status_code == 404
    assert set(actors) == {"bob"}


# -- where the token is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc", "abc"),
        ("Bearer a b=", "a b="),
        ("Bearerabc", None),
        ("Bearer", None),
        ("abc", None),
        ("Basic abc", None),
        ("XBearer abc", None),
    ],
)
def test_the_scheme(header, token):
    assert seen(header) == token


@pytest.mark.parametrize(
    ("prefix", "header", "token"),
    [
        ("Bearer", "Bearer abc", "abc"),
        ("Token ", "token abc", "abc"),
        ("Token", "Bearer abc", None),
        ("Token token=", 'Token token="abc"', '"abc"'),
        ("Token token=", "Token token= abc", "abc"),
        ("a.c", "abc x", None),
        ("", "abc def", "abc def"),
    ],
)
def test_header_prefix(prefix, header, token):
    assert seen(header, options={"token_auth.header.prefix": prefix}) == token
    assert seen(header, header_prefix=prefix) == token


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_token_comes_whole(token):
    assert seen(f"Bearer {token}") == token


def test_header_name():
    options = {"token_auth.header.name": "X-Api-Key", "token_auth.header.prefix": ""}
    assert seen("abc", options=options, name="x-api-key") == "abc"
    assert seen("abc", name="X-Api-Key", header_name="X-Api-Key", header_prefix="") == "abc"
    assert seen("Bearer abc", options=options) is None
    assert seen("Bearer abc", header_name="") is None


def test_query_param():
    options = {"token_auth.query.param": "access_token"}
    assert seen(target="/?access_token=a%20b", options=options) == "a b"
    assert seen(target="/?access_token=abc", query_param="access_token") == "abc"
    assert seen(target="/?access_token=abc") is None
    assert seen(target="/?access_token=", options=options) is None


def test_cookie_name():
    options = {"token_auth.cookie.name": "session"}
    assert seen("a=1; session=abc", options=options, name="Cookie") == "abc"
    assert seen("session=abc", name="Cookie", cookie_name="session") == "abc"
    assert seen("session=abc", name="Cookie") is None


def test_the_first_place_with_a_token_counts():
    keywords = {"verify": lambda token: token, "query_param": "t", "cookie_name": "c"}
    auth = TokenAuth(**keywords)
    header, cookie = ("Authorization", "Bearer header"), ("Cookie", "c=cookie")
    assert actor(auth, "/?t=query", header, cookie) == "header"
    assert actor(auth, "/?t=query", cookie) == "query"
    assert actor(auth, "/", cookie) == "cookie"
    # Another scheme is not ours; a token that is not valid is one nevertheless.
    assert actor(auth, "/?t=query", ("Authorization", "Basic x")) == "query"
    strict = TokenAuth(verify=verify, query_param="t")
    assert actor(strict, "/?t=ann-secret-1", ("Authorization", "Bearer nobody")) is None


def test_of_several_none_counts():
    """A proxy that checked one of them may have checked another one."""
    auth = TokenAuth(verify=lambda token: token, query_param="t")
    fields = [("Authorization", "Bearer one"), ("Authorization", "Bearer two")]
    assert actor(auth, "/", *fields) is None
    assert actor(auth, "/?t=one&t=two") is None


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("token_auth.header.name", "X Y", 'header.name: "X Y" is no name'),
        ("token_auth.header.prefix", "Bäume", 'header.prefix: "Bäume" is not printable ASCII'),
        ("token_auth.cookie.name", "a;b", 'cookie.name: "a;b" is no name'),
        ("token_auth.cooky.name", "a", 'did you mean "token_auth.cookie.name"?'),
    ],
)
def test_options_are_checked(option, text, message):
    with pytest.raises(OptionError) as caught:
        TokenAuth({option: text}, verify=verify)
    assert caught.value.problems[0][0] == option
    assert message in str(caught.value)


def test_each_option_is_documented():
    assert all(option.about.endswith(".") for option in OPTIONS)


# -- a verify that fails ---------------------------------------------------------------------------


def failing(error, slow):
    def fail(token):
        raise error(token)

    async def fail_slowly(token):
        await asyncio.sleep(0)
        raise error(token)

    return TokenAuth(verify=fail_slowly if slow else fail, query_param="t")


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("token", ["s3cret-t0ken", "s3cret\x1b'", "s3/cret+t0 ken=="])
@pytest.mark.parametrize(
    "error",
    [
        lambda token: ValueError(f"no good: {token}"),
        lambda token: ValueError({"token": token}),
        lambda token: KeyError(token),
        lambda token: OSError(f"no answer from https://a/ask?{urlencode({'token': token})}"),
        lambda token: OSError(f"no answer from https://a/ask/{quote(token, safe='')}"),
    ],
)
def test_a_failure_is_logged_once_without_the_token(slow, token, error, caplog):
    caplog.set_level(logging.DEBUG)
    target = "/?t=" + "".join(f"%{byte:02x}" for byte in token.encode())
    router = router_with(failing(error, slow))
    response = asyncio.run(once(router, target))
    assert (response.status_code, response.body) == (500, b"Internal Server Error")
    assert response.exception is not None
    (record,) = [one for one in caplog.records if one.name.startswith("wsrelay")]
    assert (record.name, record.levelname) == ("wsrelay.token_auth", "ERROR")
    assert record.getMessage().startswith("GET /: token_auth.verify failed\n")
    assert "(its text has the token, and is left out)" in record.getMessage()
    assert "raise error(token)" in record.getMessage()
    for form in (token, repr(token)[1:-1], target[4:], quote(token, safe=""), quote_plus(token)):
        assert form not in caplog.text


async def once(router, target):
    return await Dispatcher([router])(Request("GET", target))


def test_a_failure_of_its_own_keeps_its_text(caplog):
    router = router_with(failing(lambda _: OSError("the database is away"), False))
    assert asyncio.run(once(router, "/?t=abcdef")).status_code == 500
    assert "OSError: the database is away" in caplog.text


def test_what_a_token_says_forges_no_line(caplog):
    """Errors tell of what was inside of a token, which anybody may have made."""
    router = router_with(
        failing(lambda _: ValueError("issuer a\nGET /: all is well\x1b[2J"), False)
    )
    assert asyncio.run(once(router, "/?t=abcdef")).status_code == 500
    (record,) = [one for one in caplog.records if one.name == "wsrelay.token_auth"]
    first, *others = record.getMessage().split("\n")
    assert first == "GET /: token_auth.verify failed"
    assert others[-1] == r"  GET /: all is well\x1b[2J"
    assert all(line.startswith("  ") for line in others)


def test_a_handler_that_fails_does_not_log_the_query(caplog):
    router = Router("", [TokenAuth(verify=verify, query_param="t")])

    def fail(request):
        raise ValueError("x")

    router.add("GET", "/", fail)
    assert asyncio.run(once(router, "/?t=ann-secret-1")).status_code == 500
    assert "GET / failed" in caplog.text
    assert "ann-secret-1" not in caplog.text


@pytest.mark.parametrize("slow", [False, True])
def test_an_http_error_is_the_answer(slow, caplog):
    auth = failing(lambda _: HTTPError(429, "slower"), slow)
    response = answer(router_with(auth), "GET", "/?t=x")
    assert (response.status_code, response.body) == (429, b"slower")
    assert caplog.text == ""


def test_a_coroutine_is_no_actor(caplog):
    auth = TokenAuth(verify=lambda token: verify_slowly(token))
    request = Request("GET", "/", [("Authorization", "Bearer ann-secret-1")])
    assert Dispatcher([router_with(auth)]).dispatch_sync(request).status_code == 500
    assert request.actor is None
    assert "declare it `async def`" in caplog.text


# -- by name ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["middleware", "post_middleware"])
def test_by_name_over_a_socket(key, run_everywhere):
    app = App()
    options = {"token_auth.verify": f"{__name__}:verify_slowly"}
    router = app.router("", **{key: ["token_auth"], OPTIONS_OF[key]: options})
    router.add("GET", "/", who)

    async def main():
        async with app.running() as server, aiohttp.ClientSession(server.url) as session:
            texts = []
            for headers in ({"Authorization": "Bearer ann-secret-1"}, {}):
                async with session.get("/", headers=headers) as response:
                    texts.append(await response.text())
            return texts

    assert run_everywhere(main()) == ["'ann'", "None"]
