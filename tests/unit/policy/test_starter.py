"""The first policy does what its comments say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from doorward.errors import ConfigError
from doorward.model import Approval, ApprovalState, Assurance, Effect, Identity, Kind, Operation, Outcome, Target
from doorward.policy.decide import decide, may, may_vote
from doorward.policy.policies import load
from doorward.policy.starter import starter

SHOP = Target("shop", "postgres", "db", 5432, database="shop")
POLICIES = load({"starter.cedar": starter(agents="bots", people="staff", approvers="dba", admins="ops")})


def someone(subject: str, kind: Kind, *groups: str, acting_for: Identity | None = None) -> Identity:
    return Identity(subject, kind, "https://id", frozenset(groups), on_behalf_of=acting_for, assurance=Assurance.V2)


BOT = someone("bot", Kind.AGENT, "bots")
STAFF = someone("sue", Kind.HUMAN, "staff")
FOR_STAFF = someone("bot", Kind.AGENT, "bots", acting_for=STAFF)
STRANGER = someone("eve", Kind.HUMAN)
A, H, D = Outcome.ALLOW, Outcome.HOLD, Outcome.DENY


@pytest.mark.parametrize(
    ("who", "outcomes"),
    [
        (BOT, (A, H, H, D, D, D)),
        (STAFF, (A, A, H, D, D, D)),
        (FOR_STAFF, (A, H, H, D, D, D)),
        (someone("bot", Kind.AGENT, "bots", acting_for=STRANGER), (D, D, D, D, D, D)),
        (someone("x", Kind.AGENT, "staff"), (D, D, D, D, D, D)),
        (STRANGER, (D, D, D, D, D, D)),
    ],
)
def test_who_may_read_write_define_execute_control_and_the_unknown(
    who: Identity, outcomes: tuple[Outcome, ...]
) -> None:
    """Agents read, their changes are held; people write; the rest is nobody's."""
    found = tuple(decide(POLICIES, who, SHOP, Operation("o", "s", "X", effect, "x")).outcome for effect in Effect)
    assert found == outcomes


@pytest.mark.parametrize(
    ("assurance", "development", "bot", "staff"),
    [
        (Assurance.V0, False, (D, D, D, D, D, D), (D, D, D, D, D, D)),
        (Assurance.V0, True, (D, D, D, D, D, D), (D, D, D, D, D, D)),
        (Assurance.V1, False, (A, D, D, D, D, D), (A, D, D, D, D, D)),
        (Assurance.V1, True, (A, H, H, D, D, D), (A, H, H, D, D, D)),
        (Assurance.V3, False, (A, H, H, D, D, D), (A, A, H, D, D, D)),
        (Assurance.V3, True, (A, H, H, D, D, D), (A, A, H, D, D, D)),
    ],
)
def test_what_a_bearer_token_may_do(
    assurance: Assurance, development: bool, bot: tuple[Outcome, ...], staff: tuple[Outcome, ...]
) -> None:
    """It reads. Before a development issuer what it changes waits for an approver, also a person's. One that lasts longer
    than an hour does nothing."""
    text = starter(agents="bots", people="staff", approvers="dba", admins="ops", development=development)
    policies = load({"starter.cedar": text})
    for who, outcomes in ((BOT, bot), (STAFF, staff), (FOR_STAFF, bot)):
        link: Identity | None = who.on_behalf_of and replace(who.on_behalf_of, assurance=assurance)
        asking = replace(who, assurance=assurance, on_behalf_of=link)
        found = [decide(policies, asking, SHOP, Operation("o", "s", "X", effect, "x")) for effect in Effect]
        assert tuple(decision.outcome for decision in found) == outcomes
        assert all(decision.approvers == ("dba",) for decision in found if decision.outcome is H)


def test_a_held_write_is_for_the_approvers_alone() -> None:
    """One of dba, within 15 minutes; not the person that the agent acts for, though they be of dba."""
    decision = decide(POLICIES, FOR_STAFF, SHOP, Operation("o", "s", "DELETE", Effect.WRITE, "x"))
    assert (decision.approvers, decision.quorum, decision.expires) == (("dba",), 1, 900)
    asked = Approval(
        "a", b"", FOR_STAFF.id, (STAFF.id,), "shop", decision.approvers, 1, ApprovalState.WAITING, 0, 900_000
    )
    assert may_vote(POLICIES, someone("dan", Kind.HUMAN, "dba"), asked, SHOP).outcome is A
    assert may_vote(POLICIES, someone("sue", Kind.HUMAN, "staff", "dba"), asked, SHOP).outcome is D
    assert may_vote(POLICIES, someone("ann", Kind.HUMAN, "ops"), asked, SHOP).outcome is D


def test_administrators_administer_and_replay() -> None:
    """And others only replay what is their own; nobody sees labelled data in the clear."""
    ops = someone("ann", Kind.HUMAN, "ops")
    assert may(POLICIES, ops, "administer", None).outcome is A
    assert may(POLICIES, ops, "replay", SHOP).outcome is A
    assert may(POLICIES, STAFF, "administer", None).outcome is D
    assert may(POLICIES, STAFF, "replay", SHOP, owners=(BOT.id,)).outcome is D
    assert may(POLICIES, STAFF, "replay", SHOP, owners=(FOR_STAFF.id, STAFF.id)).outcome is A
    assert may(POLICIES, someone("b", Kind.AGENT, "ops"), "administer", None).outcome is D
    read = Operation("o", "s", "SELECT", Effect.READ, "x", labels=frozenset({"ssn"}))
    assert decide(POLICIES, someone("x", Kind.HUMAN, "staff", "ops", "dba"), SHOP, read).unmask == frozenset()


@pytest.mark.parametrize(
    ("who", "outcome", "rule", "budget"),
    [
        (BOT, D, "agents-do-not-infer", []), (FOR_STAFF, D, "agents-do-not-infer", []),
        (STAFF, A, "people-infer-within-budget", [1000]), (STRANGER, D, "", []),
    ],
)  # fmt: skip
def test_agents_do_not_infer_and_people_do_within_a_budget(
    who: Identity, outcome: Outcome, rule: str, budget: list[int]
) -> None:
    """It is written out, so that the deciding policy is on record and can be edited."""
    read = Operation("o", "s", "SELECT", Effect.READ, "x", labels=frozenset({"ssn"}), inferred=frozenset({"ssn"}))
    decision = decide(POLICIES, who, SHOP, read)
    assert decision.outcome is outcome
    assert rule in decision.rules or not rule
    assert [b.answers for b in decision.budgets] == budget


@pytest.mark.parametrize("group", ['a"b', "a\\b", "", "a\nb", "é" * 200, "%people%"])
def test_a_group_that_would_need_escaping_is_refused(group: str) -> None:
    """A first policy says what it shows."""
    with pytest.raises(ConfigError, match="cannot be the group of agents"):
        starter(agents=group)
