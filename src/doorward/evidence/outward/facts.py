"""What every format wants to know of an event, read once from its body.

Contract: `Facts` are of the event itself and, where it belongs to a session, of how that session was opened. Nothing is looked
up elsewhere, and nothing is made up: what an event does not say is empty. `SORTS` says of each type of event what sort of thing
happened; a type that it does not know is of the gateway (`AUDIT`), so that nothing is ever left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from doorward.evidence.record import Record

MOST_LINKS: Final = 20  # of a chain of who acts for whom


class Sort(StrEnum):
    """What sort of thing an event tells of."""

    STATEMENT = "statement"  # somebody asked a target for something
    LOGIN = "login"
    ENTITY = "entity"  # a principal, a key, a policy or a right was made, changed or taken away
    API = "api"  # somebody did something at the gateway itself
    FINDING = "finding"  # something that somebody should look at
    AUDIT = "audit"  # the gateway's own account of itself


SORTS: Final[Mapping[str, Sort]] = {
    **dict.fromkeys(("operation", "label", "transaction", "grant", "target"), Sort.STATEMENT),
    **dict.fromkeys(("authentication", "session", "browser", "login", "token", "certificate"), Sort.LOGIN),
    **dict.fromkeys(("agent", "identity", "revocation", "approver_key", "policy", "hold", "key_epoch"), Sort.ENTITY),
    **dict.fromkeys(
        ("approval", "authorization", "recording", "masking", "notification", "break_glass", "retention", "backup", "evidence"),
        Sort.API,
    ),
    "bypass": Sort.FINDING, "exception": Sort.FINDING,
}  # fmt: skip
# Where a type is of another sort than its noun.
_APART: Final[Mapping[str, Sort]] = {
    "session.sealed": Sort.AUDIT, "session.recovered": Sort.AUDIT, "masking.failed": Sort.FINDING,
    "break_glass.used": Sort.FINDING, "break_glass.review_due": Sort.FINDING, "record.failed": Sort.FINDING,
    "token.revealed": Sort.API, "token.withheld": Sort.API, "token.forgotten": Sort.API, "token.expired": Sort.AUDIT,
    "token.resealed": Sort.AUDIT, "target.reconciled": Sort.AUDIT, "policy.kept": Sort.AUDIT,
}  # fmt: skip
_NO: Final = frozenset({
    "authentication.refused", "login.refused", "session.refused", "browser.refused", "authorization.refused",
    "operation.refused", "approval.vote_refused", "token.withheld", "masking.failed", "record.failed", "policy.kept",
    "notification.dropped",
})  # fmt: skip


def sort_of(kind: str) -> Sort:
    """Of an event's type."""
    return _APART.get(kind) or SORTS.get(kind.partition(".")[0], Sort.AUDIT)


@dataclass(frozen=True, slots=True)
class Who:
    """A principal: `kind` is human, agent, workload or service; `principal` the person at the end of the chain that it acts
    for, "" if it acts for itself."""

    issuer: str = ""
    subject: str = ""
    kind: str = ""
    principal: str = ""
    assurance: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one event. `refused`: the answer was no, or it failed. `address` is the client's, `outcome` what became of an
    operation, `rules` the deciding policies."""

    record: Record
    sort: Sort
    who: Who
    target: str = ""
    address: str = ""
    port: int = 0
    refused: bool = False
    action: str = ""
    effect: str = ""
    text: str = ""
    outcome: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()
    policy: str = ""
    resources: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    operation: str = ""


def read(record: Record, opened: Mapping[str, Any] | None = None) -> Facts:
    """`opened` is the body of the `session.opened` of the event's session, if it has one and it is still there."""
    body, session = record.body, opened or {}
    kind = record.ref.type
    decision = body.get("decision")
    decision = decision if isinstance(decision, Mapping) else {}
    address, port = _address(_text(body, "client") or _text(body, "peer") or _text(session, "client"))
    return Facts(
        record, sort_of(kind), _who(record, session), target=_text(body, "target") or _text(session, "target"), address=address,
        port=port, refused=kind in _NO or body.get("outcome") == "failed",
        action=_text(body, "action"), effect=_text(body, "effect"), text=_text(body, "text"),
        outcome=_text(body, "outcome") or _text(decision, "outcome"),
        reason=_text(body, "reason") or _text(decision, "reason") or _text(body, "why"),
        rules=_texts(decision.get("rules") or body.get("rules")), policy=_text(decision, "policy") or _text(body, "policy"),
        resources=tuple(" ".join(each[:2]) for each in map(_texts, _lists(body.get("resources"))) if len(each) > 1),
        labels=_texts(body.get("labels")), operation=_text(body, "operation"),
    )  # fmt: skip


def _who(record: Record, session: Mapping[str, Any]) -> Who:
    """Whom the event is about: the identity that it shows; else whoever opened its session, if they did it; else its actor."""
    said = record.body.get("identity")
    if isinstance(said, Mapping):
        identity = said
    elif record.ref.type == "session.opened":
        identity = record.body
    elif session and record.actor in ("", session.get("identity")):
        identity = session
    else:
        issuer, bar, subject = record.actor.rpartition("|")
        return Who(issuer, subject) if bar else Who(subject=record.actor or "doorward", kind="" if record.actor else "service")
    return Who(
        _text(identity, "issuer"), _text(identity, "subject"), _text(identity, "kind"), _principal(identity),
        _text(identity, "assurance"),
    )  # fmt: skip


def _principal(identity: Mapping[str, Any]) -> str:
    """The subject at the end of the chain: ids, as a session has them, or identities in each other."""
    chain = identity.get("on_behalf_of")
    if ids := _texts(chain):
        return ids[-1].rpartition("|")[2]
    found = ""
    for _ in range(MOST_LINKS):
        if not isinstance(chain, Mapping):
            break
        found, chain = _text(chain, "subject"), chain.get("on_behalf_of")
    return found


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isascii() and port.isdigit() and len(port) < 6 else (text, 0)


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""


def _texts(found: object) -> tuple[str, ...]:
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list | tuple) else ()


def _lists(found: object) -> list[object]:
    return list(found) if isinstance(found, list | tuple) else []
