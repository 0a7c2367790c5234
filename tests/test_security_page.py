"""docs/security.md: every limit of the code is in its tables, with the value that the code has."""

import ast
import asyncio
import dataclasses
import functools
import re

import pytest
from guide import DOCS

from wsrelay.config import KINDS
from wsrelay.config.fields import rows_of
from wsrelay.errors import HandshakeError
from wsrelay.http.limits import Limits, Timeouts
from wsrelay.http.request import Request
from wsrelay.http.server import ServerState
from wsrelay.lifecycle import CLOSE_SHARE, DRAIN_BATCH, DRAIN_STEPS
from wsrelay.log import LOGGED_CHARACTERS, Limited
from wsrelay.middleware.options import count, duration, size
from wsrelay.middleware.table import MIDDLEWARE
from wsrelay.relay import Relay

ROOT = DOCS.parent
PAGE = (DOCS / "security.md").read_text("utf-8")
DEPLOYMENT = (DOCS / "deployment.md").read_text("utf-8")
UNITS = {"µs": 1e-6, "bytes": 1, "KiB": 2**10, "MiB": 2**20, "s": 1, "min": 60, "": 1}

# Constants of the code that bound what a stranger costs, by the first words of their row.
FIXED = {
    "framing of a chunked body": "http/body.py SPARE_FRAMING",
    "one line of that framing": "http/body.py LINE_BYTES",
    "trailers of a chunked body": "http/body.py TRAILER_BYTES",
    "what a client must read": "http/link.py READ_PACE",
    "what it may still send": "http/link.py LINGER_BYTES",
    "bytes read ahead": "http/link.py BUFFERED_BYTES",
    "requests of one client in a row": "http/protocol.py PIPELINED_AT_ONCE",
    "PROXY header, version 1": "http/proxy_protocol.py LONGEST_V1",
    "PROXY header, version 2": "http/proxy_protocol.py LONGEST_V2",
    "addresses in `X-Forwarded-For`": "http/forwarded.py HOPS",
    "`X-WS-Relay`": "relay_command.py HEADER_MAX",
    "fragments of a message": "_frame.pyx FREE_FRAGMENTS",
    "bytes of `wsrelay.message.max`": "_frame.pyx BYTES_PER_FRAGMENT",
    "unfinished messages of all": "_receiving.pyx PINNED_MAX",
    "control frame": "_wire.pxd MAX_CONTROL",
    "what a frame in that queue costs": "_outbox.pyx FRAME_COST",
    "answers to pings": "_outbox.pyx PONGS_AT_ONCE",
    "decoding of what one client has sent": "_receiving.pyx TURN",
    "messages in a target's inbox": "_mailbox.pyx HIGH_COUNT",
    "client data in a target's inbox": "_mailbox.pyx HIGH_SIZE",
    "descriptors that are left free": "listener.py RESERVE",
    "descriptors that files": "http/static_files.py SPARED",
    "connects that wait in the kernel": "listener.py QUEUE",
    "connections accepted in a row": "listener.py ACCEPTS_AT_ONCE",
}
# Numbers that bound nobody: formats, clocks, how much is done in one piece, what is cached.
OTHER = {
    "http/access.py CLIENT_GONE",
    "http/addresses.py SUBSCRIBER_BITS",
    "http/headers.py MEMORABLE",
    "http/link.py UNSEEN_BYTES",
    "http/proxy_protocol.py _FIXED",
    "http/server.py READ_SIZE",
    "http/server.py SWEEP_INTERVAL",
    "http/static.py LONGEST_CACHE",
    "http/static.py PIECE",
    "http/static.py SETTLED",
    "http/static_conditions.py _DATE_CHARACTERS",
    "http/static_conditions.py _SIZE_DIGITS",
    "listener.py RETRY",
    "relay_command.py PLAIN_PID",
    "relay_command.py SHORTEST_HEARTBEAT",
    "_frame.pyx PIECES",
    "_mailbox.pyx FIRST_CAPACITY",
    "_mailbox.pyx KEPT_CAPACITY",
    "_mailbox.pyx SHOWN",
    "_mailbox.pyx SPARE_CAPACITY",
    "_mailbox.pyx SPARE_MESSAGES",
    "_outbox.pyx HIGH",
    "_outbox.pyx PART",
    "_receiving.pyx CLOCK_EVERY",
    "_wsproto.pxd FIRST_EXPANSION",
    "_wsproto.pxd FRAGMENT_COST",
    "_wsproto.pxd INFLATED_SLICE",
    "_wsproto.pxd INFLATE_COST",
    "_wsproto.pxd INFLATE_FLOOR",
    "_wsproto.pxd MAX_DEFLATE_SLICE",
    "_wsproto.pxd MAX_SLICE",
    "_wsproto.pxd MIN_DEFLATE_SLICE",
}
SOURCES = ("listener.py", "relay_command.py", "http/*.py")
CORE = ("_frame.pyx", "_mailbox.pyx", "_outbox.pyx", "_receiving.pyx", "_wsproto.pxd")
NO_LIMITS = {"wsrelay.heartbeat.default"}


