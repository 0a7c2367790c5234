"""PROXY headers, versions 1 and 2: whole, cut anywhere, and malformed."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http.addresses import parse_ip
from wsrelay.http.proxy_protocol import (
    LONGEST_V1,
    LONGEST_V2,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderError,
    take_proxy_header,
)

TCP4, TCP6, UNIX, UNSPEC = 0x11, 0x21, 0x31, 0x00
REST = b"GET / HTTP/1.1\r\n"


def version_2(family, addresses, tlvs=(), command=0x21):
    extensions = [struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs]
    data = b"".join([addresses, *extensions])
    return SIGNATURE + struct.pack("!BBH", command, family, len(data)) + data


def addresses_of(source, destination, source_port, destination_port):
    ports = struct.pack("!HH", source_port, destination_port)
    return source.packed + destination.packed + ports


def read(data):
    """Feed byte by byte; whatever follows stays where it is."""
    buffer = bytearray()
    for index in range(len(data)):
        buffer += data[index : index + 1]
        header = take_proxy_header(buffer)
        if header is not None:
            assert index == len(data) - 1 and not buffer
            return header
    return None


def refused(data):
    """Why it is refused; the same whole and byte by byte."""
    with pytest.raises(ProxyHeaderError) as caught:
        take_proxy_header(bytearray(data))
    with pytest.raises(ProxyHeaderError):
        read(data)
    return str(caught.value)


pairs = st.sampled_from([4, 6]).flatmap(
    lambda version: st.tuples(st.ip_addresses(v=version), st.ip_addresses(v=version))
)
ports = st.integers(0, 65535)
extensions = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != 0x20), st.binary(max_size=40)),
    max_size=5,
)


@given(pairs, ports, ports)
def test_version_1_is_read_as_it_is_written(pair, source_port, destination_port):
    source, destination = pair
    line = f"PROXY TCP{source.version} {source} {destination} {source_port} {destination_port}\r\n"
    client = (str(parse_ip(str(source))), source_port)
    assert read(line.encode()) == ProxyHeader(client=client)


@given(pairs, ports, ports, extensions)
def test_version_2_is_read_as_it_is_written(pair, source_port, destination_port, tlvs):
    source = pair[0]
    family = TCP4 if source.version == 4 else TCP6
    data = version_2(family, addresses_of(*pair, source_port, destination_port), tlvs)
    client = (str(parse_ip(str(source))), source_port)
    assert read(data) == ProxyHeader(client=client)


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (b"PROXY UNKNOWN\r\n", ProxyHeader()),
        (b"PROXY UNKNOWN ffff:f...f:ffff 65535 and anything\r\n", ProxyHeader()),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ProxyHeader(client=("192.0.2.1", 1))),
        (version_2(UNSPEC, b""), ProxyHeader()),
        (version_2(UNSPEC, b"", [(4, b"noop")]), ProxyHeader()),
        (version_2(UNIX, b"/sock".ljust(108, b"\0") * 2, [(4, b"")]), ProxyHeader()),
        (version_2(0, b"", command=0x20), ProxyHeader(is_local=True)),
        # of a check of health all that follows is ignored, whatever it is
        (version_2(0xFF, b"\xff" * 50, command=0x20), ProxyHeader(is_local=True)),
    ],
)
def test_headers_without_a_client(data, header):
    assert read(data) == header


@pytest.mark.parametrize(("flags", "tls"), [(b"\x01", True), (b"\x07", True), (b"\x06", False)])
def test_the_tls_extension(flags, tls):
    addresses = addresses_of(ip_address("192.0.2.1"), ip_address("10.0.0.1"), 5, 443)
    value = flags + b"\0\0\0\0" + struct.pack("!BH", 0x21, 7) + b"TLSv1.3"
    data = version_2(TCP4, addresses, [(1, b"h2"), (0x20, value)])
    assert read(data) == ProxyHeader(client=("192.0.2.1", 5), tls=tls)


@given(st.integers(0, 60), st.integers(0, 60))
def test_cut_in_two_places_with_bytes_behind_it(first, second):
    addresses = addresses_of(ip_address("192.0.2.1"), ip_address("10.0.0.1"), 5, 443)
    for data in (version_2(TCP4, addresses), b"PROXY TCP4 192.0.2.1 10.0.0.1 5 443\r\n"):
        whole = data + REST
        cuts = sorted({min(first, len(whole)), min(second, len(whole)), len(whole)})
        buffer, header, at = bytearray(), None, 0
        for cut in cuts:
            buffer += whole[at:cut]
            at = cut
            if header is None:
                header = take_proxy_header(buffer)
        assert header == ProxyHeader(client=("192.0.2.1", 5))
        assert bytes(buffer) == REST


@pytest.mark.parametrize(
    "data",
    [
        *(b"GET / HTTP/1.1\r\n", b"PROXX", b"proxy TCP4", b"\r\n\r\n\x01", b"\x16\x03\x01", b"\n"),
        b"PROXY\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        b"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2 1 2\r\n",
        b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP6 ::1%lo ::2 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN \n\r\n",
        b"PROXY UNKNOWN " + b"x" * LONGEST_V1,
        SIGNATURE + b"\x11",
        SIGNATURE + b"\x22",
        SIGNATURE + b"\x31",
        SIGNATURE + b"\x21\x12",
        SIGNATURE + b"\x21\x41",
        SIGNATURE + b"\x21\x11" + struct.pack("!H", LONGEST_V2 - 15),
        SIGNATURE + b"\x20\x00\xff\xff",
        version_2(TCP4, b"\0" * 11),
        version_2(TCP6, b"\0" * 35),
        version_2(UNIX, b"\0" * 215),
        version_2(TCP4, b"\0" * 13),
        version_2(TCP4, b"\0" * 12 + b"\x04\x00\x02a"),
        version_2(TCP4, b"\0" * 12, [(0x20, b"")]),
    ],
)
def test_malformed_headers(data):
    assert refused(data).isprintable()


def test_the_longest_headers():
    line = b"PROXY UNKNOWN " + b"x" * (LONGEST_V1 - 16) + b"\r\n"
    assert len(line) == LONGEST_V1 and read(line) == ProxyHeader()
    longest = version_2(UNSPEC, b"", [(4, b"\0" * (LONGEST_V2 - 19))])
    assert len(longest) == LONGEST_V2 and read(longest) == ProxyHeader()


@given(st.binary(max_size=60), st.sampled_from([b"", SIGNATURE, b"PROXY ", SIGNATURE + b"\x21"]))
def test_any_bytes_are_read_or_refused_and_cuts_change_nothing(data, start):
    whole = bytearray(start + data)
    try:
        expected = take_proxy_header(whole)
    except ProxyHeaderError:
        expected = ProxyHeaderError
    buffer = bytearray()
    found = None
    for index in range(len(start + data)):
        buffer += (start + data)[index : index + 1]
        if found is None:
            try:
                found = take_proxy_header(buffer)
            except ProxyHeaderError:
                found = ProxyHeaderError
    assert found == expected
    if isinstance(found, ProxyHeader):
        assert buffer == whole
