"""The store's port for deletion and holds, over SQL: `RetentionStore` of `guard.holds`.

SQLite runs with `secure_delete`, so that what is deleted is overwritten; `compact` empties its write-ahead journal, which still
has the pages of before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from doorward.adapters.store.tables import (
    approvals,
    events,
    grant_uses,
    held,
    holds,
    keys,
    operations,
    sessions,
    votes,
)
from doorward.adapters.store.uncancelled import uncancelled
from doorward.guard.holds import Hold

if TYPE_CHECKING:
    from doorward.adapters.store.sql import SqlStore

_MONTH = func.strftime("%Y-%m", sessions.c.created / 1000, "unixepoch")


@uncancelled
class SqlRetention:
    """Satisfies `RetentionStore`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def holds(self) -> list[Hold]:
        async with self._store.transaction() as connection:
            rows = (await connection.execute(select(holds).order_by(holds.c.applied_at, holds.c.id))).all()
        return [_hold(row) for row in rows]

    async def keep_hold(self, hold: Hold) -> None:
        row = asdict(hold) | {"sessions": json.dumps(hold.sessions), "told": int(hold.told)}
        insert = upsert(holds).values(row)
        async with self._store.transaction() as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=row))

    async def request_release(self, hold_id: str, by: str, at: int) -> bool:
        mine = update(holds).where(holds.c.id == hold_id, holds.c.requested_at == 0, holds.c.released_at == 0)
        async with self._store.transaction() as connection:
            asked = await connection.execute(mine.values(requested_by=by, requested_at=at))
        return asked.rowcount == 1

    async def keep_held(self, hold_id: str, wrapped: Mapping[str, bytes]) -> None:
        rows = [{"hold": hold_id, "session_id": session, "wrapped": key} for session, key in wrapped.items()]
        if rows:
            async with self._store.transaction() as connection:
                await connection.execute(upsert(held).on_conflict_do_nothing(), rows)

    async def held(self, hold_id: str, session_ids: Sequence[str] = ()) -> list[str]:
        query = select(held.c.session_id).where(held.c.hold == hold_id).order_by(held.c.session_id)
        if session_ids:
            query = query.where(held.c.session_id.in_(session_ids))
        async with self._store.transaction() as connection:
            return [row[0] for row in (await connection.execute(query)).all()]

    async def held_keys(self, session_id: str) -> list[bytes]:
        query = select(held.c.wrapped).where(held.c.session_id == session_id).order_by(held.c.hold)
        async with self._store.transaction() as connection:
            return [row[0] for row in (await connection.execute(query)).all()]

    async def drop_held(self, hold_id: str, session_ids: Sequence[str]) -> None:
        async with self._store.transaction() as connection:
            await connection.execute(held.delete().where(held.c.hold == hold_id, held.c.session_id.in_(session_ids)))

    async def months(self) -> list[tuple[str, str, int, int]]:
        is_open = func.sum(sessions.c.state == "open")
        query = select(sessions.c.retention, _MONTH, func.count(), is_open).group_by(sessions.c.retention, _MONTH)
        async with self._store.transaction() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in (await connection.execute(query)).all()]

    async def deleted(self, session_ids: Sequence[str]) -> list[str]:
        c = events.c
        query = select(c.session_id).where(c.type == "recording.deleted", c.session_id.in_(session_ids)).distinct()
        async with self._store.transaction() as connection:
            return sorted(row[0] for row in (await connection.execute(query)).all())

    async def erase_sessions(self, session_ids: Sequence[str]) -> None:
        async with self._store.transaction() as connection:
            for gone in (
                events.delete().where(events.c.session_id.in_(session_ids), events.c.key_id == events.c.session_id),
                operations.delete().where(operations.c.session_id.in_(session_ids)),
                held.delete().where(held.c.session_id.in_(session_ids)),
                keys.delete().where(keys.c.id.in_(session_ids)),
                sessions.delete().where(sessions.c.id.in_(session_ids)),
            ):
                await connection.execute(gone)

    async def erase_epoch(self, epoch: str, since: int, until: int, *, control: bool) -> int:
        old = select(approvals.c.id).where(approvals.c.requested_at >= since, approvals.c.requested_at < until)
        async with self._store.transaction() as connection:
            erased = await connection.execute(events.delete().where(events.c.key_id == epoch))
            if control:
                for table in (votes, grant_uses):
                    await connection.execute(table.delete().where(table.c.approval_id.in_(old)))
                await connection.execute(approvals.delete().where(approvals.c.id.in_(old)))
        return erased.rowcount

    async def sealed_under(self, epoch: str) -> int:
        async with self._store.transaction() as connection:
            return int((await connection.execute(select(func.count()).where(events.c.key_id == epoch))).scalar_one())

    async def reseal(self, session_id: str, epoch: str) -> list[tuple[int, str, int, bytes]]:
        c = events.c
        query = select(c.index, c.boot, c.seq, c.sealed).where(c.session_id == session_id, c.key_id == epoch).order_by(c.index)
        async with self._store.transaction() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in (await connection.execute(query)).all()]

    async def resealed(self, key_id: str, rows: Mapping[int, bytes]) -> None:
        async with self._store.transaction() as connection:
            for index, sealed in rows.items():
                await connection.execute(update(events).where(events.c.index == index).values(key_id=key_id, sealed=sealed))

    async def compact(self) -> None:
        await self._store.empty_journal()


def _hold(row: Row[Any]) -> Hold:
    return Hold(**{**row._mapping, "sessions": tuple(json.loads(row.sessions)), "told": bool(row.told)})
