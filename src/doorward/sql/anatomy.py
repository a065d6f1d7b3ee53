"""A change taken apart, so that a target can be asked what it would do without doing it.

Contract: `dissect` takes a text of one INSERT, UPDATE or DELETE to pieces and writes queries from them: how many rows it would
touch, and which. It returns None for whatever it cannot do exactly. The pieces are cut out of the text itself; each query
is then parsed, and given out only if its relations and its condition have the very tree that those of the change have. So
a query counts what the change would touch, or there is none. `locks` names the table lock that a statement takes, by
PostgreSQL's documentation (chapter "Explicit Locking", and the page of each command). Pure; it knows nothing of a catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from doorward.sql.parse import Unparsable, encode, parse, scan

MOST: Final = 10_000  # rows that are counted; one more says that there are more
SAMPLE: Final = 5
MAX_TEXT: Final = 32 << 10  # longer changes are not taken apart

Body = dict[str, Any]

_PARAMETER = re.compile(rb"\$([0-9]+)")
_OPEN, _CLOSE, _END = 40, 41, 59
_CHANGES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the numbers of the change's parameters that are its own `$1`, `$2`, ..."""

    text: str
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `verb` is insert, update or delete. `columns` are those that an UPDATE sets. `literal` is the number of
    rows that stand in the text itself (VALUES), -1 where they come from elsewhere; `count` gives one number, at most one
    more than MOST. `at_most`: what conflicts with a row that is there does not count."""

    verb: str
    schema: str
    relation: str
    columns: tuple[str, ...]
    literal: int = -1
    count: Query | None = None
    at_most: bool = False
    _alias: str = ""
    _prefix: str = ""
    _body: str = ""
    _found: str = ""

    def before(self, key: Sequence[str]) -> Query | None:
        """The first rows that would be touched, in the order of their key, as they are."""
        if not self._found:
            return None
        table = f"{quoted(self.schema)}.{quoted(self.relation)}" if self.schema else quoted(self.relation)
        return _numbered(  # pieces of the text that was judged, which anybody may look at again
            f"{self._prefix} SELECT doorward.* FROM {table} AS doorward WHERE (doorward.ctid, doorward.tableoid) IN"
            f" (SELECT {self._alias}.ctid, {self._alias}.tableoid {self._found})"
            f" ORDER BY {_order('doorward', key)} LIMIT {SAMPLE}"
        )

    def after(self, key: Sequence[str]) -> Query | None:
        """The change itself: how many rows it touched, and the first of them as it left them."""
        if not self._found:
            return None
        return _numbered(
            f"WITH doorward AS ({self._body} RETURNING {self._alias}.*)"
            f" SELECT pg_catalog.count(*) OVER (), doorward.* FROM doorward ORDER BY {_order('doorward', key)} LIMIT {SAMPLE}"
        )


def quoted(identifier: str) -> str:
    """An identifier as SQL spells it whatever is in it."""
    return '"' + identifier.replace('"', '""') + '"'


def dissect(text: str) -> Change | None:
    """The one change that `text` is; None if it is none, or cannot be taken apart exactly."""
    if len(text) > MAX_TEXT:
        return None
    try:
        parsed = parse(text)
        if len(parsed) != 1 or parsed[0].tag not in _CHANGES:
            return None
        words = _words(encode(text))
    except Unparsable:
        return None
    body, whole = parsed[0].body, text.encode()
    if _changes(body.get("withClause", {})):
        return None
    relation = body.get("relation", {})
    named = {each.get("CommonTableExpr", {}).get("ctename") for each in body.get("withClause", {}).get("ctes", ())}
    if relation.get("relname") in named:
        return None  # where the change means the table, a query would mean the WITH
    columns = tuple(each["ResTarget"].get("name", "") for each in body.get("targetList", ()))
    cut = _Cut(whole, words, body, relation, columns)
    try:
        return {"InsertStmt": cut.insert, "UpdateStmt": cut.update, "DeleteStmt": cut.delete}[parsed[0].tag]()
    except (KeyError, ValueError, Unparsable):  # a form that this does not know
        return None


@dataclass(frozen=True, slots=True)
class _Word:
    """A keyword at the text's outermost level; the end of the text is one, "". `before` is the word in front of it."""

    text: str
    start: int
    end: int
    before: str


