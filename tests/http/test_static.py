"""Static files over real sockets."""

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsrelay.http import Dispatcher, Request, StaticFiles, Timeouts, static, static_files
from wsrelay.http.static import FileResponse, StaticError

NOW = 2_000_000_000  # long after a test's files were made
CHANGED = 1_000_000_000
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"
BIG = bytes(range(256)) * 2048  # 512 KiB
PAGE = b"<p>page"
TIMES = Timeouts(header=10, read=30, idle=75, linger=2)


@pytest.fixture(autouse=True)
def descriptors():
    """No file stays open."""
    yield
    opened = [f"/dev/fd/{number}" for number in os.listdir("/dev/fd")]
    names = {os.path.basename(os.path.realpath(name)) for name in opened}
    assert not names & {"a.txt", "big.bin", "index.html"}


@pytest.fixture
def www(tmp_path):
    """A folder of files that were changed at one time, with a secret beside it."""
    folder = tmp_path / "www"
    for name, content in {
        "index.html": PAGE,
        "a.txt": b"0123456789",
        "empty.css": b"",
        "big.bin": BIG,
        "ä b%2F?.js": b"odd",
        "docs/index.html": b"docs",
        "docs/app.min.js": b"js",
        "bare/x.json": b"{}",
        ".hidden/x.txt": b"SECRET",
        ".env": b"SECRET",
        ".well-known/security.txt": b"known",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (CHANGED, CHANGED))
    (tmp_path / "secret.txt").write_bytes(b"SECRET")
    (folder / "link.txt").symlink_to("../secret.txt")
    (folder / "up").symlink_to("..")
    return folder


def files(www, path="/", **options):
    return StaticFiles(path, www, clock=lambda: float(NOW), **options)


@pytest.fixture
def open_files(serve):
    """`async with open_files(StaticFiles) as server`."""

    @asynccontextmanager
    async def start(*mounts, **options):
        async with serve(Dispatcher([], mounts), **options) as server:
            yield server

    return start


def ask(path, *fields, method="GET"):
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def fetch(run, open_files):
    """Ask one server for one thing after the other, on one connection."""

    def fetch_all(mount, *requests):
        async def main():
            async with open_files(mount) as server:
                client = await server.connect()
                answers = []
                for request in requests:
                    await client.send(request)
                    answers.append(await client.response(head=request.startswith(b"HEAD")))
                return answers

        return run(main())

    return fetch_all


# -- what is served --------------------------------------------------------------------------------


def test_a_file(fetch, www):
    [answer] = fetch(files(www), ask("/a.txt"))
    assert (answer.status, answer.body) == (200, b"0123456789")
    tag = answer.headers.pop("etag")
    answer.headers.pop("date")
    assert answer.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "10",
        "last-modified": DATE,
        "cache-control": "no-cache",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    assert tag[0] == tag[-1] == '"'


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/", PAGE, "text/html; charset=utf-8"),
        ("/index.html", PAGE, "text/html; charset=utf-8"),
        ("/docs/", b"docs", "text/html; charset=utf-8"),
        ("/docs/app.min.js?v=3", b"js", "text/javascript; charset=utf-8"),
        ("/bare/x.json", b"{}", "application/json"),
        ("/empty.css", b"", "text/css; charset=utf-8"),
        ("/big.bin", BIG, "application/octet-stream"),
        ("/%61.txt", b"0123456789", "text/plain; charset=utf-8"),
        ("/" + quote("ä b%2F?.js"), b"odd", "text/javascript; charset=utf-8"),
        ("/.well-known/security.txt", b"known", "text/plain; charset=utf-8"),
        ("http://other/a.txt", b"0123456789", "text/plain; charset=utf-8"),
    ],
)
def test_paths_that_name_a_file(fetch, www, path, body, kind):
    get, head = fetch(files(www), ask(path), ask(path, method="HEAD"))
    assert (get.status, get.body, get.headers["content-type"]) == (200, body, kind)
    assert head.headers | {"date": ""} == get.headers | {"date": ""}
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/a.txt/",
        "/a.txt/b",
        "/bare/",
        "/bare",
        "/docs//app.min.js",
        "//docs/",
        "//",
        "/docs%2Fapp.min.js",
        "/docs%5Capp.min.js",
        "/docs\\app.min.js",
        "/link.txt",
        "/up",
        "/up/",
        "/up/secret.txt",
        "/.env",
        "/%2eenv",
        "/.hidden/x.txt",
        "/" + "n" * 300,
        "/A.TXT",
        "/a.txt%20",
        "/%20a.txt",
    ],
)
def test_paths_that_name_no_file(fetch, www, path):
    answers = fetch(files(www), ask(path), ask(path, method="HEAD"))
    assert [answer.status for answer in answers] == [404, 404]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/.%2E/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/docs/../../secret.txt",
        "/docs/..%2f..%2fsecret.txt",
        "/./a.txt",
        "/a.txt%00",
        "/%00",
        "/%",
        "/%ff",
        "/%c0%ae%c0%ae/secret.txt",
        "/..",
        "/..%00/",
    ],
)
def test_paths_that_are_refused(fetch, www, path):
    [answer] = fetch(files(www, spa=True), ask(path))
    assert answer.status == 400
    assert b"SECRET" not in answer.body


