"""Every way out that we know, tried: the files in cases/, in every form of the protocol. See docs/bypasses.md, MK."""

from __future__ import annotations

import os
import random

import pytest

from tests.bypass.masking.arena import FORMS, Arena
from tests.bypass.masking.cases import CASES, Case

SAMPLE = 60  # cases of each run of `make test`, each in the simple form and in two others
_CAMPAIGN = os.environ.get("DOORWARD_PROFILE") == "campaign"
CHOSEN = sorted(CASES if _CAMPAIGN else random.Random(3).sample(CASES, min(SAMPLE, len(CASES))), key=lambda case: case.id)  # noqa: S311


def attempt(arena: Arena, case: Case) -> list[str]:
    """What is wrong with how a case ends; nothing, if it holds."""
    forms = FORMS if _CAMPAIGN else ("simple", *random.Random(case.id).sample(FORMS[1:], 2))  # noqa: S311
    wrong = []
    if not case.quiet and arena.clear("a", case.steps) == arena.clear("b", case.steps):
        wrong.append("past the gateway this gives nothing away: it proves nothing")
    for form in forms:
        both = arena.both(case.steps, form, "guarded" if case.family == "inference" else "anyone")
        if both is None:
            continue
        one, other = both
        if one.messages != other.messages:  # what is the same in both worlds holds nothing of either
            pairs = zip(one.messages, other.messages, strict=False)
            first = next((pair for pair in pairs if pair[0] != pair[1]), "in length")
            wrong.append(f"{form}: LEAK {(one.leaks + other.leaks)[:3]} {first}"[:400])
        # A binary COPY of what has a label is refused: it cannot be masked (AT-22).
        expected = {case.outcome, "refused"} if form == "copy binary" else {case.outcome}
        if one.outcome not in expected:
            wrong.append(f"{form}: {one.outcome} rather than {case.outcome}: {one.said}")
    return wrong


def test_there_are_many_cases_and_no_two_are_the_same() -> None:
    """The corpus has at least 300 cases."""
    assert len({case.steps for case in CASES}) == len(CASES) >= 300


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.id)
def test_a_way_out_is_closed(arena: Arena, arena18: Arena, case: Case) -> None:
    """MK-01, MK-02, MK-04, MK-05, MK-06, MK-07, MK-09, MK-13, MK-14, MK-15, MK-17, MK-18, MK-19, MK-21, MK-22, MK-23, MK-25:
    past the gateway the statement gives a planted value away; through it, in every form, the answer is the same whatever the
    value is, and ends as the case says. What was kept of it is searched when the arena closes."""
    wrong = attempt(arena if 15 in case.versions else arena18, case)
    assert not wrong, "\n".join((*case.steps, *wrong))


@pytest.mark.campaign
@pytest.mark.parametrize("case", [case for case in CASES if 18 in case.versions], ids=lambda case: case.id)
def test_it_is_closed_before_postgresql_18_too(arena18: Arena, case: Case) -> None:
    """MK-14: the same before PostgreSQL 18."""
    wrong = attempt(arena18, case)
    assert not wrong, "\n".join((*case.steps, *wrong))
