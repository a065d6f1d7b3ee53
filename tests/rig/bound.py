"""A client that holds a key, for tests: proofs over HTTP, and a certificate in files as libpq wants them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from doorward.adapters.identity import dpop
from tests.rig.gateway import Gateway

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


class Holder:
    """`url` is where it reaches the gateway."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{gateway.http_port}"
        self.folder = folder
        self.secret = ec.generate_private_key(ec.SECP256R1())
        self.pem = self.secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.key = ECKey.import_key(self.pem)
        self.nonce = ""
        self._client = httpx2.Client(base_url=self.url, trust_env=False, timeout=20)

    def close(self) -> None:
        self._client.close()

    def request(self) -> str:
        """For a certificate (PKCS#10)."""
        asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.secret, hashes.SHA256())
        return asked.public_bytes(serialization.Encoding.PEM).decode()

    def proof(self, method: str, path: str, token: str = "", *, nonce: str | None = None) -> str:
        return dpop.make(
            self.key, method, self.url + path, issued=int(time.time()), token=token,
            nonce=self.nonce if nonce is None else nonce,
        )  # fmt: skip

    def exchange(
        self, token: str, *, proven: bool = True, certificate: bool = True, actor: str = "", audience: Sequence[str] = ()
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer of the token endpoint."""
        form: dict[str, Any] = {"grant_type": GRANT, "subject_token": token, "subject_token_type": JWT}
        form |= {"audience": list(audience)} if audience else {}
        form |= {"actor_token": actor, "actor_token_type": JWT} if actor else {}
        form |= {"certificate_request": self.request()} if certificate else {}
        for _ in range(2):
            headers = {"dpop": self.proof("POST", "/oauth/token")} if proven else {}
            answer = self._client.post("/oauth/token", data=form, headers=headers)
            self.nonce = answer.headers.get("dpop-nonce", self.nonce)
            if answer.json().get("error") != "use_dpop_nonce":
                break
        return answer.status_code, answer.json()

    def bound(self, token: str, **how: Any) -> dict[str, Any]:
        """The answer of an exchange that succeeds."""
        status, answer = self.exchange(token, **how)
        assert status == 200, answer
        return answer

    def ask(
        self, path: str, token: str, *, method: str = "GET", proof: str | None = None, scheme: str = "DPoP", body: Any = None
    ) -> httpx2.Response:
        """One request with a token and a proof, or what is given for one."""
        for _ in range(2):
            made = self.proof(method, path, token) if proof is None else proof
            headers = {"authorization": f"{scheme} {token}", **({"dpop": made} if made else {})}
            answer = self._client.request(method, path, headers=headers, json=body)
            self.nonce = answer.headers.get("dpop-nonce", self.nonce)
            if proof is not None or "use_dpop_nonce" not in answer.headers.get("www-authenticate", ""):
                break
        return answer

    def files(self, certificate: str | bytes, name: str = "client") -> dict[str, str]:
        """libpq's keywords for a certificate and this key."""
        where, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        where.write_bytes(certificate if isinstance(certificate, bytes) else certificate.encode())
        if not key.exists():
            with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(self.pem)
        return {"sslcert": str(where), "sslkey": str(key)}
