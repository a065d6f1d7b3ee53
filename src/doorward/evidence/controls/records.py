"""A.5.28, A.5.33 and A.8.24: evidence, records, and the keys that both rest on."""

from __future__ import annotations

from collections.abc import Iterable

from doorward.evidence.record import Record, Row, Value, moment
from doorward.evidence.table import MAJOR, MINOR, Cells, Control, Planted, Table, Test, each, number, text_of


def _epoch(record: Record) -> list[Value]:
    body = record.body
    return [
        "record key", str(body.get("epoch", "")), str(body.get("class", "")), record.ref.type.partition(".")[2],
        moment(number(body.get("due")) or 0), record.actor, "",
    ]  # fmt: skip


def _approver(record: Record) -> list[Value]:
    body = record.body
    return [
        f"approver's key {body.get('method', '')}".strip(), str(body.get("key", "")), str(body.get("tier", "")),
        record.ref.type.partition(".")[2], "", str(body.get("owner", "")), "",
    ]  # fmt: skip


def _vault(record: Record) -> list[Value]:
    body = record.body
    return ["token vault", str(body.get("epoch", "")), "", "rotated", "", record.actor, text_of(body, "old")]


KEYS = each(
    "keys",
    ("use", "key", "class", "event", "due", "custodian", "detail"),
    {
        "key_epoch.created": _epoch, "key_epoch.destroyed": _epoch,
        "approver_key.registered": _approver, "approver_key.revoked": _approver,
        "token.resealed": _vault,
    },
    "The life of each key: what records of a class and month are sealed under (due: from when on it may be "
    "destroyed), approvers' "
    "keys, and the token vault's. The log's own key is in `trust/policy.txt`.",
)  # fmt: skip

CRYPTO = Control(
    "A.8.24",
    "Use of cryptography",
    "Which keys there are, for what, since when; how they are rotated, revoked and destroyed.",
    (KEYS,),
    "Keys of TLS certificates, of the issuer and of targets. Where the root key is kept, and who may read it.",
    soc2=("CC6.1",),
    pci=("3.6.1", "3.7.1", "3.7.4", "3.7.5"),
    nist=("SC-12", "SC-13"),
)

EVIDENCE = Control(
    "A.5.28",
    "Collection of evidence",
    "That evidence is complete and unaltered, that copies are the same, that the system worked when it was collected.",
    (),
    "What became of the pack after it was handed over. The pack itself shows that it is whole (its manifest is "
    "signed, its log "
    "consistent); `log_integrity` that the record was kept on each day; `log_access` who has looked into recordings.",
    also=("log_integrity", "log_access"),
    soc2=("CC7.3", "CC7.4"),
    pci=("10.3.2", "12.10.5"),
    nist=("AU-9", "AU-10", "IR-4"),
)


def _class(record: Record) -> list[Value]:
    body = record.body
    return [
        str(body.get("class", "")), str(body.get("epoch", "")), record.ref.type.partition(".")[2],
        moment(number(body.get("due")) or 0), record.actor, bool(body.get("late")), number(body.get("recordings")),
        number(body.get("held")),
    ]  # fmt: skip


RETENTION = each(
    "retention",
    ("class", "epoch", "event", "due", "by", "late", "recordings", "held"),
    {"key_epoch.created": _class, "key_epoch.destroyed": _class, "retention.deleted": _class},
    "Each retention class by month: when its key was made, from when on it may be destroyed, when what was due was deleted "
    "(late: over 31 days after), how many recordings went and how many stayed under a hold, when the key was destroyed.",
)


class _Deletions:
    """What is held now, to say of each deletion whether it was."""

    def __init__(self) -> None:
        self._held: dict[str, set[str]] = {}

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        if ref.type == "recording.held":
            self._held.setdefault(ref.session, set()).add(str(body.get("hold", "")))
        elif ref.type == "recording.released":
            self._held.pop(ref.session, None)  # said of a recording that is under no hold any more
        else:
            due = number(body.get("due")) or 0
            held = sorted(self._held.pop(ref.session, ()))
            values = (ref.session, str(body.get("epoch", "")), moment(due), bool(due) and ref.at < due, bool(held), held)
            return (Row(ref, values),)
        return ()

    def end(self, at: int) -> Iterable[Row]:
        return ()


DELETIONS = Table(
    "deletions",
    ("sid", "epoch", "due", "early", "held", "holds"),
    frozenset(("recording.deleted", "recording.held", "recording.released")),
    "Every recording that was deleted: when it was due, whether that was early, and whether it was under a hold.",
    _Deletions,
    counts=frozenset(("recording.deleted",)),
)


def _hold(record: Record) -> list[Value]:
    body = record.body
    sessions = body.get("sessions")
    return [
        record.ref.type.partition(".")[2], str(body.get("hold", "")), text_of(body, "case"), text_of(body, "reason"),
        len(sessions) if isinstance(sessions, list) else None, text_of(body, "identity"), text_of(body, "target"),
        record.actor, str(body.get("requested_by", "")),
    ]  # fmt: skip


HOLDS = each(
    "legal_holds",
    ("event", "hold", "case", "reason", "sessions", "identity", "resource", "by", "requested_by"),
    {f"hold.{event}": _hold for event in ("applied", "release_requested", "released")},
    "Every legal hold: what it holds, for which case; who asked that it be released, and the second person who did.",
)


def _alone(row: Cells) -> str:
    return "released by the one who asked for it" if row["by"] == row["requested_by"] else ""


def _undue(row: Cells) -> str:
    return "" if row["due"] or row["class"] in ("hold",) else f"class {row['class']} has no end"


RECORDS = Control(
    "A.5.33",
    "Protection of records",
    "The schedule of retention; that records are protected until then, and gone after it.",
    (RETENTION, DELETIONS, HOLDS),
    "Copies outside the gateway's directory: backups, exports, packs that were handed over.",
    (
        Test(
            "retention.due", "retention", MINOR, "every class of records has an end", _undue,
            (Planted("key_epoch.created", {"epoch": "x", "class": "std", "due": 0}),),
            applies=lambda row: row["event"] == "created",
        ),
        Test(
            "retention.late", "retention", MINOR, "what is due is deleted within 31 days",
            lambda row: f"deleted late, due {row['due']}" if row["late"] else "",
            (Planted("retention.deleted", {"epoch": "x", "class": "std", "due": 1, "late": True}),),
            applies=lambda row: row["event"] == "deleted",
        ),
        Test(
            "deletions.early", "deletions", MAJOR, "nothing is deleted before it is due",
            lambda row: f"deleted before {row['due']}" if row["early"] else "",
            (Planted("recording.deleted", {"epoch": "x", "due": 2**45}, session="s"),),
        ),
        Test(
            "deletions.held", "deletions", MAJOR, "nothing is deleted that is under a hold",
            lambda row: f"it was under {', '.join(row['holds'])}" if row["held"] else "",
            (
                Planted("recording.held", {"hold": "h", "case": "c"}, session="s"),
                Planted("recording.deleted", {"epoch": "x", "due": 1}, session="s"),
            ),
        ),
        Test(
            "holds.two", "legal_holds", MAJOR, "a hold is released by a second person", _alone,
            (Planted("hold.released", {"hold": "h", "case": "c", "requested_by": "i|a"}, "i|a"),),
            applies=lambda row: row["event"] == "released",
        ),
    ),
    also=("log_integrity",),
    soc2=("C1.2", "P4.2"),
    pci=("10.5.1", "3.2.1"),
    nist=("AU-11", "SI-12"),
)  # fmt: skip
