import pytest

from wsrelay.http.exchange import client_of


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("192.0.2.1", 5), ("192.0.2.1", 5)),
        (("2001:db8::1", 5, 0, 0), ("2001:db8::1", 5)),
        ("", None),
        (None, None),
    ],
)
def test_the_peer_as_a_client(peer, client):
    assert client_of(peer) == client
