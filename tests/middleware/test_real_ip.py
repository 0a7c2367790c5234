"""The `real_ip` middleware: who the client is, and who may say so."""

import asyncio
import inspect
from ipaddress import ip_network

import pytest

from wsrelay import App, Request, Response
from wsrelay.http import ServerState
from wsrelay.http.addresses import TrustedPeers
from wsrelay.http.forwarded import ProxyHeaders
from wsrelay.middleware.options import OptionError
from wsrelay.middleware.real_ip import RealIP

PROXY = ("10.0.0.1", 4711)
TRUSTED = {"real_ip.trusted.subnets": "10.0.0.0/8, fd00::/8"}
TRUST_ALL = {"real_ip.trust_all": "true"}


def client_of(middleware, *fields, client=PROXY, **settings):
    """Whom the handler sees; the same in a coroutine and without one."""
    seen = []

    def handler(request):
        seen.append(request.client)
        return Response()

    async def handler_async(request):
        return handler(request)

    def ask():
        return Request("GET", "/", fields, client=client, **settings)

    middleware.call_sync(ask(), handler)
    asyncio.run(middleware(ask(), handler_async))
    first, second = seen
    assert first == second
    return first


def trusting(*lines, name="X-Forwarded-For"):
    return client_of(RealIP(TRUSTED), *((name, line) for line in lines))


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        (["192.0.2.1"], ("192.0.2.1", 0)),
        (["6.6.6.6, 192.0.2.1:80"], ("192.0.2.1", 80)),
        (["6.6.6.6", "192.0.2.1, fd00::1", "10.0.0.9"], ("192.0.2.1", 0)),
        (["[2001:db8::1]:5, ::ffff:10.0.0.9"], ("2001:db8::1", 5)),
        (["6.6.6.6, unknown, 10.0.0.9"], ("10.0.0.9", 0)),
        (["6.6.6.6, _hidden"], PROXY),
        (["10.0.0.3, 10.0.0.9"], ("10.0.0.3", 0)),
    ],
)
def test_the_right_most_stranger(lines, client):
    assert trusting(*lines) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("[2001:db8::1]:9", ("2001:db8::1", 9)),
        ("::ffff:192.0.2.1", ("192.0.2.1", 0)),
        ("10.0.0.7", ("10.0.0.7", 0)),
        ("192.0.2.1, 192.0.2.2", PROXY),
        ("unknown", PROXY),
        ("_hidden", PROXY),
        ("", PROXY),
        ("192.0.2.1\xff", PROXY),
    ],
)
def test_x_real_ip(value, client):
    assert trusting(value.encode("latin-1"), name="X-Real-IP") == client


def test_x_real_ip_counts_first_if_it_is_clear():
    for_header = ("X-Forwarded-For", "192.0.2.1")
    one, two, bad = [("X-Real-IP", value) for value in ("192.0.2.8", "192.0.2.9", "?")]
    relay = RealIP(TRUSTED)
    assert client_of(relay, one, for_header) == ("192.0.2.8", 0)
    assert client_of(relay, for_header, one, two) == ("192.0.2.1", 0)
    assert client_of(relay, bad, for_header) == ("192.0.2.1", 0)


