"""The walk's ground: what it collects, and what names of relations, functions, operators and settings mean to it.

Contract: everything collected only grows; a name that cannot be settled is collected as a miss or as a reason for UNKNOWN,
never dropped. Work is bounded by a budget of nodes and a depth of queries. Expressions are in expressions.py, queries in
queries.py, statements in statements.py; together they are one walk, which gives effect and lineage at once.

Not seen from here, and so not judged: what triggers, rules, defaults, row security policies, casts and type input
functions run. Whoever may define those may run code as whoever uses the table; `define` is the right to withhold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from doorward.model import Effect, Resource, dotted
from doorward.sql import functions, settings
from doorward.sql.catalogue import SYSTEM, Relation
from doorward.sql.classification import NOTHING, SETTING, Facts, every
from doorward.sql.parse import Unparsable, parse
from doorward.sql.scope import Col, Cols, Item, Rows, Scope

MAX_NODES = 2_000_000  # of one text's trees, counting again what a recursive query makes the walk visit again
MAX_DEPTH = 60  # queries within queries, views within views
MAX_LABELLINGS = 8  # of one catalogue, whose lineage is remembered
ANYTHING = ("*", "*")

# Columns of the system's own relations that can show what is in any table: values as statistics, statements with their
# literals, large objects. None: all of them.
REVEALING: dict[str, frozenset[str] | None] = {
    "pg_stats": frozenset({"most_common_vals", "histogram_bounds", "most_common_elems", "range_bounds_histogram",
                           "range_length_histogram", "avg_width", "correlation", "elem_count_histogram",
                           "most_common_elem_freqs", "most_common_freqs", "n_distinct", "range_empty_frac"}),
    "pg_stats_ext": frozenset({"most_common_vals", "most_common_val_nulls", "most_common_base_freqs", "most_common_freqs",
                               "n_distinct", "dependencies"}),
    "pg_stats_ext_exprs": None,
    "pg_statistic": None,
    "pg_statistic_ext_data": None,
    "pg_stat_activity": frozenset({"query", "application_name"}),
    "pg_stat_replication": frozenset({"application_name"}),
    "pg_stat_statements": None,
    "pg_largeobject": None,
    "pg_toast": None,
    "pg_prepared_statements": frozenset({"statement"}),
    "pg_cursors": frozenset({"name", "statement"}),
    "pg_publication_tables": frozenset(),
    "pg_subscription": frozenset({"subconninfo"}),  # this and the next three hold passwords of other systems
    "pg_user_mappings": frozenset({"umoptions"}),
    "user_mapping_options": frozenset({"option_value"}),
    "_pg_user_mappings": frozenset({"umoptions"}),
}
# .. and those that show what a setting holds, or a name that code has given to something of the session's.
STATEFUL = {"pg_settings": "setting", "pg_prepared_statements": "name"}
# Hold password hashes and the like, and only superusers can read them: that is not like reading a table.
SECRET = frozenset({"pg_authid", "pg_shadow", "pg_user_mapping", "pg_hba_file_rules"})


class ExhaustedError(Exception):
    """The budget is spent. Does not leave the package."""


class Walker:
    """Collects what one statement does. One instance a statement."""

    def __init__(self, facts: Facts, *, unsure_path: bool = False, changed: frozenset[tuple[str, str]] = frozenset(),
                 temporary: frozenset[str] = NOTHING, viewing: tuple[int, ...] = (), budget: int = MAX_NODES // 20) -> None:
        self.facts = facts
        self.catalogue = facts.catalogue
        self.top = every(facts) if facts.labels or facts.copied else NOTHING
        self.unsure_path = unsure_path
        self.changed = changed or facts.changed
        self.temporary = temporary or facts.temporary
        self.viewing = viewing
        self.resources: dict[Resource, None] = {}
        self.misses: list[str] = []
        self.reason = ""
        self.forbidden = ""
        self.inferred: frozenset[str] = NOTHING
        self.labels: frozenset[str] = NOTHING  # of everything touched
        self.stored: frozenset[str] = NOTHING
        self.copies: set[tuple[str, str, str, str]] = set()
        self.escapes: dict[tuple[str, str], None] = {}
        self.settings: list[tuple[str, str | None, bool]] = []
        self.defines: set[tuple[str, str]] = set()
        self.inferring = False  # within an expression all of whose labels are inferred
        self.reads = False  # something within it shows what a setting holds
        self.fixed = False  # whether a constant of the text decided anything
        self.access = Effect.READ  # what naming a relation in FROM means just now: WRITE under FOR UPDATE
        self.depth = 0
        self.budget = budget

    # -- collecting

    def unknown(self, reason: str) -> None:
        """Notes why this statement cannot be judged. The first reason is the one that is told."""
        self.reason = self.reason or reason

    def touch(self, kind: str, name: str, access: Effect) -> None:
        if (access is Effect.DEFINE or (access is Effect.WRITE and kind == "Table")) and (
            name.partition(".")[0] in ("pg_catalog", "information_schema")
        ):
            access = Effect.CONTROL  # the catalogues are what every other rule rests on
        self.resources[Resource(kind, name, access)] = None

    def spend(self, nodes: int = 1) -> None:
        self.budget -= nodes
        if self.budget < 0:
            raise ExhaustedError

    def miss(self, name: str, what: str) -> None:
        if name not in self.misses:
            self.misses.append(name)
        self.unknown(f"{what} {name} is not known")

    def escape(self, labels: frozenset[str], where: str) -> None:
        """Data of these labels would get somewhere that cannot have a label."""
        self.stored = self.stored | labels
        for label in sorted(labels):
            self.escapes[label, where] = None

    def lands(self, var: dict[str, Any], column: str, labels: frozenset[str]) -> None:
        """Data of these labels gets into a column ("*": into any) of a relation that is there. What is temporary is masked
        whole, so it needs none."""
        self.stored = self.stored | labels
        if not labels or var.get("relpersistence") == "t" or str(var.get("schemaname", "")).startswith("pg_temp"):
            return
        name = var.get("relname", "")
        for where, relation in self.resolve(var.get("schemaname", ""), name):
            self.put(where, name, relation, column, labels)

    def put(self, schema: str, name: str, relation: Relation | None, column: str, labels: frozenset[str]) -> None:
        if relation is not None:
            for col in self.shape(relation)[0]:
                if col.name == column:
                    labels = labels - col.labels
            if relation.kind == "v":
                self.escape(labels, f"what stands behind view {schema}.{name}")
                return
            kin = (self.catalogue.oids.get(oid) for oid in self.catalogue.relatives(relation.oid))
            if relation.fires or any(each.fires for each in kin if each is not None):
                self.escape(labels, f"what the triggers or rules of {schema}.{name} write")
        self.copies.update((schema, name, column, label) for label in labels)

    # -- relations

    def relation(self, var: dict[str, Any], scope: Scope | None, access: Effect) -> Item:
        """What a RangeVar means: a common table expression, or a relation, which is touched."""
        schema, name = var.get("schemaname", ""), var.get("relname", "")
        if not schema and scope is not None and name in scope.ctes:
            rows = scope.ctes[name]
            return Item(name, rows.cols, rows.labels)
        items = []
        if schema == "pg_temp" or schema.startswith("pg_temp_") or (not schema and name in self.temporary):
            self.touch("Table", dotted("pg_temp", name), access)
            if schema not in ("", "pg_temp"):
                self.unknown(f"relation {schema}.{name} is another session's")
            items.append(Item(name, None, self.top, schema))
        if not schema.startswith("pg_temp"):
            items += [self.found(where, name, relation, access) for where, relation in self.resolve(schema, name)]
        if not items:
            self.miss(f"{schema}.{name}" if schema else name, "relation")
            items.append(Item(name, None, self.top, schema))
        for item in items:
            self.labels = self.labels | item.labels
        if len(items) == 1:
            return items[0]
        return Item(name, None, frozenset().union(*(item.labels for item in items)), schema)

    def resolve(self, schema: str, name: str) -> list[tuple[str, Relation | None]]:
        """Where a relation of that name may be, in the server's order: normally one place. One that the open transaction
        changed may be gone or new, so the search goes on past it."""
        if not schema and self.unsure_path:
            self.unknown(f"search_path may have changed earlier in the same text, so {name} cannot be told: "
                         "send this statement on its own, or name the schema")
        found: list[tuple[str, Relation | None]] = []
        for where in (schema,) if schema else self.facts.search_path:
            relation = self.catalogue.by_name.get((where, name))
            if (where, name) in self.changed or (relation is not None and ANYTHING in self.changed
                                                 and where not in SYSTEM):
                found.append((where, None))
            elif relation is not None:
                found.append((where, relation))
                break
        return found

    def found(self, schema: str, name: str, relation: Relation | None, access: Effect) -> Item:
        """Touches a relation, and says what it looks like."""
        if schema in SYSTEM and name in SECRET:
            access = Effect.CONTROL
        self.touch("Table", dotted(schema, name), access)
        if access is not Effect.READ and (
            (schema, name) == ("pg_catalog", "pg_settings") or (relation and "pg_settings" in relation.definition)
        ):  # a rule on that view turns UPDATE into set_config
            self.forbidden = self.forbidden or "settings are changed by SET, not by writing to pg_settings"
        if relation is None:
            return Item(name, None, self.top, schema)
        cols, labels, inferred = self.shape(relation)
        if access is Effect.READ or access is Effect.WRITE:
            self.inferred = self.inferred | inferred
        if self.changed and relation.kind in "vm" and schema not in SYSTEM:  # what it is made of may have changed
            return Item(name, tuple(Col(col.name, self.top) for col in cols), self.top, schema)
        return Item(name, cols, labels, schema)

    def shape(self, relation: Relation) -> tuple[Cols, frozenset[str], frozenset[str]]:
        """A relation's columns with their labels: its own, its relatives', and, of a view, what its query reads; all of
        these labels; and those that decide which rows a view has."""
        labels, copied = self.facts.labels, self.facts.copied
        kept = self.catalogue.memo.get((id(labels), id(copied)))
        if kept is None or kept[0] is not labels or kept[1] is not copied:
            if len(self.catalogue.memo) >= MAX_LABELLINGS:
                self.catalogue.memo.clear()
            kept = self.catalogue.memo[id(labels), id(copied)] = (labels, copied, {})
        memo: dict[int, tuple[Cols, frozenset[str], frozenset[str]]] = kept[2]
        known = memo.get(relation.oid)
        if known is None:
            cols, inferred = self.derive(relation)
            known = (cols, frozenset().union(*(col.labels for col in cols)), inferred)
            memo[relation.oid] = known
        return known

    def derive(self, relation: Relation) -> tuple[Cols, frozenset[str]]:
        if not self.top:
            return tuple(Col(column.name) for column in relation.columns), NOTHING
        inferred = NOTHING
        found = [self.label(relation, column.name) for column in relation.columns]
        if relation.schema in SYSTEM or relation.name in REVEALING:
            shows = REVEALING.get(relation.name, NOTHING)
            for i, column in enumerate(relation.columns):
                if shows is None or column.name in shows:
                    found[i] = self.top
                elif STATEFUL.get(relation.name) == column.name:
                    found[i] = frozenset((SETTING,))
        for oid in self.catalogue.relatives(relation.oid):
            relative = self.catalogue.oids.get(oid)
            if relative is not None:
                for i, column in enumerate(relation.columns):
                    found[i] = found[i] | self.label(relative, column.name)
        lost = self.lost(relation)
        if lost:
            found = [labels | lost for labels in found]
        if relation.kind in "vm" and relation.schema not in SYSTEM:
            through, inferred = self.view(relation)
            for i in range(len(found)):
                found[i] = found[i] | (through[i].labels if through is not None else self.top)
        names = [column.name for column in relation.columns]
        for i, column in enumerate(relation.columns):
            if column.generated:
                found[i] = found[i] | self.generated(column.generated, names, found)
        return tuple(Col(name, labels) for name, labels in zip(names, found, strict=True)), inferred

    def label(self, relation: Relation, column: str) -> frozenset[str]:
        label = self.facts.labels.get(f"{relation.schema}.{relation.name}.{column}")
        found = NOTHING if label is None else frozenset((label,))
        copied = self.facts.copied
        if copied:
            for name in (column, "*"):
                found = found | copied.get(f"{relation.schema}.{relation.name}.{name}", NOTHING)
        return found

    def lost(self, relation: Relation) -> frozenset[str]:
        """Labels of columns that this relation does not have: one may have been renamed, and nobody knows to what."""
        prefix = f"{relation.schema}.{relation.name}."
        names = {column.name for column in relation.columns}
        return frozenset(
            label
            for column, label in self.facts.labels.items()
            if column.startswith(prefix) and column[len(prefix) :] not in names
        )

    def view(self, relation: Relation) -> tuple[Cols | None, frozenset[str]]:
        """The columns of a view's query, and the labels that decide which rows it has; None and every label where that
        cannot be followed. What a materialised view has was decided when it was filled."""
        lost = None, NOTHING if relation.kind == "m" else self.top
        if relation.oid in self.viewing or len(self.viewing) >= MAX_DEPTH // 2:
            return lost
        try:
            parsed = parse(relation.definition)
        except Unparsable:
            return lost
        if len(parsed) != 1:
            return lost
        inner = type(self)(
            Facts(self.catalogue, ("pg_catalog",), self.facts.labels, self.facts.copied),
            viewing=(*self.viewing, relation.oid),
        )
        try:
            rows = inner.query({parsed[0].tag: parsed[0].body}, None, {})
        except ExhaustedError:
            return lost
        if inner.reason or rows.cols is None or len(rows.cols) < len(relation.columns):
            return lost
        return rows.cols, NOTHING if relation.kind == "m" else inner.inferred

    def generated(self, expression: str, names: list[str], found: list[frozenset[str]]) -> frozenset[str]:
        """The labels that a generated column takes from the columns it is made of."""
        try:
            body = parse(f"SELECT {expression}")[0].body
        except (Unparsable, IndexError):
            return self.top
        item = Item("", tuple(Col(name, labels) for name, labels in zip(names, found, strict=True)), self.top)
        inner = type(self)(Facts(self.catalogue, ("pg_catalog",), self.facts.labels, self.facts.copied), viewing=self.viewing)
        return inner.expression(body.get("targetList", []), Scope(items=[item]))

    # -- functions and operators

    def function(self, path: list[str], *, notation: bool = False) -> frozenset[str]:
        """Judges a call by the function's name, and gives the labels that its result may show beyond its arguments'.

        `notation` is for `value.name`, where the name is a column more often than not: one that no function has passes.
        """
        if len(path) > 1:
            schema, name = path[-2], path[-1]
            if schema == "information_schema" and name in functions.INFORMATION:
                return NOTHING
            if schema != "pg_catalog":
                self.touch("Function", dotted(schema, name), Effect.EXECUTE)
                return self.top
            return self.builtin(name, notation)
        name = path[-1]
        if self.unsure_path and not notation:
            self.unknown(f"search_path may have changed earlier in the same text, so {name}() cannot be told: "
                         "send this statement on its own, or name the schema")
        owners = self.catalogue.functions.get(name, ())
        found = NOTHING
        mine = [s for s in self.facts.search_path if s in owners or (s, f"{name}()") in self.changed]
        for schema in mine:  # an overload of any of them might fit better than the built-in one
            self.touch("Function", dotted(schema, name), Effect.EXECUTE)
            found = self.top
        if mine and functions.builtin(name) is None:
            return found
        return found | self.builtin(name, notation)

    def builtin(self, name: str, notation: bool) -> frozenset[str]:
        effect = functions.builtin(name)
        if effect is None:
            if not notation:
                self.miss(f"{name}()", "function")
                return self.top
            return NOTHING
        if effect is not Effect.READ:
            self.touch("Function", dotted("pg_catalog", name), effect)
        return self.top if name in functions.REVEALING else self.state() if name in functions.STATEFUL else NOTHING

    def state(self) -> frozenset[str]:
        """What may be in a setting. Nothing, where nothing is confidential."""
        return frozenset((SETTING,)) if self.top else NOTHING

    def operator(self, names: Any) -> frozenset[str]:
        """Judges an operator by its name. Those of pg_catalog call functions that only answer."""
        path = [name["String"].get("sval", "") for name in names if "String" in name]
        if len(path) == 1:
            return self.signs(path)
        if path and path[-2] != "pg_catalog":
            self.unknown(f"operator {path[-2]}.{path[-1]} is not one of PostgreSQL's own")
            return self.top
        return NOTHING

    def signs(self, signs: Iterable[str]) -> frozenset[str]:
        """Judges operators without a schema, written or implied: any of theirs on search_path might fit best."""
        found = NOTHING
        if not self.catalogue.operators:
            return found
        for sign in signs:
            for schema, function_schema, function in self.catalogue.operators.get(sign, ()):
                if schema not in self.facts.search_path:
                    continue
                if function_schema == "pg_catalog":
                    found = found | self.builtin(function, notation=False)
                else:
                    self.touch("Function", dotted(function_schema, function), Effect.EXECUTE)
                    found = self.top
        return found

    # -- settings

    def set(self, name: str, value: str | None, local: bool) -> None:
        """Judges a change of a setting, however it was spelt."""
        name = settings.canonical(name)
        verdict = settings.judge(name, value, self.facts.pinned)
        if not isinstance(verdict, Effect):
            self.forbidden = self.forbidden or verdict
            verdict = Effect.CONTROL
        self.touch("Setting", name, verdict)
        self.settings.append((name, value, local))

    # -- what the other files of the walk define

    def query(self, node: dict[str, Any], parent: Scope | None, ctes: dict[str, Rows]) -> Rows:
        raise NotImplementedError

    def expression(self, node: Any, scope: Scope) -> frozenset[str]:
        raise NotImplementedError
