"""A data directory, opened to be examined: its signed checkpoint, its leaves, and the private records under them.

Reads only; no key is made, and nothing is written beside the record. Only the gateway's own user can open the keys.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.cli.verify_votes import KEYS, STORE
from doorward.errors import ConfigError, IntegrityError
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger import leaf, tiles
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, open_checkpoint
from doorward.ledger.handover import FOLDER, handovers
from doorward.model import Checkpoint

DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Gathered:
    """What an examination needs. `note` is the signed checkpoint, which was checked against the key of the log."""

    data: Path
    source: DirectoryEvidence
    reader: RecordReader
    recordings: LocalRecordingFiles
    signer: NoteSigner
    verifiers: list[NoteVerifier]  # of all keys that signed this log; the one that signs now is first
    note: bytes
    checkpoint: Checkpoint

    def period(self, since: str, until: str) -> tuple[int, int]:
        """`[from, to)` in Unix ms, as somebody said it; where they did not, from the log's first leaf to its last."""
        first, last = self._edge(0), self._edge(self.checkpoint.size - 1)
        start = moment_of(since, end=False) if since else first.at
        end = moment_of(until, end=True) if until else last.at + 1
        if start >= end:
            raise ConfigError("the period ends before it begins", hint="give --from a time before --to")
        return start, end

    def _edge(self, index: int) -> leaf.Leaf:
        number, place = divmod(index, tiles.WIDTH)
        return leaf.parse(tiles.read_bundle(number, self.checkpoint.size, self.source.read)[place])


def moment_of(said: str, *, end: bool) -> int:
    """A day (UTC; as an end: the end of that day) or a moment (RFC 3339) as Unix ms. ConfigError."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", said):
            day = date.fromisoformat(said)
            at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
            return at + DAY if end else at
        found = datetime.fromisoformat(said)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return round(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ConfigError(f"{said!r} is no day and no moment", hint="2026-08-01, or 2026-08-01T09:00:00Z") from None


@contextlib.asynccontextmanager
async def gather(data: Path, checkpoint: bytes = b"") -> AsyncIterator[Gathered]:
    """Open the record below `data` at its newest checkpoint, or at an earlier one, given as the signed note. Raises
    ConfigError, IntegrityError."""
    missing = next((f"keys/{name}" for name in KEYS if not (data / "keys" / name).is_file()), "")
    if missing or not (data / STORE).is_file():
        raise ConfigError(
            f"{data} is no data directory with its keys: {missing or STORE} is not there",
            hint="give the directory that [gateway] data names, as the user that the gateway runs as",
        )
    source = DirectoryEvidence(data)
    keyring = Keyring(LocalKeyFiles(data))
    try:
        newest = source.checkpoint()
    except FileNotFoundError:
        raise IntegrityError("there is no signed log yet", spot="log/checkpoint") from None
    signer, verifiers = _keys(source, keyring, newest.partition(b"\n")[0].decode("utf-8", "replace"))
    note = newest
    if checkpoint:
        note = checkpoint
    found = open_checkpoint(note, verifiers)
    if found.size > open_checkpoint(newest, verifiers).size:
        raise IntegrityError(
            f"the log is shorter than the checkpoint of {found.size} leaves that was kept", spot="log/checkpoint"
        )
    if not found.size:
        raise IntegrityError("the log has no leaf yet", spot="log/checkpoint")
    store = SqlStore(data / STORE)
    try:
        await store.open_to_read()
        recordings = LocalRecordingFiles(data)
        yield Gathered(data, source, RecordReader(store, recordings, keyring), recordings, signer, verifiers, note, found)
    finally:
        await store.close()


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """How far it is, on a terminal's standard error; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from doorward.cli.output import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(error=True), transient=True) as bar:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def _keys(source: DirectoryEvidence, keyring: Keyring, origin: str) -> tuple[NoteSigner, list[NoteVerifier]]:
    """The key that signs the log now, and all that have, by the notes in `log/keys`. IntegrityError."""
    signers = {each.vkey: each for each in [NoteSigner(origin, key) for key in keyring.log_keys()]}
    found = handovers(source.names(FOLDER), source.read, [NoteVerifier(vkey) for vkey in signers])
    if not found:
        signer = NoteSigner(origin, keyring.log)
        return signer, [NoteVerifier(signer.vkey)]
    if found[-1].new.vkey not in signers:
        raise IntegrityError("the key of the log is not in keys/", spot=f"log/{FOLDER}", hint="restore it from a backup")
    return signers[found[-1].new.vkey], [*(each.new for each in reversed(found)), found[0].old]
