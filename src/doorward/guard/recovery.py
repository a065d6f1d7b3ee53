"""What a start does about the life before it.

First the past is folded: every durable event that the earlier boots left in the write-ahead log goes into the tree, in
their own chains. What the store then says is the truth about the moment of the crash, and the new boot writes down what
follows from it: `gateway.recovered`; for each operation permitted and not settled, `operation.settled` with outcome
`unknown`; for each approval that was waiting, `approval.parked` (its client is gone; approved and spent stay as they
are); for each open session a last segment with the requests that had reached the log but no segment, and
`session.recovered`. Nothing is sent anywhere, so nothing can run twice.

Killed in the middle of this, the next start does the same: events that became durable are folded first, and so what
they say is done is not done again; a segment written without its event is found in the file and not written again. The
old write-ahead log is deleted only when all of this is in the tree.

Bytes that cannot be read (a frame cut by the crash) are kept in `wal/torn/`, counted and hashed in the event. They were
never durable, so nobody acted on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from doorward.errors import IntegrityError
from doorward.guard.ports import Boot, SessionRow
from doorward.guard.sequencer import Declaration, Entry
from doorward.guard.session_recorder import DECLARED, NOTE, OVERHEAD, SEGMENT_BYTES
from doorward.guard.wal import WalReader, WalRecord, parse_name
from doorward.ledger.encoding import parse
from doorward.ledger.segment import (
    EVENT,
    RUN,
    TEMPLATE,
    SegmentSealer,
    encode_record,
    header,
    header_hash,
    iter_records,
    iter_segments,
    open_segment,
)
from doorward.model import ApprovalState, Event

if TYPE_CHECKING:
    from doorward.guard.recorder import Recorder

LOGGED = frozenset((EVENT, TEMPLATE, RUN))  # the kinds of record that are in the write-ahead log and in recordings
PAGE = 500


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found and mended, for the start-up message. All zero after an orderly stop."""

    previous_boot: str = ""
    crashed: bool = False
    events: int = 0  # durable events that were not in the log yet
    sessions: int = 0  # open when the gateway died
    operations: int = 0  # of which the outcome is unknown
    approvals: int = 0  # parked
    quarantined: int = 0  # bytes
    lost: int = 0  # bytes missing between two that are there: a damaged disk


