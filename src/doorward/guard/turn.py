"""The unit of admission, and what became of it.

A protocol proposes a `Turn`; the guard answers with a Permit or a Refusal, or waits for a person; when the target has
answered, the protocol reports a `Result`. These two are made for every statement that passes, so they are plain classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from doorward.guard.template import Template
from doorward.model import Permit, Phase, Refusal

NO_CELLS: Final[Mapping[str, int]] = {}


class Turn:
    """One execution, as a protocol proposes it. `template` is what all executions of this text have in common; `params`
    are what this one adds, as the client sent them, in `formats` and of the types `oids`."""

    __slots__ = (
        "continues",
        "formats",
        "in_transaction",
        "objection",
        "oids",
        "params",
        "part",
        "phase",
        "refusal",
        "template",
    )

    def __init__(
        self,
        template: Template,
        phase: Phase,
        params: Sequence[bytes | None] = (),
        formats: Sequence[int] = (),
        oids: Sequence[int] = (),
        continues: bool = False,
        in_transaction: bool = False,
        refusal: Refusal | None = None,
        part: Any = None,
        objection: Callable[[frozenset[str]], str] | None = None,
    ) -> None:
        self.template = template
        self.phase = phase
        self.params = params
        self.formats = formats
        self.oids = oids
        self.continues = continues  # more rows of an execution that was permitted before
        self.in_transaction = in_transaction
        self.refusal = refusal  # set when no policy could allow it
        self.part = part  # the protocol's own
        self.objection = objection  # why it cannot run for who may see just these labels


class Result:
    """What became of a permitted turn. `outcome`: completed, failed, rolled_back, suspended, executed (its
    transaction's end is not known yet), not_run (an error before it made the target skip it), unknown (the target went
    away). Results come in the order of their turns, one a turn. `shape` is (name, type, format) of each column, where the
    answer itself does not say; `masked` counts cells by label."""

    __slots__ = (
        "in_transaction",
        "masked",
        "outcome",
        "permit",
        "rows",
        "shape",
        "sqlstate",
        "statements",
        "tags",
        "template",
    )

    def __init__(
        self,
        template: Template,
        permit: Permit,
        outcome: str,
        rows: int = 0,
        tags: Sequence[str] = (),
        sqlstate: str = "",
        in_transaction: bool = False,
        masked: Mapping[str, int] = NO_CELLS,
        shape: tuple[tuple[str, int, int], ...] = (),
        statements: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.template = template
        self.permit = permit
        self.outcome = outcome
        self.rows = rows
        self.tags = tags
        self.sqlstate = sqlstate
        self.in_transaction = in_transaction
        self.masked = masked
        self.shape = shape
        self.statements = statements
