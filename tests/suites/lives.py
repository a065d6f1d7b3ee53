"""Lives of a gateway on one disk, some of them cut short, and what must hold of the record afterwards.

`Disk` is what outlives a process: memory or real files. `live` runs a workload until it ends or dies. The Oracle hears
what was attempted and what was reported durable; `judge` starts the gateway a last time and compares.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.blobs.files import LocalKeyFiles, LocalLogFiles, LocalRecordingFiles, LocalWalFiles
from doorward.adapters.clock import SystemClock
from doorward.adapters.store.sql import SqlStore
from doorward.errors import UpstreamError
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder, Recovery
from doorward.guard.session_recorder import SessionRecorder
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.segment import EVENT, RUN
from doorward.ledger.verify import Status, verify
from doorward.masking.detect import Detectors
from doorward.model import Approval, ApprovalState, Identity, Kind, Session, Target
from tests.memory.evidence import MemoryEvidence
from tests.memory.faults import Faults, KilledError
from tests.memory.files import MemoryKeyFiles, MemoryLogFiles, MemoryRecordingFiles, MemoryWalFiles
from tests.memory.store import MemoryStore

CLOCK = SystemClock()
DETECTORS = Detectors()


class Disk:
    """What survives. Without a directory it is memory. `lanes`: how many processes may use it at once."""

    def __init__(self, directory: Path | None = None, *, lanes: int = 1) -> None:
        self.directory = directory
        self.lanes: list[Any]
        self.store: Any
        if directory is None:
            self.lanes = [MemoryWalFiles() for _ in range(lanes)]
            self.recordings, self.log = MemoryRecordingFiles(), MemoryLogFiles()
            self.keys, self.store = MemoryKeyFiles(), MemoryStore()
        else:
            self.lanes = [LocalWalFiles(directory, lane) for lane in range(lanes)]
            self.recordings = LocalRecordingFiles(directory)  # type: ignore[assignment]
            self.log, self.keys = LocalLogFiles(directory), LocalKeyFiles(directory)  # type: ignore[assignment]
            self.store = SqlStore(directory / "store.sqlite")

    @property
    def wal(self) -> Any:
        """The first lane."""
        return self.lanes[0]

    async def open(self) -> None:
        if self.directory is not None:
            await self.store.open()

    async def close(self) -> None:
        for lane in self.lanes:
            lane.unlock()  # as the death of a process does
        if self.directory is not None:
            await self.store.close()

    def evidence(self) -> Any:
        if self.directory is None:
            return MemoryEvidence(self.log, self.recordings)
        return DirectoryEvidence(self.directory)

    def recorder(self, faults: Faults | None = None) -> Recorder:
        def port(real: Any) -> Any:
            return faults.wrap(real) if faults is not None else real

        return Recorder(
            clock=CLOCK, store=port(self.store), wal=[port(lane) for lane in self.lanes], recordings=port(self.recordings),
            log=port(self.log), keys=port(self.keys), gateway="gw-1", origin="doorward.test/log", detectors=DETECTORS,
        )


@dataclass
class Oracle:
    """What the workload did, as far as it was told."""

    attempted: set[str] = field(default_factory=set)
    durable: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    approvals: set[str] = field(default_factory=set)
    number: int = 0
    unheard: list[tuple[int, str]] = field(default_factory=list)  # (position, marker): appended, and nobody waits

    def marker(self) -> str:
        self.number += 1
        marker = f"m{self.number:06d}"
        self.attempted.add(marker)
        return marker


def a_session() -> Session:
    return Session(
        CLOCK.new_id(), Identity("bot", Kind.AGENT, "https://idp.test"), Target("shop", "postgres", "127.0.0.1", 5432),
        client="127.0.0.1:40000", purpose="tests", opened_at=CLOCK.now(),
    )


async def settled_down(recorder: Recorder) -> None:
    """Wait until the recorder works again, as a gateway that refuses meanwhile does."""
    for _ in range(1000):
        if not recorder.failed:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"it never recovered: {recorder.healthy()}")


async def until_done(recorder: Recorder, oracle: Oracle, step: Callable[[], Awaitable[None]]) -> None:
    """One step of a workload: when the record fails, nothing of it counts, and the next step waits for better times."""
    try:
        await step()
    except UpstreamError:
        await settled_down(recorder)
    oracle.durable.update(marker for position, marker in oracle.unheard if position <= recorder.durable)


async def workload(recorder: Recorder, oracle: Oracle, disk: Disk) -> None:
    """A bit of everything that a gateway records. Leaves one session and one operation open."""

    async def durable(position: int, marker: str) -> None:
        waiter = recorder.wait(position)
        if waiter is not None:
            await waiter
        oracle.durable.add(marker)

    async def event(**more: Any) -> None:
        marker = oracle.marker()
        await recorder.event("policy.changed", {"marker": marker, **more})
        oracle.durable.add(marker)

    async def run(session: SessionRecorder, template: int) -> None:
        marker = oracle.marker()
        await durable(session.run(template, marker.encode()), marker)

    async def write(session: SessionRecorder, settle: bool) -> None:
        marker, operation = oracle.marker(), CLOCK.new_id()
        await durable(session.event("operation.permitted", {"operation": operation, "marker": marker}), marker)
        if settle:
            marker = oracle.marker()
            session.event("operation.settled", {"operation": operation, "marker": marker, "outcome": "done", "rows": 2})

    async def fold() -> None:
        try:
            await recorder.fold()
        except OSError:
            pass  # as in Recorder.run

    async def batched(session: SessionRecorder, template: int) -> None:
        for _ in range(3):
            marker = oracle.marker()
            oracle.unheard.append((session.run(template, marker.encode()), marker))

    async def one_session(leave_open: bool) -> None:
        opened = a_session()
        oracle.sessions.add(opened.id)
        session = await recorder.session(opened)
        numbers: list[int] = []

        async def declare() -> None:
            numbers.append(session.template(b'{"text":"select $1"}'))

        async def close() -> None:
            await session.close({"reason": "the client left"})

        async def step(make: Callable[[], Awaitable[None]]) -> None:
            await until_done(recorder, oracle, make)

        while not numbers:
            await step(declare)
        template = numbers[0]
        for _ in range(2):
            await step(lambda: run(session, template))
        await step(lambda: batched(session, template))
        session.response(b"D" * 2000)
        session.settled(b'{"rows":1}', rows=1)
        await step(lambda: write(session, settle=True))
        session.cut()
        await step(fold)
        session.response(b"E" * 2000)
        await step(lambda: batched(session, template))
        await step(lambda: run(session, template))
        await step(event)
        session.cut()
        await session.relieved()
        await step(lambda: run(session, template))
        if leave_open:
            await step(lambda: write(session, settle=False))
        else:
            await step(close)

    oracle.unheard.clear()  # positions are of one boot
    approval = CLOCK.new_id()
    await disk.store.approvals.create(Approval(
        approval, b"digest", "https://idp.test|bot", (), "shop", ("dba",), 1, ApprovalState.WAITING, CLOCK.now(),
        CLOCK.now() + 900_000,
    ))
    oracle.approvals.add(approval)
    await until_done(recorder, oracle, event)
    for leave_open in (False, True):
        try:
            await one_session(leave_open)
        except UpstreamError:  # it could not be opened
            await settled_down(recorder)
    await until_done(recorder, oracle, fold)


async def live(disk: Disk, faults: Faults, oracle: Oracle, *, stop: bool) -> Recorder:
    """One life: start, work, and stop in good order or (`stop` false, or a fault that kills) die."""
    await disk.open()
    recorder = await lived(disk, faults, oracle, stop=stop)
    await disk.close()
    return recorder


async def lived(disk: Disk, faults: Faults, oracle: Oracle, *, stop: bool) -> Recorder:
    """The same on a disk that is open, and stays so: others may live there too."""
    recorder = disk.recorder(faults)
    loop = asyncio.get_running_loop()
    dead = asyncio.Event()
    faults.on_death = lambda: loop.call_soon_threadsafe(dead.set)  # type: ignore[assignment]

    async def whole() -> None:
        try:
            await recorder.start()
            await workload(recorder, oracle, disk)
            if stop:
                await recorder.stop()
        except (UpstreamError, KilledError, OSError):
            pass  # the process ends with an error, or is dead

    async with asyncio.TaskGroup() as group:
        life = group.create_task(whole())
        death = group.create_task(dead.wait())
        await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
        life.cancel()
        death.cancel()
    faults.dead.set()
    recorder.running = False
    for pool in (getattr(recorder, "sealing", None), getattr(getattr(recorder, "wal", None), "_pool", None)):
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
    if recorder.lane:
        recorder.lanes[recorder.lane].unlock()  # as the death of a process does
    return recorder


async def judge(disk: Disk, oracle: Oracle) -> Recovery:
    """Start once more, stop, and hold the record against what the workload was told."""
    await disk.open()
    recorder = disk.recorder()
    recovery = await recorder.start()
    await recorder.stop()
    assert not [name for lane in disk.lanes for name in lane.names()]
    assert not disk.log.staged()
    reader = RecordReader(disk.store, disk.recordings, Keyring(disk.keys))
    events = [opened.event async for opened in reader.events()]
    seen = Counter(event.body["marker"] for event in events if "marker" in event.body)
    assert len({event.id for event in events}) == len(events)
    rows = await disk.store.sessions(limit=1000)
    assert {row.id for row in rows} <= oracle.sessions
    for row in rows:
        assert row.state in ("closed", "recovered")
        in_recording: Counter[str] = Counter()
        runs: Counter[str] = Counter()
        for kind, _, body in await reader.recording(row.id):
            if kind == RUN:
                runs[body[5:].decode()] += 1
            elif kind == EVENT:
                event = json.loads(body)
                in_recording[event["id"]] += 1
        assert all(count == 1 for count in runs.values()), (row.id, runs)
        assert all(count == 1 for count in in_recording.values())
        # An event that a session wrote is in its recording too.
        assert {e.id for e in events if e.session_id == row.id and "marker" in e.body} <= set(in_recording)
        seen.update(runs)
    assert all(count == 1 for count in seen.values()), seen
    assert oracle.durable <= set(seen), f"lost: {oracle.durable - set(seen)}"
    assert set(seen) <= oracle.attempted
    permitted = Counter(e.body["operation"] for e in events if e.type == "operation.permitted")
    settled = Counter(e.body["operation"] for e in events if e.type == "operation.settled")
    assert permitted == settled
    for approval in oracle.approvals:
        assert (await disk.store.approvals.get(approval)).state is not ApprovalState.WAITING
    parked = Counter(e.body["approval"] for e in events if e.type == "approval.parked")
    assert parked == Counter(oracle.approvals)
    vkey = disk.log.read("vkey")
    assert vkey is not None
    report = verify(disk.evidence(), [NoteVerifier(vkey.decode().strip())])
    assert report.status is Status.SOUND, (report.faults[:3], report.gaps[:3])
    assert report.open_sessions == 0
    assert report.leaves == len(events)
    await disk.close()
    return recovery
