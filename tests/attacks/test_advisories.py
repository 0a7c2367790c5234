"""The lessons of others' advisories, each against a server that listens.

Those whose lesson is a whole row of attacks are named there; README.md has the list of all.
"""

import array
import asyncio
import contextlib
import logging

import pytest
from attack_helpers import (
    BEHIND,
    KIB,
    MIB,
    handshake,
    resident,
    target,
    work_of,
)
from memory import memory_below
from raw_frames import BINARY, CLOSE, CONT, FIN, PING, PONG, RSV2, RSV3, TEXT, raw

from wsrelay import Response, process

POST = b"POST /first HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def refused(here, data, status):
    """An answer of this status, and nothing behind it is read."""
    peer = await here.ask(data + BEHIND)
    answer = await peer.head()
    assert (answer.status, answer.fields["connection"]) == (status, "close")
    assert await peer.rest() == b""
    assert "/behind" not in here.paths
    assert here.upgrades == 0


# -- handshakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [101, 2000])
def test_many_headers(run, count):
    """CVE-2024-37890 (ws): a request with more headers than a limit ended the process."""

    async def main():
        async with target() as here:
            many = {f"X-{number}": "y" for number in range(count)}
            await refused(here, handshake(**many), 431)
            await here.serves()

    run(main())


NAMES = ["constructor", "__proto__", ",;constructor", "__class__", "__init__", "toString"]


@pytest.mark.parametrize("name", NAMES)
def test_extensions_named_like_attributes(run, caplog, name):
    """GHSA-5v72-xg48-5rpm (ws): names of Object.prototype as extension or parameter ended it."""

    async def main():
        async with target({"compression": "permessage-deflate"}) as here:
            for offer in (name, f"permessage-deflate; {name}", f"permessage-deflate; {name}=1"):
                peer = await here.ask(handshake(Sec_WebSocket_Extensions=offer))
                answer = await peer.head()
                assert answer.status == (400 if ";" in name or "," in name else 101)
                assert "sec-websocket-extensions" not in answer.fields
            await here.serves()

    run(main())
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_long_header_in_many_segments(run):
    """CVE-2023-43669 (tungstenite): each segment began the parse of the whole head again."""

    async def main():
        async with target() as here:

            async def attack(size):
                peer = await here.ask(handshake(X=b"y" * size)[:-2], "bytes")
                assert (await (await here.ask(b"\xff")).head()).status == 400
                peer.end()

            small = await work_of(lambda: attack(2 * KIB), 1)
            large = await work_of(lambda: attack(8 * KIB), 1)
            assert large < 9 * small, f"{small:,} ns, {large:,} ns"

    run(main())


def test_a_handshake_of_a_draft(run):
    """CVE-2026-54466 (websocket-driver): lengths without end in the frames of old drafts.

    None of them is spoken: eight bytes of a key behind the head are no body and no frame.
    """

    async def main():
        async with target() as here:
            fields = {"Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5", "Sec-WebSocket-Key2": "12998 5"}
            draft = {"Sec-WebSocket-Key": None, "Sec-WebSocket-Version": None}
            await refused(here, handshake(**draft, **fields) + b"^n:ds[4U\x80\xff\xff\xff", 400)

    run(main())


@pytest.mark.parametrize(
    "path", ["/%63hat/ws", "/chat/%77s", "//chat/ws", "/chat//ws", "/chat/./ws", "/chat%2fws"]
)
def test_middleware_is_not_passed_by_with_another_spelling(run, path):
    """GHSA-g6q3-96cp-5r5m (@fastify/express): the route was found, its middleware was not."""

    async def main():
        async with target() as here:
            for name, value in (("Origin", "https://evil.example"), ("Content-Length", "1")):
                peer = await here.ask(handshake(path, **{name: value}) + b"x")
                assert (await peer.head()).status in (200, 400, 403, 404)
            assert here.upgrades == 0

    run(main())


@pytest.mark.parametrize(
    "host", ["a.example/path", "a.example?x", "a.example#x", "u@a.example", "a.example:8x", "a b"]
)
def test_a_host_that_would_change_the_url(run, host):
    """CVE-2026-48710 (Starlette): `request.url` was put together from a Host nobody had checked."""

    async def main():
        async with target({"allowed.origins": "*"}) as here:
            await refused(here, handshake(Host=host), 400)

    run(main())


# -- frames ----------------------------------------------------------------------------------------

