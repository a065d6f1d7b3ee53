"""Elastic Common Schema 8 (elastic.co/guide/en/ecs): one document an event.

`agent.*` of ECS is whoever ships the document, not a program that decides for itself: that is `labels.identity_kind`. What ECS
has no field for is under `doorward`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from doorward.evidence.outward.facts import Facts, Sort

VERSION: Final = "8.17"
_CATEGORY: Final = {
    Sort.STATEMENT: ["database"], Sort.LOGIN: ["authentication", "session"], Sort.ENTITY: ["iam"], Sort.API: ["api"],
    Sort.FINDING: ["intrusion_detection"], Sort.AUDIT: ["configuration"],
}  # fmt: skip
_TYPE: Final = {
    Sort.STATEMENT: "access", Sort.LOGIN: "start", Sort.ENTITY: "change", Sort.API: "info", Sort.FINDING: "info",
    Sort.AUDIT: "info",
}  # fmt: skip
_ENDS: Final = ("session.closed", "session.ended", "session.recovered", "browser.signed_out")


def ecs(facts: Facts, origin: str) -> dict[str, Any]:
    """One event. `origin` is the log's."""
    ref, who = facts.record.ref, facts.who
    kinds = ["end"] if ref.type in _ENDS else [_TYPE[facts.sort], *(["denied"] if facts.refused else [])]
    document: dict[str, Any] = {
        "@timestamp": datetime.fromtimestamp(ref.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ecs": {"version": VERSION},
        "event": {
            "id": f"{origin}#{ref.leaf}", "kind": "alert" if facts.sort is Sort.FINDING else "event",
            "category": _CATEGORY[facts.sort], "type": kinds, "action": ref.type, "module": "doorward",
            "dataset": "doorward.audit", "outcome": "failure" if facts.refused else "success", "sequence": ref.leaf,
            "hash": ref.hash.hex(),
        },
        "user": {"id": f"{who.issuer}|{who.subject}" if who.issuer else who.subject, "name": who.subject},
        "observer": {"name": ref.gateway, "product": "Doorward", "type": "proxy"},
        "labels": {"tlog_origin": origin, "tlog_index": str(ref.leaf)},
        "doorward": {"session": ref.session, "event": dict(facts.record.body)},
    }  # fmt: skip
    if who.kind:
        document["labels"]["identity_kind"] = who.kind
    if who.principal:
        document["user"]["effective"] = {"name": who.principal}
    if facts.address:
        document["client"] = {"ip": facts.address, **({"port": facts.port} if facts.port else {})}
    if facts.target:
        document["service"] = {"name": facts.target, "target": {"name": facts.target}}
    if facts.rules:
        document["rule"] = {"id": ", ".join(facts.rules), "version": facts.policy}
    if facts.reason:
        document["event"]["reason"] = facts.reason
    return document
