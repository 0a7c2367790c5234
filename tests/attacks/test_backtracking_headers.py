"""Headers built to make a parser backtrack: the work grows with their length, not faster.

Processor time of the whole request is compared for a header of a size and one four times as long.
A quadratic parser would take sixteen times as long, an exponential one for ever.
"""

import contextlib

import pytest
from attack_helpers import handshake, target, work_of

from wsrelay.http import Limits

LIMITS = Limits(header_bytes=2**22, request_line=2**22)
SMALL = 40_000
FASTEST = 1_000_000  # ns; below that a request costs what it costs, whatever its headers are

SHAPES = {
    "CVE-2020-7662: an unclosed quote of escapes": (
        "Sec-WebSocket-Extensions",
        lambda n: b'a; b="' + rb"\c" * (n // 2),
    ),
    "an unclosed quote of letters": (
        "Sec-WebSocket-Extensions",
        lambda n: b'a; b="' + b"c" * n,
    ),
    "extensions of many parameters": (
        "Sec-WebSocket-Extensions",
        lambda n: b"a" + b"; a" * (n // 3) + b"@",
    ),
    "extensions of blanks": ("Sec-WebSocket-Extensions", lambda n: b"a" + b" \t" * (n // 2) + b"@"),
    "extensions of empty elements": ("Sec-WebSocket-Extensions", lambda n: b", " * (n // 2) + b"@"),
    "many offers that are declined": (
        "Sec-WebSocket-Extensions",
        lambda n: b", ".join([b"permessage-deflate; x"] * (n // 23)),
    ),
    "CVE-2021-32640: blanks inside a subprotocol": (
        "Sec-WebSocket-Protocol",
        lambda n: b"b" + b" " * n + b"x",
    ),
    "many subprotocols": (
        "Sec-WebSocket-Protocol",
        lambda n: b", ".join(b"p%d" % i for i in range(n // 8)) + b", /",
    ),
    "Connection of blanks and commas": ("Connection", lambda n: b"upgrade" + b" ," * (n // 2)),
    "Upgrade of near-misses": ("Upgrade", lambda n: b"websocke, " * (n // 10) + b"websocket"),
    "a key without end": ("Sec-WebSocket-Key", lambda n: b"A" * n + b"=="),
    "an origin of labels": ("Origin", lambda n: b"https://" + b"a." * (n // 2) + b"c:81"),
    "an origin of colons": ("Origin", lambda n: b"https://" + b":" * n),
    "a host of dots": ("Host", lambda n: b"a." * (n // 2) + b":x"),
    "a host of an open bracket": ("Host", lambda n: b"[" + b":" * n),
    "cookies": ("Cookie", lambda n: b"a=b; " * (n // 5)),
    "forwarded": ("X-Forwarded-For", lambda n: b"1.1.1.1, " * (n // 9)),
    "a value of blanks": ("X", lambda n: b" \t" * (n // 2) + b"x"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_work_grows_with_the_length_only(run, name):
    field, shape = SHAPES[name]

    async def main():
        async with target(
            {"allowed.origins": "*a*a*a*.b, https://*.a.a.*", "compression": "permessage-deflate"},
            limits=LIMITS,
        ) as here:

            async def attack(size):
                peer = await here.ask(handshake(**{field: shape(size)}))
                with contextlib.suppress(EOFError):
                    await peer.head()
                peer.end()

            small = await work_of(lambda: attack(SMALL))
            large = await work_of(lambda: attack(4 * SMALL))
            assert large < 9 * max(small, FASTEST), f"{small:,} ns, {large:,} ns"

    run(main())


@pytest.mark.parametrize(
    "request_line",
    [lambda n: b"/" + b"%41" * (n // 3), lambda n: b"/?" + b"&=" * (n // 2), lambda n: b"/" * n],
    ids=["percent", "query", "slashes"],
)
def test_targets_too(run, request_line):
    async def main():
        async with target(limits=LIMITS) as here:

            async def attack(size):
                line = request_line(size)
                peer = await here.ask(b"GET " + line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                await peer.head()
                peer.end()

            small = await work_of(lambda: attack(SMALL))
            large = await work_of(lambda: attack(4 * SMALL))
            assert large < 9 * max(small, FASTEST), f"{small:,} ns, {large:,} ns"

    run(main())