OVERFLOWS = {
    "2 ** 63": (raw(FIN | BINARY, announce=1 << 63), 1002),
    "2 ** 64 - 1": (raw(FIN | TEXT, announce=(1 << 64) - 1), 1002),
    "2 ** 63 - 1": (raw(FIN | BINARY, announce=(1 << 63) - 1), 1009),
    "2 ** 32": (raw(FIN | BINARY, announce=1 << 32), 1009),
    "a sum past 2 ** 63": (raw(BINARY, b"x") + raw(CONT, announce=(1 << 63) - 1), 1009),
    "of a ping": (raw(FIN | PING, announce=1 << 63), 1002),
    "of a compressed frame": (raw(FIN | TEXT | 0x40, announce=(1 << 63) - 1), 1009),
}


@pytest.mark.parametrize("name", OVERFLOWS)
def test_lengths_that_overflow(run, name):
    """CVE-2020-27813 (gorilla/websocket), CVE-2020-13935 (Tomcat), CVE-2026-1528 (undici) and
    CVE-2026-27889 (NATS): 64 bits of length that wrapped round, looped for ever or panicked."""
    stream, code = OVERFLOWS[name]

    async def main():
        async with target({"compression": "permessage-deflate"}) as here:
            peer = await here.upgraded(Sec_WebSocket_Extensions="permessage-deflate")
            with memory_below(256 * KIB):
                await peer.send(stream + b"x" * 100)
                assert await peer.closed_with() == code
            await here.serves()

    run(main())


@pytest.mark.parametrize("first", [FIN | TEXT | RSV2, FIN | TEXT | RSV3, FIN | PING | RSV2])
def test_reserved_bits_end_one_connection(run, caplog, first):
    """CVE-2022-21676 (engine.io): RSV2 or RSV3 in a frame raised in the server, and ended it."""

    async def main():
        async with target() as here:
            other, peer = await here.upgraded(), await here.upgraded()
            await peer.send(raw(first, b"x"))
            assert await peer.closed_with() == 1002
            await other.echoes(1)

    run(main())
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_pong_has_what_the_ping_had(run):
    """CVE-2016-10518 (ws): a ping whose payload was a number was answered with so much memory."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            for size in (0, 1, 124, 125):
                await peer.send(raw(FIN | PING, bytes(range(size))))
                assert await peer.receive() == (PONG, bytes(range(size)))
            await peer.send(raw(FIN | PING, b"1000", announce=126))
            assert await peer.closed_with() == 1002

    run(main())


@pytest.mark.parametrize("reason", [array.array("f", [1.0]), memoryview(b"x"), b"x", 1000])
def test_a_close_reason_that_is_no_text(run, reason):
    """CVE-2026-45736 (ws): a typed array as reason sent so much uninitialised memory."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            process.send(peer.pid, "ws.close", {"code": 1000, "reason": reason})
            await peer.echoes(1)
            process.send(peer.pid, "ws.close", {"code": 1000, "reason": "x" * 1000})
            assert await peer.receive() == (CLOSE, b"\x03\xe8" + b"x" * 123)

    run(main())


def test_a_message_is_no_thread_and_no_task(run):
    """GHSA of mesop, an unbounded thread for each message: here a target takes one by one."""

    async def main():
        async with target() as here:
            peer = await here.upgraded()
            tasks = len(asyncio.all_tasks())
            for number in range(200):
                peer.write(raw(FIN | TEXT, b"%d" % number))
            for number in range(200):
                assert await peer.receive() == (TEXT, b"%d" % number)
                assert len(asyncio.all_tasks()) <= tasks + 1

    run(main())


# -- heads and bodies ------------------------------------------------------------------------------

