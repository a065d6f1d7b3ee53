"""A.5.28, A.5.33 and A.8.24: evidence, records, and the keys that both rest on."""

from __future__ import annotations

from doorward.evidence.record import Record, Value, moment
from doorward.evidence.table import MINOR, Cells, Control, Planted, Test, each, number, text_of


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
        "key_epoch.created": _epoch, "approver_key.registered": _approver, "approver_key.revoked": _approver,
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
        moment(number(body.get("due")) or 0), record.actor,
    ]  # fmt: skip


RETENTION = each(
    "retention",
    ("class", "epoch", "event", "due", "by"),
    {"key_epoch.created": _class},
    "Each retention class by month: its key, and from when on that may be destroyed, which deletes what was recorded "
    "under it.",
)


def _undue(row: Cells) -> str:
    return "" if row["due"] or row["class"] in ("hold",) else f"class {row['class']} has no end"


RECORDS = Control(
    "A.5.33",
    "Protection of records",
    "The schedule of retention; that records are protected until then, and gone after it.",
    (RETENTION,),
    "Copies outside the gateway's directory: backups, exports, packs that were handed over.",
    (
        Test(
            "retention.due", "retention", MINOR, "every class of records has an end", _undue,
            (Planted("key_epoch.created", {"epoch": "x", "class": "std", "due": 0}),),
        ),
    ),
    also=("log_integrity",),
    soc2=("C1.2", "P4.2"),
    pci=("10.5.1", "3.2.1"),
    nist=("AU-11", "SI-12"),
)  # fmt: skip
