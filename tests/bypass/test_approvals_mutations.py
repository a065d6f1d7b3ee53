"""One thing is changed between what was asked, signed and run; nothing runs. SA-nn in docs/bypasses.md.

The first part has no sockets: a real guard, recorder and store of approvals on a memory disk, where also the store itself can
be tampered with. The second is over the wire, with PostgreSQL behind it.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest

from doorward.guard.approvals import VoteRefusedError
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger import request as requests
from doorward.ledger import votes
from doorward.ledger.encoding import canonical
from doorward.ledger.votes import VoteTrail
from doorward.model import Approval, ApprovalState, Effect, Kind, Permit, Refusal
from doorward.protocols.postgres import wire
from tests.bypass.tampering import knows, other_terms, revoked, row
from tests.rig.approvers import ballot, call, register, show, vote
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient
from tests.rig.signers import Authenticator, sign_and_vote, ssh
from tests.rig.signers import register as register_key
from tests.suites.lives import CLOCK
from tests.unit.guard.test_guard import ADA, BLIND, DEAN, DORA, EVE, SHOP, World, hold, policies, template, turn
from tests.unit.ledger.test_request import changed

GATEWAY = "doorward"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.recorder.start()
    yield world
    await world.recorder.stop()


ASKED: dict[str, Any] = {"params": (b"1",), "formats": (0,), "oids": (23,)}


async def parked(world: World, effect: Effect = Effect.WRITE, identity: Any = ADA) -> Approval:
    """A request whose client has gone."""
    gone = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(await world.session(identity=identity), turn(effect, **ASKED), gone))
        approval = await world.waiting()
        gone.set()
    return approval


async def again(world: World, effect: Effect = Effect.WRITE, identity: Any = ADA, **changes: Any) -> Permit | Refusal:
    """The same once more, or with something else; whoever has to wait for people gives up."""
    gone = asyncio.Event()
    outcome: Permit | Refusal
    async with asyncio.TaskGroup() as group:
        task = group.create_task(hold(await world.session(identity=identity), turn(effect, **{**ASKED, **changes}), gone))
        for _ in range(200):
            if task.done() or await world.approvals.list(ApprovalState.WAITING):
                break
            await asyncio.sleep(0.002)
        gone.set()
        outcome = await task
    return outcome


async def nothing_ran(world: World) -> None:
    assert "operation.permitted" not in await world.types()


# -- what is signed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("approve", [True, False])
@pytest.mark.parametrize("name", sorted(requests._MEMBERS))
async def test_sa_01_every_member_of_what_is_signed_counts(world: World, name: str, *, approve: bool) -> None:
    """SA-01: a request with one member changed, rightly signed by the approver, is no vote; the member is named. The same for a
    no: what somebody refused must be what was asked."""
    approval = await parked(world)
    await register_key(world.approvals.keys, DORA)
    ours = world.approvals.ballots.request(approval, DORA.id, approve=approve)
    found = requests.parse(ours)
    value = {"approve": "deny", "deny": "approve"}[found[name]] if name == "decision" else changed(found[name])
    theirs = canonical({**found, name: value})
    with pytest.raises(VoteRefusedError, match=f"`{name}` differs"):
        await world.approvals.vote(
            DORA, SHOP, approval.id, approve=approve, request=theirs.decode(), signature=ssh(DORA.id).vote(theirs)
        )
    with pytest.raises(VoteRefusedError):  # the signature of the other text under ours
        await world.approvals.vote(
            DORA, SHOP, approval.id, approve=approve, request=ours.decode(), signature=ssh(DORA.id).vote(theirs)
        )
    assert isinstance(await again(world), Refusal)
    await nothing_ran(world)


PASSKEY = Authenticator("dora")
Sign = Callable[[bytes], dict[str, Any]]


def flipped(signature: dict[str, Any], bit: int) -> dict[str, Any]:
    lines = signature["signature"].splitlines()
    octets = bytearray(base64.b64decode("".join(lines[1:-1])))
    octets[bit // 8] ^= 1 << bit % 8
    return {**signature, "signature": "\n".join((lines[0], base64.b64encode(octets).decode(), lines[-1]))}


def broken(credential: dict[str, Any]) -> dict[str, Any]:
    text = credential["response"]["signature"]
    octets = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    octets[-1] ^= 1
    credential["response"]["signature"] = base64.urlsafe_b64encode(octets).decode().rstrip("=")
    return credential


SIGNATURES: dict[str, Sign] = {
    "a bit at the end": lambda r: flipped(ssh(DORA.id).vote(r), -1),
    "a bit of the key": lambda r: flipped(ssh(DORA.id).vote(r), 8 * 40),
    "the namespace of another gateway": lambda r: ssh(DORA.id).vote(r, "other"),
    "the namespace of files": lambda r: {"method": "sshsig", "signature": ssh(DORA.id).sign(r, "file")},
    "the namespace of registering": lambda r: {
        "method": "sshsig", "signature": ssh(DORA.id).sign(r, votes.key_namespace(GATEWAY)),
    },
    "the challenge instead of the request": lambda r: ssh(DORA.id).vote(requests.challenge(r)),
    "another approver's key": lambda r: ssh(DEAN.id).vote(r),
    "a key that nobody registered": lambda r: ssh("nobody").vote(r),
    "nothing": lambda r: {"method": "sshsig", "signature": ""},
    "no text": lambda r: {"method": "sshsig", "signature": None},
    "an ssh signature called a passkey's": lambda r: {**ssh(DORA.id).vote(r), "method": "webauthn"},
    "without verification": lambda r: PASSKEY.vote(r, flags=0x01),
    "without touch": lambda r: PASSKEY.vote(r, flags=0x04),
    "another site": lambda r: PASSKEY.vote(r, rp_id="evil.test"),
    "another origin": lambda r: PASSKEY.vote(r, origin="https://evil.test"),
    "in a frame": lambda r: PASSKEY.vote(r, crossOrigin=True),
    "below another page": lambda r: PASSKEY.vote(r, topOrigin="https://evil.test"),
    "a registration": lambda r: PASSKEY.vote(r, kind="webauthn.create"),
    "another challenge": lambda r: {"method": "webauthn", "credential": PASSKEY.assertion(bytes(32))},
    "another passkey": lambda r: Authenticator("eve").vote(r),
    "a bit of the assertion": lambda r: {
        "method": "webauthn", "credential": broken(PASSKEY.assertion(requests.challenge(r))),
    },
}  # fmt: skip


@pytest.mark.parametrize("how", SIGNATURES)
async def test_sa_02_a_signature_is_the_approvers_own_over_this_here(world: World, how: str) -> None:
    """SA-02: of another text, purpose, place, key or ceremony: refused, on record, and nothing runs."""
    approval = await parked(world)
    for each in (DORA, DEAN):
        await register_key(world.approvals.keys, each)
    await world.approvals.keys.register(DORA, PASSKEY.key(DORA.id, CLOCK.now()), {})
    request = world.approvals.ballots.request(approval, DORA.id, approve=True)
    with pytest.raises(VoteRefusedError):
        await world.approvals.vote(
            DORA, SHOP, approval.id, approve=True, request=request.decode(), signature=SIGNATURES[how](request)
        )
    assert "approval.vote_refused" in await world.types()
    assert isinstance(await again(world), Refusal)
    await nothing_ran(world)


async def test_sa_02_and_the_right_ones_are_votes(world: World) -> None:
    """The test above can fail: unchanged, both kinds of signature count."""
    for signer in (ssh(DORA.id).vote, PASSKEY.vote):
        approval = await parked(world)
        if not world.approvals.keys.of(DORA.id):
            await register_key(world.approvals.keys, DORA)
            await world.approvals.keys.register(DORA, PASSKEY.key(DORA.id, CLOCK.now()), {})
        request = world.approvals.ballots.request(approval, DORA.id, approve=True)
        await world.approvals.vote(DORA, SHOP, approval.id, approve=True, request=request.decode(), signature=signer(request))
        assert isinstance(await again(world), Permit)


# -- who signs -------------------------------------------------------------------------------------------------------

BOSS = dataclasses.replace(DEAN, subject="boss")


@pytest.mark.parametrize(
    "voter",
    [
        dataclasses.replace(ADA, groups=frozenset({"dba"})),
        dataclasses.replace(ADA, kind=Kind.HUMAN, groups=frozenset({"dba"})), EVE, BOSS,
        dataclasses.replace(DORA, kind=Kind.AGENT), dataclasses.replace(DORA, kind=Kind.SERVICE),
        dataclasses.replace(DORA, on_behalf_of=DEAN), dataclasses.replace(DORA, groups=frozenset()), DEAN,
    ],
    ids=["the agent", "the agent as a person", "whom it acts for", "its owner", "an agent", "a service", "somebody for another",
         "nobody's group", "who edited the policy"],
)  # fmt: skip
async def test_sa_03_four_eyes(world: World, voter: Any) -> None:
    """SA-03: not who asked, nor whom they asked for, nor the agent's owner, nor who edited the policy today; agents never."""
    world.approvals.ballots.owner_of = lambda who: BOSS.id if who == ADA.id else ""
    world.policies.edited(["one"], DEAN.id, CLOCK.now())
    approval = await parked(world, identity=dataclasses.replace(ADA, on_behalf_of=EVE))
    with pytest.raises(VoteRefusedError):
        await sign_and_vote(world.approvals, voter, SHOP, approval.id, approve=True)
    assert (await world.approvals.get(approval.id)).votes == ()  # type: ignore[union-attr]


