"""Why a decision is what it is: for people, and as JSON for programs.

The same questions as `decide`, by the same code, with nothing left out: each resource, each link of the delegation
chain, each label, and the policies that decided, with the file and line where they stand.

Deliberately not here: "what would allow it?". The text says which policy forbids or that none allows; the rest is for
whoever writes the policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorward.model import Identity, Operation, Outcome, Target
from doorward.policy.decide import Findings, Verdict, examine, examine_action, printable, why
from doorward.policy.policies import PolicySet, Rule

_MOST_LINES = 200


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and all of its reasons."""

    policies: PolicySet
    identity: Identity
    target: Target
    operation: Operation | None  # None: not about a statement, but about connecting and the like
    findings: Findings

    def as_json(self) -> dict[str, Any]:
        """JSON values only. The names of keys are part of the command line's interface and stay."""
        decision = self.findings.decision
        return {
            "decision": decision.outcome.value,
            "reason": decision.reason,
            "identity": [link.id for link in self.identity.chain()],
            "target": self.target.name,
            "mode": self.target.mode.value,
            "effect": self.operation.effect.value if self.operation else "",
            "statement": self.operation.action if self.operation else "",
            "resources": [self._verdict(verdict) for verdict in self.findings.verdicts],
            "labels": sorted(self.operation.labels) if self.operation else [],
            "inferred": sorted(self.operation.inferred) if self.operation else [],
            "budgets": [
                {"identity": b.identity, "label": b.label, "answers": b.answers, "rule": b.rule} for b in decision.budgets
            ],
            "unmask": sorted(decision.unmask),
            "transforms": dict(decision.transforms),
            "unmask_reasons": [self._verdict(verdict) for verdict in self.findings.unmask],
            "rules": [self._rule(rule) for rule in decision.rules],
            "annotations": {name: notes for name, notes in self._telling().items() if notes},
            "approvers": list(decision.approvers) if decision.outcome is Outcome.HOLD else [],
            "quorum": decision.quorum if decision.outcome is Outcome.HOLD else 0,
            "seats": dict(decision.seats),
            "expires": decision.expires if decision.outcome is Outcome.HOLD else 0,
            "policy_hash": decision.policy_hash,
        }

    def as_text(self) -> str:
        """Lines for people, the decision first."""
        decision = self.findings.decision
        lines = [f"{decision.outcome.value.upper()}" + (f": {decision.reason}" if decision.reason else "")]
        if decision.outcome is Outcome.HOLD:
            who = " or ".join(decision.approvers) or "whoever may approve on this target"
            people = "1 person" if decision.quorum == 1 else f"{decision.quorum} people"
            each = ", ".join(f"{count} of {group}" for group, count in decision.seats)
            lines.append(f"  approval: {people} of {who}{f' ({each})' if each else ''}, within {_time(decision.expires)}")
        lines.append("resources:")
        lines += [f"  {self._line(verdict)}" for verdict in self.findings.verdicts[:_MOST_LINES]]
        if len(self.findings.verdicts) > _MOST_LINES:
            lines.append(f"  and {len(self.findings.verdicts) - _MOST_LINES} more")
        if self.operation and self.operation.labels:
            hidden = self.operation.labels - decision.unmask
            lines.append("confidential data:")
            becomes = dict(decision.transforms)
            said = {label: f" ({becomes[label]}, by policy)" if label in becomes else "" for label in hidden}
            lines += [f"  {label}: masked{said[label]}" for label in sorted(hidden)]
            lines += [f"  {label}: shown" for label in sorted(decision.unmask)]
            lines += [f"    {self._line(verdict)}" for verdict in self.findings.unmask]
        if decision.budgets:
            lines.append("within a budget:")
            lines += [
                f"  {printable(b.identity.rpartition('|')[2], 80)}: {b.answers} answers an hour inferred from {b.label}  "
                f"{b.rule}"
                for b in decision.budgets
            ]
        if telling := self._telling():
            lines.append("policies:")
            for id_, notes in telling.items():
                rule = self.policies.rules[id_]
                lines.append(f"  {rule.id}  {printable(rule.file, 200)}:{rule.line}")
                lines += [f"    @{name}: {_said(name, value)}" for name, value in notes.items()]
        return "\n".join(lines)

    def _line(self, verdict: Verdict) -> str:
        mark = {Outcome.ALLOW: "allow", Outcome.HOLD: "hold ", Outcome.DENY: "deny "}[verdict.outcome]
        return f"{mark}  {why(self.policies, self.target, verdict)}"

    def _verdict(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "identity": verdict.who.id,
            "action": verdict.question.action,
            "kind": verdict.question.kind,
            "name": verdict.question.name,
            "decision": verdict.outcome.value,
            "rules": list(verdict.rules),
            "errors": list(verdict.errors),
            "reason": why(self.policies, self.target, verdict),
        }

    def _rule(self, name: str) -> dict[str, Any]:
        rule = self.policies.rules[name]
        return {"id": rule.id, "effect": rule.effect, "file": rule.file, "line": rule.line}

    def _telling(self) -> dict[str, dict[str, Any]]:
        """What the policies that decided say besides, and those that decided a part of it (a resource, a label) and say
        something."""
        parts = [name for verdict in (*self.findings.verdicts, *self.findings.unmask) for name in verdict.rules]
        deciding = self.findings.decision.rules
        said = {name: _annotations(self.policies.rules[name]) for name in (*deciding, *parts)}
        return {name: notes for name, notes in said.items() if notes or name in deciding}


def explain(
    policies: PolicySet,
    identity: Identity,
    target: Target,
    operation: Operation,
    *,
    purpose: str = "",
    extra: Mapping[str, Any] = {},
) -> Explanation:
    """`decide`, with every reason. Never raises, as `decide` never does."""
    findings = examine(policies, identity, target, operation, purpose=purpose, extra=extra)
    return Explanation(policies, identity, target, operation, findings)


def explain_action(
    policies: PolicySet,
    identity: Identity,
    action: str,
    target: Target,
    *,
    purpose: str = "",
    extra: Mapping[str, Any] = {},
) -> Explanation:
    """`may`, with every reason."""
    findings = examine_action(policies, identity, action, target, purpose=purpose, extra=extra)
    return Explanation(policies, identity, target, None, findings)


def _annotations(rule: Rule) -> dict[str, Any]:
    """What a policy says besides its text, by annotation: seconds, answers an hour, people, groups."""
    said = {
        "quorum": rule.quorum, "approvers": list(rule.approvers), "expires": rule.expires, "grantable": rule.grantable,
        "break_glass": rule.break_glass, "budget": rule.budget, "transform": dict(rule.transforms),
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


def _said(name: str, value: Any) -> str:
    match name:
        case "grantable":
            return f"people may agree to several statements in advance, for at most {_time(value)}"
        case "break_glass":
            return f"whoever is held may go on without approvers, for at most {_time(value)}"
        case "budget":
            return f"{value} answers an hour"
        case "expires":
            return f"a request stands for {_time(value)}"
        case "quorum":
            return "1 person" if value == 1 else f"{value} people"
        case "transform":
            return ", ".join(f"{label} becomes {becomes}" for label, becomes in sorted(value.items()))
        case _:
            return ", ".join(printable(each, 80) for each in value)


def _time(seconds: int) -> str:
    for unit, worth in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % worth == 0:
            return f"{seconds // worth}{unit}"
    return f"{seconds}s"
