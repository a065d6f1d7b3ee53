"""The keys that records are sealed under.

    keys/wal.key   seals the write-ahead log
    keys/kek.key   wraps the data key of each session, and seals the records of events that belong to no session
    keys/log.key   signs checkpoints (Ed25519)

A session's data key is random, wrapped with AES-256-GCM and bound to the session's id; destroying the wrapped key
destroys the session's recording and the private records of its events, and the log still verifies. Key files are made
once; where they are kept is the `KeyFiles` adapter's business. Nothing here is ever logged or put in an error.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from doorward.errors import ConfigError, IntegrityError
from doorward.guard.ports import KeyFiles

NO_SESSION = "gateway"  # the key id of events that belong to no session
SALT = 32
_NONCE = 12


class Keyring:
    """`wal` and `log` are the keys of those names. ConfigError when a key file is not a key."""

    def __init__(self, files: KeyFiles) -> None:
        def key(name: str) -> bytes:
            found = files.get_or_create(name, secrets.token_bytes(32))
            if len(found) != 32:
                raise ConfigError(f"keys/{name} is not a key", hint="restore it from the backup of the data directory")
            return found

        self.wal = key("wal.key")
        self.log = Ed25519PrivateKey.from_private_bytes(key("log.key"))
        self._kek = kek = key("kek.key")
        self._wrapper = AESGCM(HKDFExpand(SHA256(), 32, b"doorward/wrap/v1\0").derive(kek))
        self._gateway = HKDFExpand(SHA256(), 32, b"doorward/gateway/v1\0").derive(kek)

    def salt(self, purpose: str) -> bytes:
        """32 bytes that only this key can make again: the salt of a commitment which is kept nowhere in clear, and still
        is the same after a restart."""
        return HKDFExpand(SHA256(), 32, b"doorward/salt/v1\0" + purpose.encode()).derive(self._kek)

    def wrap(self, key_id: str, dek: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._wrapper.encrypt(nonce, dek, b"doorward/dek/v1\0" + key_id.encode())

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """IntegrityError when it was wrapped by another key or for another id."""
        try:
            return self._wrapper.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], b"doorward/dek/v1\0" + key_id.encode())
        except (InvalidTag, ValueError):
            raise IntegrityError(f"the key of {key_id} does not unwrap", spot=f"keys: {key_id}") from None

    def _record_cipher(self, dek: bytes | None) -> AESGCM:
        return AESGCM(HKDFExpand(SHA256(), 32, b"doorward/event/v1\0").derive(dek or self._gateway))

    def seal_record(self, dek: bytes | None, boot: str, seq: int, salt: bytes, record: bytes) -> bytes:
        """An event's private record with its salt, bound to the place of its leaf. `dek` is None for NO_SESSION."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._record_cipher(dek).encrypt(nonce, salt + record, f"{boot}/{seq}".encode())

    def open_record(self, dek: bytes | None, boot: str, seq: int, sealed: bytes) -> tuple[bytes, bytes]:
        """(salt, record). IntegrityError when it is not what was sealed there."""
        try:
            opened = self._record_cipher(dek).decrypt(sealed[:_NONCE], sealed[_NONCE:], f"{boot}/{seq}".encode())
        except (InvalidTag, ValueError):
            raise IntegrityError("an event's record does not open", spot=f"events: {boot}/{seq}") from None
        return opened[:SALT], opened[SALT:]
