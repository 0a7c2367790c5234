"""IP addresses in headers, and which peers are believed."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http.addresses import TrustedPeers, parse_ip, parse_node, subscriber_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 0),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("2001:DB8::1", "2001:db8::1", 0),
        ("[2001:db8::1]", "2001:db8::1", 0),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("192.0.2.1:_port", "192.0.2.1", 0),
        ("::ffff:192.0.2.1", "192.0.2.1", 0),
        ("[::ffff:c000:201]:9", "192.0.2.1", 9),
    ],
)
def test_addresses_as_proxies_write_them(text, host, port):
    assert parse_node(text) == (ip_address(host), port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "_hidden", "-", "localhost", "example.com", "unix:", "1.2.3", "1.2.3.4.5"),
        *("01.2.3.4", "1.2.3.256", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:8x"),
        *("1.2.3.4:123456", "1.2.3.4/8", "[1.2.3.4]", "[::1", "::1]", "[::1]80", "[::1]:", "[]"),
        *(":::", "::1%lo", "[fe80::1%lo]:1", "fe80::1%25lo", "1::2::3", "[::1]:8:8", "0x7f.0.0.1"),
        *("²1.2.3.4", "1.2.3.4\x00", "1.2.3.4\n", '"1.2.3.4"', "1 2.3.4", "2130706433"),
        "1" * 10_000,
        "[" + "f" * 10_000,
    ],
)
def test_what_is_no_address(text):
    assert parse_node(text) is None


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_is_read_as_it_is_written(address, port):
    plain = parse_ip(str(address))
    bracketed = f"[{address}]" if address.version == 6 else str(address)
    assert parse_node(str(address)) == (plain, 0)
    assert parse_node(f"{bracketed}:{port}") == (plain, port)


@given(st.text(max_size=60))
def test_no_text_is_more_than_no_address(text):
    node = parse_node(text)
    assert node is None or parse_node(str(node[0])) == (node[0], 0)


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("test:client", "test:client"),
    ],
)
def test_whom_an_address_stands_for(host, counted):
    assert subscriber_of(host) == counted


def test_trusted_peers():
    trusted = TrustedPeers([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])
    for peer in ("10.255.0.1", "::ffff:10.0.0.1", "2001:db8::5", ip_address("10.1.1.1")):
        assert peer in trusted
    for peer in ("11.0.0.1", "::1", "::10.0.0.1", "unix", None, "", "10.0.0.1:80", "10.0.0.1 "):
        assert peer not in trusted
    assert trusted


def test_a_mapped_subnet_is_one_of_ipv4():
    trusted = TrustedPeers([ip_network("::ffff:10.0.0.0/104")])
    assert "10.9.9.9" in trusted and "11.0.0.1" not in trusted


def test_a_wide_ipv6_net_holds_no_ipv4():
    trusted = TrustedPeers([ip_network("::/0")])
    assert "10.9.9.9" not in trusted and "2001:db8::1" in trusted


def test_peers_on_a_unix_socket_are_trusted_by_name_only():
    assert "unix" in TrustedPeers(["unix"]) and "127.0.0.1" not in TrustedPeers(["unix"])
    everybody = TrustedPeers([ip_network("0.0.0.0/0"), ip_network("::/0")])
    assert "unix" not in everybody and None not in everybody
    assert not TrustedPeers() and "unix" not in TrustedPeers()
