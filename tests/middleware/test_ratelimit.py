"""The `ratelimit` middleware: buckets against a plain model, keys, and what clients are told."""

import asyncio
from fractions import Fraction

import pytest
from asking import session_with
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from wsrelay import App, Request, process, relay_to
from wsrelay.http import Dispatcher
from wsrelay.middleware.options import OptionError, read_options
from wsrelay.middleware.ratelimit import OPTIONS, PREFIXES, Buckets, RateLimit, address_key

CLIENT = ("192.0.2.1", 1234)


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


def bucket(requests=2, window=10.0, burst=1, max_entries=100):
    return Buckets(requests, window, burst, max_entries)


# -- buckets ---------------------------------------------------------------------------------------


class Model:
    """Tokens that drip into a bucket, by the book."""

    def __init__(self, requests, window, burst):
        self.rate = Fraction(requests) / Fraction(window)
        self.size = requests + burst
        self.buckets = {}

    def take(self, key, now):
        tokens, then = self.buckets.get(key, (Fraction(self.size), now))
        tokens = min(Fraction(self.size), tokens + (now - then) * self.rate)
        allowed = tokens >= 1
        tokens -= allowed
        self.buckets[key] = tokens, now
        reset = (self.size - tokens) / self.rate
        return allowed, int(tokens), reset, 0 if allowed else (1 - tokens) / self.rate


@given(
    requests=st.integers(1, 7),
    milliseconds=st.integers(1, 20_000),
    burst=st.integers(0, 5),
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0, 0, 0, 1, 2, 5, 40, 400])),
        max_size=60,
    ),
)
def test_buckets_are_those_of_the_model(requests, milliseconds, burst, steps):
    """Waits are quarters of a second, exact in binary, so the clock adds no error of its own."""
    buckets = bucket(requests, milliseconds / 1000, burst)
    model = Model(requests, Fraction(milliseconds, 1000), burst)
    now = Fraction(0)
    for key, wait in steps:
        now += Fraction(wait, 4)
        verdict = buckets.take(key, float(now))
        allowed, remaining, reset, retry_after = model.take(key, now)
        assert (verdict.allowed, verdict.remaining) == (allowed, remaining)
        assert verdict.reset == pytest.approx(float(reset))
        assert verdict.retry_after == pytest.approx(float(retry_after))


def test_who_keeps_to_the_rate_is_never_refused():
    """Two in each ten seconds, at any moments of them, after the burst is spent too."""
    buckets = bucket()
    for second in range(0, 1000, 10):
        assert [buckets.take("a", second + at).allowed for at in (0.0, 0.0)] == [True, True]
    assert [buckets.take("a", 990.0).allowed for _ in range(2)] == [True, False]


def test_a_refusal_costs_nothing():
    buckets = bucket()
    taken = [buckets.take("a", 0.0) for _ in range(100)]
    assert [verdict.allowed for verdict in taken] == [True] * 3 + [False] * 97
    assert {verdict.retry_after for verdict in taken[3:]} == {5.0}
    assert not buckets.take("a", 4.9).allowed
    assert buckets.take("a", 5.0).allowed
    assert not buckets.take("a", 5.0).allowed


@given(
    most=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 0, 1, 20])), max_size=200),
)
def test_the_table_is_bounded_and_forgets_nothing_while_it_has_room(most, steps):
    buckets, model = bucket(max_entries=most), Model(2, 10, 1)
    now, seen = 0, set()
    for number, wait in steps:
        now += wait
        seen.add(number)
        verdict = buckets.take(str(number), float(now))
        expected = model.take(str(number), Fraction(now))
        assert len(buckets) <= most
        if len(seen) <= most:
            assert verdict.allowed == expected[0]


def test_a_flood_of_keys_clears_no_debt_and_locks_nobody_out():
    buckets = bucket(requests=10, burst=0, max_entries=50)
    debtors = [f"debtor{number}" for number in range(5)]
    for name in debtors * 10:
        assert buckets.take(name, 0.0).allowed
    for number in range(5000):
        assert buckets.take(f"flood{number}", 0.0).allowed
    assert len(buckets) == 50
    assert not any(buckets.take(name, 0.0).allowed for name in debtors)


