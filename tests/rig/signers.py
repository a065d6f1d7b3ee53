"""Approvers' keys: SSH keys and a software authenticator, which sign what they are given and keep nothing on disk."""

from __future__ import annotations

import base64
import functools
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorward.guard.approvals import Approvals
from doorward.guard.approver_keys import ApproverKeys
from doorward.ledger import request as requests
from doorward.ledger import sshsig, votes, webauthn
from doorward.ledger.votes import ApproverKey, key_id
from doorward.model import Approval, Identity, Target


class SshSigner:
    """An Ed25519 key, always the same for a name."""

    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(sha256(f"test key of {name}".encode()).digest())
        self.public = sshsig.ed25519(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes, namespace: str) -> str:
        """Armored, as ssh-keygen would."""
        return sshsig.compose(self.public, namespace, message, self._private.sign)

    def vote(self, request: bytes, gateway: str = "doorward") -> dict[str, Any]:
        """The `signature` of a vote."""
        return {"method": "sshsig", "signature": self.sign(request, votes.namespace(gateway))}

    def write(self, folder: Path, name: str = "id_ed25519") -> Path:
        """The key pair as files; the path of the public one."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = folder / name
        private.touch(mode=0o600)
        private.write_bytes(self._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = folder / f"{name}.pub"
        public.write_text(self.public.line + "\n")
        return public


@functools.cache
def ssh(name: str) -> SshSigner:
    """The key of somebody."""
    return SshSigner(name)


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


class Authenticator:
    """A WebAuthn authenticator with one ES256 key; every byte of what it says can be changed by who asks."""

    def __init__(self, name: str, *, rp_id: str = "localhost", origin: str = "http://localhost") -> None:
        number = int.from_bytes(sha256(f"passkey of {name}".encode()).digest()) % (2**255)
        self._private = ec.derive_private_key(number, ec.SECP256R1())
        self.rp_id, self.origin = rp_id, origin
        self.credential_id = sha256(f"credential of {name}".encode()).digest()
        numbers = self._private.public_key().public_numbers()
        self.cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})

    def client(self, kind: str, challenge: bytes, /, **changes: Any) -> bytes:
        """The client data of a ceremony."""
        said = {"type": kind, "challenge": b64(challenge), "origin": self.origin, "crossOrigin": False, **changes}
        return json.dumps({name: value for name, value in said.items() if value is not None}).encode()

    def assertion(
        self, challenge: bytes, /, *, flags: int = 0x05, rp_id: str = "", kind: str = "webauthn.get", **changes: Any
    ) -> dict[str, Any]:
        """As `navigator.credentials.get(...).toJSON()`."""
        client = self.client(kind, challenge, **changes)
        data = sha256((rp_id or self.rp_id).encode()).digest() + bytes([flags]) + (7).to_bytes(4)
        signature = self._private.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {"authenticatorData": b64(data), "clientDataJSON": b64(client), "signature": b64(signature)}
        return {"id": b64(self.credential_id), "type": "public-key", "response": parts}

    def attestation(self, challenge: bytes, /, *, flags: int = 0x45, **changes: Any) -> dict[str, Any]:
        """As `navigator.credentials.create(...).toJSON()`, without an attestation statement."""
        client = self.client("webauthn.create", challenge, **changes)
        data = sha256(self.rp_id.encode()).digest() + bytes([flags]) + bytes(4)
        data += bytes(16) + len(self.credential_id).to_bytes(2) + self.credential_id + self.cose
        attested = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {"attestationObject": b64(attested), "clientDataJSON": b64(client)}
        return {"id": b64(self.credential_id), "rawId": b64(self.credential_id), "type": "public-key", "response": response}

    def vote(self, request: bytes, **changes: Any) -> dict[str, Any]:
        """The `signature` of a vote."""
        return {"method": "webauthn", "credential": self.assertion(requests.challenge(request), **changes)}

    def key(self, owner: str, at: int = 0) -> ApproverKey:
        """As it is registered."""
        public = webauthn.base64url(self.cose)
        return ApproverKey(
            key_id(votes.WEBAUTHN, public), owner, "passkey", votes.WEBAUTHN, public, votes.HARDWARE, at,
            credential=b64(self.credential_id), rp_id=self.rp_id, origins=(self.origin,),
        )  # fmt: skip


async def register(keys: ApproverKeys, who: Identity, signer: SshSigner | None = None) -> ApproverKey:
    """Register somebody's SSH key as they would."""
    signer = signer or ssh(who.id)
    challenge = keys.ssh_challenge(who, signer.public.line)
    proof = signer.sign(challenge.encode(), votes.key_namespace(keys.gateway))
    return await keys.register_ssh(who, signer.public.line, "", proof)


async def sign_and_vote(
    approvals: Approvals, voter: Identity, target: Target, approval_id: str, *, approve: bool, comment: str = ""
) -> Approval:
    """A vote by somebody whose SSH key is registered first if it is not."""
    approval = await approvals.get(approval_id)
    assert approval is not None
    signer = ssh(voter.id)
    if not approvals.keys.of(voter.id) and voter.kind == "human" and voter.on_behalf_of is None:
        await register(approvals.keys, voter)
    request = approvals.ballots.request(approval, voter.id, approve=approve)
    return await approvals.vote(
        voter, target, approval_id, approve=approve, request=request.decode(),
        signature=signer.vote(request, approvals.keys.gateway), comment=comment,
    )  # fmt: skip
