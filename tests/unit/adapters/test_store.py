"""The store's adapters, memory and SQLite, against one suite; and what only SQL has."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from doorward.adapters.store.sql import SqlStore
from doorward.adapters.store.tables import metadata
from doorward.errors import UpstreamError
from doorward.guard.stores import KeptToken
from tests.memory.store import MemoryStore
from tests.suites.store import ASKED, IdentitiesSuite, StoreSuite


class TestMemory(StoreSuite, IdentitiesSuite):
    @pytest.fixture
    def store(self) -> Any:
        return MemoryStore()

    @pytest.fixture
    def identities(self, store: Any) -> Any:
        return store.identities


class TestSql(StoreSuite, IdentitiesSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Any]:
        store = SqlStore(tmp_path / "store.sqlite")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def identities(self, store: Any) -> Any:
        return store.identities

    async def test_migrations_make_the_schema(self, store: SqlStore) -> None:
        """What the migrations build is what `tables.py` says, column for column."""

        def differences(connection: Connection) -> Any:
            return compare_metadata(MigrationContext.configure(connection), metadata)

        async with store.transaction() as connection:
            assert await connection.run_sync(differences) == []

    async def test_opened_again(self, store: SqlStore, tmp_path: Path) -> None:
        """Migrating what is migrated changes nothing; two may have it open."""
        await store.approvals.create(ASKED)
        again = SqlStore(tmp_path / "store.sqlite")
        await again.open()
        assert await again.approvals.get("a1") == ASKED
        await again.close()

    async def test_nobody_else_may_read_it(self, store: SqlStore, tmp_path: Path) -> None:
        """The file and its journals are 0600."""
        await store.approvals.create(ASKED)
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("store.sqlite*")} == {0o600}

    async def test_a_broken_store_is_an_upstream_error(self, store: SqlStore, tmp_path: Path) -> None:
        """Whatever SQL says, callers get one error."""
        broken = sqlite3.connect(tmp_path / "store.sqlite")
        broken.execute("drop table head")
        broken.commit()
        broken.close()
        with pytest.raises(UpstreamError, match="no such table"):
            await store.head()

    async def test_what_is_erased_is_nowhere_in_the_files(self, store: SqlStore, tmp_path: Path) -> None:
        """Neither in the store's file nor in its journal: not the sealed value, nor which token it was."""
        secret = b"sealed-\x01-value-that-is-erased"
        await store.keep_tokens([KeptToken("shop", f"ssn_{n:016d}", "ssn", "e1", 7, secret + bytes(n)) for n in range(200)])
        held = b"".join(path.read_bytes() for path in tmp_path.glob("store.sqlite*"))
        assert secret in held
        assert await store.forget_tokens("shop", label="ssn") == 200
        left = b"".join(path.read_bytes() for path in tmp_path.glob("store.sqlite*"))
        assert secret not in left
        assert b"ssn_0000000000000007" not in left


async def test_a_caller_who_goes_away_keeps_no_lock(tmp_path: Path) -> None:
    """AT-27: whenever a caller is cancelled in a write, others write on at once, and the write is whole or not there. (Left
    alone, the driver keeps the lock of the file until the connection is collected, and every other write fails.)"""
    store = SqlStore(tmp_path / "store.sqlite")
    await store.open()
    try:
        for attempt in range(60):
            gone = [
                asyncio.ensure_future(store.keep_places(f"gone-{attempt}-{each}", [("a", 1, 1, "x"), ("b", 2, 2, "y")]))
                for each in range(4)
            ]
            await asyncio.sleep(0.0002 * attempt)
            for task in gone:
                task.cancel()
            await store.keep_places("stays", [("a", attempt, 1, "x")])
        assert len(await store.places("stays")) == 60
        kept = [len(await store.places(f"gone-{attempt}-{each}")) for attempt in range(60) for each in range(4)]
        assert set(kept) <= {0, 2}
        assert 2 in kept
    finally:
        await store.close()
