"""The `compress` middleware: what goes out in gzip, to whom, and what of it changes."""

import asyncio
import gzip
import random
import threading
import zlib

import pytest
from asking import ask, session_with
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from wsrelay import App, HTTPError, Request, Response, process, relay_to
from wsrelay.middleware.compress import (
    INLINE_BYTES,
    OPTIONS,
    PREFIXES,
    Compress,
    prefers_gzip,
)
from wsrelay.middleware.options import OptionError, read_options

TEXT = "hello, hello " * 200
WANTED = ("Accept-Encoding", "gzip, deflate, br")


def router_of(response, options=None, *, half=""):
    """A router with `compress` by name, whose only handler answers with this response."""
    layers = {f"{half}middleware": ["compress"], f"{half}options": options}
    router = App().router("", **layers)
    router.get("/")(lambda request: response)
    return router


def compressed(response, options=None, *fields):
    """Whether a response goes out in gzip; then it is held to be the same text."""
    body = response.body
    answer = ask(router_of(response, options), "GET", "/", *fields or [WANTED])
    if "content-encoding" not in answer.headers or answer.headers["content-encoding"] != "gzip":
        assert answer.body == body
        return False
    assert gzip.decompress(answer.body) == body
    assert len(answer.body) < len(body)
    return True


def text_response(content=TEXT, media_type="text/plain", status_code=200, **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(content, status_code, fields, media_type)


# -- what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["", "post_"])
def test_a_text_goes_out_in_gzip(half):
    router = router_of(text_response(), half=half)
    answer = ask(router, "GET", "/", WANTED)
    assert gzip.decompress(answer.body) == TEXT.encode()
    assert dict(answer.headers) == {
        "content-type": "text/plain; charset=utf-8",
        "vary": "Accept-Encoding",
        "content-encoding": "gzip",
    }
    plain = ask(router, "GET", "/")
    assert plain.body == TEXT.encode()
    assert dict(plain.headers) == {
        "content-type": "text/plain; charset=utf-8",
        "vary": "Accept-Encoding",
    }


@pytest.mark.parametrize(
    "media_type",
    [
        "text/html",
        "TEXT/CSS",
        "text/event-stream",
        "application/json",
        "application/json ; charset=utf-8",
        "application/problem+json",
        "application/javascript",
        "application/xml",
        "application/xhtml+xml",
        "image/svg+xml",
        "application/wasm",
        "font/ttf",
    ],
)
def test_types_that_are_compressed(media_type):
    assert compressed(text_response(media_type=media_type))


@pytest.mark.parametrize(
    "media_type",
    ["image/png", "application/octet-stream", "application/zip", "font/woff2", "video/mp4", "text"],
)
def test_types_that_are_not(media_type):
    assert not compressed(text_response(media_type=media_type))
    assert "vary" not in ask(router_of(text_response(media_type=media_type)), "GET", "/").headers


@pytest.mark.parametrize(
    "response",
    [
        text_response(media_type=None),
        text_response(status_code=204),
        text_response(status_code=205),
        text_response(status_code=206),
        text_response(status_code=304),
        text_response(Content_Encoding="br"),
        text_response(Content_Encoding="identity"),
        text_response(Content_Range="bytes 0-99/200"),
        text_response(Content_Digest="sha-256=:abc=:"),
        text_response(Repr_Digest="sha-256=:abc=:"),
        text_response(Cache_Control="private, No-Transform"),
    ],
)
def test_what_is_left_alone(response):
    before = list(response.headers.raw)
    assert not compressed(response)
    assert response.headers.raw == before


def test_a_body_that_is_not_in_memory_stays():
    class Streaming(Response):
        """A response of somebody else, who sends its body bit by bit."""

        def __init__(self, body):
            super().__init__(None, media_type="text/plain")
            self.body = body

    for body in (None, iter([b"a" * 5000]), b""):
        response = Streaming(body)

        async def call_next(request, response=response):
            return response

        request = Request("GET", "/", [WANTED])
        assert asyncio.run(Compress()(request, call_next)) is response
        assert list(response.headers) == ["content-type"]


def test_errors_are_compressed_as_other_answers_are():
    app = App()
    router = app.router("", middleware=["compress"])
    error = HTTPError(418, TEXT)

    @router.get("/")
    def fail(request):
        raise error

    answer = ask(router, "GET", "/", WANTED)
    assert (answer.status_code, gzip.decompress(answer.body)) == (418, TEXT.encode())
    assert answer.exception is error


def test_what_gets_no_smaller_stays():
    noise = random.Random(1).randbytes(2000)
    answer = ask(router_of(text_response(noise)), "GET", "/", WANTED)
    assert answer.body == noise
    assert answer.headers["vary"] == "Accept-Encoding"


def test_a_strong_tag_becomes_weak():
    for tag, sent in (('"a"', 'W/"a"'), ('W/"a"', 'W/"a"')):
        router = router_of(text_response(ETag=tag))
        assert ask(router, "GET", "/", WANTED).headers["etag"] == sent
        assert ask(router, "GET", "/").headers["etag"] == tag


def test_vary_is_added_to():
    answer = ask(router_of(text_response(Vary="Cookie")), "GET", "/", WANTED)
    assert answer.headers.getlist("vary") == ["Cookie, Accept-Encoding"]


def test_a_response_that_a_handler_keeps_stays_as_it_is():
    """The next client, who may not want gzip, gets the same object."""
    kept = text_response(ETag='"a"')
    for _ in range(2):
        assert compressed(kept)
        assert not compressed(kept, None, ("Accept-Encoding", "br"))
    assert (kept.body, kept.headers["etag"]) == (TEXT.encode(), '"a"')


# -- to whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([b""], False),
        ([b"gzip"], True),
        ([b"GZip"], True),
        ([b"x-gzip"], True),
        ([b"br, gzip"], True),
        ([b"br", b"deflate,gzip"], True),
        ([b"*"], True),
        ([b"br;q=1, *;q=0.1"], True),
        ([b"gzip;q=0.001"], True),
        ([b"gzip ; q=1.000"], True),
        ([b"gzip;Q=0.5"], True),
        ([b"gzip;q=1., br"], True),
        ([b"identity;q=0.5, gzip;q=0.5"], True),
        ([b"identity;q=0, gzip;q=0.2"], True),
        ([b"gzip;q=0"], False),
        ([b"gzip;q=0.000"], False),
        ([b"gzip;q=0, *"], False),
        ([b"x-gzip;q=0, *"], False),
        ([b"*;q=0"], False),
        ([b"identity"], False),
        ([b"br, deflate"], False),
        ([b"identity;q=1, gzip;q=0.5"], False),
        ([b"gzip;q=0.5, *"], False),  # `*` is identity too
        ([b"gzipped"], False),
        ([b"gzip;q=2"], False),
        ([b"gzip;q=0.0001"], False),
        ([b"gzip;q="], False),
        ([b"gzip;q=x, br"], False),
        ([b"gzip;level=9"], False),
        ([b"gzip deflate"], False),
    ],
)
def test_accept_encoding(fields, expected):
    assert prefers_gzip(fields) is expected
    given = [("Accept-Encoding", field.decode()) for field in fields]
    assert compressed(text_response(), None, *given or [("X", "")]) is expected


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read(values):
    assert prefers_gzip(values) in (True, False)