def test_a_folder_under_a_path(fetch, www):
    answers = fetch(
        files(www, "/static/"), ask("/static/a.txt"), ask("/static/"), ask("/a.txt"), ask("/")
    )
    assert [answer.status for answer in answers] == [200, 200, 404, 404]


def test_another_index(fetch, www):
    answers = fetch(files(www, index="x.json"), ask("/bare/"), ask("/bare"), ask("/"))
    assert [answer.status for answer in answers] == [200, 308, 404]


@pytest.mark.parametrize(
    ("mount", "path", "location"),
    [
        ("/", "/docs", "./docs/"),
        ("/", "/docs?a=b&c=/", "./docs/?a=b&c=/"),
        ("/static", "/static", "./static/"),
        ("/static", "/static/docs", "./docs/"),
        ("/", "/%5Cevil.com", None),
        ("/", "//evil.com", None),
        ("/", "//docs", None),
        ("/", "//evil.com/%2e%2e", None),
        ("/", "/javascript:alert(1)", "./javascript%3Aalert%281%29/"),
        ("/", "/%0d%0aX-A:%20b", "./%0D%0AX-A%3A%20b/"),
        ("/", "/%3Fx%23y", "./%3Fx%23y/"),
    ],
)
def test_a_folder_without_its_slash(fetch, www, mount, path, location):
    for name in ("evil.com", "javascript:alert(1)", "\r\nX-A: b", "?x#y"):
        (www / name).mkdir()
        (www / name / "index.html").write_bytes(b"x")
    [answer] = fetch(files(www, mount), ask(path))
    assert answer.headers.get("location") == location
    assert answer.status in ((308,) if location else (404, 400))
    assert "x-a" not in answer.headers


def test_methods(fetch, www):
    mount = files(www)
    answers = fetch(
        mount,
        ask("/a.txt", method="OPTIONS"),
        ask("*", method="OPTIONS"),
        ask("/a.txt", "Content-Length: 0", method="POST"),
        ask("/nothing", method="DELETE"),
        ask("/a.txt", method="get"),
    )
    assert [answer.status for answer in answers] == [204, 204, 405, 405, 405]
    assert {answer.headers["allow"] for answer in answers} == {"GET, HEAD, OPTIONS"}


# -- caches, conditions, ranges --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cache", "value"),
    [
        (0, "no-cache"),
        (3600.0, "max-age=3600"),
        (0.5, "max-age=1"),
        (1e12, "max-age=2147483648"),
        (float("inf"), "max-age=2147483648"),
    ],
)
def test_the_time_in_a_cache(fetch, www, cache, value):
    answers = fetch(files(www, cache=cache), ask("/a.txt"), ask("/docs"), ask("/"))
    assert {answer.headers["cache-control"] for answer in answers} == {value}


