"""OCSF 1.8.0 (schema.ocsf.io): Datastore Activity, API Activity, Authentication, Entity Management, Detection Finding.

The log's coordinates are labels of `metadata`, so that a consumer can ask for the proof of what it was given; what OCSF has no
attribute for is in `unmapped.doorward`: the event's body, as it was recorded.
"""

from __future__ import annotations

from typing import Any, Final

from doorward.evidence.outward.facts import Facts, Sort

VERSION: Final = "1.8.0"
_CLASS: Final = {
    Sort.STATEMENT: 6005, Sort.API: 6003, Sort.AUDIT: 6003, Sort.LOGIN: 3002, Sort.ENTITY: 3004, Sort.FINDING: 2004,
}  # fmt: skip
_OTHER: Final = 99
# Datastore Activity: Read 1, Update 2, Connect 3, Query 4, Write 5, Create 6, Delete 7.
_DATASTORE: Final = {"SELECT": 4, "INSERT": 5, "COPY": 5, "UPDATE": 2, "DELETE": 7, "TRUNCATE": 7, "CREATE TABLE": 6}
_EFFECT: Final = {"read": 1, "write": 5}
# API Activity: Create 1, Read 2, Update 3, Delete 4.
_API: Final = {
    "requested": 1, "registered": 1, "planted": 1, "packed": 1, "made": 1, "applied": 1, "viewed": 2, "revealed": 2,
    "sampled": 2, "voted": 3, "changed": 3, "forgotten": 4, "deleted": 4, "withdrawn": 4, "expired": 4, "released": 4,
}  # fmt: skip
# Authentication: Logon 1, Logoff 2, Authentication Ticket 3.
_LOGIN: Final = {"closed": 2, "ended": 2, "signed_out": 2, "exchanged": 3, "issued": 3}
# Entity Management: Create 1, Update 3, Delete 4, Enable 8, Disable 9.
_ENTITY: Final = {
    "registered": 1, "created": 1, "applied": 1, "revoked": 4, "destroyed": 4, "released": 4, "lifted": 8, "enabled": 8,
    "disabled": 9,
}  # fmt: skip
_USER: Final = {"human": 1, "service": 3}


def ocsf(facts: Facts, origin: str) -> dict[str, Any]:
    """One event. `origin` is the log's."""
    ref = facts.record.ref
    number = _CLASS[facts.sort]
    activity = _activity(facts)
    event: dict[str, Any] = {
        "activity_id": activity, "category_uid": number // 1000, "class_uid": number, "type_uid": number * 100 + activity,
        "severity_id": _severity(facts), "time": ref.at, "status_id": 2 if facts.refused else 1, "message": ref.type,
        "metadata": {
            "version": VERSION, "product": {"name": "Doorward", "vendor_name": "Doorward"}, "uid": f"{origin}#{ref.leaf}",
            "log_name": origin, "event_code": ref.type, "sequence": ref.leaf, "profiles": ["security_control"],
            "labels": [f"tlog_origin:{origin}", f"tlog_index:{ref.leaf}", f"tlog_leaf:{ref.hash.hex()}"],
        },
        "actor": _actor(facts),
        "src_endpoint": _endpoint(facts),
        "unmapped": {"doorward": {"event": dict(facts.record.body)}},
    }  # fmt: skip
    if facts.sort is not Sort.FINDING:
        event["action_id"], event["disposition_id"] = _disposition(facts)
    if facts.rules or facts.policy:
        event["policy"] = {"uid": facts.policy or ", ".join(facts.rules), "name": ", ".join(facts.rules)}
    event.update(_OF[facts.sort](facts))
    return event


def _activity(facts: Facts) -> int:
    verb = facts.record.ref.type.partition(".")[2]
    if facts.sort is Sort.STATEMENT:
        return _DATASTORE.get(facts.action.upper()) or _EFFECT.get(facts.effect, _OTHER)
    if facts.sort is Sort.LOGIN:
        return _LOGIN.get(verb, 1)
    if facts.sort is Sort.ENTITY:
        return _ENTITY.get(verb, 3)
    return 1 if facts.sort is Sort.FINDING else _API.get(verb, _OTHER)


