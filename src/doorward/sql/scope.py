"""What a name in a query can mean: columns, the things in FROM that have them, and the scopes they are seen from.

Contract: a lookup returns the labels of every column the name could stand for, in PostgreSQL's order of scopes; where that is
not certain (columns unknown, a column whose name cannot be told) it adds, and goes on. It never leaves one out. It knows
nothing of parse trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from doorward.sql.classification import NOTHING

# Every relation has these (and "oid" in the catalogues, which pg_attribute does list). They hold no data of the user's.
SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"})


@dataclass(frozen=True, slots=True)
class Col:
    """`name` is "" when it cannot be told: such a column may be meant by any name."""

    name: str
    labels: frozenset[str] = NOTHING


Cols = tuple[Col, ...]
MAX_COLUMNS = 1664  # the server allows no more in a result (MaxTupleAttributeNumber), so neither does `*` over a join


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query returns. `cols` None: unknown number. `labels` covers all of them, known or not."""

    cols: Cols | None = ()
    labels: frozenset[str] = NOTHING


@dataclass(frozen=True, slots=True)
class Item:
    """Something in FROM. `schema` is "" once it has an alias, which hides it."""

    name: str
    cols: Cols | None
    labels: frozenset[str]
    schema: str = ""

    def column(self, name: str) -> tuple[frozenset[str], bool]:
        """The labels that its column of that name may have, and whether there is one for certain."""
        if self.cols is None:
            return self.labels, False
        found, certain = NOTHING, False
        for col in self.cols:
            if col.name == name:
                found, certain = found | col.labels, True
            elif not col.name:
                found = found | col.labels
        return found, certain

    def renamed(self, alias: str, names: list[str]) -> Item:
        """Under an alias, which may rename the first of its columns too."""
        cols = self.cols
        if cols is not None and names:
            cols = tuple(Col(names[i], col.labels) if i < len(names) else col for i, col in enumerate(cols))
        return Item(alias or self.name, cols, self.labels, "" if alias else self.schema)


@dataclass(slots=True)
class Scope:
    """One query's FROM, growing from left to right, inside its parent's. `body` is the query's tree."""

    parent: Scope | None = None
    items: list[Item] = field(default_factory=list)
    ctes: dict[str, Rows] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    def everything(self) -> frozenset[str]:
        """The labels of all that can be seen from here."""
        found: frozenset[str] = NOTHING
        scope: Scope | None = self
        while scope is not None:
            for item in scope.items:
                found = found | item.labels
            scope = scope.parent
        return found

    def column(self, name: str) -> tuple[frozenset[str], bool, bool]:
        """The labels of an unqualified column, whether there is one for certain, and whether there may be one."""
        found, possible = NOTHING, False
        scope: Scope | None = self
        while scope is not None:
            certain = False
            for item in scope.items:
                labels, sure = item.column(name)
                found = found | labels
                certain = certain or sure
                possible = possible or item.cols is None
            if certain:
                return found, True, True
            scope = scope.parent
        return found, False, possible or bool(found)

    def find(self, name: str, schema: str = "") -> list[Item]:
        """The items that a qualifier means: those of the innermost scope that has any."""
        scope: Scope | None = self
        while scope is not None:
            hits = [item for item in scope.items if item.name == name and (not schema or item.schema == schema)]
            if hits:
                return hits
            scope = scope.parent
        return []


def positions(left: Cols | None, right: Cols | None) -> Cols | None:
    """The columns of a set operation: by position, named by the first."""
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple(Col(a.name, a.labels | b.labels) for a, b in zip(left, right, strict=True))


def joined(left: Cols | None, right: Cols | None, using: list[str] | None) -> Cols | None:
    """What `*` means over a join: the merged columns, then the rest of the left, then of the right. `using` None is a
    natural join."""
    if left is None or right is None or len(left) + len(right) > MAX_COLUMNS:
        return None
    if using is None:
        if any(not col.name for col in left + right):
            return None
        theirs = {col.name for col in right}
        using = [col.name for col in left if col.name in theirs]
    if not using:
        return left + right
    merged = tuple(
        Col(name, frozenset().union(*(col.labels for col in left + right if col.name in (name, "")))) for name in using
    )
    rest = tuple(col for col in left if col.name not in using) + tuple(col for col in right if col.name not in using)
    if any(not col.name for col in left + right):
        return None
    return merged + rest
