"""The store's port for approvals, over SQL: `ApprovalStore` of `guard.stores`.

That a vote counts once, an approval is spent once and a grant is used no oftener than it says is the WHERE clause of one
statement each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, and_, exists, func, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError as Conflict
from sqlalchemy.ext.asyncio import AsyncConnection

from doorward.adapters.store.tables import approvals, grant_uses, votes
from doorward.adapters.store.uncancelled import uncancelled
from doorward.errors import UpstreamError
from doorward.guard.stores import Used
from doorward.model import Approval, ApprovalState, Vote

if TYPE_CHECKING:
    from doorward.adapters.store.sql import SqlStore

VOTABLE = (ApprovalState.WAITING.value, ApprovalState.PARKED.value)
REUSABLE = (*VOTABLE, ApprovalState.APPROVED.value)


async def cast_vote(connection: AsyncConnection, approval_id: str, vote: Vote) -> bool:
    """Add a vote where its voter has none and there is something to vote on."""
    open_for_votes = select(
        literal(approval_id), literal(vote.voter), literal(int(vote.approve)), literal(vote.at), literal(vote.comment),
        literal(vote.key), literal(vote.evidence),
    ).where(exists(select(approvals.c.id).where(approvals.c.id == approval_id, approvals.c.state.in_(VOTABLE))))
    columns = ["approval_id", "voter", "approve", "at", "comment", "key", "evidence"]
    statement = upsert(votes).from_select(columns, open_for_votes).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1


async def swap_state(
    connection: AsyncConnection, approval_id: str, expected: ApprovalState, state: ApprovalState
) -> bool:
    statement = (
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.state == expected.value)
        .values(state=state.value)
    )
    return (await connection.execute(statement)).rowcount == 1


@uncancelled
class SqlApprovals:
    """Satisfies `ApprovalStore`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def create(self, approval: Approval, body: bytes = b"", likeness: str = "") -> None:
        row = {
            "id": approval.id,
            "digest": approval.digest,
            "requested_by": approval.requested_by,
            "on_behalf_of": json.dumps(approval.on_behalf_of),
            "target": approval.target,
            "approvers": json.dumps(approval.approvers),
            "quorum": approval.quorum,
            "state": approval.state.value,
            "requested_at": approval.requested_at,
            "expires_at": approval.expires_at,
            "uses": approval.uses,
            "body": body,
            "terms": approval.terms,
            "likeness": likeness,
        }
        try:
            async with self._store.transaction() as connection:
                await connection.execute(insert(approvals), row)
        except UpstreamError as error:
            if isinstance(error.__cause__, Conflict):
                raise ValueError(f"there is an approval {approval.id}") from None
            raise

    async def get(self, approval_id: str) -> Approval | None:
        found = await self._select(select(approvals).where(approvals.c.id == approval_id))
        return found[0] if found else None

    async def body(self, approval_id: str) -> bytes:
        async with self._store.transaction() as connection:
            body = (await connection.execute(select(approvals.c.body).where(approvals.c.id == approval_id))).scalar()
        return bytes(body or b"")

    async def list(self, state: ApprovalState | None = None, *, limit: int = 100) -> list[Approval]:
        query = select(approvals).order_by(approvals.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(approvals.c.state == state.value)
        return [*await self._select(query)]

    async def vote(self, approval_id: str, vote: Vote) -> bool:
        async with self._store.transaction() as connection:
            return await cast_vote(connection, approval_id, vote)

    async def set_state(self, approval_id: str, expected: ApprovalState, state: ApprovalState) -> bool:
        async with self._store.transaction() as connection:
            return await swap_state(connection, approval_id, expected, state)

    async def spend(self, approval_id: str, digest: bytes, now: int) -> bool:
        statement = (
            update(approvals)
            .where(
                approvals.c.id == approval_id,
                approvals.c.state == ApprovalState.APPROVED.value,
                approvals.c.digest == digest,
                approvals.c.uses == 0,
                approvals.c.expires_at > now,
            )
            .values(state=ApprovalState.SPENT.value, uses=1)
        )
        async with self._store.transaction() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def find_reusable(self, requester: str, digest: bytes, now: int) -> Approval | None:
        found = await self._select(
            select(approvals)
            .where(
                approvals.c.requested_by == requester,
                approvals.c.digest == digest,
                approvals.c.state.in_(REUSABLE),
                approvals.c.expires_at > now,
            )
            .order_by(approvals.c.id.desc())
            .limit(1)
        )
        return found[0] if found else None

    async def use(
        self, approval_id: str, operation: str, lane: str, boot: str, rows: int, statements: int, most: int
    ) -> int:
        c = grant_uses.c
        so_far = select(func.count()).where(c.approval_id == approval_id).scalar_subquery()
        touched = select(func.coalesce(func.sum(c.rows), 0)).where(c.approval_id == approval_id).scalar_subquery()
        approved = exists(
            select(approvals.c.id).where(approvals.c.id == approval_id, approvals.c.state == ApprovalState.APPROVED.value)
        )
        counted = insert(grant_uses).from_select(
            ["operation", "approval_id", "lane", "boot", "rows", "running"],
            select(
                literal(operation), literal(approval_id), literal(lane), literal(boot), literal(rows), literal(1)
            ).where(approved, so_far < statements, touched + rows <= most),
        )
        async with self._store.transaction() as connection:
            if (await connection.execute(counted)).rowcount != 1:
                return 0
            number: int = (await connection.execute(select(so_far))).scalar_one()
            return number

    async def settle(self, rows: Mapping[str, int]) -> None:
        async with self._store.transaction() as connection:
            for operation, touched in rows.items():
                found = update(grant_uses).where(grant_uses.c.operation == operation)
                await connection.execute(found.values(rows=touched, running=0))

    async def used(self, approval_id: str) -> Used:
        c = grant_uses.c
        query = select(func.count(), func.coalesce(func.sum(c.rows), 0), func.coalesce(func.sum(c.running), 0))
        async with self._store.transaction() as connection:
            return Used(*(await connection.execute(query.where(c.approval_id == approval_id))).one())

    async def unsettled(self, lane: str, boot: str) -> Sequence[str]:
        c = grant_uses.c
        query = select(c.approval_id).distinct().where(c.running == 1, c.lane == lane, c.boot != boot)
        async with self._store.transaction() as connection:
            return (await connection.execute(query)).scalars().all()

    async def alike(self, likeness: str, *, limit: int) -> Sequence[Approval]:
        c = approvals.c
        return await self._select(select(approvals).where(c.likeness == likeness).order_by(c.id.desc()).limit(limit))

    async def approved(self, requester: str, digest: bytes, *, limit: int = 20) -> Sequence[Approval]:
        c = approvals.c
        mine = and_(c.requested_by == requester, c.digest == digest, c.state == ApprovalState.APPROVED.value)
        return await self._select(select(approvals).where(mine).order_by(c.id.desc()).limit(limit))

    async def _select(self, query: Any) -> Sequence[Approval]:
        async with self._store.transaction() as connection:
            rows = (await connection.execute(query)).all()
            ids = [row.id for row in rows]
            cast = (
                await connection.execute(
                    select(votes).where(votes.c.approval_id.in_(ids)).order_by(votes.c.at, votes.c.voter)
                )
            ).all()
        by_approval: dict[str, tuple[Vote, ...]] = {}
        for row in cast:
            by_approval[row.approval_id] = (
                *by_approval.get(row.approval_id, ()),
                Vote(row.voter, bool(row.approve), row.at, row.comment, row.key, bytes(row.evidence)),
            )
        return [_approval(row, by_approval.get(row.id, ())) for row in rows]


def _approval(row: Row[Any], cast: tuple[Vote, ...]) -> Approval:
    return Approval(
        id=row.id,
        digest=row.digest,
        requested_by=row.requested_by,
        on_behalf_of=tuple(json.loads(row.on_behalf_of)),
        target=row.target,
        approvers=tuple(json.loads(row.approvers)),
        quorum=row.quorum,
        state=ApprovalState(row.state),
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        votes=cast,
        uses=row.uses,
        terms=bytes(row.terms),
    )