def test_a_full_table_forgets_nobody_for_one_that_it_knows():
    buckets = bucket(max_entries=2)
    for name in "ab":
        buckets.take(name, 0.0)
    assert [buckets.take("a", 0.0).remaining for _ in range(2)] == [1, 0]
    assert buckets.take("b", 0.0).remaining == 1


def test_full_buckets_are_forgotten_first_wherever_they_stand():
    buckets = bucket(requests=1, window=10.0, burst=0, max_entries=3)
    for name, now in (("a", 0.0), ("b", 0.0), ("c", 9.0)):
        buckets.take(name, now)
    buckets.take("new", 12.0)
    buckets.take("newer", 12.0)
    assert not buckets.take("c", 12.0).allowed


def test_forgetting_what_is_owed_is_told_once(caplog):
    buckets = bucket(max_entries=2)
    for number in range(2):
        buckets.take(str(number), 0.0)
    buckets.take("after all are full again", 100.0)
    assert caplog.messages == []
    for number in range(20):
        buckets.take(str(number), 100.0)
    assert caplog.messages == [
        "more than 2 clients at once: some are forgotten (ratelimit.max_entries)"
    ]


# -- keys ------------------------------------------------------------------------------------------


def key_of(*client):
    return address_key(Request("GET", "/", client=client or None))


def test_the_key_of_an_address():
    assert key_of("192.0.2.1", 1) == key_of("192.0.2.1", 2) != key_of("192.0.2.2", 1)
    assert key_of("2001:db8:0:1::1", 1) == key_of("2001:db8:0:1:ffff::2", 1)
    assert key_of("2001:db8:0:1::1", 1) != key_of("2001:db8:0:2::1", 1)
    assert key_of("::ffff:192.0.2.1", 1) == "192.0.2.1"
    assert key_of("no:address", 1) == "no:address"
    assert key_of() == ""


def statuses(options, *requests):
    """What a router with one request a client answers to requests, by name in both lists."""
    given = {"ratelimit.requests": "1", "ratelimit.burst": "0", **options}
    runs = []
    for half in ("", "post_"):
        router = App().router("", **{f"{half}middleware": ["ratelimit"], f"{half}options": given})
        router.get("/")(lambda request: "text")
        dispatcher = Dispatcher([router])
        asked = []
        for target, fields, client in requests:
            request = Request("GET", target, fields, client=client)
            asked.append(dispatcher.dispatch_sync(request).status_code)
        runs.append(asked)
    assert runs[0] == runs[1]
    return runs[0]


OTHER = ("192.0.2.2", 1)


def test_by_address():
    asked = ("/", {}, CLIENT), ("/", {}, CLIENT), ("/", {}, OTHER), ("/", {}, None), ("/", {}, None)
    assert statuses({}, *asked) == [200, 429, 200, 200, 429]
    assert statuses({"ratelimit.key": "ip"}, *asked) == [200, 429, 200, 200, 429]


def test_by_header():
    asked = (
        ("/", {"X-Key": "a"}, CLIENT),
        ("/", {"x-key": "a"}, OTHER),
        ("/", {"X-Key": "b"}, CLIENT),
        ("/", [("X-Key", "b"), ("X-Key", "c")], CLIENT),
        # Without it, or with nothing in it, the address counts; a text is never an address.
        ("/", {"X-Key": CLIENT[0]}, OTHER),
        ("/", {}, CLIENT),
        ("/", {"X-Key": ""}, CLIENT),
        ("/", {"X-Key": "ü\xff"}, CLIENT),
    )
    expected = [200, 429, 200, 429, 200, 200, 429, 200]
    assert statuses({"ratelimit.key": "header:X-Key"}, *asked) == expected


