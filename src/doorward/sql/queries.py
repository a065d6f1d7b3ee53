"""Queries: SELECT, VALUES, WITH, set operations, FROM in all its forms, and the statements that change rows.

Contract: `query` returns the columns of a query with their labels (Rows), touching every relation on the way with the access
that the statement takes. Order matters: `*` is expanded as the server does, so that a label stands at the right position;
where that cannot be done the columns are None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from doorward.model import Effect
from doorward.sql import functions
from doorward.sql.classification import NOTHING
from doorward.sql.expressions import Expressions
from doorward.sql.names import column_name
from doorward.sql.scope import MAX_COLUMNS, Col, Cols, Item, Rows, Scope, joined, positions
from doorward.sql.walker import MAX_DEPTH

Ctes = dict[str, Rows]


class Queries(Expressions):
    """Adds queries to the walk."""

    def query(self, node: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        """A query, or in WITH also INSERT, UPDATE, DELETE, MERGE with their RETURNING."""
        self.depth += 1
        outer, self.inferring = self.inferring, False  # each query is evaluated whole, wherever it stands
        try:
            if self.depth > MAX_DEPTH:
                self.unknown("the statement is nested too deeply to be judged")
                return Rows(None, self.top)
            for tag, body in node.items():
                self.spend()
                if tag == "SelectStmt":
                    return self.select(body, parent, ctes)
                handler = _CHANGES.get(tag)
                if handler is not None:
                    return handler(self, body, parent, ctes)
                self.unknown(f"a query of kind {tag} cannot be judged")
            return Rows(None, self.top)
        finally:
            self.depth -= 1
            self.inferring = outer

    # -- WITH

    def bind(self, clause: dict[str, Any] | None, parent: Scope | None, ctes: Ctes) -> Ctes:
        """The names that WITH adds. In WITH RECURSIVE each may use every other, so the labels are worked out until they stay
        as they are; they only grow, so that ends."""
        if not clause:
            return ctes
        ctes = dict(ctes)
        entries = [entry["CommonTableExpr"] for entry in clause.get("ctes", ())]
        if not clause.get("recursive"):
            for entry in entries:
                ctes[entry.get("ctename", "")] = self.named(entry, parent, ctes)
            return ctes
        bound = {entry.get("ctename", ""): Rows(None, NOTHING) for entry in entries}
        for _ in range(len(self.top) * len(entries) + 3):
            before = dict(bound)
            for entry in entries:
                bound[entry.get("ctename", "")] = self.named(entry, parent, {**ctes, **bound})
            if bound == before:
                break
        else:
            bound = {name: Rows(None, self.top) for name in bound}
        return {**ctes, **bound}

    def named(self, entry: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        outer, self.access = self.access, Effect.READ  # FOR UPDATE does not reach into WITH
        rows = self.recursive(entry, parent, ctes)
        self.access = outer
        cols, labels = rows.cols, rows.labels
        names = strings(entry.get("aliascolnames", ()))
        if cols is not None:
            cols = tuple(Col(names[i] if i < len(names) else col.name, col.labels) for i, col in enumerate(cols))
            search, cycle = entry.get("search_clause", {}), entry.get("cycle_clause", {})
            for added in (search.get("search_seq_column"), cycle.get("cycle_mark_column"), cycle.get("cycle_path_column")):
                if added:
                    cols = (*cols, Col(added, labels))
        return Rows(cols, labels)

    def recursive(self, entry: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        """A recursive term refers to itself before its columns are known: they are those of its first part."""
        name, query = entry.get("ctename", ""), entry.get("ctequery", {})
        select = query.get("SelectStmt", {})
        known = ctes.get(name)
        if "larg" in select and known is not None and known.cols is None:
            first = self.query({"SelectStmt": select["larg"]}, parent, self.bind(select.get("withClause"), parent, ctes))
            names = strings(entry.get("aliascolnames", ()))
            if first.cols is not None:
                cols = tuple(Col(names[i] if i < len(names) else c.name, c.labels) for i, c in enumerate(first.cols))
                ctes = {**ctes, name: Rows(cols, first.labels)}
        return self.query(query, parent, ctes)

    # -- SELECT

    def select(self, body: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        ctes = self.bind(body.get("withClause"), parent, ctes)
        outer = self.access
        locked = self.locks(body.get("lockingClause", ()))
        scope = Scope(parent, [], ctes, body)
        if body.get("op", "SETOP_NONE") != "SETOP_NONE":
            cols, labels = self.combined(body, parent, ctes)
            scope.items = [Item("", cols, labels)]
        else:
            star: Cols | None = ()
            for source in body.get("fromClause", ()):
                more = self.source(source, scope, locked)
                star = joined(star, more, [])
            self.infer(body.get("whereClause", {}), scope)
            if "valuesLists" in body:
                cols, labels = self.values(body["valuesLists"], scope)
            else:
                cols, labels = self.targets(body.get("targetList", ()), scope, star)
            self.infer([body.get("distinctClause", []), body.get("havingClause", {})], scope)
            if body.get("distinctClause") == [{}]:  # of all of it
                self.inferred = self.inferred | labels
            for window in body.get("windowClause", ()):
                self.window(window.get("WindowDef"), scope)
        self.arrange(body, scope, cols, labels)
        self.access = outer
        if "intoClause" in body:
            self.create(body["intoClause"].get("rel", {}))
            self.fill(body["intoClause"], Rows(cols, labels))
        return Rows(cols, labels)

    def fill(self, into: dict[str, Any], rows: Rows) -> None:
        """A query's rows become a relation that is being created. In a set operation INTO stands in the first query, and takes
        the rows of each: the caller fills it again."""
        self.stored = self.stored | rows.labels
        names = strings(into.get("colNames", ()))
        var = into.get("rel", {})
        for schema, name in self.created(var) if rows.labels else ():
            for place, col in enumerate(rows.cols or (Col("", rows.labels),)):
                column = names[place] if place < len(names) else col.name
                self.copies.update((schema, name, column or "*", label) for label in col.labels)

    def combined(self, body: dict[str, Any], parent: Scope | None, ctes: Ctes) -> tuple[Cols | None, frozenset[str]]:
        """UNION, INTERSECT, EXCEPT; a chain of them leans left, and is walked without recursion. All but UNION ALL compare
        rows."""
        parts = [body.get("rarg", {})]
        node = body.get("larg", {})
        compares = not _appends(body)
        while node.get("op", "SETOP_NONE") != "SETOP_NONE" and not (
            node.keys() & {"withClause", "sortClause", "limitCount", "limitOffset", "lockingClause", "intoClause"}
        ):
            parts.append(node.get("rarg", {}))
            compares = compares or not _appends(node)
            node = node.get("larg", {})
        rows = self.query({"SelectStmt": node}, parent, ctes)
        cols, labels = rows.cols, rows.labels
        for part in reversed(parts):
            rows = self.query({"SelectStmt": part}, parent, ctes)
            cols, labels = positions(cols, rows.cols), labels | rows.labels
        if compares:
            self.inferred = self.inferred | labels
        return cols, labels

    def values(self, lists: list[Any], scope: Scope) -> tuple[Cols, frozenset[str]]:
        width = max(len(row.get("List", {}).get("items", ())) for row in lists)
        found = [NOTHING] * width
        for row in lists:
            self.spend()
            for i, value in enumerate(row.get("List", {}).get("items", ())):
                if "A_Const" not in value:
                    found[i] = found[i] | self.expression(value, scope)
                else:
                    self.budget -= 1
        return tuple(Col(f"column{i + 1}", labels) for i, labels in enumerate(found)), frozenset().union(*found)

    def targets(self, targets: Any, scope: Scope, star: Cols | None) -> tuple[Cols | None, frozenset[str]]:
        """A select list or RETURNING. `star` is what `*` stands for."""
        cols: list[Col] = []
        known = True
        labels = NOTHING
        for target in targets:
            body = target.get("ResTarget", {})
            value = body.get("val", {})
            expanded = self.expand(value, scope, star)
            if expanded is None:
                found = self.expression(value, scope)
                cols.append(Col(body.get("name") or column_name(value), found))
                labels = labels | found
                continue
            more, found = expanded
            labels = labels | found
            if more is None or len(cols) + len(more) > MAX_COLUMNS:
                known = False
            else:
                cols.extend(more)
        return tuple(cols) if known else None, labels

    def expand(self, value: dict[str, Any], scope: Scope, star: Cols | None
               ) -> tuple[Cols | None, frozenset[str]] | None:
        """The columns of `*`, `t.*` or `(row).*`; None for anything else."""
        if "ColumnRef" in value:
            fields = value["ColumnRef"].get("fields", ())
            if not fields or "A_Star" not in fields[-1]:
                return None
            if len(fields) == 1:
                if star is None:
                    return None, frozenset().union(*(item.labels for item in scope.items))
                return star, frozenset().union(*(col.labels for col in star))
            names = strings(fields)
            items = scope.find(names[-1], names[-2] if len(names) > 1 else "")
            if len(items) == 1:
                return items[0].cols, items[0].labels
            return None, self.expression(value, scope)
        if "A_Indirection" in value:
            body = value["A_Indirection"]
            steps = body.get("indirection", ())
            if not steps or "A_Star" not in steps[-1]:
                return None
            item = self.whole_row(body.get("arg", {}), scope) if len(steps) == 1 else None
            if item is not None:
                return item.cols, item.labels
            return None, self.expression(value, scope)
        return None

    def arrange(self, body: dict[str, Any], scope: Scope, cols: Cols | None, labels: frozenset[str]) -> None:
        """ORDER BY, GROUP BY, LIMIT: may name an output column, or count to it."""
        for clause in ("sortClause", "groupClause", "distinctClause"):
            for entry in body.get(clause, ()):
                node = entry.get("SortBy", {}).get("node", {}) if "SortBy" in entry else entry
                name = _output_name(node, cols)
                if name and "useOp" not in entry.get("SortBy", {}):  # that column, or one of FROM: nothing else has a name
                    self.inferred = self.inferred | scope.column(name)[0]
                else:
                    self.infer(entry, scope)
                self.inferred = self.inferred | _output(node, cols, labels)
                self.fixed = self.fixed or "A_Const" in node
        self.infer([body.get("limitCount", {}), body.get("limitOffset", {})], scope)

    def locks(self, clauses: Any) -> frozenset[str]:
        """FOR UPDATE and its kin take row locks, which a read-only transaction may not: write access. Without OF it means
        everything in FROM, sub-queries too; with OF, the names that are returned."""
        named: set[str] = set()
        for clause in clauses:
            relations = clause.get("LockingClause", {}).get("lockedRels", ())
            if not relations:
                self.access = Effect.WRITE
            named.update(relation.get("RangeVar", {}).get("relname", "") for relation in relations)
        return frozenset(named)

    # -- FROM

    def source(self, node: dict[str, Any], scope: Scope, locked: frozenset[str] = NOTHING) -> Cols | None:
        """Adds one item of FROM to the scope, and returns what `*` means over it."""
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH * 4:
                self.unknown("the statement is nested too deeply to be judged")
                return None
            for tag, body in node.items():
                self.spend()
                handler = _SOURCES.get(tag)
                if handler is not None:
                    return handler(self, body, scope, locked)
                self.unknown(f"a FROM item of kind {tag} cannot be judged")
            return None
        finally:
            self.depth -= 1

    def table(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        alias, names = aliased(body)
        access = Effect.WRITE if (alias or body.get("relname")) in locked else self.access
        item = self.relation(body, scope, access).renamed(alias, names)
        scope.items.append(item)
        return item.cols

    def sub_select(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        alias, names = aliased(body)
        outer = self.access
        if alias in locked:
            self.access = Effect.WRITE
        if body.get("lateral"):
            inside: Scope = scope
        else:  # sees what is outside this query, not its siblings
            inside = Scope(scope.parent, [], scope.ctes)
        rows = self.query(body.get("subquery", {}), inside, scope.ctes)
        self.access = outer
        item = Item("", rows.cols, rows.labels).renamed(alias, names)
        scope.items.append(item)
        return item.cols

    def join(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        mark = len(scope.items)
        left = self.source(body.get("larg", {}), scope, locked)
        right = self.source(body.get("rarg", {}), scope, locked)
        using: list[str] | None = strings(body.get("usingClause", ()))
        if body.get("isNatural"):
            using = None
        star = joined(left, right, using)
        self.infer(body.get("quals", {}), scope)
        names = using
        if using is None or using:
            self.signs(("=",))
        if names is None:
            names = [] if left is None or right is None else [c.name for c in left if c.name in {r.name for r in right}]
            if left is None or right is None:
                self.inferred = self.inferred.union(*(item.labels for item in scope.items[mark:]))
        for name in names:
            self.inferred = self.inferred | scope.column(name)[0]
        inner = frozenset().union(*(item.labels for item in scope.items[mark:]))
        if "join_using_alias" in body:
            merged = tuple(Col(name, scope.column(name)[0]) for name in names)
            scope.items.append(Item(body["join_using_alias"].get("aliasname", ""), merged, inner))
        alias, columns = aliased(body)
        if alias:  # hides what is inside
            item = Item("", star, inner).renamed(alias, columns)
            scope.items[mark:] = [item]
            return item.cols
        return star

    def table_function(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        alias, names = aliased(body)
        calls = body.get("functions", ())
        cols: Cols | None = ()
        labels = NOTHING
        for entry in calls:
            call, *rest = entry.get("List", {}).get("items", ({},))
            found = self.expression(call, scope)
            labels = labels | found
            defined = body.get("coldeflist") or (rest[0].get("List", {}).get("items") if rest else None)
            if defined:
                named: tuple[str, ...] | None = tuple(d.get("ColumnDef", {}).get("colname", "") for d in defined)
            else:
                named = self.function_columns(call, alias if len(calls) == 1 else "")
            cols = None if cols is None or named is None else cols + tuple(Col(name, found) for name in named)
        if body.get("ordinality") and cols is not None:
            cols = (*cols, Col("ordinality", labels))
        self.inferred = self.inferred | labels  # how many rows come of it
        item = Item("", cols, labels).renamed(alias or _called(calls), names)
        scope.items.append(item)
        return item.cols

    def function_columns(self, call: dict[str, Any], alias: str) -> tuple[str, ...] | None:
        """The columns that a function has in FROM; None if its name does not say."""
        if "FuncCall" not in call:
            return ("",)  # CURRENT_DATE and the like: one column
        path = strings(call["FuncCall"].get("funcname", ()))
        name = path[-1] if path else ""
        mine = path[:-1] not in ([], ["pg_catalog"]) or name in self.catalogue.functions
        if mine or functions.builtin(name) is None:
            return None
        named = functions.columns(name, alias or name)
        return named if named is None or len(named) > 1 else ("",)  # named by its alias, or by an OUT argument

    def sampled(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        cols = self.source(body.get("relation", {}), scope, locked)
        self.infer([body.get("args", []), body.get("repeatable", {})], scope)
        if strings(body.get("method", ()))[-1:] not in (["bernoulli"], ["system"]):
            self.unknown("TABLESAMPLE uses a method that is not PostgreSQL's own")
        return cols

    def xml_table(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        columns = body.get("columns", [])
        labels = self.expression([body.get("docexpr", {}), body.get("rowexpr", {}), body.get("namespaces", []), columns],
                                 scope)
        return self.unpacked(body, [c.get("RangeTableFuncCol", {}).get("colname", "") for c in columns], labels, scope)

    def json_table(self, body: dict[str, Any], scope: Scope, locked: frozenset[str]) -> Cols | None:
        columns = body.get("columns", [])
        labels = self.expression(
            [{"JsonValueExpr": body.get("context_item", {})}, {"JsonTablePathSpec": body.get("pathspec", {})},
             body.get("passing", []), columns, {"JsonBehavior": body.get("on_error", {})}], scope)
        names: list[str] = []
        waiting = list(reversed(columns))
        while waiting:  # nested columns come where their NESTED stands
            column = waiting.pop().get("JsonTableColumn", {})
            if column.get("coltype") == "JTC_NESTED":
                waiting.extend(reversed(column.get("columns", ())))
            else:
                names.append(column.get("name", ""))
        return self.unpacked(body, names, labels, scope)

    def unpacked(self, body: dict[str, Any], names: list[str], labels: frozenset[str], scope: Scope) -> Cols:
        alias, renamed = aliased(body)
        item = Item("", tuple(Col(name, labels) for name in names), labels).renamed(alias, renamed)
        scope.items.append(item)
        self.inferred = self.inferred | labels  # how many rows come of it
        return item.cols or ()

    # -- statements that change rows

    def insert(self, body: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        ctes = self.bind(body.get("withClause"), parent, ctes)
        target = self.target(body, ctes)
        scope = Scope(parent, [], ctes)
        if "selectStmt" in body:
            rows = self.query(body["selectStmt"], scope, ctes)
            self.arrives(body.get("relation", {}), _names(body.get("cols", ()), target), rows.cols, rows.labels)
        scope.items.append(target)
        conflict = body.get("onConflictClause")
        if conflict or "returningClause" in body:
            self.relation(body.get("relation", {}), None, Effect.READ)
        if conflict:
            inside = Scope(parent, [target, Item("excluded", target.cols, target.labels)], ctes)
            infer = conflict.get("infer", {})
            self.infer([infer.get("indexElems", []), infer.get("whereClause", {}), conflict.get("whereClause", {})], inside)
            self.assigned(body.get("relation", {}), conflict.get("targetList", ()), inside)
            for element in infer.get("indexElems", ()):
                self.inferred = self.inferred | target.column(element.get("IndexElem", {}).get("name", ""))[0]
            if not infer:  # a conflict with any column: whether there was one is told
                self.inferred = self.inferred | target.labels
        return self.returning(body.get("returningClause"), target, scope)

    def update(self, body: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        ctes = self.bind(body.get("withClause"), parent, ctes)
        target = self.target(body, ctes)
        scope = Scope(parent, [target], ctes)
        sources = body.get("fromClause") or body.get("usingClause") or ()
        star = target.cols
        for source in sources:
            more = self.source(source, scope)
            star = joined(star, more, [])
        if "whereClause" in body or "returningClause" in body or "targetList" in body:
            self.relation(body.get("relation", {}), None, Effect.READ)
        self.infer(body.get("whereClause", {}), scope)
        self.assigned(body.get("relation", {}), body.get("targetList", ()), scope)
        return self.returning(body.get("returningClause"), target, scope, star)

    def merge(self, body: dict[str, Any], parent: Scope | None, ctes: Ctes) -> Rows:
        ctes = self.bind(body.get("withClause"), parent, ctes)
        target = self.target(body, ctes)
        self.relation(body.get("relation", {}), None, Effect.READ)
        scope = Scope(parent, [], ctes)
        star = self.source(body.get("sourceRelation", {}), scope)
        star = joined(star, target.cols, [])  # the source's columns come first
        scope.items.append(target)
        self.infer(body.get("joinCondition", {}), scope)
        for clause in body.get("mergeWhenClauses", ()):
            when = clause.get("MergeWhenClause", {})
            self.infer(when.get("condition", {}), scope)
            if "values" in when:
                values = tuple(Col("", self.expression(value, scope)) for value in when["values"])
                labels = frozenset().union(*(value.labels for value in values))
                self.arrives(body.get("relation", {}), _names(when.get("targetList", ()), target), values, labels)
            else:
                self.assigned(body.get("relation", {}), when.get("targetList", ()), scope)
        return self.returning(body.get("returningClause"), target, scope, star)

    def arrives(self, var: dict[str, Any], names: list[str] | None, cols: Cols | None, labels: frozenset[str]) -> None:
        """Columns come into those of a relation, by position. None: nobody can tell which."""
        if names is None or cols is None or len(cols) > len(names):
            self.lands(var, "*", labels)
            return
        for name, col in zip(names, cols, strict=False):
            self.lands(var, name, col.labels)

    def assigned(self, var: dict[str, Any], targets: Any, scope: Scope) -> None:
        """SET column = expression, .."""
        for target in targets:
            body = target.get("ResTarget", {})
            self.lands(var, body.get("name", "*"), self.expression(target, scope))

    def target(self, body: dict[str, Any], ctes: Ctes) -> Item:
        var = body.get("relation", {})
        alias, names = aliased(var)
        return self.relation(var, None, Effect.WRITE).renamed(alias, names)

    def returning(self, clause: dict[str, Any] | None, target: Item, scope: Scope, star: Cols | None = None) -> Rows:
        if not clause:
            return Rows()
        old, new = "old", "new"
        for option in clause.get("options", ()):
            body = option.get("ReturningOption", {})
            if body.get("option") == "RETURNING_OPTION_OLD":
                old = body.get("value", old)
            else:
                new = body.get("value", new)
        if star is None and len(scope.items) == 1:
            star = target.cols
        # OLD and NEW can be named, but are no part of `*`, and an unqualified column is never theirs.
        versions = [Item(name, target.cols, target.labels) for name in (old, new) if not scope.find(name)]
        named = Scope(Scope(scope.parent, versions, scope.ctes), scope.items, scope.ctes)
        cols, labels = self.targets(clause.get("exprs", ()), named, star)
        return Rows(cols, labels)

    def create(self, var: dict[str, Any]) -> None:
        """A relation that comes into being."""
        raise NotImplementedError

    def created(self, var: dict[str, Any]) -> list[tuple[str, str]]:
        """Where it is, unless only this session will see it."""
        raise NotImplementedError


_CHANGES: dict[str, Callable[[Queries, dict[str, Any], Scope | None, Ctes], Rows]] = {
    "InsertStmt": Queries.insert, "UpdateStmt": Queries.update, "DeleteStmt": Queries.update, "MergeStmt": Queries.merge,
}
_SOURCES: dict[str, Callable[[Queries, dict[str, Any], Scope, frozenset[str]], Cols | None]] = {
    "RangeVar": Queries.table, "RangeSubselect": Queries.sub_select, "JoinExpr": Queries.join,
    "RangeFunction": Queries.table_function, "RangeTableSample": Queries.sampled, "RangeTableFunc": Queries.xml_table,
    "JsonTable": Queries.json_table,
}


def strings(nodes: Any) -> list[str]:
    """The texts of a list of String nodes."""
    return [node["String"].get("sval", "") for node in nodes if "String" in node]


def aliased(body: dict[str, Any]) -> tuple[str, list[str]]:
    alias = body.get("alias")
    return (alias.get("aliasname", ""), strings(alias.get("colnames", ()))) if alias else ("", [])


def _called(calls: Any) -> str:
    """A function in FROM without an alias goes by its own name."""
    if len(calls) != 1:
        return ""
    call = calls[0].get("List", {}).get("items", ({},))[0]
    return (strings(call.get("FuncCall", {}).get("funcname", ())) or [""])[-1]


def _appends(node: dict[str, Any]) -> bool:
    return node.get("op") == "SETOP_UNION" and bool(node.get("all"))


def _names(cols: Any, target: Item) -> list[str] | None:
    if cols:
        return [col.get("ResTarget", {}).get("name", "") for col in cols]
    return None if target.cols is None else [col.name for col in target.cols]


def _output_name(node: dict[str, Any], cols: Cols | None) -> str:
    """The name alone that an ORDER BY or GROUP BY item is, if an output column has it for certain; else ""."""
    fields = node.get("ColumnRef", {}).get("fields", ())
    names = strings(fields)
    certain = len(fields) == len(names) == 1 and cols is not None and any(col.name == names[0] for col in cols)
    return names[0] if certain else ""


def _output(node: dict[str, Any], cols: Cols | None, labels: frozenset[str]) -> frozenset[str]:
    """The labels of the output column that an ORDER BY or GROUP BY item may mean."""
    count = node.get("A_Const", {}).get("ival", {}).get("ival")
    if count is not None:
        return labels if cols is None else cols[count - 1].labels if 0 < count <= len(cols) else NOTHING
    names = strings(node.get("ColumnRef", {}).get("fields", ()))
    if len(names) == 1:
        if cols is None:
            return labels
        return frozenset().union(*(col.labels for col in cols if col.name in (names[0], "")))
    return NOTHING
