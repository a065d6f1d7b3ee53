"""Backups: everything that a data directory needs to go on, in one file that only its recipients can read.

    write(...)      a tar file, encrypted with age (https://age-encryption.org/v1), of one moment of a data directory
    read(...)       the same, back into an empty directory, each file held against the manifest

In the tar, in this order: `backup.json` (`Backup`), the files with their paths in the data directory (configuration and
policies below `config/`), `manifest.jsonl` (path, size and SHA-256 of each file, a line each). Memory is bounded by one
file's name and one piece.

One moment: a snapshot of the store is begun while nobody may fold, and with it the checkpoint and the partial tiles of its
size are read; full tiles and what is sealed of a recording never change, so they are read afterwards, up to what the
snapshot knows. Nothing is deleted meanwhile. The gateway may run; it is held up for milliseconds. The write-ahead log is
not in it: a backup ends with its checkpoint.

It does not say whether what it reads back is sound: that is `ledger.verify`'s and the key ring's, and `doorward restore`
asks them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from doorward.adapters.blobs.files import (
    LocalLogFiles,
    make_directory,
    recording_path,
    sync_directory,
    turn,
    write_atomically,
)
from doorward.errors import ConfigError, IntegrityError, UpstreamError, in_words
from doorward.ledger import tiles
from doorward.ledger.segment import Segments, header

VERSION: Final = 1
FIRST: Final = "backup.json"
LAST: Final = "manifest.jsonl"
MARKER: Final = "restored.json"  # in a data directory that was restored, until the gateway has put it on record
STORE: Final = "store.sqlite"
DELETING: Final = "retention"  # whose turn it is
PIECE: Final = 1 << 20
PATIENCE: Final = 10.0  # seconds that the gateway may be folding
MOST_FILE: Final = 1 << 40
_SKIPPED: Final = frozenset(("wal", "spool", "bulletin", "recordings", "log", "backup.tmp", MARKER))


@dataclass(frozen=True, slots=True)
class Backup:
    """Of what log, and up to where. `made_at` in Unix ms; `checkpoint` is the signed note."""

    id: str
    version: int
    made_at: int
    origin: str
    size: int
    root: str
    checkpoint: str


# Writing --------------------------------------------------------------------------------------------------------------


def write(
    data: Path, out: Path, recipients: Sequence[Any], *, id_: str, now: int, config: Iterable[tuple[str, Path]]
) -> tuple[Backup, int]:
    """Back a data directory up into `out`, which must not be there; what is in it, and how many files. `config` are files by
    their names below `config/`. A crash leaves `out` + ".partial", never half a backup. ConfigError, UpstreamError, OSError."""
    if out.exists():
        raise ConfigError(f"{out} is there already", hint="give a name that is not")
    deleting = turn(data, DELETING)
    if not deleting.take():
        raise UpstreamError("something is being deleted, or held, just now", hint="try again when that is done")
    work = data / "backup.tmp"
    try:
        shutil.rmtree(work, ignore_errors=True)
        make_directory(work)
        snapshot = work / STORE
        backup, partial = _snapshot(data, snapshot, id_, now)
        beside = out.with_name(out.name + ".partial")
        try:
            count = _encrypted(beside, recipients, lambda tar: _fill(tar, data, snapshot, backup, partial, config))
            os.link(beside, out)  # fails if somebody made one meanwhile
        finally:
            beside.unlink(missing_ok=True)
        sync_directory(out.parent)
        return backup, count
    finally:
        shutil.rmtree(work, ignore_errors=True)
        deleting.release()


def _snapshot(data: Path, snapshot: Path, id_: str, now: int) -> tuple[Backup, dict[str, bytes]]:
    """Copy the store as it is at one moment, and read what of the log may change after it."""
    log = LocalLogFiles(data)
    deadline = time.monotonic() + PATIENCE
    while not log.lock():
        if time.monotonic() > deadline:
            raise UpstreamError("the gateway does not let go of the log", hint="look at its disk, and try again")
        time.sleep(0.01)
    try:
        source = sqlite3.connect(f"file:{data / STORE}?mode=ro", uri=True, isolation_level=None)
        try:
            source.execute("begin")
            head = source.execute("select origin, size, root, checkpoint from head").fetchone()
            if head is None:
                raise ConfigError(f"{data} has no record yet", hint="give the data directory of a gateway that has run")
            origin, size, root, note = head
            if log.read("checkpoint") != note:
                raise UpstreamError(
                    "the log is not as its store has it: a gateway died in the middle of a step",
                    hint="start the gateway, which finishes it, and try again",
                )
            partial = {path: log.read(path) or b"" for path in tiles.paths(size) if ".p/" in path}
            log.unlock()  # from here on the gateway may go on
            with contextlib.closing(sqlite3.connect(snapshot, isolation_level=None)) as copy:
                os.chmod(snapshot, 0o600)
                source.backup(copy)
                if copy.execute("select size, root from head").fetchone() != (size, root):
                    raise UpstreamError("the store moved on while it was copied", hint="try again")
                copy.execute("pragma journal_mode=delete")
        finally:
            source.close()
    except sqlite3.Error as error:
        raise UpstreamError(f"the store cannot be copied: {error}", hint="look at the disk that holds it") from error
    finally:
        log.unlock()
    return Backup(id_, VERSION, now, origin, size, root.hex(), note.decode()), {"checkpoint": note, **partial}


def _fill(
    tar: tarfile.TarFile, data: Path, snapshot: Path, backup: Backup, kept: dict[str, bytes], config: Iterable[tuple[str, Path]]
) -> int:
    count = 0
    with (snapshot.parent / LAST).open("w+b") as manifest:

        def add(name: str, source: IO[bytes], size: int) -> None:
            nonlocal count
            hashed = _Hashed(source, size)
            tar.addfile(_entry(name, size), hashed)
            if hashed.left:
                raise UpstreamError(f"{name} became shorter while it was read", hint="try again")
            manifest.write(_line(name, size, hashed.digest.hexdigest()))
            count += 1

        def add_file(name: str, path: Path) -> None:
            with path.open("rb") as source:
                add(name, source, os.fstat(source.fileno()).st_size)

        first = json.dumps(asdict(backup)).encode()
        tar.addfile(_entry(FIRST, len(first)), io.BytesIO(first))
        add_file(STORE, snapshot)
        for part in ("checkpoint", *tiles.paths(backup.size)):
            octets = kept.get(part)
            if octets is None:
                add_file(f"log/{part}", data / "log" / part)
            else:
                add(f"log/{part}", io.BytesIO(octets), len(octets))
        for path in _others(data):
            with contextlib.suppress(FileNotFoundError):  # a running gateway tidies up
                add_file(path.relative_to(data).as_posix(), path)
        for name, path in config:
            add_file(f"config/{name}", path)
        with contextlib.closing(sqlite3.connect(snapshot)) as store:
            for session, state, created, retention, segments in store.execute(
                "select id, state, created, retention, segments from sessions order by id"
            ):
                path = recording_path(data / "recordings", session)
                name = path.relative_to(data).as_posix()
                if state != "open":
                    add_file(name, path)
                else:
                    start = header(session, created, retention)
                    add_open(add, name, path, start, segments)
        manifest.flush()
        size = manifest.tell()
        manifest.seek(0)
        tar.addfile(_entry(LAST, size), manifest)
    return count


def add_open(add: Any, name: str, path: Path, start: bytes, sealed: int) -> None:
    """The recording of a session that was open, up to what the snapshot knows of it."""
    if not sealed:
        add(name, io.BytesIO(start), len(start))
        return
    with path.open("rb") as source:
        segments = Segments(iter(lambda: source.read(PIECE), b""))
        for segment in segments:
            if segment.number == sealed - 1:
                break
        end = segments.end
        source.seek(0)
        add(name, source, end)


def _others(data: Path) -> Iterator[Path]:
    """What else is in the directory: keys, the vault, time stamps, whatever else the log's owner keeps with it."""
    for path in sorted(data.iterdir()):
        if path.is_dir() and path.name not in _SKIPPED:
            yield from (each for each in sorted(path.rglob("*")) if _is_kept(each))
        elif path.name not in _SKIPPED and not path.name.startswith((STORE, "lock")) and _is_kept(path):
            yield path
    log = data / "log"
    for path in sorted(log.iterdir()):
        if path.is_dir() and path.name not in ("tile", "staging"):
            yield from (each for each in sorted(path.rglob("*")) if _is_kept(each))
        elif path.name != "checkpoint" and _is_kept(path):
            yield path


