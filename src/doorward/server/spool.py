"""Where masked bytes of wide rows wait until their length is known: files that nobody can read, within one bound.

Contract: `Spools.open` reserves room for a row, or returns None when there is none now; `when_free` calls back once there
may be. A spool's file has no name, and what is in it is encrypted under a key that only this object ever has: if we die here
the file is gone with the process, and what a disk still holds of it means nothing.

It is written on the event loop, into the page cache: a block is less work than to hand it to a thread.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_BLOCK: Final = 256 << 10
_TAG: Final = 16


class Spools:
    """All spools of a gateway. `folder`: where their files are. `limit`: bytes that they may take together."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.used = 0
        self._folder = folder
        self._limit = limit
        self._waiting: deque[Callable[[], None]] = deque()

    def open(self, size: int) -> Spool | None:
        """A spool for a row of `size` bytes. A row that is larger than the limit has it alone."""
        if self.used and self.used + size > self._limit:
            return None
        self.used += size
        return Spool(self, self._folder, size)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when a spool has been closed."""
        self._waiting.append(callback)

    def closed(self, size: int) -> None:
        """A spool gives back what it had reserved."""
        self.used -= size
        waiting, self._waiting = self._waiting, deque()
        for callback in waiting:
            callback()


class Spool:
    """Satisfies `wide.Store`. OSError when the disk does not take it."""

    def __init__(self, spools: Spools, folder: Path, reserved: int) -> None:
        self._spools = spools
        self._reserved = reserved
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  it lives as long as this object
        self._cipher = AESGCM(AESGCM.generate_key(128))
        self._nonces: list[int] = []  # of each block in the file
        self._next = 0
        self._tail = bytearray()  # what is not a block yet
        self._block = b""  # the last one that was read, and its number
        self._number = -1
        self._read = 0

    def append(self, data: bytes) -> None:
        self._tail += data
        while len(self._tail) >= _BLOCK:
            self._write(bytes(self._tail[:_BLOCK]))
            del self._tail[:_BLOCK]

    def size(self) -> int:
        return len(self._nonces) * _BLOCK + len(self._tail)

    def truncate(self, size: int) -> None:
        whole, rest = divmod(size, _BLOCK)
        if whole >= len(self._nonces):
            del self._tail[rest:]
            return
        self._tail = bytearray(self._at(whole)[:rest])
        del self._nonces[whole:]
        self._block, self._number = b"", -1
        self._file.truncate(whole * (_BLOCK + _TAG))

    def read(self, size: int) -> bytes:
        out: list[bytes] = []
        while size:
            number, place = divmod(self._read, _BLOCK)
            block = self._at(number) if number < len(self._nonces) else bytes(self._tail)
            piece = block[place : place + size]
            if not piece:
                raise ValueError("there is no more in this spool")
            out.append(piece)
            size -= len(piece)
            self._read += len(piece)
        return b"".join(out)

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._tail.clear()
            self._block = b""
            self._spools.closed(self._reserved)

    def _write(self, block: bytes) -> None:
        sealed = memoryview(self._cipher.encrypt(self._next.to_bytes(12, "big"), block, None))
        self._file.seek(len(self._nonces) * (_BLOCK + _TAG))
        while sealed:
            sealed = sealed[self._file.write(sealed) :]
        self._nonces.append(self._next)
        self._next += 1  # a block that is written anew has another nonce

    def _at(self, number: int) -> bytes:
        if number != self._number:
            self._file.seek(number * (_BLOCK + _TAG))
            sealed = self._file.read(_BLOCK + _TAG)
            self._block = self._cipher.decrypt(self._nonces[number].to_bytes(12, "big"), sealed, None)
            self._number = number
        return self._block
