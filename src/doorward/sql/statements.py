"""Statements: what each kind does, beyond the queries in it.

Contract: `statement` judges one raw statement, and is total over PostgreSQL 18's: a kind that has no entry in the tables at
the end is UNKNOWN. Definitions (DDL) are in definitions.py.

What the effects mean here: READ looks. WRITE changes rows, sequences or statistics, sends notifications, or takes row or table
locks that a read-only transaction may not. DEFINE changes what exists. EXECUTE runs code that is not PostgreSQL's own, or
acts outside the tables. CONTROL changes who may do what, the server, its files, or other sessions. PREPARE and plain EXPLAIN
run nothing but what planning evaluates: what they name is read, and the functions in them still count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from doorward.model import Effect, dotted
from doorward.sql import settings
from doorward.sql.classification import NOTHING, Classification, Copy, Output
from doorward.sql.expressions import constant
from doorward.sql.queries import Queries, strings
from doorward.sql.scope import Rows, Scope

Body = dict[str, Any]

_TRANSACTIONS = {
    "TRANS_STMT_BEGIN": ("BEGIN", "begin"), "TRANS_STMT_START": ("START TRANSACTION", "begin"),
    "TRANS_STMT_COMMIT": ("COMMIT", "commit"), "TRANS_STMT_ROLLBACK": ("ROLLBACK", "rollback"),
    "TRANS_STMT_SAVEPOINT": ("SAVEPOINT", "savepoint"), "TRANS_STMT_RELEASE": ("RELEASE", "release"),
    "TRANS_STMT_ROLLBACK_TO": ("ROLLBACK", "rollback_to"), "TRANS_STMT_PREPARE": ("PREPARE TRANSACTION", ""),
    "TRANS_STMT_COMMIT_PREPARED": ("COMMIT PREPARED", ""), "TRANS_STMT_ROLLBACK_PREPARED": ("ROLLBACK PREPARED", ""),
}
_ROWS = {"SelectStmt": "SELECT", "InsertStmt": "INSERT", "UpdateStmt": "UPDATE", "DeleteStmt": "DELETE",
         "MergeStmt": "MERGE"}
_TRUE = frozenset({"true", "on", "yes", "1", "t"})
ACCESS_SHARE = 1
CURSOR_OPT_HOLD = 0x20


@dataclass(slots=True)
class Draft:
    """What a statement turns out to be; the same fields as a Statement has."""

    tag: str = ""
    outputs: tuple[Output, ...] | None = ()
    returns_rows: bool = False
    transaction: str = ""
    chain: bool = False
    changes_session: bool = False
    prepares: str | None = None
    executes: str | None = None
    deallocates: str | None = None
    declares: str | None = None
    fetches: str | None = None
    closes: str | None = None
    inner: Classification | None = None
    copy: Copy | None = None
    explain: bool = False
    analyze: bool = False
    holds: bool = False


class Statements(Queries):
    """Adds whole statements to the walk. `names` are the names that earlier statements of the same text have bound;
    `judge` classifies a statement within this one on its own."""

    draft: Draft
    landed: Mapping[str, frozenset[str]]  # labels that earlier statements of the same text have copied, by column
    prepared: dict[str, Classification]
    cursors: dict[str, Classification]
    judge: Callable[[str, Body], Classification]

    def statement(self, tag: str, body: Body) -> None:
        """Judges one statement. Everything it finds is in the draft and in the walk's collections."""
        if tag in _ROWS:
            self.rows(tag, body)
            return
        self.fixed = True  # options and names that are written as constants
        handler = _HANDLERS.get(tag)
        if handler is not None:
            handler(self, body)
            return
        self.definition(tag, body)

    def definition(self, tag: str, body: Body) -> None:
        raise NotImplementedError

    # -- rows

    def rows(self, tag: str, body: Body) -> None:
        self.draft.tag = _ROWS[tag]
        rows = self.query({tag: body}, None, {})
        into = tag == "SelectStmt" and bool(self.defines)  # in a set operation, INTO stands in its first query
        if into:
            self.draft.tag = "SELECT INTO"
            if body.get("op", "SETOP_NONE") != "SETOP_NONE":
                first = body
                while "larg" in first:
                    first = first["larg"]
                self.fill(first.get("intoClause", {}), rows)
        self.draft.returns_rows = (tag == "SelectStmt" and not into) or "returningClause" in body
        if self.draft.returns_rows:
            self.show(rows)

    def show(self, rows: Rows) -> None:
        """The rows are what the client gets."""
        self.draft.returns_rows = True
        if rows.cols is None:
            self.draft.outputs = None
            self.labels = self.labels | rows.labels
        else:
            self.draft.outputs = tuple(Output(col.name or "?column?", col.labels) for col in rows.cols)

    def copy(self, body: Body) -> None:
        self.draft.tag = "COPY"
        inwards = body.get("is_from", False)
        scope = Scope()
        if "query" in body:
            rows = self.query(body["query"], None, {})
        else:
            item = self.relation(body.get("relation", {}), None, Effect.WRITE if inwards else Effect.READ)
            rows = Rows(item.cols, item.labels)
            scope.items.append(item)
            names = strings(body.get("attlist", ()))
            if names and item.cols is not None:
                cols = tuple(col for name in names for col in item.cols if col.name == name)
                rows = Rows(cols if len(cols) == len(names) else None, item.labels)
        self.infer(body.get("whereClause", {}), scope)
        if body.get("is_program") or "filename" in body:
            self.touch("Target", "", Effect.CONTROL)  # runs a program on the server, or reads or writes its files
            if not inwards:
                self.escape(rows.labels, "a file or a program of the server")
            return
        self.draft.copy = self.format(body.get("options", ()), "in" if inwards else "out", stored="query" not in body)
        if not inwards:
            self.show(rows)
            self.draft.returns_rows = False

    def format(self, options: Any, direction: str, *, stored: bool) -> Copy:
        texts: dict[str, str | None] = {}
        header = False
        for option in options:
            body = option.get("DefElem", {})
            name, argument = body.get("defname", ""), body.get("arg", {})
            text = _option(argument)
            if name == "header":
                header = text is None or text.lower() in _TRUE or text.lower() == "match"
            elif name in ("format", "delimiter", "null", "quote", "escape", "encoding"):
                if text is None:
                    self.unknown(f"COPY cannot be judged: its {name} is not a plain word")
                texts[name] = text
            elif name not in ("freeze", "force_quote", "force_not_null", "force_null", "default", "on_error", "log_verbosity",
                              "reject_limit", "convert_selectively"):
                self.unknown(f"COPY cannot be judged: it has an unknown option, {name}")
        kind = texts.get("format") or "text"
        if kind not in ("text", "csv", "binary"):
            self.unknown(f"COPY cannot be judged: it has an unknown format, {kind}")
        return Copy(direction, kind, texts.get("delimiter"), texts.get("null"), header, texts.get("quote"),
                    texts.get("escape"), texts.get("encoding"), stored)

    def explain(self, body: Body) -> None:
        self.draft.tag, self.draft.explain = "EXPLAIN", True
        for option in body.get("options", ()):
            element = option.get("DefElem", {})
            if element.get("defname") == "analyze":  # the last one counts
                text = _option(element.get("arg", {}))
                self.draft.analyze = text is None or text.lower() not in ("false", "off", "0")
            elif element.get("defname") == "serialize":
                continue
        for tag, inner in body.get("query", {}).items():
            told = self.judge(tag, inner)
            self.adopt(told, plan_only=not self.draft.analyze)
            shown = frozenset[str]()
            for statement in told.statements:
                self.draft.executes = self.draft.executes or statement.executes
                if any(r.kind == "Function" and r.access is Effect.EXECUTE for r in statement.resources):
                    shown = self.top  # planning may call a function, and show what it gave
                if self.draft.analyze:  # memory, buffers and sizes are those of the values
                    self.inferred = self.inferred | statement.labels
            # What a plan costs is counted in settings, and EXPLAIN (SETTINGS) lists them.
            self.draft.outputs = (Output("QUERY PLAN", shown | self.state()),)
            self.draft.returns_rows = True

    def adopt(self, told: Classification, *, plan_only: bool = False) -> None:
        """Takes over what an inner statement does. When it is only planned, its relations are only looked at, and what it
        would do to settings does not happen."""
        for resource in told.resources:
            access = resource.access
            if plan_only and resource.kind in ("Table", "Schema", "Target", "Database") and access is not Effect.CONTROL:
                access = Effect.READ
            self.touch(resource.kind, resource.name, access)
        self.labels = self.labels | told.labels
        self.inferred = self.inferred | told.inferred
        self.forbidden = self.forbidden or told.forbidden
        self.misses += [name for name in told.misses if name not in self.misses]
        if told.reason:
            self.unknown(told.reason)
        for statement in told.statements:
            self.reads = self.reads or statement.reads
            if not plan_only:
                self.stored = self.stored | statement.stored
                self.copies |= statement.copies
                self.escapes.update(dict.fromkeys(statement.escapes))
                self.settings += statement.settings
                self.defines |= statement.defines
                self.draft.changes_session = self.draft.changes_session or statement.changes_session

    def take(self, told: Classification | None, what: str, name: str) -> None:
        """What a prepared statement or a cursor of that name does, and shows."""
        if told is None or len(told.statements) != 1:
            self.unknown(f"{what} {name} is not known")
            self.draft.outputs, self.labels = None, self.labels | self.top
            return
        self.adopt(told)
        statement = told.statements[0]
        self.draft.inner = told
        self.draft.outputs, self.draft.returns_rows = statement.outputs, statement.returns_rows

    # -- prepared statements and cursors

    def prepare(self, body: Body) -> None:
        self.draft.tag, self.draft.prepares = "PREPARE", body.get("name", "")
        for tag, inner in body.get("query", {}).items():
            self.draft.inner = told = self.judge(tag, inner)
            self.misses += told.misses
            self.forbidden = told.forbidden

    def execute(self, body: Body) -> None:
        name = body.get("name", "")
        self.draft.tag, self.draft.executes = "EXECUTE", name
        self.stored = self.stored | self.expression(body.get("params", []), Scope())
        told = self.prepared.get(name)
        if told is None and self.facts.namespace is not None:
            told = self.facts.namespace.prepared(name)
        self.take(told, "prepared statement", name)

    def deallocate(self, body: Body) -> None:
        self.draft.tag, self.draft.deallocates = "DEALLOCATE", "" if body.get("isall") else body.get("name", "")

    def declare(self, body: Body) -> None:
        name = body.get("portalname", "")
        self.draft.tag, self.draft.declares = "DECLARE CURSOR", name
        self.draft.holds = bool(body.get("options", 0) & CURSOR_OPT_HOLD)
        for tag, inner in body.get("query", {}).items():
            told = self.judge(tag, inner)
            self.adopt(told)
            self.draft.inner = told

    def fetch(self, body: Body) -> None:
        name = body.get("portalname", "")
        moves = body.get("ismove", False)
        self.draft.tag, self.draft.fetches = "MOVE" if moves else "FETCH", name
        told = self.cursors.get(name)
        if told is None and self.facts.namespace is not None:
            told = self.facts.namespace.cursor(name)
        self.take(told, "cursor", name)
        if moves:
            self.draft.outputs, self.draft.returns_rows = (), False

    def close(self, body: Body) -> None:
        self.draft.tag, self.draft.closes = "CLOSE CURSOR", body.get("portalname", "")

    # -- settings and the session

    def variable_set(self, body: Body) -> None:
        self.draft.tag = "RESET" if body.get("kind", "").startswith("VAR_RESET") else "SET"
        self.draft.changes_session = True
        self.assign(body)

    def assign(self, body: Body) -> None:
        """SET in any spelling, as a statement or as a clause of another."""
        kind, name, local = body.get("kind", ""), body.get("name", ""), body.get("is_local", False)
        arguments = body.get("args", ())
        if kind == "VAR_RESET_ALL":
            self.touch("Setting", "all", Effect.READ)  # back to what the gateway logged in with
            self.settings.append(("all", None, False))
        elif kind in ("VAR_SET_DEFAULT", "VAR_RESET"):
            self.set(name, None, local)
        elif kind == "VAR_SET_VALUE":
            values = [constant(argument) for argument in arguments]
            if any(value is None for value in values) and name != "timezone":
                self.unknown(f"the value of {name} cannot be told")
            self.set(name, ", ".join(value or "" for value in values), local)
        elif kind == "VAR_SET_CURRENT":
            self.set(name, "", local)
            self.escape(self.state(), "a definition")
        elif kind == "VAR_SET_MULTI" and name in ("TRANSACTION", "SESSION CHARACTERISTICS"):
            for argument in arguments:
                element = argument.get("DefElem", {})
                mode = element.get("defname", "")
                mode = f"default_{mode}" if name != "TRANSACTION" else mode
                self.set(mode, constant(element.get("arg", {})) or "", name == "TRANSACTION")
        elif kind == "VAR_SET_MULTI" and name == "TRANSACTION SNAPSHOT":
            self.touch("Target", "", Effect.READ)
        else:
            self.unknown(f"a setting statement of kind {kind} {name} cannot be judged")

    def show_setting(self, body: Body) -> None:
        self.draft.tag = "SHOW"
        name = str(body.get("name", "")).lower()
        self.touch("Setting", name, Effect.READ)
        self.draft.returns_rows = True
        columns = ("name", "setting", "description") if name == "all" else (name,)
        held = NOTHING if settings.narrow(name) else self.state()
        shown = ("setting", name)
        self.draft.outputs = tuple(Output(column, held if column in shown else NOTHING) for column in columns)

    def discard(self, body: Body) -> None:
        self.draft.tag = "DISCARD"
        if body.get("target") == "DISCARD_ALL":
            self.draft.tag, self.draft.changes_session = "DISCARD ALL", True
            self.draft.deallocates = self.draft.closes = ""
            self.settings.append(("all", None, False))

    def transaction(self, body: Body) -> None:
        known = _TRANSACTIONS.get(body.get("kind", ""))
        if known is None:
            self.unknown(f"a transaction statement of kind {body.get('kind')} cannot be judged")
            return
        self.draft.tag, self.draft.transaction = known
        self.draft.chain = body.get("chain", False)
        self.draft.changes_session = self.draft.transaction in ("rollback", "rollback_to")
        if not self.draft.transaction:  # two-phase commit outlives the session
            self.touch("Target", "", Effect.CONTROL)
            self.draft.changes_session = True
        for option in body.get("options", ()):
            element = option.get("DefElem", {})
            self.set(element.get("defname", ""), constant(element.get("arg", {})) or "", True)

    def constraints(self, body: Body) -> None:
        self.draft.tag = "SET CONSTRAINTS"

    # -- the rest of what is no definition

    def call_procedure(self, body: Body) -> None:
        self.draft.tag = "CALL"
        call = body.get("funccall", {})
        found = self.expression({"FuncCall": call}, Scope())
        path = strings(call.get("funcname", ()))
        if path:  # a procedure may commit, and change anything
            self.touch("Function", dotted(*path[-2:]), Effect.EXECUTE)
        self.draft.outputs, self.draft.returns_rows = None, True
        self.labels = self.labels | found | self.top
        self.draft.changes_session = True

    def do_block(self, body: Body) -> None:
        self.draft.tag, self.draft.changes_session = "DO", True
        self.labels = self.top
        self.unknown("what a DO block does cannot be told from outside it")

    def truncate(self, body: Body) -> None:
        self.draft.tag = "TRUNCATE TABLE"
        for relation in body.get("relations", ()):
            self.relation(relation.get("RangeVar", {}), None, Effect.WRITE)
        if body.get("behavior") == "DROP_CASCADE":
            self.touch("Target", "", Effect.WRITE)  # and whatever refers to them

    def lock(self, body: Body) -> None:
        self.draft.tag = "LOCK TABLE"
        access = Effect.READ if body.get("mode") == ACCESS_SHARE else Effect.WRITE
        for relation in body.get("relations", ()):
            self.relation(relation.get("RangeVar", {}), None, access)

    def listen(self, body: Body) -> None:
        self.draft.tag = "LISTEN"
        self.labels = self.top  # others, triggers among them, may say anything

    def unlisten(self, body: Body) -> None:
        self.draft.tag = "UNLISTEN"

    def notify(self, body: Body) -> None:
        self.draft.tag = "NOTIFY"
        self.touch("Target", "", Effect.WRITE)

    def vacuum(self, body: Body) -> None:
        self.draft.tag = "VACUUM" if body.get("is_vacuumcmd") else "ANALYZE"
        full = any(
            option.get("DefElem", {}).get("defname") == "full"
            and (_option(option["DefElem"].get("arg", {})) or "on").lower() in _TRUE
            for option in body.get("options", ())
        )
        access = Effect.DEFINE if full else Effect.WRITE
        for relation in body.get("rels", ()):
            self.relation(relation.get("VacuumRelation", {}).get("relation", {}), None, access)
        if not body.get("rels"):
            self.touch("Target", "", access)


