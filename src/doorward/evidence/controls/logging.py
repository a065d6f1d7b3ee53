"""A.8.15: logging. That the log is whole, that it was never silent, who looked into it, and when it failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from doorward.evidence.record import Record, Ref, Row, Value, day, moment
from doorward.evidence.table import MAJOR, MINOR, Cells, Control, Planted, Table, Test, each, number, text_of

SILENCE: Final = 180  # seconds; a running gateway writes `log.beat` each minute


@dataclass(slots=True)
class _Day:
    day: str
    first: Ref
    last: Ref
    leaves: int = 0
    beats: int = 0
    starts: int = 0
    recovered: int = 0
    gaps: int = 0
    silence: int = 0
    gateways: set[str] = field(default_factory=set)


class _Days:
    """A row for each UTC day, over every leaf."""

    def __init__(self) -> None:
        self._today: _Day | None = None
        self._last: dict[str, Ref] = {}  # a gateway's last leaf

    def leaf(self, ref: Ref) -> Iterable[Row]:
        done: Iterable[Row] = ()
        today = self._today
        this = day(ref.at)
        if today is None or this > today.day:  # a clock that steps back does not begin a day twice
            if today is not None:
                done = (self._row(today),)
            today = self._today = _Day(this, ref, ref)
        before = self._last.get(ref.gateway)
        if before is not None and before.boot == ref.boot:
            today.gaps += ref.seq != before.seq + 1
            today.silence = max(today.silence, ref.at - before.at)
        else:
            today.gaps += ref.seq != 0
        self._last[ref.gateway] = today.last = ref
        today.leaves += 1
        today.gateways.add(ref.gateway)
        kind = ref.type
        today.beats += kind == "log.beat"
        today.starts += kind == "gateway.started"
        today.recovered += kind == "gateway.recovered"
        return done

    def add(self, record: Record) -> Iterable[Row]:
        return ()

    def end(self, at: int) -> Iterable[Row]:
        return () if self._today is None else (self._row(self._today, open_=True),)

    def _row(self, found: _Day, *, open_: bool = False) -> Row:
        values: list[Value] = [
            found.day, found.first.leaf, found.last.leaf, found.leaves, len(found.gateways), found.starts, found.recovered,
            found.beats, found.silence // 1000, found.gaps,
        ]  # fmt: skip
        return Row(found.last, values, (f"{found.first.leaf}-{found.last.leaf}",), open_)


INTEGRITY = Table(
    "log_integrity",
    (
        "day",
        "first_leaf",
        "last_leaf",
        "leaf_count",
        "gateways",
        "starts",
        "crashes",
        "beats",
        "longest_silence_s",
        "seq_gaps",
    ),
    frozenset(),
    "One row for each UTC day with a leaf, computed from the public leaves alone. longest_silence_s: the longest time "
    "between two "
    "leaves of one start of one gateway. seq_gaps: leaves whose number does not follow; a log with one is refused "
    "before it is packed.",
    _Days,
    every_leaf=True,
)

ACCESS = each(
    "log_access",
    ("viewer", "sid"),
    {"recording.viewed": lambda r: (r.actor, str(r.body.get("session", "")))},
    "Every view of a recording, by whom.",
)


def _recovered(record: Record) -> list[Value]:
    body = record.body
    return [
        "crash", "", moment(record.ref.at), f"start {body.get('previous', '')} ended without a stop",
        number(body.get("events")), number(body.get("quarantined")), number(body.get("lost")),
    ]  # fmt: skip


FAILURES = each(
    "log_failures",
    ("kind", "from_ts", "to_ts", "reason", "events_recovered", "quarantined_bytes", "lost_bytes"),
    {
        "gateway.recovered": _recovered,
        "log.unwitnessed": lambda r: (
            "not witnessed", moment(r.ref.at), "", text_of(r.body, "witnesses"), None, None, None
        ),
        "log.witnessed": lambda r: ("witnessed again", "", moment(r.ref.at), "", None, None, None),
        "record.failed": lambda r: (
            "not recording", moment(r.body["failed_at"]), "", text_of(r.body, "reason"), None, None, None
        ),
        "record.restored": lambda r: (
            "recording again", moment(r.body["failed_at"]), moment(r.body["restored_at"]), "", None, None, None
        ),
    },
    "Every time that a gateway ended without a stop, that nothing could be recorded (nothing runs meanwhile), or that too few "
    "witnesses saw the log.",
)  # fmt: skip


def _silent(row: Cells) -> str:
    silence = row["longest_silence_s"]
    return "" if silence <= SILENCE else f"a gateway was silent for {silence} s on {row['day']}"


def _lost(row: Cells) -> str:
    lost = row["lost_bytes"]
    return f"{lost} bytes of the write-ahead log were missing" if lost else ""


_AT: Final = 1_790_000_000_000
_BEAT = Planted("log.beat", {"sessions": 0, "backlog": 0})

CONTROL = Control(
    "A.8.15",
    "Logging",
    "What is logged; that nobody can alter or delete it, administrators included; who reads it; what happens when it fails.",
    (INTEGRITY, ACCESS, FAILURES),
    "What other systems log. That every privileged action came through the gateway: compare the target's own log. What a "
    "compromised gateway chose not to write. Newest leaves that no checkpoint kept elsewhere covers yet.",
    (
        Test(
            "log.silence", "log_integrity", MINOR, f"no gateway that runs is silent for more than {SILENCE} s", _silent,
            (Planted("log.beat", _BEAT.body, at=_AT), Planted("log.beat", _BEAT.body, at=_AT + 3_600_000)),
        ),
        Test(
            "log.lost", "log_failures", MAJOR, "after a crash nothing that was durable is missing", _lost,
            (Planted("gateway.recovered", {"previous": "p", "last_seq": 1, "last_hash": "", "events": 3, "quarantined": 0,
                                           "lost": 12}),),
            applies=lambda row: row["kind"] == "crash",
        ),
    ),
    soc2=("CC7.2",),
    pci=("10.2.1", "10.2.2", "10.3.1", "10.3.2", "10.3.4", "10.7.2"),
    nist=("AU-2", "AU-3", "AU-5", "AU-9", "AU-9(3)", "AU-10", "AU-12"),
)  # fmt: skip
