"""Lines at the end of a file, for a shipper that follows it.

Contract: a batch is on disk before it counts as taken. The file is opened for each batch, so that it may be moved away and
another begun at any time. A line that a crash cut short is ended before the next begins, and sent again whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path


class FileDestination:
    """Satisfies `Destination`. The file is made with mode 0640."""

    kind = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, events: Sequence[tuple[int, bytes]]) -> None:
        await asyncio.to_thread(self._append, b"".join(line + b"\n" for _, line in events))

    async def close(self) -> None:
        pass

    def _append(self, octets: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                octets = b"\n" + octets
            view = memoryview(octets)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
