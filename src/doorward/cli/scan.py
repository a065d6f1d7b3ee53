"""`doorward scan`: look for planted values in every byte that the gateway keeps.

Contract: reads the data directory (files as they lie there; the write-ahead log, the recordings and the events opened with
the directory's keys; every value of the store whole) and further files, and looks for canaries in every reversible spelling
(`masking.canary`). It names file and place, and never shows a value. Exit code 0: everything was read and nothing found.
1: something was found. 2: nothing was found, but not everything could be read, which is never "clean". Memory is bounded.

Deliberately not here: whether the record is sound (`doorward verify`), what a client sees (`doorward masking prove`).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from doorward.adapters.blobs import tree
from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles, wal_lanes
from doorward.adapters.store.sql import SqlStore
from doorward.cli.output import console, facts, failed, print_json, visible
from doorward.config import load
from doorward.errors import ConfigError, DoorwardError, in_words
from doorward.guard import opened
from doorward.guard.keyring import Keyring
from doorward.guard.opened import Opened, Unopened
from doorward.guard.reader import RecordReader
from doorward.masking.canary import Canaries, marks

SOON: Final = 5.0  # seconds after it was written in which a recording may still be without its key
KEYS: Final = ("wal.key", "kek.key", "log.key")
MOST_HERE: Final = 10  # sightings of one canary in one file that are listed; all are counted
MOST_LISTED: Final = 1000  # files that are listed because they could not be read
MOST_LINES: Final = 4 << 20  # bytes of a file of canaries
PLANTED: Final = "masking.planted"  # the event that says that a proof began


def scan(
    data: Path | None = None,
    /,
    *also: Path,
    canaries: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    proof: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Path | None = None,
) -> int:
    """Look for planted values in everything that is kept. Exit code 0: none. 1: found. 2: not everything could be read.

    Parameters
    ----------
    data
        The data directory with its keys, or a copy of it. Default: what the configuration says.
    also
        Further files and directories: logs, packs, backups. What is packed with gzip, Zstandard or ZIP is unpacked.
    canaries
        A file with the values to look for, one a line; - for standard input. Default: what the proofs on record planted.
    proof
        The id of a proof whose values to look for. May be repeated.
    as_json
        Print JSON.
    config
        The configuration whose data directory to read. Default: doorward.toml.
    """
    if data is None:
        data = load(config or Path("doorward.toml")).gateway.data
    if not data.is_dir():
        raise ConfigError(f"{data} is not a directory", hint="give the data directory, or a copy of it with its keys")
    for path in also:
        if not path.exists():
            raise ConfigError(f"{path} is not there", hint="give files and directories that are")
    wanted = _lines(canaries) if canaries is not None else {}
    report = asyncio.run(_scan(data, also, wanted, proof, Path(canaries) if canaries not in (None, "-") else None))
    if as_json:
        print_json(report.as_json())
    else:
        _show(report)
    return report.exit_code


@dataclass(slots=True)
class Found:
    """A sighting: which canary, how it was spelt, in which file, and where in it."""

    canary: str
    spelling: str
    file: str
    place: str
    at: int


@dataclass(slots=True)
class Report:
    """What was looked for, what was read, what was found and what could not be read."""

    canaries: int = 0
    proofs: list[str] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)  # files, bytes, segments, frames, events, values
    found: list[Found] = field(default_factory=list)
    sightings: int = 0
    unread: list[Unopened] = field(default_factory=list)

    @property
    def status(self) -> str:
        return "found" if self.sightings else "incomplete" if self.unread else "clean"

    @property
    def exit_code(self) -> int:
        return {"clean": 0, "found": 1, "incomplete": 2}[self.status]

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status, "canaries": self.canaries, "proofs": self.proofs, "read": dict(self.read),
            "sightings": self.sightings, "found": [asdict(each) for each in self.found],
            "unread": [asdict(each) for each in self.unread],
        }  # fmt: skip


class Search:
    """Looks through streams of bytes, and keeps between two pieces of one what a canary might begin in."""

    def __init__(self, canaries: Canaries, report: Report) -> None:
        self._canaries, self.report = canaries, report
        self._here: Counter[tuple[str, str]] = Counter()
        self._began = self._shown = time.monotonic()
        self._wait = 0.1 if sys.stderr.isatty() else 0.0

    def stream(self, file: str, place: str, pieces: Iterable[bytes]) -> None:
        """One stream whose places are offsets in it. OSError of the pieces is told of as unread."""
        kept, at = b"", 0
        try:
            for piece in pieces:
                kept, at = self._look(file, place, kept + piece, at, len(kept))
                self.progress(file)
        except OSError as error:
            self.report.unread.append(Unopened(file, place, in_words(error)))
        self._finish(file, place, kept, at)

    def opened(self, pieces: Iterable[Opened | Unopened]) -> Iterator[str]:
        """Streams of opened pieces; yields the kind of place of each piece, to be counted."""
        kept: dict[str, tuple[bytes, int, str]] = {}
        for piece in pieces:
            if isinstance(piece, Unopened):
                self.report.unread.append(piece)
                continue
            before, at, _ = kept.get(piece.stream, (b"", 0, ""))
            rest, at = self._look(piece.file, piece.place, before + piece.octets, at, len(before))
            kept[piece.stream] = (rest, at, piece.place)
            if len(kept) > 16:  # frames: each is a stream of its own
                oldest = next(iter(kept))
                self._finish(piece.file, kept[oldest][2], *kept.pop(oldest)[:2])
            self.progress(piece.file)
            yield piece.place
        for rest, at, place in kept.values():
            self._finish(piece.file, place, rest, at)

    def whole(self, file: str, place: str, octets: bytes) -> None:
        """One piece that is complete."""
        rest, at = self._look(file, place, octets, 0, 0)
        self._finish(file, place, rest, at)
        self.progress(file)

    def _look(self, file: str, place: str, octets: bytes, at: int, old: int) -> tuple[bytes, int]:
        """Search up to where a canary might go on in the next piece. Returns what is left, and its offset in the stream."""
        self.report.read["bytes"] += len(octets) - old
        cut = max(0, len(octets) - self._canaries.reach)
        if cut:
            # In order: one that is left for the next piece must not be passed over by a longer one behind it.
            for sighting in sorted(self._canaries.find(octets), key=lambda sighting: sighting.start):
                if sighting.start < cut:
                    self._seen(file, place, at + sighting.start, sighting.canary, sighting.spelling)
                    cut = max(cut, sighting.end)
        return octets[cut:], at + cut

    def _finish(self, file: str, place: str, octets: bytes, at: int) -> None:
        for sighting in self._canaries.find(octets):
            self._seen(file, place, at + sighting.start, sighting.canary, sighting.spelling)

    def _seen(self, file: str, place: str, at: int, canary: str, spelling: str) -> None:
        self.report.sightings += 1
        self._here[canary, file] += 1
        if self._here[canary, file] <= MOST_HERE:
            self.report.found.append(Found(canary, spelling, file, place, at))

    def progress(self, what: str) -> None:
        """Where we are, on a terminal's standard error, ten times a second at most; nothing elsewhere."""
        now = time.monotonic()
        if self._wait and now - self._shown >= self._wait:
            self._shown = now
            read = self.report.read["bytes"] / 1e6
            sys.stderr.write(f"\r\x1b[K{read:,.0f} MB, {read / (now - self._began):,.0f} MB/s: {visible(what)[-60:]}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._wait:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


async def _scan(
    data: Path, also: Iterable[Path], wanted: dict[str, str], proofs: tuple[str, ...], source: Path | None
) -> Report:
    report = Report()
    keyring = _keyring(data, report)
    store = SqlStore(data / "store.sqlite") if (data / "store.sqlite").is_file() else None
    try:
        if store is not None:
            try:
                await store.open()
            except DoorwardError as error:
                report.unread.append(Unopened("store.sqlite", "", error.message))
                store = None
        else:
            report.unread.append(Unopened("store.sqlite", "", "it is not there: the keys of recordings are in it"))
        report.proofs = list(proofs) or ([] if wanted else await _on_record(data, store, keyring, report))
        values = dict(wanted)
        for run in report.proofs:
            values.update({f"{column} of proof {run}": value for column, value in marks(run).items()})
        if not values:
            raise ConfigError(
                f"there is nothing to look for: no proof is on record in {data}",
                hint="run `doorward masking prove`, or give the values with --canaries FILE, one a line",
            )
        report.canaries = len(values)
        search = Search(Canaries(values), report)
        try:
            await _kept(search, data, keyring, store)
            for root in (data, *also):
                _files(search, root, data, source)
        finally:
            search.close()
    finally:
        if store is not None:
            await store.close()
    return report


async def _kept(search: Search, data: Path, keyring: Keyring | None, store: SqlStore | None) -> None:
    """What is kept under keys, and the store's values. In this order: what leaves one place is in the next by then."""
    report = search.report
    if keyring is not None:
        for lane in wal_lanes(data):
            for _ in search.opened(opened.log_frames(lane, keyring)):
                report.read["frames"] += 1
            torn = data / lane.folder / "torn"
            if torn.is_dir():
                names = sorted(path.name for path in torn.iterdir())
                report.unread += [Unopened(f"{lane.folder}/torn/{name}", "", "a crash left it torn") for name in names]
    if keyring is not None and store is not None:
        reader = RecordReader(store, LocalRecordingFiles(data), keyring)
        for path, _size, why in tree.files(data / "recordings") if (data / "recordings").is_dir() else ():
            await _recording(search, reader, path, path.relative_to(data).as_posix(), why)
        try:
            async for piece in opened.events(store, keyring, "store.sqlite"):
                for _ in search.opened([piece]):
                    report.read["events"] += 1
        except DoorwardError as error:
            report.unread.append(Unopened("store.sqlite", "events", error.message))
    if store is not None:
        try:
            async for table, column, octets in store.cells():
                search.whole("store.sqlite", f"{table}.{column}", octets)
                report.read["values"] += 1
        except DoorwardError as error:
            report.unread.append(Unopened("store.sqlite", "values", error.message))


async def key_of(reader: RecordReader, recording: Path) -> bytes | None:
    """The key of a recording. A running gateway writes one up to a second before its key is in the store."""
    dek = await reader.key(recording.stem)
    while dek is None and _age(recording) < SOON:
        await asyncio.sleep(0.1)
        dek = await reader.key(recording.stem)
    return dek


def _age(path: Path) -> float:
    """Seconds since a file was written; a lot if it is not there."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return SOON


async def _recording(search: Search, reader: RecordReader, path: Path, file: str, why: str) -> None:
    unread = search.report.unread
    if why:
        return  # told of with the files
    if path.suffix != ".dwr":
        return
    try:
        dek = await key_of(reader, path)
    except DoorwardError as error:
        unread.append(Unopened(file, "", error.message))
        return
    if dek is None:
        unread.append(Unopened(file, "", "its session's key is not there (any more)"))
        return
    try:
        with tree.opened(path) as source:
            for _ in search.opened(opened.recording(file, path.stem, dek, tree.pieces(source))):
                search.report.read["pieces"] += 1
    except OSError as error:
        unread.append(Unopened(file, "", in_words(error)))


def _files(search: Search, root: Path, data: Path, source: Path | None) -> None:
    """Every file as it lies there, and what is packed in it."""
    report = search.report
    for path, _size, why in tree.files(root):
        file = path.relative_to(data).as_posix() if path.is_relative_to(data) else str(path)
        if why:
            report.unread.append(Unopened(file, "", why))
            continue
        try:
            if source is not None and path.samefile(source):
                continue  # where the canaries are written down
            with tree.opened(path) as plain:
                search.stream(file, "", tree.pieces(plain))
            report.read["files"] += 1
            for name, pieces in tree.unpacked(path):
                search.stream(file, name, pieces)
        except FileNotFoundError:
            continue  # a running gateway tidies up: what was in it is in the store
        except OSError as error:
            report.unread.append(Unopened(file, "", in_words(error)))


def _keyring(data: Path, report: Report) -> Keyring | None:
    """The keys that are there: none is ever made here."""
    missing = [name for name in KEYS if not (data / "keys" / name).is_file()]
    why = f"keys/{missing[0]} is not there" if missing else ""
    if not missing:
        try:
            return Keyring(LocalKeyFiles(data))
        except (DoorwardError, OSError) as error:
            why = getattr(error, "message", "") or in_words(error)
    report.unread.append(Unopened("", "recordings, events and the write-ahead log", f"they are sealed, and {why}"))
    return None


async def _on_record(data: Path, store: SqlStore | None, keyring: Keyring | None, report: Report) -> list[str]:
    """The proofs whose beginning the record has."""
    if store is None or keyring is None:
        return []
    reader = RecordReader(store, LocalRecordingFiles(data), keyring)
    try:
        return [str(event.event.body["proof"]) async for event in reader.events(types=(PLANTED,))]
    except DoorwardError as error:
        report.unread.append(Unopened("store.sqlite", "proofs on record", error.message))
        return []


def _lines(source: str) -> dict[str, str]:
    """Canaries from a file or standard input, named by their line."""
    try:
        if source == "-":
            octets = sys.stdin.buffer.read(MOST_LINES + 1)
        else:
            with Path(source).open("rb") as file:
                octets = file.read(MOST_LINES + 1)
        text = octets.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--canaries {source} cannot be read as text ({type(error).__name__})", hint="give one value a line, as UTF-8"
        ) from None
    if len(octets) > MOST_LINES:
        raise ConfigError(f"--canaries {source} is longer than {MOST_LINES} bytes")
    found = {f"on line {number}": line.strip() for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    if not found:
        raise ConfigError(f"--canaries {source} holds no value", hint="give one value a line")
    return found


def _show(report: Report) -> None:
    out = console()
    for each in report.found:
        where = ", ".join(part for part in (visible(each.place), f"byte {each.at:,}") if part)
        out.print(f"FOUND  {visible(each.file)}: {where}: the canary {visible(each.canary)}, spelt {each.spelling}")
    if report.sightings > len(report.found):
        out.print(f"FOUND  and {report.sightings - len(report.found):,} more")
    for unread in report.unread[:MOST_LISTED]:
        where = ": ".join(visible(part) for part in (unread.file, unread.place) if part)
        out.print(f"UNREAD {where}: {visible(unread.why)}")
    if len(report.unread) > MOST_LISTED:
        out.print(f"UNREAD and {len(report.unread) - MOST_LISTED:,} more")
    if report.found or report.unread:
        out.print()
    read = report.read
    whose = f" of {len(report.proofs)} proof(s)" if report.proofs else ""
    facts((
        ("looked for", f"{report.canaries:,} canar{'y' if report.canaries == 1 else 'ies'}{whose}"),
        ("read", f"{read['files']:,} files, {read['bytes']:,} bytes with what was opened in them"),
        ("opened", f"{read['frames']:,} frames of the write-ahead log, {read['pieces']:,} pieces of recordings, "
                   f"{read['events']:,} events, {read['values']:,} values of the store"),
    ))  # fmt: skip
    out.print()
    if report.status == "clean":
        out.print("CLEAN. Everything was read, and no canary is in it, in any spelling that is known.")
    elif report.status == "found":
        out.print(f"FOUND. {report.sightings:,} time(s) a value stands where it must not.")
    else:
        failed("nothing was found, but not everything could be read", "see the lines UNREAD; run it as the gateway's user")
