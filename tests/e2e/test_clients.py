"""Real clients, unmodified, through the gateway over verified TLS: what works directly works here, and is masked."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tests.rig.faults import copy_of_shop
from tests.rig.gateway import ALLOW_ALL, Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

LABELS = {"public.customers.ssn": "ssn", "public.customers.card": "card"}
SSN = "603-38-1615"


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> PostgresServer:
    """A copy of the shop for this module."""
    return copy_of_shop(postgres, "clients")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, shop: PostgresServer) -> Iterator[Gateway]:
    issuer = LocalIssuer()
    with launch(
        tmp_path_factory.mktemp("clients"),
        issuer,
        shop,
        policy=ALLOW_ALL,
        target={"labels": LABELS, "detect": False, "durability": "batched"},
    ) as running:
        yield running
    issuer.down()


def program(door: Gateway, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """A PostgreSQL program that takes its connection from libpq's environment."""
    keywords = door.keywords()
    environment = {
        **os.environ, "PGHOST": keywords["host"], "PGHOSTADDR": keywords["hostaddr"], "PGPORT": keywords["port"],
        "PGUSER": keywords["user"], "PGPASSWORD": keywords["password"], "PGDATABASE": keywords["dbname"],
        "PGSSLMODE": "verify-full", "PGSSLROOTCERT": keywords["sslrootcert"],
    }  # fmt: skip
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


