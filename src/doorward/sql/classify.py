"""A text's classification: what it would do, to what, and which labelled columns its results may depend on.

Contract: `classify` is a pure, total function of a text and Facts. It never raises: what it cannot parse or does not
know is UNKNOWN, with a reason in plain words; what no policy may allow is `forbidden`. One text may hold many
statements: they are judged in order, each knowing what the ones before it changed.

Its time is bounded: the parser's by the text's length, the walk's by a budget of nodes. It does no input or output, and keeps
nothing but what lineage derives from a catalogue, on that catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from doorward.model import ACCESSES, Effect, Resource, identifiers
from doorward.sql.catalogue import SYSTEM
from doorward.sql.classification import (
    NOTHING,
    SETTING,
    Classification,
    Copy,
    Facts,
    Namespace,
    Output,
    Statement,
    every,
)
from doorward.sql.definitions import Definitions
from doorward.sql.parse import Unparsable, parse
from doorward.sql.statements import Draft
from doorward.sql.walker import ANYTHING, MAX_NODES, ExhaustedError

__all__ = ["Classification", "Copy", "Facts", "Namespace", "Output", "Statement", "classify"]

_RANK = {effect: rank for rank, effect in enumerate(ACCESSES)}
_PLAIN = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})
# Definitions that run no code of anybody's, unless it is an event trigger's.
_RUNS_NOTHING = frozenset({
    "COMMENT", "CREATE DOMAIN", "CREATE FUNCTION", "CREATE PROCEDURE", "CREATE RULE", "CREATE SCHEMA", "CREATE SEQUENCE",
    "CREATE TABLE", "CREATE TRIGGER", "CREATE TYPE", "CREATE VIEW", "DROP FUNCTION", "DROP SCHEMA", "DROP SEQUENCE",
    "DROP TABLE", "DROP TYPE", "DROP VIEW",
})
_TOO_MUCH = "the statement is too large or nested too deeply to be judged"


def classify(text: str, facts: Facts) -> Classification:
    """What `text` would do in a session of which `facts` are true."""
    try:
        parsed = parse(text, max_bytes=facts.max_bytes, max_statements=facts.max_statements)
    except Unparsable as why:
        return Classification(effect=Effect.UNKNOWN, resources=(_whole(Effect.UNKNOWN),), reason=why.reason, fixed=True,
                              labels=every(facts), position=why.position)
    text_so_far = _Text(facts, min(MAX_NODES, 20_000 + 30 * len(text)))
    for raw in parsed:
        text_so_far.add(raw.tag, raw.body, raw.offset, raw.length)
    return text_so_far.told()


class _Text:
    """The statements of one text, and what the earlier ones mean for the later."""

    def __init__(self, facts: Facts, budget: int) -> None:
        self.facts = facts
        self.budget = budget
        self.walks: list[Definitions] = []
        self.statements: list[Statement] = []
        self.prepared: dict[str, Classification] = {}
        self.cursors: dict[str, Classification] = {}
        self.changed: set[tuple[str, str]] = set(facts.changed)
        self.landed: dict[str, frozenset[str]] = {}
        self.temporary: set[str] = set(facts.temporary)
        self.unsure_path = False
        self.opaque = False  # an earlier one has run code that may have changed settings, and with them how values look
        self.depth = 0

    def add(self, tag: str, body: dict[str, Any], offset: int, length: int) -> None:
        """Judges one more statement."""
        walk = Definitions(self.facts, unsure_path=self.unsure_path, changed=frozenset(self.changed),
                           temporary=frozenset(self.temporary), budget=self.budget)
        walk.draft = draft = Draft()
        walk.prepared, walk.cursors, walk.judge, walk.landed = self.prepared, self.cursors, self.inner, self.landed
        self.depth += 1
        try:
            if self.depth > 20:
                walk.unknown(_TOO_MUCH)
            else:
                walk.statement(tag, body)
        except (ExhaustedError, RecursionError):
            walk.unknown(_TOO_MUCH)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            # A tree of a shape that this walk does not expect is a defect here; until it is mended, nothing passes by it.
            walk.unknown("the statement has a form that cannot be judged")
        self.depth -= 1
        self.budget = min(self.budget, walk.budget)
        statement = _statement(walk, draft, offset, length, self.opaque)
        self.walks.append(walk)
        self.statements.append(statement)
        self.follow(statement)

    def inner(self, tag: str, body: dict[str, Any]) -> Classification:
        """A statement within a statement, judged on its own in the same place."""
        text = _Text(self.facts, self.budget)
        text.prepared, text.cursors, text.depth = self.prepared, self.cursors, self.depth
        text.changed, text.temporary, text.unsure_path = self.changed, self.temporary, self.unsure_path
        text.opaque, text.landed = self.opaque, self.landed
        text.add(tag, body, 0, 0)
        self.budget = text.budget
        return text.told()

    def follow(self, statement: Statement) -> None:
        """What this statement changes for those after it in the same text."""
        if self.depth:
            return
        self.opaque = self.opaque or statement.opaque
        for schema, name, column, label in statement.copies:
            self.landed[f"{schema}.{name}.{column}"] = self.landed.get(f"{schema}.{name}.{column}", NOTHING) | {label}
        for schema, name in statement.defines:
            if schema == "pg_temp":
                self.temporary.add(name)
            else:
                self.changed.add((schema, name))
        if any(name in ("search_path", "all", "role", "session_authorization") for name, _, _ in statement.settings):
            self.unsure_path = True
        if statement.changes_session and not statement.settings and not statement.transaction:
            self.unsure_path = True  # CALL, DO
        if statement.stirs or (
            statement.transaction in ("commit", "rollback", "rollback_to") and self.facts.unsettled
        ):
            self.unsure_path = True
        if statement.prepares is not None and statement.inner is not None:
            self.prepared[statement.prepares] = statement.inner
        if statement.declares is not None and statement.inner is not None:
            self.cursors[statement.declares] = statement.inner

    def told(self) -> Classification:
        """All of it, as one."""
        if len(self.walks) == 1:
            walk, statement = self.walks[0], self.statements[0]
            return Classification((statement,), statement.effect, statement.resources, statement.labels,
                                  statement.inferred, walk.reason,
                                  walk.forbidden or _disguised(self.statements, statement.effect),
                                  tuple(walk.misses), walk.fixed)
        resources = dict.fromkeys(resource for statement in self.statements for resource in statement.resources)
        if not self.statements:
            resources = {_whole(Effect.READ): None}
        effect = _worst(resources)
        return Classification(
            tuple(self.statements), effect, tuple(resources),
            NOTHING.union(*(statement.labels for statement in self.statements)),
            NOTHING.union(*(statement.inferred for statement in self.statements)),
            next((walk.reason for walk in self.walks if walk.reason), ""),
            next((walk.forbidden for walk in self.walks if walk.forbidden), "") or _disguised(self.statements, effect),
            tuple(dict.fromkeys(name for walk in self.walks for name in walk.misses)),
            any(walk.fixed for walk in self.walks),
        )


def _statement(walk: Definitions, draft: Draft, offset: int, length: int, shaken: bool) -> Statement:
    resources = walk.resources
    if walk.reason:
        resources[_whole(Effect.UNKNOWN)] = None
    elif not resources:
        resources[_whole(Effect.READ)] = None
    effect = _worst(resources)
    first = walk.settings[0] if walk.settings else (None, None, False)
    labels = walk.labels | walk.inferred | walk.stored
    if draft.outputs:
        labels = labels.union(*(output.sources for output in draft.outputs))
    if walk.reason:
        labels = labels | walk.top
    if walk.defines and (walk.settings or any(r.access is Effect.EXECUTE and r.kind == "Function" for r in resources)):
        walk.defines.add(ANYTHING)  # what was defined may change settings whenever it is used
    stirs = _stirs(walk, draft, effect)
    opaque = stirs or bool(walk.reason)
    reads = walk.reads or SETTING in labels
    if shaken and draft.outputs:
        labels = labels | walk.top
    # What nobody can judge, nobody can trace: where a policy lets it run all the same, each column may show anything.
    outputs = None if (walk.reason or shaken) and draft.outputs else draft.outputs
    inferred, stored, copies, escapes = walk.inferred, walk.stored, walk.copies, tuple(walk.escapes)
    if SETTING in labels:
        held = walk.top if walk.facts.opaque or shaken or opaque else NOTHING
        labels, inferred, stored = (_told(found, held) for found in (labels, inferred, stored))
        copies = {(a, b, c, label) for a, b, c, found in copies for label in _told(frozenset((found,)), held)}
        escapes = tuple((label, where) for found, where in escapes for label in sorted(_told(frozenset((found,)), held)))
        if outputs is not None:
            outputs = tuple(Output(output.name, _told(output.sources, held)) for output in outputs)
    return Statement(
        draft.tag, effect, tuple(resources), outputs, labels, inferred, stored, frozenset(copies),
        escapes, offset, length,
        draft.transaction, draft.chain, first[0], first[1], first[2], tuple(walk.settings),
        draft.changes_session or bool(walk.settings), draft.prepares, draft.executes, draft.deallocates, draft.declares,
        draft.fetches, draft.closes, draft.inner, draft.copy, draft.explain, draft.analyze, draft.returns_rows,
        draft.tag in _PLAIN and effect in (Effect.READ, Effect.WRITE), frozenset(walk.defines), walk.reason,
        draft.holds, stirs, opaque, reads,
    )


_CLAUSES = frozenset({"CREATE FUNCTION", "CREATE PROCEDURE", "ALTER FUNCTION"})


def _disguised(statements: Sequence[Statement], effect: Effect) -> str:
    """Why a text may not give the session another name and act under it: the gateway puts its own mark back as soon as a
    text has run, and not in its midst. A definition that has the setting as a clause only keeps it for later."""
    named = any(
        name == "application_name" and value is not None for statement in statements for name, value, _ in statement.settings
    )
    if not named or effect is Effect.READ:
        return ""
    if len(statements) == 1 and (effect is Effect.CONTROL or statements[0].tag in _CLAUSES):
        return ""
    return "application_name tells the target whose session this is: set it in a statement of its own, then do the rest"


def _told(labels: frozenset[str], held: frozenset[str]) -> frozenset[str]:
    """With the labels of what settings hold in place of what stands for them."""
    return (labels - {SETTING}) | held if SETTING in labels else labels


def _stirs(walk: Definitions, draft: Draft, effect: Effect) -> bool:
    """Whether code of the database's own that could change settings may run: functions by name, or behind
    views, defaults, checks, rules, policies and triggers, the last of them at COMMIT."""
    setters = walk.catalogue.setters
    if not setters and not any(name.endswith("()") or (schema, name) == ANYTHING for schema, name in walk.changed):
        return False
    if effect is Effect.DEFINE and draft.tag in _RUNS_NOTHING and "event" not in setters:
        return False
    if effect is not Effect.READ or draft.transaction == "commit" or draft.tag == "SET CONSTRAINTS":
        return True
    for resource in walk.resources:
        if resource.kind == "Table":
            try:
                schema, name = identifiers(resource.name)
            except ValueError:  # in no schema that can be told
                return True
            if schema in SYSTEM:
                continue
            relation = walk.catalogue.find(schema, name)
            if relation is None or relation.kind == "v" or "read" in setters:
                return True
    return False


def _worst(resources: Iterable[Resource]) -> Effect:
    """The most consequential of what is touched."""
    return max((resource.access for resource in resources), key=_RANK.__getitem__, default=Effect.READ)


def _whole(effect: Effect) -> Resource:
    return Resource("Target", "", effect)
