"""TLS of an `http.service`: its files are checked before they serve, and replaced while they do."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsrelay._text import quoted
from wsrelay.config import TLS

__all__ = ["ReloadableContext", "TLSFilesError", "check_files"]

_CLIENT_AUTH = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_REFUSALS = {  # numbers of X509_V_ERR_… (openssl-verification-options), with what to do
    9: "is not valid yet; look at its dates and at the clock of this machine",
    10: "has expired; renew it",
    26: "is not for servers (extended key usage)",
}


class TLSFilesError(ValueError):
    """Files that can't serve TLS.

    Attributes:
        problems: all of them: the field of `TLS`, and what is wrong with its file.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"tls.{field}: {message}" for field, message in problems))
        self.problems = problems


class ReloadableContext(ssl.SSLContext):
    """The context of a listener, which a loop keeps for good; each handshake takes the newest.

    A reload is a new context inside, not new files in the old one: there trusted authorities can
    only be added, and a session ticket of before would pass without a look at `client_ca`.

    Args:
        tls: the files.

    Raises:
        TLSFilesError: they can't serve.
    """

    _files: TLS
    _newest: ssl.SSLContext

    def __new__(cls, tls: TLS) -> ReloadableContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, tls: TLS) -> None:
        self._files = tls
        self.reload()

    def reload(self) -> None:
        """Read the files again, for new handshakes; open connections live on.

        Raises:
            TLSFilesError: they can't serve; what was read before stays in use.
        """
        self._newest = check_files(self._files)

    def wrap_bio(self, *args: Any, **settings: Any) -> ssl.SSLObject:
        """What a loop calls for each connection."""
        return self._newest.wrap_bio(*args, **settings)


def check_files(tls: TLS) -> ssl.SSLContext:
    """A context that serves these files: TLS 1.2 or later, ALPN `http/1.1`.

    Raises:
        TLSFilesError: everything that is wrong with them.
    """
    problems: list[tuple[str, str]] = []
    for field, path, marker, kind in (
        ("cert", tls.cert, "CERTIFICATE-----", "certificate"),
        ("key", tls.key, "PRIVATE KEY-----", "private key"),
        ("client_ca", tls.client_ca, "CERTIFICATE-----", "certificate"),
    ):
        if path is not None and (message := _unfit(Path(path), marker, kind)):
            problems.append((field, message))
    if problems:
        raise TLSFilesError(problems)
    context = _context(tls)
    _shake_hands(context, tls)
    if tls.client_ca is not None:
        _trust(context, tls.client_ca)
        context.verify_mode = _CLIENT_AUTH[tls.client_auth]
    return context


def _unfit(path: Path, marker: str, kind: str) -> str:
    """What is wrong with a file by its looks; OpenSSL's words for this are `PEM lib`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return f"{_shown(path)} can't be read: {reason}"
    if b"-----BEGIN " not in content or marker.encode() not in content:
        return f"{_shown(path)} holds no {kind} in PEM form (-----BEGIN {marker})"
    return ""


def _shown(path: str | Path) -> str:
    return quoted(str(path), limit=1000)  # the name of the file is at its end


class _PasswordWanted(Exception):
    """OpenSSL asked for the password of a key."""


def _no_password() -> str:
    raise _PasswordWanted


def _context(tls: TLS) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Costs the server much and the client little (CVE-2009-3555, CVE-2011-1473).
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    key = _shown(tls.key)
    try:
        context.load_cert_chain(tls.cert, tls.key, _no_password)
    except _PasswordWanted:
        mend = "write it without one: openssl pkey -in KEY -out NEW"
        raise TLSFilesError([("key", f"{key} needs a password; {mend}")]) from None
    except ssl.SSLError as error:
        raise TLSFilesError([_told(error, tls)]) from None
    return context


def _told(error: ssl.SSLError, tls: TLS) -> tuple[str, str]:
    # Of a key of another type than the certificate OpenSSL 3 says NO_CERTIFICATE_ASSIGNED.
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return "key", f"{_shown(tls.key)} is not the key of {_shown(tls.cert)}"
    if error.reason is None:
        one = _reads(lambda probe: probe.load_verify_locations(tls.cert))
        field, path = ("key", tls.key) if one else ("cert", tls.cert)
        return field, f"{_shown(path)} can't be read: it is damaged, or of an unknown kind"
    return "cert", f"{_shown(tls.cert)}: OpenSSL refuses it: {_words(error)}"


def _reads(load: Callable[[ssl.SSLContext], None]) -> bool:
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError:
        return False
    return True


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def _trust(context: ssl.SSLContext, client_ca: str | Path) -> None:
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        message = f"{_shown(client_ca)}: OpenSSL refuses it: {_words(error)}"
        raise TLSFilesError([("client_ca", message)]) from None


def _shake_hands(context: ssl.SSLContext, tls: TLS) -> None:
    """Meet a client in memory that trusts this one certificate: dates and purpose are its to judge.

    Only clients look at them, and the module `ssl` does not show a context's own certificate.
    """
    judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    judge.check_hostname = False
    judge.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        judge.load_verify_locations(tls.cert)
        client = judge.wrap_bio(to_client, to_server)
        server = context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError as error:
        reason = _REFUSALS.get(error.verify_code, f"is refused: {error.verify_message}")
        raise TLSFilesError([("cert", f"{_shown(tls.cert)} {reason}")]) from None
    except ssl.SSLError as error:
        message = f"{_shown(tls.cert)}: no handshake is possible with it: {_words(error)}"
        raise TLSFilesError([("cert", message)]) from None
