"""Several processes that keep one record: two recorders on one disk, each with what the other cannot see of it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from doorward.errors import ConfigError
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.verify import verify
from tests.memory.faults import Fault, Faults
from tests.suites.lives import Disk, Oracle, judge, lived, workload


def oracles(count: int) -> list[Oracle]:
    """Whose markers differ."""
    return [Oracle(number=number * 100_000) for number in range(count)]


def together(heard: list[Oracle]) -> Oracle:
    whole = Oracle()
    for each in heard:
        whole.attempted |= each.attempted
        whole.durable |= each.durable
        whole.sessions |= each.sessions
        whole.approvals |= each.approvals
    return whole


@pytest.mark.parametrize("where", ["memory", "disk"])
async def test_two_write_one_record(where: str, tmp_path: Path) -> None:
    """Side by side, step by step; each stops in good order. One log of two gateways' chains, everything in it once."""
    disk = Disk(tmp_path if where == "disk" else None, lanes=2)
    await disk.open()
    heard = oracles(2)
    recorders = [disk.recorder(), disk.recorder()]
    for recorder in recorders:
        await recorder.start()
    assert [recorder.lane for recorder in recorders] == ["gw-1", "gw-1.1"]
    with pytest.raises(ConfigError):
        await disk.recorder().start()
    for _ in range(3):
        await asyncio.gather(*(workload(r, o, disk) for r, o in zip(recorders, heard, strict=True)))
    await asyncio.gather(*(recorder.stop() for recorder in recorders))
    await disk.close()
    await judge(disk, together(heard))
    report = verify(disk.evidence(), [NoteVerifier((disk.log.read("vkey") or b"").decode().strip())])
    assert report.gateways == 2


async def test_who_lives_takes_up_what_the_dead_left() -> None:
    """One is killed with a session and an operation open; the other writes down what became of them, and leaves its own
    alone."""
    disk = Disk(lanes=2)
    await disk.open()
    heard = oracles(2)
    alive = disk.recorder()
    await alive.start()
    await workload(alive, heard[0], disk)
    mine = {row.id for row in await disk.store.sessions(state="open")}
    await lived(disk, Faults(), heard[1], stop=False)
    await alive.fold()
    recovery = await alive.adopt()
    assert recovery is not None
    assert (recovery.crashed, recovery.sessions, recovery.operations, recovery.approvals) == (True, 1, 1, 0)
    assert {row.id for row in await disk.store.sessions(state="open")} == mine
    assert await alive.adopt() is None
    await workload(alive, heard[0], disk)
    await alive.stop()
    await disk.close()
    await judge(disk, together(heard))


async def test_a_start_takes_up_what_all_have_left() -> None:
    """Both were killed, and only one starts again."""
    disk = Disk(lanes=2)
    await disk.open()
    heard = oracles(2)
    await asyncio.gather(*(lived(disk, Faults(), oracle, stop=False) for oracle in heard))
    await disk.close()
    recovery = await judge(disk, together(heard))
    assert recovery.crashed
    assert recovery.sessions == 2


@pytest.mark.parametrize("seed", range(25))
async def test_killed_anywhere_while_the_other_works(seed: int) -> None:
    """Nothing is lost and nothing doubled, wherever one dies, or is told that something failed that did not; the other works
    on, and takes it up."""
    dice = random.Random(seed)  # noqa: S311
    disk = Disk(lanes=2)
    await disk.open()
    heard = oracles(3)
    alive = disk.recorder()
    await alive.start()
    fault = dice.choice([Fault.KILLED, Fault.FINISHED, Fault.PERSISTED, Fault.FAILED, Fault.TORN])
    faults = Faults(dice.randrange(120), fault, then=-1 if fault in (Fault.KILLED, Fault.FINISHED) else dice.randrange(60, 200))
    await asyncio.gather(
        lived(disk, faults, heard[1], stop=dice.random() < 0.5), workload(alive, heard[0], disk)
    )
    await alive.fold()
    if dice.random() < 0.5:
        await alive.adopt()
    await lived(disk, Faults(), heard[2], stop=dice.random() < 0.5)
    await workload(alive, heard[0], disk)
    await alive.stop()
    await disk.close()
    await judge(disk, together(heard))
