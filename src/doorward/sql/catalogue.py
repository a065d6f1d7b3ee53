"""What is known of a target's catalogue, frozen.

Contract: `QUERIES` are the statements by which a caller loads the facts over a connection of its own, each under a name;
`relations` and `build` turn their rows into a Catalogue. Reading them needs no right beyond CONNECT. search_path must be
pg_catalog and nothing else, so that the definitions of views come back with every other schema spelt out.

Most looks find nothing new, and most of what there is belongs to PostgreSQL itself. So `marks` comes first: hashes over the
row versions (xmin) of all that the other queries read. While a mark stays as it was, what it stands for needs no reading.

Temporary relations are left out on purpose: those of other sessions are nobody's business, and those of the session
that is judged cannot be seen from another connection. It does no input or output itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
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
    """`kind` is pg_class.relkind; `definition` a view's query; `parents` the oids it inherits from or is a partition
    of; `fires` says that writing to it runs triggers or rules of somebody's own."""

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...] = ()
    definition: str = ""
    parents: tuple[int, ...] = ()
    fires: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`functions` maps a function's name to the schemas, pg_catalog aside, that have one of that name; `operators` the
    same for operators, to the functions (schema, name) behind them. `definitions` is a hash that changes whenever a
    function, view, rule or trigger is made, replaced or dropped. `setters` says whether code in this database could change
    search_path or role without being called by name: "code" when a function, view, default, check, trigger or rule could,
    "read" when reading a plain table could run it too, "event" when a definition could. `version` says which look this was."""

    relations: tuple[Relation, ...] = ()
    functions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    operators: Mapping[str, frozenset[tuple[str, str, str]]] = field(default_factory=dict)
    schemas: frozenset[str] = frozenset()
    definitions: str = ""
    setters: frozenset[str] = frozenset()
    version: int = 0
    by_name: dict[tuple[str, str], Relation] = field(default_factory=dict, init=False, repr=False, compare=False)
    oids: dict[int, Relation] = field(default_factory=dict, init=False, repr=False, compare=False)
    kin: dict[int, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    # What lineage derives from these facts and one labelling; both are frozen, so it can only be filled in.
    memo: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

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


# What belongs to the catalogue at all: c is a relation, n its schema.
_RELATIONS: Final = r"""pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c', 't') AND c.relpersistence <> 't'
   AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp\_%'"""
# What has a lower oid was made by initdb: FirstNormalObjectId in access/transam.h.
_SYSTEM, _OTHER = "< 16384", ">= 16384"

# oid, schema, name, kind, definition, parents, fires
_RELATION: Final = """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text,
       CASE WHEN c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            THEN pg_catalog.pg_get_viewdef(c.oid) ELSE '' END,
       coalesce((SELECT string_agg(i.inhparent::text, ',') FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), ''),
       (EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
        OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'))::text
  FROM $relations WHERE c.oid $which ORDER BY c.oid"""
# relation's oid, name, attnum, type's oid, expression of a generated column
_COLUMN: Final = """
SELECT a.attrelid::int8, a.attname, a.attnum::int8, a.atttypid::int8,
       CASE WHEN a.attgenerated <> '' THEN coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END
  FROM $relations JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.oid $which AND c.relkind <> 't' AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum"""