def _is_kept(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.suffix not in (".tmp", ".new", ".lock")


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _line(name: str, size: int, digest: str) -> bytes:
    return json.dumps({"path": name, "sha256": digest, "size": size}, separators=(",", ":")).encode() + b"\n"


class _Hashed(io.RawIOBase):
    """Reads exactly so many bytes of a file, and hashes them."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source, self.left, self.digest = source, size, sha256()

    def read(self, size: int = -1) -> bytes:
        octets = self._source.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(octets)
        self.digest.update(octets)
        return octets


def _encrypted(out: Path, recipients: Sequence[Any], fill: Any) -> int:
    """A tar file that `fill` writes, encrypted into `out`, durable."""
    import pyrage  # a library of 10 MB that only this needs

    reading, writing = os.pipe()
    done: list[int] = []
    failed: list[BaseException] = []

    def pack() -> None:
        try:
            with open(writing, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                done.append(fill(tar))
        except BaseException as error:
            failed.append(error)

    packing = threading.Thread(target=pack, name="doorward-backup", daemon=True)
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as sink:
        try:
            with open(reading, "rb") as pipe:
                packing.start()
                pyrage.encrypt_io(pipe, sink, recipients)
        except Exception as error:
            packing.join()
            raise _why(failed, error) from error
        packing.join()
        if failed:
            raise _why(failed, failed[0]) from failed[0]
        sink.flush()
        os.fsync(sink.fileno())
    return done[0]


def _why(failed: list[BaseException], error: BaseException) -> BaseException:
    """What went wrong first: a pipe that broke is only its consequence."""
    first = next((each for each in failed if not isinstance(each, BrokenPipeError)), error)
    if isinstance(first, (UpstreamError, ConfigError, IntegrityError, OSError)):
        return first
    return UpstreamError(f"the backup cannot be written: {first}", hint="look at the disk that it goes to")


# Reading --------------------------------------------------------------------------------------------------------------


def read(file: Path, identities: Sequence[Any], into: Path) -> Backup:
    """Unpack a backup into `into`, which is made, and hold every file against the manifest. IntegrityError: it is not what was
    written. ConfigError: it is not for these identities. OSError."""
    import pyrage  # a library of 10 MB that only this needs

    make_directory(into.parent)
    into.mkdir(mode=0o700)
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def decrypt() -> None:
        try:
            with open(writing, "wb") as pipe, file.open("rb") as source:
                pyrage.decrypt_io(source, pipe, identities)
        except BaseException as error:
            failed.append(error)

    opening = threading.Thread(target=decrypt, name="doorward-restore", daemon=True)
    try:
        with open(reading, "rb") as pipe:
            opening.start()
            backup = _unpacked(pipe, into)
            while pipe.read(PIECE):
                pass
    except (tarfile.TarError, IntegrityError, EOFError, ValueError, KeyError, TypeError) as error:
        opening.join()
        _of_decryption(failed, file)
        raise IntegrityError(f"{file} is no whole backup: {getattr(error, 'message', error)}", spot=str(file)) from error
    opening.join()
    _of_decryption(failed, file)
    return backup


def _of_decryption(failed: list[BaseException], file: Path) -> None:
    for error in failed:
        if isinstance(error, BrokenPipeError):
            continue
        if "No matching keys" in str(error):
            raise ConfigError(f"{file} is not for this key", hint="give the identity of one of its recipients")
        raise IntegrityError(f"{file} does not decrypt whole: {in_words(error) if isinstance(error, OSError) else error}",
                             spot=str(file)) from error  # fmt: skip


def _unpacked(pipe: IO[bytes], into: Path) -> Backup:
    backup: Backup | None = None
    whole = False
    with (into / LAST).open("w+b") as seen, tarfile.open(fileobj=pipe, mode="r|") as tar:
        for entry in tar:
            source = tar.extractfile(entry) if entry.isreg() else None
            if source is None or whole or not 0 <= entry.size < MOST_FILE:
                raise IntegrityError(f"{entry.name[:200]!r} is not what a backup has there")
            if backup is None:
                if entry.name != FIRST or entry.size > 1 << 20:
                    raise IntegrityError("it does not begin as a backup does")
                backup = Backup(**json.loads(source.read()))
                if backup.version != VERSION:
                    raise IntegrityError(f"it is of version {backup.version}, and this is {VERSION}")
            elif entry.name == LAST:
                seen.flush()
                seen.seek(0)
                while piece := source.read(PIECE):
                    if seen.read(len(piece)) != piece:
                        raise IntegrityError("its files are not those of its manifest")
                if seen.read(1):
                    raise IntegrityError("it has files that its manifest does not name")
                whole = True
            else:
                seen.write(_line(entry.name, entry.size, _file(into / _safe(entry.name), source)))
    if backup is None or not whole:
        raise IntegrityError("its end is missing")
    (into / LAST).unlink()
    return backup


def _safe(name: str) -> str:
    """ValueError unless it is a plain path that stays where it is."""
    path = PurePosixPath(name)
    plain = bool(path.parts) and not path.is_absolute() and ".." not in path.parts and str(path) == name and "\0" not in name
    if not plain or name in (FIRST, LAST, MARKER):
        raise ValueError(f"a file in it is called {name[:200]!r}")
    return name


def _file(path: Path, source: IO[bytes]) -> str:
    make_directory(path.parent)
    digest = sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as sink:
        while piece := source.read(PIECE):
            digest.update(piece)
            sink.write(piece)
        sink.flush()
        os.fsync(sink.fileno())
    return digest.hexdigest()


# What a start must know -----------------------------------------------------------------------------------------------


def mark(data: Path, said: dict[str, Any]) -> None:
    """Write down that a directory was restored, and from what."""
    write_atomically(data / MARKER, json.dumps(said, indent=1).encode())


def marked(data: Path) -> dict[str, Any] | None:
    """What `mark` wrote; None if it was not restored, or the gateway has put it on record. ConfigError."""
    try:
        said = json.loads((data / MARKER).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ConfigError(f"{data / MARKER} cannot be read", hint="restore the directory again")
    return said


def check_declared(data: Path) -> dict[str, Any] | None:
    """`marked`, for a gateway that is about to start. ConfigError unless somebody has said that it may go on from there."""
    said = marked(data)
    if said is not None and not said.get("reason"):
        raise ConfigError(
            f"{data} was restored from a backup of {said.get('size', 0):,} log entries: to go on from it loses what came "
            "after, and whoever has a later checkpoint will see that",
            hint=f"say why: doorward restore --data {data} --declare REASON; or bring the directory back that went on",
        )
    return said


def on_record(data: Path) -> None:
    """The gateway has put it on record."""
    (data / MARKER).unlink(missing_ok=True)
    sync_directory(data)
