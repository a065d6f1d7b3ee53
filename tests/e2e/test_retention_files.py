"""Deletion on real files and a real store: the bytes are gone, the log is sound, and what a crash left is finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from doorward.guard.holds import Hold
from doorward.guard.recorder import Recorder
from doorward.ledger.verify import Status
from tests.memory.faults import Fault, Faults
from tests.suites.lives import Disk
from tests.unit.guard.test_retention import ADA, BEA, Calendar, _one_life, living, readable, report, session, told

NOVEMBER = "std-13m.2026-11"


async def planted(recorder: Recorder) -> tuple[str, str]:
    gone, kept = await session(recorder), await session(recorder)
    await recorder.event("authentication.refused", {"marker": "of-november"})
    await recorder.fold()
    return gone, kept


@pytest.mark.parametrize("fault", [None, Fault.KILLED, Fault.PERSISTED])
async def test_what_was_due_is_in_no_byte(tmp_path: Path, fault: Fault | None) -> None:
    """Neither rows, keys nor files, nor the store's journal; what is held is read, until it is released and goes, too."""
    disk, clock = Disk(tmp_path), Calendar(2026, 11, 20)
    await disk.open()
    async with living(disk, clock) as (recorder, retention):
        gone, kept = await planted(recorder)
        applied = Hold(clock.new_id(), "case", (kept,), reason="a case", applied_by=ADA, applied_at=clock.now())
        await retention.apply(applied)
    wrapped = await disk.store.wrapped_key(gone)
    sealed = [event.sealed for event in await disk.store.events() if event.key_id in (gone, NOVEMBER)]
    assert wrapped is not None
    key = disk.keys.get(f"kek.{NOVEMBER}")
    clock.at(2028, 1, 1)
    if fault is not None:
        await _one_life(disk, clock, Faults(30, fault))
        await disk.close()
        await disk.open()
    async with living(disk, clock) as (_, retention):
        await retention.run(ADA)
        assert [each.state for each in await retention.plan() if each.name == NOVEMBER] == ["held"]
    assert [await readable(disk, each) for each in (gone, kept)] == [False, True]
    assert not [each for _, _, each in await told(disk, "authentication.refused")]
    assert report(disk).status is Status.SOUND
    await disk.close()
    assert key is not None
    for path in (each for each in tmp_path.rglob("*") if each.is_file()):
        octets = path.read_bytes()
        assert not [part for part in (wrapped, key, *sealed) if part in octets], path
        assert gone not in path.name
    await disk.open()
    async with living(disk, clock) as (_, retention):
        ((hold, count),) = await retention.holds()
        assert count == 1
        await retention.request_release(hold, ADA)
        await retention.release((await retention.holds())[0][0], BEA)
        await retention.run(ADA)
        assert [each.name for each in await retention.plan() if each.name == NOVEMBER] == []
    assert not await readable(disk, kept)
    assert not list((tmp_path / "recordings").rglob("*.dwr"))
    assert report(disk).status is Status.SOUND
    await disk.close()
