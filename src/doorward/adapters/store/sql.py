"""The store's ports over SQL: SQLite through SQLAlchemy.

The contract is that of `EventStore`, `SessionStore` and `ApprovalStore` in `guard.stores`. Every method is one
transaction; what must be decided atomically (a vote, a spend, a swap of the head) is one statement whose WHERE clause
is the condition, so that two processes cannot both succeed. SQLite runs with a write-ahead journal and `synchronous =
FULL`: a transaction that returned survives the machine losing power.

It does not cache, retry, or know what an event means. Whatever the database says, callers see UpstreamError.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from sqlalchemy import ColumnElement, Connection, and_, event, exists, func, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from doorward.adapters.store.approvals import SqlApprovals, cast_vote, swap_state
from doorward.adapters.store.identities import SqlIdentities
from doorward.adapters.store.outbox import SqlOutbox, put
from doorward.adapters.store.retention import SqlRetention
from doorward.adapters.store.tables import (
    boots,
    events,
    head,
    keys,
    metadata,
    operations,
    places,
    sessions,
    spent,
    vault,
    versions,
)
from doorward.adapters.store.uncancelled import others_ended, uncancelled
from doorward.errors import IntegrityError, UpstreamError
from doorward.guard.stores import (
    Boot,
    Fold,
    Head,
    KeptCount,
    KeptToken,
    OpenOperation,
    Reservation,
    SessionRow,
    Spent,
    StoredEvent,
)
from doorward.model import ApprovalState

_EVENT = tuple(each.name for each in fields(StoredEvent))
_KEEP_TOKENS = (
    "insert into vault (target, token, label, epoch, day, sealed) values (?, ?, ?, ?, ?, ?) on conflict (target, token) "
    "do update set label = excluded.label, epoch = excluded.epoch, day = excluded.day, sealed = excluded.sealed"
)


def _pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def migrate(connection: Connection) -> None:
    """Bring the schema to the newest revision. Each revision is a transaction: dying here leaves one or the other."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _as_ours(path: Path) -> Iterator[None]:
    """Whatever the database raises becomes UpstreamError."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise UpstreamError(
            f"the store {path.name} fails: {getattr(error, 'orig', None) or error}",
            hint="look at the disk that holds the data directory",
        ) from error


@uncancelled
class SqlStore:
    """Satisfies `guard.stores`: `approvals` is its `ApprovalStore`, `identities` its `IdentityStore`, `outbox` its
    `OutboxStore`, `retention` its `RetentionStore`, it is all others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: AsyncEngine | None = None
        self._approvals = SqlApprovals(self)
        self.identities = SqlIdentities(self)
        self.outbox = SqlOutbox(self)
        self.retention = SqlRetention(self)

    @property
    def approvals(self) -> SqlApprovals:
        return self._approvals

    async def open(self) -> None:
        """Create the file (0600) if there is none and migrate it. UpstreamError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._engine = create_async_engine(f"sqlite+aiosqlite:///{self._path}")
        event.listen(self._engine.sync_engine, "connect", _pragmas)
        async with self.transaction() as connection:
            await connection.run_sync(migrate)

    async def open_to_read(self) -> None:
        """Open a store that is there, to read it and nothing else: no file is made or changed beside it, and a schema that
        is not the newest is not brought there."""
        # What nobody has open cannot change; what a gateway has open is read as its write-ahead journal has it.
        in_use = await asyncio.to_thread(Path(f"{self._path}-wal").exists)
        how = "mode=ro" if in_use else "immutable=1"
        self._engine = create_async_engine(f"sqlite+aiosqlite:///file:{quote(str(self._path))}?{how}&uri=true")

    async def close(self) -> None:
        await others_ended()
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commits at the end, rolls back on any error. Whatever the database raises becomes UpstreamError."""
        if self._engine is None:
            raise UpstreamError("the store is not open")
        with _as_ours(self._path):
            async with self._engine.begin() as connection:
                yield connection

    async def empty_journal(self) -> None:
        """Leave nothing in the journal of what pages held before. Readers that are at it keep it back: it is emptied with the
        next. UpstreamError."""
        if self._engine is None:
            raise UpstreamError("the store is not open")
        with _as_ours(self._path):
            async with self._engine.connect() as plain:
                await plain.execution_options(isolation_level="AUTOCOMMIT")
                await plain.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    # EventStore

    async def head(self) -> Head | None:
        async with self.transaction() as connection:
            row = (await connection.execute(select(head))).one_or_none()
        return None if row is None else Head(row.origin, row.size, row.root, row.checkpoint)

    async def boots(self) -> list[Boot]:
        async with self.transaction() as connection:
            rows = (await connection.execute(select(boots).order_by(boots.c.ordinal))).all()
        return [Boot(row.id, row.ordinal, row.position, row.seq, row.last, bool(row.ended), row.gateway) for row in rows]

    async def fold(self, fold: Fold) -> None:
        async with self.transaction() as connection:
            await _swap(connection, fold.expected, fold.head)
            if fold.events:
                # asdict copies every value, which for thousands of events is more than the rest of this.
                await connection.execute(insert(events), [{n: getattr(each, n) for n in _EVENT} for each in fold.events])
            for table, rows in (
                (boots, [asdict(each) for each in fold.boots]),
                (sessions, [asdict(each) for each in fold.sessions]),
                (keys, [{"id": key, "wrapped": wrapped} for key, wrapped in (fold.keys or {}).items()]),
                (operations, [asdict(each) for each in fold.permitted]),
            ):
                if rows:
                    replace = upsert(table)
                    changed = {c.name: replace.excluded[c.name] for c in table.columns if not c.primary_key}
                    await connection.execute(replace.on_conflict_do_update(index_elements=["id"], set_=changed), rows)
            for operation in fold.settled:
                await connection.execute(operations.delete().where(operations.c.id == operation))
            for approval in fold.parked:
                await swap_state(connection, approval, ApprovalState.WAITING, ApprovalState.PARKED)
            for approval, vote in fold.votes:
                await cast_vote(connection, approval, vote)
            if fold.outgoing:
                await put(connection, fold.outgoing)

    async def events(
        self, *, session_id: str = "", types: Sequence[str] = (), leaves: Sequence[int] = (), after: int = -1, limit: int = 1000
    ) -> list[StoredEvent]:
        query = select(events).where(events.c.index > after).order_by(events.c.index).limit(limit)
        if session_id:
            query = query.where(events.c.session_id == session_id)
        if types:
            query = query.where(events.c.type.in_(types))
        if leaves:
            query = query.where(events.c.index.in_(leaves))
        async with self.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [StoredEvent(*row) for row in rows]

    async def count_events(self, type: str, session_ids: Sequence[str]) -> dict[str, int]:  # noqa: A002
        query = (
            select(events.c.session_id, func.count())
            .where(events.c.type == type, events.c.session_id.in_(session_ids))
            .group_by(events.c.session_id)
        )
        async with self.transaction() as connection:
            return {row[0]: row[1] for row in (await connection.execute(query)).all()}

    async def wrapped_key(self, key_id: str) -> bytes | None:
        async with self.transaction() as connection:
            found: bytes | None = (
                await connection.execute(select(keys.c.wrapped).where(keys.c.id == key_id))
            ).scalar_one_or_none()
        return found

    async def open_operations(self) -> list[OpenOperation]:
        async with self.transaction() as connection:
            rows = (await connection.execute(select(operations).order_by(operations.c.id))).all()
        return [OpenOperation(row.id, row.session_id) for row in rows]

    async def cells(self) -> AsyncIterator[tuple[str, str, bytes]]:
        """Every value that the store holds, whole, wherever the file has put its parts: table, column, bytes."""
        for table in metadata.sorted_tables:
            async with self.transaction() as connection, connection.stream(select(table)) as rows:
                async for row in rows:
                    for column, value in zip(table.columns, row, strict=True):
                        if value is not None and not isinstance(value, int):
                            octets = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
                            yield table.name, column.name, octets

    async def used(self, since: int) -> dict[tuple[str, str], tuple[int, int]]:
        c = sessions.c
        count = func.count().filter(c.opened >= since)
        query = select(c.identity, c.target, count, func.max(c.opened)).group_by(c.identity, c.target)
        async with self.transaction() as connection:
            return {(row[0], row[1]): (row[2], row[3]) for row in (await connection.execute(query)).all()}

    # MarkStore

    async def mark(self, name: str) -> int:
        async with self.transaction() as connection:
            found = (await connection.execute(select(versions.c.value).where(versions.c.name == name))).scalar()
        return int(found or 0)

    async def keep_mark(self, name: str, value: int) -> None:
        kept = upsert(versions).values(name=name, value=value)
        async with self.transaction() as connection:
            await connection.execute(kept.on_conflict_do_update(index_elements=["name"], set_={"value": value}))

    # SessionStore

    async def session(self, session_id: str) -> SessionRow | None:
        async with self.transaction() as connection:
            row = (await connection.execute(select(sessions).where(sessions.c.id == session_id))).one_or_none()
        return None if row is None else SessionRow(**row._mapping)

    async def sessions(
        self,
        *,
        identity: str = "",
        target: str = "",
        state: str = "",
        since: int = 0,
        until: int = 0,
        before: str = "",
        limit: int = 50,
    ) -> list[SessionRow]:
        query = select(sessions).order_by(sessions.c.id.desc()).limit(limit)
        if identity:
            query = query.where(sessions.c.identity == identity)
        if target:
            query = query.where(sessions.c.target == target)
        if state:
            query = query.where(sessions.c.state == state)
        if since:
            query = query.where(sessions.c.opened >= since)
        if until:
            query = query.where(sessions.c.opened < until)
        if before:
            query = query.where(sessions.c.id < before)
        async with self.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [SessionRow(**row._mapping) for row in rows]


    # BudgetStore

    async def spent(self, since: int) -> list[Spent]:
        async with self.transaction() as connection:
            rows = (await connection.execute(select(spent).where(spent.c.slot >= since))).all()
        return [Spent(**row._mapping) for row in rows]

    async def keep_spent(self, rows: Sequence[Spent], since: int) -> None:
        replace = upsert(spent)
        async with self.transaction() as connection:
            await connection.execute(spent.delete().where(spent.c.slot < since))
            if rows:
                await connection.execute(
                    replace.on_conflict_do_update(
                        index_elements=["identity", "label", "slot", "lane"], set_={"answers": replace.excluded.answers}
                    ),
                    [asdict(row) for row in rows],
                )

    async def reserve(self, wanted: Sequence[Reservation], since: int) -> list[int]:
        replace = upsert(spent)
        async with self.transaction() as connection:
            # First of all a write: from here on no other process writes, so what is read stays so.
            await connection.execute(spent.delete().where(spent.c.slot < since))
            others = []
            for each in wanted:
                found = select(func.coalesce(func.sum(spent.c.answers), 0)).where(
                    spent.c.identity == each.identity, spent.c.label == each.label, spent.c.lane != each.lane
                )
                others.append(int((await connection.execute(found)).scalar_one()))
            if all(each.used + elsewhere <= each.most for each, elsewhere in zip(wanted, others, strict=True)):
                await connection.execute(
                    replace.on_conflict_do_update(
                        index_elements=["identity", "label", "slot", "lane"], set_={"answers": replace.excluded.answers}
                    ),
                    [
                        asdict(Spent(w.identity, w.label, w.slot, w.here + w.most - w.used - elsewhere, w.lane))
                        for w, elsewhere in zip(wanted, others, strict=True)
                    ],
                )
        return others


    # LabelStore

    async def places(self, target: str) -> list[tuple[str, int, int, str]]:
        query = select(places.c.name, places.c.oid, places.c.attnum, places.c.source).where(places.c.target == target)
        async with self.transaction() as connection:
            return [(row.name, row.oid, row.attnum, row.source) for row in (await connection.execute(query)).all()]

    async def keep_places(self, target: str, rows: Sequence[tuple[str, int, int, str]]) -> None:
        async with self.transaction() as connection:
            await connection.execute(
                upsert(places).on_conflict_do_nothing(),
                [dict(zip(("target", "name", "oid", "attnum", "source"), (target, *row), strict=True)) for row in rows],
            )

    async def forget_places(self, target: str, rows: Sequence[tuple[str, int, int, str]]) -> None:
        c = places.c
        async with self.transaction() as connection:
            for name, oid, attnum, source in rows:
                await connection.execute(
                    places.delete().where(
                        c.target == target, c.name == name, c.oid == oid, c.attnum == attnum, c.source == source
                    )
                )


    # VaultStore

    async def keep_tokens(self, rows: Sequence[KeptToken]) -> None:
        async with self.transaction() as connection:  # thousands at a time: by the driver, half the CPU of SQLAlchemy's own
            await connection.exec_driver_sql(
                _KEEP_TOKENS, [(row.target, row.token, row.label, row.epoch, row.day, row.sealed) for row in rows]
            )

    async def kept_token(self, target: str, token: str) -> KeptToken | None:
        query = select(vault).where(vault.c.target == target, vault.c.token == token)
        async with self.transaction() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else KeptToken(*row)

    async def kept_counts(self, target: str = "") -> list[KeptCount]:
        days = func.min(vault.c.day), func.max(vault.c.day)
        query = select(vault.c.label, vault.c.epoch, func.count(), *days).group_by(vault.c.label, vault.c.epoch)
        if target:
            query = query.where(vault.c.target == target)
        async with self.transaction() as connection:
            return [KeptCount(*row) for row in (await connection.execute(query)).all()]

    async def kept_under(self, epochs: Sequence[str], limit: int) -> list[KeptToken]:
        query = select(vault).where(vault.c.epoch.in_(epochs)).limit(limit)
        async with self.transaction() as connection:
            return [KeptToken(*row) for row in (await connection.execute(query)).all()]

    async def forget_tokens(self, target: str, *, tokens: Sequence[str] = (), label: str = "") -> int:
        erased = vault.c.label == label if label else vault.c.token.in_(tokens)
        return await self._erase(and_(vault.c.target == target, erased))

    async def expire_tokens(self, before: int) -> int:
        return await self._erase(vault.c.day < before)

    async def _erase(self, condition: ColumnElement[bool]) -> int:
        """`secure_delete` overwrites the rows in the file; the journal, which has what the pages held before, is emptied into
        it then. Readers that are at it keep it back: it is emptied with the next."""
        async with self.transaction() as connection:
            erased = (await connection.execute(vault.delete().where(condition))).rowcount
        if erased:
            await self.empty_journal()
        return erased


async def _swap(connection: AsyncConnection, expected: Head | None, new: Head) -> None:
    if expected is None:
        statement: Any = insert(head).from_select(
            ["origin", "size", "root", "checkpoint"],
            select(literal(new.origin), literal(new.size), literal(new.root), literal(new.checkpoint)).where(
                ~exists(select(head.c.origin))
            ),
        )
    else:
        statement = (
            update(head)
            .where(
                and_(
                    head.c.origin == expected.origin,
                    head.c.size == expected.size,
                    head.c.root == expected.root,
                    head.c.checkpoint == expected.checkpoint,
                )
            )
            .values(asdict(new))
        )
    if (await connection.execute(statement)).rowcount != 1:
        raise IntegrityError(
            "the log's head is not where this gateway left it: somebody else writes to this log",
            spot="store: head",
            hint="stop the other gateway, or restore the store and the log directory from the same moment",
        )
