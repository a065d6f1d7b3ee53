"""Frames of the write-ahead log: encrypted, chained, and safe to cut anywhere.

A file is a header, "DOORWAL1" 0A || file id (16 random bytes), then frames:

    u32 length of the ciphertext || u32 CRC-32 of what follows || u64 seq || AES-256-GCM ciphertext and tag

Each file has its own key, HKDF-SHA256 over the log's key and the file id, and the nonce is `seq`, which must grow: so a
nonce repeats only if a file id does. A file is therefore never appended to by a second process: every start begins a
new file with a new id. The frame before is bound in as associated data (its tag), so that a frame can be neither
dropped nor moved within or between files. The CRC only tells a torn frame (we died in the middle of a write) from an
altered one, in words; both end the reading.

Does no I/O and makes no keys. Where the frames' plaintext ends up is the recorder's business.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from doorward.errors import IntegrityError

MAGIC: Final = b"DOORWAL1\n"
FILE_ID_SIZE: Final = 16
HEADER_SIZE: Final = len(MAGIC) + FILE_ID_SIZE
MAX_PLAINTEXT: Final = 16 * 1024 * 1024
_PREFIX: Final = struct.Struct(">II")
_SEQ: Final = struct.Struct(">Q")
_TAG: Final = 16


def _cipher(key: bytes, file_id: bytes) -> AESGCM:
    if len(key) != 32 or len(file_id) != FILE_ID_SIZE:
        raise ValueError("the log's key is 32 bytes and a file id 16")
    return AESGCM(HKDF(SHA256(), 32, salt=file_id, info=b"doorward/wal/v1\0").derive(key))


class WalSealer:
    """Seals the frames of one write-ahead log file. `header` is written first, once."""

    __slots__ = ("_cipher", "_file_id", "_last", "_seq")

    def __init__(self, key: bytes, file_id: bytes) -> None:
        self._cipher = _cipher(key, file_id)
        self._file_id = file_id
        self._last = file_id
        self._seq = -1

    @property
    def header(self) -> bytes:
        return MAGIC + self._file_id

    def seal(self, seq: int, plaintext: bytes) -> bytes:
        """The frame. `seq` must be greater than in every frame before (ValueError), because it is the nonce."""
        if not self._seq < seq < 2**63:
            raise ValueError(f"sequence number {seq} after {self._seq}: a nonce would repeat")
        if len(plaintext) > MAX_PLAINTEXT:
            raise ValueError(f"a frame of {len(plaintext)} bytes, more than {MAX_PLAINTEXT}")
        self._seq = seq
        number = _SEQ.pack(seq)
        sealed = self._cipher.encrypt(b"\0\0\0\0" + number, plaintext, number + self._last)
        self._last = sealed[-_TAG:]
        return b"".join((_PREFIX.pack(len(sealed), crc32(sealed, crc32(number))), number, sealed))


class WalFrames(Iterator[tuple[int, bytes, int]]):
    """The frames of a file, in order, as (seq, plaintext, offset where the frame ends).

    Iteration ends at the first frame that is torn or bad. Then `why` says what was wrong with it, or is empty when the
    file ended with a whole frame; `end` is the offset up to which the file is good, header included.
    """

    __slots__ = ("_cipher", "_data", "_last", "_seq", "end", "why")

    def __init__(self, data: bytes, key: bytes) -> None:
        """Raises IntegrityError when the file's header is not whole."""
        if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
            raise IntegrityError("not a write-ahead log, or its header is torn")
        self._data = memoryview(data)
        self._last = data[len(MAGIC) : HEADER_SIZE]
        self._cipher = _cipher(key, self._last)
        self._seq = -1
        self.end = HEADER_SIZE
        self.why = ""

    def __next__(self) -> tuple[int, bytes, int]:
        if self.why:
            raise StopIteration
        start, data = self.end, self._data
        left = len(data) - start
        if left == 0:
            raise StopIteration
        body = start + _PREFIX.size
        if left < _PREFIX.size + _SEQ.size + _TAG:
            return self._stop("torn: the file ends inside a frame's header")
        length, crc = _PREFIX.unpack_from(data, start)
        if not _TAG <= length <= MAX_PLAINTEXT + _TAG:
            return self._stop(f"bad: a frame cannot be {length} bytes long")
        end = body + _SEQ.size + length
        if end > len(data):
            return self._stop("torn: the file ends inside a frame")
        if crc32(data[body:end]) != crc:
            return self._stop("torn or altered: the frame does not match its checksum")
        number = bytes(data[body : body + _SEQ.size])
        (seq,) = _SEQ.unpack(number)
        if seq <= self._seq:
            return self._stop(f"altered: sequence number {seq} after {self._seq}")
        try:
            plaintext = self._cipher.decrypt(b"\0\0\0\0" + number, data[body + _SEQ.size : end], number + self._last)
        except InvalidTag:
            return self._stop("altered: the frame does not open under this key, after this predecessor")
        self._seq, self._last, self.end = seq, bytes(data[end - _TAG : end]), end
        return seq, plaintext, end

    def _stop(self, why: str) -> tuple[int, bytes, int]:
        self.why = why
        raise StopIteration


def iter_frames(data: bytes, key: bytes) -> WalFrames:
    """Iterates over a file's frames; `.why` and `.end` of the result say where and why it stopped."""
    return WalFrames(data, key)