def test_a_copy_that_is_still_good(fetch, www):
    mount = files(www, cache=60)
    [first] = fetch(mount, ask("/a.txt"))
    tag = first.headers["etag"]
    answers = fetch(
        mount,
        ask("/a.txt", f"If-None-Match: {tag}"),
        ask("/a.txt", f"If-None-Match: W/{tag}", method="HEAD"),
        ask("/a.txt", f"If-Modified-Since: {DATE}"),
        ask("/a.txt", f"If-None-Match: {tag}", "Range: bytes=99-"),
    )
    for answer in answers:
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == "max-age=60"
        assert not {"content-type", "content-length"} & set(answer.headers)
    assert fetch(mount, ask("/a.txt", 'If-None-Match: "x"'))[0].status == 200


def test_a_file_that_changed(fetch, www):
    mount = files(www)
    [first] = fetch(mount, ask("/a.txt"))
    (www / "a.txt").write_bytes(b"9876543210")
    os.utime(www / "a.txt", (CHANGED, CHANGED))  # as a build does that is to be reproducible
    answers = fetch(
        mount,
        ask("/a.txt", f"If-None-Match: {first.headers['etag']}"),
        ask("/a.txt", f"If-Match: {first.headers['etag']}"),
        ask("/a.txt", f"If-Range: {first.headers['etag']}", "Range: bytes=0-1"),
    )
    assert [answer.status for answer in answers] == [200, 412, 200]
    assert answers[1].headers["cache-control"] == "no-store"
    assert answers[2].body == b"9876543210"


def test_a_file_that_changed_just_now_has_a_weak_tag(fetch, www):
    changed = os.stat(www / "a.txt").st_ctime
    for age, weak in ((1.9, True), (2.0, False)):
        mount = StaticFiles("/", www, clock=lambda age=age: changed + age)
        plain, part = fetch(
            mount, ask("/a.txt"), ask("/a.txt", f"If-Range: {DATE}", "Range: bytes=0-1")
        )
        assert plain.headers["etag"].startswith("W/") is weak
        assert part.status == (200 if weak else 206)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (CHANGED + 0.9, DATE),
        (NOW + 5000, "Wed, 18 May 2033 03:33:20 GMT"),  # RFC 9110 8.8.2.1: not after `Date`
        (-5000, None),
    ],
)
def test_when_a_file_changed(fetch, www, changed, told):
    os.utime(www / "a.txt", (changed, changed))
    [answer] = fetch(files(www), ask("/a.txt"))
    assert answer.headers.get("last-modified") == told


@pytest.mark.parametrize(("name", "content"), [("a.txt", b"0123456789"), ("big.bin", BIG)])
def test_a_part(fetch, www, name, content):
    size = len(content)
    answers = fetch(
        files(www),
        ask(f"/{name}", "Range: bytes=2-5"),
        ask(f"/{name}", f"Range: bytes=1-{size}", f"If-Range: {DATE}"),
        ask(f"/{name}", "Range: bytes=-3"),
    )
    assert [answer.status for answer in answers] == [206] * 3
    assert [answer.body for answer in answers] == [content[2:6], content[1:], content[-3:]]
    assert [answer.headers["content-range"] for answer in answers] == [
        f"bytes 2-5/{size}",
        f"bytes 1-{size - 1}/{size}",
        f"bytes {size - 3}-{size - 1}/{size}",
    ]
    assert {answer.headers["etag"] for answer in answers} == {answers[0].headers["etag"]}


def test_parts_that_are_answered_whole(fetch, www):
    answers = fetch(
        files(www),
        ask("/a.txt", "Range: bytes=0-1,4-5"),
        ask("/a.txt", "Range: bytes=" + ",".join(["0-"] * 1000)),
        ask("/a.txt", "Range: bytes=0-1", 'If-Range: "x"'),
        ask("/a.txt", "Range: bytes=0-1", method="HEAD"),
        ask("/empty.css", "Range: bytes=-1"),
    )
    assert [answer.status for answer in answers] == [200] * 5
    assert not any("content-range" in answer.headers for answer in answers)


