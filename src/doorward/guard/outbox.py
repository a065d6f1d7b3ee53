"""Notifications that wait, and what the store does with them: a port, as those in `guard.stores`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A notification that waits to be delivered to one channel (`guard.notifications`): why there is one (`kind`), and what of
    (`about`, an approval's id). `body` is canonical JSON. Times are Unix ms: it is tried at `next_at`, and not any more from
    `expires_at` on. `error` is what the last attempt came to."""

    id: str
    channel: str
    kind: str
    about: str
    at: int
    expires_at: int
    body: bytes = b"{}"
    attempts: int = 0
    next_at: int = 0
    error: str = ""


class OutboxStore(Protocol):
    """Notifications that wait. They come with the event that they tell of, in its fold; every change here is durable when the
    call returns."""

    async def due(self, channel: str, now: int, limit: int) -> list[Outgoing]:
        """Those to try now, longest due first; none whose time is over."""
        ...

    async def claim(self, outgoing: Outgoing, next_at: int) -> bool:
        """Take the next attempt, and set when there may be another: true for one caller, whoever else tries."""
        ...

    async def postpone(self, outgoing_id: str, error: str, next_at: int) -> None:
        """The attempt failed. `next_at` is when to try again, if that is later than was said at the claim."""
        ...

    async def delivered(self, outgoing_id: str) -> None:
        """It is there, or nobody needs it any more: forget it."""
        ...

    async def prune(self, now: int, most: int) -> list[tuple[str, str, str, int]]:
        """Forget those whose time is over, and of each channel and kind the oldest beyond `most`. What was forgotten: channel,
        kind, "expired" or "full", and how many; each is said to one caller."""
        ...

    async def waiting(self) -> list[Outgoing]:
        """At most a thousand, oldest first."""
        ...
