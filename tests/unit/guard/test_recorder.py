"""The recorder's promises to the data path: durable or an error, bounded memory, and nothing hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doorward.errors import ConfigError, IntegrityError, UpstreamError
from doorward.guard import recorder as recorder_module
from doorward.guard import session_recorder, wal
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.session_recorder import PRESSURE, SEGMENT_BYTES, SessionRecorder
from doorward.guard.stores import Head
from doorward.ledger.commitment import opens
from doorward.ledger.leaf import parse
from doorward.ledger.segment import EVENT, RESPONSE, RUN, SETTLED, TEMPLATE
from doorward.ledger.tiles import parse_bundle
from tests.memory.faults import Fault, Faults
from tests.suites.lives import Disk, a_session, settled_down


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def recorder(disk: Disk) -> AsyncIterator[Recorder]:
    recorder = disk.recorder()
    await recorder.start()
    yield recorder
    if recorder.running:
        await recorder.stop()


def broken(disk: Disk, **faults: Any) -> tuple[Recorder, Faults]:
    plan = Faults(**faults)
    return disk.recorder(plan), plan


async def read(disk: Disk, session: SessionRecorder) -> list[tuple[int, bytes]]:
    reader = RecordReader(disk.store, disk.recordings, Keyring(disk.keys))
    return [(kind, body) for kind, _, body in await reader.recording(session.session.id)]


async def test_a_recording_holds_everything_in_order(disk: Disk, recorder: Recorder) -> None:
    """Requests, responses, outcomes and events come back in the order they were given."""
    session = await recorder.session(a_session())
    number = session.template(b'{"text":"select 1"}')
    session.run(number, b"params")
    session.response(b"row")
    session.settled(b'{"rows":1}', rows=1)
    session.event("operation.refused", {"operation": "o1"})
    recording = await session.close({"reason": "the client left"})
    await recorder.fold()
    records = await read(disk, session)
    assert [kind for kind, _ in records] == [EVENT, TEMPLATE, RUN, RESPONSE, SETTLED, EVENT]
    assert records[2][1] == b"\0\0\0\0\0params"
    row = await disk.store.session(session.session.id)
    assert row is not None
    assert (row.state, row.statements, row.refused, row.rows) == ("closed", 1, 1, 1)
    assert row.last == recording.root == recording.segments[-1]


async def test_a_long_response_is_cut(disk: Disk, recorder: Recorder) -> None:
    """No record is larger than a reader takes, whatever the target sends at once."""
    session = await recorder.session(a_session())
    chunk = bytes(range(256)) * 20_000
    session.response(chunk)
    await session.close({})
    await recorder.fold()
    assert b"".join(body for kind, body in await read(disk, session) if kind == RESPONSE) == chunk


async def test_segments_are_larger_while_one_is_written(disk: Disk, recorder: Recorder) -> None:
    """A bulk read does not wait for a sync at each 256 KiB: what comes while one is written goes together, up to 1 MiB."""
    session = await recorder.session(a_session())
    for _ in range(24):
        session.response(bytes(SEGMENT_BYTES // 2))
    sealed = await session.close({})
    assert len(sealed.segments) == 1 + 3
    await recorder.fold()
    assert sum(len(body) for kind, body in await read(disk, session) if kind == RESPONSE) == 12 * SEGMENT_BYTES


async def test_a_run_is_small_in_the_log(disk: Disk, recorder: Recorder) -> None:
    """A repeated statement with short parameters costs at most 30 bytes."""
    session = await recorder.session(a_session())
    number = session.template(b"{}")
    before = session.run(number, b"")
    assert session.run(number, b"12345678") - before <= 30


async def test_every_leaf_opens(disk: Disk, recorder: Recorder) -> None:
    """The commitment in each leaf is opened by the stored salt and record, and by nothing else."""
    await recorder.event("policy.changed", {"old": "a", "new": "b"}, actor="idp|dana")
    session = await recorder.session(a_session())
    session.event("operation.permitted", {"operation": "o1", "text": "delete from t"})
    await session.close({})
    await recorder.fold()
    head = await disk.store.head()
    assert head is not None
    entries = parse_bundle(disk.log.read(f"tile/entries/000.p/{head.size}") or b"")
    reader = RecordReader(disk.store, disk.recordings, Keyring(disk.keys))
    opened = [event async for event in reader.events()]
    assert len(opened) == len(entries)
    for entry, event in zip(entries, opened, strict=True):
        leaf = parse(entry)
        assert leaf.type == event.event.type
        assert leaf.commitment is not None
        assert opens(leaf.commitment, event.salt, leaf.type, event.record)
        assert not opens(leaf.commitment, event.salt, leaf.type, event.record + b" ")
        assert b"delete" not in entry


async def test_nothing_is_readable_at_rest(disk: Disk, recorder: Recorder) -> None:
    """What was said stands nowhere in the clear: not in the log, the recording, the store or the write-ahead log."""
    session = await recorder.session(a_session())
    session.run(session.template(b"canary-template"), b"canary-params")
    session.event("operation.refused", {"text": "canary-event"})
    session.response(b"canary-response")
    session.cut()
    await session.relieved()
    await recorder.wal.flush()
    await recorder.fold()
    rest = b"".join([*disk.log.files.values(), *disk.recordings.files.values(), *map(bytes, disk.wal.files.values())])
    rest += b"".join([event.sealed for event in await disk.store.events()])
    assert b"canary" not in rest


async def test_waiters_hear_of_a_failure(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write fails everyone who waits, refuses what comes next, and heals in a new file, which says so."""
    monkeypatch.setattr(wal, "RETRY", 0.05)
    recorder, plan = broken(disk)
    await recorder.start()
    session = await recorder.session(a_session())
    number = session.template(b"{}")
    await recorder.wal.flush()
    plan.at, plan.fault, plan._errors = len(plan.happened), Fault.FAILED, 1
    waiter = recorder.wait(session.run(number, b"x"))
    assert waiter is not None
    with pytest.raises(UpstreamError, match="No space left"):
        await waiter
    assert recorder.failed
    assert "No space left" in (recorder.healthy() or "")
    with pytest.raises(UpstreamError):
        session.run(number, b"y")
    with pytest.raises(UpstreamError):
        await recorder.event("policy.changed", {})
    session.event("operation.settled", {"operation": "o0", "outcome": "done"})  # a fact, and facts are kept
    await settled_down(recorder)
    assert recorder.healthy() is None
    await recorder.stop()
    types = [event.type for event in await disk.store.events()]
    assert types.count("record.failed") == types.count("record.restored") == 1
    assert "operation.settled" in types


