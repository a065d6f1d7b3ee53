"""What all executions of one statement text have in common, judged once.

A template is the key under which a decision is kept: it was made from exact text and from everything its meaning depends
on (the protocol makes a new template when any of that changes), and its decision is good for one policy epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doorward.model import Decision, Effect, Operation, Permit, Phase, Resource


class Template:
    """The part of an Operation that does not change from one execution to the next, with its verdict.

    `shown` is the masked text; `exact` the bytes that the verdict and any approval are bound to. `literals` are values
    that stand in `exact` where `shown` has `$n` marks of its own; they are recorded with each run.
    """

    __slots__ = (
        "action",
        "copies",
        "decision",
        "definitions",
        "described",
        "effect",
        "epoch",
        "escapes",
        "exact",
        "facts",
        "forbidden",
        "inferred",
        "labels",
        "number",
        "permit",
        "reason",
        "refused_as",
        "resources",
        "role",
        "search_path",
        "shown",
    )

    def __init__(
        self,
        *,
        action: str,
        effect: Effect,
        shown: str,
        exact: bytes,
        resources: tuple[Resource, ...],
        labels: frozenset[str] = frozenset(),
        inferred: frozenset[str] = frozenset(),
        reason: str = "",
        forbidden: str = "",
        refused_as: str = "denied",
        role: str = "",
        search_path: str = "",
        facts: Mapping[str, Any] | None = None,
        definitions: str = "",
        copies: frozenset[tuple[str, str, str, str]] = frozenset(),
        escapes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.action = action
        self.effect = effect
        self.shown = shown
        self.exact = exact
        self.resources = resources
        self.labels = labels
        self.inferred = inferred
        self.reason = reason  # why the effect is unknown
        self.forbidden = forbidden  # law: no policy can allow it
        self.refused_as = refused_as
        self.role = role
        self.search_path = search_path
        self.facts = facts or {}
        self.definitions = definitions  # which functions, views and triggers it was judged among: part of the digest
        self.copies = copies  # columns that get labelled data: schema, relation, column or "*", label
        self.escapes = escapes  # labels whose data would get where no label can follow, and where that is
        self.decision: Decision | None = None
        self.epoch = -1
        self.number = -1
        self.described: tuple[tuple[str, int, int], ...] = ()  # the result shape that the record has for this number
        self.permit: Permit | None = None

    def likeness(self) -> str:
        """What it has in common with others of its form, whatever their values; "" if that is not known. For people only."""
        return ""

    def operation(
        self,
        *,
        id: str,  # noqa: A002 - the field's own name
        session_id: str,
        phase: Phase,
        params: tuple[str | None, ...] = (),
        digest: bytes = b"",
        in_transaction: bool = False,
        estimate: int | None = None,
    ) -> Operation:
        """One execution, for policy, people and the record. `params` are masked already."""
        return Operation(
            id=id,
            session_id=session_id,
            action=self.action,
            effect=self.effect,
            text=self.shown,
            params=params,
            resources=self.resources,
            labels=self.labels,
            inferred=self.inferred,
            digest=digest,
            phase=phase,
            role=self.role,
            search_path=self.search_path,
            reason=self.reason,
            in_transaction=in_transaction,
            estimate=estimate,
            facts=self.facts,
        )