# -- psql ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        r"\d", r"\d+", r"\d customers", r"\d+ customers", r"\d customer_orders", r"\dt", r"\dt+", r"\di", r"\ds", r"\dv+",
        r"\dm", r"\df", r"\df+ order_total", r"\sf order_total", r"\sv customer_orders", r"\dn+", r"\du", r"\dp", r"\l",
        r"\dx", r"\dT", r"\do", r"\dC", r"\db", r"\dy", r"\dE", r"\ddp", r"\dconfig work_mem", r"\conninfo", r"\encoding",
        r"\timing on", r"\dL", r"\dO", r"\dA", r"\dF", r"\dP", r"\dRp", r"\dRs", r"\des", r"\det", r"\dD", r"\da", r"\dg",
    ],
)  # fmt: skip
def test_psql_describes(door: Gateway, command: str) -> None:
    r"""The \d family asks the catalogue; none of it fails."""
    done = program(door, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", command)
    assert done.returncode == 0, done.stderr


def test_psql_runs_scripts_and_copies(door: Gateway, tmp_path: Path) -> None:
    r"""A script with transactions, variables, \copy both ways, \gset, \gexec and inline data."""
    out = tmp_path / "out.csv"
    script = f"""
\\set ON_ERROR_STOP 1
create table psql_made (id int primary key, v text);
begin; insert into psql_made values (1, 'one'); savepoint a; insert into psql_made values (2, 'two'); rollback to a; commit;
copy psql_made from stdin;
3\tthree
4\tfour \\\\ backslash
\\.
\\copy (select * from psql_made order by id) to '{out}' with (format csv, header)
\\copy psql_made (id, v) from program 'echo "9,nine"' with (format csv)
select count(*) as n from psql_made \\gset
\\echo counted :n
select 'select ' || n from generate_series(1, 2) n \\gexec
select id, ssn from customers where id = 1;
\\set FETCH_COUNT 2
select id from psql_made order by id;
drop table psql_made;
"""
    done = program(door, "psql", "-X", "-A", "-t", "-q", text=script)
    assert done.returncode == 0, done.stderr
    assert "counted 4" in done.stdout
    assert "1|[ssn]" in done.stdout
    assert out.read_text() == "id,v\n1,one\n3,three\n4,four \\ backslash\n"


# -- psycopg ---------------------------------------------------------------------------------------------------------


def test_psycopg(door: Gateway) -> None:
    """Text and binary, prepared, server-side cursors, pipeline mode, COPY both ways, transactions, notices, errors."""
    with psycopg.connect(door.dsn()) as connection:
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                row = cursor.execute("select id, ssn, created_at from customers where id = %s", (1,)).fetchone()
                assert row is not None
                assert row[:2] == (1, "[ssn]")
        for n in range(8):  # prepared on the sixth
            assert connection.execute("select %s::int + 1", (n,)).fetchone() == (n + 1,)
        with connection.cursor("named") as server_side:
            server_side.itersize = 7
            server_side.execute("select id, card from customers order by id")
            rows = server_side.fetchall()
            assert len(rows) == 26
            assert {card for _, card in rows} == {"[card]"}
        connection.execute("create temp table mine (id int, v text)")
        connection.commit()
        with connection.pipeline() as pipeline:
            results = [connection.execute("select %s::int", (n,)) for n in range(50)]
            pipeline.sync()
            assert [result.fetchone() for result in results] == [(n,) for n in range(50)]
        with connection.cursor() as cursor:
            with cursor.copy("copy mine from stdin") as into:
                for n in range(1000):
                    into.write_row((n, f"row {n}"))
            with cursor.copy("copy (select id, placed_at from orders) to stdout (format binary)") as out:
                out.set_types(["int4", "timestamptz"])
                assert sum(1 for _ in out.rows()) == 400
            cursor.executemany("insert into mine values (%s, %s)", [(n, "x") for n in range(100)])
            assert cursor.rowcount == 100
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("select * from nobody_has_this")
        connection.rollback()
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("select 1/0")
        assert connection.execute("select count(*) from customers").fetchone() == (26,)


async def test_psycopg_async(door: Gateway) -> None:
    """The asynchronous side of it, with notifications."""
    async with await psycopg.AsyncConnection.connect(door.dsn(), autocommit=True) as connection:
        await connection.execute("listen doors")
        await connection.execute("notify doors, 'open'")
        async for note in connection.notifies(timeout=10, stop_after=1):
            # On a target with labels nobody can tell where a payload came from.
            assert (note.channel, note.payload) == ("doors", "[masked]")
        cursor = await connection.execute("select ssn from customers where id = 1")
        assert await cursor.fetchone() == ("[ssn]",)


# -- asyncpg ---------------------------------------------------------------------------------------------------------


async def _asyncpg(door: Gateway) -> asyncpg.Connection:
    keywords = door.keywords()
    return await asyncpg.connect(
        host="localhost", port=int(keywords["port"]), user="x", password=keywords["password"], database="shop",
        ssl=ssl.create_default_context(cafile=keywords["sslrootcert"]),
    )  # fmt: skip


async def test_asyncpg(door: Gateway) -> None:
    """Prepared statements, cursors, executemany, COPY both ways, nested transactions, introspection, cancellation."""
    connection = await _asyncpg(door)
    try:
        assert dict(await connection.fetchrow("select id, ssn from customers where id = $1", 1)) == {
            "id": 1, "ssn": "[ssn]",
        }  # fmt: skip
        await connection.execute("create temp table mine (id int primary key, v text, a int[], j jsonb)")
        statement = await connection.prepare("select * from mine where id = $1")
        assert [attribute.name for attribute in statement.get_attributes()] == ["id", "v", "a", "j"]
        await connection.executemany(
            "insert into mine values ($1, $2, $3, $4)", [(n, str(n), [n, n], "{}") for n in range(5000)]
        )
        assert await connection.fetchval("select count(*) from mine") == 5000
        async with connection.transaction():
            seen = 0
            async for _ in connection.cursor("select * from mine", prefetch=100):
                seen += 1
            assert seen == 5000
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await connection.execute("insert into mine values (1)")
            await connection.execute("insert into mine values (-1)")
        await connection.copy_records_to_table("mine", records=[(10_000 + n, "c", None, None) for n in range(500)])
        chunks: list[bytes] = []

        async def keep(chunk: bytes) -> None:
            chunks.append(chunk)

        await connection.copy_from_query("select id, card from customers", output=keep, format="csv")
        assert b"[card]" in b"".join(chunks)
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("select pg_sleep(30)", timeout=0.3)
        assert await connection.fetchval("select 1") == 1
        await connection.reset()
    finally:
        await connection.close()


# -- SQLAlchemy ------------------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    """Of the tables that these tests make."""


class Parcel(Base):
    """A row that goes there and back."""

    __tablename__ = "parcels"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]
    weight: Mapped[float | None]


def _url(door: Gateway, driver: str) -> sa.URL:
    keywords = door.keywords()
    query = {"sslmode": "verify-full", "sslrootcert": keywords["sslrootcert"]} if driver == "psycopg" else {}
    return sa.URL.create(
        f"postgresql+{driver}", "x", keywords["password"], "localhost", int(keywords["port"]), "shop", query
    )


