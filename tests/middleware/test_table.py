"""Middleware by name, and the chains of a router."""

import pytest

from wsrelay import App
from wsrelay.middleware.options import OptionError
from wsrelay.middleware.table import ChainError, build_chain
from wsrelay.relay import Relay
from wsrelay.spawned import SpawnScope


async def own(request, call_next):
    return await call_next(request)


def problems(*chain):
    with pytest.raises(ChainError) as caught:
        build_chain(*chain)
    assert all(text in str(caught.value) for _, text in caught.value.problems)
    return caught.value.problems


def test_names_and_callables_stand_in_their_order():
    outer, inner = build_chain([own], None, [own, "websocket_relay"], {})
    assert [type(one) for one in outer] == [SpawnScope, type(own)]
    assert (inner[0], type(inner[1])) == (own, Relay)


def test_what_a_request_spawns_is_noted_outside_of_everything():
    """Also by the middleware that is outermost, and only where there is a relay."""
    outer, _ = build_chain([own, "websocket_relay"], {}, [], {})
    assert [type(one) for one in outer] == [SpawnScope, type(own), Relay]
    outer, _ = build_chain([], {}, [Relay()], {})
    assert [type(one) for one in outer] == [SpawnScope]
    assert build_chain([own], {}, [], {}) == ([own], [])


def test_options_reach_the_relay_of_their_list():
    _, (relay,) = build_chain([], {}, ["websocket_relay"], {"wsrelay.connections.max": "1"})
    assert relay.seats._most == 1


def test_an_unknown_name():
    assert problems(["websocket-relay"], {}, ["x", own, "websocket_relais"], {}) == [
        (
            ("middleware", 0),
            'unknown middleware "websocket-relay", did you mean "websocket_relay"?',
        ),
        (("post_middleware", 0), 'unknown middleware "x"'),
        (
            ("post_middleware", 2),
            'unknown middleware "websocket_relais", did you mean "websocket_relay"?',
        ),
    ]


def test_a_misspelt_name_is_told_before_what_it_lacks():
    assert problems(["tokn_auth"], {}, [], {}) == [
        (("middleware", 0), 'unknown middleware "tokn_auth", did you mean "token_auth"?')
    ]


def test_a_misspelt_name_still_owns_its_options():
    """One slip is one problem; what is wrong with the options themselves is told too."""
    unknown = 'unknown middleware "websocket_relais", did you mean "websocket_relay"?'
    good = {"wsrelay.allowed.origins": "*"}
    assert problems([], {}, ["websocket_relais"], good) == [(("post_middleware", 0), unknown)]
    assert problems(["websocket_relais"], good, [], {}) == [(("middleware", 0), unknown)]
    assert problems([], {}, ["websocket_relais"], {"wsrelay.drian": "1s", "other": ""}) == [
        (("post_middleware", 0), unknown),
        (
            ("post_options", "wsrelay.drian"),
            'unknown option "wsrelay.drian", did you mean "wsrelay.drain"?',
        ),
        (("post_options", "other"), 'unknown option "other"'),
    ]


def test_options_under_the_other_list_of_a_misspelt_name():
    found = dict(problems(["websocket_relais"], {}, [], {"wsrelay.drain": "1s"}))
    assert found["post_options", "wsrelay.drain"] == (
        'option "wsrelay.drain" belongs to websocket_relay, which is not in post_middleware: '
        "put it under options"
    )


def test_a_name_that_is_near_none_owns_nothing():
    found = dict(problems(["zzz"], {"wsrelay.drain": "1s"}, [], {}))
    assert found == {
        ("middleware", 0): 'unknown middleware "zzz"',
        ("options", "wsrelay.drain"): 'option "wsrelay.drain" belongs to websocket_relay, which is '
        "not in middleware: add it there",
    }


def test_what_is_neither_name_nor_callable():
    assert problems([7], {}, [None], {}) == [
        (("middleware", 0), "a middleware is a name or an async function, not int"),
        (("post_middleware", 0), "a middleware is a name or an async function, not NoneType"),
    ]


def test_a_text_in_place_of_a_list():
    assert problems("cors", {}, "websocket_relay", {}) == [
        (("middleware",), 'middleware is a list, such as ["cors"], not a text'),
        (
            ("post_middleware",),
            'post_middleware is a list, such as ["websocket_relay"], not a text',
        ),
    ]


def test_an_unknown_or_unreadable_option():
    given = {"wsrelay.queue.mx": "1MiB", "wsrelay.queue.policy": "drop_oldst", "other": "1"}
    assert problems([], {}, ["websocket_relay"], given) == [
        (
            ("post_options", "wsrelay.queue.mx"),
            'unknown option "wsrelay.queue.mx", did you mean "wsrelay.queue.max"?',
        ),
        (
            ("post_options", "wsrelay.queue.policy"),
            'wsrelay.queue.policy: "drop_oldst" is unknown, did you mean "drop_oldest"?',
        ),
        (("post_options", "other"), 'unknown option "other"'),
    ]


def test_options_without_their_middleware():
    origins = {"wsrelay.allowed.origins": "*"}
    assert problems([], origins, ["websocket_relay"], {}) == [
        (
            ("options", "wsrelay.allowed.origins"),
            'option "wsrelay.allowed.origins" belongs to websocket_relay, which is not in '
            "middleware: put it under post_options",
        )
    ]
    assert problems([], {}, [], origins) == [
        (
            ("post_options", "wsrelay.allowed.origins"),
            'option "wsrelay.allowed.origins" belongs to websocket_relay, which is not in '
            "post_middleware: add it there",
        )
    ]


def test_two_relays_in_one_list_tell_a_problem_once():
    chain = [], {}, ["websocket_relay", "websocket_relay"], {"wsrelay.drain": "x"}
    assert len(problems(*chain)) == 1


def test_an_app_refuses_what_a_chain_refuses():
    with pytest.raises(ChainError, match=r'did you mean "wsrelay\.drain"'):
        App().router("", post_middleware=["websocket_relay"], post_options={"wsrelay.drian": "1s"})


# -- what the App lends, and pages -----------------------------------------------------------------


def test_an_app_lends_what_a_middleware_wants():
    asked = []

    def load(path):
        asked.append(str(path))
        return len

    lent = {"load": load, "shared": {}}
    named = {"token_auth.verify": "a.b:c", "metrics.path": ""}
    build_chain(["websocket_relay", "token_auth", "metrics"], named, [], {}, lent)
    assert asked == ["a.b:c"]
    assert list(lent["shared"]) == ["metrics"]


def test_what_is_missing_stands_where_the_middleware_does():
    assert problems([own, "token_auth"], {}, [], {}) == [
        (
            ("middleware", 1),
            'token_auth needs a function: set token_auth.verify, as in "app.auth:verify"',
        )
    ]


class Paged:
    """A middleware with a page of its own, or without a place for it."""

    def __init__(self, problem=None):
        self.problem = problem

    async def __call__(self, request, call_next):
        return await call_next(request)

    def add_pages(self, router):
        if self.problem:
            raise OptionError([("paged.path", self.problem)])
        router.add("GET", "/page", lambda request: "page")


def test_a_middleware_brings_pages():
    router = App().router("/x", middleware=[own, Paged()])
    assert [route.template for route in router.routes] == ["/x/page"]


def test_pages_without_a_place():
    with pytest.raises(ChainError) as caught:
        App().router("", middleware=[Paged("a"), own], post_middleware=[Paged("b")])
    assert caught.value.problems == [
        (("options", "paged.path"), "a"),
        (("post_options", "paged.path"), "b"),
    ]
