"""Origin games: 403 before the handler runs.

CVE-2018-14732 (webpack-dev-server): no page was asked where it comes from; GHSA-793v-589g-574v
(Bokeh): a host that only began with an allowed one was allowed.

The server's host is `a.example`, and `https://*.app.example` and `chat.example` are allowed.
"""

import pytest
from attack_helpers import handshake, target

ALLOWED = {"allowed.origins": "https://*.app.example, chat.example, [::1]:3000"}

REFUSED = {
    "suffix tricks": [
        "https://x.app.example.evil.example",
        "http://a.example.evil.example",
        "http://chat.example.evil.example",
        "http://chat.examples",
        "http://a.examplee",
    ],
    "prefix tricks": [
        "https://xapp.example",
        "https://app.example",
        "https://.app.example",
        "http://evilchat.example",
        "http://xa.example",
        "http://x.a.example",
        "http://x.chat.example",
    ],
    "other ports": [
        "http://a.example:81",
        "http://a.example:443",
        "https://a.example:80",
        "https://x.app.example:8443",
        "https://x.app.example:80",
        "http://chat.example:8080",
        "http://[::1]",
        "http://[::1]:3001",
    ],
    "other schemes where a pattern names one": [
        "http://x.app.example",
        "ws://x.app.example",
        "wss://x.app.example",
        "chrome-extension://x.app.example",
        "httpss://x.app.example",
    ],
    "null": ["null", "NULL", "null, http://a.example"],
    "user info": [
        "http://a.example@evil.example",
        "http://user@a.example",
        "http://user:password@a.example",
        "https://x.app.example@evil.example",
        "http://evil.example#@a.example",
        "http://@a.example",
    ],
    "several Origin headers": [
        ["http://a.example", "http://a.example"],
        ["http://a.example", "http://evil.example"],
        ["http://evil.example", "http://a.example"],
        ["http://a.example", ""],
        "http://a.example, http://a.example",
        "http://a.example http://evil.example",
    ],
    "empty": ["", " ", "\t"],
    "IPv6": [
        "http://[::2]:3000",
        "http://::1:3000",
        "http://[::1:3000",
        "http://[::1]evil.example:3000",
        "http://[::ffff:127.0.0.1]:3000",
        "https://x.app.example[::1]:3000",
    ],
    "trailing dot": [
        "http://a.example.",
        "https://x.app.example.",
        "http://chat.example.",
        "http://a.example..",
    ],
    "what is no origin": [
        "a.example",
        "//a.example",
        "http:a.example",
        "http:/a.example",
        "http:///a.example",
        "http://a.example/",
        "http://a.example/path",
        "http://a.example?",
        "http://a.example\\",
        "http://a.ex%61mple",
        "http://evil.example%2f.app.example",
        "https://evil.example%00.app.example",
        "https://evil.example/.app.example",
        "https://evil.example?.app.example",
        "https://evil.example:81.app.example",
        b"http://a.example\xff",
        b"http://\xc3\xa4.app.example",
        "http://a.example:",
        "http://a.example:0x50",
        "http://a.example:99999",
        "javascript://a.example%0aalert(1)",
        "data:text/html,x",
        "file://",
        "*",
        "https://*.app.example",
    ],
    "another page": ["http://evil.example", "https://b.example"],
}
GAMES = [(row, origin) for row, many in REFUSED.items() for origin in many]


@pytest.mark.parametrize(("row", "origin"), GAMES)
def test_origin_games(run, row, origin):
    async def main():
        async with target(ALLOWED) as here:
            peer = await here.ask(handshake(Origin=origin))
            answer = await peer.head()
            assert (answer.status, answer.fields["connection"]) == (403, "close")
            assert await peer.rest() == b""
            assert here.upgrades == 0

    run(main())


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("a.example", "http://a.example"),
        ("a.example", "https://a.example"),
        ("A.Example", "HTTP://a.EXAMPLE"),
        ("a.example:80", "http://a.example"),
        ("a.example", "http://a.example:80"),
        ("a.example:443", "https://a.example"),
        ("a.example", "https://a.example:443"),
        ("a.example:8080", "http://a.example:8080"),
        ("a.example.", "http://a.example."),
        ("[::1]", "http://[0:0:0:0:0:0:0:1]"),
        ("b.example", "https://x.app.example"),
        ("b.example", "https://X.Y.App.Example:443"),
        ("b.example", "http://chat.example:80"),
        ("b.example", "HTTPS://CHAT.EXAMPLE"),
        ("b.example", "http://[0::1]:3000"),
        ("b.example", None),
    ],
)
def test_upper_case_default_ports_and_other_spellings_of_the_same_host(run, host, origin):
    """Same host is decided on the parsed authority, default ports folded."""

    async def main():
        async with target(ALLOWED) as here:
            answer = await (await here.ask(handshake(Host=host, Origin=origin))).head()
            assert (answer.status, here.upgrades) == (101, 1)

    run(main())


@pytest.mark.parametrize("origin", ["http://a.example:81", "http://b.example", "null", ""])
def test_without_patterns_only_the_same_origin(run, origin):
    async def main():
        async with target({"allowed.origins": ""}) as here:
            answer = await (await here.ask(handshake(Origin=origin))).head()
            assert (answer.status, here.upgrades) == (403, 0)
            answer = await (await here.ask(handshake(Origin="http://a.example"))).head()
            assert (answer.status, here.upgrades) == (101, 1)

    run(main())


@pytest.mark.parametrize(
    "origin", ["", "null,null", "http://u@a.example", "a.example", ["http://a.example"] * 2]
)
def test_what_is_no_origin_is_refused_even_where_all_are_allowed(run, origin):
    async def main():
        async with target({"allowed.origins": "*"}) as here:
            answer = await (await here.ask(handshake(Origin=origin))).head()
            assert (answer.status, here.upgrades) == (403, 0)

    run(main())


def test_an_absolute_target_does_not_change_what_the_same_host_is_behind_its_back(run):
    """The target's host counts (RFC 9112 3.2.2), for the origin too."""

    async def main():
        async with target() as here:
            for origin, status in (("http://b.example", 101), ("http://a.example", 403)):
                data = handshake("http://b.example/chat/ws", Origin=origin)
                assert (await (await here.ask(data)).head()).status == status

    run(main())
