"""Which policies let people agree to more than one statement in advance, or somebody go on without them.

Contract: `asked` says what it takes to be let do some actions on a target, or on parts of it, for a time: a Decision that
holds, with the rules that hold and who may release them; or one that denies, and why. `covers` says whether what holds a
statement is among the rules that were agreed to: a rule that was not asked about holds as it did.

The default is that none does. A hold can be granted in advance only where *every* policy that makes it says `@grantable`, and
be broken only where every one says `@break_glass`: a class that must be looked at statement by statement needs one policy
that says neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from doorward.model import Decision, Effect, Identity, Kind, Operation, Outcome, Resource, Target
from doorward.policy.decide import decide
from doorward.policy.policies import PolicySet, Rule

# Those that can be counted by rows before they run. What a function does cannot, nor what nobody understood.
ACTIONS: Final = tuple(effect.value for effect in Effect if effect not in (Effect.EXECUTE, Effect.UNKNOWN))
_MORE: Final = "have each statement approved by itself, or ask whoever writes the policies for {}"


def asked(
    policies: PolicySet,
    identity: Identity,
    target: Target,
    actions: Sequence[str],
    on: Sequence[tuple[str, str]] = (),
    *,
    seconds: int,
    break_glass: bool = False,
    purpose: str = "",
    extra: Mapping[str, Any] = {},
) -> Decision:
    """`on` are resources (kind, name) of the target; none: all of it. `actions` are of `ACTIONS`."""
    if break_glass and (identity.kind is not Kind.HUMAN or identity.on_behalf_of is not None):
        return Decision(Outcome.DENY, reason="only people break glass, and only for themselves", policy_hash=policies.hash)
    resources = tuple(
        Resource(kind, name, Effect(action)) for action in actions for kind, name in on or (("Target", ""),)
    )
    operation = Operation("", "", "", Effect(actions[0]), "", resources=resources)
    decision = decide(policies, identity, target, operation, purpose=purpose, extra=extra)
    if decision.outcome is Outcome.ALLOW:
        return _denied(decision, "policy allows this without anybody's approval", "just do it")
    if decision.outcome is Outcome.DENY:
        return decision
    longest = _longest(policies, decision.rules, break_glass=break_glass)
    what = "@break_glass" if break_glass else "@grantable"
    if not longest:
        held = ", ".join(rule.id for rule in _holding(policies, decision.rules) if not _term(rule, break_glass))
        return _denied(decision, f"{held or 'what holds this'} does not say {what}", _MORE.format(what))
    if seconds > longest:
        return _denied(decision, f"policy lets this last {longest // 60} min at most", "ask for less")
    return decision


def covers(policies: PolicySet, decision: Decision, rules: Collection[str], *, break_glass: bool = False) -> bool:
    """Whether everything that holds a statement was agreed to."""
    return (
        decision.outcome is Outcome.HOLD
        and set(decision.rules) <= set(rules)
        and _longest(policies, decision.rules, break_glass=break_glass) > 0
    )


def _holding(policies: PolicySet, rules: Sequence[str]) -> list[Rule]:
    found = [policies.rules[rule] for rule in rules if rule in policies.rules]
    return [rule for rule in found if rule.reads & {"approved", "*"}]


def _longest(policies: PolicySet, rules: Sequence[str], *, break_glass: bool) -> int:
    return min((_term(rule, break_glass) or 0 for rule in _holding(policies, rules)), default=0)


def _term(rule: Rule, break_glass: bool) -> int | None:
    return rule.break_glass if break_glass else rule.grantable


def _denied(decision: Decision, reason: str, hint: str) -> Decision:
    return replace(decision, outcome=Outcome.DENY, reason=reason, hint=hint)
