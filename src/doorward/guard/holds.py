"""Legal holds: what must not be deleted although it is due, and what the store keeps of it.

A hold is of a case and selects sessions: by id, or by identity, target and time, then also those that are opened later. Each
session that is held has its data key wrapped a second time under the hold's own key, so that destroying its epoch's does not
take it. What makes and ends them is `guard.retention`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from doorward.guard.stores import SessionRow


@dataclass(frozen=True, slots=True)
class Hold:
    """`sessions`: these; with none, all of `identity` (an Identity.id) at `target` ("" is any) that were opened in [since,
    until) (Unix ms; 0: no bound). It is in force until `released_at` is not 0. `told`: its events are on record."""

    id: str
    case: str
    sessions: tuple[str, ...] = ()
    identity: str = ""
    target: str = ""
    since: int = 0
    until: int = 0
    reason: str = ""
    applied_by: str = ""
    applied_at: int = 0
    requested_by: str = ""  # who asks that it be released
    requested_at: int = 0
    released_by: str = ""
    released_at: int = 0
    told: bool = False

    def covers(self, row: SessionRow) -> bool:
        if self.released_at:
            return False
        if self.sessions:
            return row.id in self.sessions
        return (
            self.identity in ("", row.identity) and self.target in ("", row.target) and row.opened >= self.since
            and (not self.until or row.opened < self.until)
        )  # fmt: skip


class RetentionStore(Protocol):
    """What deletion and holds need. What is erased is neither in the rows nor in the store's own journal afterwards, once
    `compact` has returned."""

    async def holds(self) -> list[Hold]:
        """All, oldest first."""
        ...

    async def keep_hold(self, hold: Hold) -> None:
        """Insert or replace."""
        ...

    async def request_release(self, hold_id: str, by: str, at: int) -> bool:
        """False if somebody has asked already, or it is released."""
        ...

    async def keep_held(self, hold_id: str, wrapped: Mapping[str, bytes]) -> None:
        """Sessions that a hold covers, each with its data key as the hold's key wraps it. Those that are there stay."""
        ...

    async def held(self, hold_id: str, session_ids: Sequence[str] = ()) -> list[str]:
        """Which sessions have a key under that hold; of these, if any are named."""
        ...

    async def held_keys(self, session_id: str) -> list[bytes]:
        """A session's data key as each hold wraps it."""
        ...

    async def drop_held(self, hold_id: str, session_ids: Sequence[str]) -> None: ...
    async def months(self) -> list[tuple[str, str, int, int]]:
        """(class, yyyy-mm, sessions, of them open) of all sessions that there are, by the month of `created` in UTC."""
        ...

    async def deleted(self, session_ids: Sequence[str]) -> list[str]:
        """Of which of these a `recording.deleted` is on record."""
        ...

    async def erase_sessions(self, session_ids: Sequence[str]) -> None:
        """Their rows of the index, their keys, the holds' copies of those, and the records of events sealed under their own."""
        ...

    async def erase_epoch(self, epoch: str, since: int, until: int, *, control: bool) -> int:
        """The records of events that are sealed under an epoch's key; how many there were. Of the control class also the
        approvals requested in [since, until) (Unix ms), with votes and uses."""
        ...

    async def sealed_under(self, epoch: str) -> int:
        """How many events are sealed under an epoch's key."""
        ...

    async def reseal(self, session_id: str, epoch: str) -> list[tuple[int, str, int, bytes]]:
        """(index, boot, seq, sealed) of a session's events that are sealed under an epoch's key."""
        ...

    async def resealed(self, key_id: str, rows: Mapping[int, bytes]) -> None:
        """These events, by index, are sealed under another key now. All or none."""
        ...

    async def compact(self) -> None:
        """Leave nothing of what was erased in the store's files."""
        ...
