"""A.5.17 and A.8.5: authentication information, and secure authentication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doorward.evidence.controls.privileged import opened, ran, settled
from doorward.evidence.record import Record, Value, moment
from doorward.evidence.table import MAJOR, MINOR, Cells, Control, Planted, Test, chain, each, number, text_of


def _identity(record: Record) -> Mapping[str, Any]:
    found = record.body.get("identity")
    return found if isinstance(found, Mapping) else {}


def _life(record: Record) -> int | None:
    expires = number(record.body.get("expires_at"))
    return None if expires is None else (expires - record.ref.at) // 1000


def _token(record: Record) -> list[Value]:
    body, cnf = record.body, record.body.get("cnf")
    bound = " ".join(sorted(cnf)) if isinstance(cnf, Mapping) else ""
    return [
        "gateway token", record.actor, str(body.get("token", "")), chain(_identity(record)), bound, _life(record),
        moment(number(body.get("expires_at")) or 0), "issued",
    ]  # fmt: skip


def _certificate(record: Record) -> list[Value]:
    body = record.body
    return [
        "client certificate", record.actor, str(body.get("certificate", "")), chain(_identity(record)), "x5t#S256",
        _life(record),
        moment(number(body.get("expires_at")) or 0), "issued",
    ]  # fmt: skip


def _key(record: Record) -> list[Value]:
    body, event = record.body, record.ref.type.partition(".")[2]
    return [
        f"approver's key {body.get('method', '')}".strip(), str(body.get("owner", "")), str(body.get("key", "")), [],
        str(body.get("tier", "")), None, "", event,
    ]  # fmt: skip


CREDENTIALS = each(
    "credentials",
    ("kind", "subject", "credential", "act_chain", "bound", "ttl_s", "expires", "event"),
    {
        "token.exchanged": _token, "certificate.issued": _certificate, "approver_key.registered": _key,
        "approver_key.revoked": _key,
    },
    "Every credential that the gateway issued or registered: what it is bound to and how long it lasts. No credential "
    "itself is on record.",
)  # fmt: skip


def _short(row: Cells) -> str:
    ttl = row["ttl_s"]
    return f"it lasts {ttl} s" if ttl is not None and ttl > 86_400 else ""


def _standing(row: Cells) -> str:
    return "a bearer token that lasts longer than an hour" if row["assurance"] == "V0" else ""


INFORMATION = Control(
    "A.5.17",
    "Authentication information",
    "That there are no static secrets; how credentials are issued, to what they are bound, how long they last, when "
    "they are revoked.",
    (CREDENTIALS,),
    "Passwords and factors at the issuer. The target's own credential: the gateway reads it from where `snapshots/` "
    "says and never "
    "shows it.",
    (
        Test(
            "credentials.ttl", "credentials", MINOR, "what the gateway issues lasts a day at most", _short,
            (Planted("token.exchanged", {"identity": {}, "token": "t", "expires_at": 1_790_000_000_000 + 100_000_000,
            "cnf": {}}),),
            applies=lambda row: row["kind"] == "gateway token",
        ),
        Test(
            "sessions.bearer", "sessions", MINOR, "nobody is let in with a bearer token that lasts longer than an "
            "hour", _standing,
            (opened(assurance="V0"),),
        ),
    ),
    also=("sessions",),
    soc2=("CC6.1",),
    pci=("8.3.1", "8.3.9", "8.6.2", "8.6.3"),
    nist=("IA-5", "IA-5(2)"),
)  # fmt: skip


def _refused(record: Record) -> list[Value]:
    body = record.body
    return [
        "token", "", str(body.get("issuer", "")), str(body.get("listener", "")), "", "", str(body.get("peer", "")), "refused",
        text_of(body, "code"), number(body.get("count")) or 1,
    ]  # fmt: skip


def _opened(record: Record) -> list[Value]:
    body = record.body
    bound = str(body.get("bound_to", ""))
    return [
        "session", str(body.get("identity", "")), str(body.get("issuer", "")), str(body.get("protocol", "")),
        str(body.get("assurance", "")), bound, str(body.get("client", "")), "let in", "", 1,
    ]  # fmt: skip


def _browser(record: Record) -> list[Value]:
    body, kind = record.body, record.ref.type
    result = {"browser.signed_in": "let in", "browser.refused": "refused"}.get(kind, "signed out")
    return [
        "browser", record.actor, str(body.get("issuer", "")), "http", "fresh" if body.get("fresh") else "", "",
        text_of(body, "client"), result, text_of(body, "reason"), number(body.get("count")) or 1,
    ]  # fmt: skip


EVENTS = each(
    "auth_events",
    ("kind", "subject", "issuer", "where", "assurance", "bound_to", "client", "result", "reason", "count"),
    {
        "authentication.refused": _refused, "session.opened": _opened, "browser.signed_in": _browser,
        "browser.refused": _browser,
        "browser.signed_out": _browser,
    },
    "Every login and every refused one (refused tokens and sign-ins are counted by the minute). assurance: V0 a "
    "bearer token of more than "
    "an hour, V1 of at most an hour, V2 bound to a key that was shown, V3 bound, and an attested workload acts for a person.",
)  # fmt: skip


def _weak(row: Cells) -> str:
    if row["assurance"] != "V0":
        return ""
    return f"{row['privileged']} privileged operations by a bearer token of more than an hour"


SECURE = Control(
    "A.8.5",
    "Secure authentication",
    "How people and programs show who they are; failures; that privileged use needs a strong proof.",
    (EVENTS,),
    "Whether the issuer asked for a second factor, except where its tokens say so (`amr` in `votes`). Failed logins "
    "at the issuer.",
    (
        Test(
            "auth.privileged", "sessions", MAJOR, "privileged operations are not by long-lived bearer tokens", _weak,
            (opened(assurance="V0"), ran(), settled()), applies=lambda row: row["privileged"] > 0,
        ),
    ),
    soc2=("CC6.1",),
    pci=("8.3.4", "8.4.1", "8.4.2", "10.2.1.4"),
    nist=("IA-2", "IA-2(1)", "IA-2(12)", "AC-7"),
)  # fmt: skip
