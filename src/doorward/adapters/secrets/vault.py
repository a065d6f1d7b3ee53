"""Secrets in one encrypted file under the data directory: `vault:name`.

Contract: `<data>/vault` holds every secret of the vault, sealed with AES-256-GCM under a key of its own for each
rewrite, which HKDF derives from a random salt and the vault's key: the 32 bytes in `<data>/keys/vault.key`, or what
scrypt makes of the passphrase in DOORWARD_VAULT_PASSPHRASE. A write seals under the passphrase if there is one, else
under the key file. Changing one byte makes the whole vault unreadable and says so. A rewrite is atomic: a crash at any
point leaves the old vault or the new one. Names can be listed, values only fetched one at a time.

File: "DOORWARD-VAULT-1\\n", one byte (0 key file, 1 passphrase), salt (32), nonce (12), ciphertext and tag. The first
three are authenticated as well. The plaintext is JSON, {name: base64}, padded with spaces to a multiple of 4096, so
that the file's length says little.

Deliberately not here: protection against an old copy of the whole vault being put back (who can do that can read the
key file too), and against the gateway's own user.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from doorward.adapters.secrets.file import read_private
from doorward.adapters.secrets.secret import Secret
from doorward.errors import ConfigError, IntegrityError
from doorward.model import SecretRef

PASSPHRASE = "DOORWARD_VAULT_PASSPHRASE"  # noqa: S105  # the variable's name
MAX_VALUE = 64 * 1024
_MAX_NAMES = 1000
_MAX_FILE = 128 * 1024 * 1024
_MAGIC = b"DOORWARD-VAULT-1\n"
_BY_KEY_FILE, _BY_PASSPHRASE = b"\x00", b"\x01"
_SALT, _NONCE = 32, 12
_HEADER = len(_MAGIC) + 1 + _SALT
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
# Fixed by the format's version and never read from the file, where an attacker could ask for all the memory there is.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 17, 8, 1


class Vault:
    """SecretSource of the scheme `vault`, and what `doorward secrets` writes to.

    `environ` is where the passphrase is looked up.
    """

    def __init__(self, data_directory: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self._path = data_directory / "vault"
        self._lock = data_directory / "vault.lock"
        self._key = data_directory / "keys" / "vault.key"
        self._environ = os.environ if environ is None else environ
        self._last: tuple[bytes, str, Secret] | None = None  # salt, passphrase, what scrypt made of them

    def get(self, ref: SecretRef) -> Secret:
        """Raises ConfigError when there is no such secret or no key, IntegrityError when the vault was changed."""
        entries = self._read()
        if ref.name not in entries:
            raise ConfigError(f"secret {ref} is not in the vault", hint=f"doorward secrets set {ref.name}")
        return entries[ref.name]

    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._read())

    def set(self, name: str, value: bytes) -> None:
        """Add or replace; durable when it returns. ValueError for a name or value that cannot be kept."""
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is not a name of letters, digits, '.', '_' and '-', at most 64, letter first")
        if not 0 < len(value) <= MAX_VALUE:
            raise ValueError(f"a secret has 1 to {MAX_VALUE} bytes")
        with self._locked():
            entries = self._read()
            if name not in entries and len(entries) >= _MAX_NAMES:
                raise ValueError(f"the vault holds at most {_MAX_NAMES} secrets")
            self._write({**entries, name: Secret(value)})

    def remove(self, name: str) -> bool:
        """Whether it was there. Durable when it returns."""
        with self._locked():
            entries = self._read()
            if entries.pop(name, None) is None:
                return False
            self._write(entries)
            return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, in any process. The lock is a file of its own because the vault is replaced."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, Secret]:
        if not self._path.exists():
            return {}
        sealed = read_private(str(self._path), what="the vault", limit=_MAX_FILE)
        header, nonce, ciphertext = sealed[:_HEADER], sealed[_HEADER : _HEADER + _NONCE], sealed[_HEADER + _NONCE :]
        if not header.startswith(_MAGIC) or len(ciphertext) < 16:
            raise IntegrityError(f"{self._path} is not a vault of this version", spot=str(self._path))
        mode, salt = header[len(_MAGIC) : len(_MAGIC) + 1], header[len(_MAGIC) + 1 :]
        if mode == _BY_PASSPHRASE:
            if not self._environ.get(PASSPHRASE):
                raise ConfigError("the vault is sealed under a passphrase", hint=f"set {PASSPHRASE}")
            key, opener = self._stretched(salt), "the passphrase is another one"
        else:
            key, opener = self._key_file(), f"{self._key} is another key"
        try:
            plaintext = AESGCM(_derived(key, salt)).decrypt(nonce, ciphertext, header)
        except InvalidTag:
            raise IntegrityError(
                f"the vault does not open: {opener}, or the file was changed",
                spot=str(self._path),
                hint="put the right key or passphrase back, or restore the vault from a backup",
            ) from None
        return {name: Secret(base64.b64decode(value)) for name, value in json.loads(plaintext).items()}

    def _write(self, entries: Mapping[str, Secret]) -> None:
        salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
        if self._environ.get(PASSPHRASE):
            mode, key = _BY_PASSPHRASE, self._stretched(salt)
        else:
            if not self._key.exists():
                if self._path.exists() and self._mode() == _BY_KEY_FILE:
                    raise ConfigError(f"{self._key} is gone, and the vault needs it", hint="restore it from a backup")
                _replace_private(self._key, secrets.token_bytes(32))
            mode, key = _BY_KEY_FILE, self._key_file()
        header = _MAGIC + mode + salt
        plaintext = json.dumps({name: base64.b64encode(value).decode() for name, value in entries.items()}).encode()
        plaintext += b" " * (-len(plaintext) % 4096)
        sealed = header + nonce + AESGCM(_derived(key, salt)).encrypt(nonce, plaintext, header)
        _replace_private(self._path, sealed)

    def _mode(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(len(_MAGIC) + 1)[len(_MAGIC) :]

    def _key_file(self) -> Secret:
        key = Secret(read_private(str(self._key), what="the vault's key", limit=32))
        if len(key) != 32:
            raise IntegrityError(f"{self._key} is not a key of 32 bytes", spot=str(self._key))
        return key

    def _stretched(self, salt: bytes) -> Secret:
        """scrypt's work, done once for each rewrite of the vault and not for each secret that a session asks for."""
        passphrase = self._environ[PASSPHRASE]
        if self._last is None or self._last[:2] != (salt, passphrase):
            stretch = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
            self._last = salt, passphrase, Secret(stretch.derive(passphrase.encode("utf-8", "surrogateescape")))
        return self._last[2]


def _derived(key: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"doorward/vault/v1").derive(key)


def _replace_private(path: Path, content: bytes) -> None:
    """Put a file of mode 0600 in place, whole or not at all; durable with its name on return. OSError when not."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(fresh, path)  # dying before this leaves the old file, and a .tmp that nothing reads
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