async def test_sa_03_an_editor_of_yesterday_decides(world: World) -> None:
    """A day is enough, and another policy than the deciding one does not matter."""
    world.policies.edited(["one"], DEAN.id, CLOCK.now() - 24 * 3600 * 1000)
    world.policies.edited(["dba"], DEAN.id, CLOCK.now())
    approval = await parked(world)
    await sign_and_vote(world.approvals, DEAN, SHOP, approval.id, approve=True)
    assert isinstance(await again(world), Permit)


# -- between the yes and the run -------------------------------------------------------------------------------------

Change = Callable[[World, Approval], Awaitable[None] | None]


def cast(world: World, approval: Approval, **changes: Any) -> None:
    [only] = world.disk.store.approvals.rows[approval.id].votes
    row(world, approval, votes=(dataclasses.replace(only, **changes),))


def evidence(world: World, approval: Approval, **changes: Any) -> None:
    [only] = world.disk.store.approvals.rows[approval.id].votes
    cast(world, approval, evidence=canonical({**json.loads(only.evidence), **changes}))


def term(name: str) -> Change:
    return lambda world, approval: other_terms(world, approval, name)


def left(world: World, _: Approval) -> None:
    knows(world, dataclasses.replace(DORA, groups=frozenset({"people"})))


def demoted(world: World, _: Approval) -> None:
    knows(world, dataclasses.replace(DORA, kind=Kind.SERVICE))