def rows():
    """The cells of all rows of the tables of limits."""
    tables = PAGE.split("\n## Limits\n")[1].split("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in tables.splitlines() if line[:2] == "| "]
    return [cells for cells in found if cells[0] != "Limit"]


def number(text):
    """A default of the page in bytes, seconds or pieces."""
    if text in ("no limit", "off"):
        return 0
    value, unit = re.fullmatch(r"([\d ]+\d|\d)(?: ([A-Za-zµ]+))?", text).groups(default="")
    return int(value.replace(" ", "")) * UNITS[unit]


def evaluated(text):
    """The number that a constant expression is; None if it is none."""
    try:
        value = eval(text, {"__builtins__": {}})
    except Exception:
        return None
    return value if type(value) in (int, float) else None


@functools.cache
def constants():
    """All numbers with a name of their own in the code that meets strangers."""
    found = {}
    for pattern in SOURCES:
        for path in sorted((ROOT / "wsrelay").glob(pattern)):
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    name, value = node.targets[0].id, evaluated(ast.unparse(node.value))
                    if name.isupper() and value is not None:
                        found[f"{path.relative_to(ROOT / 'wsrelay')} {name}"] = value
    for name in CORE:
        text = (ROOT / "wsrelay_core" / name).read_text("utf-8")
        pattern = r"^(?:cdef (?:Py_ssize_t|int|double) |    )([A-Z_]{4,}) = ([\d *.]+?) *(?:#.*)?$"
        for constant, value in re.findall(pattern, text, re.M):
            found[f"{name} {constant}"] = evaluated(value)
    wire = (ROOT / "wsrelay_core" / "_wire.pxd").read_text("utf-8")
    (control,) = re.findall(r"^    MAX_CONTROL = (\d+)", wire, re.M)
    found["_wire.pxd MAX_CONTROL"] = int(control)
    return found


def settings():
    """What can be set and limits something, by the name on the page, with its default."""
    found = defaults_of_service()
    for middleware in ("websocket_relay", "ratelimit"):
        for option in MIDDLEWARE[middleware].options:
            numeric = option.read in (size, duration, count) or type(option.default) in (int, float)
            if numeric and type(option.default) is not bool and option.name not in NO_LIMITS:
                found[option.name] = option.default
    (host,) = (one for one in dataclasses.fields(KINDS["process.host"]) if one.name[:3] == "max")
    found[host.name] = host.default
    for table in (Limits, Timeouts):  # some can be set in code alone
        for one in dataclasses.fields(table):
            assert (
                found.setdefault(f"{table.__name__.lower()}.{one.name}", one.default) == one.default
            )
    return found


def defaults_of_service():
    """The fields of the two groups of an `http.service`."""
    rows = rows_of(KINDS["http.service"])
    return {
        f"{group}.{name}": value
        for group in ("timeouts", "limits")
        for name, value in vars(rows[group].default).items()
    }


def row_of(name):
    """The row that tells of a setting."""
    group, _, field = name.partition(".")
    in_code = f"`{group.capitalize()}({field}=…)` in code"
    (row,) = (one for one in rows() if one[2].startswith(f"`{name}`") or one[2] == in_code)
    return row


@pytest.mark.parametrize("name", settings())
def test_a_setting_is_on_the_page_with_its_default(name):
    assert number(row_of(name)[1]) == settings()[name]


def test_settings_are_found():
    found = settings()
    assert found["wsrelay.message.max"] == 2**20 and found["limits.request_line"] == 8192
    assert found["timeouts.linger"] == 2 and len(found) > 20


@pytest.mark.parametrize("label", FIXED)
def test_a_fixed_limit_is_on_the_page_with_its_value(label):
    (row,) = (one for one in rows() if one[0].startswith(label))
    assert number(row[1]) == pytest.approx(constants()[FIXED[label]])
    assert row[2] in ("fixed", "`mailbox_max` of the process")


def test_every_number_of_the_code_is_on_the_page_or_no_limit():
    assert set(constants()) == set(FIXED.values()) | OTHER


def test_every_row_is_a_limit_of_the_code():
    known = {id(row) for row in rows()}
    assert len(known) == len(rows())
    told = [row_of(name)[0] for name in settings()]
    told += [row[0] for row in rows() if any(row[0].startswith(one) for one in FIXED)]
    inbox = "inbox of a process, for all other senders"  # 0 in the core's `Meter`
    assert sorted([*told, inbox]) == sorted(row[0] for row in rows())


def test_the_fragments_that_the_default_allows():
    found = constants()
    most = found["_frame.pyx FREE_FRAGMENTS"] + 2**20 // found["_frame.pyx BYTES_PER_FRAGMENT"]
    assert f"{most:,}".replace(",", " ") + " fragments are allowed by default" in PAGE


def test_the_log():
    assert f"cut at {LOGGED_CHARACTERS} characters" in PAGE
    limited = Limited()
    assert limited.period == 1 and f"at most {limited.most} times a second" in " ".join(
        PAGE.split()
    )


def test_statuses_and_codes_of_the_page_are_in_troubleshooting():
    trouble = (DOCS / "troubleshooting.md").read_text("utf-8")
    told = set(re.findall(r"\b(4\d\d|503|10\d\d)\b", " ".join(row[-1] for row in rows())))
    assert {"414", "431", "413", "408", "1009", "1013"} <= told
    assert {one for one in told if f"| {one} " not in trouble} == set()


# -- Retry-After, in docs/deployment.md ------------------------------------------------------------


def told_retry(answer):
    """The number that the table has for an answer."""
    table = DEPLOYMENT.split("\n## Stops and restarts\n")[1].split("\n## ")[0]
    (row,) = (line for line in table.splitlines() if f"`{answer}" in line and line[:2] == "| ")
    return row.strip("| ").split(" | ")


HANDSHAKE = [
    (b"host", b"a"),
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
]


def handshake(server):
    return Request("GET", "/", HANDSHAKE, client=("10.0.0.1", 1), server=server)


@pytest.mark.parametrize(
    ("options", "draining", "answer"),
    [
        ({}, True, "The server is shutting down"),
        ({"wsrelay.connections.max": "1"}, False, "Too many connections` ("),
        ({"wsrelay.connections.per_ip": "1"}, False, "Too many connections from this address"),
    ],
)
def test_retry_after_of_the_relay(options, draining, answer):
    async def main():
        relay = Relay(options)
        server = ServerState()
        if options:
            relay.admit(handshake(server))
        server.draining = draining
        with pytest.raises(HandshakeError) as refused:
            relay.admit(handshake(server))
        status, _, seconds = told_retry(answer)
        assert str(refused.value.status_code) == status
        assert refused.value.headers == {"Retry-After": seconds}

    asyncio.run(main())


def test_retry_after_of_the_rest():
    """A file that can't be read, and a server of one's own with too many connections."""
    status, _, seconds = told_retry("Service Unavailable")
    for name in ("static", "protocol"):
        text = (ROOT / "wsrelay" / "http" / f"{name}.py").read_text("utf-8")
        assert re.findall(r'HTTPError\((\d+), headers={"Retry-After": "(\d+)"}', text) == [
            (status, seconds)
        ]


def test_the_batches_of_a_stop():
    text = " ".join(DEPLOYMENT.split())
    assert f"up to {DRAIN_BATCH} of them at once" in text
    assert f"up to {DRAIN_STEPS} batches of at least {DRAIN_BATCH}" in text
    share = CLOSE_SHARE / 2  # half of the time for connections
    assert f"never more than {share:.0%} of `timeouts.shutdown`" in text
    shutdown, drain = settings()["timeouts.shutdown"], settings()["wsrelay.drain"]
    assert (
        f"`wsrelay.drain` ({drain:g} s)" in text and f"`timeouts.shutdown` ({shutdown:g} s)" in text
    )
    assert share * shutdown < drain and f"in {share * shutdown:g} s, {share:.0%} of" in text
