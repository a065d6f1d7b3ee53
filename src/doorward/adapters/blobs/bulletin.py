"""A page of memory that the processes of one gateway share: `<data>/bulletin`, mapped.

A row a lane. In it a process counts what it has changed in the store (`posted`), and for each lane how much of that it has
taken up. Each number has one writer and only ever grows, so nothing is locked; eight aligned bytes are written at once on
every machine that Python 3.11 runs on. What is in it means nothing after a crash of the machine, and is not synchronised.

Below the rows each lane has a ring of the CancelRequests that it was sent and that were for none of its own sessions: how many
there were, and the last of them, each a number and the SHA-256 of a key. Whoever reads too late, or one that is just being
written over, reads a hash that fits no key.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from doorward.adapters.blobs.files import make_directory

LANES = 64
_ROW = 1 + LANES  # posted, and how far this lane has read of each
_RING = 32  # CancelRequests of a lane that are there at once
_CALL = 1 + 4  # the number, and the hash
_RINGS = LANES * _ROW  # where they begin
_CALLS = 1 + _RING * _CALL
_SIZE = (_RINGS + LANES * _CALLS) * 8


class LocalBulletin:
    """Satisfies `Bulletin`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "bulletin"
        self._own = 0
        self._numbers: memoryview | None = None

    def open(self, lane: int) -> None:
        make_directory(self._path.parent)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
            page = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self._own = lane
        self._numbers = memoryview(page).cast("Q")

    def close(self) -> None:
        if self._numbers is not None:
            page = self._numbers.obj
            self._numbers.release()
            self._numbers = None
            assert isinstance(page, mmap.mmap)
            page.close()

    def _page(self) -> memoryview:
        if self._numbers is None:
            raise OSError("the bulletin is not open")
        return self._numbers

    def post(self) -> int:
        numbers, at = self._page(), self._own * _ROW
        numbers[at] += 1
        return int(numbers[at])

    def posted(self) -> list[int]:
        return list(self._page()[::_ROW])

    def taken_up(self, posted: list[int]) -> None:
        numbers, at = self._page(), self._own * _ROW + 1
        for lane, number in enumerate(posted):
            numbers[at + lane] = number

    def call(self, number: int, digest: bytes) -> None:
        numbers, ring = self._page(), _RINGS + self._own * _CALLS
        at = ring + 1 + numbers[ring] % _RING * _CALL
        for place, word in enumerate((number, *struct.unpack("=4Q", digest))):
            numbers[at + place] = word
        numbers[ring] += 1  # last: who sees it sees the rest

    def called(self, lane: int) -> int:
        return int(self._page()[_RINGS + lane * _CALLS])

    def calls(self, lane: int, after: int) -> list[tuple[int, bytes]]:
        numbers, ring = self._page(), _RINGS + lane * _CALLS
        made = int(numbers[ring])
        starts = [ring + 1 + each % _RING * _CALL for each in range(max(after, made - _RING), made)]
        return [(int(numbers[at]), struct.pack("=4Q", *numbers[at + 1 : at + _CALL])) for at in starts]

    def read_by(self, lane: int) -> int:
        return int(self._page()[lane * _ROW + 1 + self._own])
