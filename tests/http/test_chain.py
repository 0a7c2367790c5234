import asyncio
import functools

import pytest

from wsrelay.http import HTTPError, Request, Response
from wsrelay.http.chain import Chain, failure_response


def request():
    return Request("GET", "/secret\n")


def both_ways(chain):
    """The response of the coroutine, and of the synchronous twin where there is one."""
    responses = [asyncio.run(chain.run(request()))]
    if chain.run_sync is not None:
        responses.append(chain.run_sync(request()))
    return responses


def sync_endpoint(request):
    return {"path": request.path}


async def async_endpoint(request):
    await asyncio.sleep(0)
    return "text"


class Tagging:
    """A middleware with a synchronous twin."""

    def __init__(self, tag):
        self.tag = tag

    async def __call__(self, request, call_next):
        response = await call_next(request)
        response.headers.append("X-Tag", self.tag)
        return response

    def call_sync(self, request, call_next):
        response = call_next(request)
        response.headers.append("X-Tag", self.tag)
        return response


def test_endpoints_of_both_kinds():
    chain = Chain.of_endpoint(sync_endpoint)
    assert chain.run_sync is not None
    for response in both_ways(chain):
        assert response.body == b'{"path":"/secret\\n"}'
    chain = Chain.of_endpoint(async_endpoint)
    assert chain.run_sync is None
    assert both_ways(chain)[0].body == b"text"


def wrapper(request):
    return async_endpoint(request)


class Callable:
    async def __call__(self, request):
        return "text"


@pytest.mark.parametrize(
    "endpoint",
    [
        functools.partial(async_endpoint),
        functools.wraps(async_endpoint)(wrapper),
        Callable(),
    ],
)
def test_a_coroutine_function_in_disguise_is_awaited(endpoint):
    chain = Chain.of_endpoint(endpoint)
    assert chain.run_sync is None
    assert both_ways(chain)[0].body == b"text"


def test_a_coroutine_out_of_an_ordinary_function(caplog):
    chain = Chain.of_endpoint(lambda request: async_endpoint(request))
    assert asyncio.run(chain.run(request())).body == b"text"
    assert chain.run_sync(request()).status_code == 500
    assert "async def" in caplog.text


def test_the_first_middleware_is_outermost():
    chain = Chain.of_endpoint(sync_endpoint).wrapped([Tagging("outer"), Tagging("inner")])
    responses = both_ways(chain)
    assert len(responses) == 2
    for response in responses:
        assert response.headers.getlist("x-tag") == ["inner", "outer"]


def test_one_middleware_without_a_twin_makes_the_chain_asynchronous():
    async def plain(request, call_next):
        return await call_next(request)

    chain = Chain.of_endpoint(sync_endpoint).wrapped([Tagging("a"), plain])
    assert chain.run_sync is None
    assert both_ways(chain)[0].headers["x-tag"] == "a"
    bare = Chain.of_endpoint(sync_endpoint)
    assert bare.wrapped([]) is bare


class Order(BaseException):
    """What `wsrelay.exit()` raises is no Exception either."""


@pytest.mark.parametrize("error", [ValueError("internal"), Order("internal"), RecursionError()])
def test_an_exception_is_logged_once_and_not_told(error, caplog):
    def endpoint(request):
        raise error

    chain = Chain.of_endpoint(endpoint).wrapped([Tagging("a")])
    for response in both_ways(chain):
        assert (response.status_code, response.body) == (500, b"Internal Server Error")
        assert response.exception is error
        assert response.headers["x-tag"] == "a"
    assert [record.getMessage() for record in caplog.records] == [r"GET /secret\n failed"] * 2


def test_an_http_error_is_a_response_for_the_middleware(caplog):
    def endpoint(request):
        raise HTTPError(418, "short and stout", {"X": "y"})

    for response in both_ways(Chain.of_endpoint(endpoint).wrapped([Tagging("a")])):
        assert (response.status_code, response.body) == (418, b"short and stout")
        assert response.headers["x"] == "y"
        assert response.headers["x-tag"] == "a"
    assert not caplog.records


@pytest.mark.parametrize("result", [None, {"a": 1}, "text"])
def test_a_middleware_returns_a_response(result, caplog):
    class Broken(Tagging):
        async def __call__(self, request, call_next):
            return result

        def call_sync(self, request, call_next):
            return result

    for response in both_ways(Chain.of_endpoint(sync_endpoint).wrapped([Broken("a")])):
        assert response.status_code == 500
    assert "a middleware returns a Response" in caplog.text


def test_a_forgotten_await_is_told(caplog, recwarn):
    async def rows():
        return []

    async def endpoint(request):
        return rows()

    async def middleware(request, call_next):
        return call_next(request)

    chain = Chain.of_endpoint(endpoint)
    for broken in (chain, Chain.of_endpoint(sync_endpoint).wrapped([middleware])):
        (response,) = both_ways(broken)
        assert response.status_code == 500
    assert "a handler returned a coroutine: put `await` in front of it" in caplog.text
    assert "a middleware returned a coroutine: put `await` in front of it" in caplog.text
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


def test_what_a_handler_must_not_return(caplog):
    for response in both_ways(Chain.of_endpoint(lambda request: 42)):
        assert response.status_code == 500
    assert "not int" in caplog.text


def test_a_middleware_may_end_it_or_see_a_failure():
    async def deny(request, call_next):
        raise HTTPError(401)

    async def watch(request, call_next):
        seen.append(await call_next(request))
        return Response("replaced")

    seen = []
    chain = Chain.of_endpoint(sync_endpoint).wrapped([deny])
    assert both_ways(chain.wrapped([watch]))[0].body == b"replaced"
    assert seen[0].status_code == 401


def test_what_a_middleware_raises_is_a_response_for_those_outside(caplog):
    """So that all answers have what these add; also two in one list."""

    class Raising(Tagging):
        async def __call__(self, request, call_next):
            raise self.tag

        def call_sync(self, request, call_next):
            raise self.tag

    for error, status in ((HTTPError(403), 403), (ValueError("internal"), 500)):
        chain = Chain.of_endpoint(sync_endpoint).wrapped([Tagging("outer"), Raising(error)])
        responses = both_ways(chain)
        assert len(responses) == 2
        for response in responses:
            assert response.status_code == status
            assert response.headers["x-tag"] == "outer"
            assert response.exception is error
    assert len(caplog.records) == 2


def test_cancellation_passes():
    async def main():
        async def endpoint(request):
            await asyncio.Event().wait()

        task = asyncio.create_task(Chain.of_endpoint(endpoint).run(request()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with pytest.raises(KeyboardInterrupt):
        Chain.of_endpoint(interrupt).run_sync(request())


def interrupt(request):
    raise KeyboardInterrupt


def test_the_logged_line_is_cut(caplog):
    failure_response(Request("GET", "/" + "x" * 5000), ValueError())
    assert len(caplog.records[0].getMessage()) < 250


def test_the_logged_line_has_no_query(caplog):
    """It may carry a token."""
    failure_response(Request("GET", "/path?token=s3cret"), ValueError())
    assert caplog.records[0].getMessage() == "GET /path failed"
