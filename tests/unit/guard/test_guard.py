"""The guard: what is denied stays denied, what is permitted is on record first, an approval is used once for what it was."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from doorward.errors import UpstreamError
from doorward.guard.approvals import Approvals, VoteRefusedError
from doorward.guard.approver_keys import ApproverKeys
from doorward.guard.guard import Guard, GuardedSession
from doorward.guard.keyring import Keyring
from doorward.guard.policies import PolicyInForce
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.template import Template
from doorward.guard.turn import Result, Turn
from doorward.model import (
    Approval,
    ApprovalState,
    Effect,
    Identity,
    Kind,
    Mode,
    Permit,
    Phase,
    Refusal,
    Resource,
    Target,
    Vote,
)
from doorward.policy.policies import PolicySet, load
from tests.rig.signers import register, sign_and_vote, ssh
from tests.suites.lives import CLOCK, Disk

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("two") @quorum("2") @approvers("dba") @expires("30s")
permit (principal, action == Action::"define", resource) when { context.approved };
@id("one") @quorum("1") @approvers("dba") @expires("30s")
permit (principal, action == Action::"write", resource) when { context.approved };
@id("dba") permit (principal in Group::"dba", action == Action::"approve", resource);
"""
BLIND = POLICY + '@id("blind") forbid (principal, action == Action::"read", resource);'
SHUT = POLICY + '@id("shut") forbid (principal, action == Action::"connect", resource);'

ADA = Identity("ada", Kind.AGENT, "https://idp.test")
DORA, DEAN, EVE = (Identity(n, Kind.HUMAN, "https://idp.test", groups=frozenset({"dba"})) for n in ("dora", "dean", "eve"))
SHOP = Target("shop", "postgres", "127.0.0.1", 5432)


def policies(text: str = POLICY) -> PolicySet:
    return load({"policy.cedar": text})


def template(effect: Effect = Effect.READ, exact: bytes = b"", **changes: Any) -> Template:
    return Template(
        action=effect.value.upper(), effect=effect, shown="shown", exact=exact or effect.value.encode(),
        resources=(Resource("Table", "public.t", effect),), **changes,
    )  # fmt: skip


def turn(effect: Effect = Effect.READ, phase: Phase = Phase.EXECUTE, **changes: Any) -> Turn:
    return Turn(changes.pop("template", None) or template(effect), phase, **changes)


class World:
    """A guard on a memory disk."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.recorder: Recorder = self.disk.recorder()
        self.policies = PolicyInForce(policies())
        self.approvals = Approvals(
            self.disk.store.approvals, self.recorder, CLOCK, self.policies, ApproverKeys(self.recorder, CLOCK, "doorward"),
            most_open=3,
        )  # fmt: skip
        self.guard = Guard(self.policies, self.recorder, self.approvals, CLOCK)

    async def session(self, target: Target = SHOP, identity: Identity = ADA) -> GuardedSession:
        opened = await self.guard.open(identity, target, client="127.0.0.1:1")
        assert isinstance(opened, GuardedSession)
        return opened

    async def events(self) -> list[Any]:
        await self.recorder.wal.flush()
        await self.recorder.fold()
        reader = RecordReader(self.disk.store, self.disk.recordings, Keyring(self.disk.keys))
        return [opened.event async for opened in reader.events()]

    async def types(self) -> list[str]:
        return [event.type for event in await self.events()]

    async def waiting(self) -> Approval:
        for _ in range(500):
            found = await self.approvals.list(ApprovalState.WAITING)
            if found:
                return found[0]
            await asyncio.sleep(0.002)
        raise AssertionError("nothing was asked")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.recorder.start()
    yield world
    await world.recorder.stop()


async def hold(
    session: GuardedSession, asked: Turn, gone: asyncio.Event | None = None, told: Callable[[Approval], None] = lambda _: None,
    preview: Mapping[str, Any] | None = None,
) -> Permit | Refusal:  # fmt: skip
    assert session.admit_now(asked) is None

    async def estimate() -> Mapping[str, Any]:
        return preview or {}

    async def definitions() -> str:
        return asked.template.definitions

    return await session.hold(
        asked, gone=gone or asyncio.Event(), notify=told, preview=estimate, definitions=definitions
    )


async def test_an_allowed_read_is_on_record_and_permitted_at_its_position(world: World) -> None:
    """The permit says how far the log must be before bytes may go."""
    session = await world.session()
    permit = session.admit_now(turn())
    assert isinstance(permit, Permit)
    assert permit.position > 0
    assert world.recorder.wait(permit.position) is not None


@pytest.mark.parametrize("effect", [Effect.EXECUTE, Effect.CONTROL, Effect.UNKNOWN])
async def test_what_no_policy_allows_is_refused_and_on_record(world: World, effect: Effect) -> None:
    """Default deny; the refusal has a reason and an event."""
    session = await world.session()
    refusal = session.admit_now(turn(effect))
    assert isinstance(refusal, Refusal)
    assert refusal.reason
    assert (await world.types()).count("operation.refused") == 1


@pytest.mark.parametrize("phase", list(Phase))
async def test_law_is_refused_whatever_policy_says(world: World, phase: Phase) -> None:
    """A turn that comes with its refusal is refused with it, before and without a decision's help."""
    session = await world.session()
    asked = turn(Effect.READ, phase, refusal=Refusal(None, None, "setting", "not that one"))
    refusal = session.admit_now(asked)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.reason) == ("setting", "not that one")


