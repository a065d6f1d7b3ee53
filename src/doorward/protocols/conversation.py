"""What every protocol offers the relay: a conversation between one client and one target, without any I/O.

The relay feeds bytes in, pulls *turns* out one at a time, brings each turn's verdict back, and writes what the
conversation says to write. Turns are pulled, not returned in a batch, because how a turn is judged can depend on what
became of the turn before it (a refusal skips to Sync, a SET changes what names mean).

A conversation never asks for the time, never opens a socket and never logs. It may refuse by itself only what no policy
could allow; everything else is for the guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from doorward.guard.turn import Result, Turn
from doorward.model import Permit, Refusal


@dataclass(slots=True)
class Need:
    """The conversation cannot judge the next turn before it knows this. `what` is "catalogue" (a name is unknown),
    "definitions" (some have changed: every fact read before that is old), or "classification" for a text that takes too
    long to be judged on the event loop."""

    what: str
    why: str = ""


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
