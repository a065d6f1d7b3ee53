"""Every byte below a directory, or of one file, as somebody who searches it wants it: in pieces, unpacked where it is packed.

Contract: `files` yields regular files in order, `pieces` one file's bytes, `unpacked` what gzip, Zstandard or ZIP in it
hold, one level deep. Nothing is followed out of the tree: a link, a pipe or a device is told of by `files` with a reason.
Memory is bounded by PIECE; what unpacks to more than MOST is an OSError, and so is whatever cannot be read.
"""

from __future__ import annotations

import gzip
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Protocol

import zstandard

PIECE: Final = 1 << 20
MOST: Final = 64 << 30  # bytes that one packed file may unpack to
_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"


class Readable(Protocol):
    """Something that bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


def files(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Each file below `root`, or `root` itself: path, size in bytes, and why it cannot be read ("" if it can)."""
    refused: list[OSError] = []
    if not root.is_dir():
        yield _file(root)
        return
    for directory, below, names in os.walk(root, onerror=refused.append):
        below.sort()
        for name in sorted(names):
            yield _file(Path(directory) / name)
        for name in below:
            if (Path(directory) / name).is_symlink():
                yield Path(directory) / name, 0, "it is a link, and is not followed"
    for error in refused:
        yield Path(error.filename or root), 0, error.strerror or "it cannot be listed"


def _file(path: Path) -> tuple[Path, int, str]:
    try:
        found = path.lstat()
    except OSError as error:
        return path, 0, error.strerror or "it cannot be read"
    if stat.S_ISLNK(found.st_mode):
        return path, 0, "it is a link, and is not followed"
    if stat.S_ISSOCK(found.st_mode) or stat.S_ISFIFO(found.st_mode):
        return path, 0, "it is a pipe or a socket: it keeps nothing"
    return path, found.st_size, "" if stat.S_ISREG(found.st_mode) else "it is not a regular file"


def opened(path: Path) -> IO[bytes]:
    """A regular file, open for reading. OSError for anything else; O_NONBLOCK so that a pipe cannot hold us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return open(descriptor, "rb")


def pieces(source: Readable, most: int = 0) -> Iterator[bytes]:
    """What `source` gives, PIECE bytes at a time. OSError: it is not what it says, or more than `most` (0: any number)."""
    total = 0
    try:
        while piece := source.read(PIECE):
            total += len(piece)
            if most and total > most:
                raise OSError(f"it unpacks to more than {most} bytes")
            yield piece
    except (zlib.error, EOFError, zstandard.ZstdError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise OSError(f"it does not unpack: {error}") from None


def unpacked(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """What a packed file holds: the name of each part, and its bytes. Nothing for a file that is not packed. OSError."""
    with opened(path) as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as plain:
                yield "unpacked", pieces(plain, MOST)
        elif start == _ZSTD:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True) as plain:
                yield "unpacked", pieces(plain, MOST)
        elif start == _ZIP:
            try:
                with zipfile.ZipFile(file) as archive:
                    for member in archive.infolist():
                        with archive.open(member) as plain:
                            yield member.filename, pieces(plain, MOST)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # encrypted, or a method of its own
                raise OSError(f"it does not unpack: {error}") from None
