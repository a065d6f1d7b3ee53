"""May they? Every permission question of Doorward, asked of Cedar.

`decide` answers for an Operation, `may` for everything else, `may_vote` for a vote on an Approval. All three are total:
they return a Decision for any input and never raise; what goes wrong denies. They are deterministic: the same arguments
give the same Decision. It can be cached for a statement of a session, unless `cacheable` is false.

*Hold* is not a word of the policy language. A question is asked with `context.approved` false; if that is denied it is
asked again with true; if that is allowed, people must agree first. What they must agree to is annotated on the policies
that decided: the largest `@quorum`, the shortest `@expires`, and the groups that every `@approvers` names.

Law, not policy, and therefore here:
- an operation is allowed only if each resource that it touches is, and its effect on the target where none carries it;
- one who acts for another may do what both may do: each link of the delegation chain is asked, the strictest wins;
- data of a label that is not unmasked decides what comes back only where `infer` is allowed for that label;
- `unknown` is allowed only by a permit whose scope names it; a permit for every action does not;
- a token that is narrowed to some targets is good for nothing else;
- only people vote, never on what they, or one who acts for them, asked for;
- an evaluation error denies. Cedar skips a policy that errs, also a forbid: that would allow.

Deliberately not here: what no policy may allow (the guard refuses it first), reading clocks (`extra["now"]`), caching.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import cedarpy

from doorward.model import TRANSFORMS, Approval, Budget, Decision, Effect, Identity, Kind, Operation, Outcome, Target
from doorward.policy import entities
from doorward.policy.policies import ACTIONS, SCHEMA, Compiled, PolicySet

MOST_RESOURCES = 4096
SUPPLIED = ("now", "client", "application")  # what a caller gives in `extra`; a policy that reads one needs it
FLEETING = ("now", "in_transaction")  # what may be another the next time, for the same statement of the same session

GUESSED = (
    "select such columns without conditions, joins, order, groups, CASE or casts on them: they come back masked; or ask for "
    "a policy that allows the action infer"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRICTNESS = {Outcome.ALLOW: 0, Outcome.HOLD: 1, Outcome.DENY: 2}


@dataclass(frozen=True, slots=True)
class Question:
    """One action on one resource. `resource` is named as in `model.Resource`."""

    action: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one Question for one link of the chain. `rules` decided it; `errors` says what could not be
    evaluated, and then the outcome is DENY."""

    who: Identity
    question: Question
    outcome: Outcome
    rules: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """A decision and everything that was asked for it. `decide` returns the former, `explain` shows both."""

    decision: Decision
    verdicts: tuple[Verdict, ...]
    unmask: tuple[Verdict, ...] = ()


def decide(
    policies: PolicySet,
    identity: Identity,
    target: Target,
    operation: Operation,
    *,
    purpose: str = "",
    extra: Mapping[str, Any] = {},
) -> Decision:
    """What policy says of an operation: allow, hold or deny, why, and which of `operation.labels` may be shown.

    `extra` may hold `now` (Unix ms), `client` (an IP address) and `application`. For a hold, `unmask` is what may be
    shown once it is approved.
    """
    return examine(policies, identity, target, operation, purpose=purpose, extra=extra).decision


def may(
    policies: PolicySet,
    identity: Identity,
    action: str,
    target: Target | None,
    *,
    resource: tuple[str, str] | None = None,
    approved: bool = False,
    purpose: str = "",
    owners: Collection[str] = (),
    extra: Mapping[str, Any] = {},
) -> Decision:
    """Whether an identity may do something that is no operation: connect, approve, replay, export, administer, unmask.

    Without `resource` (kind, name) it is the target itself, or for replay, export and approve any of the target's.
    Without a target it is the gateway. `owners` are the Identity.ids of whose session it was: of whoever ran it,
    and of those for whom that one acted.
    """
    return examine_action(
        policies, identity, action, target, resource=resource, approved=approved, purpose=purpose, owners=owners,
        extra=extra,
    ).decision  # fmt: skip


