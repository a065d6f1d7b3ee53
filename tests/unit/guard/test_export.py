"""Events leave in the order of the log, at least once, none left out, and never other than they are there.

Store and record are real, on memory or on disk; a destination here is a list.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doorward.adapters.blobs.files import Lock
from doorward.errors import IntegrityError
from doorward.evidence.outward import writer
from doorward.guard import export
from doorward.guard.export import Export, Exports
from doorward.guard.keyring import Keyring
from doorward.guard.notifications import UndeliveredError
from doorward.guard.reader import RecordReader
from doorward.ledger.tree import leaf_hash
from tests.suites.lives import CLOCK, Disk, a_session


class Shelf:
    """A destination that keeps what it is given, unless it `fails`; `dies` after it has taken it."""

    kind = "shelf"

    def __init__(self) -> None:
        self.got: list[tuple[int, dict[str, Any]]] = []
        self.fails = self.dies = False
        self.calls = 0

    async def send(self, events: Sequence[tuple[int, bytes]]) -> None:
        self.calls += 1
        if self.fails:
            raise UndeliveredError("no room")
        self.got += [(leaf, json.loads(line)) for leaf, line in events]
        if self.dies:
            raise asyncio.CancelledError

    async def close(self) -> None:
        pass


def exports(disk: Disk, shelf: Shelf, wanted: frozenset[str] = frozenset(), lease: Any = None) -> Exports:
    def reader() -> RecordReader:
        return RecordReader(disk.store, disk.recordings, Keyring(disk.keys))

    one = Export("siem", "doorward", shelf, writer("doorward", "doorward.test/log", "0"), wanted, lease)
    return Exports([one], disk.store, reader, disk.log, CLOCK)


async def lived(disk: Disk, events: int, *, sessions: int = 1) -> None:
    """One life of a gateway that records this."""
    recorder = disk.recorder()
    await recorder.start()
    for number in range(events):
        await recorder.event("policy.changed", {"new": str(number)}, actor="https://idp|adam")
    for _ in range(sessions):
        session = await recorder.session(a_session())
        session.event("operation.refused", {"operation": CLOCK.new_id(), "action": "DROP"})
        await session.close({"reason": "done"})
    await recorder.stop()


async def all_sent(sending: Exports) -> None:
    while await sending.step("siem"):
        pass


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
async def test_all_of_it_in_order_with_its_leaf(on_disk: bool, tmp_path: Path) -> None:
    """Every event with a leaf, once, in order, with the leaf's own hash, over batches and bundles; and what comes later."""
    disk = Disk(tmp_path if on_disk else None)
    await disk.open()
    try:
        shelf = Shelf()
        sending = exports(disk, shelf)
        await lived(disk, 600)
        await all_sent(sending)
        (head,) = [await disk.store.head()]
        assert [leaf for leaf, _ in shelf.got] == list(range(head.size))
        bundle = disk.evidence().read("tile/entries/000")
        first = bundle[2 : 2 + int.from_bytes(bundle[:2], "big")]
        assert shelf.got[0][1]["leaf_hash"] == leaf_hash(first).hex()
        refused = next(said for _, said in shelf.got if said["type"] == "operation.refused")
        assert (refused["session"] != "", refused["body"]["action"]) == (True, "DROP")
        await lived(disk, 1, sessions=0)
        calls = shelf.calls
        await all_sent(sending)
        assert shelf.calls == calls + 1
        assert shelf.got[-1][1]["type"] == "gateway.stopped"
        (state,) = await sending.state()
        assert (state["behind"], state["sent"]) == (0, len(shelf.got))
    finally:
        await disk.close()


async def test_who_dies_after_sending_sends_again() -> None:
    """Between the destination's yes and the cursor: the same events come again, under the same leaves, and none is missing."""
    disk, shelf = Disk(), Shelf()
    await lived(disk, 3)
    shelf.dies = True
    with pytest.raises(asyncio.CancelledError):
        await exports(disk, shelf).step("siem")
    before = list(shelf.got)
    shelf.dies = False
    again = exports(disk, shelf)
    await all_sent(again)
    assert shelf.got == before * 2
    assert await disk.store.mark("export:siem") == len(before)
    fresh = exports(disk, shelf)  # a start later
    fresh.states["siem"].cursor = await disk.store.mark("export:siem") - 1
    assert await fresh.step("siem") is False


async def test_who_takes_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failing moves no cursor and drops nothing; it is told once, and once when it works again."""
    monkeypatch.setattr(export, "POLL", 0.01)
    monkeypatch.setattr(export, "FIRST", 0.01)
    disk, shelf, told = Disk(), Shelf(), []
    await lived(disk, 3)
    sending = exports(disk, shelf)
    sending._heard = lambda name, why: told.append((name, why))
    shelf.fails = True
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sending.run())
        while sending.states["siem"].failures < 3:
            await asyncio.sleep(0.01)
        assert (shelf.got, await disk.store.mark("export:siem")) == ([], 0)
        shelf.fails = False
        while not shelf.got:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        running.cancel()
    assert told == [("siem", "no room"), ("siem", "")]
    assert [leaf for leaf, _ in shelf.got] == list(range(len(shelf.got)))


async def test_only_what_is_wanted_and_only_what_is_true() -> None:
    """Types that nobody asked for are passed by. A record that is not what its leaf commits to is an error, and is sent to
    nobody; one whose key is gone is passed over."""
    disk, shelf = Disk(), Shelf()
    await lived(disk, 3)
    await all_sent(exports(disk, shelf, frozenset({"operation.refused"})))
    assert [said["type"] for _, said in shelf.got] == ["operation.refused"]
    await disk.store.keep_mark("export:siem", 0)
    stored = disk.store._events
    place = next(number for number, each in enumerate(stored) if each.type == "policy.changed")
    other = next(each for each in stored[place + 1 :] if each.type == "policy.changed")
    honest, stored[place] = stored[place], replace(stored[place], boot=other.boot, seq=other.seq, sealed=other.sealed)
    with pytest.raises(IntegrityError, match="not the one that its leaf commits to"):
        await exports(disk, Shelf()).step("siem")
    stored[place] = honest
    session = next(each for each in stored if each.type == "operation.refused")
    del disk.store._keys[session.key_id]
    rest = Shelf()
    await all_sent(exports(disk, rest))
    assert "operation.refused" not in {said["type"] for _, said in rest.got}
    assert await disk.store.mark("export:siem") == (await disk.store.head()).size


async def test_of_two_processes_one_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the lease; when its process is gone, the other goes on from where it was."""
    monkeypatch.setattr(export, "POLL", 0.01)
    disk, shelves = Disk(), (Shelf(), Shelf())
    await lived(disk, 3)
    first, second = (exports(disk, shelf, lease=Lock(tmp_path / "lock")) for shelf in shelves)
    async with asyncio.TaskGroup() as group:
        one, two = group.create_task(first.run()), group.create_task(second.run())
        while not shelves[0].got:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert (shelves[1].calls, second.states["siem"].ours) == (0, False)
        one.cancel()
        await asyncio.wait({one})
        await lived(disk, 1, sessions=0)
        while not shelves[1].got:
            await asyncio.sleep(0.01)
        two.cancel()
    assert shelves[1].got[0][0] == len(shelves[0].got)
