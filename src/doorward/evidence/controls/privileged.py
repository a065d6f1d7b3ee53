"""A.8.2: privileged access rights. Every session, everything in it beyond plain reading, every approval, every broken glass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from doorward.evidence.record import Record, Ref, Row, Value, moment, text
from doorward.evidence.table import (
    MAJOR,
    MINOR,
    OBSERVATION,
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
from doorward.ledger.reviews import DAY, business_day_after

MOST_LISTED: Final = 100  # leaves or ids that one row lists
RAN: Final = ("operation.permitted", "operation.observed")


# Sessions -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Session:
    ref: Ref
    body: Mapping[str, Any]
    privileged: int = 0
    approvals: list[str] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    glass: bool = False


class _AllSessions:
    def __init__(self) -> None:
        self._open: dict[str, _Session] = {}

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        if ref.type == "session.opened":
            self._open[ref.session] = _Session(ref, body)
            return ()
        found = self._open.get(ref.session)
        if found is None:
            return ()
        if ref.type in RAN:
            found.privileged += 1
        elif ref.type in ("approval.spent", "grant.used"):
            rid = str(body.get("approval", ""))
            found.glass = found.glass or bool(body.get("break_glass"))
            if rid not in found.approvals and len(found.approvals) < MOST_LISTED:
                found.approvals.append(rid)
                found.leaves.append(ref.leaf)
        else:
            del self._open[ref.session]
            return (self._row(found, record, ref.at),)
        return ()

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(found, None, at) for found in self._open.values()]

    def _row(self, found: _Session, ended: Record | None, at: int) -> Row:
        body, last = found.body, {} if ended is None else ended.body
        values: list[Value] = [
            found.ref.session, str(body.get("identity", "")), str(body.get("kind", "")), names(body.get("on_behalf_of")),
            str(body.get("assurance", "")), str(body.get("target", "")), str(body.get("protocol", "")),
            str(body.get("mode", "")), str(body.get("client", "")), text_of(body, "application"), text_of(body, "purpose"),
            moment(found.ref.at), moment(ended.ref.at) if ended else "", (at - found.ref.at) // 1000,
            number(last.get("statements")), found.privileged, number(last.get("refused")), number(last.get("held")),
            number(last.get("rows")), found.approvals, found.glass, number(last.get("number")),
            str(last.get("segment_hash", "")), str(body.get("record", "")),
            "open" if ended is None else ended.ref.type.partition(".")[2], text_of(last, "reason"),
        ]  # fmt: skip
        leaves = found.leaves if ended is None else [*found.leaves, ended.ref.leaf]
        return Row(found.ref, values, leaves, ended is None)


SESSIONS = Table(
    "sessions",
    (
        "sid", "subject", "kind", "act_chain", "assurance", "resource", "protocol", "mode", "client", "application",
        "purpose",
        "opened", "closed", "duration_s", "statements", "privileged", "refused", "held", "rows", "approvals", "break_glass",
        "segments", "recording_root", "recorded", "state", "reason",
    ),
    Sessions.TYPES | {*RAN, "approval.spent", "grant.used"},
    "Every session. `privileged` counts its operations with a leaf of their own, that is all but plain allowed reads: "
    "the rows of "
    "`operations` with this sid. `recording_root` is the last segment's hash, which its closing leaf names too.",
    _AllSessions,
    counts=frozenset(("session.opened",)),
)  # fmt: skip


# Operations ---------------------------------------------------------------------------------------------------------


class _Operations:
    def __init__(self) -> None:
        self._sessions = Sessions()
        self._open: dict[str, Record] = {}
        self._told: dict[str, tuple[str, str]] = {}  # operation -> target and subject, which its own event does not say

    def add(self, record: Record) -> Iterable[Row]:
        kind = record.ref.type
        if kind in Sessions.TYPES:
            self._sessions.add(record)
            return ()
        id_ = str(record.body.get("operation", ""))
        if kind != "operation.settled":
            session = self._sessions.of(record.ref.session)
            self._open[id_] = record
            self._told[id_] = (session.target, session.subject or record.actor)
            return ()
        begun = self._open.pop(id_, None)
        return () if begun is None else (self._row(begun, record, self._told.pop(id_)),)

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(begun, None, self._told[id_]) for id_, begun in self._open.items()]

    @staticmethod
    def _row(begun: Record, settled: Record | None, told: tuple[str, str]) -> Row:
        body, verdict = begun.body, decided(begun.body)
        last = {} if settled is None else settled.body
        masked = last.get("masked")
        values: list[Value] = [
            str(body.get("operation", "")), begun.ref.session, told[1], told[0], str(body.get("action", "")),
            str(body.get("effect", "")), text(body.get("text")), resources(body), names(body.get("labels")),
            str(body.get("role", "")), str(body.get("assurance", "")), begun.ref.type.partition(".")[2],
            str(verdict.get("outcome", "")), names(verdict.get("rules")), str(verdict.get("policy", "")),
            names(verdict.get("unmask")), str(body.get("approval", "")), number(body.get("use")),
            "open" if settled is None else str(last.get("outcome", "")), number(last.get("rows")),
            str(last.get("sqlstate", "")), sum(masked.values()) if isinstance(masked, dict) else 0,
            "" if settled is None else moment(settled.ref.at),
        ]  # fmt: skip
        return Row(begun.ref, values, () if settled is None else (settled.ref.leaf,), settled is None)


OPERATIONS = Table(
    "operations",
    (
        "operation", "sid", "subject", "resource", "action", "effect", "text", "touches", "labels", "role", "assurance",
        "event",
        "decision", "rules", "policy", "unmask", "approval", "use", "outcome", "rows", "sqlstate", "masked_cells", "settled",
    ),
    Sessions.TYPES | {*RAN, "operation.settled"},
    "Every operation that was let through and is more than a plain allowed read (those are in the session's "
    "recording). `observed`: "
    "policy would have refused or held it, and the target only observes.",
    _Operations,
    counts=frozenset(RAN),
)  # fmt: skip


# Approvals ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Asked:
    record: Record
    yes: dict[str, int] = field(default_factory=dict)  # who -> leaf of the vote
    no: dict[str, int] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)
    verified: bool = True
    decided: int = 0
    spent: Ref | None = None
    ran: Ref | None = None
    uses: int = 0
    ended: Ref | None = None


class _Approvals:
    def __init__(self) -> None:
        self._open: dict[str, _Asked] = {}

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        rid = str(body.get("approval", ""))
        if ref.type == "approval.requested":
            self._open[rid] = _Asked(record)
            return ()
        asked = self._open.get(rid) if rid else None
        if asked is None:
            return ()
        match ref.type:
            case "approval.voted":
                (asked.yes if body.get("approve") else asked.no).setdefault(record.actor, ref.leaf)
                asked.methods.append(str(body.get("method", "")))
                asked.tiers.append(str(body.get("tier", "")))
                asked.verified = asked.verified and bool((number(body.get("flags")) or 0) & 4)
                asked.decided = ref.at
            case "approval.spent":
                asked.spent = ref
            case "grant.used":
                asked.uses += 1
                asked.spent = asked.spent or ref
            case "operation.permitted":
                asked.ran = asked.ran or ref
                if asked.uses == 0:
                    asked.uses = 1
            case _:
                asked.ended = ref
        statement = _terms(asked).get("typ") != "doorward.grant"
        if asked.ended is not None or asked.no or (statement and asked.ran is not None):
            del self._open[rid]
            return (self._row(asked),)
        return ()

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(asked, open_=True) for asked in self._open.values()]

    @staticmethod
    def _row(asked: _Asked, *, open_: bool = False) -> Row:
        record, terms = asked.record, _terms(asked)
        body = record.body
        quorum, policy = _object(terms, "quorum"), _object(terms, "policy")
        requester, act = str(terms.get("requester", record.actor)), names(terms.get("act"))
        kind = "statement"
        if terms.get("typ") == "doorward.grant":
            kind = "grant" if terms.get("skips") is None else "break-glass"
        voters = [*asked.yes, *asked.no]
        own = {requester, *act}
        have, needed = len(asked.yes), number(quorum.get("k")) or 1
        if asked.no:
            final = "denied"
        elif asked.ran is not None or asked.spent is not None:
            final = "used"
        elif asked.ended is not None:
            final = asked.ended.type.partition(".")[2]
        else:
            final = "approved" if have >= needed else "waiting"
        votes = sorted([*asked.yes.values(), *asked.no.values()])
        spent, ran = asked.spent, asked.ran
        ordered = spent is None or (
            have >= needed and not asked.no and all(leaf < spent.leaf for leaf in votes)
            and (ran is None or spent.leaf < ran.leaf)
        )  # fmt: skip
        values: list[Value] = [
            str(body.get("approval", "")), kind, requester, act, record.ref.session, str(terms.get("target", "")),
            str(body.get("action", "")), text(body.get("text", body.get("purpose", ""))), names(policy.get("rules")),
            str(policy.get("sha256", "")), needed, names(quorum.get("of")), have, list(asked.yes), list(asked.no),
            asked.methods, asked.tiers, bool(voters) and asked.verified, moment(record.ref.at),
            moment(number(terms.get("exp")) or 0), moment(asked.decided), final,
            spent.leaf if spent else None, ran.leaf if ran else None, moment(ran.at) if ran else "",
            (ran.at - asked.decided) // 1000 if ran and asked.decided else None, asked.uses,
            kind == "break-glass" or own.isdisjoint(voters), ordered,
            kind != "statement" or spent is None or spent.at < (number(terms.get("exp")) or 0),
        ]  # fmt: skip
        others = {*votes, *(ref.leaf for ref in (spent, ran, asked.ended) if ref is not None)}
        return Row(record.ref, values, sorted(others)[:MOST_LISTED], open_)


def _terms(asked: _Asked) -> Mapping[str, Any]:
    return _object(asked.record.body, "terms")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


APPROVALS = Table(
    "approvals",
    (
        "rid", "kind", "requester", "act_chain", "sid", "resource", "action", "text", "rules", "policy", "needed", "groups",
        "have", "approved_by", "denied_by", "methods", "tiers", "verified", "requested", "expires", "decided", "final",
        "spent_leaf", "exec_leaf", "exec_ts", "lag_s", "uses", "sod_ok", "order_ok", "in_time",
    ),
    frozenset(
        ("approval.requested", "approval.voted", "approval.spent", "approval.expired", "approval.withdrawn", "grant.used",
         "operation.permitted")
    ),
    "Every request for approval. sod_ok: nobody voted on what they, or an agent acting for them, had asked for. "
    "order_ok: it was used "
    "after enough votes, after no denial, and what it was for ran after that, by their places in the log. in_time: it "
    "was spent "
    "before it expired. verified: each vote's device says that it verified its owner (UV).",
    _Approvals,
    counts=frozenset(("approval.requested",)),
)  # fmt: skip


# Broken glass -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Broken:
    record: Record
    uses: int = 0
    due: Ref | None = None


class _BrokenGlass:
    def __init__(self) -> None:
        self._open: dict[str, _Broken] = {}

    def add(self, record: Record) -> Iterable[Row]:
        rid = str(record.body.get("approval", ""))
        if record.ref.type == "break_glass.used":
            self._open[rid] = _Broken(record)
            return ()
        broken = self._open.get(rid)
        if broken is None:
            return ()
        if record.ref.type == "grant.used":
            broken.uses += 1
        elif record.ref.type == "break_glass.review_due":
            broken.due = record.ref
        else:
            del self._open[rid]
            return (self._row(broken, record, record.ref.at),)
        return ()

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(broken, None, at) for broken in self._open.values()]

    @staticmethod
    def _row(broken: _Broken, review: Record | None, at: int) -> Row:
        ref, body = broken.record.ref, broken.record.body
        limits = _object(body, "limits")
        due = business_day_after(ref.at)
        values: list[Value] = [
            str(body.get("approval", "")), broken.record.actor or str(body.get("requester", "")), str(body.get("target", "")),
            text_of(body, "reason"), names(body.get("actions")), number(limits.get("minutes")),
            number(limits.get("statements")),
            number(limits.get("rows")), names(body.get("skipped")), moment(ref.at), moment(number(body.get("until")) or 0),
            broken.uses, moment(due), review.actor if review else "", moment(review.ref.at) if review else "",
            "" if review is None else "justified" if review.body.get("justified") else "unjustified",
            text_of(review.body, "comment") if review else "", at > due,
        ]  # fmt: skip
        leaves = [found.leaf for found in (broken.due, review.ref if review else None) if found is not None]
        return Row(ref, values, leaves, review is None)


BROKEN_GLASS = Table(
    "breakglass",
    (
        "rid", "subject", "resource", "reason", "actions", "minutes", "statements", "rows", "skipped", "used", "until",
        "uses",
        "review_due", "reviewer", "reviewed", "review", "comment", "late",
    ),
    frozenset(("break_glass.used", "break_glass.reviewed", "break_glass.review_due", "grant.used")),
    "Every time that somebody went on without the people whom policy wants, and its review by another. late: it was "
    "reviewed, or "
    "the log ends, after one business day (24 hours that are no Saturday's or Sunday's, UTC).",
    _BrokenGlass,
    counts=frozenset(("break_glass.used",)),
)  # fmt: skip


# Tests --------------------------------------------------------------------------------------------------------------


def _unended(row: Cells) -> str:
    return f"open for {row['duration_s']} s" if row["state"] == "open" and row["duration_s"] > 86_400 else ""


def _without_approval(row: Cells) -> str:
    return "it ran while policy wanted an approval, and names none" if not row["approval"] else ""


def _disordered(row: Cells) -> str:
    if row["order_ok"]:
        return ""
    return f"{row['have']} of {row['needed']} votes, spent at leaf {row['spent_leaf']}, run at leaf {row['exec_leaf']}"


def _late(row: Cells) -> str:
    if not row["late"]:
        return ""
    return f"due {row['review_due']}, reviewed {row['reviewed'] or 'by nobody yet'}"


_WHO, _OTHER = "https://issuer.example|planted", "https://issuer.example|reviewer"
_SID = "00000000-0000-7000-8000-000000000001"
_T0: Final = 1_790_000_000_000
TERMS: Final[Mapping[str, Any]] = {
    "typ": "doorward.approval", "requester": _WHO, "act": [], "target": "planted", "exp": _T0 + 900_000,
    "quorum": {"k": 1, "of": [], "seats": {}}, "policy": {"rules": ["planted"], "sha256": ""},
}  # fmt: skip
_OPENED = {
    "identity": _WHO, "kind": "human", "on_behalf_of": [], "assurance": "V1", "target": "planted", "protocol": "postgres",
    "mode": "enforce", "client": "192.0.2.1:1", "purpose": "", "application": "", "record": "full",
}  # fmt: skip


def asked(**terms: object) -> Planted:
    return Planted("approval.requested", {"approval": "planted", "terms": {**TERMS, **terms}}, _WHO, _SID, _T0)


def voted(who: str, *, approve: bool = True, at: int = _T0 + 1000) -> Planted:
    return Planted("approval.voted", {"approval": "planted", "approve": approve, "method": "sshsig", "tier": "software"},
                   who, "", at)  # fmt: skip


def spent(at: int = _T0 + 2000) -> Planted:
    return Planted("approval.spent", {"approval": "planted", "operation": "op"}, _WHO, _SID, at)


def ran(at: int = _T0 + 3000, **more: object) -> Planted:
    verdict = {"outcome": "allow", "rules": ["planted"], "policy": ""}
    body = {"operation": "op", "action": "DELETE", "effect": "write", "text": "planted", "decision": verdict, **more}
    return Planted("operation.permitted", body, _WHO, _SID, at)


def settled(outcome: str = "completed", at: int = _T0 + 4000) -> Planted:
    return Planted("operation.settled", {"operation": "op", "outcome": outcome}, _WHO, _SID, at)


def opened(at: int = _T0, **more: object) -> Planted:
    return Planted("session.opened", {**_OPENED, **more}, _WHO, _SID, at)


CONTROL = Control(
    "A.8.2",
    "Privileged access rights",
    "Who has privileged access, through what, when and why; that it was approved before it was used, by somebody "
    "else, for a limited "
    "time; that all of its use is recorded; that broken glass was reviewed.",
    (SESSIONS, OPERATIONS, APPROVALS, BROKEN_GLASS),
    "Access to a target that does not go through the gateway. Which people may be privileged at all: that is the "
    "issuer's and the "
    "policies', whose texts are in `snapshots/`. Whether a reason given is true.",
    (
        Test(
            "sessions.ended", "sessions", MINOR, "a session is closed, or recovered, within 24 hours", _unended,
            (opened(), Planted("log.beat", {}, at=_T0 + 2 * DAY)), sla="24 h",
        ),
        Test(
            "operations.approved", "operations", MAJOR, "what policy holds ran under an approval or a grant",
            _without_approval,
            (opened(), ran(decision={"outcome": "hold", "rules": ["planted"], "policy": ""}), settled()),
            applies=lambda row: row["decision"] == "hold" and row["event"] == "permitted",
        ),
        Test(
            "operations.outcome", "operations", OBSERVATION, "what became of it is known",
            lambda row: "the target or the gateway ended before the answer" if row["outcome"] == "unknown" else "",
            (opened(), ran(), settled("unknown")),
        ),
        Test(
            "approvals.order", "approvals", MAJOR, "enough votes, no denial, then spending, then running, in the "
            "order of the log",
            _disordered,
            (asked(quorum={"k": 2, "of": [], "seats": {}}), voted(_OTHER), spent(), ran(approval="planted")),
            applies=lambda row: row["spent_leaf"] is not None,
        ),
        Test(
            "approvals.in_time", "approvals", MAJOR, "nothing is spent after it expired",
            lambda row: "" if row["in_time"] else f"expired {row['expires']}, spent at leaf {row['spent_leaf']}",
            (asked(exp=_T0 + 1500), voted(_OTHER), spent(), ran(approval="planted")),
            applies=lambda row: row["kind"] == "statement" and row["spent_leaf"] is not None,
        ),
        Test(
            "breakglass.review", "breakglass", MINOR, "a second person reviews it within one business day", _late,
            (
                Planted("break_glass.used", {"approval": "planted", "target": "planted", "limits": {}}, _WHO, "", _T0),
                Planted("break_glass.reviewed", {"approval": "planted", "justified": True}, _OTHER, "", _T0 + 7 * DAY),
            ),
            sla="1 business day",
        ),
        Test(
            "breakglass.justified", "breakglass", MAJOR, "the review finds it justified",
            lambda row: "the reviewer found it unjustified" if row["review"] == "unjustified" else "",
            (
                Planted("break_glass.used", {"approval": "planted", "target": "planted", "limits": {}}, _WHO, "", _T0),
                Planted("break_glass.reviewed", {"approval": "planted", "justified": False}, _OTHER, "", _T0 + 1000),
            ),
            applies=lambda row: row["review"] != "",
        ),
        Test(
            "breakglass.reviewer", "breakglass", MAJOR, "the reviewer is somebody else",
            lambda row: "reviewed by the one who broke it" if row["reviewer"] == row["subject"] else "",
            (
                Planted("break_glass.used", {"approval": "planted", "target": "planted", "limits": {}}, _WHO, "", _T0),
                Planted("break_glass.reviewed", {"approval": "planted", "justified": True}, _WHO, "", _T0 + 1000),
            ),
            applies=lambda row: row["reviewer"] != "",
        ),
    ),
    soc2=("CC6.1", "CC6.3", "CC8.1"),
    pci=("7.2.1", "7.2.2", "7.3.1", "10.2.1.2"),
    nist=("AC-2", "AC-3(2)", "AC-5", "AC-6", "AC-6(9)", "AC-17"),
)  # fmt: skip