# Three hashes: of PostgreSQL's own relations; of everything else that the other queries read; and of what runs, or is
# read, behind other names (a Catalogue's `definitions`). xmin is another after every change, CREATE OR REPLACE too.
_MARKS: Final = r"""
SELECT coalesce(pg_catalog.md5(string_agg(what, ' ' ORDER BY what COLLATE "C") FILTER (WHERE part = 'system')), ''),
       coalesce(pg_catalog.md5(string_agg(what, ' ' ORDER BY what COLLATE "C") FILTER (WHERE part = 'other')), ''),
       pg_catalog.md5(coalesce(string_agg(what, ' ' ORDER BY what COLLATE "C") FILTER (WHERE part = 'definitions'), ''))
  FROM (
  SELECT CASE WHEN c.oid $system THEN 'system' ELSE 'other' END, 'c' || c.oid || '.' || c.xmin FROM $relations
  UNION ALL
  SELECT CASE WHEN c.oid $system THEN 'system' ELSE 'other' END, 'a' || c.oid || '.' || a.attnum || '.' || a.xmin
    FROM $relations JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
  UNION ALL
  SELECT 'other', 'd' || d.oid || '.' || d.xmin FROM pg_catalog.pg_attrdef d
  UNION ALL
  SELECT 'other', 'k' || k.oid || '.' || k.xmin FROM pg_catalog.pg_constraint k WHERE k.oid $other
  UNION ALL
  SELECT 'other', 't' || t.oid || '.' || t.xmin FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal
  UNION ALL
  SELECT 'other', 'e' || e.oid || '.' || e.xmin FROM pg_catalog.pg_event_trigger e
  UNION ALL
  SELECT 'other', 'x' || k.oid || '.' || k.xmin FROM pg_catalog.pg_cast k WHERE k.oid $other
  UNION ALL
  SELECT 'other', 'y' || y.oid || '.' || y.xmin FROM pg_catalog.pg_policy y
  UNION ALL
  SELECT 'other', 'i' || i.inhrelid || '.' || i.inhparent || '.' || i.xmin FROM pg_catalog.pg_inherits i
  UNION ALL
  SELECT 'other', 'n' || n.oid || '.' || n.xmin FROM pg_catalog.pg_namespace n
  UNION ALL
  SELECT 'other', 'o' || o.oid || '.' || o.xmin FROM pg_catalog.pg_operator o
   WHERE o.oprnamespace <> 'pg_catalog'::pg_catalog.regnamespace
  UNION ALL
  SELECT 'other', 'p' || p.oid || '.' || p.xmin FROM pg_catalog.pg_proc p
   WHERE p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
  UNION ALL
  SELECT 'other', 'r' || r.oid || '.' || r.xmin FROM pg_catalog.pg_rewrite r WHERE r.oid $other
  UNION ALL
  SELECT 'definitions', 'f' || p.oid || '.' || p.xmin FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_temp\_%'
  UNION ALL
  SELECT 'definitions', 'r' || r.oid || '.' || r.xmin FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'definitions', 't' || t.oid || '.' || t.xmin FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND c.relpersistence <> 't') d (part, what)"""
# What code must hold to change what names mean, or as whom it runs: names of settings and of what sets them, text that
# is executed, and identifiers spelt by code points. Of what is not SQL or PL/pgSQL nobody can say; C is trusted, for who
# could load it needs nothing from us.
_SETS: Final = (
    "'set_config|pg_settings|search_path|standard_conforming|client_encoding|session_|_to_xml|ts_stat|ts_rewrite|dblink"
    "|crosstab|connectby|xpath_table|u&|\\m(schema|role|authorization|names|execute|discard|reset)\\M'"
)
# Commands in a function that hold further code as text, in which any of these may be spelt by escapes.
_HOLDS: Final = "'\\m(do|create)\\M'"
# what it is, its name, its schema; of an operator also its function's schema and name
_NAMES: Final = r"""
WITH setters AS (
  SELECT EXISTS (
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE p.oid $other AND l.lanname NOT IN ('c', 'internal') AND (l.lanname NOT IN ('sql', 'plpgsql')
        OR p.prosrc ~* $holds
        OR CASE WHEN p.prosrc = '' THEN pg_catalog.pg_get_functiondef(p.oid) ELSE p.prosrc END ~* $sets)
    UNION ALL
    SELECT FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc p ON p.oid::pg_catalog.oid IN (
        a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid, a.aggcombinefn::pg_catalog.oid,
        a.aggserialfn::pg_catalog.oid, a.aggdeserialfn::pg_catalog.oid, a.aggmtransfn::pg_catalog.oid,
        a.aggminvtransfn::pg_catalog.oid, a.aggmfinalfn::pg_catalog.oid)
     WHERE a.aggfnoid::pg_catalog.oid $other AND p.proname ~* $sets
    UNION ALL
    SELECT FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode::pg_catalog.oid
     WHERE o.oid $other AND p.proname ~* $sets
    UNION ALL
    SELECT FROM pg_catalog.pg_rewrite r WHERE r.oid $other AND pg_catalog.pg_get_ruledef(r.oid) ~* $sets
    UNION ALL
    SELECT FROM pg_catalog.pg_attrdef d WHERE pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~* $sets
    UNION ALL
    SELECT FROM pg_catalog.pg_constraint k
     WHERE k.oid $other AND k.contype = 'c' AND pg_catalog.pg_get_constraintdef(k.oid) ~* $sets
    UNION ALL
    SELECT FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND pg_catalog.pg_get_triggerdef(t.oid) ~* $sets
    UNION ALL
    SELECT FROM pg_catalog.pg_policy y
     WHERE pg_catalog.concat(pg_catalog.pg_get_expr(y.polqual, y.polrelid),
                             pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid)) ~* $sets) AS found)
SELECT 'setters', 'code', '', '', '' FROM setters WHERE found
UNION ALL
SELECT 'setters', 'read', '', '', '' FROM setters WHERE found AND (EXISTS (
      SELECT FROM pg_catalog.pg_policy y
       WHERE pg_catalog.concat(pg_catalog.pg_get_expr(y.polqual, y.polrelid),
                               pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid)) ~* $sets OR EXISTS (
         SELECT FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_class c
             ON c.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = y.oid
            AND coalesce(c.relkind, 'f') NOT IN ('r', 'p')))
    OR EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castfunc $other)
    OR EXISTS (
      SELECT FROM pg_catalog.pg_constraint k
       WHERE k.oid $other AND k.contypid <> 0 AND (pg_catalog.pg_get_constraintdef(k.oid) ~* $sets OR EXISTS (
         SELECT FROM pg_catalog.pg_depend d  -- what is PostgreSQL's own is not among these
          WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
            AND d.refclassid <> 'pg_catalog.pg_type'::pg_catalog.regclass))))
UNION ALL
SELECT 'setters', 'event', '', '', '' FROM setters WHERE found AND EXISTS (SELECT FROM pg_catalog.pg_event_trigger)
UNION ALL
SELECT DISTINCT 'function', p.proname::text, n.nspname::text, '', ''
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog'
UNION ALL
SELECT DISTINCT 'operator', o.oprname::text, n.nspname::text, pn.nspname::text, p.proname::text
  FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE n.nspname <> 'pg_catalog'
UNION ALL
SELECT 'schema', n.nspname::text, '', '', '' FROM pg_catalog.pg_namespace n ORDER BY 1, 2, 3, 4, 5"""

