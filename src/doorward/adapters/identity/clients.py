"""The gateway's own authority for client certificates: it makes short ones, and knows them again.

Contract: `issue` signs a certificate for the public key of a request that this key has signed (PKCS#10, RFC 2986), and for
nothing else that the request says: whom it names is decided by the caller. `read` takes what a TLS client has shown, and
believes it only if one of this gateway's keys signed it, for clients, and if it is valid now.

The authority's key is a file like those of gateway tokens, made anew for each PERIOD. Its certificate is made from the key
whenever it is needed: `pem` holds those that a client's may be signed by, the next one already, so that a listener that reads
it now and then is never behind.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, unquote
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from doorward.adapters.identity.own import forget_before
from doorward.errors import AuthenticationError, ConfigError
from doorward.guard.ports import ClientCertificate, KeyFiles
from doorward.ledger.webauthn import base64url

PERIOD: Final = 30 * 86400  # seconds that a key signs
SOON: Final = 3600  # seconds before its time at which the next key is made
EARLY: Final = 60  # seconds by which a client's or a target's clock may be behind
LONGEST_REQUEST: Final = 16 << 10
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


def refused(what: str, hint: str, code: str = "certificate") -> AuthenticationError:
    return AuthenticationError(f"the certificate was refused: {what}", hint=hint, code=code)


class ClientAuthority:
    """Satisfies `CertificateMaker`. `url` is the gateway's, and part of the names it gives; `now` gives Unix milliseconds."""

    def __init__(self, url: str, files: KeyFiles, now: Callable[[], int]) -> None:
        self._names = f"{url}/identities/"
        self._files = files
        self._now = now
        self._keys: dict[int, tuple[ec.EllipticCurvePrivateKey, x509.Certificate]] = {}
        self._pem = ""

    def pem(self) -> str:
        """The authority's certificates."""
        self._current()
        return self._pem

    def issue(self, request: str, identity: str, *, id: str, issued: int, expires: int) -> tuple[str, ClientCertificate]:  # noqa: A002
        """See `CertificateMaker`."""
        public = _asked(request)
        key, authority = self._current()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(identity.rpartition("|")[2]))
            .issuer_name(authority.subject)
            .public_key(public)
            .serial_number(UUID(id).int)
            .not_valid_before(_moment(issued - EARLY))
            .not_valid_after(_moment(expires))
            .add_extension(x509.SubjectAlternativeName([
                x509.UniformResourceIdentifier(self._names + quote(identity, safe=""))
            ]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        made = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return made, ClientCertificate(id, identity, _thumbprint(certificate), expires)

    def read(self, der: bytes) -> ClientCertificate:
        """See `CertificateMaker`."""
        again = "get a new one with `doorward login`"
        self._current()
        try:
            certificate = x509.load_der_x509_certificate(der)
            if not any(_signed(certificate, authority) for _, authority in self._keys.values()):
                raise refused("it is not of this gateway", again)
            now = self._now() // 1000
            until = int(certificate.not_valid_after_utc.timestamp())
            if not certificate.not_valid_before_utc.timestamp() <= now < until:
                raise refused("it has expired", again, "expired")
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            (name,) = names.get_values_for_type(x509.UniformResourceIdentifier)
            if ExtendedKeyUsageOID.CLIENT_AUTH not in uses or not name.startswith(self._names):
                raise refused("it is not for clients of this gateway", again)
            id_ = str(UUID(int=certificate.serial_number))
            return ClientCertificate(id_, unquote(name.removeprefix(self._names)), _thumbprint(certificate), until)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
            raise refused("it is not one that this gateway makes", again) from None

    def _current(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """The key that signs now, with its certificate. Rotates."""
        now = self._now() // 1000
        period = now // PERIOD
        wanted = {period - 1, period, (now + SOON) // PERIOD}
        if self._keys.keys() != wanted:
            self._keys = {number: self._keys.get(number) or self._authority(number) for number in sorted(wanted)}
            forget_before(self._files, "clients", period - 1)
            self._pem = "".join(
                authority.public_bytes(serialization.Encoding.PEM).decode() for _, authority in self._keys.values()
            )
        return self._keys[period]

    def _authority(self, period: int) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        fresh = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        name = f"clients-{period}.key"
        try:
            key = serialization.load_der_private_key(self._files.get_or_create(name, fresh), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"keys/{name} is not a key", hint="remove it: clients then log in again")
        subject = x509.Name([  # unlike any client's, which OpenSSL would then take for signed by itself
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Doorward"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"clients {period}"),
        ])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(period + 1)
            .not_valid_before(_moment(period * PERIOD - 86400))
            .not_valid_after(_moment((period + 2) * PERIOD))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return key, certificate


def _asked(request: str) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey:
    """The key of a request, which has signed it."""
    hint = "send a PKCS#10 request (PEM) signed by a key on P-256"
    try:
        if len(request) > LONGEST_REQUEST:
            raise ValueError("too long")
        found = x509.load_pem_x509_csr(request.encode("ascii"))
        sound, key = found.is_signature_valid, found.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise refused("what asks for it cannot be read", hint) from None
    if not sound:
        raise refused("what asks for it is not signed by its own key", hint)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 8192 and key.public_numbers().e >= 65537:
        return key
    raise refused("what asks for it has a key of another kind", hint)


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _thumbprint(certificate: x509.Certificate) -> str:
    return base64url(certificate.fingerprint(hashes.SHA256()))


def _name(common: str) -> x509.Name:
    """For people who look at it: nothing depends on it. X.520 allows 64 characters."""
    text = "".join(c for c in common if c.isascii() and c.isprintable())[:64]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text or "client")])


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
