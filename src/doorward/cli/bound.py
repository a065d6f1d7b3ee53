"""A key of this machine's, and what the gateway binds to it: a token, and a client certificate.

Contract: the key is made here, and leaves in files of 0600 only, where somebody asks for files. `bind` exchanges an issuer's
token, once: with a proof (DPoP) for the gateway's HTTP API, with a request for a certificate for its databases, or with both.
Nothing here is printed, logged, or put into an environment.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import httpx2

from doorward.errors import AuthenticationError, ConfigError, UpstreamError, in_words

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
CERTIFICATE, KEY = "doorward.crt", "doorward.key"


@dataclass(frozen=True, slots=True)
class Bound:
    """What the gateway gave for a key. Times are Unix seconds; keys and certificates PEM, "" where there is none."""

    key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float
    certificate: str = ""
    certificate_until: float = 0.0


def new_key() -> str:
    """A private key on P-256."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip


def silent(url: str, error: Exception) -> UpstreamError:
    """Nobody answers there."""
    return UpstreamError(
        f"no gateway answers at {url} ({in_words(error)})",
        hint="start it with `doorward serve`, or say where it is with --gateway or DOORWARD_GATEWAY",
    )


def proof(key: str, method: str, url: str, *, token: str = "", nonce: str = "") -> str:
    """A DPoP proof for one request."""
    from doorward.adapters.identity import dpop

    return dpop.make(_signer(key), method, url, issued=int(time.time()), token=token, nonce=nonce)


def exchanged(http: httpx2.Client, fields: Sequence[tuple[str, str]], *, key: str = "") -> dict[str, Any]:
    """The token endpoint's answer (RFC 8693). What is presented is in the form, and only there; with a key, a proof of it comes
    along. Raises AuthenticationError when the gateway says no, UpstreamError without an answer."""
    url = str(http.base_url).rstrip("/") + "/oauth/token"
    form = {name: [value for each, value in fields if each == name] for name, _ in fields}
    nonce = ""
    for _ in range(2):
        headers = {"authorization": "", **({"dpop": proof(key, "POST", url, nonce=nonce)} if key else {})}
        answer: dict[str, Any] = {}
        try:
            response = http.post("/oauth/token", data=form, headers=headers)
            said = response.json()
            answer = said if isinstance(said, dict) else {}
        except (httpx2.HTTPError, OSError) as error:
            raise silent(str(http.base_url), error) from None
        except ValueError:
            pass
        if "error" not in answer and not isinstance(answer.get("access_token"), str):
            raise UpstreamError(f"{http.base_url} exchanges no tokens", hint="is that the gateway's HTTP address?")
        nonce = response.headers.get("dpop-nonce", "")
        if answer.get("error") != "use_dpop_nonce":
            break
    if "error" in answer:
        raise AuthenticationError(str(answer.get("error_description") or answer["error"]))
    return answer


def bind(
    http: httpx2.Client, token: str, key: str, *, proven: bool = True, certificate: bool = True, targets: Sequence[str] = ()
) -> Bound:
    """Exchange a token for one that is bound to a key, and a certificate for it. Raises as `exchanged` does."""
    fields = [("grant_type", GRANT), ("subject_token", token), ("subject_token_type", JWT)]
    fields += [("audience", name) for name in targets]
    if certificate:
        fields.append(("certificate_request", request(key)))
    answer = exchanged(http, fields, key=key if proven else "")
    pem = str(answer.get("certificate") or "")
    if certificate and not pem:
        raise UpstreamError("the gateway gave no certificate", hint="it may be an older version than this command")
    until = time.time() + float(answer.get("expires_in") or 0)
    return Bound(key, answer["access_token"], until, pem, _until(pem) if pem else 0.0)


def terms(ca: Path | None, bound: Bound | None = None) -> ssl.SSLContext:
    """TLS as whoever connects to the gateway should have it, with a certificate where there is one. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--ca {ca} cannot be read as PEM certificates ({error})") from None
    if bound is not None and bound.certificate:
        with tempfile.TemporaryDirectory(prefix="doorward-") as folder:  # OpenSSL reads files only; 0700
            context.load_cert_chain(*write(Path(folder), bound))
    return context


def write(folder: Path, bound: Bound) -> tuple[Path, Path]:
    """A certificate and its key as files, as drivers want them: where they are. Raises ConfigError."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in ((key, bound.key), (certificate, bound.certificate)):
            beside = path.with_suffix(".new")
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror})", hint="name another folder") from None
    return certificate, key


@lru_cache(4)
def _signer(key: str) -> Any:
    from joserfc.jwk import ECKey

    return ECKey.import_key(key)


def request(key: str) -> str:
    """For a certificate (PKCS#10). Whom it is to name the gateway knows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _until(certificate: str) -> float:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()
    except ValueError:
        raise UpstreamError("what the gateway gave for a certificate is none") from None