def examine_action(
    policies: PolicySet,
    identity: Identity,
    action: str,
    target: Target | None,
    *,
    resource: tuple[str, str] | None = None,
    approved: bool = False,
    purpose: str = "",
    owners: Collection[str] = (),
    extra: Mapping[str, Any] = {},
) -> Findings:
    """`may`, with everything that led to it."""
    kind, name = resource or (ACTIONS.get(action, ("Target",))[0 if target else -1], "")
    circumstances = {"own": any(link.id in owners for link in identity.chain())}
    questions = (Question(action, kind, name),)
    if action == "approve" and any(link.kind is not Kind.HUMAN for link in identity.chain()):
        said = "only people vote, and only for themselves"
        return Findings(
            Decision(Outcome.DENY, reason=said, policy_hash=policies.hash),
            (Verdict(identity, questions[0], Outcome.DENY, errors=(said,)),),
        )
    return _ask(policies, identity, target, questions, circumstances, purpose, extra, approved=approved)


def may_vote(
    policies: PolicySet, voter: Identity, approval: Approval, target: Target, *, purpose: str = ""
) -> Decision:
    """Whether an identity may vote on a request: policy, under the laws that no policy lifts."""
    links = voter.chain()
    asked = {approval.requested_by, *approval.on_behalf_of}
    if any(link.id in asked for link in links):
        return Decision(
            Outcome.DENY, reason="nobody decides on what they, or an agent acting for them, asked for",
            policy_hash=policies.hash,
        )  # fmt: skip
    if approval.target != target.name:
        return Decision(Outcome.DENY, reason="the request is about another target", policy_hash=policies.hash)
    if approval.approvers and not voter.groups & set(approval.approvers):
        return Decision(
            Outcome.DENY, reason=f"only {_either(approval.approvers)} may decide on this request",
            policy_hash=policies.hash,
        )  # fmt: skip
    decision = may(policies, voter, "approve", target, resource=("Approval", approval.id), purpose=purpose)
    if decision.outcome is Outcome.HOLD:  # a vote that itself waits for votes would never end
        return Decision(Outcome.DENY, decision.rules, "a vote cannot wait for another vote", policy_hash=policies.hash)
    return decision


def examine(
    policies: PolicySet,
    identity: Identity,
    target: Target,
    operation: Operation,
    *,
    purpose: str = "",
    extra: Mapping[str, Any] = {},
) -> Findings:
    """`decide`, with everything that led to it."""
    questions = dict.fromkeys(Question(r.access.value, r.kind, r.name) for r in operation.resources)
    if not any(q.action == operation.effect.value for q in questions):
        questions[Question(operation.effect.value, "Target", "")] = None
    circumstances = {
        "statement": operation.action,
        "labels": sorted(operation.labels),
        "inferred": sorted(operation.inferred),
        "role": operation.role,
        "in_transaction": operation.in_transaction,
    }
    return _ask(
        policies, identity, target, tuple(questions), circumstances, purpose, extra,
        labels=operation.labels | operation.inferred, inferred=operation.inferred,
    )  # fmt: skip


def _ask(
    policies: PolicySet,
    identity: Identity,
    target: Target | None,
    questions: Sequence[Question],
    circumstances: Mapping[str, Any],
    purpose: str,
    extra: Mapping[str, Any],
    *,
    approved: bool = False,
    labels: frozenset[str] = frozenset(),
    inferred: frozenset[str] = frozenset(),
) -> Findings:
    links = identity.chain()
    neutral = {"own": False, "statement": "", "labels": [], "inferred": [], "role": "", "in_transaction": False}
    benches = [
        _Bench(
            policies, link, target,
            {**neutral, **circumstances, "purpose": purpose, "delegated": len(links) > 1, "assurance": identity.assurance.level,
             "on_behalf_of": [other.id for other in links[place + 1 :]]},
            extra,
        )
        for place, link in enumerate(links)
    ]  # fmt: skip
    verdicts: list[Verdict] = []
    if identity.audience and (target is None or target.name not in identity.audience):
        said = f"the token is good for {' and '.join(printable(name, 80) for name in identity.audience[:5])} only"
        verdicts.append(Verdict(identity, questions[0], Outcome.DENY, errors=(said,)))
    elif links[-1].on_behalf_of is not None:
        verdicts.append(Verdict(identity, questions[0], Outcome.DENY, errors=("the delegation chain is too long",)))
    elif len(questions) > MOST_RESOURCES:
        verdicts.append(Verdict(identity, questions[0], Outcome.DENY, errors=("it touches too many resources",)))
    else:
        for bench in benches:
            verdicts += bench.judge(questions, approved=approved)
    worst = max(verdicts, key=lambda v: _STRICTNESS[v.outcome]).outcome
    shown: list[Verdict] = []
    if worst is not Outcome.DENY:
        wanted = [Question("unmask", "Label", label) for label in sorted(labels)]
        for bench in benches if wanted else ():
            shown += bench.answer(wanted, approved=approved or worst is Outcome.HOLD)
        hidden = inferred - ({v.question.name for v in shown} - {v.question.name for v in shown if not _allows(v)})
        if hidden:  # whoever may see a label has nothing to infer from it
            for bench in benches:
                verdicts += bench.judge([Question("infer", "Label", label) for label in sorted(hidden)], approved=approved)
            worst = max(verdicts, key=lambda v: _STRICTNESS[v.outcome]).outcome
            if worst is Outcome.DENY:
                shown = []
    return Findings(_fold(policies, target, worst, verdicts, shown), tuple(verdicts), tuple(shown))


