"""The files of TLS: what is wrong with them is told before they serve, and in whose words."""

import ssl
from dataclasses import replace

import pytest
from certificates import Pair, dated, openssl, pair_in, self_signed, signed_by

from wsrelay import TLS
from wsrelay.tls import ReloadableContext, TLSFilesError, check_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Certificates good and bad; the broken ones are made of the good ones."""
    folder = tmp_path_factory.mktemp("tls")
    self_signed(folder, "good")
    self_signed(folder, "client_only", "extendedKeyUsage=clientAuth")
    dated(folder, "expired", "20200101", "20200102")
    dated(folder, "early", "20490101", "20491231")
    openssl("genrsa", "-out", folder / "rsa.key", "2048")
    secret = ("-topk8", "-passout", "pass:secret", "-out", folder / "secret.key")
    openssl("pkcs8", "-in", folder / "good.key", *secret)
    openssl("x509", "-in", folder / "good.pem", "-outform", "DER", "-out", folder / "good.der")
    (folder / "empty").write_text("")
    for name in ("good.pem", "good.key"):
        lines = (folder / name).read_text().splitlines()
        (folder / f"damaged.{name}").write_text("\n".join([lines[0], "AAAA", lines[-1]]) + "\n")
    return folder


def files(folder, cert="good.pem", key="good.key", **more):
    others = {name: folder / file for name, file in more.items()}
    return TLS(cert=folder / cert, key=folder / key, **others)


def refused(tls):
    with pytest.raises(TLSFilesError) as raised:
        check_files(tls)
    return raised.value.problems


def handshake(server, client):
    """Both ends of a handshake in memory; the client's view and the server's."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends


