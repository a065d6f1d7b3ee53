"""Races for one approval: yes, no, withdrawal, expiry, clients that go and come back, at two gateways over one store of
approvals, with a store that fails (or a process that dies) at any change. Nothing runs twice, nor after a no, nor unapproved.

What the two share is here: the store of approvals, on disk, through two engines; and the keys, so that both derive the same
terms. Two real processes race in tests/e2e/test_two_processes_races.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from doorward.adapters.store.sql import SqlStore
from doorward.errors import UpstreamError
from doorward.guard.approvals import OPEN, VoteRefusedError
from doorward.guard.approver_keys import ApproverKeys
from doorward.model import Approval, ApprovalState, Effect, Permit, Refusal
from tests.rig.signers import register, sign_and_vote
from tests.suites.lives import CLOCK
from tests.unit.guard.test_guard import ADA, DEAN, DORA, SHOP, World, hold, turn

CHANGES = ("create", "vote", "set_state", "spend")


class Mortal:
    """A store of approvals of which one change fails, before or after it is made: as when the process dies there."""

    def __init__(self, store: Any) -> None:
        self._store, self.left, self.after = store, -1, False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in CHANGES:
            return method

        async def changed(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise UpstreamError("died before it")
            done = await method(*args)
            if self.left == 0:
                raise UpstreamError("died after it")
            return done

        return changed


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """Two gateways over one store of approvals."""
    one, two = World(), World()
    stores = [SqlStore(tmp_path / "store.sqlite") for _ in range(2)]
    two.disk.keys = two.recorder._keys = one.disk.keys
    registry = ApproverKeys(one.recorder, CLOCK, "doorward")
    for world, store in zip((one, two), stores, strict=True):
        await store.open()
        world.approvals.store = Mortal(store.approvals)
        world.approvals.keys = world.approvals.ballots.keys = registry
        await world.recorder.start()
    for voter in (DORA, DEAN):
        await register(registry, voter)
    yield one, two
    for world, store in zip((one, two), stores, strict=True):
        await world.recorder.stop()
        await store.close()


class Race:
    """One request and everything that happens to it, in an order that follows from a number."""

    def __init__(self, pair: tuple[World, World], seed: int) -> None:
        self.pair, self.dice = pair, random.Random(seed)  # noqa: S311 - so that it can be run again
        self.who = dataclasses.replace(ADA, subject=f"ada{seed}")
        self.permits = 0
        self.asked = asyncio.Event()
        self.id = ""

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.choice((0, 0, 0.001, 0.003, 0.01)))

    def told(self, approval: Approval) -> None:
        self.id = self.id or approval.id
        self.asked.set()

    async def submit(self, world: World, patience: float) -> None:
        """The statement, by a client that goes away after some time."""
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(patience, gone.set)
        session = await world.session(identity=self.who)
        try:
            outcome = await hold(session, turn(Effect.WRITE, params=(b"1",)), gone, self.told)
        except UpstreamError:
            return
        finally:
            await session.close("done")
        assert isinstance(outcome, Permit | Refusal)
        self.permits += isinstance(outcome, Permit)

    async def decide(self, world: World, voter: Any, approve: bool) -> None:
        await self.pause()
        try:
            await sign_and_vote(world.approvals, voter, SHOP, self.id, approve=approve)
        except (VoteRefusedError, UpstreamError):
            pass

    async def end(self, world: World, state: ApprovalState) -> None:
        await self.pause()
        try:
            await world.approvals.end(self.id, state, reason="race")
        except UpstreamError:
            pass

    async def run(self) -> None:
        """All of it, and then a last look."""
        dice = self.dice
        for world in self.pair:
            store: Any = world.approvals.store
            store.left, store.after = dice.choice((-1, -1, 1, 2, 3, 4)), dice.random() < 0.5

        def some() -> World:
            return dice.choice(self.pair)

        async with asyncio.TaskGroup() as group:
            group.create_task(self.submit(some(), dice.uniform(0.01, 0.08)))
            try:
                await asyncio.wait_for(self.asked.wait(), 0.2)
            except TimeoutError:  # its first change failed
                self.heal()
                return
            for voter in (DORA, DEAN):
                if dice.random() < 0.8:
                    group.create_task(self.decide(some(), voter, dice.random() < 0.85))
            if dice.random() < 0.5:
                group.create_task(self.submit(some(), dice.uniform(0.005, 0.06)))
            if dice.random() < 0.2:
                group.create_task(self.end(some(), dice.choice((ApprovalState.WITHDRAWN, ApprovalState.EXPIRED))))
        self.heal()
        before = self.permits
        found = await self.pair[0].approvals.get(self.id)
        # It comes back, once the processes live again: a yes that is left is used now, a spent one is not.
        if found is not None and found.state is ApprovalState.APPROVED:
            await self.submit(dice.choice(self.pair), 10.0)
            await self.submit(dice.choice(self.pair), 0.02)
            assert (before, self.permits) == (0, 1)
            found = await self.pair[1].approvals.get(self.id)
        assert found is None or self.permits <= 1
        if found is not None and self.permits:
            assert found.state is ApprovalState.SPENT
            assert found.uses == 1
            assert all(vote.approve for vote in found.votes)
            assert found.votes
        if found is not None and any(not vote.approve for vote in found.votes):
            assert found.state not in (ApprovalState.SPENT, ApprovalState.APPROVED)
        if found is not None and found.state in OPEN:
            await self.pair[0].approvals.end(self.id, ApprovalState.WITHDRAWN, reason="over")

    def heal(self) -> None:
        for world in self.pair:
            store: Any = world.approvals.store
            store.left = -1


async def races(pair: tuple[World, World], seeds: range) -> Counter[str]:
    """Run them, and compare with what both have on record."""
    permits: Counter[str] = Counter()
    for seed in seeds:
        race = Race(pair, seed)
        await asyncio.wait_for(race.run(), 30)
        permits[race.id] += race.permits
    recorded: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for world in pair:
        for event in await world.events():
            if event.type == "operation.permitted":
                recorded[event.body["approval"]] += 1
            elif event.type == "approval.spent":
                spent[event.body["approval"]] += 1
    assert set(spent.values()) <= {1}
    # What was permitted is on record; what is on record as permitted may have lost its client while it was written.
    assert all(recorded[id_] >= count for id_, count in permits.items())
    assert set(recorded.values()) <= {1}
    assert all(spent[id_] >= count for id_, count in recorded.items())
    return permits


async def test_some_races(pair: tuple[World, World]) -> None:
    """A handful of them, some of which end in a run: nothing runs twice, nor after a no."""
    permits = await races(pair, range(12))
    assert 0 < sum(permits.values()) < 12


@pytest.mark.campaign
async def test_a_thousand_races(pair: tuple[World, World]) -> None:
    """The same, a thousand times."""
    assert sum((await races(pair, range(1000, 2000))).values()) > 50