def _round_trip(connection: sa.Connection) -> None:
    Base.metadata.create_all(connection)
    connection.commit()  # what an open transaction has made cannot be traced yet, so all of it would be masked
    with Session(connection) as session:
        session.add_all(Parcel(label=f"parcel {n}", weight=n / 2) for n in range(200))
        session.flush()
        found = session.scalars(sa.select(Parcel).where(Parcel.weight > 90).order_by(Parcel.id)).all()
        assert [parcel.label for parcel in found][:1] == ["parcel 181"]
        found[0].label = "changed"
        session.delete(found[1])
        session.flush()
        assert session.scalar(sa.select(sa.func.count()).select_from(Parcel)) == 199
    connection.commit()
    Base.metadata.drop_all(connection)
    connection.commit()
    inspector = sa.inspect(connection)
    assert {"customers", "orders", "products"} <= set(inspector.get_table_names())
    assert [column["name"] for column in inspector.get_columns("customers")][:5] == [
        "id",
        "name",
        "email",
        "phone",
        "ssn",
    ]
    assert inspector.get_pk_constraint("orders")["constrained_columns"] == ["id"]
    assert {key["referred_table"] for key in inspector.get_foreign_keys("orders")} == {"customers", "products"}
    assert inspector.get_view_names() == ["customer_orders"]
    assert inspector.get_indexes("orders")
    assert inspector.get_check_constraints("products")
    reflected = sa.Table("customers", sa.MetaData(), autoload_with=connection)
    row = connection.execute(sa.select(reflected).where(reflected.c.id == 1)).one()
    assert row.ssn == "[ssn]"


def test_sqlalchemy_with_psycopg(door: Gateway) -> None:
    """Reflection, DDL and an ORM round trip."""
    engine = sa.create_engine(_url(door, "psycopg"))
    try:
        with engine.connect() as connection:
            _round_trip(connection)
    finally:
        engine.dispose()


async def test_sqlalchemy_with_asyncpg(door: Gateway) -> None:
    """The same over asyncpg."""
    context = ssl.create_default_context(cafile=str(door.ca))
    engine = create_async_engine(_url(door, "asyncpg"), connect_args={"ssl": context})
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_round_trip)
    finally:
        await engine.dispose()


# -- pgbench, pg_dump ------------------------------------------------------------------------------------------------


def test_pgbench(door: Gateway) -> None:
    """Initialises its tables, and runs in every mode of the protocol."""
    done = program(door, "pgbench", "-i", "-s", "1", "-q")
    assert done.returncode == 0, done.stderr
    for mode in ("simple", "extended", "prepared"):
        for select in ([], ["-S"]):
            done = program(door, "pgbench", "-n", "-c", "2", "-t", "20", "-M", mode, *select)
            assert done.returncode == 0, done.stderr
            assert re.search(r"actually processed: 40/40", done.stdout)
            assert "number of failed transactions: 0" in done.stdout


def test_pg_dump_and_restore(door: Gateway, shop: PostgresServer, tmp_path: Path) -> None:
    """A dump of unlabelled tables is the direct one, byte for byte; labelled columns are masked; it loads again."""
    wanted = (
        ("-t", "products", "-t", "orders", "--restrict-key=x") if _restricts() else ("-t", "products", "-t", "orders")
    )
    through = program(door, "pg_dump", *wanted)
    assert through.returncode == 0, through.stderr
    direct = subprocess.run(
        ["pg_dump", *wanted, "-d", shop.dsn()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert through.stdout == direct.stdout
    schema = program(door, "pg_dump", "--schema-only", *(wanted[-1:] if _restricts() else ()))
    assert schema.returncode == 0, schema.stderr
    customers = program(door, "pg_dump", "-t", "customers", "--inserts")
    assert SSN not in customers.stdout
    assert customers.stdout.count("[ssn]") == 26
    whole = program(door, "pg_dump", "-Fc", "-f", str(tmp_path / "whole.dump"))
    assert whole.returncode == 0, whole.stderr
    name = f"{shop.database}_restored"
    with shop.connect(dbname="postgres") as connection:
        connection.execute(f"create database {name}")
    subprocess.run(
        ["pg_restore", "--no-owner", "-d", shop.dsn(dbname=name), tmp_path / "whole.dump"],
        check=True, capture_output=True,
    )  # fmt: skip
    with shop.connect(dbname=name) as connection:
        assert connection.execute("select count(*), count(distinct ssn) from customers").fetchone() == (26, 1)
        assert connection.execute("select count(*) from orders").fetchone() == (400,)
    with shop.connect(dbname="postgres") as connection:
        connection.execute(f"drop database {name} with (force)")


def _restricts() -> bool:
    """Whether this pg_dump writes \\restrict with a random key, and lets it be chosen."""
    told = subprocess.run(["pg_dump", "--help"], capture_output=True, text=True, check=True)
    return "--restrict-key" in told.stdout
