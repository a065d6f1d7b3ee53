"""Every write of recorder and sequencer, gone wrong in every way: no event lost, none doubled, the log verifies."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from doorward.guard import session_recorder, wal
from tests.memory.faults import Fault, Faults
from tests.suites.lives import Disk, Oracle, judge, live


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (wal, session_recorder):
        monkeypatch.setattr(module, "RETRY", 0.002)


def lives(disk: Disk, plans: list[tuple[Faults, bool]]) -> None:
    oracle = Oracle()
    for faults, stop in plans:
        asyncio.run(live(disk, faults, oracle, stop=stop))
    asyncio.run(judge(disk, oracle))


def changes(stop: bool) -> int:
    """How many changes a life makes when nothing goes wrong."""
    faults = Faults()
    lives(Disk(), [(faults, stop)])
    return len(faults.happened)


def test_nothing_goes_wrong() -> None:
    """Without faults, two lives, one stopped and one dead, leave a sound log that has everything."""
    lives(Disk(), [(Faults(), True), (Faults(), False), (Faults(), True)])


@pytest.mark.parametrize("fault", list(Fault))
def test_every_change(fault: Fault) -> None:
    """Whatever single change goes wrong, and however, the record is whole afterwards."""
    for at in range(changes(stop=True) + 2):
        try:
            lives(Disk(), [(Faults(at, fault), True)])
        except BaseException as error:
            error.add_note(f"change {at}, {fault}")
            raise


@pytest.mark.parametrize("fault", [Fault.KILLED, Fault.FINISHED])
def test_killed_again_in_recovery(fault: Fault) -> None:
    """A gateway killed at any moment, and again at any moment of the recovery, recovers."""
    for at in range(40):
        try:
            lives(Disk(), [(Faults(), False), (Faults(at, fault), False), (Faults(at // 2, fault), False)])
        except BaseException as error:
            error.add_note(f"change {at}, {fault}")
            raise


@pytest.mark.parametrize("fault", list(Fault))
def test_several_failures_in_a_row(fault: Fault) -> None:
    """A disk that stays broken for a while is the same as one that is broken once."""
    for at in range(0, changes(stop=True), 7):
        lives(Disk(), [(Faults(at, fault, errors=5), True)])


@pytest.mark.parametrize("fault", [Fault.FAILED, Fault.PERSISTED, Fault.TORN])
def test_killed_soon_after_a_failure(fault: Fault) -> None:
    """What a failed write may have left on disk, and what was then written again, is read once."""
    for at in range(0, changes(stop=True), 3):
        for later in (2, 5):
            lives(Disk(), [(Faults(at, fault, then=at + later), True)])


@pytest.mark.parametrize("seed", range(4))
def test_real_files(tmp_path: Path, seed: int) -> None:
    """The same holds on a real disk with a real store: a seeded sample."""
    chance = random.Random(seed)  # noqa: S311 - a sample that is the same tomorrow
    faults = [Faults(chance.randrange(60), chance.choice(list(Fault))) for _ in range(2)]
    lives(Disk(tmp_path), [(each, chance.random() < 0.5) for each in faults])


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(300))
def test_many_lives(tmp_path: Path, seed: int) -> None:
    """Any sequence of lives and faults."""
    chance = random.Random(seed)  # noqa: S311 - a sample that is the same tomorrow
    disk = Disk(tmp_path) if seed % 10 == 0 else Disk()
    plans = [
        (
            Faults(
                chance.randrange(90), chance.choice(list(Fault)), errors=chance.choice((1, 1, 3)),
                then=chance.choice((-1, chance.randrange(120))),
            ),
            chance.random() < 0.5,
        )
        for _ in range(chance.randrange(1, 6))
    ]
    lives(disk, plans)