async def other_policy(world: World, _: Approval) -> None:
    await world.guard.replace_policies(policies(BLIND.replace('"read", resource);"', '"read", resource);') + "// other\n"))


TAMPERED: dict[str, Change] = {
    "the key is revoked": revoked,
    "the approver left the group": left,
    "the approver is no person any more": demoted,
    "the policy changed": other_policy,
    "the approver owns the agent": lambda w, _: setattr(w.approvals.ballots, "owner_of", lambda who: DORA.id),
    "the approver is revoked": lambda w, _: setattr(w.approvals.ballots, "revoked", lambda who: "they are revoked"),
    "the time is over": lambda w, a: row(w, a, expires_at=CLOCK.now()),
    "the store has no vote": lambda w, a: row(w, a, votes=()),
    "the store says another voted": lambda w, a: cast(w, a, voter=DEAN.id),
    "the store says no": lambda w, a: cast(w, a, approve=False),
    "the store has no signature": lambda w, a: cast(w, a, evidence=b""),
    "the store names another key": lambda w, a: cast(w, a, key="0" * 32),
    "the signature is of another text": lambda w, a: evidence(w, a, signature=ssh(DORA.id).vote(b"{}")),
    "the signature is another's": lambda w, a: evidence(w, a, signature=ssh(DEAN.id).vote(b"{}")),
    "the request is another text": lambda w, a: evidence(w, a, request="{}"),
    "the store has no terms": lambda w, a: row(w, a, terms=b""),
    "the rendering is another": lambda w, a: w.disk.store.approvals.bodies.__setitem__(a.id, b'{"text":"select 1"}'),
    "the digest is another": lambda w, a: row(w, a, digest=b"other"),
    "the requester is another": lambda w, a: row(w, a, requested_by=EVE.id),
    "withdrawn": lambda w, a: row(w, a, state=ApprovalState.WITHDRAWN),
    "spent": lambda w, a: row(w, a, state=ApprovalState.SPENT, uses=1),
    **{f"the terms' {name}": term(name) for name in sorted(requests._MEMBERS - {"approver", "decision"})},
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
async def test_sa_04_what_changes_after_the_yes_takes_it_away(world: World, what: str) -> None:
    """SA-04: keys, groups, policies, time; and whatever who can write to the store may change in it."""
    approval = await parked(world)
    await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    done = TAMPERED[what](world, approval)
    if done is not None:
        await done
    assert isinstance(await again(world), Refusal)
    await nothing_ran(world)
    assert "approval.spent" not in await world.types()


@pytest.mark.parametrize("people", [0, 1])
async def test_sa_05_the_store_alone_approves_nothing(world: World, people: int) -> None:
    """SA-05: `approved` in the store, a lowered quorum or made-up votes are not enough: signatures are counted, by what was
    signed."""
    approval = await parked(world, Effect.DEFINE)  # which takes two
    if people:
        await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    mine = world.disk.store.approvals.rows[approval.id].votes
    double = [dataclasses.replace(each, voter=DEAN.id) for each in mine]
    row(world, approval, state=ApprovalState.APPROVED, quorum=1, votes=(*mine, *double))
    assert isinstance(await again(world, Effect.DEFINE), Refusal)
    await nothing_ran(world)


@pytest.mark.parametrize(
    "changes",
    [
        {"params": (b"2",)}, {"params": (None,)}, {"params": (b"1", b"1")}, {"params": ()}, {"formats": (1,)}, {"oids": (20,)},
        {"template": template(Effect.WRITE, b"write ")}, {"template": template(Effect.WRITE, role="root")},
        {"template": template(Effect.WRITE, search_path="evil")}, {"template": template(Effect.WRITE, definitions="f2")},
        {"identity": dataclasses.replace(ADA, subject="bob")}, {"identity": dataclasses.replace(ADA, issuer="https://evil")},
        {"identity": dataclasses.replace(ADA, on_behalf_of=DORA)}, {"identity": dataclasses.replace(ADA, kind=Kind.SERVICE)},
        {"effect": Effect.DEFINE},
    ],
    ids=["parameter", "NULL", "one more", "none", "format", "type", "text", "role", "search_path", "definitions", "subject",
         "issuer", "on behalf of another", "kind", "effect"],
)  # fmt: skip
async def test_sa_06_a_yes_fits_exactly_one_thing(world: World, changes: dict[str, Any]) -> None:
    """SA-06: anything else asks anew. And of a store that says otherwise the terms, which are signed, are believed."""
    approval = await parked(world)
    await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    assert isinstance(await again(world, **changes), Refusal)
    newest = max(world.disk.store.approvals.rows)
    assert newest != approval.id
    other = world.disk.store.approvals.rows[newest]
    # The store's administrator gives the yes the digest and the requester of the other thing.
    row(world, approval, digest=other.digest, requested_by=other.requested_by)
    row(world, other, state=ApprovalState.WITHDRAWN)
    assert isinstance(await again(world, **changes), Refusal)
    await nothing_ran(world)


async def test_sa_07_a_yes_is_used_once_and_is_still_there_after_all_that(world: World) -> None:
    """SA-07: unchanged it runs, once; the second time asks anew. (So the tests above can fail.)"""
    approval = await parked(world)
    await sign_and_vote(world.approvals, DORA, SHOP, approval.id, approve=True)
    assert isinstance(await again(world), Permit)
    assert isinstance(await again(world), Refusal)
    assert (await world.types()).count("operation.permitted") == 1


# -- years later -----------------------------------------------------------------------------------------------------


async def story(world: World) -> list[tuple[str, str, int, dict[str, Any]]]:
    """The events of a request that two people approved, and that ran."""
    approval = await parked(world, Effect.DEFINE)
    for voter in (DORA, DEAN):
        await sign_and_vote(world.approvals, voter, SHOP, approval.id, approve=True)
    assert isinstance(await again(world, Effect.DEFINE), Permit)
    await world.events()
    reader = RecordReader(world.disk.store, world.disk.recordings, Keyring(world.disk.keys))
    return [
        (opened.event.type, opened.event.actor, opened.event.at, json.loads(opened.record)["body"])
        async for opened in reader.events(types=VoteTrail.TYPES)
    ]


def follow(told: list[tuple[str, str, int, dict[str, Any]]]) -> VoteTrail:
    trail = VoteTrail(GATEWAY)
    for each in told:
        trail.add(*each)
    return trail


async def test_sa_08_the_record_alone_proves_the_votes(world: World) -> None:
    """SA-08: of the events alone; with any of them gone, doubled, another's, or changed in what is signed, it does not hold."""
    told = await story(world)
    trail = follow(told)
    assert (trail.votes, len(trail.keys), trail.spent, trail.unsigned) == (2, 2, 1, 0)
    kinds = [kind for kind, *_ in told]
    assert kinds.count("approval.voted") == 2
    for number, (kind, actor, at, body) in enumerate(told):
        if kind != "operation.permitted":
            with pytest.raises(Exception, match=r"\w") as without:
                follow(told[:number] + told[number + 1 :])
            assert type(without.value).__name__ == "IntegrityError", kind
        if kind != "approval.requested" and kind != "approval.voted":
            with pytest.raises(Exception, match=r"\w"):
                follow([*told, told[number]])
        if kind in ("approval.voted", "approver_key.registered"):
            with pytest.raises(Exception, match=r"\w"):
                follow([*told[:number], (kind, EVE.id, at, body), *told[number + 1 :]])
        if kind == "approval.voted":
            signed: list[dict[str, Any]] = [
                {"approve": False}, {"request": body["request"][:-1]}, {"key": "0" * 32}, {"groups": 5},
                {"signature": ssh(actor).vote(b"{}")}, {"signature": {}}, {"signature": None},
            ]  # fmt: skip
            for change in signed:
                with pytest.raises(Exception, match=r"\w"):
                    follow([*told[:number], (kind, actor, at, {**body, **change}), *told[number + 1 :]])
        if kind == "approval.requested":
            for name in body["terms"]:
                terms = {**body["terms"], name: changed(body["terms"][name])}
                with pytest.raises(Exception, match=r"\w"):
                    follow([*told[:number], (kind, actor, at, {**body, "terms": terms}), *told[number + 1 :]])
        if kind == "approval.spent":
            with pytest.raises(Exception, match=r"\w"):
                follow([*told[:number], (kind, actor, at + 10**9, body), *told[number + 1 :]])
            gone = next(b["key"] for k, _, _, b in told if k == "approval.voted")
            with pytest.raises(Exception, match=r"\w"):
                follow([*told[:number], ("approver_key.revoked", actor, at, {"key": gone}), *told[number:]])


# -- over the wire ---------------------------------------------------------------------------------------------------


def asked(door: Gateway, text: str, *, sub: str, target: str = "shop", **claims: Any) -> str:
    """Have a statement held, and leave; the request's id."""
    with RawClient.to(door, target, sub=sub, **{"groups": ["agents"], **claims}) as client:
        client.send(wire.query(text.encode()))
        request = client.held().held
        assert request
        client.vanish()
    limit = time.monotonic() + 10
    while show(door, request)["state"] == "waiting":
        assert time.monotonic() < limit
        time.sleep(0.02)
    return request


TEXT = "delete from {} where id = 1"
WIRE: dict[str, dict[str, Any]] = {
    "text": {"text": "delete from {} where id = 2"}, "white space": {"text": "delete from {} where  id = 1"},
    "a comment": {"text": "delete from {} where id = 1 -- x"}, "no condition": {"text": "delete from {}"},
    "identity": {"sub": "other"},
    "target": {"target": "timed"}, "a person behind it": {"act": {"sub": "x"}},
}  # fmt: skip


@pytest.mark.parametrize("what", WIRE)
def test_sa_10_another_statement_asks_anew(door: Gateway, direct: psycopg.Connection, table: str, what: str) -> None:
    """SA-10: with a signed yes at hand, whatever differs in one thing is another request, and nothing runs."""
    given = asked(door, TEXT.format(table), sub="sa10")
    assert vote(door, given)[0] == 200
    changes = {"text": TEXT, "sub": "sa10", **WIRE[what]}
    other = asked(door, changes.pop("text").format(table), **changes)
    assert other != given
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)
    assert show(door, given)["state"] == "approved"
    with RawClient.to(door, sub="sa10", groups=["agents"]) as client:
        client.send(wire.query(TEXT.format(table).encode()))
        assert client.ready().tags == ["DELETE 1"]
    assert show(door, given)["state"] == "spent"
    with RawClient.to(door, sub="sa10", groups=["agents"]) as client:
        client.send(wire.query(TEXT.format(table).encode()))
        assert client.held().held != given


