"""Deletion: what is due goes, whole and on record first; what is early, open or held stays; a crash anywhere is finished later.

On a memory disk, with a clock that can be set forward.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from doorward.adapters.clock import SystemClock
from doorward.errors import UpstreamError
from doorward.guard import session_recorder, wal
from doorward.guard.holds import Hold
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.retention import BusyError, Retention
from doorward.guard.search import Search
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.verify import Report, Status, verify
from doorward.model import Target
from tests.memory.faults import Fault, Faults, KilledError
from tests.memory.files import MemorySearchFiles, MemoryTurn
from tests.suites.lives import Disk, a_session

ADA, BEA = "https://idp.test|ada", "https://idp.test|bea"
NOVEMBER, DECEMBER = "std-13m.2026-11", "std-13m.2026-12"


class Calendar(SystemClock):
    """Says that it is when a test says it is."""

    def __init__(self, *when: int) -> None:
        super().__init__()
        self.at(*when)

    def at(self, *when: int) -> None:
        self._time = int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]

    def now(self) -> int:
        self._time += 1
        return self._time


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (wal, session_recorder):
        monkeypatch.setattr(module, "RETRY", 0.002)


@asynccontextmanager
async def living(disk: Disk, clock: Calendar, faults: Faults | None = None) -> AsyncIterator[tuple[Recorder, Retention]]:
    recorder = disk.recorder(faults)
    recorder.clock = clock
    await recorder.start()
    try:
        yield recorder, Retention(recorder, clock, MemoryTurn())
    finally:
        await recorder.stop()


async def session(recorder: Recorder, retention: str = "", name: str = "shop", *, close: bool = True) -> str:
    """One session with something in it, and an approval."""
    opened = replace(a_session(), target=Target(name, "postgres", "127.0.0.1", 5432, retention=retention))
    record = await recorder.session(opened)
    record.response(b"masked answer")
    record.event("approval.requested", {"approval": opened.id})
    if close:
        await record.close({"reason": "done"})
    await recorder.fold()
    return opened.id


def report(disk: Disk) -> Report:
    vkey = disk.log.read("vkey")
    assert vkey is not None
    return verify(disk.evidence(), [NoteVerifier(vkey.decode().strip())])


async def readable(disk: Disk, session_id: str) -> bool:
    """Whether somebody with all that is left can read its recording."""
    try:
        found = await RecordReader(disk.store, disk.recordings, Keyring(disk.keys)).recording(session_id)
    except KeyError:
        return False
    return any(body == b"masked answer" for _, _, body in found)


async def told(disk: Disk, *types: str) -> list[tuple[str, str, dict[str, Any]]]:
    reader = RecordReader(disk.store, disk.recordings, Keyring(disk.keys))
    return [(o.event.type, o.event.session_id, dict(o.event.body)) async for o in reader.events(types=types)]


async def test_what_is_due_goes_and_nothing_else() -> None:
    """Not a millisecond early; all of the month, and only of that class; the rest opens as before, and the log is sound."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, _):
        gone = [await session(recorder) for _ in range(3)]
        longer = await session(recorder, "phi-6y")
        clock.at(2026, 12, 2)
        later = await session(recorder)
    clock.at(2027, 12, 31, 23, 59, 59)
    async with living(disk, clock) as (_, retention):
        assert {each.state for each in await retention.plan()} == {"kept"}
        assert (await retention.run(ADA))["deleted"] == []
    assert all([await readable(disk, each) for each in (*gone, longer, later)])
    clock.at(2028, 1, 1)
    async with living(disk, clock) as (_, retention):
        assert {each.name: each.state for each in await retention.plan()}[NOVEMBER] == "due"
        done = await retention.run(ADA)
        assert [(each["epoch"], each["recordings"], each["late"]) for each in done["deleted"]] == [(NOVEMBER, 3, False)]
        assert (await retention.run(ADA))["deleted"] == []
    assert [await readable(disk, each) for each in (*gone, longer, later)] == [False, False, False, True, True]
    assert set(disk.recordings.files) == {longer, later}
    assert {row.id for row in await disk.store.sessions()} == {longer, later}
    assert not await disk.store.events(session_id=gone[0], types=("session.opened", "session.sealed", "session.closed"))
    assert await disk.store.wrapped_key(gone[0]) is None
    assert f"kek.{NOVEMBER}" not in disk.keys.names()
    assert "kek.phi-6y.2026-11" in disk.keys.names()
    found = report(disk)
    assert (found.status, found.deleted, found.deleted_epochs) == (Status.SOUND, 3, [NOVEMBER])
    ((_, _, body),) = await told(disk, "retention.deleted")
    assert (body["class"], body["recordings"], body["held"]) == ("std-13m", 3, 0)
    assert sorted(one for _, one, _ in await told(disk, "recording.deleted")) == sorted(gone)
    assert [body["epoch"] for _, _, body in await told(disk, "key_epoch.destroyed")] == [NOVEMBER]