def _severity(facts: Facts) -> int:
    """Informational 1, Low 2, Medium 3, High 4."""
    if facts.sort is Sort.FINDING:
        return 4
    return 3 if facts.refused else 2 if facts.sort is Sort.ENTITY else 1


def _disposition(facts: Facts) -> tuple[int, int]:
    """Allowed 1 or Denied 2; and Allowed 1, Blocked 2, Alert 19 or Delayed 14."""
    kind = facts.record.ref.type
    if kind == "operation.held":
        return 2, 14
    if kind == "operation.observed":
        return 1, 19
    return (2, 2) if facts.refused else (1, 1)


def _user(facts: Facts) -> dict[str, Any]:
    who = facts.who
    name = who.subject or "unknown"
    user: dict[str, Any] = {"uid": name, "name": name, "type_id": _USER.get(who.kind, _OTHER)}
    if user["type_id"] == _OTHER:
        user["type"] = who.kind or "unknown"
    return user


def _actor(facts: Facts) -> dict[str, Any]:
    actor: dict[str, Any] = {"user": _user(facts)}
    if facts.who.principal:
        actor["invoked_by"] = facts.who.principal
    if facts.who.issuer:
        actor["idp"] = {"uid": facts.who.issuer, "name": facts.who.issuer}
    if facts.record.ref.session:
        actor["session"] = {"uid": facts.record.ref.session, **({"issuer": facts.who.issuer} if facts.who.issuer else {})}
    return actor


def _endpoint(facts: Facts) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"uid": facts.record.ref.gateway}
    if facts.address:
        endpoint["ip"] = facts.address
    if facts.port:
        endpoint["port"] = facts.port
    return endpoint


def _statement(facts: Facts) -> dict[str, Any]:
    more: dict[str, Any] = {
        "type_id": 1, "database": {"name": facts.target or "unknown", "type_id": 1, "type": "Relational"},
        "query_info": {"query_string": facts.text or facts.action or facts.record.ref.type},
    }  # fmt: skip
    if facts.operation:
        more["query_info"]["uid"] = facts.operation
    if tables := [name.partition(" ")[2] for name in facts.resources if name.startswith("Table ")]:
        more["table"] = {"name": tables[0]}
    return more


def _api(facts: Facts) -> dict[str, Any]:
    more: dict[str, Any] = {"api": {"operation": facts.record.ref.type, "service": {"name": "Doorward"}}}
    if facts.target:
        more["resources"] = [{"uid": facts.target, "type": "Target"}]
    return more


def _login(facts: Facts) -> dict[str, Any]:
    return {
        "user": _user(facts), "service": {"name": facts.target or "Doorward"}, "auth_protocol_id": 6,
        "auth_protocol": "OAUTH 2.0", "is_remote": True, **({"status_detail": facts.reason} if facts.reason else {}),
    }  # fmt: skip


def _entity(facts: Facts) -> dict[str, Any]:
    body = facts.record.body
    noun = facts.record.ref.type.partition(".")[0]
    names = ("agent", "name", "key", "value", "new", "hold", "epoch", "id", "revocation")
    name = next((str(body[each]) for each in names if isinstance(body.get(each), str) and body[each]), noun)
    return {"entity": {"type_id": _OTHER, "type": noun.replace("_", " ").title(), "uid": name, "name": name}}


def _finding(facts: Facts) -> dict[str, Any]:
    ref = facts.record.ref
    return {
        "is_alert": True, "confidence_id": 3,
        "finding_info": {
            "uid": f"{facts.record.ref.boot}/{ref.seq}", "title": ref.type, "desc": facts.reason or ref.type,
            "created_time": ref.at, "types": [ref.type], "analytic": {"uid": ref.type, "name": ref.type, "type_id": 1},
        },
        **({"resources": [{"uid": facts.target, "type": "Target"}]} if facts.target else {}),
    }  # fmt: skip


_OF: Final = {
    Sort.STATEMENT: _statement, Sort.API: _api, Sort.AUDIT: _api, Sort.LOGIN: _login, Sort.ENTITY: _entity,
    Sort.FINDING: _finding,
}  # fmt: skip