@dataclass(slots=True)
class Plan:
    """The second half of recovery, for the boot that is about to begin. `ordinal` is its first write-ahead file's."""

    ordinal: int
    recovery: Recovery
    old_files: list[str]
    torn: dict[str, bytes]
    previous: Boot | None
    requests: dict[tuple[str, int], list[WalRecord]] = field(default_factory=dict)

    async def finish(self, recorder: Recorder) -> None:
        """Write down what follows from the crash, make it durable, fold it, and delete the old write-ahead log."""
        digest = sha256()
        for name, octets in self.torn.items():
            await asyncio.to_thread(recorder.wal_files.quarantine, name, octets)
            digest.update(octets)
        previous = self.previous
        if previous is None:
            recorder.append_event("log.started", {"gateway": recorder.gateway})
        if self.recovery.crashed and previous is not None:
            body: dict[str, Any] = {
                "previous": previous.id, "last_seq": previous.seq - 1, "last_hash": previous.last.hex(),
                "events": self.recovery.events, "quarantined": self.recovery.quarantined, "lost": self.recovery.lost,
            }
            if self.torn:
                body["sha256"] = digest.hexdigest()
            recorder.append_event("gateway.recovered", body)
        recorder.append_event("gateway.started", {"boot": recorder.boot, "previous": previous.id if previous else ""})
        operations = await recorder.store.open_operations()
        for operation in operations:
            recorder.append_event(
                "operation.settled",
                {"operation": operation.id, "outcome": "unknown", "reason": "the gateway ended before it was settled"},
                session_id=operation.session_id,
            )
        parked = await recorder.store.approvals.list(ApprovalState.WAITING, limit=1_000_000)
        for approval in parked:
            recorder.append_event(
                "approval.parked", {"approval": approval.id, "reason": "the gateway died", "recovered": True},
                actor=approval.requested_by,
            )
        sessions = 0
        while page := await recorder.store.sessions(state="open", limit=PAGE):
            for row in page:
                await self._recover_session(recorder, row)
            sessions += len(page)
            await recorder.wal.flush()
            await recorder.fold()
        await recorder.wal.flush()
        await recorder.fold()
        for name in self.old_files:
            await asyncio.to_thread(recorder.wal_files.delete, name)
        self.recovery = replace(
            self.recovery, sessions=sessions, operations=len(operations), approvals=len(parked)
        )

    async def _recover_session(self, recorder: Recorder, row: SessionRow) -> None:
        wrapped = await recorder.store.wrapped_key(row.id)
        requests = [
            record for record in self.requests.get((row.boot, row.handle), []) if record.position > row.through
        ]
        counts = {"held": row.held, "refused": row.refused, "rows": row.rows, "statements": row.statements}
        number, last, reason = row.segments, row.last, "the gateway died"
        if not last:
            last = header_hash(header(row.id, row.created, row.retention))
        try:
            if wrapped is None:
                raise IntegrityError("its key is gone")
            dek = recorder.keyring.unwrap(row.id, wrapped)
            async for segment in _finish_recording(recorder, row, last, dek, requests):
                for record in segment.requests:
                    _count(counts, record)
                recorder.append_event(
                    "session.sealed",
                    {
                        "number": number, "segment_hash": segment.hash.hex(), "bytes": segment.size,
                        "through": segment.requests[-1].position if segment.requests else row.through, **counts,
                    },
                    session_id=row.id, actor=row.identity,
                )
                number, last = number + 1, segment.hash
        except IntegrityError as error:
            reason = f"the gateway died, and the recording cannot be finished: {error.message}"
        recorder.append_event(
            "session.recovered",
            {"number": number, "segment_hash": last.hex(), "reason": reason, **counts},
            session_id=row.id, actor=row.identity,
        )


@dataclass(frozen=True, slots=True)
class _Segment:
    hash: bytes
    size: int
    requests: list[WalRecord]


async def _finish_recording(
    recorder: Recorder, row: SessionRow, last: bytes, dek: bytes, requests: list[WalRecord]
) -> Any:
    """The segments that no leaf names yet: those in the file already, then new ones with what is left of `requests`."""
    orphans, end, root, number = await asyncio.to_thread(_orphans, recorder, row, last, dek)
    for orphan_hash, size, count in orphans:
        covered, requests = requests[:count], requests[count:]
        yield _Segment(orphan_hash, size, covered)
    sealer = SegmentSealer(row.id, dek, root, number)
    start = header(row.id, row.created, row.retention) if end == 0 else b""
    for part in _parts(requests):
        payload = b"".join([encode_record(record.kind, record.at, record.body) for record in part])
        raw, hash_ = sealer.seal(payload)
        await asyncio.to_thread(recorder.recordings.write, row.id, end, start + raw)
        end, start = end + len(start) + len(raw), b""
        yield _Segment(hash_, len(raw), part)


def _orphans(
    recorder: Recorder, row: SessionRow, last: bytes, dek: bytes
) -> tuple[list[tuple[bytes, int, int]], int, bytes, int]:
    """([(hash, size, requests in it)] of segments after the last that a leaf names, where the whole segments end, the
    last one's hash, the next one's number). IntegrityError when those that leaves name are not there."""
    chunks = recorder.recordings.read(row.id)
    first = next(chunks, b"")
    if not first and row.segments == 0:
        return [], 0, last, 0
    try:
        segments = iter_segments(_again(first, chunks))
        orphans: list[tuple[bytes, int, int]] = []
        if row.segments == 0 and segments.hash != last:
            raise IntegrityError("its header is not the one that was recorded")
        for segment in segments:
            if segment.number == row.segments - 1 and segment.hash != last:
                raise IntegrityError(f"segment {segment.number} is not the one that was recorded")
            if segment.number >= row.segments:
                records = iter_records(open_segment(segment.raw, row.id, dek))
                orphans.append((segment.hash, len(segment.raw), sum(kind in LOGGED for kind, _, _ in records)))
    except IntegrityError:
        if row.segments == 0 and len(first) < 200:  # died while writing the header: nothing of it was recorded
            return [], 0, last, 0
        raise
    if segments.number < row.segments:
        raise IntegrityError(f"only {segments.number} of {row.segments} segments are there")
    return orphans, segments.end, segments.hash, segments.number


