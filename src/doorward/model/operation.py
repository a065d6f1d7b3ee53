"""What would happen, what policy says of it, and the two values that can come of that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from doorward.model.approval import Approval


class Effect(StrEnum):
    """What an operation does, from the least to the most consequential. UNKNOWN fails closed."""

    READ = "read"
    WRITE = "write"
    DEFINE = "define"
    EXECUTE = "execute"
    CONTROL = "control"
    UNKNOWN = "unknown"


ACCESSES: tuple[Effect, ...] = tuple(Effect)


class Phase(StrEnum):
    """PREPARE may be refused but is never held; EXECUTE is what is held, recorded and bound to text and parameters."""

    PREPARE = "prepare"
    EXECUTE = "execute"


class Outcome(StrEnum):
    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


# What may become of a confidential value, the strictest first: nothing is left of it; that there is one; which are equal
# within a label; which are equal anywhere; their form, too; their order and distances; a part of each.
TRANSFORMS: tuple[str, ...] = ("null", "redact", "token", "vault", "hash", "format_preserving", "date_shift", "partial")


_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


def dotted(*identifiers: str) -> str:
    """The name that Resources have and policies use: `public.customers`. An identifier that holds a dot or a double quote
    is written in double quotes, as in SQL, so that no two things have one name: `public."a.b"`."""
    return ".".join(
        '"' + identifier.replace('"', '""') + '"' if "." in identifier or '"' in identifier else identifier
        for identifier in identifiers
    )


def identifiers(name: str) -> tuple[str, ...]:
    """The identifiers of a dotted name: `public."a.b"` -> (`public`, `a.b`). Raises ValueError for any other name."""
    found: list[str] = []
    at = 0
    while True:
        match = _IDENTIFIER.match(name, at)
        if match is None:
            raise ValueError(f"not a dotted name: {name[:80]!r}")
        found.append(match[2] or match[1].replace('""', '"'))
        at = match.end()
        if at == len(name):
            return tuple(found)
        if name[at] != ".":
            raise ValueError(f"not a dotted name: {name[:80]!r}")
        at += 1


@dataclass(frozen=True, slots=True)
class Resource:
    """Something an operation touches, and how. `kind` is a Cedar entity type (Target, Database, Schema, Table,
    Function, Setting); `name` is its full dotted name below the target, without the target (`public.customers`)."""

    kind: str
    name: str
    access: Effect


@dataclass(frozen=True, slots=True)
class Operation:
    """One unit of admission.

    `text` and `params` are what a person may see: detected secrets and personal data in them are masked already, so
    that nothing which holds an Operation can leak one. The exact bytes are bound by `digest`, SHA-256 over everything
    the verdict depends on (identity, target, exact text, parameters, role, search_path, policy), and recorded only as a
    salted commitment. `summary` is the shape for people: ("SELECT", "DELETE") for a two-statement query.
    """

    id: str
    session_id: str
    action: str
    effect: Effect
    text: str
    params: tuple[str | None, ...] = ()
    resources: tuple[Resource, ...] = ()
    labels: frozenset[str] = frozenset()
    inferred: frozenset[str] = frozenset()  # of `labels`: those whose data decides what comes back without being shown
    digest: bytes = b""
    phase: Phase = Phase.EXECUTE
    role: str = ""
    search_path: str = ""
    reason: str = ""  # why effect is UNKNOWN, in words for the client
    in_transaction: bool = False
    estimate: int | None = None  # rows, as the target's planner guesses
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """That something confidential was seen, where, how often, and what was done. Never the value."""

    label: str
    detector: str
    location: str
    count: int
    action: str


@dataclass(frozen=True, slots=True)
class Budget:
    """How many answers an hour one identity may have from statements that infer from one label. An answer is a row; a
    statement that returns none is one, too. `rule` is the id of the policy that says so."""

    identity: str  # Identity.id
    label: str
    answers: int
    rule: str


class Allowance(Protocol):
    """What one permitted execution may still take from its budgets, or from the grant under which it runs."""

    @property
    def exceeded(self) -> str:
        """Why `take` says no, in words for the client."""
        ...

    def take(self, rows: int) -> bool:
        """Count rows about to be shown. False: nothing is left, and they must not be."""
        ...

    def settled(self, outcome: str, rows: int) -> None:
        """What became of it, and how many rows it returned or changed. `release` follows."""
        ...

    def release(self) -> None:
        """The execution is over."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy says.

    `rules` are the ids of the policies that decided. `unmask` are the labels this identity may see in the clear for
    this operation; `budgets` are what bounds inference that is allowed; `transforms` what becomes of other labels, where
    that is not what the configuration says, as (label, transform). `approvers` are the groups of which `quorum` people must
    agree; `expires` is seconds. `hint` says what to do about a denial.
    """

    outcome: Outcome
    rules: tuple[str, ...] = ()
    reason: str = ""
    unmask: frozenset[str] = frozenset()
    approvers: tuple[str, ...] = ()
    quorum: int = 1
    expires: int = 900
    policy_hash: str = ""
    cacheable: bool = True
    budgets: tuple[Budget, ...] = ()
    hint: str = ""
    transforms: tuple[tuple[str, str], ...] = ()
    seats: tuple[tuple[str, int], ...] = ()  # of a hold: of which group how many of the quorum must be


@dataclass(frozen=True, slots=True)
class Permit:
    """Lets an operation's bytes continue. Made in one place only: guard/guard.py.

    `position` says where its record stands (the write-ahead log's offset, -1 while a batched read waits for its batch).
    """

    operation: Operation
    decision: Decision
    approval: Approval | None
    position: int
    redactor: Callable[..., Any] | None = None
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says no. Each protocol words it as its own native error: `reason` says what happened and why, `hint` what to do
    next. `code` is one of: denied, unclassifiable, setting, syntax, missing_statement, missing_portal, held, expired, voided,
    unrecorded, limit, budget, protocol."""

    operation: Operation | None
    decision: Decision | None
    code: str
    reason: str
    hint: str = ""
