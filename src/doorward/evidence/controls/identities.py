"""A.5.16 and A.5.18: identities, human and not, from their first appearance to their revocation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from doorward.evidence.controls.privileged import opened
from doorward.evidence.record import Record, Ref, Row, Value, moment
from doorward.evidence.table import MAJOR, MINOR, Cells, Control, Planted, Table, Test, each, names, number, text_of

MOST_LEAVES = 1000  # that one row names


@dataclass(slots=True)
class _Identity:
    first: Ref
    last: Ref
    kind: str = ""
    sessions: int = 0
    logins: int = 0
    tokens: int = 0
    owner: str = ""
    status: str = "active"


class _Identities:
    """Bounded by how many identities there are."""

    def __init__(self) -> None:
        self._known: dict[str, _Identity] = {}
        self._named: dict[str, str] = {}  # an agent's name -> its id
        self._revoked: dict[str, str] = {}  # a revocation's id -> whose

    def add(self, record: Record) -> Iterable[Row]:
        ref, body, kind = record.ref, record.body, record.ref.type
        if kind == "session.opened":
            found = self._see(str(body.get("identity", "")), ref)
            found.kind, found.sessions = str(body.get("kind", "")), found.sessions + 1
        elif kind == "browser.signed_in":
            found = self._see(record.actor, ref)
            found.kind, found.logins = found.kind or "human", found.logins + 1
        elif kind == "token.exchanged":
            found = self._see(record.actor, ref)
            identity = body.get("identity")
            found.kind = str(identity.get("kind", "")) if isinstance(identity, dict) else found.kind
            found.tokens += 1
        elif kind == "agent.registered":
            id_ = str(body.get("id", ""))
            found = self._see(id_, ref)
            found.kind, found.owner = "agent", str(body.get("owner", ""))
            self._named[str(body.get("name", ""))] = id_
        elif kind.startswith("agent."):
            known = self._known.get(self._named.get(str(body.get("agent", "")), ""))
            if known is not None:
                known.last = ref
                if kind == "agent.owner_changed":
                    known.owner = str(body.get("new", ""))
                else:
                    known.status = "disabled" if kind == "agent.disabled" else "active"
        else:
            self._revocation(record)
        return ()

    def _see(self, id_: str, ref: Ref) -> _Identity:
        found = self._known.get(id_)
        if found is None:
            found = self._known[id_] = _Identity(ref, ref)
        found.last = ref
        return found

    def _revocation(self, record: Record) -> None:
        body = record.body
        id_ = str(body.get("revocation", ""))
        if record.ref.type == "identity.revoked" and body.get("kind") in ("subject", "agent"):
            self._revoked[id_] = str(body.get("value", ""))
            known = self._known.get(self._revoked[id_])
            if known is not None and not body.get("before"):
                known.status, known.last = "revoked", record.ref
        elif record.ref.type == "revocation.lifted":
            known = self._known.get(self._revoked.pop(id_, ""))
            if known is not None:
                known.status, known.last = "active", record.ref

    def end(self, at: int) -> Iterable[Row]:
        for id_, found in self._known.items():
            issuer, _, subject = id_.partition("|")
            values: list[Value] = [
                id_, issuer, subject, found.kind, found.owner, moment(found.first.at), moment(found.last.at), found.sessions,
                found.logins, found.tokens, found.status,
            ]  # fmt: skip
            yield Row(found.first, values, () if found.last is found.first else (found.last.leaf,), open=True)


IDENTITIES = Table(
    "identities",
    ("subject", "issuer", "name", "kind", "owner", "first_seen", "last_seen", "sessions", "logins", "tokens", "status"),
    frozenset(
        ("session.opened", "browser.signed_in", "token.exchanged", "agent.registered", "agent.disabled", "agent.enabled",
         "agent.owner_changed", "identity.revoked", "revocation.lifted")
    ),
    "Everybody, human or not, who was ever let in or registered, up to the checkpoint: from when, until when, how "
    "often, and whether "
    "they are revoked or disabled. owner: the person who answers for a registered agent.",
    _Identities,
)  # fmt: skip


def _agent(record: Record) -> list[Value]:
    body, kind = record.body, record.ref.type.partition(".")[2]
    name = str(body.get("name", body.get("agent", "")))
    owner = str(body.get("owner", body.get("new", "")))
    return [
        kind,
        name,
        str(body.get("id", "")),
        owner,
        str(body.get("old", "")),
        names(body.get("groups")),
        record.actor,
    ]


AGENTS = each(
    "agents",
    ("event", "agent", "identity", "owner", "owner_before", "groups", "by"),
    {f"agent.{event}": _agent for event in ("registered", "disabled", "enabled", "owner_changed")},
    "The life of each registered agent: registered, disabled, enabled, given to another owner; and by whom.",
)


def _ownerless(row: Cells) -> str:
    return "" if row["owner"] else "no person answers for this agent"


IDENTITY = Control(
    "A.5.16",
    "Identity management",
    "The life of identities, human and non-human; that each is one's own; who answers for an agent.",
    (IDENTITIES, AGENTS),
    "Joiners, movers and leavers: your personnel records and the issuer know them. Identities that never came to the "
    "gateway.",
    (
        Test(
            "identities.owner", "identities", MINOR, "each agent has a person who answers for it", _ownerless,
            (opened(kind="agent"),), applies=lambda row: row["kind"] == "agent",
        ),
        Test(
            "agents.owner", "agents", MAJOR, "an agent is registered with an owner", _ownerless,
            (Planted("agent.registered", {"name": "planted", "id": "x", "owner": "", "groups": []}),),
            applies=lambda row: row["event"] in ("registered", "owner_changed"),
        ),
    ),
    soc2=("CC6.1", "CC6.2"),
    pci=("8.2.1", "8.2.2", "8.2.4", "8.6.1"),
    nist=("AC-2", "IA-2", "IA-4", "IA-9"),
)  # fmt: skip


# Revocation -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Revoked:
    record: Record
    after: int = 0
    leaf: int = 0
    lifted: Ref | None = None


class _Revocations:
    def __init__(self) -> None:
        self._open: dict[str, _Revoked] = {}
        self._whose: dict[str, str] = {}  # whom all tokens are revoked of -> the revocation

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        id_ = str(body.get("revocation", ""))
        if ref.type == "identity.revoked":
            self._open[id_] = _Revoked(record)
            if body.get("kind") in ("subject", "agent") and not body.get("before"):
                self._whose[str(body.get("value", ""))] = id_
            return ()
        if ref.type == "session.opened":
            found = self._open.get(self._whose.get(str(body.get("identity", "")), ""))
            if found is not None:
                until = number(found.record.body.get("until")) or 0
                if not until or ref.at < until:
                    found.after, found.leaf = found.after + 1, found.leaf or ref.leaf
            return ()
        lifted = self._open.pop(id_, None)
        if lifted is None:
            return ()
        lifted.lifted = ref
        if self._whose.get(str(lifted.record.body.get("value", ""))) == id_:
            del self._whose[str(lifted.record.body.get("value", ""))]
        return (self._row(lifted),)

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(found) for found in self._open.values()]

    @staticmethod
    def _row(found: _Revoked) -> Row:
        body, lifted = found.record.body, found.lifted
        values: list[Value] = [
            str(body.get("revocation", "")), str(body.get("kind", "")), str(body.get("value", "")),
            str(body.get("by", "")) or found.record.actor, text_of(body, "reason"), moment(number(body.get("before")) or 0),
            moment(number(body.get("until")) or 0), moment(lifted.at) if lifted else "", found.after,
        ]  # fmt: skip
        leaves = [leaf for leaf in (found.leaf, lifted.leaf if lifted else 0) if leaf]
        return Row(found.record.ref, values, sorted(leaves), lifted is None)


REVOCATIONS = Table(
    "revocations",
    ("revocation", "kind", "subject", "by", "reason", "before", "until", "lifted", "sessions_after"),
    frozenset(("identity.revoked", "revocation.lifted", "session.opened")),
    "Everybody and everything that is let in no longer, by whom and why. sessions_after: sessions that they opened "
    "while it held.",
    _Revocations,
    counts=frozenset(("identity.revoked",)),
)

_WHO = opened().actor


@dataclass(slots=True)
class _Review:
    ref: Ref
    by: str
    targets: list[str]
    lines: int
    due: int
    kept: int = 0
    revoked: int = 0
    leaves: list[int | str] = field(default_factory=list)


class _Reviews:
    """Bounded by how many reviews are open, and how many decisions of revoked lines."""

    def __init__(self) -> None:
        self._open: dict[str, _Review] = {}

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        id_ = str(body.get("review", ""))
        if ref.type == "access_review.opened":
            self._open[id_] = _Review(
                ref, record.actor, names(body.get("targets")), number(body.get("lines")) or 0, number(body.get("due")) or 0
            )
            return ()
        found = self._open.get(id_)
        if found is None:
            return ()
        if ref.type == "access_review.decided":
            if body.get("verdict") == "revoke":
                found.revoked += 1
            else:
                found.kept += 1
            if len(found.leaves) < MOST_LEAVES:
                found.leaves.append(ref.leaf)
            return ()
        del self._open[id_]
        found.leaves.append(ref.leaf)
        return (self._row(id_, found, ref.at),)

    def end(self, at: int) -> Iterable[Row]:
        for id_, found in self._open.items():
            yield self._row(id_, found, 0, late=bool(found.due) and found.due < at)

    def _row(self, id_: str, found: _Review, closed: int, *, late: bool = False) -> Row:
        overdue = late or bool(closed and found.due and closed > found.due)
        values: list[Value] = [
            id_, found.by, found.targets, found.lines, found.kept, found.revoked, found.lines - found.kept - found.revoked,
            moment(found.due), moment(closed), overdue,
        ]  # fmt: skip
        return Row(found.ref, values, found.leaves, open=not closed)


REVIEWS = Table(
    "access_reviews",
    ("review", "by", "targets", "lines", "kept", "revoked", "undecided", "due", "closed", "overdue"),
    frozenset(("access_review.opened", "access_review.decided", "access_review.closed")),
    "Every review of who can reach what: by whom, when it was due, what was decided. Its lines are in the records of "
    "access_review.listed.",
    _Reviews,
    counts=frozenset(("access_review.opened",)),
)

RIGHTS = Control(
    "A.5.18",
    "Access rights",
    "How rights are given, for how long, by whom; that they end. The last leavers, and that their access was revoked.",
    (REVOCATIONS, REVIEWS),
    "Who left, and when: give the auditor the list, to be looked up in `identities` and `revocations`. Standing "
    "rights follow from "
    "the issuer's groups and the policies in `snapshots/`. Requests and grants for limited time are in `approvals`.",
    (
        Test(
            "revocations.hold", "revocations", MAJOR, "nobody who is revoked opens a session",
            lambda row: f"{row['sessions_after']} sessions were opened after it" if row["sessions_after"] else "",
            (Planted("identity.revoked", {"revocation": "r", "kind": "subject", "value": _WHO, "before": 0, "until": 0}),
            opened()),
        ),
        Test(
            "access_reviews.done", "access_reviews", MINOR, "reviews of access are done when they are due, to the last line",
            lambda row: "it was not closed when it was due" if row["overdue"]
            else f"{row['undecided']} lines were never decided" if row["closed"] and row["undecided"] else "",
            (Planted("access_review.opened", {"review": "v", "targets": [], "days": 90, "due": 1, "lines": 2, "digest": ""}),),
        ),
    ),
    also=("approvals", "breakglass", "identities"),
    soc2=("CC6.2", "CC6.3"),
    pci=("7.2.4", "8.2.5", "8.2.6"),
    nist=("AC-2", "AC-2(3)", "AC-6(7)"),
)  # fmt: skip
