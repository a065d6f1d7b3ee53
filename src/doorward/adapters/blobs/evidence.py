"""A data directory, or a copy of its `log` and `recordings`, as evidence to verify.

Reads only. The directory may come from somebody hostile: a symbolic link, a device or a pipe in the place of a file is
an OSError, no file is read beyond what its kind may hold, and names are never followed out of the directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from doorward.errors import IntegrityError
from doorward.ledger import handover, stamps
from doorward.ledger.checkpoint import MAX_NOTE
from doorward.ledger.tiles import MAX_BUNDLE, parse_path
from doorward.ledger.verify import StoredRecording

PIECE: Final = 256 * 1024
SUFFIX: Final = ".dwr"


_FOLDERS: Final = {stamps.FOLDER: stamps.NAME, handover.FOLDER: handover.NAME}


class DirectoryEvidence:
    """Satisfies `ledger.verify.EvidenceSource` over the directory that holds `log` and `recordings`."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "log"
        self._recordings = directory / "recordings"
        self._directory = directory

    def checkpoint(self) -> bytes:
        return _read(self._log / "checkpoint", MAX_NOTE)

    def vkey(self) -> str | None:
        """The verifier key that lies beside the log, for those who were given no other; None if there is none."""
        try:
            return _read(self._log / "vkey", MAX_NOTE).decode("utf-8", "replace").removesuffix("\n")
        except FileNotFoundError:
            return None

    def read(self, path: str) -> bytes:
        folder, _, name = path.rpartition("/")
        names = _FOLDERS.get(folder)
        if path == "witnessed" or (names is not None and names.fullmatch(name)):
            return _read(self._log / path, MAX_NOTE)
        try:
            parse_path(path)  # so that it cannot lead out of the log
        except IntegrityError:
            raise FileNotFoundError(path) from None
        return _read(self._log / path, MAX_BUNDLE)

    def paths(self) -> Iterator[str]:
        for directory, name in _walk(self._log / "tile"):
            yield (directory / name).relative_to(self._log).as_posix()

    def names(self, folder: str) -> Iterator[str]:
        if folder not in _FOLDERS:
            raise FileNotFoundError(folder)
        for directory, name in _walk(self._log / folder):
            if directory == self._log / folder:
                yield name

    def recordings(self) -> Iterator[StoredRecording]:
        for directory, name in _walk(self._recordings):
            if name.endswith(SUFFIX):
                path = directory / name
                shown = path.relative_to(self._directory).as_posix()
                yield StoredRecording(name.removesuffix(SUFFIX), shown, _pieces(path))


def _open(path: Path) -> int:
    """A descriptor of a regular file. OSError for anything else; O_NONBLOCK so that a pipe cannot hold us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor


def _read(path: Path, limit: int) -> bytes:
    """The file, or its first limit + 1 bytes: enough for its parser to see that it is too long."""
    with open(_open(path), "rb") as file:
        return file.read(limit + 1)


def _pieces(path: Path) -> Iterable[bytes]:
    with open(_open(path), "rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file below `root`, in order. A directory that cannot be listed is an OSError, not an empty one."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for directory, below, names in os.walk(root, onerror=fail):
        below.sort()
        for name in sorted(names):
            yield Path(directory), name
