"""The `ratelimit` middleware: how many requests one client may make in a time.

Each client has a bucket with `requests + burst` tokens, full at first. A request takes one, and
`requests` of them come back in each `window`, evenly. So who stays within `requests` in any
`window` is never refused, and `burst` more are let through where they come at once.

In front of `websocket_relay` it counts handshakes; one that is refused ends its connection.
"""

import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from wsrelay._text import did_you_mean, quoted
from wsrelay.config.durations import DURATION, format_duration
from wsrelay.config.schema import written
from wsrelay.errors import HTTPError
from wsrelay.http.addresses import subscriber_of
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.headers import is_token
from wsrelay.http.request import Request
from wsrelay.http.response import Response, error_response
from wsrelay.log import Limited

from .options import Option, count, duration, read_options, with_keywords

__all__ = ["OPTIONS", "PREFIXES", "Buckets", "Key", "RateLimit", "Verdict", "address_key"]

logger = logging.getLogger("wsrelay.ratelimit")

Key = str | bytes
"""Of one bucket: the text of an address, or the digest of a header or parameter."""

_NANOSECONDS = 10**9
# Entries of a full table that are looked at to find the one to forget.
_LOOKED_AT = 8


# -- who asks --------------------------------------------------------------------------------------


def address_key(request: Request) -> Key:
    """The client's address, see `subscriber_of`; all clients of a Unix socket share one key."""
    return "" if request.client is None else subscriber_of(request.client[0])


def _digest(text: str | None) -> Key | None:
    # A digest is short however long the text is, no memory dump shows an API key by it, and as
    # bytes it is nobody's address.
    return hashlib.blake2b(text.encode(), digest_size=16).digest() if text else None


def _header_key(name: str) -> Callable[[Request], Key]:
    return lambda request: _digest(request.headers.get(name)) or address_key(request)


def _query_key(name: str) -> Callable[[Request], Key]:
    return lambda request: _digest(request.query_params.get(name)) or address_key(request)


# -- options ---------------------------------------------------------------------------------------