async def test_what_people_say_is_on_record_masked(world: World) -> None:
    """The purpose of a session, in its own event and in its statements' requests; the words of a vote. Policy reads the
    purpose as it is."""
    said = "refund to 4111 1111 1111 1111"
    opened = await world.guard.open(ADA, SHOP, client="127.0.0.1:1", purpose=said)
    assert isinstance(opened, GuardedSession)
    assert opened.session.purpose == said
    async with asyncio.TaskGroup() as group:
        holding = group.create_task(hold(opened, turn(Effect.WRITE, params=(b"1",))))
        asked = await world.waiting()
        await sign_and_vote(world.approvals, DORA, SHOP, asked.id, approve=True, comment=f"seen: {said}")
    assert isinstance(holding.result(), Permit)
    events = {event.type: event.body for event in await world.events()}
    assert events["session.opened"]["purpose"] == events["approval.requested"]["purpose"] == "refund to [card]"
    assert events["approval.voted"]["comment"] == "seen: refund to [card]"
    assert "4111" not in str(await world.events())
    assert b"4111" not in await world.approvals.body(asked.id)
    await opened.close("done")


async def test_a_parse_that_would_be_held_is_not_held(world: World) -> None:
    """Preparing is refused or permitted; execution is what waits for people."""
    session = await world.session()
    assert isinstance(session.admit_now(turn(Effect.WRITE, Phase.PREPARE)), Permit)
    assert isinstance(session.admit_now(turn(Effect.EXECUTE, Phase.PREPARE)), Refusal)


async def test_observe_mode_refuses_and_holds_nothing_and_says_what_it_would_have(world: World) -> None:
    """What would have been held or refused is an event of its own."""
    session = await world.session(dataclasses.replace(SHOP, mode=Mode.OBSERVE))
    for effect in (Effect.WRITE, Effect.EXECUTE):
        assert isinstance(session.admit_now(turn(effect)), Permit)
    observed = [e for e in await world.events() if e.type == "operation.observed"]
    assert [e.body["decision"]["outcome"] for e in observed] == ["hold", "deny"]


async def test_nothing_is_permitted_while_the_record_fails() -> None:
    """UpstreamError instead of a permit, for reads too."""
    world = World()
    await world.recorder.start()
    session = await world.session()
    world.recorder.wal.failed = "disk full"
    for effect in (Effect.READ,):
        with pytest.raises(UpstreamError):
            session.admit_now(turn(effect))
    assert isinstance(session.admit_now(turn(Effect.EXECUTE)), Refusal)  # a no needs no record
    with pytest.raises(UpstreamError):
        await world.guard.open(ADA, SHOP, client="")
    world.recorder.wal.failed = ""
    await world.recorder.stop()


