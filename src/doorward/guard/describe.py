"""Identities, decisions and circumstances as policies read them and events show them."""

from __future__ import annotations

from typing import Any

from doorward.model import Decision, Identity


def circumstances(now: int, client: str, application: str) -> dict[str, Any]:
    """What a policy may read of a request besides who asks for what: the time, the address, the client's own name."""
    host = client.rsplit(":", 1)[0].strip("[]")
    return {"now": now, "client": host or "127.0.0.1", "application": application}


def describe_identity(identity: Identity) -> dict[str, Any]:
    """An identity as events show it, with the chain of whom it acts for."""
    shown: dict[str, Any] = {
        "subject": identity.subject,
        "kind": str(identity.kind),
        "issuer": identity.issuer,
        "groups": sorted(identity.groups)[:100],
        "assurance": str(identity.assurance),
        "token": identity.token_id,
    }
    if identity.bound_to:
        shown["bound_to"] = identity.bound_to
    if identity.on_behalf_of is not None:
        shown["on_behalf_of"] = describe_identity(identity.on_behalf_of)
    return shown


def describe_decision(decision: Decision) -> dict[str, Any]:
    """A decision as events show it."""
    shown: dict[str, Any] = {
        "outcome": str(decision.outcome),
        "rules": list(decision.rules),
        "reason": decision.reason,
        "unmask": sorted(decision.unmask),
        "policy": decision.policy_hash,
    }
    if decision.budgets:
        shown["budgets"] = [[b.identity, b.label, b.answers, b.rule] for b in decision.budgets]
    if decision.transforms:
        shown["transforms"] = dict(decision.transforms)
    return shown
