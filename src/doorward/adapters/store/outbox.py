"""The store's port for notifications that wait, over SQL: `OutboxStore` of `guard.outbox`.

That one caller only gets an attempt, or hears of what was forgotten, is the WHERE clause of one statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from doorward.adapters.store.tables import outbox
from doorward.adapters.store.uncancelled import uncancelled
from doorward.guard.outbox import Outgoing

if TYPE_CHECKING:
    from doorward.adapters.store.sql import SqlStore

MOST_SHOWN = 1000


async def put(connection: AsyncConnection, rows: Sequence[Outgoing]) -> None:
    """Within a fold. One that waits already is the same one: it stays."""
    await connection.execute(upsert(outbox).on_conflict_do_nothing(index_elements=["id"]), [asdict(row) for row in rows])


@uncancelled
class SqlOutbox:
    """Satisfies `OutboxStore`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def due(self, channel: str, now: int, limit: int) -> list[Outgoing]:
        c = outbox.c
        query = select(outbox).where(c.channel == channel, c.next_at <= now, c.expires_at > now)
        async with self._store.transaction() as connection:
            rows = (await connection.execute(query.order_by(c.next_at, c.at, c.id).limit(limit))).all()
        return [Outgoing(**row._mapping) for row in rows]

    async def claim(self, outgoing: Outgoing, next_at: int) -> bool:
        mine = update(outbox).where(outbox.c.id == outgoing.id, outbox.c.attempts == outgoing.attempts)
        async with self._store.transaction() as connection:
            taken = await connection.execute(mine.values(attempts=outgoing.attempts + 1, next_at=next_at))
        return taken.rowcount == 1

    async def postpone(self, outgoing_id: str, error: str, next_at: int) -> None:
        later = case((outbox.c.next_at < next_at, next_at), else_=outbox.c.next_at)
        async with self._store.transaction() as connection:
            await connection.execute(
                update(outbox).where(outbox.c.id == outgoing_id).values(error=error, next_at=later)
            )

    async def delivered(self, outgoing_id: str) -> None:
        async with self._store.transaction() as connection:
            await connection.execute(delete(outbox).where(outbox.c.id == outgoing_id))

    async def prune(self, now: int, most: int) -> list[tuple[str, str, str, int]]:
        c = outbox.c
        forgotten: Counter[tuple[str, str, str]] = Counter()
        place = func.row_number().over(partition_by=(c.channel, c.kind), order_by=(c.at.desc(), c.id.desc()))
        ranked = select(c.id, place.label("place")).subquery()
        async with self._store.transaction() as connection:
            # Each deletion says itself what it deleted: what another process deleted first is said there.
            over = delete(outbox).where(c.expires_at <= now).returning(c.channel, c.kind)
            for row in (await connection.execute(over)).all():
                forgotten[row.channel, row.kind, "expired"] += 1
            full = delete(outbox).where(c.id.in_(select(ranked.c.id).where(ranked.c.place > most)))
            for row in (await connection.execute(full.returning(c.channel, c.kind))).all():
                forgotten[row.channel, row.kind, "full"] += 1
        return [(*key, count) for key, count in sorted(forgotten.items())]

    async def waiting(self) -> list[Outgoing]:
        query = select(outbox).order_by(outbox.c.at, outbox.c.id).limit(MOST_SHOWN)
        async with self._store.transaction() as connection:
            return [Outgoing(**row._mapping) for row in (await connection.execute(query)).all()]
