"""The blast radius of a statement that waits for people: what the target says that it would do.

Contract: `Previews.of` asks the target, over a connection of its own and on record like everything that the gateway
asks, and returns what came of it as a value of canonical JSON. It never raises, and takes at most PATIENCE seconds: what
could not be found out is left out, or its place says why. Every value of a row in it is masked: labelled columns are
gone, and detectors have looked at the rest.

| member | what it says |
|---|---|
| tables | each relation that is written: its rows as the planner knows them, its bytes, how many sessions use it now |
| lock | the strongest lock that it takes on them, and what that blocks |
| cascades | the foreign keys through which it would reach other tables |
| triggers | the triggers and rules of the tables written that would run |
| estimated_rows | how many rows the planner expects it to touch |
| rows, rows_at_least, rows_at_most | how many it would touch now, where counting is cheap |
| not_counted | why there is neither |
| dry_run | what it did in a transaction that was rolled back: rows, and the first of them before and after. Only where the
target's `dry_run` is on |

Nothing of a statement is planned or counted unless each function in it is PostgreSQL's own and known to change nothing:
what waits for approval must not run because somebody asks about it. A dry run changes rows and takes it back; what
it cannot take back (sequences, what a trigger does elsewhere) is why it is refused where any trigger, rule or cascade
would run, and why it is never an INSERT.

The connection sees nothing of an open transaction: what that has changed is counted as it was before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from doorward.errors import DoorwardError, UpstreamError
from doorward.guard.guard import Guard
from doorward.masking.detect import Detectors
from doorward.masking.detectors import redaction
from doorward.model import Effect, Target, identifiers
from doorward.model.target import Mode
from doorward.server.own import CatalogueHolder, OwnStatements, Secrets
from doorward.server.side import Param, Row
from doorward.sql.anatomy import BLOCKS, MOST, Change, Query, dissect, locks, quoted
from doorward.sql.catalogue import Catalogue, Relation
from doorward.sql.classification import Facts, Statement
from doorward.sql.classify import classify

PATIENCE: Final = 12.0  # seconds for all of it
CHEAP: Final = 100_000.0  # of the planner's units of cost: about a second
SECONDS: Final = 2.0  # for one count, and for one dry run
MOST_PLANNED: Final = 1 << 53  # what a record can hold
MOST_LISTED: Final = 50
LONGEST_VALUE: Final = 100
MOST_COLUMNS: Final = 12

# tgtype and ev_type: catalog/pg_trigger.h, nodes/nodes.h
_FIRES: Final = {"INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32, "MERGE": 4 | 8 | 16, "COPY": 4}
_RULES: Final = {"UPDATE": "2", "INSERT": "3", "DELETE": "4", "MERGE": "234", "COPY": "3"}
_ACTIONS: Final = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

_TABLES: Final = """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text, greatest(c.reltuples, -1)::int8,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(c.oid)
            WHEN c.relkind = 'p' THEN (SELECT coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(p.relid)), 0)
                                         FROM pg_catalog.pg_partition_tree(c.oid) p)::int8 ELSE 0 END,
       (SELECT pg_catalog.count(DISTINCT l.pid) FROM pg_catalog.pg_locks l
         WHERE l.relation = c.oid AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
           AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ($1::pg_catalog.oid[])"""
# The tables from which a change starts, and those to which foreign keys carry it; $2 the column with the action, $3 the
# columns that are set (of the first table), or NULL.
_CASCADES: Final = """
WITH RECURSIVE keys AS (
  SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confkey,
         CASE WHEN $2 = 'delete' THEN k.confdeltype ELSE k.confupdtype END AS action
    FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0),
reached (oid, depth) AS (
  SELECT r.oid, 0 FROM pg_catalog.unnest($1::pg_catalog.oid[]) r (oid)
  UNION
  SELECT k.conrelid, reached.depth + 1 FROM reached JOIN keys k ON k.confrelid = reached.oid
   WHERE k.action = 'c' AND reached.depth < 8)
SELECT DISTINCT fn.nspname, fc.relname, tn.nspname, tc.relname, k.conname, k.action::text, greatest(tc.reltuples, -1)::int8,
       reached.depth
  FROM reached JOIN keys k ON k.confrelid = reached.oid AND k.action IN ('c', 'n', 'd')
  JOIN pg_catalog.pg_class fc ON fc.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
  JOIN pg_catalog.pg_class tc ON tc.oid = k.conrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
 WHERE reached.depth > 0 OR $3::text[] IS NULL OR EXISTS (
       SELECT FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey) AND a.attname = ANY ($3::text[]))
 ORDER BY 8, 1, 2, 3, 4, 5"""
_TRIGGERS: Final = """
SELECT n.nspname, c.relname, t.tgname, pn.nspname, p.proname, t.tgtype::int8
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE t.tgrelid = ANY ($1::pg_catalog.oid[]) AND NOT t.tgisinternal AND t.tgenabled NOT IN ('D', 'R')
   AND (t.tgtype::int8 & $2::int8) <> 0