def test_a_part_behind_the_end(fetch, www):
    for answer in fetch(
        files(www), ask("/a.txt", "Range: bytes=10-"), ask("/a.txt", "Range: bytes=-0")
    ):
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")
        assert answer.headers["cache-control"] == "no-store"


# -- an application in one page --------------------------------------------------------------------

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/users/5", [BROWSER], 200),
        ("/users/5", ["Accept: */*"], 200),
        ("/users/5", [], 200),
        ("/users/5/", [BROWSER], 200),
        ("/users/jo.do", [BROWSER], 200),
        ("/users/5", ["Accept: application/json"], 404),
        ("/assets/app.123.js", ["Accept: */*"], 404),
        ("/assets/app.123.js", [], 404),
        ("/img.png", ["Accept: image/png,*/*;q=0.5"], 404),
        ("/users/5", ["Accept: image/png"], 404),
        ("/users/5", ["Accept: xtext/html"], 404),
        ("/bare", [BROWSER], 200),
        # What is refused is no page either.
        ("/.git/config", [BROWSER], 404),
        ("/a%2Fb", [BROWSER], 404),
        ("/a%5Cb", [BROWSER], 404),
    ],
)
def test_the_page_for_a_browser(fetch, www, path, fields, status):
    get, head = fetch(
        files(www, spa=True, cache=60), ask(path, *fields), ask(path, *fields, method="HEAD")
    )
    assert get.status == head.status == status
    assert (get.body == PAGE) is (status == 200)
    if status == 200:
        assert get.headers["vary"] == "Accept"
        assert get.headers["content-type"] == "text/html; charset=utf-8"
        assert get.headers["cache-control"] == "no-cache"


def test_the_page_is_asked_for_each_time_and_the_rest_is_not(fetch, www):
    mount = files(www, "/app", spa=True, cache=60)
    page, same, script, folder, outside = fetch(
        mount,
        ask("/app/"),
        ask("/app/index.html"),
        ask("/app/docs/app.min.js"),
        ask("/app"),
        ask("/apple", BROWSER),
    )
    assert page.headers["cache-control"] == same.headers["cache-control"] == "no-cache"
    assert script.headers["cache-control"] == "max-age=60"
    assert (folder.status, folder.headers["location"]) == (308, "./app/")
    assert outside.status == 404


def test_the_page_has_conditions_too(fetch, www):
    mount = files(www, spa=True)
    [page] = fetch(mount, ask("/users/5"))
    [again] = fetch(mount, ask("/users/6", f"If-None-Match: {page.headers['etag']}"))
    assert (again.status, again.headers["vary"]) == (304, "Accept")


def test_the_page_is_gone(fetch, www):
    mount = files(www, spa=True)
    (www / "index.html").unlink()
    assert [answer.status for answer in fetch(mount, ask("/users/5"), ask("/"))] == [404, 404]


# -- long files ------------------------------------------------------------------------------------


def test_a_real_client(run, open_files, www):
    async def main():
        async with open_files(files(www, "/static")) as server, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{server.port}/static"
            for _ in range(3):
                async with session.get(f"{url}/big.bin") as answer:
                    assert await answer.read() == BIG
            async with session.get(f"{url}/docs") as answer:
                assert (await answer.text(), answer.url.path) == ("docs", "/static/docs/")
            part = {"Range": "bytes=1000-300000"}
            async with session.get(f"{url}/big.bin", headers=part) as answer:
                assert (answer.status, await answer.read()) == (206, BIG[1000:300_001])
            assert server.state.accepted == 1

    run(main())


@pytest.fixture
def long_file(www):
    """4 GiB that are not there, and what was read of them."""
    with open(www / "big.bin", "wb") as file:
        file.truncate(4 * 1024**3)
    return www / "big.bin"


