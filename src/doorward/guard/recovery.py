"""What a start does about the life before it, and a process about others that have died beside it.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from doorward.errors import IntegrityError
from doorward.guard.ports import WalFiles
from doorward.guard.sequencer import Declaration, Entry
from doorward.guard.session_recorder import DECLARED, NOTE, OVERHEAD, SEGMENT_BYTES
from doorward.guard.stores import Boot, OpenOperation, SessionRow
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
class Lane:
    """What one process left. `previous` is its last boot that has leaves."""

    name: str
    files: WalFiles
    names: list[str]
    previous: Boot | None = None
    events: int = 0
    lost: int = 0
    torn: dict[str, bytes] = field(default_factory=dict)

    @property
    def crashed(self) -> bool:
        return self.previous is not None and not self.previous.ended

    @property
    def quarantined(self) -> int:
        return sum(len(octets) for octets in self.torn.values())


@dataclass(slots=True)
class Plan:
    """The second half of recovery, for the boot that is about to begin, or that has found others dead. `ordinal` is the first
    write-ahead file's in the first lane."""

    ordinal: int
    lanes: list[Lane]
    recovery: Recovery
    alone: bool  # no other process keeps this record
    requests: dict[tuple[str, int], list[WalRecord]] = field(default_factory=dict)

    async def finish(self, recorder: Recorder, *, started: bool) -> None:
        """Write down what follows from the crash, make it durable, fold it, and delete the old write-ahead log."""
        if started and not any(boot.seq for boot in recorder.sequencer.boots.values()):
            recorder.append_event("log.started", {"gateway": recorder.gateway})
        for lane in self.lanes:
            await self._tell(recorder, lane)
        if started:
            previous = self.lanes[0].previous
            recorder.append_event("gateway.started", {"boot": recorder.boot, "previous": previous.id if previous else ""})
        operations = [
            each for each in await recorder.store.open_operations() if self.alone or await self._left(recorder, each)
        ]
        for operation in operations:
            recorder.append_event(
                "operation.settled",
                {"operation": operation.id, "outcome": "unknown", "reason": "the gateway ended before it was settled"},
                session_id=operation.session_id,
            )
        # Which process has the client of a request that waits, the store does not know: while another lives it may be there.
        parked = await recorder.store.approvals.list(ApprovalState.WAITING, limit=1_000_000) if self.alone else []
        for approval in parked:
            recorder.append_event(
                "approval.parked", {"approval": approval.id, "reason": "the gateway died", "recovered": True},
                actor=approval.requested_by,
            )
        sessions = 0
        before = ""
        while page := await recorder.store.sessions(state="open", before=before, limit=PAGE):
            before = page[-1].id
            for row in page:
                if self.alone or self._is_ours(recorder, row.boot):
                    await self._recover_session(recorder, row)
                    sessions += 1
            await recorder.wal.flush()
            await recorder.fold()
        await recorder.wal.flush()
        await recorder.fold()
        for lane in self.lanes:
            for name in lane.names:
                await asyncio.to_thread(lane.files.delete, name)
        self.recovery = replace(
            self.recovery, sessions=sessions, operations=len(operations), approvals=len(parked)
        )

    async def _tell(self, recorder: Recorder, lane: Lane) -> None:
        digest = sha256()
        for name, octets in lane.torn.items():
            await asyncio.to_thread(lane.files.quarantine, name, octets)
            digest.update(octets)
        if lane.crashed and lane.previous is not None:
            body: dict[str, Any] = {
                "previous": lane.previous.id, "last_seq": lane.previous.seq - 1, "last_hash": lane.previous.last.hex(),
                "events": lane.events, "quarantined": lane.quarantined, "lost": lane.lost,
            }
            if lane.torn:
                body["sha256"] = digest.hexdigest()
            recorder.append_event("gateway.recovered", body)

    def _is_ours(self, recorder: Recorder, boot_id: str) -> bool:
        """Whether a boot is of a lane that is recovered here, and not one of a process that lives."""
        boot = recorder.sequencer.boots.get(boot_id)
        return (
            boot is not None and boot.id != recorder.boot
            and recorder.sequencer.name(boot) in [lane.name for lane in self.lanes]
        )  # fmt: skip

    async def _left(self, recorder: Recorder, operation: OpenOperation) -> bool:
        row = await recorder.store.session(operation.session_id)
        return row is not None and self._is_ours(recorder, row.boot)

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
            if dek is None:
                raise IntegrityError("the key of its epoch is gone")
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


async def recover(recorder: Recorder, lanes: Sequence[str], *, alone: bool) -> Plan:
    """Fold what earlier boots left in these lanes, which are ours, and say what is to be done about it. Raises what the
    sequencer does."""
    sequencer = recorder.sequencer
    found = []
    requests: dict[tuple[str, int], list[WalRecord]] = {}
    ordinal = 0
    for name in lanes:
        files = recorder.lanes[name]
        names = {file: parsed for file in files.names() if (parsed := parse_name(file)) is not None}
        if name == lanes[0]:
            ordinal = max((number for number, _ in names.values()), default=-1) + 1
        lane = Lane(name, files, list(names))
        before = sequencer.folded
        for boot_id in dict.fromkeys(boot for _, boot in names.values()):
            reader = WalReader(recorder.keyring.wal)
            entries: list[Entry] = []
            for file in [file for file, (_, boot) in names.items() if boot == boot_id]:
                octets = await asyncio.to_thread(files.read, file)
                for record in reader.read(file, octets):
                    if record.kind in LOGGED and record.handle:
                        requests.setdefault((boot_id, record.handle), []).append(record)
                    entry = _entry(record)
                    if entry is not None:
                        entries.append(entry)
            lane.torn.update(reader.torn)
            lane.lost += reader.lost
            if boot_id not in sequencer.boots:
                sequencer.began(Boot(boot_id, 0, 0, 0, sequencer.last(name), gateway=name))
            await sequencer.fold(boot_id, entries)
        lived = [boot for boot in sequencer.boots.values() if boot.seq and sequencer.name(boot) == name]
        lane.previous = max(lived, key=lambda boot: boot.ordinal, default=None)
        lane.events = sequencer.folded - before
        found.append(lane)
    previous = found[0].previous
    return Plan(
        ordinal,
        found,
        Recovery(
            previous_boot=previous.id if previous else "",
            crashed=any(lane.crashed for lane in found),
            events=sum(lane.events for lane in found),
            quarantined=sum(lane.quarantined for lane in found),
            lost=sum(lane.lost for lane in found),
        ),
        alone,
        requests,
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
