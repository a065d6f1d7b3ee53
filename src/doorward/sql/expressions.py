"""Expressions: which labelled columns a value may depend on, and what computing it would do.

Contract: `expression` returns the labels of every column in an expression, whatever it does with them (CASE, COALESCE,
comparisons and one-way functions included); a node that is not in the vocabulary below makes the statement UNKNOWN. It is
iterative: only sub-queries recurse. ORDER BY, FILTER and OVER inside a call decide which rows count, so they are inferred; so
is what goes into anything but the short list of what cannot fail or take its time because of a value (`calm`): `1 / (x - 5)`
says by its error what x is, however well its result is masked.
"""

from __future__ import annotations

from typing import Any

from doorward.model import Effect, dotted
from doorward.sql import calm, functions, settings
from doorward.sql.classification import NOTHING, SETTING
from doorward.sql.scope import SYSTEM_COLUMNS, Item, Scope
from doorward.sql.walker import Walker

# The closed vocabulary: for each node, the fields that hold expressions. Everything else in it is spelling, types, or
# positions. Nodes with a meaning of their own have a method instead.
_CHILDREN: dict[str, tuple[str, ...]] = {
    "A_Const": (), "ParamRef": (), "SetToDefault": (), "SQLValueFunction": (), "MergeSupportFunc": (), "String": (),
    "Integer": (), "Float": (), "Boolean": (), "BitString": (), "A_Star": (), "TypeName": (), "CurrentOfExpr": (),
    "CaseTestExpr": (),
    "List": ("items",),
    "BoolExpr": ("args",), "NullTest": ("arg",), "BooleanTest": ("arg",), "CaseExpr": ("arg", "args", "defresult"),
    "CaseWhen": ("expr", "result"), "CoalesceExpr": ("args",), "MinMaxExpr": ("args",), "RowExpr": ("args",),
    "A_ArrayExpr": ("elements",), "A_Indices": ("lidx", "uidx"), "TypeCast": ("arg",), "CollateClause": ("arg",),
    "NamedArgExpr": ("arg",), "GroupingFunc": ("args",), "GroupingSet": ("content",), "MultiAssignRef": ("source",),
    "ResTarget": ("val", "indirection"), "XmlExpr": ("named_args", "args"), "XmlSerialize": ("expr",),
    "JsonValueExpr": ("raw_expr",), "JsonFuncExpr": ("context_item", "pathspec", "passing", "on_empty", "on_error"),
    "JsonArgument": ("val",), "JsonBehavior": ("expr",), "JsonKeyValue": ("key", "value"), "JsonParseExpr": ("expr",),
    "JsonScalarExpr": ("expr",), "JsonSerializeExpr": ("expr",), "JsonObjectConstructor": ("exprs",),
    "JsonArrayConstructor": ("exprs",), "JsonIsPredicate": ("expr",), "JsonTablePathSpec": ("string",),
    "JsonTableColumn": ("pathspec", "columns", "on_empty", "on_error"), "RangeTableFuncCol": ("colexpr", "coldefexpr"),
    "IndexElem": ("expr",), "PartitionElem": ("expr",), "SortBy": ("node",), "WindowDef": (),
}
# Fields whose node is written without its name around it.
_BARE = {"context_item": "JsonValueExpr", "on_empty": "JsonBehavior", "on_error": "JsonBehavior", "value": "JsonValueExpr"}
_BARE_IN = {"JsonArgument": {"val": "JsonValueExpr"}, "JsonParseExpr": {"expr": "JsonValueExpr"},
            "JsonSerializeExpr": {"expr": "JsonValueExpr"}, "JsonTableColumn": {"pathspec": "JsonTablePathSpec", **_BARE}}
_AGGREGATES = {"JsonObjectAgg": "JsonKeyValue", "JsonArrayAgg": "JsonValueExpr"}