LENIENT = {
    "GHSA-gfw2-4jvh-wgfg: a sign": POST + b"Content-Length: +1\r\n\r\nx",
    "GHSA-gfw2-4jvh-wgfg: an underscore": POST + b"Content-Length: 1_0\r\n\r\n" + b"x" * 10,
    "GHSA-gfw2-4jvh-wgfg: NUL in a name": POST + b"X\0: y\r\n\r\n",
    "GHSA-gfw2-4jvh-wgfg: a blank before the colon": POST + b"Content-Length : 1\r\n\r\nx",
    "GHSA-gfw2-4jvh-wgfg: a blank before the name": POST + b" Content-Length: 1\r\n\r\nx",
    "GHSA-gfw2-4jvh-wgfg: NUL in a value": POST + b"X: \0\r\n\r\n",
    "CVE-2024-23829: another dot": "GET / HTTP/1\u00f61\r\nHost: a\r\n\r\n".encode(),
    "CVE-2024-23829: other digits": "GET / HTTP/1.\U0001d7d9\r\nHost: a\r\n\r\n".encode(),
    "CVE-2024-23829: a colon in a method": b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n",
    "CVE-2024-23829: a name that is no token": POST + b"Content-Length?: 1\r\n\r\nx",
    "CVE-2025-69224: a name above 127": POST + "Content-Lengt\u0127: 1\r\n\r\nx".encode(),
    "CVE-2019-16785: bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "CVE-2019-16789: a form feed": POST + b"Transfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n",
    "CVE-2019-16792: two lengths": POST + b"Content-Length: 1\r\nContent-Length: 1, 2\r\n\r\nx",
    "CVE-2025-43859: no CRLF behind a chunk": CHUNKED + b"1\r\nxXX0\r\n\r\n",
    "CVE-2024-52304: LF in a chunk extension": CHUNKED + b"0;\nx\r\n\r\n",
    "CVE-2025-53643: a malformed trailer": CHUNKED + b"0\r\nX\r\n\r\n",
    "CVE-2024-1135: a coding and a length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    "CVE-2024-6827: a coding beside chunked": POST
    + b"Transfer-Encoding: chunked,gzip\r\n\r\n0\r\n\r\n",
    "CVE-2019-16786: identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
}


@pytest.mark.parametrize("name", LENIENT)
def test_smuggling_through_lenient_parsers(run, name):
    """aiohttp GHSA-gfw2-4jvh-wgfg, CVE-2024-23829, CVE-2024-52304, CVE-2025-53643 and
    CVE-2025-69224, h11 CVE-2025-43859, gunicorn CVE-2024-1135 and CVE-2024-6827, waitress
    CVE-2019-16785, -16786, -16789 and -16792."""
    status = 501 if "identity" in name or "beside" in name else 400

    async def main():
        async with target() as here:
            await refused(here, LENIENT[name], status)

    run(main())


def test_a_request_behind_one_that_was_refused(run):
    """CVE-2024-49768 (waitress): the next one was served although the connection was to close."""

    async def main():
        async with target() as here:
            await refused(here, POST + b"Content-Length: 99999999\r\n\r\n", 413)
            await refused(
                here, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431
            )

    run(main())


@pytest.mark.parametrize(
    ("piece", "status"),
    [(b"8000\r\n" + b"x" * 0x8000 + b"\r\n", 413), (b"1\r\nx\r\n", 400), (b"1;" + b"a" * 99, 400)],
    ids=["chunks without end", "chunks of a byte", "an extension without end"],
)
def test_a_body_without_end(run, piece, status):
    """CVE-2024-47874 (Starlette), a body that was kept without a bound, and CVE-2025-69229
    (aiohttp), one whose chunks cost more than their bytes."""

    async def main():
        async with target() as here:
            peer = await here.ask(CHUNKED)
            with memory_below(4 * MIB):
                sending = asyncio.ensure_future(send_for_ever(peer, piece))
                assert (await peer.head()).status == status
                await here.serves()
                peer.end()
                await sending

    run(main())


async def send_for_ever(peer, piece):
    for _ in range(100_000):
        if peer.writer.is_closing():
            return
        await peer.send(piece)
        await asyncio.sleep(0)


def test_trailers_without_end(run):
    """CVE-2026-22815 (aiohttp): trailers were not counted."""

    async def main():
        async with target() as here:
            await refused(here, CHUNKED + b"0\r\n" + b"X: y\r\n" * 5000, 431)

    run(main())


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_of_deep_json(run, deep):
    """CVE-2024-27454 (orjson): deep nesting ended the process."""

    async def main():
        async with target() as here:
            data = b"POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(deep)
            peer = await here.ask(data + deep)
            assert (await peer.head()).status == 400
            await here.serves()

    run(main())


def test_cookies_that_can_not_be_read(run, caplog):
    """CVE-2025-69230 (aiohttp): each of them wrote a line into the log."""

    async def main():
        async with target() as here:
            found = []

            def answer(request):
                found.append(request.cookies)
                return Response("ok")

            here.answer = answer
            cookies = b"; ".join([b"\xff=1", b"a b=c", b"=", b";", b'"', b"x=\xff", b"=x"] * 300)
            peer = await here.ask(handshake(Cookie=cookies))
            assert (await peer.head()).status == 200
            assert len(found) == 1

    run(main())
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