def client_of(pair, **settings):
    context = ssl.create_default_context(cafile=pair.cert)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "file", "message"),
    [
        ("cert", "none.pem", "can't be read: No such file or directory"),
        ("key", "none.key", "can't be read: No such file or directory"),
        ("client_ca", "none.pem", "can't be read: No such file or directory"),
        ("cert", ".", "can't be read: Is a directory"),
        ("cert", "empty", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        ("cert", "good.der", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        ("cert", "good.key", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        ("key", "good.pem", "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"),
        ("client_ca", "empty", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        ("cert", "damaged.good.pem", "can't be read: it is damaged, or of an unknown kind"),
        ("key", "damaged.good.key", "can't be read: it is damaged, or of an unknown kind"),
        ("client_ca", "damaged.good.pem", ": OpenSSL refuses it: "),
        ("key", "secret.key", "needs a password; write it without one: openssl pkey -in KEY"),
        ("key", "expired.key", "is not the key of "),
        ("key", "rsa.key", "is not the key of "),
    ],
)
def test_one_file_is_wrong(folder, field, file, message):
    tls = replace(files(folder), **{field: folder / file}, client_auth="")
    [(found, told)] = refused(tls)
    assert found == field
    assert told.startswith(f'"{folder / file}"') and message in told


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("expired", "has expired; renew it"),
        ("early", "is not valid yet; look at its dates and at the clock of this machine"),
        ("client_only", "is not for servers (extended key usage)"),
    ],
)
def test_what_a_client_would_refuse(folder, name, message):
    [(field, told)] = refused(files(folder, f"{name}.pem", f"{name}.key"))
    assert field == "cert" and told.endswith(message)


def test_all_files_are_looked_at(folder):
    problems = refused(files(folder, "a", "b", client_ca="c"))
    assert [field for field, _ in problems] == ["cert", "key", "client_ca"]


def test_the_text_of_the_error_names_the_fields(folder):
    with pytest.raises(TLSFilesError, match=r'^tls\.cert: ".*; tls\.key: ".*" can'):
        check_files(files(folder, "empty", "b"))


# -- what serves -----------------------------------------------------------------------------------


def test_texts_are_paths_too(folder):
    pair = pair_in(folder, "good")
    client, _ = handshake(check_files(TLS(cert=str(pair.cert), key=str(pair.key))), client_of(pair))
    assert client.getpeercert()["subject"] == ((("commonName", "localhost"),),)


def test_certificate_and_key_in_one_file(folder):
    both = folder / "both.pem"
    both.write_text((folder / "good.key").read_text() + (folder / "good.pem").read_text())
    handshake(check_files(TLS(cert=both, key=both)), client_of(pair_in(folder, "good")))


def test_a_certificate_with_the_chain_behind_it(folder):
    # CPython 3.13 checks strictly: an authority says that it may sign (RFC 5280 4.2.1.3).
    use = "keyUsage=critical,keyCertSign"
    authority = self_signed(folder, "authority", use, subject="/CN=authority")
    pair = signed_by(authority, folder, "leaf", "/CN=localhost")
    chain = folder / "chain.pem"
    chain.write_text(pair.cert.read_text() + authority.cert.read_text())
    client = client_of(authority, check_hostname=False)
    seen, _ = handshake(check_files(TLS(cert=chain, key=pair.key)), client)
    assert seen.getpeercert()["issuer"] == ((("commonName", "authority"),),)


def test_the_protocol_is_http(folder):
    context = client_of(pair_in(folder, "good"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for end in handshake(check_files(files(folder)), context):
        assert end.selected_alpn_protocol() == "http/1.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_the_oldest_version(folder):
    server = check_files(files(folder))
    old = client_of(pair_in(folder, "good"), maximum_version=ssl.TLSVersion.TLSv1_2)
    assert handshake(server, old)[1].version() == "TLSv1.2"
    older = client_of(pair_in(folder, "good"), maximum_version=ssl.TLSVersion.TLSv1_1)
    older.minimum_version = ssl.TLSVersion.TLSv1_1
    older.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="unsupported protocol"):
        handshake(server, older)


@pytest.mark.parametrize(
    ("client_auth", "mode"),
    [
        ("", ssl.CERT_REQUIRED),
        ("required", ssl.CERT_REQUIRED),
        ("optional", ssl.CERT_OPTIONAL),
        ("none", ssl.CERT_NONE),
    ],
)
def test_certificates_of_clients(folder, client_auth, mode):
    pair = pair_in(folder, "good")
    tls = TLS(cert=pair.cert, key=pair.key, client_ca=pair.cert, client_auth=client_auth)
    assert check_files(tls).verify_mode == mode
    assert check_files(files(folder)).verify_mode == ssl.CERT_NONE


# -- reload ----------------------------------------------------------------------------------------


@pytest.fixture
def renewed(folder, tmp_path):
    """A context on files of its own, and two pairs to put there."""
    in_use = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    first = pair_in(folder, "good")
    first.copy_to(in_use)
    second = self_signed(tmp_path, "second", subject="/CN=second")
    return ReloadableContext(TLS(cert=in_use.cert, key=in_use.key)), in_use, first, second


def test_new_handshakes_use_the_new_files(renewed):
    context, in_use, first, second = renewed
    before, _ = handshake(context, client_of(first))
    second.copy_to(in_use)
    handshake(context, client_of(first))  # not yet
    context.reload()
    after, _ = handshake(context, client_of(second))
    assert before.getpeercert()["serialNumber"] != after.getpeercert()["serialNumber"]
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, client_of(first))


@pytest.mark.parametrize("broken", ["cert", "key"])
def test_broken_files_change_nothing(renewed, broken):
    context, in_use, first, second = renewed
    second.copy_to(in_use)
    getattr(in_use, broken).write_text("")
    with pytest.raises(TLSFilesError):
        context.reload()
    handshake(context, client_of(first))


def test_an_authority_that_is_gone_vouches_for_nobody(folder, tmp_path):
    """Nor does a session of before: its ticket is not taken after the reload."""
    pair = pair_in(folder, "good")
    first, second = (self_signed(tmp_path, name, subject=f"/CN={name}") for name in "ab")
    own = signed_by(first, tmp_path, "own", "/CN=own")
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(first.cert.read_text())
    context = ReloadableContext(TLS(cert=pair.cert, key=pair.key, client_ca=trusted))
    client = client_of(pair, maximum_version=ssl.TLSVersion.TLSv1_2)
    client.load_cert_chain(own.cert, own.key)

    def connect(session=None):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        mine = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
        its = context.wrap_bio(to_server, to_client, server_side=True)
        for end in (mine, its, mine, its, mine):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
        return mine, its

    mine, its = connect()
    assert its.getpeercert()["subject"] == ((("commonName", "own"),),)
    assert connect(mine.session)[0].session_reused
    trusted.write_text(second.cert.read_text())
    context.reload()
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        connect(mine.session)
