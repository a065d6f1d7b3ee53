"""TLS as a layer of bytes: ciphertext in, plaintext out and back, for either role, without a socket.

Contract. `TlsLayer` is fed what arrives and gives what came out of it; what has to be sent is fetched with
`outgoing()`, after a failed handshake too (the alert that tells the peer why). TLS 1.2 is the least; renegotiation,
compression and session tickets are off. Whatever the peer does wrong raises `ProtocolError`.

Own layer instead of asyncio's, because asyncio cannot start TLS on a connection whose bytes have been looked at, keeps
256 KiB of buffer for each, and hides the certificate that SCRAM's channel binding needs. BIOs never shrink, so that
bytes pass through them in slices: an idle connection keeps what one slice needed.

Not here: sockets (listener, dial), who is trusted for what (configuration), SSLRequest (login.py).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from doorward.errors import ConfigError, ProtocolError

# Registered with IANA; PostgreSQL 17 and later require it when TLS begins without an SSLRequest.
ALPN: Final = "postgresql"

_RECORD: Final = 16 * 1024  # the largest plaintext of one TLS record (RFC 8446 section 5.1)
_SLICE: Final = 16 * 1024
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED


class CertificateError(ProtocolError):
    """The peer's certificate is not accepted. `expired`: because it has."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


def server_context(certificate: str | Path, key: str | Path, *, clients: str = "") -> ssl.SSLContext:
    """For the gateway's own door. `certificate` is a PEM chain, leaf first; `clients` are the authorities (PEM) of client
    certificates, which are asked for, and need not be there. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"cannot load the TLS certificate {certificate} with its key {key}: {error}",
            hint="give a PEM certificate chain and its unencrypted PEM key, readable by the gateway",
        ) from None
    if clients:
        context.load_verify_locations(cadata=clients)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(mode: str, ca_file: str | Path | None = None) -> ssl.SSLContext:
    """For a target, in libpq's words: "require" encrypts, "verify-full" also proves who answers.

    "verify-full" trusts `ca_file`, or the system's authorities without one. As in libpq, "require" with a `ca_file`
    checks the chain but not the name. Raises ConfigError.
    """
    if mode not in ("require", "verify-full"):
        raise ConfigError(f'unknown TLS mode "{mode}"', hint="use disable, require or verify-full")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = mode == "verify-full"
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        elif mode == "verify-full":
            context.load_default_certs()
        else:
            context.verify_mode = ssl.CERT_NONE
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load the certificate authorities in {ca_file}: {error}",
            hint="give a PEM file with the certificate of the authority that signed the target's",
        ) from None
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.set_alpn_protocols([ALPN])


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # without this OpenSSL would ask at the terminal


class TlsLayer:
    """One TLS connection. `server_hostname` is for the client role: whom to ask for, and in verify-full to check."""

    __slots__ = ("_incoming", "_out", "_outgoing", "_tls", "closed", "established")

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool = False, server_hostname: str | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._out: list[bytes] = []
        self.established = False
        self.closed = False  # the peer has said that it will send no more
        if not server_side:
            self._handshake()

    def feed(self, ciphertext: bytes) -> bytes:
        """Takes what arrived; gives the plaintext in it, b"" while the handshake lasts. Fetch `outgoing()` after it."""
        view = memoryview(ciphertext)
        plain: list[bytes] = []
        for start in range(0, len(view), _SLICE):
            self._incoming.write(view[start : start + _SLICE])
            if not self.established:
                self._handshake()
                if not self.established:
                    continue
            self._read(plain)
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def write(self, plaintext: bytes) -> None:
        """Encrypts. After the handshake only."""
        if not self.established:
            raise ValueError("the TLS handshake is not complete")
        view = memoryview(plaintext)
        for start in range(0, len(view), _SLICE):
            part = view[start : start + _SLICE]
            while part:
                try:
                    part = part[self._tls.write(part) :]
                except ssl.SSLError as error:
                    raise ProtocolError(f"TLS: {_reason(error)}") from None
            self._drain()

    def outgoing(self) -> bytes:
        """What is to be sent now."""
        self._drain()
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> None:
        """Puts a close_notify into `outgoing()`: the peer can tell an end from a cut."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # it waits for the peer's close_notify, for which nobody waits here

    @property
    def alpn(self) -> str | None:
        """The application protocol agreed on. Direct TLS is acceptable only with `ALPN`."""
        return self._tls.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        """Such as "TLSv1.3"."""
        return self._tls.version()

    def peer_certificate(self) -> bytes | None:
        """What the peer has shown, in DER, and has the key of; None when it has shown none. After the handshake."""
        return self._tls.getpeercert(binary_form=True)

    def server_end_point(self) -> bytes | None:
        """Of the peer's certificate, the channel binding tls-server-end-point; None when it has none.

        RFC 5929 section 4.1: the certificate's hash by the algorithm of its signature, SHA-256 for MD5 and SHA-1.
        Undefined for signatures without a hash of their own, such as Ed25519.
        """
        certificate = self._tls.getpeercert(binary_form=True)
        return None if certificate is None else server_end_point(certificate)

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f"TLS: the certificate is not accepted: {error.verify_message}", expired=error.verify_code == _EXPIRED
            ) from None
        except (ssl.SSLError, ValueError) as error:  # ValueError: a certificate with a malformed name
            raise ProtocolError(f"TLS: the handshake failed: {_reason(error)}") from None
        self.established = True

    def _read(self, plain: list[bytes]) -> None:
        tls, incoming = self._tls, self._incoming
        try:
            while incoming.pending or tls.pending():
                part = tls.read(_RECORD)
                if not part:
                    self.closed = True
                    return
                plain.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        except ssl.SSLError as error:
            raise ProtocolError(f"TLS: {_reason(error)}") from None

    def _drain(self) -> None:
        if self._outgoing.pending:
            self._out.append(self._outgoing.read())


def server_end_point(certificate: bytes) -> bytes | None:
    """The tls-server-end-point of a certificate in DER; None when it has none."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    digest = hashes.Hash(hashes.SHA256() if algorithm.name in ("md5", "sha1") else algorithm)
    digest.update(certificate)
    return digest.finalize()


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).lower().replace("_", " ")