class Expressions(Walker):
    """Adds expressions to the walk."""

    def expression(self, node: Any, scope: Scope) -> frozenset[str]:
        """The labels that the value of `node` (one, or a list of them) may depend on."""
        found = NOTHING
        waiting = [node]
        self.spend()
        while waiting:
            node = waiting.pop()
            if type(node) is list:
                self.spend(len(node))
                waiting.extend(node)
                continue
            for tag, body in node.items():
                if tag == "A_Const" or tag == "ParamRef":
                    continue
                self.spend()
                if tag == "ColumnRef":
                    found = found | self.reference(body.get("fields", ()), scope)
                elif not self.inferring and self.top and not calm.node(tag, body, self.catalogue.functions):
                    found = found | self.infer({tag: body}, scope)
                elif tag == "A_Expr":
                    found = found | self.operator(body.get("name", ()))
                    if "BETWEEN" in body.get("kind", ""):
                        found = found | self.signs((">=", "<=", "<", ">"))
                    for side in ("lexpr", "rexpr"):
                        if side in body:
                            waiting.append(body[side])
                elif tag == "FuncCall":
                    found = found | self.call(body, scope, waiting)
                elif tag == "SubLink":
                    found = found | self.sublink(body, scope, waiting)
                elif tag == "A_Indirection":
                    found = found | self.indirection(body, scope, waiting)
                elif tag == "JsonArrayQueryConstructor":
                    found = found | self.query(body.get("query", {}), scope, scope.ctes).labels
                elif tag in _AGGREGATES:
                    constructor = body.get("constructor", {})
                    self.infer([constructor.get("agg_filter", {}), constructor.get("agg_order", [])], scope)
                    self.window(constructor.get("over"), scope)
                    waiting.append({_AGGREGATES[tag]: body.get("arg", {})})
                else:
                    self.children(tag, body, waiting)
        return found

    def children(self, tag: str, body: dict[str, Any], waiting: list[Any]) -> None:
        fields = _CHILDREN.get(tag)
        if fields is None:
            self.unknown(f"an expression of kind {tag} cannot be judged")
            return
        if tag == "SortBy" and "useOp" in body:
            self.operator(body["useOp"])
        elif tag == "CaseExpr" and "arg" in body:
            self.signs(("=",))
        for name in fields:
            child = body.get(name)
            if child is not None:
                bare = _BARE_IN.get(tag, _BARE).get(name)
                waiting.append(child if bare is None or type(child) is list else {bare: child})

    def infer(self, node: Any, scope: Scope) -> frozenset[str]:
        """An expression that decides which rows there are, their order, or whether there is an answer at all."""
        outer, self.inferring = self.inferring, True
        found = self.expression(node, scope)
        self.inferring = outer
        if found:
            self.inferred = self.inferred | found
        return found

    def window(self, over: dict[str, Any] | None, scope: Scope) -> None:
        if over:
            self.infer([over.get("partitionClause", []), over.get("orderClause", []), over.get("startOffset", {}),
                        over.get("endOffset", {})], scope)

    def call(self, body: dict[str, Any], scope: Scope, waiting: list[Any]) -> frozenset[str]:
        """A function call; its arguments go to `waiting`."""
        path = [name["String"].get("sval", "") for name in body.get("funcname", ()) if "String" in name]
        arguments = body.get("args", [])
        waiting.append(arguments)
        order = body.get("agg_order", [])
        if body.get("agg_within_group"):
            waiting.append(order)  # an ordered-set aggregate gives back what it sorts
        elif order:
            self.infer(order, scope)
        if "agg_filter" in body:
            self.infer(body["agg_filter"], scope)
        if "over" in body:
            self.window(body["over"], scope)
        if path and path[-1] == "set_config" and (len(path) == 1 or path[-2] == "pg_catalog"):
            self.set_config(arguments, scope)
            self.escape(self.expression(arguments, scope), "a setting")
            if len(path) > 1 or "set_config" not in self.catalogue.functions:
                return NOTHING
        found = self.function(path or [""])
        if path[-1:] == ["current_setting"] and SETTING in found and arguments:
            self.fixed = True
            if settings.narrow(constant(arguments[0]) or ""):
                found = found - {SETTING}
        if path and path[-1] in ("nextval", "setval"):
            self.sequence(arguments, scope)
        if path and self.top and path[:-1] in ([], ["pg_catalog"]) and functions.builtin(path[-1]) not in (None, Effect.READ):
            self.escape(self.expression(arguments, scope), f"what {path[-1]}() leaves behind")
        return found

    def sequence(self, arguments: list[Any], scope: Scope) -> None:
        """Names the sequence that nextval or setval writes, where it is spelt out."""
        self.fixed = True
        text = constant(arguments[0]) if arguments else None
        if text is None:
            return
        parts = text.replace('"', "").split(".")
        var = {"relname": parts[-1], "schemaname": parts[-2]} if len(parts) > 1 else {"relname": parts[-1]}
        for where, _relation in self.resolve(var.get("schemaname", ""), var["relname"]):
            self.touch("Table", dotted(where, var["relname"]), Effect.WRITE)

    def set_config(self, arguments: list[Any], scope: Scope) -> None:
        """set_config(name, value, is_local) is a SET. All of it must be constant, or nobody can say what it sets."""
        self.fixed = True
        if len(arguments) != 3:
            self.unknown("set_config cannot be judged: it does not have three plain arguments")
            return
        name, value, local = (constant(argument) for argument in arguments)
        if name is None:
            name = self.only_setting(arguments[0], scope)
        parameter = arguments[1].get("TypeCast", {}).get("arg", arguments[1]).get("ParamRef")
        if name is not None and value is None and parameter is not None and settings.any_value(name):
            value = f"${parameter.get('number', 0)}"
        if name is None or value is None:
            self.unknown("set_config cannot be judged: the name must be a constant, and the value one or a parameter")
            return
        if settings.canonical(name) in ("role", "session_authorization"):
            value = value or "none"
        self.set(name, value, local is None or local.lower() in ("t", "true", "on", "1"))

    def only_setting(self, node: dict[str, Any], scope: Scope) -> str | None:
        """The idiom of pg_dump: set_config(name, ...) FROM pg_settings WHERE name = 'constant'."""
        body = scope.body
        fields = node.get("ColumnRef", {}).get("fields", ())
        sources = body.get("fromClause", ())
        where = body.get("whereClause", {}).get("A_Expr", {})
        if len(fields) != 1 or fields[0].get("String", {}).get("sval") != "name" or len(sources) != 1:
            return None
        var = sources[0].get("RangeVar", {})
        if var.get("relname") != "pg_settings" or [item.schema for item in scope.items] != ["pg_catalog"]:
            return None
        if where.get("kind") != "AEXPR_OP" or [n.get("String", {}).get("sval") for n in where.get("name", ())] != ["="]:
            return None
        if "=" in self.catalogue.operators or where.get("lexpr", {}).get("ColumnRef", {}).get("fields") != [
            {"String": {"sval": "name"}}
        ]:
            return None
        return constant(where.get("rexpr", {}))

    def sublink(self, body: dict[str, Any], scope: Scope, waiting: list[Any]) -> frozenset[str]:
        found = self.operator(body["operName"]) if "operName" in body else NOTHING
        if "testexpr" in body and "operName" not in body:  # value IN (query)
            found = found | self.signs(("=",))
        if "testexpr" in body:
            waiting.append(body["testexpr"])
        before, access = self.inferred, self.access
        self.inferred, self.access = NOTHING, Effect.READ  # FOR UPDATE reaches into FROM, not into expressions
        rows = self.query(body.get("subselect", {}), scope, scope.ctes)
        decided = self.inferred
        self.inferred, self.access = before | decided, access
        if body.get("subLinkType") == "EXISTS_SUBLINK":
            return found | decided  # whether there is a row is the value
        return found | rows.labels

    def indirection(self, body: dict[str, Any], scope: Scope, waiting: list[Any]) -> frozenset[str]:
        """`(value).field`, `value[1]`. The field may be a column, or a function in disguise."""
        argument = body.get("arg", {})
        steps = body.get("indirection", ())
        found = NOTHING
        for step in steps:
            if "String" in step:
                name = step["String"].get("sval", "")
                item = self.whole_row(argument, scope) if step is steps[0] else None
                if item is not None and item.cols is not None:
                    labels, certain = item.column(name)
                    if certain:
                        return found | labels
                found = found | self.function([name], notation=True)
            elif "A_Indices" in step:
                waiting.append(step)
            elif "A_Star" not in step:
                self.unknown("an expression cannot be judged: it has an unknown kind of step")
        waiting.append(argument)
        return found

    def whole_row(self, node: dict[str, Any], scope: Scope) -> Item | None:
        """The one thing in FROM that a bare name stands for, if it is not a column."""
        fields = node.get("ColumnRef", {}).get("fields", ())
        if len(fields) != 1 or "String" not in fields[0]:
            return None
        name = fields[0]["String"].get("sval", "")
        items = scope.find(name)
        return items[0] if len(items) == 1 and not scope.column(name)[1] else None

    def reference(self, fields: Any, scope: Scope) -> frozenset[str]:
        """A ColumnRef: column, table.column, schema.table.column, a whole row, or a function in disguise."""
        names = [field["String"].get("sval", "") if "String" in field else "*" for field in fields]
        if len(names) == 1:
            name = names[0]
            if name == "*":
                return scope.everything()
            found, certain, possible = scope.column(name)
            if certain:
                return found
            rows = scope.find(name)
            if rows:
                return found.union(*(item.labels for item in rows))
            return found if possible or name in SYSTEM_COLUMNS else scope.everything()
        items = scope.find(names[-2], names[-3] if len(names) > 2 else "")
        if not items:
            return scope.everything() | (self.top if self.labels else NOTHING)
        name = names[-1]
        if name == "*":
            return frozenset().union(*(item.labels for item in items))
        found, certain = NOTHING, False
        for item in items:
            labels, sure = item.column(name)
            found, certain = found | labels, certain or sure
        if certain or name in SYSTEM_COLUMNS:
            return found
        return found.union(*(item.labels for item in items)) | self.function([name], notation=True)


def constant(node: dict[str, Any]) -> str | None:
    """The text of a constant; None for anything that is not one (NULL too). Casts that keep the text are looked through:
    another might cut it, as 'roles'::char(4) does."""
    if "TypeCast" in node:
        to = node["TypeCast"].get("typeName", {})
        names = [name.get("String", {}).get("sval") for name in to.get("names", ())]
        if names[-1:] not in (["text"], ["regclass"], ["bool"]) or names[:-1] not in ([], ["pg_catalog"]):
            return None
        if "typmods" in to or "arrayBounds" in to:
            return None
        node = node["TypeCast"].get("arg", {})
    value = node.get("A_Const")
    if value is None or value.get("isnull"):
        return None
    if "sval" in value:
        return str(value["sval"].get("sval", ""))
    if "ival" in value:
        return str(value["ival"].get("ival", 0))
    if "fval" in value:
        return str(value["fval"].get("fval", ""))
    if "boolval" in value:
        return "true" if value["boolval"].get("boolval") else "false"
    return None
