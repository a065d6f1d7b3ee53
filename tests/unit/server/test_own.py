"""What is known of a target's catalogue is what the catalogue says, though little of it is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import psycopg
import pytest

from doorward.server import own
from doorward.server.own import CatalogueHolder, OwnStatements, same
from doorward.server.side import Row
from tests.rig.postgres import PostgresServer


class Reader:
    """The part of OwnStatements that a CatalogueHolder uses, over a connection of the test's."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.asked: list[str] = []

    async def query(self, name: str, text: str) -> list[Row]:
        self.asked.append(name.removeprefix("catalogue: "))
        rows = self.connection.execute(text.encode()).fetchall()
        return [tuple(None if value is None else str(value) for value in row) for row in rows]

    def holder(self) -> CatalogueHolder:
        return CatalogueHolder(cast(OwnStatements, self))


@pytest.fixture
def reader(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Reader]:
    name = f"own_{abs(hash(request.node.nodeid))}"
    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    with postgres.connect(dbname=name) as connection:
        connection.execute(b"SET search_path = pg_catalog")
        connection.execute(
            b"CREATE TABLE public.t (a int, b int GENERATED ALWAYS AS (a + 1) STORED); CREATE SCHEMA s;"
            b"CREATE VIEW public.v AS SELECT a FROM public.t; CREATE TABLE public.parent (a int, b int);"
            b"CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            b"CREATE FUNCTION public.add(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
            b"CREATE VIEW public.w AS SELECT public.f() AS x"
        )
        yield Reader(connection)
    with postgres.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


CHANGES = (
    "CREATE TABLE public.u (a int)",
    "CREATE TABLE s.t (a int)",
    "DROP TABLE public.parent",
    "ALTER TABLE public.t ADD COLUMN c text",
    "ALTER TABLE public.t RENAME COLUMN a TO z",
    "ALTER TABLE public.parent DROP COLUMN a",
    "ALTER TABLE public.parent ALTER COLUMN a TYPE text",
    "ALTER TABLE public.t RENAME TO other",
    "ALTER TABLE public.parent SET SCHEMA s",
    "ALTER TABLE public.t DROP COLUMN b, ADD COLUMN b int GENERATED ALWAYS AS (a + 2) STORED",
    "ALTER TABLE public.t ALTER COLUMN b DROP EXPRESSION",
    "CREATE TABLE public.child () INHERITS (public.parent)",
    "CREATE OR REPLACE VIEW public.v AS SELECT a + 1 AS a FROM public.t",
    "CREATE MATERIALIZED VIEW public.m AS SELECT 1 AS one",
    "CREATE SEQUENCE public.q",
    "CREATE TYPE public.pair AS (l int, r int)",
    "CREATE SCHEMA another",
    "ALTER SCHEMA s RENAME TO r",
    "ALTER SCHEMA public RENAME TO private",
    "CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "ALTER FUNCTION public.f() RENAME TO h",
    "ALTER FUNCTION public.f() SET SCHEMA s",
    "CREATE OPERATOR public.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = public.add)",
    "CREATE RULE r AS ON INSERT TO public.parent DO INSTEAD NOTHING",
    "CREATE TRIGGER t BEFORE UPDATE ON public.parent FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER VIEW information_schema.tables RENAME COLUMN table_name TO name_of_table",
    "ALTER TABLE information_schema.sql_parts RENAME TO parts_of_sql",
    "ALTER FUNCTION information_schema._pg_index_position(oid, smallint) RENAME TO position",
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_known_at_the_next_reading(reader: Reader, change: str) -> None:
    """After a definition, what is known is what somebody would know who reads all of it for the first time."""

    async def story() -> None:
        holder = reader.holder()
        before = await holder.refresh()
        reader.connection.execute(change.encode())
        after = await holder.refresh()
        assert not same(after, before)
        assert after.version == before.version + 1
        assert same(after, await reader.holder().refresh())

    asyncio.run(story())


def test_nothing_new_is_one_question(reader: Reader) -> None:
    """While nothing changed only the marks are read, the catalogue stays the same object, and verdicts stay good."""

    async def story() -> None:
        holder = reader.holder()
        before = await holder.refresh()
        reader.connection.execute(b"CREATE INDEX ON public.t (a); INSERT INTO public.parent VALUES (1, 2)")
        reader.connection.execute(b"VACUUM (FREEZE, ANALYZE)")
        reader.asked.clear()
        assert await holder.refresh() is before
        assert reader.asked == ["marks"]

    asyncio.run(story())


def test_what_is_postgresqls_own_is_read_once(reader: Reader) -> None:
    """A new table costs no reading of the system's relations, which are most of a small database."""

    async def story() -> None:
        holder = reader.holder()
        await holder.refresh()
        reader.connection.execute(b"CREATE TABLE public.u (a int)")
        reader.asked.clear()
        await holder.refresh()
        assert reader.asked == ["marks", "relations", "columns", "names"]

    asyncio.run(story())


def test_names_made_up_fast_cause_few_readings(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings that unknown names cause take at most a share of the time, and who waits together reads together."""
    monkeypatch.setattr(own, "SHARE", 10)

    async def story() -> None:
        holder = reader.holder()
        await holder.refresh()
        reader.asked.clear()
        await asyncio.gather(*(holder.look_for() for _ in range(50)))
        assert reader.asked == ["marks"]

    asyncio.run(story())


SETTERS: tuple[tuple[str, set[str]], ...] = (
    ("CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'SELECT 1'", set()),
    ("CREATE FUNCTION public.g() RETURNS text LANGUAGE sql AS $$ SELECT set_config('a.b', '1', true) $$", {"code"}),
    ("CREATE FUNCTION public.g() RETURNS text BEGIN ATOMIC SELECT set_config('a.b', '1', true); END", {"code"}),
    ("CREATE FUNCTION public.g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'x'; END $$", {"code"}),
    ("CREATE FUNCTION public.g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET/**/ROLE x; END $$", {"code"}),
    ("CREATE FUNCTION public.g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE public.t SET a = 1; END $$", set()),
    ("CREATE FUNCTION public.g() RETURNS int LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1'", set()),
    ("CREATE VIEW public.x AS SELECT set_config('search_path', 'a', false)", {"code"}),
    ("ALTER TABLE public.parent ADD CHECK (set_config('search_path', 'a', false) > '')", {"code"}),
    ("ALTER TABLE public.parent ALTER a SET DEFAULT set_config('search_path', 'a', false)::int", {"code"}),
    (
        "CREATE POLICY p ON public.parent USING (set_config('search_path', 'a', false) > '')",
        {"code", "read"},
    ),
    ("CREATE DOMAIN public.d AS text CHECK (set_config('search_path', 'a', false) > '')", {"code", "read"}),
)


@pytest.mark.parametrize(("change", "setters"), SETTERS)
def test_it_is_known_whether_code_of_the_database_could_change_settings(
    reader: Reader, change: str, setters: set[str]
) -> None:
    """Functions and expressions that could set search_path or role count, and others do not: they would cost for nothing."""

    async def story() -> None:
        holder = reader.holder()
        assert (await holder.refresh()).setters == frozenset()
        reader.connection.execute(change.encode())
        assert (await holder.refresh()).setters == setters

    asyncio.run(story())
