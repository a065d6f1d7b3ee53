"""A.8.16, A.8.17, A.8.18 and A.8.32: monitoring, clocks, utility programs, change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from doorward.evidence.controls.privileged import opened, ran, settled
from doorward.evidence.record import Record, Ref, Row, Value, day, moment, text
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
    resources,
    text_of,
)

# Monitoring ---------------------------------------------------------------------------------------------------------


def _sent(record: Record) -> list[Value]:
    body, kind = record.body, record.ref.type.partition(".")[2]
    return [
        kind, str(body.get("channel", "")), text_of(body, "kind"), text_of(body, "about"), number(body.get("count")) or 1,
        text(body.get("answer", body.get("reason"))),
    ]  # fmt: skip


ALERTS = each(
    "alerts",
    ("event", "channel", "kind", "about", "count", "answer"),
    {
        "notification.sent": _sent, "notification.dropped": _sent, "notification.tested": _sent,
        "break_glass.review_due": lambda r: (
            "review overdue", "", "reviews", str(r.body.get("approval", "")), 1, moment(number(r.body.get("due")) or 0)
        ),
    },
    "Everything that people were told of, on which channel, and what was not delivered; and every review that was overdue.",
)  # fmt: skip


RECONCILED = each(
    "reconciliations",
    ("resource", "source", "seen", "ours", "expected", "bypass", "impostor", "unread", "first", "last"),
    {
        "target.reconciled": lambda r: (
            str(r.body.get("target", "")), str(r.body.get("source", "")),
            *(number(r.body.get(name)) for name in ("seen", "ours", "expected", "bypass", "impostor", "unread")),
            moment(number(r.body.get("first")) or 0), moment(number(r.body.get("last")) or 0),
        ),
    },
    "Each time that a target's own account of its connections was held against the record: how many it saw, and how "
    "many were ours.",
)  # fmt: skip

BYPASS = each(
    "bypass",
    ("finding", "resource", "source", "verdict", "why", "started", "role", "database", "client", "applications",
    "statements"),
    {
        "bypass.found": lambda r: (
            str(r.body.get("finding", "")), str(r.body.get("target", "")), str(r.body.get("source", "")),
            str(r.body.get("verdict", "")), text_of(r.body, "why"), moment(number(r.body.get("started")) or 0),
            text_of(r.body, "role"), text_of(r.body, "database"), text_of(r.body, "client"),
            names(r.body.get("applications")),
            number(r.body.get("statements")),
        ),
    },
    "Every connection to a target that the record does not explain: somebody went around the gateway, or bears a "
    "session's name.",
)  # fmt: skip


def _bypassed(row: Cells) -> str:
    return f"{row['verdict']}: {row['role']} from {row['client'] or 'somewhere'}, {row['why']}"


MONITORING = Control(
    "A.8.16",
    "Monitoring activities",
    "Which alerts there were, and whom they reached; that the record was compared with the targets' own; what was found.",
    (ALERTS, RECONCILED, BYPASS),
    "What people did about an alert outside the gateway. Monitoring by other systems, to which events are sent.",
    (
        Test(
            "bypass.none", "bypass", MAJOR, "nobody reaches a target around the gateway", _bypassed,
            (Planted("bypass.found", {"finding": "f", "target": "t", "source": "log", "verdict": "bypass", "why": "planted",
                                      "started": 1, "role": "r", "client": "c"}),),
        ),
        Test(
            "alerts.delivered", "alerts", MINOR, "what people are to be told reaches them",
            lambda row: f"{row['count']} messages were not sent: {row['answer']}" if row["event"] == "dropped" else "",
            (Planted("notification.dropped", {"channel": "c", "kind": "requests", "count": 2, "reason": "expired"}),),
            applies=lambda row: row["event"] in ("sent", "dropped"),
        ),
    ),
    also=("log_access", "log_failures"),
    soc2=("CC7.2", "CC7.3"),
    pci=("10.4.1", "10.4.1.1", "10.4.3"),
    nist=("AU-6", "SI-4"),
)  # fmt: skip


# Clocks -------------------------------------------------------------------------------------------------------------

STEP: Final = 1000  # ms that a clock may step back between two leaves of one gateway


@dataclass(slots=True)
class _Clock:
    first: Ref
    last: Ref
    leaves: int = 1
    steps: int = 0
    largest: int = 0


class _Clocks:
    """A row for each day and gateway, over every leaf."""

    def __init__(self) -> None:
        self._today: dict[str, _Clock] = {}

    def leaf(self, ref: Ref) -> Iterable[Row]:
        clock = self._today.get(ref.gateway)
        if clock is None:
            self._today[ref.gateway] = _Clock(ref, ref)
            return ()
        back = clock.last.at - ref.at
        if back > 0:
            clock.steps += 1
            clock.largest = max(clock.largest, back)
        elif day(ref.at) > day(clock.last.at) and day(ref.at) > day(clock.first.at):
            self._today[ref.gateway] = _Clock(ref, ref)
            return (self._row(clock),)
        clock.last = ref
        clock.leaves += 1
        return ()

    def add(self, record: Record) -> Iterable[Row]:
        return ()

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(clock, open_=True) for clock in self._today.values()]

    @staticmethod
    def _row(clock: _Clock, *, open_: bool = False) -> Row:
        values = (day(clock.first.at), clock.leaves, clock.steps, clock.largest)
        return Row(clock.last, values, (f"{clock.first.leaf}-{clock.last.leaf}",), open_)


CLOCKS = Table(
    "clock",
    ("day", "leaf_count", "steps_back", "largest_step_back_ms"),
    frozenset(),
    "One row for each UTC day and gateway (`gw_id`), from the public leaves alone: how often and how far its clock "
    "stepped back "
    "between two leaves. Time stamps in `log/tsr/` and witnesses' cosignatures bound the times from outside.",
    _Clocks,
    every_leaf=True,
)


def _stepped(row: Cells) -> str:
    step = row["largest_step_back_ms"]
    return f"the clock of {row['gw_id']} stepped back by {step} ms" if step > STEP else ""


STAMPS = each(
    "stamps",
    ("size", "number", "authority", "policy", "serial", "stamped", "delta_ms", "sha256"),
    {
        "log.stamped": lambda r: (
            number(r.body.get("size")), number(r.body.get("number")), text_of(r.body, "authority"), text_of(r.body, "policy"),
            text_of(r.body, "serial"), moment(number(r.body.get("stamped_at")) or 0),
            r.ref.at - (number(r.body.get("stamped_at")) or 0), str(r.body.get("sha256", "")),
        ),
    },
    "Every time stamp over a checkpoint by an authority outside. delta_ms: the gateway's clock, when it wrote that down, "
    "less the authority's time. The stamps themselves are in `log/tsr/`.",
)  # fmt: skip


def _apart(row: Cells) -> str:
    delta = row["delta_ms"]
    return f"the gateway's clock and the authority's are {delta} ms apart" if not -STEP <= delta <= 60 * STEP else ""


CLOCK = Control(
    "A.8.17",
    "Clock synchronization",
    "That times on record are right: the sources of time, and how far clocks were off.",
    (CLOCKS, STAMPS),
    "The host's source of time and its offset: its own time service knows. The log shows steps back, and what stamps "
    "and witnesses say.",
    (
        Test(
            "clock.steps", "clock", MINOR, f"no clock steps back by more than {STEP} ms", _stepped,
            (Planted("log.beat", {}, at=1_790_000_005_000), Planted("log.beat", {}, at=1_790_000_000_000)),
        ),
        Test(
            "clock.stamps", "stamps", MINOR, "the gateway's clock agrees with the stamping authority's", _apart,
            (Planted("log.stamped", {"size": 1, "number": 1, "stamped_at": 1_790_000_000_000 + 3_600_000}),),
        ),
    ),
    soc2=("CC7.2",),
    pci=("10.6.1", "10.6.2", "10.6.3"),
    nist=("AU-8", "SC-45"),
)  # fmt: skip


# Utility programs ---------------------------------------------------------------------------------------------------

_UTILITY: Final = re.compile(
    r"(?i)pg_dump|pg_restore|pg_basebackup|pg_recvlogical|pg_receivewal|psql|vacuumdb|reindexdb|clusterdb|pgbench|pgadmin|dbeaver|"
    r"datagrip|adminer|sqlcmd"
)  # fmt: skip
_STRONG: Final = ("control", "unknown")


class _Utilities:
    def __init__(self) -> None:
        self._sessions = Sessions()

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        values: Sequence[Value]
        if ref.type in Sessions.TYPES:
            self._sessions.add(record)
            application = str(body.get("application", ""))
            if ref.type != "session.opened" or not _UTILITY.search(application):
                return ()
            values = (
                "program", text(application), ref.session, str(body.get("identity", "")), str(body.get("target", "")), "",
                text_of(body, "purpose"), "",
            )  # fmt: skip
            return (Row(ref, values),)
        if body.get("effect") not in _STRONG:
            return ()
        session = self._sessions.of(ref.session)
        values = (
            "statement", str(body.get("action", "")), ref.session, record.actor or session.subject, session.target,
            text(body.get("text")), session.purpose, str(body.get("approval", "")),
        )  # fmt: skip
        return (Row(ref, values, () if session.ref is None else (session.ref.leaf,)),)

    def end(self, at: int) -> Iterable[Row]:
        return ()


UTILITIES = Table(
    "utilities",
    ("kind", "program", "sid", "subject", "resource", "text", "purpose", "approval"),
    Sessions.TYPES | {"operation.permitted", "operation.observed"},
    "Every session whose client says that it is a utility (pg_dump, psql, pgAdmin and the like; a client may say "
    "anything), and every "
    "statement that controls the server or of which nothing is known.",
    _Utilities,
)

PROGRAMS = Control(
    "A.8.18",
    "Use of privileged utility programs",
    "Who ran programs that can override controls, with whose approval.",
    (UTILITIES,),
    "Programs that say they are something else. What runs on the target's own machine.",
    (
        Test(
            "utilities.approved", "utilities", MINOR, "statements that control the server are approved",
            lambda row: "" if row["approval"] else f"{row['program']} ran without an approval",
            (opened(), ran(effect="control", action="ALTER SYSTEM"), settled()),
            applies=lambda row: row["kind"] == "statement",
        ),
    ),
    soc2=("CC6.3", "CC6.8"),
    pci=("7.2.2", "10.2.1.2"),
    nist=("AC-6(9)", "CM-7"),
)  # fmt: skip


# Change -------------------------------------------------------------------------------------------------------------


class _Changes:
    def __init__(self) -> None:
        self._sessions = Sessions()
        self._open: dict[str, tuple[Record, str, str, Ref | None]] = {}

    def add(self, record: Record) -> Iterable[Row]:
        ref, body = record.ref, record.body
        if ref.type in Sessions.TYPES:
            self._sessions.add(record)
            return ()
        id_ = str(body.get("operation", ""))
        if ref.type != "operation.settled":
            if body.get("effect") == "define":
                session = self._sessions.of(ref.session)
                self._open[id_] = (record, session.target, session.purpose, session.ref)
            return ()
        found = self._open.pop(id_, None)
        return () if found is None else (self._row(found, record),)

    def end(self, at: int) -> Iterable[Row]:
        return [self._row(found, None) for found in self._open.values()]

    @staticmethod
    def _row(found: tuple[Record, str, str, Ref | None], last: Record | None) -> Row:
        record, target, purpose, session = found
        body = record.body
        values: Sequence[Value] = (
            str(body.get("operation", "")), record.ref.session, record.actor, target, str(body.get("action", "")),
            text(body.get("text")), resources(body), names(decided(body).get("rules")), purpose, str(body.get("approval",
            "")),
            "open" if last is None else str(last.body.get("outcome", "")),
        )  # fmt: skip
        leaves = [each.leaf for each in (session, last.ref if last else None) if each is not None]
        return Row(record.ref, values, sorted(leaves), last is None)


CHANGES = Table(
    "changes",
    ("operation", "sid", "subject", "resource", "action", "text", "touches", "rules", "purpose", "approval", "outcome"),
    Sessions.TYPES | {"operation.permitted", "operation.observed", "operation.settled"},
    "Every statement that defines: creates, alters or drops what the target is made of.",
    _Changes,
)


def _untied(row: Cells) -> str:
    return "" if row["purpose"] or row["approval"] else "it names no ticket, no purpose and no approval"


CHANGE = Control(
    "A.8.32",
    "Change management",
    "Which changes were made to production, tied to which ticket and approval.",
    (CHANGES,),
    "Changes that did not come through the gateway; whether a ticket says the same: look it up. Policy changes are in "
    "`policy_changes`.",
    (
        Test(
            "changes.tied", "changes", MINOR, "a change names a purpose or was approved", _untied,
            (opened(), ran(effect="define", action="ALTER TABLE"), settled()),
            applies=lambda row: row["subject"] != "doorward|doorward",
        ),
        Test(
            "changes.done", "changes", OBSERVATION, "what became of a change is known",
            lambda row: f"outcome {row['outcome']}" if row["outcome"] in ("unknown", "open") else "",
            (opened(), ran(effect="define", action="ALTER TABLE"), settled("unknown")),
        ),
    ),
    also=("policy_changes",),
    soc2=("CC8.1",),
    pci=("6.5.1", "6.5.2"),
    nist=("CM-3", "CM-5"),
)  # fmt: skip