UNION ALL
SELECT n.nspname, c.relname, r.rulename, '', '', 0
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE r.ev_class = ANY ($1::pg_catalog.oid[]) AND r.ev_type <> '1' AND pg_catalog.strpos($3, r.ev_type::text) > 0
ORDER BY 1, 2, 3"""
_KEY: Final = """
SELECT a.attname FROM pg_catalog.pg_index i CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY k (attnum, place)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = $1::pg_catalog.oid AND i.indisprimary ORDER BY k.place"""


@dataclass(frozen=True, slots=True)
class Given:
    """The parameters of a statement as its client bound them (PostgreSQL's Parse and Bind)."""

    params: Sequence[Param] = ()
    formats: Sequence[int] = ()
    oids: Sequence[int] = ()

    def of(self, query: Query) -> dict[str, Any]:
        """Those that a query uses. Raises UpstreamError when there is no such parameter."""
        if any(not 0 < number <= len(self.params) for number in query.parameters):
            raise UpstreamError("42P02: there is no such parameter")
        formats = list(self.formats) * len(self.params) if len(self.formats) == 1 else self.formats
        return {
            "params": [self.params[number - 1] for number in query.parameters],
            "formats": [formats[number - 1] for number in query.parameters] if formats else [],
            "oids": [self.oids[number - 1] if number <= len(self.oids) else 0 for number in query.parameters],
        }


class Previews:
    """Looks ahead for one target."""

    def __init__(self, guard: Guard, target: Target, secrets: Secrets, holder: CatalogueHolder) -> None:
        self._target = target
        self._holder = holder
        self._detectors: Detectors = guard.recorder.detectors
        # Not the connection that reads the catalogue: a slow count must not delay everybody's judgement.
        self._own = OwnStatements(guard, target, secrets)

    async def of(
        self,
        text: str,
        statements: Sequence[Statement],
        given: Given,
        settings: Mapping[str, str],
        search_path: Sequence[str],
    ) -> Mapping[str, Any]:
        """What the statement would do. `settings` are those of its session that decide what it means."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                look = _Look(self._own, self._holder, self._target, self._detectors, found, settings, search_path)
                await look.at(text, statements, given)
        except TimeoutError:
            found["incomplete"] = f"the target took longer than {PATIENCE:g} s to say more"
        except DoorwardError as error:
            found["incomplete"] = self._detectors.mask(error.message)[0][:300]
        return found

    async def close(self) -> None:
        await self._own.close()


class _Look:
    """One look; what it finds goes into `found` as it comes."""

    def __init__(
        self,
        own: OwnStatements,
        holder: CatalogueHolder,
        target: Target,
        detectors: Detectors,
        found: dict[str, Any],
        settings: Mapping[str, str],
        search_path: Sequence[str],
    ) -> None:
        self.own = own
        self.holder = holder
        self.catalogue: Catalogue = holder.catalogue
        self.target = target
        self.detectors = detectors
        self.found = found
        self.search_path = tuple(search_path)
        milliseconds = str(int(SECONDS * 1000))
        path = ", ".join(quoted(name) for name in search_path if name != "pg_catalog")
        self.settings = {
            **settings, "search_path": path, "statement_timeout": milliseconds, "lock_timeout": milliseconds,
        }  # fmt: skip

    async def at(self, text: str, statements: Sequence[Statement], given: Given) -> None:
        written = self.written(statements)
        lock = locks(text)
        if lock:
            self.found["lock"] = {"mode": lock, "blocks": BLOCKS.get(lock, "")}
        verbs = {statement.tag.split()[0] for statement in statements}
        if written:
            await self.tables(written)
            await self.reach(written, verbs, dissect(text))
        if len(statements) != 1:
            self.found["not_counted"] = "it is more than one statement"
            return
        [statement] = statements
        if any(resource.kind == "Function" for resource in statement.resources):
            self.found["not_counted"] = "it calls functions that are not PostgreSQL's own"
            return
        if not statement.plain:
            return
        cost = await self.planned(Query(text, tuple(range(1, len(given.params) + 1))), given)
        change = dissect(text)
        if statement.effect is Effect.READ or change is None:
            return
        await self.count(change, cost, given)
        if self.target.options.get("dry_run") == "yes":
            self.found["dry_run"] = await self.dry_run(change, given)

    def written(self, statements: Sequence[Statement]) -> list[Relation]:
        """The relations that the statements write or define, with their partitions and children."""
        found: dict[int, Relation] = {}
        for statement in statements:
            for resource in statement.resources:
                if resource.kind != "Table" or resource.access is Effect.READ:
                    continue
                try:
                    schema, name = identifiers(resource.name)
                except ValueError:
                    continue
                relation = self.catalogue.find(schema, name)
                if relation is not None:
                    found[relation.oid] = relation
        return list(found.values())[:MOST_LISTED]

    def family(self, relations: Sequence[Relation]) -> str:
        oids = {relation.oid for relation in relations}
        for relation in relations:
            oids.update(self.catalogue.relatives(relation.oid))
        return "{" + ",".join(str(oid) for oid in sorted(oids)[:1000]) + "}"

    async def tables(self, written: Sequence[Relation]) -> None:
        rows = await self.ask("tables", _TABLES, ("{" + ",".join(str(relation.oid) for relation in written) + "}",))
        self.found["tables"] = [
            {"name": f"{schema}.{name}", "rows_about": _number(tuples), "bytes": _number(octets), "used_by": _number(users)}
            for _, schema, name, _, tuples, octets, users in rows
        ]

    async def reach(self, written: Sequence[Relation], verbs: set[str], change: Change | None) -> None:
        """What else would happen: along foreign keys, by triggers, by rules."""
        family = self.family(written)
        listed: list[dict[str, Any]] = []
        for verb, action in (("DELETE", "delete"), ("UPDATE", "update"), ("MERGE", "delete"), ("MERGE", "update")):
            if verb in verbs:
                columns = None
                if action == "update" and change is not None and change.columns:
                    columns = "{" + ",".join(json.dumps(column) for column in change.columns) + "}"
                for from_schema, origin, to_schema, to, key, kind, tuples, _ in (
                    await self.ask("cascades", _CASCADES, (family, action, columns))
                )[:MOST_LISTED]:
                    listed.append({
                        "from": f"{from_schema}.{origin}", "to": f"{to_schema}.{to}", "key": key or "",
                        "rows_about": _number(tuples), "on": action, "action": _ACTIONS.get(kind or "", ""),
                    })  # fmt: skip
        if listed:
            self.found["cascades"] = listed[:MOST_LISTED]
        mask = 0
        for verb in verbs:
            mask |= _FIRES.get(verb, 0)
        rules = "".join(_RULES.get(verb, "") for verb in sorted(verbs))
        if mask:
            fired = [
                {
                    "table": f"{schema}.{name}", "name": trigger or "",
                    "runs": f"{function_schema}.{function}" if function else "a rule",
                    "when": _when(_number(kind)) if function else "instead or also",
                }
                for schema, name, trigger, function_schema, function, kind in (
                    await self.ask("triggers", _TRIGGERS, (family, str(mask), rules))
                )[:MOST_LISTED]
            ]  # fmt: skip
            if fired:
                self.found["triggers"] = fired

    async def planned(self, query: Query, given: Given) -> float | None:
        """The planner's cost; its rows go into what was found."""
        try:
            async with self.own.transaction("preview: plan", self.settings) as ask:
                rows = await ask("EXPLAIN (FORMAT JSON) " + query.text, **given.of(query))
        except UpstreamError:
            return None
        plan = "".join(row[0] or "" for row in rows)
        count, cost = planned(plan)
        if count is not None:
            self.found["estimated_rows"] = count
        return cost

    async def count(self, change: Change, cost: float | None, given: Given) -> None:
        if change.literal >= 0:
            self.found["rows_at_most" if change.at_most else "rows"] = change.literal
            return
        if change.count is None:
            self.found["not_counted"] = "it has a form that cannot be counted without running it"
            return
        if cost is None or cost > CHEAP:
            self.found["not_counted"] = "counting would cost the target too much"
            return
        try:
            async with self.own.transaction("preview: count", self.settings) as ask:
                [[rows]] = await ask(change.count.text, **given.of(change.count))
        except (UpstreamError, ValueError) as error:
            self.found["not_counted"] = f"counting failed: {_sqlstate(error)}"
            return
        counted = _number(rows)
        if change.at_most:
            self.found.update({} if counted > MOST else {"rows_at_most": counted})
        else:
            self.found.update({"rows_at_least": MOST} if counted > MOST else {"rows": counted})

    async def dry_run(self, change: Change, given: Given) -> dict[str, Any]:
        """Do it, look, and take it back."""
        relation = self.resolved(change)
        if change.verb == "insert":
            return {"not_run": "a dry run of an INSERT would use up sequences"}
        if relation is None or relation.kind not in "rp":
            return {"not_run": "only changes of plain and partitioned tables are tried"}
        if "triggers" in self.found or "cascades" in self.found or "incomplete" in self.found:
            return {"not_run": "triggers, rules or foreign keys would run, and what they do may not be taken back"}
        if self.target.mode is Mode.OBSERVE:
            return {"not_run": "the target is in observe mode"}
        key = [row[0] or "" for row in await self.ask("key", _KEY, (str(relation.oid),))]
        before, after = change.before(key), change.after(key)
        if before is None or after is None:
            return {"not_run": "it has a form that cannot be taken apart"}
        told: dict[str, Any] = {}
        try:
            async with self.own.transaction("preview: dry run", self.settings, read_only=False) as ask:
                earlier: list[Row] = []
                if key:  # without one, nobody could tell which row became which
                    earlier = await ask(before.text, **given.of(before))
                later = await ask(after.text, **given.of(after), effect="write")
                await ask("SET CONSTRAINTS ALL IMMEDIATE")
        except UpstreamError as error:
            return {"failed": _sqlstate(error)}
        told["rows"] = _number(later[0][0]) if later else 0
        if key and later:
            of_interest = {*key, *change.columns} if change.columns else {c.name for c in relation.columns}
            shown = [n for n, c in enumerate(relation.columns) if c.name in of_interest][:MOST_COLUMNS]
            told["columns"] = [relation.columns[n].name for n in shown]
            told["before"] = self.masked(before, earlier, shown, 0)
            if change.verb == "update":
                told["after"] = self.masked(after, later, shown, 1)
        return told

    def resolved(self, change: Change) -> Relation | None:
        if change.schema:
            return self.catalogue.find(change.schema, change.relation)
        for schema in self.search_path:
            relation = self.catalogue.find(schema, change.relation)
            if relation is not None:
                return relation
        return None

    def masked(self, query: Query, rows: Sequence[Row], shown: Sequence[int], skip: int) -> list[list[str | None]]:
        """The rows as anybody may see them. What each column may hold is what lineage says of the very query."""
        facts = Facts(self.catalogue, self.search_path, self.holder.labels, self.holder.copied)
        classification = classify(query.text, facts)
        outputs = classification.statements[0].outputs if len(classification.statements) == 1 else None
        told: list[list[str | None]] = []
        for row in rows:
            cells: list[str | None] = []
            for number in shown:
                value = row[skip + number]
                sources = classification.labels
                if outputs is not None:
                    sources = outputs[skip + number].sources if skip + number < len(outputs) else classification.labels
                if value is None:
                    cells.append(None)
                elif sources or classification.effect is Effect.UNKNOWN:
                    cells.append(redaction(min(sources)) if sources else "[unknown]")
                else:
                    cells.append(self.detectors.mask(value[: 4 * LONGEST_VALUE])[0][:LONGEST_VALUE])
            told.append(cells)
        return told

    async def ask(self, name: str, text: str, params: Sequence[str | None]) -> list[Row]:
        return await self.own.query(f"preview: {name}", text, params, timeout=5.0)


def planned(plan: str) -> tuple[int | None, float | None]:
    """The rows that EXPLAIN's JSON expects the statement to touch, and its cost; None for what it does not say, whatever
    else it says."""
    try:
        top = json.loads(plan)[0]["Plan"]
        cost = top.get("Total Cost")
        if top.get("Operation") and top.get("Plans"):  # ModifyTable returns no rows; what it is fed with does
            top = top["Plans"][0]
        count = top["Plan Rows"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None, None
    return (
        count if type(count) is int and 0 <= count < MOST_PLANNED else None,
        float(cost) if type(cost) in (int, float) and 0 <= cost < 1e300 else None,
    )


def _number(value: str | None) -> int:
    return int(value) if value is not None and value.lstrip("-").isdigit() else -1


def _when(kind: int) -> str:
    """tgtype in words (catalog/pg_trigger.h)."""
    when = "instead of" if kind & 64 else "before" if kind & 2 else "after"
    return f"{when} each {'row' if kind & 1 else 'statement'}"


def _sqlstate(error: Exception) -> str:
    """A target's message may quote a value; its SQLSTATE does not."""
    words = str(getattr(error, "message", error))
    return f"SQLSTATE {words[:5]}" if words[5:6] == ":" else "the target did not answer"