async def test_a_batched_read_waits_once_the_log_is_behind(world: World) -> None:
    """Only as far as the bound may a read go ahead of its record."""
    session = await world.session(dataclasses.replace(SHOP, durability="batched"))
    permit = session.admit_now(turn())
    assert isinstance(permit, Permit)
    assert permit.position == -1
    await asyncio.sleep(0)
    world.recorder.wal.durable -= 1 << 20
    permit = session.admit_now(turn())
    assert isinstance(permit, Permit)
    assert permit.position > 0
    world.recorder.wal.durable += 1 << 20


async def test_a_suspended_portal_is_refused_once_its_right_is_gone(world: World) -> None:
    """More rows need no second approval, but they need the right to read."""
    session = await world.session()
    asked = turn()
    assert isinstance(session.admit_now(asked), Permit)
    asked.continues = True
    assert isinstance(session.admit_now(asked), Permit)
    await world.guard.replace_policies(policies(BLIND))
    assert isinstance(session.admit_now(asked), Refusal)


async def test_a_policy_is_in_force_once_it_is_on_record_and_ends_who_may_not_connect(world: World) -> None:
    """Old and new hash are in the event; sessions without the right end; if it cannot be recorded, the old one stays."""
    session = await world.session()
    ended: list[str] = []
    session.on_end = ended.append
    before = world.policies.current.hash
    world.recorder.wal.failed = "disk full"
    with pytest.raises(UpstreamError):
        await world.guard.replace_policies(policies(SHUT))
    assert world.policies.current.hash == before
    assert not ended
    world.recorder.wal.failed = ""
    await world.guard.replace_policies(policies(SHUT))
    assert world.policies.current.hash != before
    assert len(ended) == 1
    changed = [e for e in await world.events() if e.type == "policy.changed"]
    assert [(e.body["old"], e.body["new"]) for e in changed] == [(before, world.policies.current.hash)]
    assert isinstance(await world.guard.open(ADA, SHOP, client=""), Refusal)


# -- holding --------------------------------------------------------------------------------------------------------


async def test_an_approved_statement_runs_once(world: World) -> None:
    """Requested, voted, spent and permitted, in this order; the same statement again needs another approval."""
    session = await world.session()
    told: list[Approval] = []
    async with asyncio.TaskGroup() as group:
        held = group.create_task(hold(session, turn(Effect.WRITE), told=told.append))
        approval = await world.waiting()
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    permit = held.result()
    assert isinstance(permit, Permit)
    assert permit.approval is not None
    assert permit.approval.state is ApprovalState.SPENT
    assert world.recorder.wait(permit.position) is None  # durable before anybody may forward
    assert [t for t in await world.types() if t.startswith(("approval.", "operation."))] == [
        "approval.requested", "operation.held", "approval.voted", "approval.spent", "operation.permitted",
    ]  # fmt: skip
    assert told[0].id == approval.id
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        again = group.create_task(hold(session, turn(Effect.WRITE), gone))
        assert (await world.waiting()).id != approval.id
        gone.set()
    assert isinstance(again.result(), Refusal)


async def test_without_witnesses_nothing_that_needs_a_yes_runs(world: World) -> None:
    """While the log has been without its witnesses for too long nobody is asked, and an approval is not spent; reads go on, and
    the approval is good once they are back."""
    session = await world.session()
    late = "the log has been without its witnesses for 121 s"
    async with asyncio.TaskGroup() as group:
        held = group.create_task(hold(session, turn(Effect.WRITE)))
        approval = await world.waiting()
        world.guard.overdue = lambda: late
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    refusal = held.result()
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.reason) == ("unrecorded", late)
    again = await hold(session, turn(Effect.WRITE))
    assert isinstance(again, Refusal)
    assert len(await world.approvals.list(ApprovalState.WAITING)) == 0
    assert isinstance(session.admit_now(turn()), Permit)
    world.guard.overdue = str
    permit = await hold(session, turn(Effect.WRITE))
    assert isinstance(permit, Permit)
    assert permit.approval is not None
    assert permit.approval.id == approval.id


