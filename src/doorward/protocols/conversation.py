"""What every protocol offers the relay: a conversation between one client and one target, without any I/O.

The relay feeds bytes in, pulls *turns* out one at a time, brings each turn's verdict back, and writes what the
conversation says to write. Turns are pulled, not returned in a batch, because how a turn is judged can depend on what
became of the turn before it (a refusal skips to Sync, a SET changes what names mean).

A conversation never asks for the time, never opens a socket and never logs. It may refuse by itself only what no policy
could allow; everything else is for the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from doorward.guard.template import Template
from doorward.model import Permit, Phase, Refusal


@dataclass(slots=True)
class Turn:
    """The unit of admission. `template` is what all executions of this text have in common; `params` are what this one
    adds, as the client sent them. `exact` are the bytes that an approval is bound to, beyond the template's text."""

    template: Template
    phase: Phase
    params: Sequence[bytes | None] = ()
    formats: Sequence[int] = ()
    oids: Sequence[int] = ()
    continues: bool = False  # more rows of an execution that was permitted before
    in_transaction: bool = False
    refusal: Refusal | None = None  # set when no policy could allow it
    part: Any = None  # the protocol's own
    objection: Callable[[frozenset[str]], str] | None = None  # why it cannot run for who may see just these labels


@dataclass(slots=True)
class Need:
    """The conversation cannot judge the next turn before it knows this. `what` is "catalogue" (a name is unknown),
    "definitions" (some have changed: every fact read before that is old), or "classification" for a text that takes too
    long to be judged on the event loop."""

    what: str
    why: str = ""


@dataclass(slots=True)
class Result:
    """What became of a permitted turn. `outcome`: completed, failed, rolled_back, suspended, executed (its
    transaction's end is not known yet), not_run (an error before it made the target skip it), unknown (the target went
    away). Results come in the order of their turns, one a turn. `shape` is (name, type, format) of each column, where the
    answer itself does not say."""

    template: Template
    permit: Permit
    outcome: str
    rows: int = 0
    tags: Sequence[str] = ()
    sqlstate: str = ""
    in_transaction: bool = False
    masked: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[tuple[str, int, int], ...] = ()
    statements: Sequence[Mapping[str, Any]] = ()


class Conversation(Protocol):
    """One client and one target in one protocol. `multiplexed` False: turns in order, one at a time."""

    multiplexed: ClassVar[bool]
    quiescent: bool  # nothing that was forwarded is still unanswered
    leaving: bool  # the client has said good-bye

    def receive_from_client(self, data: bytes) -> None: ...
    def receive_from_server(self, data: bytes) -> Sequence[Result]: ...
    def next_turn(self) -> Turn | Need | None: ...
    def accept(self, turn: Turn, permit: Permit) -> None: ...
    def refuse(self, turn: Turn, refusal: Refusal) -> None: ...
    def settle_down(self) -> None: ...
    def to_server(self) -> bytes: ...
    def to_client(self) -> bytes: ...
    def to_record(self) -> bytes: ...