def test_by_query():
    asked = (
        ("/?key=a", {}, CLIENT),
        ("/?key=%61", {}, OTHER),
        ("/?key=b", {}, CLIENT),
        ("/?other=a", {}, CLIENT),
        ("/?key=", {}, CLIENT),
        ("/?key=%ff%d8", {}, CLIENT),
    )
    expected = [200, 429, 200, 200, 429, 200]
    assert statuses({"ratelimit.key": "query:key"}, *asked) == expected


def test_a_long_key_costs_no_more_than_a_short_one():
    layer = RateLimit(key="header:X-Key")
    keys = {layer._key(Request("GET", "/", {"X-Key": text})) for text in ("a", "a" * 10_000)}
    assert {len(key) for key in keys} == {16}


def test_the_client_may_be_known_better_by_another_middleware():
    async def real_ip(request, call_next):
        request.client = (request.headers["x-real-ip"], 0)
        return await call_next(request)

    options = {"ratelimit.requests": "1", "ratelimit.burst": "0"}
    router = App().router("", middleware=[real_ip, "ratelimit"], options=options)
    router.get("/")(lambda request: "text")
    dispatcher = Dispatcher([router])

    async def ask(address):
        request = Request("GET", "/", {"X-Real-IP": address}, client=CLIENT)
        return (await dispatcher(request)).status_code

    assert [asyncio.run(ask(each)) for each in ("10.0.0.1", "10.0.0.1", "10.0.0.2")] == [
        200, 429, 200,
    ]  # fmt: skip


# -- answers ---------------------------------------------------------------------------------------


def rate_headers(response):
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After")
    return tuple(response.headers.get(name) for name in names)


def test_what_a_client_is_told():
    clock = Clock()
    layer = RateLimit(requests=2, window=10, burst=1, clock=clock)
    router = App().router("", middleware=[layer])
    router.get("/")(lambda request: "text")
    dispatcher = Dispatcher([router])

    def ask(path="/"):
        response = dispatcher.dispatch_sync(Request("GET", path, client=CLIENT))
        return response.status_code, *rate_headers(response)

    assert ask() == (200, "3", "2", "5", None)
    assert ask("/nowhere") == (404, "3", "1", "10", None)
    assert ask() == (200, "3", "0", "15", None)
    assert ask() == (429, "3", "0", "15", "5")
    clock.now += 4.5
    assert ask() == (429, "3", "0", "11", "1")
    clock.now += 0.5
    assert ask() == (200, "3", "0", "15", None)
    clock.now += 1000
    assert ask() == (200, "3", "2", "5", None)


def test_both_ways_count_alike():
    layer = RateLimit(requests=1, burst=1)
    router = App().router("", middleware=[layer])
    router.get("/")(lambda request: "text")
    dispatcher = Dispatcher([router])
    first = asyncio.run(dispatcher(Request("GET", "/", client=CLIENT)))
    second = dispatcher.dispatch_sync(Request("GET", "/", client=CLIENT))
    third = asyncio.run(dispatcher(Request("GET", "/", client=CLIENT)))
    assert [one.status_code for one in (first, second, third)] == [200, 200, 429]
    assert (third.body, rate_headers(third)[:2]) == (b"Too Many Requests", ("2", "0"))


def test_each_router_counts_by_itself_unless_they_share_an_object(caplog):
    app = App()
    options = {"ratelimit.requests": "1", "ratelimit.burst": "0"}
    shared = RateLimit(options)
    for prefix, layer in (("/a", "ratelimit"), ("/b", "ratelimit"), ("/c", shared), ("/d", shared)):
        given = options if isinstance(layer, str) else None
        router = app.router(prefix, middleware=[layer], options=given)
        router.get("/")(lambda request: "text")
    dispatcher = Dispatcher(app.services["app:gateway"].routers)
    asked = [
        dispatcher.dispatch_sync(Request("GET", f"/{each}/", client=CLIENT)).status_code
        for each in "abcd"
    ]
    assert asked == [200, 200, 200, 429]
    assert caplog.messages == []


# -- options ---------------------------------------------------------------------------------------


def test_the_table_and_its_defaults():
    assert read_options(OPTIONS, {}, PREFIXES) == {
        "ratelimit.requests": 100,
        "ratelimit.window": 60.0,
        "ratelimit.burst": 20,
        "ratelimit.key": address_key,
        "ratelimit.max_entries": 100_000,
    }
    assert all(option.about.endswith(".") for option in OPTIONS)


