"""The keys that records are sealed under.

    keys/wal.key                seals the write-ahead log
    keys/log.key                signs checkpoints (Ed25519); the keys after it are log.1.key, log.2.key, ...
    keys/kek.<class>.<month>    an epoch's: wraps the data keys of sessions that a retention class opened in a month, and
                                seals the records of its events that belong to no session
    keys/kek.hold.<case>        a legal hold's: wraps a second time the data keys of the sessions that are held
    keys/kek.key                salts that must be made again after a restart; and what was sealed before there were epochs

A session's data key is random, wrapped with AES-256-GCM and bound to the session's id and the epoch; destroying either the
wrapped key or the epoch's destroys the session's recording and the private records of its events, and the log still verifies.
Key files are made once; where they are kept is the `KeyFiles` adapter's business. Nothing here is ever logged or put in an
error. Threads may share a ring.
"""

from __future__ import annotations

import secrets
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from doorward.errors import ConfigError, IntegrityError
from doorward.guard.ports import KeyFiles
from doorward.ledger.retention import is_epoch

NO_SESSION = "gateway"  # the key id of events that belonged to no session, before there were epochs
SALT = 32
PREFIX = "kek."
ROOT = "kek.key"
_HOLD = "hold."
_NONCE = 12
_OLD = _NONCE + 32 + 16  # bytes of a key that the root wraps
_WRAPPED = b"\x02"  # and what a key begins with that an epoch wraps; then the length of its name, and the name


class Keyring:
    """`wal` and `log` are the keys of those names. ConfigError when a key file is not a key."""

    def __init__(self, files: KeyFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self.wal = self._key("wal.key")
        self.log = Ed25519PrivateKey.from_private_bytes(self._key("log.key"))
        self._root = self._key(ROOT)
        self._keys: dict[str, bytes] = {}
        self.made: list[str] = []  # epochs whose key was made here, of which nobody has told yet
        self.refresh()

    def _key(self, name: str, fresh: bytes = b"") -> bytes:
        return _whole(name, self._files.get_or_create(name, fresh or secrets.token_bytes(32)))

    def log_keys(self) -> list[Ed25519PrivateKey]:
        """Those that have signed checkpoints, and one that may be about to; the first is first. OSError."""
        found = [self.log]
        while (key := self._files.get(f"log.{len(found)}.key")) is not None:
            found.append(Ed25519PrivateKey.from_private_bytes(_whole(f"log.{len(found)}.key", key)))
        return found

    def make_log_key(self, number: int) -> Ed25519PrivateKey:
        """The log's key of that number, made if it is not there. OSError."""
        return Ed25519PrivateKey.from_private_bytes(self._key(f"log.{number}.key"))

    def salt(self, purpose: str) -> bytes:
        """32 bytes that only this key can make again: the salt of a commitment which is kept nowhere in clear, and still
        is the same after a restart."""
        return HKDFExpand(SHA256(), 32, b"doorward/salt/v1\0" + purpose.encode()).derive(self._root)

    # Epochs ----------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take up what others have made, and forget what they have destroyed. OSError."""
        with self._lock:
            found = {}
            for name in self._files.names():
                epoch = name.removeprefix(PREFIX)
                if epoch != name and (is_epoch(epoch) or is_hold(epoch)):
                    key = self._keys.get(epoch) or self._files.get(name)
                    if key is not None:  # destroyed while we looked
                        found[epoch] = _whole(name, key)
            self._keys = found

    @property
    def epochs(self) -> list[str]:
        """Those whose keys are here, holds' too."""
        return sorted(self._keys)

    def has(self, epoch: str) -> bool:
        """Whether its key is here. Another process may have made it just now. OSError."""
        if epoch not in self._keys:
            self.refresh()
        return epoch in self._keys

    def make(self, epoch: str) -> None:
        """Have the key of an epoch, durably; a new one is told of in `made`. OSError."""
        if epoch in self._keys:
            return
        fresh = secrets.token_bytes(32)
        with self._lock:
            found = self._key(PREFIX + epoch, fresh)
            self._keys[epoch] = found
            if found == fresh and is_epoch(epoch):
                self.made.append(epoch)

    def destroy(self, epoch: str) -> None:
        """Its key is gone, here and on the disk. OSError."""
        with self._lock:
            self._files.delete(PREFIX + epoch)
            self._keys.pop(epoch, None)

    def check(self, epoch: str) -> str:
        """What tells this key from every other, and nothing else about it. KeyError."""
        return HKDFExpand(SHA256(), 16, b"doorward/check/v1\0").derive(self._keys[epoch]).hex()

    # Data keys -------------------------------------------------------------------------------------------------------

    def wrap(self, key_id: str, dek: bytes, epoch: str) -> bytes:
        """Under the key of an epoch, which is made if there is none."""
        self.make(epoch)
        nonce, name = secrets.token_bytes(_NONCE), epoch.encode()
        head = _WRAPPED + bytes((len(name),)) + name
        return head + nonce + _wrapper(self._keys[epoch]).encrypt(nonce, dek, head + key_id.encode())

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes | None:
        """None: the key of its epoch is not here (any more). IntegrityError when it was wrapped for another id, or altered."""
        epoch = epoch_of(wrapped)
        if epoch and not self.has(epoch):
            return None
        try:
            if not epoch:
                return _wrapper(self._root).decrypt(
                    wrapped[:_NONCE], wrapped[_NONCE:], b"doorward/dek/v1\0" + key_id.encode()
                )
            body = 2 + len(epoch)
            return _wrapper(self._keys[epoch]).decrypt(
                wrapped[body : body + _NONCE], wrapped[body + _NONCE :], wrapped[:body] + key_id.encode()
            )
        except (InvalidTag, ValueError, KeyError):
            raise IntegrityError(f"the key of {key_id} does not unwrap", spot=f"keys: {key_id}") from None

    # Events' records -------------------------------------------------------------------------------------------------

    def of_events(self, key_id: str) -> bytes | None:
        """What seals the records of events that are of no session: `key_id` is an epoch, a hold's key,
        or NO_SESSION. None: it is gone."""
        if key_id == NO_SESSION:
            key = self._root
        elif self.has(key_id):
            key = self._keys[key_id]
        else:
            return None
        return HKDFExpand(SHA256(), 32, b"doorward/gateway/v1\0").derive(key)

    def of_search(self, epoch: str) -> bytes | None:
        """Under which the words of an epoch's sessions are tokens (`guard.search`). None: its key is gone."""
        if not self.has(epoch):
            return None
        return HKDFExpand(SHA256(), 32, b"doorward/search/v1\0").derive(self._keys[epoch])

    def seal_record(self, key: bytes | AESGCM, boot: str, seq: int, salt: bytes, record: bytes) -> bytes:
        """An event's private record with its salt, bound to the place of its leaf, under a data key or one `of_events`; or its
        `record_cipher`, where many are sealed."""
        nonce = secrets.token_bytes(_NONCE)
        cipher = record_cipher(key) if isinstance(key, bytes) else key
        return nonce + cipher.encrypt(nonce, salt + record, f"{boot}/{seq}".encode())

    def open_record(self, key: bytes | AESGCM, boot: str, seq: int, sealed: bytes) -> tuple[bytes, bytes]:
        """(salt, record), under the key or its `record_cipher`. IntegrityError when it is not what was sealed there."""
        try:
            cipher = record_cipher(key) if isinstance(key, bytes) else key
            opened = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], f"{boot}/{seq}".encode())
        except (InvalidTag, ValueError):
            raise IntegrityError("an event's record does not open", spot=f"events: {boot}/{seq}") from None
        return opened[:SALT], opened[SALT:]