# -- the log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/%1b%5b31mred", "/%0d%0aGET%20/x%20200", "/%e2%80%ae", "/%00", "/" + "a" * 5000]
)
def test_what_a_client_sends_is_no_line_of_the_log(run, caplog, path):
    """CVE-2020-7694 (uvicorn): percent-encoded escapes reached the terminal of the log."""

    async def main():
        async with target() as here:
            for data in (handshake(path), handshake(path, Origin="\x1b[31m"), handshake("/ok")):
                with contextlib.suppress(EOFError):
                    await (await here.ask(data)).head()

    with caplog.at_level(logging.INFO):
        run(main())
    lines = [one.getMessage() for one in caplog.records]
    assert [one for one in caplog.records if one.name == "wsrelay.access"]
    assert all(line.isprintable() and len(line) < 500 for line in lines), lines


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """`www` to be served, a secret beside it, one in a folder of a longer name, links to them."""
    www = tmp_path / "www"
    (www / "sub").mkdir(parents=True)
    (www / "a.txt").write_text("a" * 1000)
    (www / ".env").write_text("SECRET")
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "www-private").mkdir()
    (tmp_path / "www-private" / "secret.txt").write_text("SECRET")
    (www / "link.txt").symlink_to(tmp_path / "secret.txt")
    (www / "up").symlink_to(tmp_path)
    return www


TRAVERSALS = [
    "/files/../secret.txt",
    "/files/%2e%2e/secret.txt",
    "/files/..%2fsecret.txt",
    "/files/sub/../../secret.txt",
    "/files/%252e%252e/secret.txt",
    "/files/..\\secret.txt",
    "/files/..%5csecret.txt",
    "/files//../secret.txt",
    "/files/a.txt/../../secret.txt",
    "/files/../www-private/secret.txt",
    "/files-private/secret.txt",
    "/files/link.txt",
    "/files/up/secret.txt",
    "/files/.env",
    "/files/a.txt%00.html",
    "/files//etc/passwd",
    "/files/%2fetc/passwd",
    "/files/\\\\host\\share",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_files_outside_of_the_folder(run, folder, path):
    """CVE-2024-23334 (aiohttp), links and `..` out of the folder; CVE-2023-29159 (Starlette), a
    folder whose name begins with that of the root; CVE-2026-48818 (Starlette), UNC paths."""

    async def main():
        async with serving(folder) as here:
            good = await here.ask(b"GET /files/a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await good.head()).body == b"a" * 1000
            peer = await here.ask(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await peer.head()
            assert answer.status in (400, 404) or answer.body == b"ok"  # of the plain route
            assert b"SECRET" not in answer.body and b"root:" not in answer.body
            assert str(folder).encode() not in answer.body

    run(main())


RANGES = {
    "CVE-2025-62727: digits without an end": lambda n: b"0" * n + b"-",
    "CVE-2025-62727: many ranges": lambda n: b",".join([b"0-1"] * (n // 4)),
    "CVE-2025-69225: other digits": lambda n: "\u0661-\u0662,".encode() * (n // 6),
    "CVE-2011-3192: ranges that overlap": lambda n: b",".join(b"%d-" % i for i in range(n // 5)),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges(run, folder, name):
    """CVE-2025-62727 (Starlette), work that grew with the square of a Range; CVE-2011-3192
    (Apache), a response many times the file; CVE-2025-69225 (aiohttp), digits above 127."""

    async def main():
        async with serving(folder) as here:

            async def attack(size):
                value = b"bytes=" + RANGES[name](size)
                request = b"GET /files/a.txt HTTP/1.1\r\nHost: a\r\nRange: " + value + b"\r\n\r\n"
                peer = await here.ask(request)
                answer = await peer.head()
                assert answer.status in (200, 206, 416) and len(answer.body) <= 1000
                peer.end()

            small = await work_of(lambda: attack(3000))
            large = await work_of(lambda: attack(12_000))
            assert large < 9 * max(small, 1_000_000), f"{small:,} ns, {large:,} ns"

    run(main())


@contextlib.asynccontextmanager
async def serving(folder):
    """The usual App, with files under `/files`."""
    async with target(files=folder) as here:
        yield here


def test_small_requests_for_a_large_file_take_no_memory(run, folder):
    """CVE-2025-69228 and its like: what one request makes the server hold is bounded."""
    (folder / "large").write_bytes(bytes(32 * MIB))

    async def main():
        async with serving(folder) as here:
            before = resident()
            peers = [await here.connect(4 * KIB) for _ in range(20)]
            for peer in peers:
                await peer.send(b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n")
            await here.serves()
            assert resident() - before < 64 * MIB

    run(main())