@written(lambda: {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+$"})
def _at_least_one(text: str) -> int:
    number = count(text)
    if number == 0:
        raise ValueError("0 is too few; to have no limit, take ratelimit out of the middleware")
    return number


@written(lambda: DURATION, show=format_duration)
def _window(text: str) -> float:
    seconds = duration(text)
    if seconds == 0:
        raise ValueError("0 is too short; to have no limit, take ratelimit out of the middleware")
    return seconds


@written(lambda: {"type": "string"}, show=lambda key: "ip")
def _key(text: str) -> Callable[[Request], Key]:
    kind, _, name = text.partition(":")
    if text == "ip":
        return address_key
    if kind == "header" and is_token(name.encode()):
        return _header_key(name)
    if kind == "query" and name:
        return _query_key(name)
    hint = did_you_mean(kind, ("ip", "header", "query")) if kind not in ("header", "query") else ""
    raise ValueError(f"{quoted(text)} is no key{hint}; write ip, header:NAME or query:NAME")


PREFIXES = ("ratelimit.",)
OPTIONS = (
    Option(
        "ratelimit.requests", _at_least_one, 100, "Requests that a client may make in each window."
    ),
    Option("ratelimit.window", _window, 60.0, "The time in which it may make them, a duration."),
    Option(
        "ratelimit.burst",
        count,
        20,
        "How many more are let through where they come at once; they come back as the others do.",
    ),
    Option(
        "ratelimit.key",
        _key,
        address_key,
        "What tells clients apart: `ip`, their address (of IPv6 the /64, which is one customer); "
        "`header:NAME` or `query:NAME`, a request header or a query parameter, and the address "
        "where it is absent. Who may write there what it likes has as many buckets as it likes: "
        "name only what a middleware or proxy in front checks, such as an API key.",
    ),
    Option(
        "ratelimit.max_entries",
        _at_least_one,
        100_000,
        "How many clients are remembered, 200 to 300 bytes each. Over it those are forgotten who "
        "are soonest to have all their requests back.",
    ),
)


# -- the buckets -----------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What becomes of a request.

    Attributes:
        allowed: it took a token.
        remaining: whole tokens that are left.
        reset: seconds until the bucket is full again.
        retry_after: seconds until there is a token; 0 where it is allowed.
    """

    allowed: bool
    remaining: int
    reset: float
    retry_after: float


class Buckets:
    """Token buckets by key, full at first; what they cost does not grow with their number.

    Of each bucket one number is kept: when it will be full again (GCRA, ITU-T I.371). Time counts
    in ticks, `requests` of them in a nanosecond, so that a token comes back in a whole number of
    ticks and nothing is lost to rounding.

    Args:
        requests: tokens that come back in each window.
        window: seconds.
        burst: tokens that a bucket holds beyond `requests`.
        max_entries: buckets that are remembered.

    Attributes:
        size: tokens of a full bucket.
    """

    def __init__(self, requests: int, window: float, burst: int, max_entries: int) -> None:
        self.size = requests + burst
        self._ticks = requests  # in a nanosecond
        self._token = round(window * _NANOSECONDS)
        self._most = max_entries
        self._full_at: OrderedDict[Key, int] = OrderedDict()
        self._log = Limited(most=1, period=60.0)

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, now: float) -> Verdict:
        """Take a token out of a bucket, if it has one.

        Args:
            key: whose bucket.
            now: seconds of a clock that does not go back.
        """
        ticks = int(now * _NANOSECONDS) * self._ticks
        known = self._full_at.get(key)
        lacks = 0 if known is None else max(0, known - ticks)  # ticks to the full bucket
        over = lacks + self._token - self.size * self._token
        if over > 0:
            return self._verdict(False, lacks, over)
        if known is None and len(self._full_at) >= self._most:
            self._forget_one(ticks)
        lacks += self._token
        self._full_at[key] = ticks + lacks
        return self._verdict(True, lacks, 0)

    def _verdict(self, allowed: bool, lacks: int, over: int) -> Verdict:
        second = self._ticks * _NANOSECONDS
        remaining = (self.size * self._token - lacks) // self._token
        return Verdict(allowed, remaining, lacks / second, over / second)

    def _forget_one(self, ticks: int) -> None:
        """Forget a bucket: of the next few that which is the soonest to be full, or is.

        A full bucket is as good as none. Where all lack something, who floods the table with keys
        of his own has a full bucket for each of them anyway, so he gains nothing for himself; and
        what others lack he can't clear, nor lock out who is new: his buckets lack one token each
        and go first. To push out one that lacks N he must take N out of each of several others, in
        the time in which they would come back. A few are looked at, not all, so a flood costs the
        same for each request; those that stay go to the end of the line.
        """
        buckets = self._full_at
        some = [buckets.popitem(last=False) for _ in range(min(_LOOKED_AT, len(buckets)))]
        forgotten = min(some, key=itemgetter(1))
        some.remove(forgotten)
        buckets.update(some)
        if forgotten[1] > ticks:
            text = "more than %d clients at once: some are forgotten (ratelimit.max_entries)"
            self._log.warning(logger, text, self._most)


# -- the middleware --------------------------------------------------------------------------------


class RateLimit:
    """The middleware; each object counts by itself, so each router does.

    Every answer has `X-RateLimit-Limit` (the bucket's size), `X-RateLimit-Remaining` and
    `X-RateLimit-Reset` (seconds until it is full again). What is too much is answered with 429
    (RFC 6585 4) and `Retry-After` in seconds, and not counted.

    Args:
        options: texts by dotted name, see `OPTIONS`.
        requests, burst, key, max_entries: as the options of these names.
        window: seconds, or a duration such as `1m`.
        clock: returns seconds that do not go back.

    Raises:
        OptionError: unknown or unreadable options.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        requests: int | None = None,
        window: float | str | None = None,
        burst: int | None = None,
        key: str | None = None,
        max_entries: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keywords = {
            "ratelimit.requests": requests,
            "ratelimit.window": window
            if isinstance(window, str | None)
            else format_duration(window),
            "ratelimit.burst": burst,
            "ratelimit.key": key,
            "ratelimit.max_entries": max_entries,
        }
        values: dict[str, Any] = read_options(OPTIONS, with_keywords(options, keywords), PREFIXES)
        self._key: Callable[[Request], Key] = values["ratelimit.key"]
        self._clock = clock
        self._buckets = Buckets(
            values["ratelimit.requests"],
            values["ratelimit.window"],
            values["ratelimit.burst"],
            values["ratelimit.max_entries"],
        )

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Let the request pass, or refuse it."""
        verdict = self._take(request)
        return self._mark(verdict, await call_next(request) if verdict.allowed else _refusal())

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        verdict = self._take(request)
        return self._mark(verdict, call_next(request) if verdict.allowed else _refusal())

    def _take(self, request: Request) -> Verdict:
        return self._buckets.take(self._key(request), self._clock())

    def _mark(self, verdict: Verdict, response: Response) -> Response:
        headers = response.headers
        headers["X-RateLimit-Limit"] = str(self._buckets.size)
        headers["X-RateLimit-Remaining"] = str(verdict.remaining)
        headers["X-RateLimit-Reset"] = str(math.ceil(verdict.reset))
        if not verdict.allowed:
            headers["Retry-After"] = str(math.ceil(verdict.retry_after))
        return response


def _refusal() -> Response:
    # Returned, not raised, and nothing logged: a client can cause as many as it likes.
    return error_response(HTTPError(429))
