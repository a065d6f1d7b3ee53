"""The part of `doorward verify` that needs more than public keys: votes, which are private records under the log's leaves.

Where the store and the key that it is sealed under are beside the log, every event about keys, votes and what they let run
is opened, compared with the commitment of its leaf, and checked (`ledger.votes`). Without them the log is still verified, and
votes are not looked at. Nothing is written: not into the store, not beside it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.errors import DoorwardError, IntegrityError, in_words
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger import leaf, tiles
from doorward.ledger.commitment import opens
from doorward.ledger.retention import epoch
from doorward.ledger.verify import Report
from doorward.ledger.votes import VoteTrail

KEYS = ("kek.key", "log.key", "wal.key")
STORE = "store.sqlite"
_COUNTED = ("approver_key.registered", "approver_key.revoked", "approval.voted", "break_glass.reviewed")


@dataclass(slots=True)
class Votes:
    """What was found. `unread` says why votes were not looked at."""

    signatures: int = 0
    unsigned: int = 0
    keys: int = 0
    spent: int = 0
    unread: str = ""

    def __str__(self) -> str:
        if self.unread:
            return f"not looked at: {self.unread}"
        old = f", {self.unsigned:,} of before votes were signed" if self.unsigned else ""
        return (
            f"{self.signatures:,} signed; approvers' keys on record: {self.keys:,}; "
            f"requests spent on a statement: {self.spent:,}{old}; every signature holds"
        )


def check_votes(data: Path, report: Report) -> Votes:
    """Check the votes on record, and put what does not hold into the report of a log that is sound so far. OSError."""
    missing = next((f"keys/{name}" for name in KEYS if not (data / "keys" / name).is_file()), "")
    if not missing and not (data / STORE).is_file():
        missing = STORE
    if missing:
        return Votes(unread=f"{missing} is not here")
    if report.checkpoint is None:
        return Votes(unread="there is no signed log")
    return asyncio.run(_check(data, report))


async def _check(data: Path, report: Report) -> Votes:
    store = SqlStore(data / STORE)
    try:
        await store.open_to_read()
        reader = RecordReader(store, LocalRecordingFiles(data), Keyring(LocalKeyFiles(data)))
        return await _follow(reader, DirectoryEvidence(data), report)
    except IntegrityError as error:
        report.fault(STORE, error.spot, "what was sealed there", error.message)
        return Votes(unread="the store is not what was sealed")
    except (DoorwardError, OSError) as error:
        report.gap(STORE, "", "a store that can be read", in_words(error))
        return Votes(unread=in_words(error))
    finally:
        await store.close()


def of_a_deleted_month(approval: str, retention: str, report: Report) -> bool:
    """Whether a request was made in a month whose records are deleted. Its id says when that was (UUIDv7)."""
    try:
        return bool(report.deleted_epochs) and epoch(retention, UUID(approval).int >> 80) in report.deleted_epochs
    except (ValueError, OverflowError, OSError):
        return False


def _name(origin: str, lane: str) -> str:
    """The gateway's name, which signatures bear: a process of several has a number behind it in its leaves."""
    name = origin.removeprefix("doorward/")
    return name if lane.startswith(f"{name}.") else lane


async def _follow(reader: RecordReader, source: DirectoryEvidence, report: Report) -> Votes:
    assert report.checkpoint is not None
    size = report.checkpoint.size
    trail: VoteTrail | None = None
    seen: Counter[str] = Counter()
    number, entries = -1, list[bytes]()
    async for opened in reader.events(types=VoteTrail.TYPES):
        event, place = opened.event, f"leaf {opened.index}"
        if opened.index >= size:
            break  # not under the checkpoint yet
        if opened.index // tiles.WIDTH != number:
            number = opened.index // tiles.WIDTH
            try:
                entries = tiles.read_bundle(number, size, source.read)
            except IntegrityError:  # it was read before, and was sound
                return Votes(unread="the log moved on meanwhile; try again")
        stated = leaf.parse(entries[opened.index % tiles.WIDTH])
        if stated.type != event.type or not opens(stated.commitment or b"", opened.salt, event.type, opened.record):
            report.fault(STORE, place, f"the record of {stated.type} that the leaf commits to", f"another {event.type}")
            return Votes(unread="the store is not what was recorded")
        seen[event.type] += 1
        if trail is None:
            trail = VoteTrail(_name(report.checkpoint.origin, stated.gateway))
        if of_a_deleted_month(str(event.body.get("approval", "")), stated.retention, report):
            continue  # the request is gone, and so is what this would be held against
        try:
            trail.add(event.type, event.actor, event.at, event.body)
        except IntegrityError as error:
            report.fault(STORE, place, f"{event.type} to hold", error.message)
            return Votes(unread="what is on record does not hold")
    for kind in _COUNTED:
        leaves = report.types.get(kind, 0)
        kept = leaves - report.deleted_records.get(kind, 0)  # at least: what is to be deleted may not be yet
        if not kept <= seen[kind] <= leaves:
            expected = f"the records of {kept} leaves {kind}"
            report.fault(STORE, "", expected, str(seen[kind]))
            return Votes(unread="records are missing")
    if trail is None:
        return Votes()
    return Votes(trail.votes, trail.unsigned, len(trail.keys), trail.spent)
