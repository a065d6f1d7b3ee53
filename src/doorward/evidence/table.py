"""What a control is made of: tables, and tests over their rows.

A table says in one place what it is called, which columns it has, which event types it rests on and how its rows follow from
them: a Fold is fed every event of those types, from the log's first leaf on, in order. `counts` are the types of which it
has exactly one row a leaf, which is what makes completeness arithmetic.

A test is a claim about each row of one table. Its `check` is a pure function: the row by column, to what was found instead
of what was expected, or "". With it stands a violation, a small history that must fail it, so that no test is one that
cannot fail.

Does not know where events come from, nor where rows go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from doorward.evidence.record import COMMON, LAST, Record, Ref, Row, Value, common, text

MAJOR, MINOR, OBSERVATION = SEVERITIES = ("major", "minor", "observation")

Cells: TypeAlias = Mapping[str, Any]  # a row by column


class Fold(Protocol):
    """The state of one table. Bounded by what is open, never by how long the log is."""

    def add(self, record: Record) -> Iterable[Row]:
        """The rows that are complete with this event."""
        ...

    def end(self, at: int) -> Iterable[Row]:
        """The rows of what is still open, with `open` set. `at` is the time of the log's last leaf, Unix ms."""
        ...


class LeafFold(Fold, Protocol):
    """A table over the public leaves themselves, of any type."""

    def leaf(self, ref: Ref) -> Iterable[Row]: ...


@dataclass(frozen=True, slots=True)
class Table:
    """`rule` says in words what a row is. `reads` are the event types that `fold` is to be fed; `counts` those of them with
    one row a leaf."""

    name: str
    columns: tuple[str, ...]
    reads: frozenset[str]
    rule: str
    fold: Callable[[], Fold]
    counts: frozenset[str] = frozenset()
    version: int = 1
    every_leaf: bool = False  # its fold is a LeafFold

    def cells(self, row: Row) -> dict[str, Any]:
        """A row by column."""
        names = (*COMMON, *self.columns, LAST)
        return dict(zip(names, (*common(row.ref), *row.values, row.leaves), strict=True))


class _Each:
    """A row for each event: of what one event says there is nothing to wait for."""

    def __init__(self, rows: Mapping[str, Callable[[Record], Sequence[Value] | None]]) -> None:
        self._rows = rows

    def add(self, record: Record) -> Iterable[Row]:
        values = self._rows[record.ref.type](record)
        return () if values is None else (Row(record.ref, values),)

    def end(self, at: int) -> Iterable[Row]:
        return ()


def each(
    name: str,
    columns: Sequence[str],
    rows: Mapping[str, Callable[[Record], Sequence[Value] | None]],
    rule: str,
    *,
    some: Iterable[str] = (),
) -> Table:
    """A table with a row for each event, as a function of that event alone. Of the types in `some` not every event has a row
    (its function says None), so that these are not counted against leaves."""
    reads = frozenset(rows)
    return Table(name, tuple(columns), reads, rule, lambda: _Each(rows), counts=reads - frozenset(some))


@dataclass(frozen=True, slots=True)
class Planted:
    """An event of a violation: what an Event has, without its place."""

    type: str
    body: Mapping[str, Any]
    actor: str = ""
    session: str = ""
    at: int = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class Test:
    """A claim about each row of `table`. `check`: "" where the row bears it out, else what was found. `applies`: whether the
    claim is about this row at all; the others are no part of its population. `violation` must fail it."""

    id: str
    table: str
    severity: str
    expected: str
    check: Callable[[Cells], str]
    violation: Sequence[Planted]
    applies: Callable[[Cells], bool] = lambda row: True
    sla: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Control:
    """One control: what an auditor asks, what answers, and what the record cannot say about it."""

    id: str
    title: str
    asks: str
    tables: tuple[Table, ...]
    outside: str
    tests: tuple[Test, ...] = ()
    # Tables of other controls that this one is answered by too.
    also: tuple[str, ...] = ()
    soc2: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()
    nist: tuple[str, ...] = ()


# Members of event bodies that many tables show ----------------------------------------------------------------------


def chain(identity: Mapping[str, Any] | None) -> list[str]:
    """On whose behalf: the ids of an identity's delegation chain, as `guard.describe` writes it, without the first."""
    found: list[str] = []
    link = (identity or {}).get("on_behalf_of")
    while isinstance(link, Mapping) and len(found) < 32:
        found.append(f"{link.get('issuer', '')}|{link.get('subject', '')}")
        link = link.get("on_behalf_of")
    return found


def names(value: object, most: int = 100) -> list[str]:
    """A list of texts of a body, bounded."""
    return [str(item) for item in value[:most]] if isinstance(value, (list, tuple)) else []


def number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def resources(body: Mapping[str, Any]) -> list[str]:
    """What an operation touches, each as `access kind name`."""
    found = body.get("resources") or ()
    return [f"{r[2]} {r[0]} {r[1]}" for r in found[:100] if len(r) == 3]


def decided(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decision in a body; empty where there is none."""
    found = body.get("decision")
    return found if isinstance(found, Mapping) else {}


@dataclass(slots=True)
class Opened:
    """What later events of a session do not repeat."""

    ref: Ref | None
    target: str = ""
    subject: str = ""
    application: str = ""
    purpose: str = ""
    chain: list[str] = field(default_factory=list)


class Sessions:
    """Who and what the open sessions are, for folds whose events name only the session."""

    TYPES: Final = frozenset(("session.opened", "session.closed", "session.recovered"))
    _NOBODY: Final = Opened(None)

    def __init__(self) -> None:
        self._open: dict[str, Opened] = {}

    def add(self, record: Record) -> None:
        """An event of TYPES."""
        if record.ref.type == "session.opened":
            body = record.body
            self._open[record.ref.session] = Opened(
                record.ref, body.get("target", ""), body.get("identity", ""), text_of(body, "application"),
                text_of(body, "purpose"), names(body.get("on_behalf_of")),
            )  # fmt: skip
        else:
            self._open.pop(record.ref.session, None)

    def of(self, session: str) -> Opened:
        """`ref` is None for a session that is not open."""
        return self._open.get(session, self._NOBODY)


def text_of(body: Mapping[str, Any], name: str) -> str:
    """A text of a body, cut for a table."""
    return text(body.get(name, ""))