@pytest.fixture
def reads(monkeypatch):
    """The size of each read."""
    sizes = []
    read = static_files.OpenFile.read

    def counted(self, offset, count):
        sizes.append(count)
        return read(self, offset, count)

    monkeypatch.setattr(static_files.OpenFile, "read", counted)
    return sizes


def test_a_client_that_never_reads(run, open_files, www, long_file, reads):
    async def main():
        async with open_files(files(www), timeouts=TIMES) as server:
            client = await server.connect()
            client.writer.transport.pause_reading()
            await client.send(ask("/big.bin"))
            await server.until(lambda: bool(server.state.connections))
            (connection,) = server.state.connections
            await server.until(lambda: connection._write_paused)
            assert max(reads) <= static.PIECE
            assert connection._transport.get_write_buffer_size() <= 3 * static.PIECE
            count = len(reads)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(reads) == count
            await server.pass_time(75)
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_a_client_that_goes_away(run, open_files, www, long_file):
    async def main():
        async with open_files(files(www)) as server:
            client = await server.connect()
            await client.send(ask("/big.bin"))
            await client.reader.readexactly(1_000_000)
            client.reset()
            await server.until(lambda: not server.state.connections and not server.state.tasks)

    run(main())


def test_a_file_that_is_cut_while_it_is_sent(run, open_files, www, long_file, caplog):
    async def main():
        async with open_files(files(www)) as server:
            client = await server.connect()
            await client.send(ask("/big.bin") + ask("/a.txt"))
            await client.reader.readexactly(1_000_000)
            os.truncate(long_file, 0)
            rest = await client.rest()
            assert b"HTTP/1.1" not in rest
            await server.until(lambda: not server.state.connections)

    run(main())
    [record] = caplog.records
    assert record.getMessage().startswith("GET /big.bin: connection cut: the body ended ")
    assert record.exc_info is None


def test_a_file_that_is_shorter_than_it_said(run, open_files, www, monkeypatch, caplog):
    monkeypatch.setattr(static_files.OpenFile, "read", lambda self, offset, count: b"")

    async def main():
        async with open_files(files(www)) as server:
            client = await server.connect()
            await client.send(ask("/a.txt") + ask("/a.txt"))
            assert (await client.rest()).count(b"Content-Length: 10") == 1

    run(main())
    assert "ended 10 bytes before its length" in caplog.text


def test_a_long_file_that_nobody_wants_whole(fetch, www, long_file, reads):
    head, same, page = fetch(
        files(www),
        ask("/big.bin", method="HEAD"),
        ask("/big.bin", f"If-Modified-Since: {DATE}", "If-None-Match: *"),
        ask("/a.txt"),
    )
    assert head.headers["content-length"] == str(4 * 1024**3)
    assert (same.status, page.status) == (304, 200)
    assert reads == [10]


# -- faults ----------------------------------------------------------------------------------------


def failing(monkeypatch, error):
    def fail(root, names):
        raise error

    monkeypatch.setattr(static, "find", fail)


def test_a_file_that_may_not_be_read(fetch, www, monkeypatch, caplog):
    failing(monkeypatch, PermissionError(13, "Permission denied"))
    [answer] = fetch(files(www), ask("/a%0A.txt"))
    assert answer.status == 404
    [record] = caplog.records
    assert record.getMessage() == (
        f"the files under / ({www}): /a%0A.txt can't be served: "
        "PermissionError: [Errno 13] Permission denied"
    )


def test_a_system_without_descriptors(fetch, www, monkeypatch, caplog):
    failing(monkeypatch, OSError(24, "Too many open files"))
    requests = [ask("/a.txt")] * 20
    answers = fetch(files(www), *requests)
    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert len(caplog.records) < 20  # a client can't fill the log


@pytest.mark.parametrize(("limit", "status"), [(16, 503), (1016, 200), (-1, 200)])
def test_slow_readers_leave_the_last_descriptors(fetch, www, monkeypatch, caplog, limit, status):
    """Of a file that stays open; what is read at once is served to the last descriptor."""
    monkeypatch.setattr(static_files.resource, "getrlimit", lambda _: (limit, limit))
    requests = [ask("/big.bin"), ask("/a.txt"), ask("/big.bin", "Range: bytes=0-9")]
    requests += [ask("/big.bin", method="HEAD"), ask("/big.bin", "If-None-Match: *")]
    assert [one.status for one in fetch(files(www), *requests)] == [status, 200, 206, 200, 304]
    assert ("all descriptors but 16 are in use" in caplog.text) is (status == 503)


