"""Evidence packs on disk: a folder, and the same as a zip.

A pack is written into `<name>.partial` beside where it will stand, and renamed when it is whole: who dies in between leaves a
partial folder, which the next attempt deletes. Files are hashed as they are written. The zip follows from the files alone:
fixed order, times and modes (docs/spec/pack.md, section 1).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from doorward.adapters.blobs.files import sync_directory
from doorward.errors import ConfigError
from doorward.evidence.manifest import MANIFEST, NOTE, PackFile

PARTIAL: Final = ".partial"
PIECE: Final = 1024 * 1024
_TIME: Final = (1980, 1, 1, 0, 0, 0)
# What is random already only gets longer; all else is text.
_STORED: Final = ("log/tile/", "log/tsr/", "samples/")


class PackStream:
    """A file of the pack that is written piece by piece."""

    def __init__(self, pack: PackFolder, path: str) -> None:
        self._pack, self._path = pack, path
        self._file: BinaryIO = open(pack.create(path), "wb", buffering=PIECE)  # noqa: SIM115 - closed below
        self._digest, self._size, self.rows = sha256(), 0, 0
        self._pending: list[bytes] = []
        self._waiting = 0
        pack.open.add(self)

    def write(self, octets: bytes, *, rows: int = 0) -> None:
        self._pending.append(octets)
        self._waiting += len(octets)
        self.rows += rows
        if self._waiting >= PIECE:
            self._flush()

    def _flush(self) -> None:
        joined = b"".join(self._pending)
        self._digest.update(joined)
        self._file.write(joined)
        self._size += len(joined)
        self._pending.clear()
        self._waiting = 0

    def close(self, *, counted: bool = True) -> None:
        self._flush()
        self.discard()
        self._pack.files[self._path] = PackFile(
            self._path, self._digest.hexdigest(), self._size, self.rows if counted else None
        )


    def discard(self) -> None:
        """Close the file as it is."""
        self._pack.open.discard(self)
        self._file.close()


class PackFolder:
    """The folder while it is written. `files` are those that are complete."""

    def __init__(self, target: Path) -> None:
        """ConfigError if something stands there already."""
        self.target, self._partial = target, target.with_name(target.name + PARTIAL)
        if target.exists():
            raise ConfigError(f"{target} is there already", hint="give another folder with --out, or delete it")
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(mode=0o700)
        self.files: dict[str, PackFile] = {}
        self.open: set[PackStream] = set()
        self._made: set[Path] = {self._partial}

    def create(self, path: str) -> Path:
        """The place of a new file of the pack."""
        found = self._partial / path
        if found.parent not in self._made:
            found.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(found.parent)
        return found

    def stream(self, path: str) -> PackStream:
        return PackStream(self, path)

    def file(self, path: str, octets: bytes, *, rows: int | None = None) -> None:
        self.create(path).write_bytes(octets)
        self.files[path] = PackFile(path, sha256(octets).hexdigest(), len(octets), rows)

    def read(self, path: str) -> Iterator[bytes]:
        """A file that is complete, in pieces."""
        with open(self._partial / path, "rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def delete(self, path: str) -> None:
        """Of a file that is not to be in the pack after all."""
        (self._partial / path).unlink()
        del self.files[path]

    def finish(self, manifest: bytes, note: bytes) -> None:
        """Write the manifest and its note, and let the folder be what it is called."""
        (self._partial / MANIFEST).write_bytes(manifest)
        (self._partial / NOTE).write_bytes(note)
        os.rename(self._partial, self.target)
        sync_directory(self.target.parent)

    def abandon(self) -> None:
        for stream in list(self.open):
            with contextlib.suppress(OSError):
                stream.discard()
        shutil.rmtree(self._partial, ignore_errors=True)


def write_zip(folder: Path, paths: Iterable[str], target: Path) -> None:
    """The pack in `folder` as a zip below its own name: manifest and note first, then the others in this order."""
    partial = target.with_name(target.name + PARTIAL)
    try:
        with zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
            for path in (MANIFEST, NOTE, *paths):
                entry = zipfile.ZipInfo(f"{folder.name}/{path}", _TIME)
                entry.create_system = 3
                entry.external_attr = 0o100644 << 16
                entry.compress_type = zipfile.ZIP_STORED if path.startswith(_STORED) else zipfile.ZIP_DEFLATED
                entry._compresslevel = 1  # type: ignore[attr-defined]  # ZipFile.writestr sets it so; open() takes it from here
                size = (folder / path).stat().st_size
                entry.file_size = size
                with open(folder / path, "rb") as source, archive.open(entry, "w") as out:
                    shutil.copyfileobj(source, out, PIECE)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.rename(partial, target)