_HANDLERS: dict[str, Callable[[Statements, Body], None]] = {
    "CopyStmt": Statements.copy, "ExplainStmt": Statements.explain, "PrepareStmt": Statements.prepare,
    "ExecuteStmt": Statements.execute, "DeallocateStmt": Statements.deallocate, "DeclareCursorStmt": Statements.declare,
    "FetchStmt": Statements.fetch, "ClosePortalStmt": Statements.close, "VariableSetStmt": Statements.variable_set,
    "VariableShowStmt": Statements.show_setting, "DiscardStmt": Statements.discard,
    "TransactionStmt": Statements.transaction, "ConstraintsSetStmt": Statements.constraints,
    "CallStmt": Statements.call_procedure, "DoStmt": Statements.do_block, "TruncateStmt": Statements.truncate,
    "LockStmt": Statements.lock, "ListenStmt": Statements.listen, "UnlistenStmt": Statements.unlisten,
    "NotifyStmt": Statements.notify, "VacuumStmt": Statements.vacuum,
}


def _option(argument: Body) -> str | None:
    """The value of an option as the server reads it; None where there is none, or where it is no single word."""
    for tag, body in argument.items():
        if tag == "String":
            return str(body.get("sval", ""))
        if tag == "Boolean":
            return "true" if body.get("boolval") else "false"
        if tag in ("Integer", "Float"):
            return str(body.get("ival", body.get("fval", 0)))
        if tag == "A_Const":
            return constant(argument)
        if tag == "TypeName":
            return (strings(body.get("names", ())) or [""])[-1]
    return None
