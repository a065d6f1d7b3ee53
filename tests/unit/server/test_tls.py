"""The TLS layer with itself as its peer: any chunking, either role, and certificates of every kind."""

from __future__ import annotations

import datetime
import gc
import hashlib
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from doorward.adapters.identity.clients import ClientAuthority
from doorward.errors import ConfigError, ProtocolError
from doorward.server import tls
from doorward.server.tls import TlsLayer
from tests.memory.files import MemoryKeyFiles
from tests.rig.certificates import Authority
from tests.suites.lives import CLOCK


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with one server certificate for localhost."""
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.issue("server")
    return made


@pytest.fixture(scope="module")
def server(authority: Authority) -> ssl.SSLContext:
    """The door's context."""
    return tls.server_context(authority.folder / "server.crt", authority.folder / "server.key")


@pytest.fixture(scope="module")
def client(authority: Authority) -> ssl.SSLContext:
    """A verifying client's context."""
    return tls.client_context("verify-full", authority.ca)


def handshake(client: TlsLayer, server: TlsLayer, size: int = 1 << 20) -> None:
    """Carries ciphertext both ways in pieces of `size` until there is none."""
    while True:
        to_server, to_client = client.outgoing(), server.outgoing()
        if not to_server and not to_client:
            return
        for at in range(0, len(to_server), size):
            assert server.feed(to_server[at : at + size]) == b""
        for at in range(0, len(to_client), size):
            assert client.feed(to_client[at : at + size]) == b""


def pair(client: ssl.SSLContext, server: ssl.SSLContext, size: int = 1 << 20) -> tuple[TlsLayer, TlsLayer]:
    near, far = TlsLayer(client, server_hostname="localhost"), TlsLayer(server, server_side=True)
    handshake(near, far, size)
    assert near.established
    assert far.established
    return near, far


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_any_chunking_gives_the_same_bytes(client: ssl.SSLContext, server: ssl.SSLContext, size: int) -> None:
    """Ciphertext in single bytes or at once, both ways: the plaintext is the same."""
    near, far = pair(client, server, size)
    assert near.version == "TLSv1.3"
    sent = bytes(range(256)) * 300
    for one, other in ((near, far), (far, near)):
        one.write(sent)
        out = one.outgoing()
        assert b"".join(other.feed(out[at : at + size]) for at in range(0, len(out), size)) == sent