@given(
    st.dictionaries(
        st.sampled_from(["gzip", "br", "identity", "*"]), st.integers(0, 1000), max_size=4
    ),
    st.booleans(),
)
def test_weights(weights, split):
    parts = [f"{name};q={weight / 1000:.3f}".encode() for name, weight in weights.items()]
    values = parts if split else [b" , ".join(parts)]
    gzip_weight = weights.get("gzip", weights.get("*", 0))
    plain_weight = weights.get("identity", weights.get("*", 0))
    assert prefers_gzip(values) is (gzip_weight > 0 and gzip_weight >= plain_weight)


def test_a_hostile_field_is_read_in_linear_time():
    """A reader that steps back would take longer than a test may."""
    assert not prefers_gzip([b"gzip" + b" \t" * 8000 + b"x", b";q=" * 5000, b"," * 16000])


# -- options ---------------------------------------------------------------------------------------


def test_the_table_and_its_defaults():
    assert read_options(OPTIONS, {}, PREFIXES) == {
        "compress.level": -1,
        "compress.min.length": 1024,
    }
    assert all(option.about for option in OPTIONS)


def test_min_length():
    assert compressed(text_response("a" * 1024))
    assert not compressed(text_response("a" * 1023))
    assert "vary" not in ask(router_of(text_response("a" * 1023)), "GET", "/").headers
    assert compressed(text_response("a" * 1023), {"compress.min.length": "1KB"})
    assert not compressed(text_response("a" * 999), {"compress.min.length": "1KB"})
    assert compressed(text_response("a" * 50), {"compress.min.length": "0"})
    empty = ask(router_of(text_response(""), {"compress.min.length": "0"}), "GET", "/", WANTED)
    assert (empty.body, list(empty.headers)) == (b"", ["content-type"])