def epoch_of(wrapped: bytes) -> str:
    """The epoch under which a data key is wrapped; "" for one from before there were epochs. IntegrityError."""
    if len(wrapped) == _OLD:
        return ""
    name = wrapped[2 : 2 + wrapped[1]] if len(wrapped) > 2 else b""
    if wrapped[:1] != _WRAPPED or not name or len(wrapped) != 2 + len(name) + _OLD or not name.isascii():
        raise IntegrityError("not a wrapped key", spot="keys")
    return name.decode()


def is_session(key_id: str) -> bool:
    """Whether a record's key is its session's own, and not one of `Keyring.of_events`."""
    return key_id != NO_SESSION and not is_epoch(key_id) and not is_hold(key_id)


def hold_key(hold: str) -> str:
    """The name of the key of a hold, which stands where an epoch's does."""
    return f"{_HOLD}{hold}"


def is_hold(epoch: str) -> bool:
    return epoch.startswith(_HOLD) and not epoch.endswith(".new")


def _whole(name: str, key: bytes) -> bytes:
    if len(key) != 32:
        raise ConfigError(f"keys/{name} is not a key", hint="restore it from the backup of the data directory")
    return key


def _wrapper(key: bytes) -> AESGCM:
    return AESGCM(HKDFExpand(SHA256(), 32, b"doorward/wrap/v1\0").derive(key))


def record_cipher(key: bytes) -> AESGCM:
    """What opens records under this key: for who opens many."""
    return AESGCM(HKDFExpand(SHA256(), 32, b"doorward/event/v1\0").derive(key))
