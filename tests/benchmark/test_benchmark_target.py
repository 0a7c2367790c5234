"""URLs, header fields and addresses."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.benchmark.errors import BenchmarkError
from wsrelay.benchmark.target import Answer, addresses_of, parse_target, tls_context


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("ws://localhost", (False, "localhost", 80, "/", "localhost")),
        ("WS://LocalHost:8080/a/b?c=d", (False, "localhost", 8080, "/a/b?c=d", "localhost:8080")),
        ("wss://127.0.0.1/a%20b", (True, "127.0.0.1", 443, "/a%20b", "127.0.0.1")),
        ("ws://[::1]:443/", (False, "::1", 443, "/", "[::1]:443")),
        ("wss://[::1]:443?x", (True, "::1", 443, "/?x", "[::1]")),
    ],
)
def test_a_url(url: str, wanted: tuple[Any, ...]) -> None:
    target = parse_target(url)
    assert (target.tls, target.host, target.port, target.path, target.authority) == wanted
    assert Answer(target).request.startswith(f"GET {target.path} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://a:1/b", r"begins with ws:// or wss://; did you mean ws://a:1/b\?"),
        ("https://a/b", r"did you mean wss://a/b\?"),
        ("localhost:8080", "begins with ws:// or wss://; such as"),
        ("", "begins with ws:// or wss://"),
        ("ws://", "names no host"),
        ("ws://:80/", "names no host"),
        ("ws://a:0/", "names no host and port"),
        ("ws://a:65536/", "no URL"),
        ("ws://[::1/", "no URL"),
        ("ws://a b/", "names no host"),
        ("ws://a/#b", "has no fragment"),
        ("ws://a/#", "has no fragment"),
        ("ws://u:p@a/", "no user names in the URL; take --header"),
        ("ws://a/b c", "as %XX"),
        ("ws://a/ü", "as %XX"),
    ],
)
def test_a_wrong_url(url: str, told: str) -> None:
    with pytest.raises(BenchmarkError, match=told):
        parse_target(url)


TEXT = st.text(st.characters(max_codepoint=400), max_size=20)


@given(TEXT, TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused_in_a_line(rest: str, header: str) -> None:
    try:
        target = parse_target(f"ws://127.0.0.1{rest}", [header] if header else [])
    except BenchmarkError as error:
        assert str(error).isprintable()
    else:
        Answer(target)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Origin", "must be 'Name: value'"),
        (": x", "must be 'Name: value'"),
        ("Host: a", "--header Host: the command sets this one itself"),
        ("sec-websocket-KEY: a", "the command sets this one itself"),
        ("Connection: close", "the command sets this one itself"),
        ("A b: c", "no header field"),
        ("A: b\r\nC: d", "no header field"),
        ("Ä: b", "no header field"),
        ("A: \udc80", "no header field"),
    ],
)
def test_a_wrong_header(header: str, told: str) -> None:
    with pytest.raises(BenchmarkError, match=told) as caught:
        parse_target("ws://localhost/", [header])
    assert str(caught.value).isprintable()


def test_headers_go_with_the_handshake() -> None:
    target = parse_target("ws://localhost/", ["Origin: http://a", "Sec-WebSocket-Protocol: chat"])
    request = Answer(target).request
    assert b"\r\nOrigin: http://a\r\n" in request
    assert b"\r\nSec-WebSocket-Protocol: chat\r\n" in request


def test_each_handshake_has_a_key_of_its_own() -> None:
    target = parse_target("ws://localhost/")
    assert Answer(target).request != Answer(target).request


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0", "169.254.1.1"])
def test_what_is_not_loopback_must_be_said(host: str) -> None:
    target = parse_target(f"ws://{host}/")
    with pytest.raises(BenchmarkError, match=r"not the loopback .* say so with --remote"):
        asyncio.run(addresses_of(target, remote=False))
    assert asyncio.run(addresses_of(target, remote=True)) == [host.strip("[]")]


def test_loopback() -> None:
    found = asyncio.run(addresses_of(parse_target("ws://127.0.0.2/"), remote=False))
    assert found == ["127.0.0.2"]


def test_a_name_with_an_address_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(remote: bool) -> list[str]:
        async def look_up(*args: Any, **kwargs: Any) -> list[Any]:
            return [(0, 0, 0, "", (text, 80)) for text in ("127.0.0.1", "192.0.2.1", "127.0.0.1")]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        return await addresses_of(parse_target("ws://two.example/"), remote)

    with pytest.raises(BenchmarkError, match=r"^two\.example \(192\.0\.2\.1\) is not the loopback"):
        asyncio.run(main(remote=False))
    assert asyncio.run(main(remote=True)) == ["127.0.0.1", "192.0.2.1"]


def test_a_wrong_authority(tmp_path: Any) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(BenchmarkError, match=r"^--ca .*ca\.pem: No such file"):
        tls_context(str(file))
    file.write_text("no certificate")
    with pytest.raises(BenchmarkError, match="no certificates in PEM form"):
        tls_context(str(file))