@pytest.mark.parametrize("what", ["revoked", "left"])
def test_sa_11_a_yes_ends_with_its_key_and_its_owners_group(
    door: Gateway, direct: psycopg.Connection, table: str, what: str
) -> None:
    """SA-11: the approver revokes the key, or comes back without the group, before the statement runs: it does not."""
    approver: dict[str, Any] = {"sub": f"sa11{what}", "groups": ["dba"]}
    given = asked(door, TEXT.format(table), sub="sa11")
    assert vote(door, given, **approver)[0] == 200
    if what == "revoked":
        [key] = call(door, "/api/keys", **approver)[1]
        assert call(door, f"/api/keys/{key['id']}", method="DELETE", **approver)[0] == 200
    else:
        assert call(door, "/api/whoami", sub=approver["sub"], groups=["people"])[0] == 200
    with RawClient.to(door, sub="sa11", groups=["agents"]) as client:
        client.send(wire.query(TEXT.format(table).encode()))
        reply = client.ready()
        assert reply.sqlstate == "57014"
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)
    assert show(door, given)["state"] == "withdrawn"


def test_sa_12_an_unsigned_vote_is_none(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """SA-12: as it was before votes were signed: refused, and so is one without its text or with another's."""
    given = asked(door, TEXT.format(table), sub="sa12")
    register(door, sub="dora", groups=["dba"])
    dora: dict[str, Any] = {"sub": "dora", "groups": ["dba"]}
    paper = ballot(door, given, **dora)[1]
    place = f"/api/approvals/{given}/votes"
    bare = {"approve": True}
    for body in (bare, {**bare, "request": paper["request"]}, {**bare, "signature": {"method": "sshsig", "signature": "x"}}):
        assert call(door, place, body, **dora)[0] == 403
    assert show(door, given)["state"] == "parked"
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)
