"""An `http.service` in code: the fields of `Service`, as `App.service` takes them."""

from ipaddress import ip_network

import pytest

from wsrelay import App
from wsrelay.server import Server


def test_proxies_are_texts_or_networks():
    networks = [ip_network("10.0.0.0/8"), ip_network("::1")]
    service = App().service(trusted_proxies=["10.0.0.0/8", ip_network("::1"), "unix"])
    assert service.trusted_proxies == [*networks, "unix"]
    service = App().service()
    assert (service.trusted_proxies, service.proxy_protocol) == ([], False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trusted_proxies": ["proxy"]}, '"proxy" is not an IP address or subnet'),
        ({"trusted_proxies": ["10.0.0.1/8"]}, 'write "10.0.0.0/8"'),
        ({"trusted_proxies": "10.0.0.0/8"}, r"trusted_proxies is a list, such as \['10.0.0.0/8'\]"),
        ({"proxy_headers": "via"}, 'proxy_headers is x-forwarded or forwarded, not "via"'),
        ({"proxy_protocol": True}, "proxy_protocol needs trusted_proxies"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    app = App()
    with pytest.raises(ValueError, match=message):
        app.service(**settings)
    assert not app.services


def test_they_reach_the_server():
    app = App()
    service = app.service(
        trusted_proxies=["10.0.0.0/8"], proxy_headers="forwarded", proxy_protocol=True
    )

    class Running:
        context = staticmethod(lambda: None)

    state = Server(Running(), service).state
    assert "10.0.0.1" in state.proxy_headers.trusted and state.proxy_protocol
    assert "127.0.0.1" not in state.proxy_headers.trusted