def _allows(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.ALLOW


class _Bench:
    """One link of a chain before Cedar, in fixed circumstances."""

    def __init__(
        self,
        policies: PolicySet,
        who: Identity,
        target: Target | None,
        context: Mapping[str, Any],
        extra: Mapping[str, Any],
    ) -> None:
        self._policies, self._who, self._target = policies, who, target
        self._context, self._extra = context, extra

    def judge(self, questions: Sequence[Question], *, approved: bool) -> list[Verdict]:
        """Allow, hold or deny for each question."""
        first = self.answer(questions, approved=approved)
        if approved:
            return first
        again = [
            n
            for n, verdict in enumerate(first)
            if verdict.outcome is Outcome.DENY
            and not verdict.errors
            and self._policies.reads("approved", verdict.question.action)
        ]
        second = self.answer([questions[n] for n in again], approved=True) if again else []
        for n, verdict in zip(again, second, strict=True):
            if verdict.errors:
                first[n] = verdict
            elif verdict.outcome is Outcome.ALLOW:  # the forbids that approval lifts, and the permits that it brings
                rules = tuple(sorted({*first[n].rules, *verdict.rules}))
                first[n] = Verdict(self._who, questions[n], Outcome.HOLD, rules)
        return first

    def answer(self, questions: Sequence[Question], *, approved: bool) -> list[Verdict]:
        """Allow or deny for each question, with `context.approved` as given."""
        try:
            return self._answer(questions, approved)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            said = (f"it could not be put to the policies: {error}",)
            return [Verdict(self._who, question, Outcome.DENY, errors=said) for question in questions]

    def _answer(self, questions: Sequence[Question], approved: bool) -> list[Verdict]:
        who, described = entities.principal(self._who)
        described += entities.target(self._target) if self._target else []
        requests: list[tuple[Compiled, dict[str, Any]]] = []
        contexts: dict[str, str] = {}
        for question in questions:
            if question.kind not in ACTIONS.get(question.action, ()):
                raise ValueError(f"there is no action {question.action[:80]!r} on a {question.kind[:80]!r}")
            if question.action not in contexts:
                contexts[question.action] = json.dumps(self._circumstances(question.action, approved))
            what, around = entities.resource(question.kind, question.name, self._target)
            described += around
            requests.append(
                (
                    self._policies.naming_unknown if question.action == Effect.UNKNOWN else self._policies.every,
                    {"principal": who, "action": entities.uid("Action", question.action), "resource": what,
                     "context": contexts[question.action]},
                )
            )  # fmt: skip
        known = _entities(json.dumps(list({(e["uid"]["type"], e["uid"]["id"]): e for e in described}.values())))
        verdicts: list[Verdict | None] = [None] * len(requests)
        for compiled in (self._policies.every, self._policies.naming_unknown):
            chosen = [n for n, (its, _) in enumerate(requests) if its is compiled]
            if not chosen:
                continue
            # Without the schema, against which the policies and the entities have been checked: it would ask for the
            # whole context.
            results = cedarpy.is_authorized_batch([requests[n][1] for n in chosen], compiled.handle, known)
            for n, result in zip(chosen, results, strict=True):
                verdicts[n] = self._verdict(questions[n], compiled, result)
        return [verdict for verdict in verdicts if verdict is not None]

    def _verdict(self, question: Question, compiled: Compiled, result: Any) -> Verdict:
        rules = tuple(sorted(compiled.ids[int(key.removeprefix("policy"))] for key in result.diagnostics.reasons))
        errors = list(result.diagnostics.errors)
        if result.decision is cedarpy.Decision.NoDecision:
            errors.append("Cedar gave no decision")
        if errors:
            return Verdict(self._who, question, Outcome.DENY, errors=tuple(_name(compiled, e) for e in errors))
        return Verdict(self._who, question, Outcome.ALLOW if result.allowed else Outcome.DENY, rules)

    def _circumstances(self, action: str, approved: bool) -> dict[str, Any]:
        """Only what some policy reads: each attribute costs more than the rest of a simple decision."""

        def reads(attribute: str) -> bool:
            return self._policies.reads(attribute, action)

        context: dict[str, Any] = {key: value for key, value in self._context.items() if reads(key)}
        if reads("approved"):
            context["approved"] = approved
        if reads("target"):
            context["target"] = {"__entity": entities.uid("Target", self._target.name if self._target else "")}
        for key in SUPPLIED:
            if not reads(key):
                continue
            if key not in self._extra:
                # `context has now` would be false, and a forbid behind it silent.
                raise ValueError(f"a policy reads context.{key}, and it is not known here")
            value = self._extra[key]
            if key == "now":
                at = (_EPOCH + timedelta(milliseconds=value)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                context[key] = {"__extn": {"fn": "datetime", "arg": at}}
            elif key == "client":
                context[key] = {"__extn": {"fn": "ip", "arg": value}}
            else:
                context[key] = value
        return context


@lru_cache(maxsize=512)
def _entities(text: str) -> Any:
    """Parsing is half of the price of a decision, and the same few are asked about again and again."""
    return cedarpy.Entities.from_json_str(text, SCHEMA)


def _name(compiled: Compiled, said: str) -> str:
    """Cedar's message with our name of the policy for its number; the highest first, since policy1 begins policy10."""
    for number in range(len(compiled.ids) - 1, -1, -1):
        if f"`policy{number}`" in said:
            return said.replace(f"`policy{number}`", compiled.ids[number])
    return said


def _fold(
    policies: PolicySet, target: Target | None, worst: Outcome, verdicts: Sequence[Verdict], shown: Sequence[Verdict]
) -> Decision:
    """The strictest outcome, and the obligations of all that led to it."""
    deciding = [v for v in verdicts if v.outcome is worst]
    rules = tuple(sorted({rule for v in deciding for rule in v.rules}))
    actions = {verdict.question.action for verdict in (*verdicts, *shown)}
    cacheable = not any(policies.reads(attribute, action) for attribute in FLEETING for action in actions)
    refused = {v.question.name for v in shown if v.outcome is not Outcome.ALLOW}
    unmask = frozenset(v.question.name for v in shown) - refused
    if worst is Outcome.DENY:
        guessed = all(v.question.action == "infer" for v in deciding)
        return Decision(
            worst, rules, _why(policies, target, verdicts), policy_hash=policies.hash, cacheable=cacheable,
            hint=GUESSED if guessed else "",
        )  # fmt: skip
    budgets = _budgets(policies, verdicts)
    if worst is Outcome.ALLOW:
        return Decision(
            worst, rules, unmask=unmask, policy_hash=policies.hash, cacheable=cacheable, budgets=budgets,
            transforms=_transforms(policies, verdicts),
        )  # fmt: skip
    notes = [policies.rules[rule] for rule in rules]
    named = [set(note.approvers) for note in notes if note.approvers]
    approvers: Iterable[str] = set.intersection(*named) if named else policies.approvers(target.name if target else "")
    if named and not approvers:
        return Decision(
            Outcome.DENY, rules, "no one group may approve all of this; ask for less at a time",
            policy_hash=policies.hash, cacheable=cacheable,
        )  # fmt: skip
    seats = {group: max(note.seats.get(group, 0) for note in notes) for note in notes for group in note.seats}
    if not set(seats) <= set(approvers):
        return Decision(
            Outcome.DENY, rules, "no one group may approve all of this; ask for less at a time",
            policy_hash=policies.hash, cacheable=cacheable,
        )  # fmt: skip
    # A person takes one seat, so those of several policies may need more people than each of them.
    quorum = max([sum(seats.values()), 1, *(note.quorum for note in notes if note.quorum is not None)])
    reasons = dict.fromkeys(note.reason for note in notes if note.reason)
    return Decision(
        Outcome.HOLD,
        rules,
        "; ".join(reasons) or f"{_they(deciding[0].who)} needs approval to {_what(deciding[0].question, target)}",
        unmask=unmask,
        approvers=tuple(sorted(approvers)),
        quorum=quorum,
        seats=tuple(sorted(seats.items())),
        transforms=_transforms(policies, verdicts),
        expires=min((note.expires for note in notes if note.expires is not None), default=policies.expiry),
        policy_hash=policies.hash,
        cacheable=cacheable,
        budgets=budgets,
    )


def _budgets(policies: PolicySet, verdicts: Sequence[Verdict]) -> tuple[Budget, ...]:
    """What bounds the inference that was allowed: for each label the largest of its permits, since permits add up; none
    where one of them has no bound."""
    found: list[Budget] = []
    for verdict in verdicts:
        if verdict.question.action == "infer":
            permits = [policies.rules[rule] for rule in verdict.rules if policies.rules[rule].effect == "permit"]
            bounds = [(rule.budget, rule.id) for rule in permits if rule.budget is not None]
            if len(bounds) == len(permits) and bounds:
                answers, rule = max(bounds)
                found.append(Budget(verdict.who.id, verdict.question.name, answers, rule))
    return tuple(dict.fromkeys(found))


def _transforms(policies: PolicySet, verdicts: Sequence[Verdict]) -> tuple[tuple[str, str], ...]:
    """What becomes of labels, where that is not what the configuration says. Of the policies that allow one thing, those
    that name a label decide, the strictest first; where none does, the configuration. All that is asked for together has
    the strictest of its answers: nobody knows here which table holds the label, and who acts for another sees no more
    than either."""
    if not policies.overriding:
        return ()
    named = [
        [note for rule in verdict.rules if (note := policies.rules[rule].transforms)]
        for verdict in verdicts
        if verdict.question.action != "infer"
    ]
    found: dict[str, str] = {}
    for label in sorted({label for notes in named for note in notes for label in note}):
        configured = policies.transforms.get(label, "redact")
        strictest = min(
            min((TRANSFORMS.index(note[label]) for note in notes if label in note), default=TRANSFORMS.index(configured))
            for notes in named
        )
        if TRANSFORMS[strictest] != configured:
            found[label] = TRANSFORMS[strictest]
    return tuple(found.items())


def why(policies: PolicySet, target: Target | None, verdict: Verdict) -> str:
    """One verdict in words for people."""
    subject, what = _they(verdict.who), _what(verdict.question, target)
    if verdict.outcome is Outcome.ALLOW:
        return f"{subject} may {what}: {_allowed_by(verdict.rules)}"
    if verdict.outcome is Outcome.HOLD:
        return f"{subject} may {what} once approved: {_allowed_by(verdict.rules)}"
    if verdict.errors:
        return f"{subject} may not {what}: {printable(verdict.errors[0], 300)}"
    forbids = [rule for rule in verdict.rules if policies.rules[rule].effect == "forbid"]
    if not forbids:
        return f"{subject} may not {what}: no policy allows it"
    said = "; ".join(dict.fromkeys(policies.rules[rule].reason for rule in forbids if policies.rules[rule].reason))
    return f"{subject} may not {what}: forbidden by {', '.join(forbids)}{f' ({said})' if said else ''}"


def _why(policies: PolicySet, target: Target | None, verdicts: Sequence[Verdict]) -> str:
    denied = list(dict.fromkeys(why(policies, target, v) for v in verdicts if v.outcome is Outcome.DENY))
    return "; ".join(denied[:3]) + (f"; and {len(denied) - 3} more" if len(denied) > 3 else "")


def _allowed_by(rules: Sequence[str]) -> str:
    return ", ".join(rules) if rules else "no policy"


def _they(who: Identity) -> str:
    return f"{entities.PRINCIPALS[who.kind].lower()} {printable(who.subject, 80)}"


def _what(question: Question, target: Target | None) -> str:
    where = f" on {printable(target.name, 80)}" if target else ""
    action = "run what cannot be classified" if question.action == Effect.UNKNOWN else printable(question.action, 40)
    if question.action == "infer":
        return f"filter, join, sort, group or compute by data labelled {printable(question.name, 80)}{where}"
    if question.kind in ("Target", "Gateway") or not question.name:
        return f"{action}{where}"
    return f"{action} {question.kind.lower()} {printable(question.name, 120)}{where}"


def _either(groups: Sequence[str]) -> str:
    return " or ".join(printable(group, 80) for group in groups[:5])


def printable(text: str, most: int) -> str:
    """Text that others chose, fit for one line of a log or an error: nothing that moves a cursor or turns a line."""
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: most + 1])
    return safe if len(text) <= most else safe[:most] + "..."
