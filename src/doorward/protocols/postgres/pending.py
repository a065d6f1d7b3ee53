"""What was forwarded and is not answered yet, and each permitted execution among it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Protocol

from doorward.guard.turn import NO_CELLS
from doorward.masking.plan import Plan
from doorward.model import Permit
from doorward.protocols.postgres.judge import PgTemplate
from doorward.protocols.postgres.namespace import Entry, Portal
from doorward.protocols.postgres.wire import Column


class Redactor(Protocol):
    """Rewrites complete DataRow messages: all, or `some`, up to `stop`. `rows` and `cells` are taken, and set back, when a run
    ends."""

    rows: int
    cells: Counter[str]
    plan: Plan
    stop: int

    def redact(self, data: bytes, start: int, end: int) -> bytes: ...
    def some(self, data: bytes, start: int, end: int, most: int) -> bytes: ...


class CopyRedactor(Protocol):
    """Rewrites COPY OUT data, which may be cut anywhere."""

    rows: int
    cells: Counter[str]

    @property
    def looked(self) -> int: ...

    def feed(self, payload: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class Run:
    """One permitted execution, from its forwarding to the end of its transaction."""

    __slots__ = (
        "cells",
        "copier",
        "discarded",
        "failed",
        "permit",
        "portal",
        "recorder",
        "recording",
        "redactor",
        "rows",
        "shape",
        "sqlstate",
        "statement",
        "strip",
        "suspended",
        "tags",
        "template",
        "uncalled",
    )

    def __init__(self, template: PgTemplate, permit: Permit, portal: Portal | None = None) -> None:
        self.template = template
        self.permit = permit
        self.portal = portal
        self.statement = 0  # index of the statement whose answer is being read
        self.shape: tuple[Column, ...] | None = None
        self.redactor: Redactor | None = None
        self.recorder: Redactor | None = None  # for the record, which stays masked when this identity may see more
        self.recording: CopyRedactor | None = None
        self.copier: CopyRedactor | None = None
        self.rows = 0
        self.cells: Mapping[str, int] = NO_CELLS
        self.tags: list[str] = []
        self.sqlstate = ""
        self.failed = False
        self.suspended = False
        self.discarded = False  # the server skipped it: an error stood before it in its batch
        self.strip = False
        self.uncalled = False  # rows come that the statement did not ask for: a rule's, or a lie


PARSE: Final = 0
BIND: Final = 1
DESCRIBE: Final = 2
CLOSE: Final = 3
EXECUTE: Final = 4
SYNC: Final = 5
QUERY: Final = 6
PLAIN: Final = 7  # a whole batch, see plain.py


class Pending:
    """A forwarded message that the server has not answered yet."""

    __slots__ = ("before", "entry", "instead", "kind", "name", "own", "portal", "run", "statement")

    def __init__(
        self,
        kind: int,
        *,
        name: bytes = b"",
        entry: Entry | None = None,
        portal: Portal | None = None,
        run: Run | None = None,
        before: Entry | Portal | None = None,
        statement: bool = False,
        own: bool = False,
        instead: bytes = b"",
    ) -> None:
        self.kind = kind
        self.name = name
        self.entry = entry
        self.portal = portal
        self.run = run
        self.before = before  # what stood under the name, should the server never get to this
        self.statement = statement  # of Describe and Close: a statement, not a portal
        self.own = own  # the gateway's message: the client sees no answer
        self.instead = instead  # the refusal that the client sees in place of the error this provokes
