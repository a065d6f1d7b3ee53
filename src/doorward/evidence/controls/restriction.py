"""A.8.3: information access restriction. Everything that was refused, and that nothing was allowed by no rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from doorward.evidence.controls.privileged import opened, ran, settled
from doorward.evidence.record import Record, Row, Value, text
from doorward.evidence.table import (
    MAJOR,
    MINOR,
    Cells,
    Control,
    Planted,
    Sessions,
    Table,
    Test,
    decided,
    names,
    number,
    resources,
    text_of,
)


class _Denials:
    def __init__(self) -> None:
        self._sessions = Sessions()

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        values: Sequence[Value]
        if ref.type in Sessions.TYPES:
            self._sessions.add(record)
            return ()
        verdict = decided(body)
        rules, policy = names(verdict.get("rules")), str(verdict.get("policy", ""))
        match ref.type:
            case "operation.refused":
                target = self._sessions.of(ref.session).target
                values = (
                    "operation", record.actor, ref.session, target, str(body.get("action", "")), str(body.get("effect", "")),
                    text(body.get("text")), resources(body), rules, policy, str(body.get("code", "")), text_of(body,
                    "reason"), 1,
                )  # fmt: skip
            case "session.refused":
                values = (
                    "session", record.actor, "", str(body.get("target", "")), "connect", "", "", [], rules, policy, "denied",
                    text_of(verdict, "reason"), 1,
                )  # fmt: skip
            case "login.refused":
                values = (
                    "login", record.actor, "", text_of(body, "target"), "connect", "", "", [], [], "", "no such target",
                    text_of(body, "reason"), 1,
                )  # fmt: skip
            case "token.withheld":
                values = (
                    "token", record.actor, "", str(body.get("target", "")), "reveal", "", "", [str(body.get("label", ""))],
                    names(body.get("rules")), str(body.get("policy", "")), "withheld", text_of(body, "why"), 1,
                )  # fmt: skip
            case _:  # authorization.refused
                values = (
                    "api", str(body.get("identity", "")), "", text_of(body, "route"), str(body.get("method", "")), "",
                    "", [], [],
                    "", str(body.get("status", "")), "", number(body.get("count")) or 1,
                )  # fmt: skip
        return (Row(ref, values),)

    def end(self, at: int) -> Iterable[Row]:
        return ()


REFUSED = frozenset(
    ("operation.refused", "session.refused", "login.refused", "token.withheld", "authorization.refused")
)

DENIALS = Table(
    "denials",
    (
        "kind", "subject", "sid", "resource", "action", "effect", "text", "touches", "rules", "policy", "code", "reason",
        "count",
    ),
    REFUSED | Sessions.TYPES,
    "Everything that was refused to somebody whose identity was known: statements, connections, calls of the API and "
    "pages (counted "
    "by the minute), values behind tokens. Refused identities are in `auth_events`.",
    _Denials,
    counts=REFUSED,
)  # fmt: skip


def _ruled(row: Cells) -> str:
    return "" if row["rules"] else "no policy is named that allowed it"


CONTROL = Control(
    "A.8.3",
    "Information access restriction",
    "Which rule let somebody do something, and which attempts were refused; that nothing is allowed by no rule.",
    (DENIALS,),
    "Attempts that never reached the gateway. What plain allowed reads returned: it is in the recordings, masked.",
    (
        Test(
            "operations.ruled", "operations", MAJOR, "every operation that was let through names the policy that "
            "allowed it", _ruled,
            (opened(), ran(decision={"outcome": "allow", "rules": [], "policy": ""}), settled()),
            applies=lambda row: row["event"] == "permitted",
        ),
        Test(
            "operations.enforced", "operations", MINOR, "targets enforce policy, and do not only observe",
            lambda row: "it would have been refused or held, and ran" if row["event"] == "observed" else "",
            (opened(), Planted("operation.observed", ran().body, ran().actor, ran().session, ran().at), settled()),
        ),
    ),
    also=("operations",),
    soc2=("CC6.1", "CC6.3"),
    pci=("7.2.5", "7.3.2", "7.3.3"),
    nist=("AC-3", "AC-6"),
)  # fmt: skip
