"""A.5.34, A.8.11 and A.8.12: personal data, masking, and what leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from doorward.evidence.controls.privileged import opened
from doorward.evidence.daily import daily
from doorward.evidence.record import Record, Row, Value, text
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
    each,
    names,
    number,
    text_of,
)

BULK: Final = 1000  # rows of a session from which on it is listed as an export
_ALSO_READS: Final = "Plain allowed reads that unmask have no leaf of their own: they are in their session's recording."


class _Unmasked:
    def __init__(self) -> None:
        self._sessions = Sessions()

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        values: Sequence[Value]
        if ref.type in Sessions.TYPES:
            self._sessions.add(record)
            return ()
        if ref.type == "token.revealed":
            values = (
                "token", record.actor, "", str(body.get("target", "")), [str(body.get("label", ""))], text_of(body, "reason"),
                names(body.get("rules")), str(body.get("policy", "")), "",
            )  # fmt: skip
            return (Row(ref, values),)
        unmasked = names(decided(body).get("unmask"))
        labels = [label for label in names(body.get("labels")) if label in unmasked]
        if not labels:
            return ()
        session = self._sessions.of(ref.session)
        values = (
            "operation", record.actor or session.subject, ref.session, session.target, labels, session.purpose,
            names(decided(body).get("rules")), str(decided(body).get("policy", "")), str(body.get("approval", "")),
        )  # fmt: skip
        return (Row(ref, values, () if session.ref is None else (session.ref.leaf,)),)

    def end(self, at: int) -> Iterable[Row]:
        return ()


UNMASK = Table(
    "unmask",
    ("kind", "subject", "sid", "resource", "labels", "purpose", "rules", "policy", "approval"),
    Sessions.TYPES | {"operation.permitted", "token.revealed"},
    f"Everybody who was shown labelled data in the clear by an operation with a leaf of its own, or what a token "
    f"stands for. {_ALSO_READS}",
    _Unmasked,
    counts=frozenset(("token.revealed",)),
)


def _purpose(row: Cells) -> str:
    return "" if row["purpose"] or row["approval"] else "no purpose and no approval is on record"


_UNMASKED = Planted(
    "operation.permitted",
    {"operation": "op", "action": "UPDATE", "effect": "write", "labels": ["ssn"],
     "decision": {"outcome": "allow", "rules": ["planted"], "unmask": ["ssn"], "policy": ""}},
    opened().actor, opened().session,
)  # fmt: skip

PRIVACY = Control(
    "A.5.34",
    "Privacy and protection of PII",
    "Who saw personal data in the clear, for what purpose; who looked at recordings, which hold masked answers.",
    (UNMASK,),
    f"The assessment of impact, the legal basis, requests of data subjects. {_ALSO_READS}",
    (
        Test(
            "unmask.purpose", "unmask", MINOR, "whoever sees labelled data in the clear has said what for", _purpose,
            (opened(), _UNMASKED),
        ),
    ),
    also=("log_access",),
    soc2=("P4.1", "P6.1", "C1.1"),
    pci=("3.4.1",),
    nist=("PT-2", "PT-3"),
)  # fmt: skip


# Masking ------------------------------------------------------------------------------------------------------------


def _masked(record: Record, sessions: Sessions) -> Iterable[tuple[tuple[Value, ...], tuple[int, ...]]]:
    masked = record.body.get("masked")
    if isinstance(masked, dict):
        target = sessions.of(record.ref.session).target
        for label, cells in sorted(masked.items()):
            yield (target, str(label)), (number(cells) or 0, number(record.body.get("rows")) or 0, 1)


EFFECT = daily(
    "mask_effect",
    ("resource", "label"),
    ("cells_masked", "rows", "operations"),
    ("operation.settled",),
    _masked,
    "Cells that were masked, by target and label, of operations with a leaf of their own. Of plain allowed reads the "
    "count is in the "
    "SETTLED records of the recordings.",
    sessions=True,
)

TESTS = each(
    "mask_tests",
    ("proof", "resource", "as_identity", "channels", "leaks", "report_sha256", "by"),
    {
        "masking.proved": lambda r: (
            str(r.body.get("proof", "")), str(r.body.get("target", "")), str(r.body.get("identity", "")),
            number(r.body.get("channels")), number(r.body.get("leaks")), str(r.body.get("digest", "")), r.actor,
        ),
    },
    "Each proof of masking: planted values that were looked for, in every reversible spelling, in every byte that came back.",
)  # fmt: skip


def _columns(record: Record) -> list[str]:
    found = record.body.get("columns")
    return [text(" ".join(map(str, each)) if isinstance(each, list) else each) for each in found[:100]] if isinstance(
        found, list
    ) else []  # fmt: skip


def _label(record: Record) -> list[Value]:
    body = record.body
    return [
        record.ref.type.partition(".")[2], record.actor, str(body.get("target", "")), _columns(record), text_of(body,
        "relation"),
    ]  # fmt: skip


RULES = each(
    "mask_rules",
    ("event", "by", "resource", "columns", "relation"),
    {"label.followed": _label, "label.lifted": _label, "target.sampled": _label},
    "Where labels came from and went: followed with copied data, lifted by an administrator; tables that were looked "
    "into to propose "
    "some. Labels of the configuration are in `snapshots/`.",
)

FAILED = each(
    "mask_failures",
    ("sid", "subject", "operation", "reason"),
    {
        "masking.failed": lambda r: (
            r.ref.session,
            r.actor,
            str(r.body.get("operation", "")),
            text_of(r.body, "reason"),
        ),
    },
    "Every result that could not be masked: nothing more of it was sent, and the session ended.",
)


def _leaked(row: Cells) -> str:
    return f"{row['leaks']} of {row['channels']} channels showed a planted value" if row["leaks"] else ""


MASKING = Control(
    "A.8.11",
    "Data masking",
    "Which data is masked for whom; that it works, tried with planted values; who may see it in the clear.",
    (EFFECT, TESTS, RULES, FAILED),
    "Data that no label and no detector names. What an application shows further on.",
    (
        Test(
            "masking.proved", "mask_tests", MAJOR, "no planted value comes out on any channel", _leaked,
            (Planted("masking.proved", {"proof": "p", "target": "t", "identity": "i", "channels": 9, "leaks": 1,
            "digest": ""}),),
        ),
        Test(
            "masking.failed", "mask_failures", OBSERVATION, "every result can be masked",
            lambda row: row["reason"] or "it could not be masked",
            (Planted("masking.failed", {"operation": "", "reason": "it took too long"}),),
        ),
    ),
    also=("unmask",),
    soc2=("CC6.1", "C1.1"),
    pci=("3.4.1", "3.5.1"),
    nist=("AC-3(11)", "SI-19"),
)  # fmt: skip


# What leaves --------------------------------------------------------------------------------------------------------


class _Exports:
    """Sessions with many rows. The closing event has the count, plain reads too."""

    def __init__(self) -> None:
        self._sessions = Sessions()
        self._approved: dict[str, list[str]] = {}

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        if ref.type in ("approval.spent", "grant.used"):
            found = self._approved.setdefault(ref.session, [])
            if len(found) < 100:
                found.append(str(body.get("approval", "")))
            return ()
        if ref.type == "session.opened":
            self._sessions.add(record)
            return ()
        session = self._sessions.of(ref.session)
        approvals = self._approved.pop(ref.session, [])
        self._sessions.add(record)
        rows = number(body.get("rows")) or 0
        if session.ref is None or rows < BULK:
            return ()
        values: Sequence[Value] = (
            ref.session, session.subject, session.chain, session.target, session.application, session.purpose, rows,
            number(body.get("statements")), list(dict.fromkeys(approvals)),
        )  # fmt: skip
        return (Row(session.ref, values, (ref.leaf,)),)

    def end(self, at: int) -> Iterable[Row]:
        return ()


EXPORTS = Table(
    "exports",
    ("sid", "subject", "act_chain", "resource", "application", "purpose", "rows", "statements", "approvals"),
    Sessions.TYPES | {"approval.spent", "grant.used"},
    f"Every session that is over and in which {BULK} rows or more came back or were changed, plain reads included.",
    _Exports,
)


def _stated(row: Cells) -> str:
    return (
        "" if row["purpose"] or row["approvals"] else f"{row['rows']} rows, without a purpose or an approval on record"
    )


LEAKAGE = Control(
    "A.8.12",
    "Data leakage prevention",
    "What large amounts of data left, with whose consent; what was blocked.",
    (EXPORTS,),
    "What became of data after it had reached the client. Statements and API calls that were refused are in `denials`.",
    (
        Test(
            "exports.purpose", "exports", OBSERVATION, f"{BULK} rows or more have a purpose or an approval", _stated,
            (opened(), Planted("session.closed", {"rows": 50_000, "statements": 1, "number": 0}, "", opened().session)),
        ),
    ),
    also=("denials",),
    soc2=("CC6.6", "CC6.7"),
    pci=("3.4.2", "7.2.6"),
    nist=("AC-4", "AC-17", "SC-7"),
)  # fmt: skip