async def test_what_is_derived_from_a_month_goes_with_it() -> None:
    """Its search index, once its key is gone; no other month's; and again by the run after a deletion that died there."""
    disk, clock, files = Disk(), Calendar(2026, 11, 20), MemorySearchFiles()
    async with living(disk, clock) as (recorder, _):
        await session(recorder)
        clock.at(2026, 12, 2)
        await session(recorder)
        await recorder.fold()
        assert await Search(recorder, files, MemoryTurn()).catch_up() == 2
    december = NOVEMBER.replace("-11", "-12")
    assert files.names() == [NOVEMBER, december]
    clock.at(2028, 1, 1)

    def forget(epoch: str) -> None:
        assert f"kek.{epoch}" not in disk.keys.names()
        if not died:
            died.append(epoch)
            raise OSError("the disk is away")
        files.delete(epoch)

    died: list[str] = []
    async with living(disk, clock) as (recorder, _):
        retention = Retention(recorder, clock, MemoryTurn(), forget=forget)
        with pytest.raises(OSError, match="the disk is away"):
            await retention.run(ADA)
        await retention.run(ADA)
    assert files.names() == [december]


async def test_control_records_go_after_their_years_and_a_new_life_goes_on() -> None:
    """Approvals and what else was decided, with their rows; the gateway starts afterwards, and the log is sound."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, _):
        one = await session(recorder)
        await recorder.event("approver_key.registered", {"key": "k"})
        await recorder.event("approval.voted", {"approval": clock.new_id()})
    clock.at(2029, 12, 3)
    async with living(disk, clock) as (_, retention):
        done = await retention.run(ADA)
        assert {each["epoch"] for each in done["deleted"]} == {"ctl-36m.2026-11", NOVEMBER}
        assert [each["late"] for each in done["deleted"]] == [False, True]
    async with living(disk, clock) as (recorder, _):
        await session(recorder)
    assert await told(disk, "approval.requested") != []
    assert one not in {each for _, each, _ in await told(disk, "approval.requested")}
    assert len(await told(disk, "approver_key.registered")) == 1  # as long as there is a log
    assert report(disk).deleted_records == {"approval.voted": 1}
    assert report(disk).status is Status.SOUND


async def test_what_is_open_or_busy_is_refused() -> None:
    """An epoch of which a session has not ended stays whole; two runs at once are one."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, retention):
        await session(recorder)
        waits = await session(recorder, close=False)
        clock.at(2028, 1, 1)
        done = await retention.run("")
        assert done["deleted"] == []
        assert [(each["epoch"], each["why"]) for each in done["refused"]] == [(NOVEMBER, "open")]
        retention._turn.take()
        with pytest.raises(BusyError):
            await retention.run("")
    assert await readable(disk, waits)
    assert report(disk).status is Status.SOUND


async def test_a_lost_key_is_named() -> None:
    """One that is gone without a deletion, or is another now: whoever looks learns which month cannot be read."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, _):
        await session(recorder)
        await session(recorder, "phi-6y")
    disk.keys.delete(f"kek.{NOVEMBER}")
    disk.keys.keys["kek.phi-6y.2026-11"] = bytes(32)
    clock.at(2026, 12, 2)
    async with living(disk, clock) as (_, retention):
        lost = [each.name for each in await retention.plan() if each.state == "lost"]
    assert lost == ["phi-6y.2026-11", NOVEMBER]


# What may be missing, and what may not ------------------------------------------------------------------------------


async def test_a_recording_that_is_just_not_there_is_missed() -> None:
    """Nothing on record says that it is deleted."""
    disk = Disk()
    async with living(disk, Calendar(2026, 11, 20)) as (recorder, _):
        one = await session(recorder)
    disk.recordings.delete(one)
    assert report(disk).status is Status.BROKEN


@pytest.mark.parametrize("how", ["early", "open", "held", "unknown", "forever", "epoch", "epoch-early"])
async def test_a_deletion_that_may_not_be_breaks_the_record(how: str) -> None:
    """Whoever says so, and although the leaf is the gateway's own: before it is due, of what is held, open, unknown or kept
    for ever."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, _):
        one = await session(recorder, "keep" if how == "forever" else "", close=how != "open")
        if how == "held":
            recorder.append_event("recording.held", {}, session_id=one)
        if how not in ("early", "epoch-early"):
            clock.at(2030, 1, 1)
        if how in ("epoch", "epoch-early"):
            epoch = NOVEMBER if how == "epoch-early" else "other-1m.2026-11"
            recorder.append_event("retention.deleted", {"epoch": epoch})
        else:
            recorder.append_event("recording.deleted", {}, session_id=clock.new_id() if how == "unknown" else one)
        await recorder.wal.flush()
        await recorder.fold()
    disk.recordings.delete(one)
    found = report(disk)
    assert found.status is Status.BROKEN
    assert "log/tile/entries" in found.faults[0].file