def test_options_in_texts_and_in_python():
    texts = {
        "ratelimit.requests": "2",
        "ratelimit.window": "1m30s",
        "ratelimit.burst": "3",
        "ratelimit.key": "query:key",
        "ratelimit.max_entries": "4",
    }
    keywords = {"requests": 2, "burst": 3, "key": "query:key", "max_entries": 4}
    for layer in (
        RateLimit(texts),
        RateLimit(window=90, **keywords),
        RateLimit({"ratelimit.window": "1h"}, window="90s", **keywords),
    ):
        for number in range(6):
            request = Request("GET", f"/?key={number}", client=CLIENT)
            verdict = layer._take(request)
        assert (verdict.allowed, verdict.remaining, verdict.reset) == (True, 4, 45.0)
        assert len(layer._buckets) == 4


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("ratelimit.requests", "0", "0 is too few; to have no limit, take ratelimit out"),
        ("ratelimit.requests", "1.5", "no whole number"),
        ("ratelimit.window", "0", "0 is too short"),
        ("ratelimit.window", "60", 'write "60s"'),
        ("ratelimit.window", "-1s", "can't be negative"),
        ("ratelimit.burst", "-1", "no whole number"),
        ("ratelimit.max_entries", "0", "0 is too few"),
        ("ratelimit.key", "header:", '"header:" is no key; write ip, header:NAME or query:NAME'),
        ("ratelimit.key", "query:", "is no key; write ip"),
        ("ratelimit.key", "header:a b", "is no key; write ip"),
        ("ratelimit.key", "haeder:X", 'did you mean "header"?'),
        ("ratelimit.key", "", "is no key; write ip"),
        ("ratelimit.max.entries", "1", 'did you mean "ratelimit.max_entries"'),
    ],
)
def test_what_is_refused(option, text, message):
    with pytest.raises(OptionError) as caught:
        RateLimit({option: text})
    (problem,) = caught.value.problems
    assert problem[0] == option
    assert message in problem[1]


# -- on a socket -----------------------------------------------------------------------------------


def test_over_a_socket(run_everywhere):
    app = App()
    options = {"ratelimit.requests": "2", "ratelimit.burst": "0", "ratelimit.window": "1h"}
    router = app.router("", middleware=["ratelimit"], options=options)

    @router.get("/")
    async def answer(request):
        return "text"

    async def main():
        async with session_with(app) as session:
            for status, remaining in ((200, "1"), (200, "0"), (429, "0"), (429, "0")):
                async with session.get("/") as answer:
                    assert answer.status == status
                    assert answer.headers["X-RateLimit-Remaining"] == remaining
                    assert ("Retry-After" in answer.headers) == (status == 429)

    run_everywhere(main())


@pytest.mark.parametrize("half", ["", "post_"])
def test_in_front_of_a_relay(run, half):
    app = App()
    options = {"ratelimit.requests": "1", "ratelimit.burst": "0", "ratelimit.window": "1h"}
    layers = {
        "middleware": ["ratelimit"],
        "options": options,
        "post_middleware": ["websocket_relay"],
    }
    if half:
        layers = {"post_middleware": ["ratelimit", "websocket_relay"], "post_options": options}
    router = app.router("", **layers)
    spawned = []

    async def target():
        async for _ in process.inbox():
            pass

    @router.get("/ws")
    def open_it(request):
        spawned.append(process.spawn(target))
        return relay_to(spawned[-1])

    async def main():
        async with app.running() as server:
            url = f"ws://127.0.0.1:{server.port}/ws"
            async with connect(url) as socket:
                assert socket.response.headers["X-RateLimit-Remaining"] == "0"
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(url):
                        pass
                response = refused.value.response
                assert response.status_code == 429
                assert response.headers["Connection"] == "close"
                assert 3599 <= int(response.headers["Retry-After"]) <= 3600
            assert len(spawned) == 1

    run(main())
