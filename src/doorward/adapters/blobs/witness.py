"""What a witness keeps: its key, its name, and for each log the checkpoint that it cosigned last.

    <state>/keys/witness.key               made once, 0600
    <state>/name                           the name that its key signs under
    <state>/<SHA-256 of origin>/checkpoint the last one, with the log's signature and its own
    <state>/lock                           one process at a time

A copy of this directory that is put back after a while is a witness that forgot: restore only the key.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.adapters.blobs.files import LocalKeyFiles, Lock, make_directory, write_atomically
from doorward.errors import ConfigError
from doorward.ledger.checkpoint import MAX_NOTE
from doorward.ledger.cosignature import Cosigner
from doorward.ledger.witness import origin_hash


class WitnessState:
    """One directory. OSError from everything but the constructor."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = Lock(directory / "lock")

    def lock(self) -> None:
        """ConfigError if another process serves from here."""
        make_directory(self.directory)
        if not self._lock.take():
            raise ConfigError(
                f"another witness is using {self.directory}", hint="stop it, or give this one a directory of its own"
            )

    def unlock(self) -> None:
        self._lock.release()

    def cosigner(self, name: str = "") -> Cosigner:
        """Its key, under the name of its first start; both are made if they are not there. ConfigError: no name, or another."""
        path = self.directory / "name"
        kept = path.read_text("utf-8").strip() if path.is_file() else ""
        if not kept and not name:
            raise ConfigError(
                "this witness has no name yet",
                hint="give one with --name: a URL without scheme, as in witness.example.org/w1",
            )
        if kept and name not in ("", kept):
            raise ConfigError(
                f"this witness is called {kept}",
                hint="a key signs under one name: use another directory for another name",
            )
        key = LocalKeyFiles(self.directory).get_or_create("witness.key", secrets.token_bytes(32))
        if len(key) != 32:
            raise ConfigError(f"{self.directory}/keys/witness.key is not a key", hint="restore it from a copy")
        try:
            cosigner = Cosigner(kept or name, Ed25519PrivateKey.from_private_bytes(key))
        except ValueError as error:
            raise ConfigError(f"--name: {error}", hint="a URL without a scheme, as in witness.example.org/w1") from None
        if not kept:
            write_atomically(path, f"{name}\n".encode())
        return cosigner

    def read(self, origin: str) -> bytes | None:
        """The checkpoint of a log that was cosigned last."""
        return self.published(origin_hash(origin))

    def published(self, hashed: str) -> bytes | None:
        """The same, by `origin_hash`."""
        if len(hashed) != 64 or not set(hashed) <= set("0123456789abcdef"):
            return None
        try:
            with (self.directory / hashed / "checkpoint").open("rb") as file:
                return file.read(2 * MAX_NOTE)
        except FileNotFoundError:
            return None

    def write(self, origin: str, note: bytes) -> None:
        """Durable when it returns."""
        write_atomically(self.directory / origin_hash(origin) / "checkpoint", note)