async def test_a_deletion_that_is_not_finished_is_incomplete() -> None:
    """Its leaf is there, and so is the file: nothing is wrong, and not all is done."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, _):
        one = await session(recorder)
        clock.at(2028, 1, 1)
        recorder.append_event("recording.deleted", {}, session_id=one)
    assert report(disk).status is Status.INCOMPLETE


# Holds --------------------------------------------------------------------------------------------------------------


def hold(clock: Calendar, **selects: Any) -> Hold:
    return Hold(clock.new_id(), "case-1", reason="litigation", applied_by=ADA, applied_at=clock.now(), **selects)


async def test_what_is_held_outlives_its_epoch_until_two_people_release_it() -> None:
    """Its key is wrapped anew, its approvals sealed anew; the rest of the month goes; then it goes, too."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, retention):
        kept, gone = await session(recorder), await session(recorder)
        applied, count = await retention.apply(hold(clock, sessions=(kept,)))
        assert count == 1
        with pytest.raises(KeyError):
            await retention.apply(hold(clock, target="shop"))
        clock.at(2029, 12, 5)  # control records are due as well
        done = {each["epoch"]: each for each in (await retention.run(ADA))["deleted"]}
        assert (done[NOVEMBER]["recordings"], done[NOVEMBER]["held"]) == (1, 1)
        assert [await readable(disk, each) for each in (kept, gone)] == [True, False]
        assert {each for _, each, _ in await told(disk, "approval.requested")} == {kept}
        assert report(disk).status is Status.SOUND
        again = await retention.run(ADA)
        assert again["deleted"] == []
        assert [(each["epoch"], each["why"]) for each in again["refused"]] == [(NOVEMBER, "held")]
        with pytest.raises(PermissionError):
            await retention.release(applied, BEA)  # nobody has asked
        assert await retention.request_release(applied, ADA)
        applied = (await retention.holds())[0][0]
        assert not await retention.request_release(applied, BEA)
        with pytest.raises(PermissionError):
            await retention.release(applied, ADA)
        assert (await retention.release(applied, BEA)).released_at
        assert await readable(disk, kept)  # until the next run, which says so first
        done = {each["epoch"]: each for each in (await retention.run(ADA))["deleted"]}
        assert done[NOVEMBER]["recordings"] == 1
    assert not await readable(disk, kept)
    assert not [name for name in disk.keys.names() if "hold" in name or "2026-11" in name]
    assert kept not in {each for _, each, _ in await told(disk, "approval.requested")}
    found = report(disk)
    assert (found.status, found.deleted) == (Status.SOUND, 2)
    types = ("hold.applied", "recording.held", "hold.release_requested", "hold.released", "recording.released")
    assert [type_ for type_, _, _ in await told(disk, *types)] == list(types[2:])  # the first two went with their month
    assert {each: found.types[each] for each in types} == dict.fromkeys(types, 1)