async def test_a_session_that_could_not_be_opened_is_closed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is given it, so nobody would ever close it; the log says what became of it."""
    monkeypatch.setattr(wal, "RETRY", 0.02)
    recorder, plan = broken(disk)
    await recorder.start()
    plan.at, plan.fault, plan._errors = len(plan.happened), Fault.FAILED, 1
    opened = a_session()
    with pytest.raises(UpstreamError):
        await recorder.session(opened)
    with pytest.raises(UpstreamError):
        await recorder.session(a_session())
    await settled_down(recorder)
    while recorder._sessions:
        await asyncio.sleep(0.001)
    await recorder.stop()
    rows = await disk.store.sessions()
    assert [(row.id, row.state) for row in rows] == [(opened.id, "closed")]


async def test_what_nobody_waits_for_is_durable_soon(recorder: Recorder) -> None:
    """Batched records reach the disk by themselves, also those appended while it was being written."""
    session = await recorder.session(a_session())
    number = session.template(b"{}")
    for _ in range(20):
        position = session.run(number, b"x")
        await asyncio.sleep(0.007)
    await asyncio.sleep(0.2)
    assert recorder.durable == position


async def test_a_stalled_disk_does_not_grow_memory(recorder: Recorder) -> None:
    """What is appended and not durable is bounded; over it, an error."""
    session = await recorder.session(a_session())
    number = session.template(b"{}")
    for _ in range(4):
        session.run(number, bytes(1_000_000))
    with pytest.raises(UpstreamError, match="behind"):
        session.run(number, bytes(1_000_000))
    assert recorder.wal.unwritten <= wal.LIMIT
    await recorder.wal.flush()


async def test_pressure_tells_when_to_stop_and_go_on(recorder: Recorder) -> None:
    """A feeder that stops at PRESSURE and waits for relief can send any amount through bounded memory."""
    session = await recorder.session(a_session())
    most, called = 0, 0

    def heard() -> None:
        nonlocal called
        called += 1

    for _ in range(300):
        session.response(bytes(100_000))
        most = max(most, session.pressure)
        if session.pressure >= PRESSURE:
            session.when_relieved(heard)
            await session.relieved()
    assert most < PRESSURE + 200_000
    assert called > 0


async def test_a_failing_recording_refuses_work_and_heals(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When segments cannot be written nothing new may run; when they can, nothing is missing."""
    monkeypatch.setattr(session_recorder, "RETRY", 0.02)
    recorder, plan = broken(disk)
    await recorder.start()
    session = await recorder.session(a_session())
    number = session.template(b"{}")
    await recorder.wal.flush()
    plan.at, plan.fault, plan._errors = len(plan.happened), Fault.FAILED, 2
    session.cut()
    while not recorder.failed:
        await asyncio.sleep(0.001)
    with pytest.raises(UpstreamError, match="the recording of"):
        session.run(number, b"")
    await settled_down(recorder)
    session.run(number, b"later")
    await session.close({})
    await recorder.stop()
    assert [kind for kind, _ in await read(disk, session)] == [EVENT, TEMPLATE, RUN]


