"""Certificates for tests that speak TLS, made by the program openssl."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"
_AUTHORITY = """\
[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    def copy_to(self, other: "Pair") -> None:
        """Put these in the place of others, as a renewal does."""
        shutil.copy(self.cert, other.cert)
        shutil.copy(self.key, other.key)


def openssl(*args: str | Path) -> None:
    """Run the program."""
    program = shutil.which("openssl")
    assert program, "these tests need the program openssl (Debian: apt-get install openssl)"
    done = subprocess.run([program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def pair_in(folder: Path, name: str) -> Pair:
    """Where a certificate of this name and its key are in a folder."""
    return Pair(folder / f"{name}.pem", folder / f"{name}.key")


def self_signed(
    folder: Path, name: str = "cert", *extensions: str, subject: str = "/CN=localhost"
) -> Pair:
    """A certificate for `localhost` that is its own authority."""
    pair = pair_in(folder, name)
    wanted = [part for one in (_NAMES, *extensions) for part in ("-addext", one)]
    files = ("-keyout", pair.key, "-out", pair.cert)
    openssl("req", "-x509", *_EC, *files, "-days", "2", "-subj", subject, *wanted)
    return pair


def signed_by(authority: Pair, folder: Path, name: str, subject: str) -> Pair:
    """A certificate that an authority signed."""
    pair = pair_in(folder, name)
    request = folder / f"{name}.csr"
    openssl("req", *_EC, "-keyout", pair.key, "-out", request, "-subj", subject)
    signer = ("-CA", authority.cert, "-CAkey", authority.key, "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signer, "-days", "2", "-out", pair.cert)
    return pair


def dated(folder: Path, name: str, first: str, last: str) -> Pair:
    """A certificate that is valid from one day to another, written as `20200131`."""
    pair = pair_in(folder, name)
    request, settings = folder / f"{name}.csr", folder / "authority.cnf"
    settings.write_text(_AUTHORITY.format(folder=folder))
    (folder / "index.txt").write_text("")
    openssl("req", *_EC, "-keyout", pair.key, "-out", request, "-subj", "/CN=localhost")
    dates = ("-startdate", f"{first}000000Z", "-enddate", f"{last}000000Z")
    files = ("-in", request, "-keyfile", pair.key, "-out", pair.cert)
    openssl("ca", "-batch", "-selfsign", "-config", settings, *files, *dates, "-notext")
    return pair


def client_context(authority: Pair, own: Pair | None = None) -> ssl.SSLContext:
    """TLS of a client that trusts an authority, and shows a certificate of its own."""
    context = ssl.create_default_context(cafile=authority.cert)
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


def tls_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts of a server with a certificate of its own, and of a client that trusts it."""
    pair = self_signed(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    return server, client_context(pair)