def test_megabytes_pass(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Writes and reads larger than any record or slice arrive whole."""
    near, far = pair(client, server)
    sent = bytes(range(256)) * 20_000
    far.write(sent)
    assert near.feed(far.outgoing()) == sent


def test_alpn_is_postgresql(client: ssl.SSLContext, server: ssl.SSLContext, authority: Authority) -> None:
    """Both sides agree on "postgresql"; with a client that offers none there is none, and direct TLS is refused."""
    near, far = pair(client, server)
    assert near.alpn == far.alpn == tls.ALPN
    bare = ssl.create_default_context(cafile=str(authority.ca))
    _, far = pair(bare, server)
    assert far.alpn is None


def test_a_clients_certificate_is_asked_for_and_need_not_be_there(
    authority: Authority, client: ssl.SSLContext, tmp_path: Path
) -> None:
    """What is shown is known in DER; of an authority that is not trusted, for servers, or expired, it is refused with its own
    error; an authority that the context learns of later counts from then on."""
    own = ClientAuthority("https://door.test", MemoryKeyFiles(), CLOCK.now)
    door = tls.server_context(authority.folder / "server.crt", authority.folder / "server.key", clients=own.pem())
    assert pair(client, door)[1].peer_certificate() is None
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    def shows(by: ClientAuthority, lasts: int = 600) -> ssl.SSLContext:
        asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        pem, _ = by.issue(
            asked.public_bytes(serialization.Encoding.PEM).decode(), "i|s", id=CLOCK.new_id(), issued=int(time.time()),
            expires=int(time.time()) + lasts,
        )  # fmt: skip
        (tmp_path / "certificate").write_text(pem)
        context = tls.client_context("verify-full", authority.ca)
        context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
        return context

    shown = pair(shows(own), door)[1].peer_certificate()
    assert shown is not None
    assert own.read(shown).identity == "i|s"
    other = ClientAuthority("https://door.test", MemoryKeyFiles(), CLOCK.now)
    for context, expired in ((shows(other), False), (shows(own, lasts=-5), True)):
        with pytest.raises(tls.CertificateError, match="not accepted") as caught:
            handshake(TlsLayer(context, server_hostname="localhost"), TlsLayer(door, server_side=True))
        assert caught.value.expired is expired
    door.load_verify_locations(cadata=other.pem())
    assert pair(shows(other), door)[1].peer_certificate()
    assert pair(shows(own), door)[1].peer_certificate()  # and the one before still does


def test_an_end_is_not_a_cut(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """close_notify is seen by the peer, after the last bytes."""
    near, far = pair(client, server)
    near.write(b"bye")
    near.close()
    assert far.feed(near.outgoing()) == b"bye"
    assert far.closed
    assert not near.closed


def test_nothing_is_written_before_the_handshake(client: ssl.SSLContext) -> None:
    """Plaintext cannot slip out early."""
    with pytest.raises(ValueError, match="handshake"):
        TlsLayer(client, server_hostname="localhost").write(b"secret")


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 100, b"\xff" * 5])
def test_garbage_is_a_protocol_error(server: ssl.SSLContext, garbage: bytes) -> None:
    """What is not TLS raises ProtocolError."""
    with pytest.raises(ProtocolError, match="handshake failed"):
        TlsLayer(server, server_side=True).feed(garbage)


def test_a_forged_record_is_a_protocol_error(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """One flipped bit after the handshake ends the connection."""
    near, far = pair(client, server)
    near.write(b"x" * 100)
    forged = bytearray(near.outgoing())
    forged[-1] ^= 1
    with pytest.raises(ProtocolError):
        far.feed(bytes(forged))


@pytest.mark.parametrize(
    ("names", "days", "host"),
    [(["localhost"], 1, "127.0.0.1"), (["other.example"], 1, "localhost"), (["localhost"], -1, "localhost")],
)
def test_verify_full_refuses_the_wrong_certificate(
    authority: Authority, client: ssl.SSLContext, tmp_path: Path, names: list[str], days: int, host: str
) -> None:
    """Another name or an expired certificate is refused, and the server learns why from the alert."""
    issued = authority.issue(f"bad-{tmp_path.name}", names, days=days)
    near = TlsLayer(client, server_hostname=host)
    far = TlsLayer(tls.server_context(issued.certificate, issued.key), server_side=True)
    far.feed(near.outgoing())
    with pytest.raises(ProtocolError, match="certificate is not accepted"):
        near.feed(far.outgoing())
    with pytest.raises(ProtocolError, match="alert"):
        far.feed(near.outgoing())


def test_require_encrypts_to_anybody(server: ssl.SSLContext) -> None:
    """`require` without an authority takes any certificate, as libpq does."""
    near, _ = pair(tls.client_context("require"), server)
    assert near.server_end_point() is not None


def test_require_with_an_authority_checks_the_chain(
    server: ssl.SSLContext, tmp_path: Path, authority: Authority
) -> None:
    """`require` with tls_ca checks who signed, not which name."""
    right = TlsLayer(tls.client_context("require", authority.ca), server_hostname="elsewhere.example")
    handshake(right, TlsLayer(server, server_side=True))
    assert right.established
    wrong = TlsLayer(tls.client_context("require", Authority(tmp_path).ca), server_hostname="localhost")
    far = TlsLayer(server, server_side=True)
    far.feed(wrong.outgoing())
    with pytest.raises(ProtocolError, match="not accepted"):
        wrong.feed(far.outgoing())


def test_old_versions_are_refused(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """TLS 1.2 is the least; it works, without renegotiation."""
    old = tls.client_context("require")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    near, _ = pair(old, server)
    assert near.version == "TLSv1.2"
    assert server.minimum_version == client.minimum_version == ssl.TLSVersion.TLSv1_2
    assert server.options & client.options & ssl.OP_NO_RENEGOTIATION


def test_what_cannot_be_loaded_is_named(tmp_path: Path, authority: Authority) -> None:
    """A missing, foreign or encrypted key, and a missing authority, are ConfigErrors that name the file."""
    nothing = tmp_path / "nothing"
    nothing.write_text("")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    for key in (tmp_path / "missing", nothing, locked):
        with pytest.raises(ConfigError, match=r"server\.crt"):
            tls.server_context(authority.folder / "server.crt", key)
    for ca in (tmp_path / "missing", nothing):
        with pytest.raises(ConfigError, match="authorities"):
            tls.client_context("verify-full", ca)
    with pytest.raises(ConfigError):
        tls.client_context("prefer")


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize(
    ("key", "algorithm", "pss", "expected"),
    [
        (EC, hashes.SHA256(), False, "sha256"),
        (EC, hashes.SHA384(), False, "sha384"),
        (RSA, hashes.SHA512(), False, "sha512"),
        (RSA, hashes.SHA384(), True, "sha384"),
        (EC, hashes.SHA3_256(), False, "sha3_256"),
        (ed25519.Ed25519PrivateKey.generate(), None, False, None),
    ],
)
def test_the_channel_binding_of_each_kind_of_certificate(
    key: Key, algorithm: hashes.SHA256 | None, pss: bool, expected: str | None
) -> None:
    """tls-server-end-point is the certificate's hash by its signature's algorithm (RFC 5929, 4.1)."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), 48) if pss else None
    der = builder.sign(key, algorithm, rsa_padding=scheme).public_bytes(serialization.Encoding.DER)
    assert tls.server_end_point(der) == (hashlib.new(expected, der).digest() if expected else None)


def test_garbage_has_no_channel_binding() -> None:
    """A certificate that cannot be read binds nothing, rather than failing somewhere else."""
    assert tls.server_end_point(b"garbage") is None


def resident() -> int:
    """Bytes of this process in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures with Linux's /proc")
@pytest.mark.parametrize(("carried", "limit"), [(0, 50 * 1024), (1_000_000, 100 * 1024)])
def test_an_idle_connection_is_small(client: ssl.SSLContext, server: ssl.SSLContext, carried: int, limit: int) -> None:
    """Both legs' TLS of an idle connection take less than 50 KiB, and less than 100 once they have carried bulk."""
    kept = [pair(client, server) for _ in range(20)]
    gc.collect()
    before = resident()
    for _ in range(200):
        near, far = pair(client, server)
        far.write(b"x" * carried)
        near.feed(far.outgoing())
        kept.append((near, far))
    gc.collect()
    assert (resident() - before) / 200 < limit