@pytest.mark.parametrize("options", [{}, TRUSTED, {"real_ip.trusted.subnets": ""}])
@pytest.mark.parametrize("peer", [("192.0.2.66", 1), ("11.0.0.1", 1), ("::1", 1), None])
def test_a_stranger_s_headers_change_nothing(options, peer):
    fields = [("X-Real-IP", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")]
    assert client_of(RealIP(options), *fields, client=peer) == peer


def test_trust_goes_by_the_peer_not_by_what_others_made_of_the_client():
    fields = [("X-Real-IP", "1.1.1.1")]
    outsider = client_of(RealIP(TRUSTED), *fields, peer="192.0.2.66")
    assert outsider == PROXY
    known = client_of(RealIP(TRUSTED), *fields, client=("192.0.2.5", 3), peer="10.0.0.1")
    assert known == ("1.1.1.1", 0)


@pytest.mark.parametrize("word", ["unix", "unix:", "10.0.0.0/8,unix"])
def test_a_proxy_on_a_unix_socket(word):
    relay = RealIP({"real_ip.trusted.subnets": word})
    field = ("X-Real-IP", "1.1.1.1")
    assert client_of(relay, field, client=None, peer="unix") == ("1.1.1.1", 0)
    assert client_of(relay, field, client=None) is None
    assert client_of(RealIP(TRUSTED), field, client=None, peer="unix") is None


def test_by_default_the_proxies_of_the_service_are_trusted():
    server = ServerState(proxy_headers=ProxyHeaders(TrustedPeers([ip_network("10.0.0.0/8")])))
    field = ("X-Real-IP", "1.1.1.1")
    assert client_of(RealIP(), field, server=server) == ("1.1.1.1", 0)
    stranger = ("192.0.2.66", 1)
    assert client_of(RealIP(), field, server=server, client=stranger) == stranger
    own = RealIP({"real_ip.trusted.subnets": "192.0.2.0/24"})
    assert client_of(own, field, server=server) == PROXY


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ([("X-Forwarded-For", "1.1.1.1, 2.2.2.2, 3.3.3.3")], ("1.1.1.1", 0)),
        ([("X-Forwarded-For", "1.1.1.1, ?, 3.3.3.3")], ("3.3.3.3", 0)),
        ([("X-Real-IP", "4.4.4.4"), ("X-Forwarded-For", "1.1.1.1")], ("4.4.4.4", 0)),
        ([], ("9.9.9.9", 1)),
    ],
)
def test_trust_all(fields, client):
    assert client_of(RealIP(TRUST_ALL), *fields, client=("9.9.9.9", 1)) == client


def test_trust_all_on_a_unix_socket():
    fields = [("X-Forwarded-For", "1.1.1.1")]
    assert client_of(RealIP(TRUST_ALL), *fields, client=None) == ("1.1.1.1", 0)


def test_one_that_trusts_nobody_says_so_once(caplog):
    relay = RealIP()
    for _ in range(3):
        client_of(relay, ("X-Real-IP", "1.1.1.1"), server=ServerState())
    (record,) = caplog.records
    assert "real_ip.trusted.subnets" in record.getMessage()
    caplog.clear()
    client_of(RealIP(TRUSTED))
    client_of(RealIP(TRUST_ALL))
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"real_ip.trusted.subnets": "10.1.0.0/8"},
            'real_ip.trusted.subnets: "10.1.0.0/8" has bits beyond its subnet; write "10.0.0.0/8"',
        ),
        (
            {"real_ip.trusted.subnets": "10.0.0.0/8, proxy"},
            'real_ip.trusted.subnets: "proxy" is not an IP address or subnet, such as "10.0.0.0/8"',
        ),
        ({"real_ip.trust_all": "yes"}, 'real_ip.trust_all: "yes" is neither true nor false'),
        (
            {"real_ip.trusted.subnet": "::1"},
            'unknown option "real_ip.trusted.subnet", did you mean "real_ip.trusted.subnets"?',
        ),
        (
            {**TRUSTED, **TRUST_ALL},
            "real_ip.trust_all: true leaves real_ip.trusted.subnets no meaning; take one of them "
            "out",
        ),
    ],
)
def test_options_that_are_wrong(options, problem):
    with pytest.raises(OptionError) as caught:
        RealIP(options)
    ((_, message),) = caught.value.problems
    assert message == problem


@pytest.mark.parametrize("place", ["middleware", "post_middleware"])
def test_by_name_in_a_router(place):
    options = "options" if place == "middleware" else "post_options"
    router = App().router("", **{place: ["real_ip"], options: TRUSTED})
    (layer,) = getattr(router, place)
    assert client_of(layer, ("X-Real-IP", "1.1.1.1")) == ("1.1.1.1", 0)
    assert not inspect.iscoroutinefunction(layer.call_sync)