async def test_a_vote_says_how_its_voter_had_signed_in(world: World) -> None:
    """What the issuer said of it is in the vote's record, and in that of the key's registration."""
    dora = dataclasses.replace(DORA, claims={"amr": "hwk pwd", "acr": "2", "email": "d@x"})
    session = await world.session()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(session, turn(Effect.WRITE)))
        await sign_and_vote(world.approvals, dora, SHOP, (await world.waiting()).id, approve=True)
    said = {e.type: e.body["session"] for e in await world.events() if e.type in ("approval.voted", "approver_key.registered")}
    assert len(said) == 2
    assert all((each["amr"], each["acr"], "email" in each) == ("hwk pwd", "2", False) for each in said.values())


async def test_approvers_see_what_became_of_requests_of_the_same_form(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often it was asked, allowed and denied, and by whom last; no value, and nothing of another form."""
    monkeypatch.setattr(Template, "likeness", lambda self: "form" if self.effect is Effect.WRITE else "other")
    session = await world.session()
    shown = []
    for number, yes in enumerate((True, False, None)):
        gone = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(hold(session, turn(Effect.WRITE, params=(b"%d" % number,)), gone))
            approval = await world.waiting()
            shown.append(json.loads(await world.approvals.body(approval.id))["similar"])
            if yes is None:
                gone.set()
            else:
                await sign_and_vote(world.approvals, DORA if yes else DEAN, SHOP, approval.id, approve=yes)
    assert shown[0] == {"asked": 0, "allowed": 0, "denied": 0}
    assert (shown[1]["asked"], shown[1]["allowed"], shown[1]["last"]["by"]) == (1, 1, DORA.id)
    assert (shown[2]["asked"], shown[2]["denied"]) == (2, 1)
    assert (shown[2]["last"]["by"], shown[2]["last"]["allowed"]) == (DEAN.id, False)


async def test_a_denied_statement_does_not_run(world: World) -> None:
    """One no is final."""
    session = await world.session()
    async with asyncio.TaskGroup() as group:
        held = group.create_task(hold(session, turn(Effect.DEFINE)))
        approval = await world.waiting()
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=False)
    refusal = held.result()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "denied"
    with pytest.raises(VoteRefusedError):
        await sign_and_vote(world.approvals, DEAN, SHOP, approval.id, approve=True)


async def test_a_quorum_is_of_different_people_and_never_of_the_requester(world: World) -> None:
    """One vote each; neither the requester nor whoever the request is made for."""
    agent = dataclasses.replace(ADA, on_behalf_of=EVE)
    session = await world.session(identity=agent)
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        held = group.create_task(hold(session, turn(Effect.DEFINE), gone))
        approval = await world.waiting()
        for voter in (dataclasses.replace(ADA, groups=frozenset({"dba"})), EVE):
            with pytest.raises(VoteRefusedError):
                await sign_and_vote(world.approvals, voter, SHOP, approval.id, approve=True)
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
        with pytest.raises(VoteRefusedError):
            await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
        fresh = await world.approvals.get(approval.id)
        assert fresh is not None
        assert fresh.state is ApprovalState.WAITING
        await sign_and_vote(world.approvals, DEAN, SHOP, approval.id, approve=True)
    assert isinstance(held.result(), Permit)


async def test_a_client_that_goes_parks_its_request_and_may_come_back(world: World) -> None:
    """Nothing runs; approved meanwhile, the same statement of the same identity runs in a new session, once."""
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        held = group.create_task(hold(await world.session(), turn(Effect.WRITE), gone))
        approval = await world.waiting()
        gone.set()
    assert isinstance(held.result(), Refusal)
    parked = await world.approvals.get(approval.id)
    assert parked is not None
    assert parked.state is ApprovalState.PARKED
    await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    other = await world.session(identity=dataclasses.replace(ADA, subject="mallory"))
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        foreign = group.create_task(hold(other, turn(Effect.WRITE), gone))
        await world.waiting()
        gone.set()
    assert isinstance(foreign.result(), Refusal)
    back = await hold(await world.session(), turn(Effect.WRITE))
    assert isinstance(back, Permit)


@pytest.mark.parametrize(
    "change",
    [{"params": (b"2",)}, {"params": (None,)}, {"oids": (23,)}, {"template": template(Effect.WRITE, b"WRITE")},
     {"template": template(Effect.WRITE, search_path="evil,public")}, {"template": template(Effect.WRITE, role="root")}],
    ids=["another parameter", "NULL", "another type", "other bytes", "another search_path", "another role"],
)  # fmt: skip
async def test_an_approval_fits_exactly_what_was_asked(world: World, change: dict[str, Any]) -> None:
    """Whatever the verdict was bound to: changed, it takes another request."""
    session = await world.session()
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(session, turn(Effect.WRITE, params=(b"1",)), gone))
        first = await world.waiting()
        gone.set()
    await sign_and_vote(world.approvals, DORA, SHOP, first.id, approve=True)
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        other = group.create_task(hold(session, turn(Effect.WRITE, **{"params": (b"1",), **change}), gone))
        assert (await world.waiting()).id != first.id
        gone.set()
    assert isinstance(other.result(), Refusal)


async def test_a_policy_that_changes_under_a_hold_voids_the_approval(world: World) -> None:
    """What people said yes to was judged by another policy."""
    session = await world.session()
    async with asyncio.TaskGroup() as group:
        held = group.create_task(hold(session, turn(Effect.WRITE)))
        approval = await world.waiting()
        await world.guard.replace_policies(policies(BLIND))
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    refusal = held.result()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "voided"
    assert "approval.spent" not in await world.types()


async def test_two_sessions_that_wait_for_one_approval_run_it_once(world: World) -> None:
    """The spend is a compare-and-swap."""
    one, two = await world.session(), await world.session()
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(hold(each, turn(Effect.WRITE))) for each in (one, two)]
        approval = await world.waiting()
        while (await world.types()).count("operation.held") < 2:
            await asyncio.sleep(0.005)
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    assert sorted(type(each.result()).__name__ for each in both) == ["Permit", "Refusal"]


async def test_too_many_open_requests_of_one_identity_are_refused(world: World) -> None:
    """`most_open` of them wait, the next is refused at once, and is on record."""
    session = await world.session()
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(hold(session, turn(Effect.WRITE, params=(b"%d" % n,)), gone))
        while len(await world.approvals.list(ApprovalState.WAITING)) < 3:
            await asyncio.sleep(0.002)
        refusal = await hold(session, turn(Effect.WRITE, params=(b"x",)))
        gone.set()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "limit"


async def test_a_request_expires_by_itself(world: World) -> None:
    """Nobody answers: refused as expired or parked, and no later vote brings it back."""
    session = await world.session()
    world.guard.longest_hold = 0
    refusal = await hold(session, turn(Effect.WRITE))
    assert isinstance(refusal, Refusal)
    found = (await world.approvals.list())[0]
    with pytest.raises(VoteRefusedError):
        await sign_and_vote(world.approvals, DORA, SHOP, found.id, approve=True)


async def test_votes_of_before_a_crash_are_counted_after_it(world: World) -> None:
    """The vote is in the store, the state is not: whoever looks next counts."""
    session = await world.session()
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(session, turn(Effect.WRITE), gone))
        approval = await world.waiting()
        gone.set()
    await register(world.approvals.keys, DORA)
    request = world.approvals.ballots.request(approval, DORA.id, approve=True)
    vote, _ = world.approvals.ballots.cast(
        approval, DORA, approve=True, request=request.decode(), signature=ssh(DORA.id).vote(request), comment=""
    )
    await world.disk.store.approvals.vote(approval.id, Vote(DEAN.id, True, CLOCK.now()))
    unsigned = await world.approvals.get(approval.id)
    assert unsigned is not None
    assert unsigned.state is ApprovalState.PARKED, "a vote in the store that nobody signed"
    await world.disk.store.approvals.vote(approval.id, vote)
    fresh = await world.approvals.get(approval.id)
    assert fresh is not None
    assert fresh.state is ApprovalState.APPROVED


async def test_a_store_that_fails_under_a_hold_is_an_error_and_not_a_group_of_them() -> None:
    """UpstreamError, which the relay knows how to end a session with."""
    world = World()
    await world.recorder.start()
    session = await world.session()

    async def broken(*_: Any) -> Approval:
        raise UpstreamError("the store fails")

    world.approvals.wait = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(UpstreamError):
        await asyncio.wait_for(hold(session, turn(Effect.WRITE)), 5)
    await world.recorder.stop()


class FailingOnce:
    """An approval store whose change number `at` fails, before or after it is made."""

    def __init__(self, store: Any, at: int, *, after: bool) -> None:
        self._store, self._at, self._after, self._changes = store, at, after, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in ("create", "vote", "set_state", "spend"):
            return method

        async def changed(*args: Any) -> Any:
            number, self._changes = self._changes, self._changes + 1
            if number == self._at and not self._after:
                raise UpstreamError("the store fails")
            done = await method(*args)
            if number == self._at:
                raise UpstreamError("the store fails after all")
            return done

        return changed


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(4))
async def test_a_failing_store_never_makes_a_permit_of_nothing(number: int, *, after: bool) -> None:
    """Each change of the approvals' store fails once: the statement is refused or an error, or it runs with its approval
    spent; and one that was spent without running stays spent."""
    world = World()
    await world.recorder.start()
    world.approvals.store = FailingOnce(world.disk.store.approvals, number, after=after)
    session = await world.session()
    outcome: Any = None

    gone = asyncio.Event()

    async def ask() -> None:
        nonlocal outcome
        try:
            outcome = await hold(session, turn(Effect.WRITE), gone)
        except UpstreamError as error:
            outcome = error

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        try:
            while not asking.done() and not (await world.approvals.list(ApprovalState.WAITING)):
                await asyncio.sleep(0.002)
            for approval in await world.approvals.list(ApprovalState.WAITING):
                await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
        except UpstreamError:
            pass
        await asyncio.wait({asking}, timeout=0.1)
        gone.set()
    assert outcome is not None
    permitted = (await world.types()).count("operation.permitted")
    assert permitted == isinstance(outcome, Permit)
    if isinstance(outcome, Permit):
        assert [row.state for row in world.disk.store.approvals.rows.values()] == [ApprovalState.SPENT]
    await world.recorder.stop()


# -- settling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["completed", "failed", "rolled_back", "unknown", "not_run"])
async def test_what_became_of_a_write_is_an_event(world: World, outcome: str) -> None:
    """With rows, tags, SQLSTATE and masked cells."""
    session = await world.session(dataclasses.replace(SHOP, mode=Mode.OBSERVE))
    asked = turn(Effect.WRITE)
    permit = session.admit_now(asked)
    assert isinstance(permit, Permit)
    session.settle(Result(asked.template, permit, outcome, rows=3, tags=("INSERT 0 3",), sqlstate="23505", masked={"ssn": 2}))
    settled = [e for e in await world.events() if e.type == "operation.settled"]
    assert len(settled) == 1
    assert settled[0].body["outcome"] == outcome
    assert settled[0].body["masked"] == {"ssn": 2}
    assert settled[0].body["operation"] == permit.operation.id


async def test_closing_twice_seals_once(world: World) -> None:
    """One session.closed."""
    session = await world.session()
    await session.close("the client left")
    await session.close("again")
    assert (await world.types()).count("session.closed") == 1
