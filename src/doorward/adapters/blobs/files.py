"""Files of the data directory, written so that a crash leaves the old or the new and never a mixture.

    keys/<name>                          secrets made once
    wal/<name>  wal/torn/<name>  lock    the write-ahead log, and what of it could not be read; of a second process, and so on:
    wal/<n>/... lock.<n>
    recordings/<yyyy>/<mm>/<session>.dwr one file a session
    log/checkpoint log/vkey log/tile/... the public log; log/staging/ what the sequencer is about to publish
    log/witnessed log/tsr/...            what others say of it

Everything is created 0600 in directories of 0700. A name that would leave its directory is a ValueError. Nothing here
knows what the bytes mean, retries, or hides an OSError: what to do about one is the recorder's to say.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from doorward.errors import ConfigError

PIECE = 1 << 20  # bytes read at a time
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def make_directory(path: Path) -> None:
    """Make `path` and what leads to it, each 0700 and durable in its parent. OSError."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)
        sync_directory(each.parent)


def sync_directory(path: Path) -> None:
    """Make renames, creations and deletions in `path` durable. OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, octets: bytes) -> None:
    """Write every byte. OSError, also when the system takes none of them."""
    view = memoryview(octets)
    while view:
        written = os.write(descriptor, view)
        if written <= 0:
            raise OSError("the file system took no bytes")
        view = view[written:]


def write_atomically(path: Path, octets: bytes) -> None:
    """Replace `path` whole. A crash leaves the old file, perhaps with a `.tmp` beside it that the next try reuses."""
    make_directory(path.parent)
    beside = path.with_name(path.name + ".tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(descriptor, octets)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(beside, path)
    sync_directory(path.parent)


def _plain(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"not a plain file name: {name!r}")
    return name


class LocalKeyFiles:
    """Satisfies `KeyFiles` below `<data>/keys`."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "keys"

    def get_or_create(self, name: str, fresh: bytes) -> bytes:
        path = self._root / _plain(name)
        make_directory(self._root)
        if not path.exists():
            beside = path.with_name(path.name + ".new")
            beside.unlink(missing_ok=True)  # of a start that died before the link below; nothing has used it
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(descriptor, fresh)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            with contextlib.suppress(FileExistsError):  # another start was faster: its key is the key
                os.link(beside, path)
            beside.unlink(missing_ok=True)
            sync_directory(self._root)
        found = self.get(name)
        if found is None:
            raise FileNotFoundError(2, "it was deleted as it was made", str(path))
        return found

    def get(self, name: str) -> bytes | None:
        path = self._root / _plain(name)
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"{path} can be read by others", hint=f"chmod 600 {path}")
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        return sorted(path.name for path in self._root.iterdir()) if self._root.is_dir() else []

    def delete(self, name: str) -> None:
        path = self._root / _plain(name)
        try:
            # Over what is there first: a block that is only unlinked waits for somebody to write over it. Where the file system
            # or the disk writes elsewhere, as many do, this does nothing, and the disk's own encryption is what counts.
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            write_all(descriptor, bytes(os.fstat(descriptor).st_size))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink(missing_ok=True)
        sync_directory(self._root)