async def test_too_large_is_refused_before_it_is_written(recorder: Recorder) -> None:
    """What no reader would take is an error at once, not a broken recording later."""
    session = await recorder.session(a_session())
    with pytest.raises(UpstreamError, match="too many"):
        session.template(bytes(3_000_000))
    with pytest.raises(UpstreamError, match="too large"):
        session.event("operation.permitted", {"text": "x" * 3_000_000})


async def test_closing_twice_is_closing_once(disk: Disk, recorder: Recorder) -> None:
    """Both callers get the same recording."""
    session = await recorder.session(a_session())
    first, second = await asyncio.gather(session.close({"reason": "a"}), session.close({"reason": "b"}))
    assert first == second
    await recorder.fold()
    assert [event.type for event in await disk.store.events()].count("session.closed") == 1


async def test_one_gateway_a_directory(disk: Disk, recorder: Recorder) -> None:
    """A second gateway on the same data directory does not start."""
    with pytest.raises(ConfigError, match="another gateway"):
        await disk.recorder().start()


async def test_a_store_rolled_back_is_refused(disk: Disk) -> None:
    """When the published checkpoint is newer than the head, nothing starts."""
    recorder = disk.recorder()
    await recorder.start()
    old = await disk.store.head()
    await recorder.event("policy.changed", {})
    await recorder.stop()
    disk.store._head = old
    with pytest.raises(IntegrityError, match="rolled back"):
        await disk.recorder().start()


@pytest.mark.parametrize("what", ["root", "tile", "vkey", "checkpoint"])
async def test_a_log_that_does_not_fit_is_refused(disk: Disk, what: str) -> None:
    """Another tree of the same size, a changed tile, another key, a changed checkpoint: nothing starts."""
    recorder = disk.recorder()
    await recorder.start()
    await recorder.stop()
    head = await disk.store.head()
    assert head is not None
    if what == "root":
        disk.store._head = Head(head.origin, head.size, bytes(32), head.checkpoint)
    elif what == "tile":
        disk.log.files[f"tile/0/000.p/{head.size}"] = bytes(32 * head.size)
    elif what == "vkey":
        disk.keys.keys["log.key"] = bytes(32)
    else:
        disk.log.files["checkpoint"] = disk.log.files["checkpoint"].replace(b"\n%d\n" % head.size, b"\n%d\n" % (head.size - 1))
    with pytest.raises(IntegrityError):
        await disk.recorder().start()


async def test_an_altered_write_ahead_log_is_refused(disk: Disk) -> None:
    """A torn tail is what a crash leaves. A whole frame that does not open is another key, or somebody's hand."""
    recorder = disk.recorder()
    await recorder.start()
    await recorder.event("policy.changed", {})
    await recorder.wal.close()
    recorder.running = False
    disk.wal.unlock()
    disk.keys.keys["wal.key"] = bytes(32)
    with pytest.raises(IntegrityError, match="does not open"):
        await disk.recorder().start()


async def test_write_ahead_files_go_away(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is deleted once everything in it is in the tree and in segments, and not before."""
    monkeypatch.setattr(wal, "ROTATE", 2000)
    recorder = disk.recorder()
    await recorder.start()
    session = await recorder.session(a_session())
    number = session.template(b"{}")
    for _ in range(10):
        session.run(number, bytes(1000))
        await recorder.wal.flush()
    await recorder.fold()
    kept = len(disk.wal.files)
    assert kept > 4  # the runs are in no segment yet
    session.cut()
    await session.relieved()
    while session.pressure:
        await asyncio.sleep(0.001)
    await recorder.wal.flush()
    await recorder.fold()
    assert len(disk.wal.files) < 3
    await recorder.stop()
    assert not disk.wal.files


async def test_sequencing_goes_on_by_itself(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` folds what is durable, and beats when nothing happens."""
    monkeypatch.setattr(recorder_module, "TICK", 0.01)
    monkeypatch.setattr(recorder_module, "BEAT", 0.03)
    recorder = disk.recorder()
    await recorder.start()
    task = asyncio.ensure_future(recorder.run())
    for _ in range(500):
        await asyncio.sleep(0.01)
        types = [event.type for event in await disk.store.events()]
        if types.count("log.beat") >= 2:
            break
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert types.count("log.beat") >= 2
    await recorder.stop()
