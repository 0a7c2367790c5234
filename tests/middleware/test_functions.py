"""Options that name a function of the user's."""

import asyncio
import gc

import pytest

from wsrelay.config import ImportPath
from wsrelay.imports import ImportFailed, load
from wsrelay.middleware.functions import load_function, load_object, not_awaitable
from wsrelay.middleware.options import OptionError


def problem(call, *args):
    with pytest.raises(OptionError) as caught:
        call(*args)
    return caught.value.problems


def test_what_an_option_names():
    assert load_function("x.f", ImportPath("json", "dumps"), load).__name__ == "dumps"
    assert load_object("x.f", ImportPath("json", "__name__"), load) == "json"


def test_what_is_not_there_or_no_function():
    assert problem(load_object, "x.f", ImportPath("json", "dunps"), load) == [
        ("x.f", 'x.f: module "json" has no "dunps", did you mean "dumps"?')
    ]
    assert problem(load_function, "x.f", ImportPath("json", "__name__"), load) == [
        ("x.f", 'x.f: "json:__name__" is no function, but of type str')
    ]


def test_a_module_that_raises():
    def fails(path):
        raise ImportFailed(f"importing {path.module} failed")

    assert problem(load_object, "x.f", ImportPath("a", "b"), fails) == [
        ("x.f", "x.f: importing a failed")
    ]


def test_what_would_have_to_be_awaited_is_no_value():
    async def slow():
        pass

    assert not_awaitable(slow, 5) == 5
    with pytest.raises(TypeError, match=r"slow.* returned an awaitable: declare it `async def`"):
        not_awaitable(slow, slow())
    gc.collect()  # a coroutine that nobody awaits would warn

    async def with_future():
        with pytest.raises(TypeError, match="awaitable"):
            not_awaitable(slow, asyncio.get_running_loop().create_future())

    asyncio.run(with_future())
