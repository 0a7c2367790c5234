import pytest

from wsrelay.errors import WSRelayError, reason_phrase
from wsrelay.http import HandshakeError, HTTPError


def test_the_detail_defaults_to_the_reason_phrase():
    assert HTTPError(404).detail == "Not Found"
    assert str(HTTPError(400, "no")) == "400 no"
    assert HTTPError(599).detail == reason_phrase(599) == "Unknown"


@pytest.mark.parametrize("status", [200, 301, 399, 600, 0])
def test_a_status_is_one_of_an_error(status):
    with pytest.raises(ValueError, match="400 to 599"):
        HTTPError(status)


def test_a_handshake_error_is_an_error_of_the_package():
    error = HandshakeError(403, "no", {"X": "y"})
    assert isinstance(error, HTTPError)
    assert isinstance(error, WSRelayError)
    assert error.headers == {"X": "y"}