class Lock:
    """A file that one holder at a time has locked; the death of a process lets go of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def take(self) -> bool:
        """False if somebody has it, this object too. OSError."""
        if self._descriptor >= 0:
            return False
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Nothing if it is not held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LocalWalFile:
    """Satisfies `WalFile`."""

    def __init__(self, path: Path) -> None:
        # O_DSYNC: a write is durable when it returns. One call instead of two is one wait less for the interpreter, which
        # under load is what a flush spends its time on.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_DSYNC
        self._descriptor = os.open(path, flags, 0o600)
        sync_directory(path.parent)

    def append(self, frame: bytes) -> None:
        # A short write is a full disk: the recorder gives this file up, so the rest must not be tried here.
        if os.write(self._descriptor, frame) != len(frame):
            raise OSError("the file system took only part of a frame")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LocalWalFiles:
    """Satisfies `WalFiles` below `<data>/wal`, with the lock at `<data>/lock`; `lane` above 0 below `<data>/wal/<lane>`."""

    def __init__(self, directory: Path, lane: int = 0) -> None:
        self.folder = f"wal/{lane}" if lane else "wal"
        self._root = directory / self.folder
        self._lock = Lock(directory / (f"lock.{lane}" if lane else "lock"))

    def lock(self) -> None:
        make_directory(self._root)
        if not self._lock.take():
            raise ConfigError(
                f"another gateway is using {self._lock.path.parent}",
                hint="stop it, or give this one a data directory of its own",
            )

    def unlock(self) -> None:
        self._lock.release()

    def create(self, name: str) -> LocalWalFile:
        make_directory(self._root)
        return LocalWalFile(self._root / _plain(name))

    def names(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self._root) if entry.is_file(follow_symlinks=False))

    def read(self, name: str) -> bytes:
        return (self._root / _plain(name)).read_bytes()

    def delete(self, name: str) -> None:
        (self._root / _plain(name)).unlink(missing_ok=True)

    def quarantine(self, name: str, torn: bytes) -> None:
        write_atomically(self._root / "torn" / _plain(name), torn)


def wal_lanes(directory: Path) -> list[LocalWalFiles]:
    """Those that there are: the first, and what other processes have made."""
    root = directory / "wal"
    others = [int(path.name) for path in root.iterdir() if path.name.isdecimal() and path.is_dir()] if root.is_dir() else []
    return [LocalWalFiles(directory), *(LocalWalFiles(directory, lane) for lane in sorted(others))]


def recording_path(root: Path, session_id: str) -> Path:
    """`<root>/<yyyy>/<mm>/<session_id>.dwr`, by the time in the UUIDv7. ValueError for anything else."""
    identifier = UUID(session_id)
    if identifier.version != 7 or str(identifier) != session_id:
        raise ValueError(f"not a session id: {session_id!r}")
    opened = datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)
    return root / f"{opened.year:04d}" / f"{opened.month:02d}" / f"{session_id}.dwr"


class LocalRecordingFiles:
    """Satisfies `RecordingFiles` below `<data>/recordings`."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "recordings"

    def write(self, session_id: str, offset: int, octets: bytes) -> None:
        path = recording_path(self._root, session_id)
        fresh = offset == 0
        if fresh:
            make_directory(path.parent)
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if fresh else 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size < offset:
                raise OSError(f"{path} is shorter than what was written to it")
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            write_all(descriptor, octets)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_directory(path.parent)

    def read(self, session_id: str) -> Iterator[bytes]:
        path = recording_path(self._root, session_id)
        if not path.exists():
            return
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def delete(self, session_id: str) -> None:
        path = recording_path(self._root, session_id)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_directory(path.parent)


def turn(directory: Path, what: str) -> Lock:
    """Which of the processes that share a data directory asks witnesses, asks for time stamps, or deletes what is due."""
    return Lock(directory / f"{what}.lock")


class LocalLogFiles:
    """Satisfies `LogFiles` below `<data>/log`."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "log"
        self._lock = Lock(directory / "log.lock")

    def lock(self) -> bool:
        make_directory(self._root.parent)
        return self._lock.take()

    def unlock(self) -> None:
        self._lock.release()

    def _path(self, path: str) -> Path:
        parts = path.split("/")
        if any(not NAME.fullmatch(part) for part in parts):
            raise ValueError(f"not a path of the log: {path!r}")
        return self._root.joinpath(*parts)

    def read(self, path: str) -> bytes | None:
        try:
            return self._path(path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, octets: bytes) -> None:
        write_atomically(self._path(path), octets)

    def staged(self) -> list[str]:
        return [f"staging/{name}" for name in self.names("staging")]

    def names(self, folder: str) -> list[str]:
        path = self._path(folder)
        if not path.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(path) if not entry.name.endswith(".tmp"))

    def delete(self, path: str) -> None:
        target = self._path(path)
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)  # partial tiles that a full one has replaced
        else:
            target.unlink(missing_ok=True)