def _words(encoded: bytes) -> list[_Word]:
    words: list[_Word] = []
    depth, before = 0, ""
    for start, end, token, keyword in scan(encoded):
        if token == _OPEN:
            depth += 1
        elif token == _CLOSE:
            depth -= 1
        elif token == _END:
            words.append(_Word("", start, end, before))
            return words
        word = encoded[start:end].decode().lower() if keyword else ""
        if word and depth == 0:
            words.append(_Word(word, start, end, before))
        before = word
    words.append(_Word("", len(encoded), len(encoded), before))
    return words


@dataclass(frozen=True, slots=True)
class _Cut:
    text: bytes
    words: list[_Word]
    body: Body
    relation: Body
    columns: tuple[str, ...]

    def find(self, *wanted: str, after: int = -1) -> _Word:
        """The first of these keywords. The end of the text is always among them. `FROM` behind `DISTINCT` compares."""
        for word in self.words:
            if word.start > after and (word.text in wanted or not word.text):
                if word.text == "from" and word.before == "distinct":
                    continue
                return word
        raise ValueError("no end")

    def piece(self, start: int, end: int) -> str:
        """A part of the text. The line ends behind it, for it may end in a comment."""
        return self.text[start:end].decode() + "\n"

    def name(self) -> str:
        return str(self.relation.get("alias", {}).get("aliasname") or self.relation["relname"])

    def update(self) -> Change:
        verb = self.find("update")
        setting = self.find("set", after=verb.start)
        where = self.find("from", "where", "returning", after=setting.start)
        more = ""
        if where.text == "from":
            start = where.end
            where = self.find("where", "returning", after=start)
            more = self.piece(start, where.start)
        return self.rows("update", verb, self.piece(verb.end, setting.start), more, where, self.body.get("fromClause", []))

    def delete(self) -> Change:
        verb = self.find("delete")
        of = self.find("from", after=verb.start)
        where = self.find("using", "where", "returning", after=of.start)
        relation, more = self.piece(of.end, where.start), ""
        if where.text == "using":
            start = where.end
            where = self.find("where", "returning", after=start)
            more = self.piece(start, where.start)
        return self.rows("delete", verb, relation, more, where, self.body.get("usingClause", []))

    def rows(self, kind: str, verb: _Word, relation: str, more: str, where: _Word, others: Sequence[Any]) -> Change:
        """What UPDATE and DELETE have in common: the rows of one relation that a condition finds."""
        alias, condition = quoted(self.name()), ""
        end = where
        if where.text == "where":
            end = self.find("returning", after=where.start)
            condition = self.piece(where.start, end.start)
        found = f"FROM {relation}{', ' + more if more else ''} {condition}"
        prefix = self.piece(0, verb.start)
        query = f"{prefix} SELECT {alias}.ctid, {alias}.tableoid {found}"
        [select] = parse(query)
        if not (
            select.tag == "SelectStmt"
            and same(select.body.get("fromClause"), [{"RangeVar": self.relation}, *others])
            and same(select.body.get("whereClause"), self.body.get("whereClause"))
            and same(select.body.get("withClause"), self.body.get("withClause"))
        ):
            raise ValueError("it says something else")
        distinct = "DISTINCT " if more else ""
        return Change(
            kind, self.relation.get("schemaname", ""), self.relation["relname"], self.columns,
            count=_numbered(
                f"{prefix} SELECT pg_catalog.count(*) FROM (SELECT {distinct}{alias}.ctid, {alias}.tableoid {found}"
                f" LIMIT {MOST + 1}) AS doorward"
            ),
            _alias=alias, _prefix=prefix, _body=self.piece(0, end.start), _found=found,
        )  # fmt: skip

    def insert(self) -> Change:
        select = self.body.get("selectStmt", {}).get("SelectStmt")
        schema, name = self.relation.get("schemaname", ""), self.relation["relname"]
        if select is None:  # DEFAULT VALUES
            return Change("insert", schema, name, (), literal=1)
        conflict = "onConflictClause" in self.body
        if "valuesLists" in select and not {"limitCount", "limitOffset"} & select.keys():
            return Change("insert", schema, name, (), literal=len(select["valuesLists"]), at_most=conflict)
        verb = self.find("insert")
        start = self.find("select", "with", "table", after=verb.start)
        end = self.find("returning", after=start.start)
        for word in self.words:
            if word.start > start.start and word.text == "conflict" and word.before == "on":
                end = min(end, self.words[self.words.index(word) - 1], key=lambda found: found.start)
                break
        prefix, query = self.piece(0, verb.start), self.piece(start.start, end.start)
        [alone] = parse(query)
        if alone.tag != "SelectStmt" or not same(alone.body, select):
            raise ValueError("it says something else")
        return Change(
            "insert", schema, name, (),
            count=_numbered(
                f"{prefix} SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ({query}) AS doorward LIMIT {MOST + 1}) AS doorward"
            ),
            at_most=conflict,
        )  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two trees say the same, wherever in a text they stand. Their depth is bounded by the parser."""
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = ({k: v for k, v in tree.items() if not _place(k)} for tree in (one, other))
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _place(key: str) -> bool:
    return key.endswith(("location", "list_start", "list_end"))


def _changes(tree: Any) -> bool:
    """Whether there is a change anywhere in a tree."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if _CHANGES & each.keys():
                return True
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False


