"""The same ways out for every kind of identity, and for what ran only once somebody had approved it."""

from __future__ import annotations

import os
import random

import pytest

from doorward.protocols.postgres import wire
from tests.bypass.masking.arena import CANARIES, FORMS, WHO, Arena, Told
from tests.bypass.masking.cases import CASES, Case
from tests.rig.approvers import vote
from tests.rig.canaries import leaks
from tests.rig.rawclient import RawClient

_CAMPAIGN = os.environ.get("DOORWARD_PROFILE") == "campaign"
KINDS = [who for who in WHO if who not in ("anyone", "guarded", "agents")]
# What takes more than a look, and is answered: writes, functions.
ASKED = [
    case for case in CASES
    if case.outcome == "masked" and len(case.steps) == 1
    and (case.family == "changes" or any(word in case.steps[-1] for word in ("get_", "say(", "for update")))
]  # fmt: skip


def chosen(cases: list[Case], seed: object, count: int, most: int) -> list[Case]:
    """Some of the cases, the same each time: more of them in a campaign."""
    return random.Random(str(seed)).sample(cases, min(most if _CAMPAIGN else count, len(cases)))  # noqa: S311


@pytest.mark.parametrize("version", [15, 18])
@pytest.mark.parametrize("who", KINDS)
def test_no_kind_of_identity_sees_more(arenas: dict[int, Arena], who: str, version: int) -> None:
    """MK-24: agents, agents that act for people who may see more or less than they, and services are told what is told to a
    person without the right: the same in both worlds."""
    arena = arenas[version]
    outcomes = set()
    fitting = [case for case in CASES if version in case.versions and case.family != "inference"]
    for case in chosen(fitting, (who, version), 6, 100):
        form = random.Random(case.id).choice(FORMS)  # noqa: S311
        both = arena.both(case.steps, form, who) or arena.both(case.steps, "simple", who)
        assert both is not None
        assert both[0].messages == both[1].messages, (case.steps, form)
        assert both[0].leaks + both[1].leaks == [], (case.steps, form)
        outcomes.add(both[0].outcome)
    assert "masked" in outcomes


def approved(arena: Arena, world: str, steps: tuple[str, ...]) -> Told:
    """What an agent is told of statements that somebody approves, one by one, as they ask for it."""
    told = Told("approved")
    with RawClient.to(arena.door, arena.targets[world], sub="corpus-held", groups=["agents"], kind="agent") as client:
        client.query("select from what_is_not_there")  # the catalogue is read anew: approvals are bound to definitions
        client.received.clear()
        for step in steps:
            client.send(wire.query(step.encode()))
            reply = client.held()
            if reply.held:
                assert vote(arena.door, reply.held)[0] == 200
                reply += client.ready()
            told.replies.append(reply)
        told.received = bytes(client.received)
    arena.restore(steps, (world,))
    return told


@pytest.mark.parametrize("version", [15, 18])
def test_what_was_approved_is_masked_all_the_same(arenas: dict[int, Arena], version: int) -> None:
    """MK-24: somebody's yes lets a statement run; it lets nobody see what it shows."""
    arena = arenas[version]
    ran = 0
    said: list[object] = []
    for case in chosen([case for case in ASKED if version in case.versions], version, 5, 60):
        steps = ("begin", *case.steps, "rollback")
        one, other = approved(arena, "a", steps), approved(arena, "b", steps)
        assert one.messages == other.messages, case.steps
        assert leaks(one.received + other.received, CANARIES) == [], case.steps
        ran += any(reply.held for reply in one.replies) and not any(reply.errors for reply in one.replies)
        said += [(step, bool(reply.held), reply.errors) for step, reply in zip(steps, one.replies, strict=True)]
    assert ran, said
