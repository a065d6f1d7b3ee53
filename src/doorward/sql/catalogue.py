"""What is known of a target's catalogue, frozen.

Contract: `QUERIES` are the statements by which a caller loads the facts over a connection of its own, each under a name;
`build` turns their rows into a Catalogue. Reading them needs no right beyond CONNECT. The first query sets search_path
to pg_catalog for its transaction, so that the definitions of views come back with every other schema spelt out: run all
of them in order in ONE transaction.

Temporary relations are left out on purpose: those of other sessions are nobody's business, and those of the session
that is judged cannot be seen from another connection. It does no input or output itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SYSTEM: Final = frozenset({"pg_catalog", "information_schema", "pg_toast"})


@dataclass(frozen=True, slots=True)
class Column:
    """`generated` is the expression of a generated column, "" for any other."""

    name: str
    attnum: int
    type_oid: int
    generated: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """`kind` is pg_class.relkind; `definition` a view's query; `parents` the oids it inherits from or is a partition of."""

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...] = ()
    definition: str = ""
    parents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`functions` maps a function's name to the schemas, pg_catalog aside, that have one of that name; `operators` the
    same for operators, to the functions (schema, name) behind them. `definitions` is a hash that changes whenever a
    function, view, rule or trigger is made, replaced or dropped. `epoch` and `version` say which look this was."""

    relations: tuple[Relation, ...] = ()
    functions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    operators: Mapping[str, frozenset[tuple[str, str, str]]] = field(default_factory=dict)
    schemas: frozenset[str] = frozenset()
    definitions: str = ""
    epoch: int = 0
    version: int = 0
    by_name: dict[tuple[str, str], Relation] = field(default_factory=dict, init=False, repr=False, compare=False)
    oids: dict[int, Relation] = field(default_factory=dict, init=False, repr=False, compare=False)
    kin: dict[int, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    # What lineage derives from these facts and one labelling; both are frozen, so it can only be filled in.
    memo: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        children: dict[int, list[int]] = {}
        for relation in self.relations:
            self.by_name[relation.schema, relation.name] = relation
            self.oids[relation.oid] = relation
            for parent in relation.parents:
                children.setdefault(parent, []).append(relation.oid)
        for relation in self.relations:
            if relation.parents or relation.oid in children:
                family = _reach(relation.oid, lambda oid: self.oids[oid].parents if oid in self.oids else ())
                family |= _reach(relation.oid, lambda oid: children.get(oid, ()))
                self.kin[relation.oid] = tuple(sorted(family - {relation.oid}))

    def find(self, schema: str, name: str) -> Relation | None:
        """The relation of that exact name."""
        return self.by_name.get((schema, name))

    def by_oid(self, oid: int) -> Relation | None:
        return self.oids.get(oid)

    def relatives(self, oid: int) -> tuple[int, ...]:
        """The oids of all its ancestors and descendants by inheritance or partitioning."""
        return self.kin.get(oid, ())


def _reach(start: int, step: Any) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for oid in step(waiting.pop()):
            if oid not in seen:
                seen.add(oid)
                waiting.append(oid)
    return seen


QUERIES: Final[Mapping[str, str]] = {
    "search_path": "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)",
    # oid, schema, name, kind, definition, parents
    "relations": """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text,
       CASE WHEN c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            THEN pg_catalog.pg_get_viewdef(c.oid) ELSE '' END,
       coalesce((SELECT string_agg(i.inhparent::text, ',') FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), '')
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c', 't') AND c.relpersistence <> 't'
   AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp\\_%'
 ORDER BY c.oid""",
    # relation's oid, name, attnum, type's oid, expression of a generated column
    "columns": """
SELECT a.attrelid::int8, a.attname, a.attnum::int8, a.atttypid::int8,
       CASE WHEN a.attgenerated <> '' THEN coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attnum > 0 AND NOT a.attisdropped
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't'
   AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp\\_%'
 ORDER BY a.attrelid, a.attnum""",
    # name, schema
    "functions": """
SELECT DISTINCT p.proname, n.nspname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname <> 'pg_catalog' ORDER BY 1, 2""",
    # operator's name, its schema, its function's schema, its function's name
    "operators": """
SELECT DISTINCT o.oprname, n.nspname, pn.nspname, p.proname
  FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE n.nspname <> 'pg_catalog' ORDER BY 1, 2, 3, 4""",
    # name
    "schemas": "SELECT n.nspname FROM pg_catalog.pg_namespace n ORDER BY 1",
    # one hash of what runs, or is read, behind other names; xmin is another after every CREATE OR REPLACE
    "definitions": """
SELECT md5(coalesce(string_agg(d.what, ' ' ORDER BY d.what COLLATE "C"), '')) FROM (
  SELECT 'f' || p.oid || '.' || p.xmin FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_temp\\_%'
  UNION ALL
  SELECT 'r' || r.oid || '.' || r.xmin FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relpersistence <> 't'
  UNION ALL
  SELECT 't' || t.oid || '.' || t.xmin FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
   WHERE NOT t.tgisinternal AND c.relpersistence <> 't') d (what)""",
}


def build(
    relations: Iterable[Sequence[Any]],
    columns: Iterable[Sequence[Any]],
    functions: Iterable[Sequence[Any]] = (),
    operators: Iterable[Sequence[Any]] = (),
    schemas: Iterable[Sequence[Any]] = (),
    definitions: Iterable[Sequence[Any]] = (),
    *,
    epoch: int = 0,
    version: int = 0,
) -> Catalogue:
    """A Catalogue from the rows of QUERIES. Values may be text, as the simple protocol gives them, or typed.

    Raises ValueError for rows of another shape: a catalogue that was half understood would misjudge.
    """
    attributes: dict[int, list[Column]] = {}
    for owner, name, attnum, type_oid, generated in columns:
        attributes.setdefault(int(owner), []).append(Column(str(name), int(attnum), int(type_oid), str(generated or "")))
    found = tuple(
        Relation(
            int(oid), str(schema), str(name), str(kind), tuple(attributes.get(int(oid), ())), str(definition or ""),
            tuple(int(parent) for parent in str(parents or "").split(",") if parent),
        )
        for oid, schema, name, kind, definition, parents in relations
    )
    named: dict[str, set[str]] = {}
    for name, schema in functions:
        named.setdefault(str(name), set()).add(str(schema))
    marked: dict[str, set[tuple[str, str, str]]] = {}
    for name, schema, function_schema, function in operators:
        marked.setdefault(str(name), set()).add((str(schema), str(function_schema), str(function)))
    return Catalogue(
        found,
        {name: frozenset(held) for name, held in named.items()},
        {name: frozenset(held) for name, held in marked.items()},
        frozenset(str(row[0]) for row in schemas) or frozenset(relation.schema for relation in found),
        "".join(str(row[0]) for row in definitions),
        epoch,
        version,
    )
