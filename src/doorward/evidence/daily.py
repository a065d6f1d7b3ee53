"""Tables with a row for each day and thing: what happens too often for a row each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from doorward.evidence.record import Record, Ref, Row, Value, day
from doorward.evidence.table import Sessions, Table

Counted = Callable[[Record, Sessions], Iterable[tuple[tuple[Value, ...], tuple[int, ...]]]]


@dataclass(slots=True)
class _Sum:
    first: Ref
    last: Ref
    sums: list[int]


class _Daily:
    def __init__(self, count: Counted, own: frozenset[str]) -> None:
        self._count, self._own = count, own
        self._sessions = Sessions()
        self._day = ""
        self._sums: dict[tuple[Value, ...], _Sum] = {}

    def add(self, record: Record) -> Iterable[Row]:
        done: Iterable[Row] = ()
        ref = record.ref
        if ref.type in Sessions.TYPES:
            self._sessions.add(record)
        if ref.type not in self._own:
            return done
        today = day(ref.at)
        if today > self._day:
            done, self._day = self._rows(open_=False), today
        for key, more in self._count(record, self._sessions):
            found = self._sums.get(key)
            if found is None:
                self._sums[key] = _Sum(ref, ref, list(more))
                continue
            found.last = ref
            found.sums = [a + b for a, b in zip(found.sums, more, strict=True)]
        return done

    def _rows(self, *, open_: bool) -> list[Row]:
        rows = [
            Row(each.last, (self._day, *key, *each.sums), (f"{each.first.leaf}-{each.last.leaf}",), open_)
            for key, each in self._sums.items()
        ]
        self._sums.clear()
        return rows

    def end(self, at: int) -> Iterable[Row]:
        return self._rows(open_=True)


def daily(
    name: str,
    keys: Sequence[str],
    sums: Sequence[str],
    own: Iterable[str],
    count: Counted,
    rule: str,
    *,
    sessions: bool = False,
) -> Table:
    """A row for each UTC day and key with the sums of what `count` says of each event: (key, numbers), any number of them.
    `sessions`: it asks for the session that an event is of."""
    types = frozenset(own)
    reads = types | Sessions.TYPES if sessions else types
    return Table(
        name, ("day", *keys, *sums), reads, f"{rule} One row for each UTC day; a day that the period cuts is counted whole.",
        lambda: _Daily(count, types),
    )  # fmt: skip
