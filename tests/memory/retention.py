"""Deletion and holds in memory: what `tests/suites/store.py` says of SQL holds for this too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from doorward.guard.holds import Hold

if TYPE_CHECKING:
    from tests.memory.store import MemoryStore


class MemoryRetention:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._holds: dict[str, Hold] = {}
        self._held: dict[tuple[str, str], bytes] = {}

    async def holds(self) -> list[Hold]:
        return sorted(self._holds.values(), key=lambda hold: (hold.applied_at, hold.id))

    async def keep_hold(self, hold: Hold) -> None:
        self._holds[hold.id] = hold

    async def request_release(self, hold_id: str, by: str, at: int) -> bool:
        hold = self._holds.get(hold_id)
        if hold is None or hold.requested_at or hold.released_at:
            return False
        self._holds[hold_id] = replace(hold, requested_by=by, requested_at=at)
        return True

    async def keep_held(self, hold_id: str, wrapped: Mapping[str, bytes]) -> None:
        self._held = {(hold_id, session): key for session, key in wrapped.items()} | self._held

    async def held(self, hold_id: str, session_ids: Sequence[str] = ()) -> list[str]:
        return sorted(
            session for hold, session in self._held if hold == hold_id and (not session_ids or session in session_ids)
        )

    async def held_keys(self, session_id: str) -> list[bytes]:
        return [key for (_, session), key in sorted(self._held.items()) if session == session_id]

    async def drop_held(self, hold_id: str, session_ids: Sequence[str]) -> None:
        for session in session_ids:
            self._held.pop((hold_id, session), None)

    async def months(self) -> list[tuple[str, str, int, int]]:
        found: dict[tuple[str, str], list[int]] = {}
        for row in self._store._sessions.values():
            month = datetime.fromtimestamp(row.created // 1000, UTC).strftime("%Y-%m")
            counts = found.setdefault((row.retention, month), [0, 0])
            counts[0] += 1
            counts[1] += row.state == "open"
        return [(*key, *counts) for key, counts in sorted(found.items())]  # type: ignore[misc]

    async def deleted(self, session_ids: Sequence[str]) -> list[str]:
        said = {event.session_id for event in self._store._events if event.type == "recording.deleted"}
        return sorted(said.intersection(session_ids))

    async def erase_sessions(self, session_ids: Sequence[str]) -> None:
        store, gone = self._store, set(session_ids)
        store._events = [event for event in store._events if event.key_id not in gone]
        store._operations = {name: each for name, each in store._operations.items() if each.session_id not in gone}
        self._held = {key: wrapped for key, wrapped in self._held.items() if key[1] not in gone}
        for session in gone:
            store._keys.pop(session, None)
            store._sessions.pop(session, None)

    async def erase_epoch(self, epoch: str, since: int, until: int, *, control: bool) -> int:
        store, approvals = self._store, self._store._approvals
        before = len(store._events)
        store._events = [event for event in store._events if event.key_id != epoch]
        if control:
            for name in [row.id for row in approvals.rows.values() if since <= row.requested_at < until]:
                for kept in (approvals.rows, approvals.bodies, approvals.likeness):
                    kept.pop(name, None)
                approvals.uses = {key: use for key, use in approvals.uses.items() if use[0] != name}
        return before - len(store._events)

    async def sealed_under(self, epoch: str) -> int:
        return sum(event.key_id == epoch for event in self._store._events)

    async def reseal(self, session_id: str, epoch: str) -> list[tuple[int, str, int, bytes]]:
        return [
            (event.index, event.boot, event.seq, event.sealed) for event in self._store._events
            if event.session_id == session_id and event.key_id == epoch
        ]  # fmt: skip

    async def resealed(self, key_id: str, rows: Mapping[int, bytes]) -> None:
        self._store._events = [
            replace(event, key_id=key_id, sealed=rows[event.index]) if event.index in rows else event
            for event in self._store._events
        ]

    async def compact(self) -> None:
        pass
