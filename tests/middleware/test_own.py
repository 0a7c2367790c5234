"""Middleware of the application: functions, factories, and their options, in code and in files."""

import pytest

from wsrelay import App, ConfigError, Request, Response
from wsrelay.middleware.cors import Cors
from wsrelay.middleware.options import OptionError
from wsrelay.middleware.table import ChainError, build_chain

MODULE = """\
from wsrelay import Response

async def stamp(request, call_next):
    response = await call_next(request)
    response.headers["X-Stamp"] = "yes"
    return response

class Tenant:
    prefix = "tenant."

    def __init__(self, options):
        unknown = set(options) - {"tenant.name"}
        if unknown:
            raise ValueError(f"unknown option {min(unknown)}")
        self.name = options.get("tenant.name", "nobody")

    async def __call__(self, request, call_next):
        response = await call_next(request)
        response.headers["X-Tenant"] = self.name
        return response

def maker(options):
    return stamp

def hello(request):
    return "hello"

number = 5
"""


async def stamp(request: Request, call_next) -> Response:
    response = await call_next(request)
    response.headers["X-Stamp"] = "yes"
    return response


class Tenant:
    prefix = "tenant."

    def __init__(self, options):
        self.options = options

    async def __call__(self, request, call_next):
        return await call_next(request)


def problems(*chain, **lent):
    with pytest.raises(ChainError) as caught:
        build_chain(*chain)
    return caught.value.problems


def test_a_factory_is_given_the_options_under_its_prefix():
    (made, other), _ = build_chain([Tenant, stamp], {"tenant.name": "acme"}, [], {})
    assert isinstance(made, Tenant) and made.options == {"tenant.name": "acme"}
    assert other is stamp


def test_a_factory_may_be_a_function():
    def make(options):
        return Tenant(options)

    make.prefix = "mine."
    (made,), _ = build_chain([make], {"mine.a": "1"}, [], {})
    assert made.options == {"mine.a": "1"}


def test_without_a_prefix_there_are_no_options():
    def make(options):
        return Tenant(options)

    (made,), _ = build_chain([make], {}, [], {})
    assert made.options == {}
    assert problems([make], {"mine.a": "1"}, [], {}) == [
        (("options", "mine.a"), 'unknown option "mine.a"')
    ]


def test_an_ordinary_function_of_two_arguments_is_a_middleware():
    def passing(request, call_next):
        return call_next(request)

    assert build_chain([passing], {}, [], {}) == ([passing], [])


def test_a_class_behind_a_name_is_that_name():
    (made,), _ = build_chain([Cors], {"cors.max.age": "5"}, [], {})
    assert isinstance(made, Cors)
    assert problems([Cors], {"cors.max.ago": "5"}, [], {}) == [
        (("options", "cors.max.ago"), 'unknown option "cors.max.ago", did you mean "cors.max.age"?')
    ]


class Refusing(Tenant):
    def __init__(self, options):
        raise OptionError([(key, f"{key}: no") for key in options])


class Wrong(Tenant):
    prefix = "tenant"


def nothing(options):
    return None


def test_what_can_not_be():
    assert problems([Refusing, nothing], {"tenant.a": "1"}, [Wrong, "m:x:y"], {}) == [
        (("options", "tenant.a"), "tenant.a: no"),
        (
            ("middleware", 1),
            'middleware "nothing": a middleware is an async function or makes one, not "NoneType"',
        ),
        (
            ("post_middleware", 0),
            "middleware \"Wrong\": prefix is 'tenant'; write a text that ends in a dot, such as "
            '"tenant."',
        ),
        (
            ("post_middleware", 1),
            'middleware "m:x:y": "m:x:y" is not an import path; write it as '
            '"package.module:attribute"',
        ),
    ]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes an app with one router, whose entry has `more`."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)

    def write(more):
        (tmp_path / "app.yaml").write_text(
            'version: "1.0"\nnamespace: app\nentries:\n'
            f"  - {{name: r, kind: http.router, {more.replace('MOD', name)}}}\n"
            f"  - {{name: e, kind: http.endpoint, method: GET, path: /, func: {name}:hello}}\n"
        )
        return tmp_path / "app.yaml", name

    monkeypatch.syspath_prepend(tmp_path)
    return write


def test_a_file_names_it_by_its_import_path(run, file):
    import aiohttp

    path, _ = file(
        "middleware: ['MOD:stamp', 'MOD:Tenant'], options: {tenant.name: acme}, "
        "post_middleware: ['MOD:maker']"
    )

    async def main():
        async with (
            App.from_file(path).running(port=0) as server,
            aiohttp.ClientSession() as session,
            session.get(server.url) as response,
        ):
            assert response.headers.getall("X-Stamp") == ["yes"]
            assert response.headers["X-Tenant"] == "acme"
            assert await response.text() == "hello"

    run(main())


def test_a_broken_file(file):
    path, name = file(
        "middleware: ['MOD:stemp', 'MOD:number', 'MOD:Tenant'], options: {tenant.nme: x, b.c: 1}"
    )
    with pytest.raises(ConfigError) as caught:
        App.from_file(path)
    where = 'http.router "r"'
    assert [str(problem).split(": ", 1)[1] for problem in caught.value.problems] == [
        f'{where}: middleware "{name}:stemp": module "{name}" has no "stemp", '
        'did you mean "stamp"?',
        f'{where}: middleware "{name}:number": a middleware is an async function or makes one, '
        'not "int"',
        f'{where}: middleware "{name}:Tenant": unknown option tenant.nme',
        f'{where}: unknown option "b.c"',
    ]