def _again(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _parts(requests: list[WalRecord]) -> Iterator[list[WalRecord]]:
    part: list[WalRecord] = []
    size = 0
    for record in requests:
        part.append(record)
        size += len(record.body) + OVERHEAD
        if size >= SEGMENT_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _count(counts: dict[str, int], record: WalRecord) -> None:
    if record.kind == RUN:
        counts["statements"] += 1
    elif record.kind == EVENT:
        event = decode_event(record.body)
        rows = event.body.get("rows") if event.type == "operation.settled" else None
        counts["statements"] += event.type in ("operation.permitted", "operation.observed")
        counts["refused"] += event.type == "operation.refused"
        counts["held"] += event.type == "operation.held"
        counts["rows"] += rows if isinstance(rows, int) else 0


async def recover(recorder: Recorder) -> Plan:
    """Fold what earlier boots left, and say what the next has to do about it. Raises what the sequencer does."""
    sequencer = recorder.sequencer
    names = {name: parsed for name in recorder.wal_files.names() if (parsed := parse_name(name)) is not None}
    before = sequencer.folded
    requests: dict[tuple[str, int], list[WalRecord]] = {}
    torn: dict[str, bytes] = {}
    lost = 0
    for boot_id in dict.fromkeys(boot for _, boot in names.values()):
        reader = WalReader(recorder.keyring.wal)
        entries: list[Entry] = []
        for name in [name for name, (_, boot) in names.items() if boot == boot_id]:
            octets = await asyncio.to_thread(recorder.wal_files.read, name)
            for record in reader.read(name, octets):
                if record.kind in LOGGED and record.handle:
                    requests.setdefault((boot_id, record.handle), []).append(record)
                entry = _entry(record)
                if entry is not None:
                    entries.append(entry)
        torn.update(reader.torn)
        lost += reader.lost
        if boot_id not in sequencer.boots:
            ordinal = max((boot.ordinal for boot in sequencer.boots.values()), default=0) + 1
            sequencer.began(Boot(boot_id, ordinal, 0, 0, sequencer.last))
        await sequencer.fold(boot_id, entries)
    lived = [boot for boot in sorted(sequencer.boots.values(), key=lambda boot: boot.ordinal) if boot.seq]
    previous = lived[-1] if lived else None
    return Plan(
        ordinal=max((ordinal for ordinal, _ in names.values()), default=-1) + 1,
        recovery=Recovery(
            previous_boot=previous.id if previous else "",
            crashed=previous is not None and not previous.ended,
            events=sequencer.folded - before,
            quarantined=sum(len(octets) for octets in torn.values()),
            lost=lost,
        ),
        old_files=list(names),
        torn=torn,
        previous=previous,
        requests=requests,
    )


def _entry(record: WalRecord) -> Entry | None:
    if record.kind == DECLARED:
        declared: Any = parse(record.body)
        declaration = Declaration(
            declared["session"], record.handle, declared["created"], bytes.fromhex(declared["wrapped"])
        )
        return Entry(record.position, -1, declaration)
    if record.kind in (EVENT, NOTE):
        return Entry(record.position, -1, None, decode_event(record.body), record.body)
    return None


def decode_event(record: bytes) -> Event:
    """The Event of its canonical bytes. IntegrityError when they are not those of one."""
    fields: Any = parse(record)
    try:
        return Event(
            fields["id"], fields["at"], fields["type"], fields["session"], fields["actor"], fields["body"], fields["v"]
        )
    except (KeyError, TypeError):
        raise IntegrityError("not an event") from None
