"""The store's port for identities over SQL: principals, agents, revocations and exchanged tokens.

The contract is that of `IdentityStore` in `guard.stores`. What another process must notice changes `versions` in the same
transaction; a principal who was merely seen again does not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, insert, not_, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError as Conflict
from sqlalchemy.ext.asyncio import AsyncConnection

from doorward.adapters.store.tables import agents, exchanged, principals, revocations, versions
from doorward.adapters.store.uncancelled import uncancelled
from doorward.errors import UpstreamError
from doorward.guard.stores import Agent, Principal, Revocation

if TYPE_CHECKING:
    from doorward.adapters.store.sql import SqlStore

MOST_MADE = 1000  # tokens that are followed from one


@uncancelled
class SqlIdentities:
    """Satisfies `IdentityStore`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def version(self) -> int:
        async with self._store.transaction() as connection:
            found = (await connection.execute(select(versions.c.value).where(versions.c.name == "identities"))).scalar()
        return int(found or 0)

    async def principals(self, ids: Sequence[str]) -> list[Principal]:
        return await self._principals(select(principals).where(principals.c.id.in_(ids)))

    async def everybody(self, limit: int) -> list[Principal]:
        return await self._principals(select(principals).order_by(principals.c.id).limit(limit))

    async def _principals(self, query: Any) -> list[Principal]:
        async with self._store.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Principal(r.id, r.kind, tuple(json.loads(r.groups)), json.loads(r.claims), r.issued_at, r.seen_at) for r in rows
        ]

    async def keep_principal(self, principal: Principal) -> None:
        row = {**asdict(principal), "groups": _json(principal.groups), "claims": _json(principal.claims)}
        same = and_(*(principals.c[name] == row[name] for name in ("kind", "groups", "claims")))
        at = update(principals).where(principals.c.id == row["id"])
        async with self._store.transaction() as connection:
            new = upsert(principals).values(row).on_conflict_do_nothing(index_elements=["id"])
            if (await connection.execute(new)).rowcount == 1:
                return
            # What only says that they were here, or is older, changes nobody's rights.
            await connection.execute(at.values(seen_at=row["seen_at"]))
            await connection.execute(
                at.where(same, principals.c.issued_at < row["issued_at"]).values(issued_at=row["issued_at"])
            )
            news = at.where(not_(same), principals.c.issued_at <= row["issued_at"]).values(row)
            if (await connection.execute(news)).rowcount == 1:
                await _changed(connection)

    async def agents(self) -> list[Agent]:
        async with self._store.transaction() as connection:
            rows = (await connection.execute(select(agents).order_by(agents.c.name))).all()
        return [
            Agent(
                r.name, r.owner, r.issuer, json.loads(r.bound), tuple(json.loads(r.groups)), bool(r.enabled),
                r.registered_at, r.registered_by,
            )
            for r in rows
        ]  # fmt: skip

    async def add_agent(self, agent: Agent) -> bool:
        return await self._insert(insert(agents), _agent(agent))

    async def change_agent(self, before: Agent, after: Agent) -> bool:
        old = _agent(before)
        statement = update(agents).where(*(agents.c[name] == value for name, value in old.items())).values(_agent(after))
        async with self._store.transaction() as connection:
            done = (await connection.execute(statement)).rowcount == 1
            if done:
                await _changed(connection)
        return done

    async def revocations(self, now: int) -> list[Revocation]:
        query = select(revocations).where(or_(revocations.c.until == 0, revocations.c.until > now))
        async with self._store.transaction() as connection:
            rows = (await connection.execute(query.order_by(revocations.c.at, revocations.c.id))).all()
        return [Revocation(**row._mapping) for row in rows]

    async def revoke(self, revocation: Revocation) -> None:
        if not await self._insert(insert(revocations), asdict(revocation)):
            raise ValueError(f"there is a revocation {revocation.id}")

    async def lift(self, revocation_id: str) -> bool:
        async with self._store.transaction() as connection:
            done = (await connection.execute(delete(revocations).where(revocations.c.id == revocation_id))).rowcount == 1
            if done:
                await _changed(connection)
        return done

    async def exchange(self, tokens: Sequence[tuple[str, str]], until: int, made: str, now: int) -> bool:
        rows = [{"issuer": issuer, "jti": jti, "until": until, "made": made} for issuer, jti in tokens]
        try:
            async with self._store.transaction() as connection:
                await connection.execute(delete(exchanged).where(exchanged.c.until <= now))
                if rows:
                    await connection.execute(insert(exchanged), rows)
        except UpstreamError as error:
            if isinstance(error.__cause__, Conflict):  # the primary key: one of them was spent
                return False
            raise
        return True

    async def made_from(self, jti: str) -> list[str]:
        made = select(exchanged.c.made).where(exchanged.c.jti == jti).cte("made", recursive=True)
        made = made.union(select(exchanged.c.made).where(exchanged.c.jti == made.c.made))
        async with self._store.transaction() as connection:
            rows = (await connection.execute(select(made.c.made).limit(MOST_MADE))).all()
        return sorted(row.made for row in rows)

    async def _insert(self, statement: Any, row: dict[str, Any]) -> bool:
        try:
            async with self._store.transaction() as connection:
                await connection.execute(statement, row)
                await _changed(connection)
        except UpstreamError as error:
            if isinstance(error.__cause__, Conflict):
                return False
            raise
        return True


async def _changed(connection: AsyncConnection) -> None:
    count = upsert(versions).values(name="identities", value=1)
    await connection.execute(
        count.on_conflict_do_update(index_elements=["name"], set_={"value": versions.c.value + 1})
    )


def _agent(agent: Agent) -> dict[str, Any]:
    return {
        **asdict(agent), "bound": _json(agent.bound), "groups": _json(agent.groups), "enabled": int(agent.enabled),
    }  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
