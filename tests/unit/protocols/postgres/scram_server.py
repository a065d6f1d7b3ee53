"""The other side of SCRAM-SHA-256, for tests: it knows the password, checks the proof, and signs."""

from __future__ import annotations

import base64
import hashlib
import hmac


class ScramServer:
    """After RFC 5802 section 3. `challenge` and `finish` take the client's messages and give the server's."""

    def __init__(self, password: bytes, *, iterations: int = 4096, salt: bytes = b"salt") -> None:
        self.salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        self.head = b"s=" + base64.b64encode(salt) + b",i=%d" % iterations
        self.bare = b""
        self.first = b""

    def challenge(self, client_first: bytes) -> bytes:
        self.bare = client_first.split(b",", 2)[2]
        self.first = self.bare.partition(b",")[2] + b"SRV" + b"," + self.head
        return self.first

    def finish(self, client_final: bytes) -> bytes:
        bound, proof = client_final.rsplit(b",p=", 1)
        message = b",".join((self.bare, self.first, bound))
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        stored = hashlib.sha256(key).digest()
        signature = hmac.digest(stored, message, "sha256")
        claimed = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        assert hashlib.sha256(claimed).digest() == stored, "the client's proof is wrong"
        return b"v=" + base64.b64encode(
            hmac.digest(hmac.digest(self.salted, b"Server Key", "sha256"), message, "sha256")
        )
