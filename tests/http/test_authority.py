import pytest

from wsrelay.http.authority import parse_authority


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.com", "example.com", None),
        ("EXAMPLE.com:8080", "example.com", 8080),
        ("example.com:", "example.com", None),
        ("example.com.", "example.com.", None),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("a_b-c~d", "a_b-c~d", None),
        ("[::1]:80", "[::1]", 80),
        ("[0:0:0:0:0:0:0:1]", "[::1]", None),
        ("[::FFFF:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ("[::ffff:102:304]", "[::ffff:1.2.3.4]", None),
    ],
)
def test_a_host_and_its_port(text, host, port):
    assert parse_authority(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "user@example.com",
        "a,b",
        "a b",
        "a/b",
        "a:65536",
        "a:123456",
        "a:8o",
        "a:80:80",
        "::1",
        "[::1",
        "[fe80::1%eth0]",
        "[v1.a]",
        "[1.2.3.4]",
        "a%2eb",
        "exämple.com",
        "a\n",
    ],
)
def test_what_is_none(text):
    assert parse_authority(text) is None