@pytest.mark.parametrize(
    ("selects", "covered"),
    [({"target": "shop"}, [0, 2]), ({"identity": "https://idp.test|bot"}, [0, 1, 2]), ({"identity": "nobody"}, []),
     ({"target": "shop", "until": 1}, [])],
)  # fmt: skip
async def test_a_hold_covers_what_it_selects_and_what_comes_later(selects: dict[str, Any], covered: list[int]) -> None:
    """By target, identity and time; sessions opened after it, too."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, retention):
        sessions = [await session(recorder), await session(recorder, name="ware")]
        await retention.apply(hold(clock, **selects))
        sessions.append(await session(recorder))
        clock.at(2028, 1, 1)
        await retention.run("")
        assert [number for number, each in enumerate(sessions) if await readable(disk, each)] == covered
    assert report(disk).status is Status.SOUND


async def test_two_holds_on_one_session_are_two() -> None:
    """Released from one, the other keeps it; and a hold that is released in time costs nothing."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, retention):
        one = await session(recorder)
        first, _ = await retention.apply(hold(clock, sessions=(one,)))
        second, _ = await retention.apply(replace(hold(clock, target="shop"), case="case-2"))
        for each in (first, second):
            if each is second:
                clock.at(2028, 1, 1)
                await retention.run("")
                assert await readable(disk, one)
            await retention.request_release(each, ADA)
            await retention.release(each, BEA)
        await retention.run("")
    assert not await readable(disk, one)
    assert len(await told(disk, "recording.released")) == 1
    assert report(disk).status is Status.SOUND


# Crashes ------------------------------------------------------------------------------------------------------------


async def _one_life(disk: Disk, clock: Calendar, faults: Faults) -> None:
    """A run, perhaps cut short; the process dies."""
    recorder = disk.recorder(faults)
    recorder.clock = clock
    loop, dead = asyncio.get_running_loop(), asyncio.Event()
    faults.on_death = lambda: loop.call_soon_threadsafe(dead.set)  # type: ignore[assignment]

    async def life() -> None:
        try:
            await recorder.start()
            await Retention(recorder, clock, MemoryTurn()).run("")
        except (UpstreamError, KilledError, OSError):
            pass

    running, death = asyncio.ensure_future(life()), asyncio.ensure_future(dead.wait())
    await asyncio.wait({running, death}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, death):
        task.cancel()
    await asyncio.gather(running, death, return_exceptions=True)
    faults.dead.set()
    recorder.running = False
    for pool in (getattr(recorder, "sealing", None), getattr(getattr(recorder, "wal", None), "_pool", None)):
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
    disk.wal.unlock()
    disk.log.unlock()


async def _prepared() -> tuple[Disk, Calendar, str, str, str]:
    """A disk on which a month is due; one of its sessions is held, one was held and is released."""
    disk, clock = Disk(), Calendar(2026, 11, 20)
    async with living(disk, clock) as (recorder, retention):
        gone, kept, freed = [await session(recorder) for _ in range(3)]
        await retention.apply(hold(clock, sessions=(kept,)))
        released, _ = await retention.apply(replace(hold(clock, sessions=(freed,)), case="case-2"))
        clock.at(2028, 1, 1)
        await retention.run("")
        await retention.request_release(released, ADA)
        await retention.release(released, BEA)
        await session(recorder)
    clock.at(2030, 1, 1)
    return disk, clock, gone, kept, freed


def _changes() -> int:
    async def counted() -> int:
        disk, clock, *_ = await _prepared()
        faults = Faults()
        await _one_life(disk, clock, faults)
        return len(faults.happened)

    return asyncio.run(counted())


def _sample(changes: int, fault: Fault) -> Iterator[int]:
    return iter(range(list(Fault).index(fault), changes, 11))


async def _survives(at: int, fault: Fault) -> None:
    disk, clock, gone, kept, freed = await _prepared()
    await _one_life(disk, clock, Faults(at, fault))
    async with living(disk, clock) as (_, retention):
        await retention.run("")
        assert (await retention.run(""))["deleted"] == []
    assert [await readable(disk, each) for each in (gone, kept, freed)] == [False, True, False]
    assert set(disk.recordings.files) == {kept}
    found = report(disk)
    assert found.status is Status.SOUND, (at, fault, found.faults[:2], found.gaps[:2])


@pytest.mark.parametrize("fault", list(Fault))
def test_a_crash_or_a_full_disk_anywhere_is_finished_by_the_next_run(fault: Fault) -> None:
    """A sample of the changes of a run, another for each way: what is held is kept, what is due is gone, all is sound."""
    for at in _sample(_changes(), fault):
        asyncio.run(_survives(at, fault))


@pytest.mark.campaign
@pytest.mark.parametrize("fault", list(Fault))
def test_every_change_of_a_run(fault: Fault) -> None:
    """The same for each change."""
    for at in range(_changes() + 1):
        asyncio.run(_survives(at, fault))