def _numbered(text: str) -> Query:
    """The query with its parameters numbered from 1 without a gap: a server asks for the type of each that it counts."""
    encoded = text.encode()
    parts: list[bytes] = []
    numbers: dict[int, int] = {}
    last = 0
    for start, end, _, _ in scan(encoded):
        found = _PARAMETER.fullmatch(encoded, start, end)
        if found is not None:
            number = numbers.setdefault(int(found[1]), len(numbers) + 1)
            parts += [encoded[last:start], b"$%d" % number]
            last = end
    return Query((b"".join(parts) + encoded[last:]).decode(), tuple(numbers))


def _order(alias: str, key: Sequence[str]) -> str:
    return ", ".join(f"{alias}.{quoted(column)}" for column in key) or "1"


# -- locks

ROW_SHARE: Final = "ROW SHARE"
ROW_EXCLUSIVE: Final = "ROW EXCLUSIVE"
SHARE_UPDATE_EXCLUSIVE: Final = "SHARE UPDATE EXCLUSIVE"
SHARE: Final = "SHARE"
SHARE_ROW_EXCLUSIVE: Final = "SHARE ROW EXCLUSIVE"
ACCESS_EXCLUSIVE: Final = "ACCESS EXCLUSIVE"
MODES: Final = (
    "", "ACCESS SHARE", ROW_SHARE, ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, "EXCLUSIVE",
    ACCESS_EXCLUSIVE,
)  # fmt: skip
BLOCKS: Final[Mapping[str, str]] = {
    ROW_SHARE: "changes of the same rows",
    ROW_EXCLUSIVE: "changes of the same rows",
    SHARE_UPDATE_EXCLUSIVE: "VACUUM and other definitions",
    SHARE: "all writing",
    SHARE_ROW_EXCLUSIVE: "all writing",
    "EXCLUSIVE": "all writing",
    ACCESS_EXCLUSIVE: "all reading and writing",
}
_BY_TAG: Final[Mapping[str, str]] = {
    "InsertStmt": ROW_EXCLUSIVE, "UpdateStmt": ROW_EXCLUSIVE, "DeleteStmt": ROW_EXCLUSIVE, "MergeStmt": ROW_EXCLUSIVE,
    "CopyStmt": ROW_EXCLUSIVE, "TruncateStmt": ACCESS_EXCLUSIVE, "DropStmt": ACCESS_EXCLUSIVE, "ClusterStmt": ACCESS_EXCLUSIVE,
    "CreateTrigStmt": SHARE_ROW_EXCLUSIVE, "RuleStmt": ACCESS_EXCLUSIVE, "RenameStmt": ACCESS_EXCLUSIVE,
    "AlterObjectSchemaStmt": ACCESS_EXCLUSIVE, "ReindexStmt": SHARE, "CreateStatsStmt": SHARE_UPDATE_EXCLUSIVE,
    "CreatePolicyStmt": ACCESS_EXCLUSIVE, "AlterPolicyStmt": ACCESS_EXCLUSIVE,
}  # fmt: skip
_ALTER: Final[Mapping[str, str]] = {
    "AT_ValidateConstraint": SHARE_UPDATE_EXCLUSIVE, "AT_SetStatistics": SHARE_UPDATE_EXCLUSIVE,
    "AT_ClusterOn": SHARE_UPDATE_EXCLUSIVE, "AT_DropCluster": SHARE_UPDATE_EXCLUSIVE,
    "AT_AttachPartition": SHARE_UPDATE_EXCLUSIVE, "AT_SetOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_ResetOptions": SHARE_UPDATE_EXCLUSIVE, "AT_EnableTrig": SHARE_ROW_EXCLUSIVE,
    "AT_DisableTrig": SHARE_ROW_EXCLUSIVE, "AT_EnableTrigAll": SHARE_ROW_EXCLUSIVE,
    "AT_DisableTrigAll": SHARE_ROW_EXCLUSIVE, "AT_EnableTrigUser": SHARE_ROW_EXCLUSIVE,
    "AT_DisableTrigUser": SHARE_ROW_EXCLUSIVE,
}  # fmt: skip