def test_level():
    words = random.Random(1)
    content = " ".join(words.choices(["one", "two", "three", "four", "five", "six"], k=5000))

    def size(options):
        return len(ask(router_of(text_response(content), options), "GET", "/", WANTED).body)

    assert size({"compress.level": "9"}) < size({"compress.level": "1"})
    assert size({"compress.level": "default"}) == size({}) == size({"compress.level": "6"})


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("compress.level", "0", '"0" is no level; write default, or 1 (fast) to 9 (small)'),
        ("compress.level", "10", "is no level"),
        ("compress.level", "best", "is no level"),
        ("compress.min.length", "-1", "is not a size"),
        ("compress.min.length", "1 kB", "unknown unit"),
        ("compress.min_length", "1", 'did you mean "compress.min.length"'),
    ],
)
def test_what_is_refused(option, text, message):
    with pytest.raises(OptionError) as caught:
        Compress({option: text})
    (problem,) = caught.value.problems
    assert problem[0] == option
    assert message in problem[1]


def test_in_python():
    for layer in (Compress(min_length=10, level=9), Compress(level="default", min_length="10B")):
        router = App().router("", middleware=[layer])
        router.get("/")(lambda request: "a" * 100)
        assert ask(router, "GET", "/", WANTED).headers["content-encoding"] == "gzip"
    with pytest.raises(OptionError, match=r"compress\.level"):
        Compress(level=0)


# -- on a socket -----------------------------------------------------------------------------------


def test_long_bodies_are_compressed_in_a_thread(monkeypatch):
    threads = []
    compress = zlib.compress

    def noting(data, *args):
        threads.append((len(data), threading.get_ident()))
        return compress(data, *args)

    monkeypatch.setattr(zlib, "compress", noting)
    assert compressed(text_response("a" * INLINE_BYTES))
    assert compressed(text_response("a" * (INLINE_BYTES + 1)))
    (short, inline), (long, thread) = threads
    assert (short, long) == (INLINE_BYTES, INLINE_BYTES + 1)
    assert inline == threading.get_ident() != thread


def test_over_a_socket(run_everywhere):
    """HEAD tells what GET tells, the length too; what has no body has none."""
    app = App()
    router = app.router("", middleware=["compress"])
    router.get("/short")(lambda request: TEXT)
    router.get("/long")(lambda request: {"a": "b" * 300_000})
    router.get("/none")(lambda request: None)
    router.head("/head")(lambda request: Response(media_type="text/plain"))

    async def main():
        wanted = dict([WANTED])
        async with session_with(app) as session:

            async def get(path, method="GET", headers=wanted):
                async with session.request(method, path, headers=headers) as answer:
                    fields = dict(answer.headers)
                    fields.pop("Date")
                    return answer.status, fields, await answer.read()

            for path, size in (("/short", len(TEXT)), ("/long", 300_008)):
                status, fields, body = await get(path)
                assert (status, fields["Content-Encoding"]) == (200, "gzip")
                assert int(fields["Content-Length"]) == len(body) < size // 10
                assert len(gzip.decompress(body)) == size
                assert await get(path, "HEAD") == (200, fields, b"")
                assert len((await get(path, headers={}))[2]) == size
            assert (await get("/none"))[0::2] == (204, b"")
            status, fields, body = await get("/head", "HEAD")
            assert (status, fields["Content-Length"], body) == (200, "0", b"")
            both = await asyncio.gather(*(get("/long") for _ in range(20)))
            assert len({body for _, _, body in both}) == 1

    run_everywhere(main())


@pytest.mark.parametrize("half", ["", "post_"])
def test_a_websocket_passes(run, half):
    app = App()
    options = {"compress.min.length": "0"}
    layers = {f"{half}middleware": ["compress", "websocket_relay"], f"{half}options": options}
    router = app.router("", **layers)

    async def target():
        message = await process.receive()
        process.send(message.payload["client_pid"], "ws.send", {"type": "text", "data": TEXT})
        async for _ in process.inbox():
            pass

    @router.get("/ws")
    def open_it(request):
        response = relay_to(process.spawn(target))
        response.headers["Content-Type"] = "text/plain"
        return response

    async def main():
        async with app.running() as server:
            url = f"ws://127.0.0.1:{server.port}/ws"
            async with connect(url, additional_headers=[WANTED], compression=None) as socket:
                assert "vary" not in socket.response.headers
                assert "content-encoding" not in socket.response.headers
                assert await socket.recv() == TEXT

    run(main())