QUERIES: Final[Mapping[str, str]] = {
    name: Template(text).substitute(relations=_RELATIONS, which=which, system=_SYSTEM, other=_OTHER, sets=_SETS, holds=_HOLDS)
    for name, text, which in (
        ("marks", _MARKS, ""),
        ("system relations", _RELATION, _SYSTEM),
        ("system columns", _COLUMN, _SYSTEM),
        ("relations", _RELATION, _OTHER),
        ("columns", _COLUMN, _OTHER),
        ("names", _NAMES, ""),
    )
}


def relations(rows: Iterable[Sequence[Any]], columns: Iterable[Sequence[Any]]) -> tuple[Relation, ...]:
    """Relations from the rows of two of QUERIES. Values may be text or typed. Raises ValueError for rows of another shape:
    a catalogue that was half understood would misjudge."""
    attributes: dict[int, list[Column]] = {}
    for owner, name, attnum, type_oid, generated in columns:
        attributes.setdefault(int(owner), []).append(
            Column(str(name), int(attnum), int(type_oid), str(generated or ""))
        )
    return tuple(
        Relation(
            int(oid), str(schema), str(name), str(kind), tuple(attributes.get(int(oid), ())), str(definition or ""),
            tuple(int(parent) for parent in str(parents or "").split(",") if parent), str(fires) == "true",
        )
        for oid, schema, name, kind, definition, parents, fires in rows
    )  # fmt: skip


def build(
    found: Sequence[Relation], names: Iterable[Sequence[Any]] = (), definitions: str = "", *, version: int = 0
) -> Catalogue:
    """A Catalogue from relations and the rows of QUERIES["names"]. Raises ValueError for rows of another shape."""
    functions: dict[str, set[str]] = {}
    operators: dict[str, set[tuple[str, str, str]]] = {}
    schemas: set[str] = set()
    setters: set[str] = set()
    for kind, name, schema, function_schema, function in names:
        if kind == "function":
            functions.setdefault(str(name), set()).add(str(schema))
        elif kind == "operator":
            operators.setdefault(str(name), set()).add((str(schema), str(function_schema), str(function)))
        elif kind == "schema":
            schemas.add(str(name))
        elif kind == "setters":
            setters.add(str(name))
        else:
            raise ValueError(f"a name of kind {kind!r}")
    return Catalogue(
        tuple(found),
        {name: frozenset(held) for name, held in functions.items()},
        {name: frozenset(held) for name, held in operators.items()},
        frozenset(schemas) or frozenset(relation.schema for relation in found),
        definitions,
        frozenset(setters),
        version=version,
    )