def locks(text: str) -> str:
    """The strongest lock that a text takes on the tables that it changes, one of MODES; "" if it takes none to speak of.

    Where a command has forms that take less than others and this cannot tell them apart, it says the stronger lock.
    """
    try:
        parsed = parse(text)
    except Unparsable:
        return ""
    return max((_lock(each.tag, each.body) for each in parsed), key=MODES.index, default="")


def _lock(tag: str, body: Body) -> str:
    if tag == "AlterTableStmt":
        return max((_altered(each.get("AlterTableCmd", {})) for each in body.get("cmds", ())), key=MODES.index, default="")
    if tag == "IndexStmt":
        return SHARE_UPDATE_EXCLUSIVE if body.get("concurrent") else SHARE
    if tag == "LockStmt":
        mode = body.get("mode", len(MODES) - 1)
        return MODES[mode] if 0 <= mode < len(MODES) else ACCESS_EXCLUSIVE
    if tag == "RefreshMatViewStmt":
        return "EXCLUSIVE" if body.get("concurrent") else ACCESS_EXCLUSIVE
    if tag == "VacuumStmt":
        full = any(o.get("DefElem", {}).get("defname") == "full" for o in body.get("options", ()))
        return ACCESS_EXCLUSIVE if full else SHARE_UPDATE_EXCLUSIVE
    if tag == "SelectStmt":
        return ROW_SHARE if "lockingClause" in body else ""
    if tag == "CopyStmt" and not body.get("is_from"):
        return ""
    return _BY_TAG.get(tag, "")


def _altered(command: Body) -> str:
    kind = command.get("subtype", "AT_AddColumn")
    if kind == "AT_AddConstraint" and command.get("def", {}).get("Constraint", {}).get("contype") == "CONSTR_FOREIGN":
        return SHARE_ROW_EXCLUSIVE
    if kind == "AT_DetachPartition" and command.get("def", {}).get("PartitionCmd", {}).get("concurrent"):
        return SHARE_UPDATE_EXCLUSIVE
    return _ALTER.get(kind, ACCESS_EXCLUSIVE)
