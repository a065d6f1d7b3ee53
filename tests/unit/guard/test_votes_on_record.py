"""Votes that are on record and were not stored, because their process died: one of a person counts, the first in the log, and
store and record say the same one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from doorward.errors import UpstreamError
from doorward.guard.approvals import VoteRefusedError
from doorward.guard.approver_keys import ApproverKeys
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger.votes import VoteTrail
from doorward.model import Approval, ApprovalState, Effect
from tests.rig.signers import register, sign_and_vote
from tests.suites.lives import CLOCK, Disk
from tests.unit.guard.test_guard import DEAN, DORA, SHOP, World, hold, turn


class Pair:
    """Two processes on one disk, and a request that both know. `one` dies in the middle of a vote."""

    def __init__(self) -> None:
        self.disk = Disk(lanes=2)
        self.one, self.two = World(self.disk), World(self.disk)
        registry = ApproverKeys(self.two.recorder, CLOCK, "gw-1")
        for world in (self.one, self.two):
            world.approvals.keys = world.approvals.ballots.keys = registry
        self.asked = ""

    async def begin(self) -> None:
        for world in (self.one, self.two):
            await world.recorder.start()
        for voter in (DORA, DEAN):
            await register(self.two.approvals.keys, voter)
        session, gone = await self.two.session(), asyncio.Event()

        def told(approval: Approval) -> None:
            self.asked = approval.id
            gone.set()

        await hold(session, turn(Effect.WRITE, params=(b"1",)), gone, told)  # parked
        await self.two.recorder.publish()

    async def die(self, *, approve: bool) -> None:
        """A vote at `one`, which is on record there when it dies."""

        async def dying() -> None:
            raise UpstreamError("died here")

        self.one.recorder.publish = dying  # type: ignore[method-assign]
        with pytest.raises(UpstreamError):
            await sign_and_vote(self.one.approvals, DORA, SHOP, self.asked, approve=approve)
        await self.one.recorder.wal.flush()
        self.one.recorder.wal_files.unlock()

    async def record(self) -> list[tuple[str, bool]]:
        """Votes in the order of the log; what `verify` says of them, too, or IntegrityError."""
        await self.two.recorder.wal.flush()
        await self.two.recorder.fold()
        trail, found = VoteTrail("gw-1"), []
        reader = RecordReader(self.disk.store, self.disk.recordings, Keyring(self.disk.keys))
        async for opened in reader.events(types=VoteTrail.TYPES):
            event = opened.event
            trail.add(event.type, event.actor, event.at, event.body)
            if event.type == "approval.voted":
                found.append((event.actor, event.body["approve"]))
        return found

    async def stored(self) -> list[tuple[str, bool]]:
        approval = await self.two.approvals.get(self.asked)
        assert approval is not None
        return [(vote.voter, vote.approve) for vote in approval.votes]

    async def state(self) -> ApprovalState:
        approval = await self.two.approvals.get(self.asked)
        assert approval is not None
        return approval.state


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.begin()
    yield pair
    await pair.two.recorder.stop()
    await pair.one.recorder.wal.close()
    pair.one.recorder.sealing.shutdown()


@pytest.mark.parametrize("approve", [True, False])
async def test_a_vote_on_record_counts_when_its_process_is_found_dead(pair: Pair, approve: bool) -> None:
    """It is stored by who takes up the dead one's record, and is its voter's only one from then on."""
    await pair.die(approve=approve)
    assert await pair.stored() == []
    await pair.two.recorder.adopt()
    assert await pair.stored() == [(DORA.id, approve)]
    assert await pair.state() is (ApprovalState.APPROVED if approve else ApprovalState.DENIED)
    with pytest.raises(VoteRefusedError, match="already"):
        await sign_and_vote(pair.two.approvals, DORA, SHOP, pair.asked, approve=not approve)
    assert await pair.record() == [(DORA.id, approve)]


@pytest.mark.parametrize("approve", [True, False])
async def test_of_two_votes_on_record_the_first_in_the_log_counts_everywhere(pair: Pair, approve: bool) -> None:
    """Cast again, differently, at the one that lives, and in the log before the dead one's is found: store and verification
    both take that one, before and after."""
    await pair.die(approve=not approve)
    await sign_and_vote(pair.two.approvals, DORA, SHOP, pair.asked, approve=approve)
    before = (await pair.stored(), await pair.state())
    await pair.two.recorder.adopt()
    assert before == (await pair.stored(), await pair.state()) == (
        [(DORA.id, approve)], ApprovalState.APPROVED if approve else ApprovalState.DENIED
    )
    assert await pair.record() == [(DORA.id, approve), (DORA.id, not approve)]


async def test_a_vote_that_another_overtook_is_refused_and_does_not_count(pair: Pair) -> None:
    """The dead one's is found after the living one has looked, and before its own vote is in the log: its voter is told."""
    await pair.die(approve=False)
    event = pair.two.recorder.event

    async def late(*args: object, **more: object) -> int:
        if args[0] == "approval.voted":
            await pair.two.recorder.adopt()
        return await event(*args, **more)  # type: ignore[arg-type]

    pair.two.recorder.event = late  # type: ignore[method-assign]
    with pytest.raises(VoteRefusedError, match="already"):
        await sign_and_vote(pair.two.approvals, DORA, SHOP, pair.asked, approve=True)
    assert await pair.stored() == [(DORA.id, False)]
    assert await pair.state() is ApprovalState.DENIED
    assert await pair.record() == [(DORA.id, False), (DORA.id, True)]


async def test_a_vote_on_record_after_the_decision_changes_nothing(pair: Pair) -> None:
    """Somebody else said no meanwhile."""
    await pair.die(approve=True)
    await sign_and_vote(pair.two.approvals, DEAN, SHOP, pair.asked, approve=False)
    await pair.two.recorder.adopt()
    assert await pair.stored() == [(DEAN.id, False)]
    assert await pair.state() is ApprovalState.DENIED