def test_the_folder_is_gone(fetch, www, caplog):
    mount = files(www)
    www.rename(www.parent / "elsewhere")
    [answer] = fetch(mount, ask("/a.txt"))
    assert answer.status == 503
    assert "No such file or directory" in caplog.text


def test_an_answer_that_nobody_takes(run, www):
    async def main():
        task = asyncio.ensure_future(files(www).respond(Request("GET", "/big.bin"), ["big.bin"]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.get_running_loop().shutdown_default_executor()

    run(main())


def test_an_answer_that_is_let_go(www):
    response = files(www)._respond(Request("GET", "/big.bin"), ["big.bin"])
    assert isinstance(response, FileResponse)
    response.discard()
    with pytest.raises(OSError, match="Bad file descriptor"):
        response._file.read(0, 1)


# -- what can't be declared ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "options", "field", "told"),
    [
        ("x", {}, "path", "it starts with /"),
        ("/{id}", {}, "path", "a path of static files has no parameters"),
        ("/a/../b", {}, "path", "no query, fragment or dot segment"),
        ("/", {"index": "docs/index.html"}, "index", "is not the name of a file that is served"),
        ("/", {"index": ".env"}, "index", "is not the name of a file that is served"),
        ("/", {"index": ""}, "index", "is not the name of a file that is served"),
        ("/", {"index": "none.html", "spa": True}, "index", "spa needs a file none.html in "),
        ("/", {"cache": -1}, "cache", "must be a number of seconds from 0 up, not -1"),
        ("/", {"cache": float("nan")}, "cache", "must be a number of seconds from 0 up"),
    ],
)
def test_arguments_that_are_wrong(www, path, options, field, told):
    with pytest.raises(StaticError, match=told) as raised:
        StaticFiles(path, www, **options)
    assert raised.value.field == field


def test_folders_that_are_none(www):
    with pytest.raises(StaticError, match=r"directory: .*/nowhere does not exist"):
        StaticFiles("/", www / "nowhere")
    with pytest.raises(StaticError, match=r"directory: .*/a\.txt is no folder"):
        StaticFiles("/", www / "a.txt")


def test_a_relative_folder_stays_where_it_was(fetch, www, monkeypatch):
    monkeypatch.chdir(www.parent)
    mount = files(Path("www"))
    monkeypatch.chdir("/")
    assert fetch(mount, ask("/a.txt"))[0].status == 200


# -- any path --------------------------------------------------------------------------------------

ATOMS = [
    "/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", "%00", "%", "%ff", "%c0%ae", "up",
    "link.txt", "a.txt", "docs", "www", "secret.txt", ".env", ".hidden", "x.txt", "%25", ";", "~",
    "index.html", "etc", "passwd", "?", "*", "%0d%0a", "%e2%80%ae", "c:", "con", "big.bin",
]  # fmt: skip
any_path = st.one_of(
    st.lists(st.sampled_from(ATOMS), max_size=12).map("".join),
    st.binary(max_size=30).map(quote),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=any_path, spa=st.booleans(), mount=st.sampled_from(["/", "/docs", "/up"]))
def test_no_path_leads_outside(www, path, spa, mount):
    request = Request("GET", "/" + path)
    serves = Dispatcher([], [files(www, mount, spa=spa)])

    async def main():
        response = await serves(request)
        assert response.status_code in (200, 308, 400, 404)
        if isinstance(response, FileResponse):
            assert response.content_length == len(BIG)
            response.discard()
        assert b"SECRET" not in response.body
        location = response.headers.get("location", "./")
        assert location.startswith("./")
        assert not location.startswith(".//")

    asyncio.run(main())
