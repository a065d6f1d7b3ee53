"""What classification takes and gives: the nouns of doorward.sql.

Facts            what is known of the session and its target when a text is judged.
Namespace        prepared statements and cursors by name, as the caller keeps them.
Classification   what a text would do, whole; its Statements one by one.
Output           one result column, and the labels of every column that it may depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from doorward.model import Effect, Resource
from doorward.sql.catalogue import Catalogue
from doorward.sql.parse import MAX_BYTES, MAX_STATEMENTS

NOTHING: frozenset[str] = frozenset()
# Stands, while a statement is walked, for the labels of what a setting holds: which these are, is known at its end.
SETTING = "\0setting"


class Namespace(Protocol):
    """Looks up what a name stands for in this session. What it returns must have been classified under the session's
    present search_path: the server analyses a prepared statement anew when that has changed. A cursor keeps the
    classification that its declaration had; a protocol portal is a cursor too."""

    def prepared(self, name: str) -> Classification | None: ...

    def cursor(self, name: str) -> Classification | None: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """`search_path` holds the effective schemas in the order in which the server looks, pg_catalog included (first,
    where it is implicit). `labels` maps "schema.table.column" to the label of what is in it; `copied` adds what has got
    into other columns since ("schema.table.*": into any). Neither may be changed once it has been used. `temporary` are
    this session's temporary relations. `changed` are (schema, name) of what the open transaction defined, changed or
    dropped (`Statement.defines`, collected by the caller until it has read the catalogue anew); ("*", "*") stands for
    anything. `pinned` are settings that the gateway keeps for itself. `unsettled` says that the end of the open
    transaction may change search_path; `opaque`, that code has run which nobody could follow, so that a setting may hold
    anything."""

    catalogue: Catalogue
    search_path: tuple[str, ...] = ("pg_catalog", "public")
    labels: Mapping[str, str] = field(default_factory=dict)
    copied: Mapping[str, frozenset[str]] = field(default_factory=dict)
    namespace: Namespace | None = None
    temporary: frozenset[str] = NOTHING
    changed: frozenset[tuple[str, str]] = frozenset()
    pinned: frozenset[str] = NOTHING
    unsettled: bool = False
    opaque: bool = False
    max_bytes: int = MAX_BYTES
    max_statements: int = MAX_STATEMENTS


@dataclass(frozen=True, slots=True)
class Output:
    """`sources` are the labels of the columns that this one may depend on: never too few, perhaps too many."""

    name: str
    sources: frozenset[str] = NOTHING


@dataclass(frozen=True, slots=True)
class Copy:
    """A COPY with the client: `direction` is "in" or "out", `format` text, csv or binary; `stored`: of a table's own
    columns, not of a query's. None where the statement says nothing, so that the format's own default holds."""

    direction: str
    format: str = "text"
    delimiter: str | None = None
    null: str | None = None
    header: bool = False
    quote: str | None = None
    escape: str | None = None
    encoding: str | None = None
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text.

    `outputs` is None when the columns cannot be told, and then every one of `labels` applies to each of them.
    `labels` are those of all columns of everything it touches. `inferred` are labels whose columns decide which rows
    come, or in what order (WHERE, JOIN, GROUP BY, ORDER BY); `stored` those whose columns flow into what it writes:
    `copies` says where that is a column of a relation that others see (schema, relation, column or "*", label),
    `escapes` where a label cannot follow. `transaction` is "", begin, commit, rollback, savepoint, rollback_to or
    release. `setting` and `value` name the first setting it changes (value None: back to the default); `settings` all
    of them. `changes_session`: role or search_path may be others once it has run. `defines` are (schema, name) of the
    relations it changes, and (schema, "name()") of functions.
    """

    tag: str
    effect: Effect
    resources: tuple[Resource, ...] = ()
    outputs: tuple[Output, ...] | None = ()
    labels: frozenset[str] = NOTHING
    inferred: frozenset[str] = NOTHING
    stored: frozenset[str] = NOTHING
    copies: frozenset[tuple[str, str, str, str]] = frozenset()
    escapes: tuple[tuple[str, str], ...] = ()  # (label, where)
    offset: int = 0
    length: int = 0
    transaction: str = ""
    chain: bool = False
    setting: str | None = None
    value: str | None = None
    local: bool = False
    settings: tuple[tuple[str, str | None, bool], ...] = ()
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
    returns_rows: bool = False
    plain: bool = False
    defines: frozenset[tuple[str, str]] = frozenset()
    reason: str = ""
    holds: bool = False  # it declares a cursor WITH HOLD
    stirs: bool = False  # it may run code, named or not, that changes settings
    opaque: bool = False  # or what code it runs cannot be told at all
    reads: bool = False  # it shows, or depends on, what a setting holds that could hold anything


@dataclass(frozen=True, slots=True)
class Classification:
    """`reason` says why `effect` is UNKNOWN. `forbidden` says why the text may not run whatever policy says: law.
    `misses` are names that the catalogue does not have: read it anew and classify again, once. `fixed` says that a
    constant in the text decided part of this (a setting's value, ORDER BY 2, nextval's name): a text that differs from
    this one only in constants may share the classification only where it is False."""

    statements: tuple[Statement, ...] = ()
    effect: Effect = Effect.READ
    resources: tuple[Resource, ...] = ()
    labels: frozenset[str] = NOTHING
    inferred: frozenset[str] = NOTHING
    reason: str = ""
    forbidden: str = ""
    misses: tuple[str, ...] = ()
    fixed: bool = False
    position: int = -1  # byte offset of the error, for a text that cannot be parsed


def every(facts: Facts) -> frozenset[str]:
    """Every label that anything at the target has."""
    return frozenset(facts.labels.values()).union(*facts.copied.values())
