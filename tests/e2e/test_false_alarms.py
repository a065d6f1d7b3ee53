"""What tools do on their own account works as it does directly: psql's \\d family, pg_dump and pg_restore, reflection by
SQLAlchemy, Django, and the queries of Metabase and DBeaver. On a target with labels and every detector, by an identity that may
only read: nothing is refused, held or masked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import os
import pprint
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.ext.asyncio import create_async_engine

from tests.quality import benign
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

ALARMS = Path(__file__).parent / "alarms"
POLICY = """
@id("come-in") permit (principal, action == Action::"connect", resource);
@id("read") permit (principal, action == Action::"read", resource);
@id("write") permit (principal in Group::"clerks", action == Action::"write", resource);
@id("define") permit (principal in Group::"migrations",
    action in [Action::"write", Action::"define", Action::"execute", Action::"infer"], resource);
"""
# `make test` takes one server and some of the forms; `make campaign` each with each.
CAMPAIGN = pytest.mark.campaign


@dataclasses.dataclass(frozen=True)
class Place:
    """One server, directly and through the gateway, for libpq."""

    server: PostgresServer
    door: Gateway

    def environment(self, *, direct: bool, **claims: Any) -> dict[str, str]:
        """The connection as libpq's variables."""
        found = self.server.keywords() if direct else self.door.keywords(f"pg{self.server.version}", **claims)
        if not direct:
            found["sslmode"] = "disable"
        return {
            **os.environ,
            "PGHOST": found["host"] if direct else found["hostaddr"], "PGPORT": found["port"], "PGUSER": found["user"],
            "PGPASSWORD": found["password"], "PGDATABASE": found["dbname"], "PGSSLMODE": found["sslmode"],
            **({"PGSSLROOTCERT": found["sslrootcert"]} if direct and "sslrootcert" in found else {}),
        }  # fmt: skip

    def run(self, *command: str | Path, direct: bool, text: str = "", **claims: Any) -> tuple[int, str, str]:
        """Exit code, standard output and error of a program."""
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=120, check=False,
            env=self.environment(direct=direct, **claims),
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def program(self, name: str) -> Path:
        """PostgreSQL's own program of that server's version."""
        return Path(self.server.binaries) / name

    def same(self, *command: str | Path, text: str = "") -> str:
        """Run a program both ways; what it wrote, which must be the same."""
        direct, through = (self.run(*command, direct=way, text=text) for way in (True, False))
        assert difference(direct[1] + direct[2], through[1] + through[2]) == []
        assert through[0] == direct[0] == 0
        return direct[1]


def difference(direct: str, through: str) -> list[str]:
    """The lines that differ. Sizes on disk change by themselves."""
    before, after = (re.sub(r"\d+ (bytes|kB|MB)", "size", text).splitlines() for text in (direct, through))
    found = difflib.unified_diff(before, after, "direct", "through", n=1, lineterm="")
    return list(found)[:40]


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, postgres18: PostgresServer
) -> Iterator[dict[int, Place]]:
    """A database with one of everything on each server. The gateway listens without TLS: the psql of the wheel knows none."""
    folder, issuer, name = tmp_path_factory.mktemp("alarms"), LocalIssuer(), f"alarms_{secrets.token_hex(4)}"
    folder.chmod(0o700)
    servers = []
    for server in (postgres, postgres18):
        with server.connect(dbname="postgres") as admin:
            admin.execute(f"create database {name}".encode())
        servers.append(dataclasses.replace(server, database=name))
        with servers[-1].connect(options="-cbenign.salt=any") as connection:
            connection.execute((benign.FOLDER / "schema.sql").read_bytes())
            connection.execute((ALARMS / "objects.sql").read_bytes())
    targets = [target_of(each, folder, name=f"pg{each.version}", labels=benign.labels()) for each in servers]
    listen = {"postgres": {"port": 0, "plaintext": True}, "http": {"port": 0, "plaintext": True}}
    with launch(folder / "gateway", issuer, servers[0], targets=targets, policy=POLICY, listen=listen) as door:
        yield {server.version: Place(server, door) for server in servers}
    issuer.down()
    for server in (postgres, postgres18):
        with server.connect(dbname="postgres") as admin:
            admin.execute(f"drop database {name} with (force)".encode())


@pytest.fixture(params=[15, pytest.param(18, marks=CAMPAIGN)])
def place(request: pytest.FixtureRequest, places: dict[int, Place]) -> Place:
    """Each server in turn, with the programs of its version."""
    return places[request.param]


def test_psql_shows_what_it_shows_directly(place: Place) -> None:
    r"""Everything of the \d family, \l, \sf, \sv, \z, \x: the same output, line by line."""
    commands = (ALARMS / "psql.txt").read_text().splitlines()
    script = "\n".join(line for command in commands for line in (r"\echo ==", command))
    shown = place.same(place.program("psql"), "-X", "-A", text=script)
    assert shown.count("==\n") == len(commands)
    assert "[" + "email" not in shown


def test_the_options_of_user_mappings_are_masked(place: Place) -> None:
    """They hold passwords for other systems. \\deu+ computes with them: who may infer sees them masked, others nothing."""
    command = (place.program("psql"), "-X", "-c", r"\deu+")
    assert place.run(*command, direct=False, groups=["migrations"])[1].count("[") == 1
    code, shown, why = place.run(*command, direct=False)
    assert (code, shown) == (1, "")
    assert "infer" in why


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "inventory"),
        pytest.param(("-n", "inventory", "--inserts"), marks=CAMPAIGN),
        pytest.param(("-n", "inventory", "--clean", "--if-exists"), marks=CAMPAIGN),
        ("-s", "-n", "public"),
        pytest.param(("-t", "products", "-t", "items", "-t", "categories", "-t", "measures"), marks=CAMPAIGN),
    ],
)
def test_pg_dump_of_what_is_not_labelled_is_the_same(place: Place, options: tuple[str, ...]) -> None:
    """A dump of unlabelled schemas and tables is the direct one, byte for byte; so is every definition."""
    _, told, _ = place.run(place.program("pg_dump"), "--help", direct=True)
    keyed = ("--restrict-key=x",) if "--restrict-key" in told else ()
    assert "CREATE" in place.same(place.program("pg_dump"), *options, *keyed)


def test_pg_restore_loads_a_dump_through_the_gateway(place: Place, tmp_path: Path) -> None:
    """A custom-format dump taken through the gateway holds, restored, what was dumped."""
    archive = tmp_path / "inventory.dump"
    done = place.run(place.program("pg_dump"), "-n", "inventory", "-Fc", "-f", archive, direct=False)
    assert done == (0, "", "")
    listed = [place.run(place.program("pg_restore"), "-f", "-", archive, direct=way)[1] for way in (True, False)]
    plain = place.run(place.program("pg_dump"), "-n", "inventory", direct=True)[1]
    assert [line for line in listed[0].splitlines() if "\t" in line] == [
        line for line in plain.splitlines() if "\t" in line
    ]


def _reflected(connection: sa.Connection) -> dict[str, object]:
    inspector: Any = sa.inspect(connection)
    found: dict[str, object] = {"schemas": inspector.get_schema_names(), "enums": inspector.get_enums(schema="*")}
    for schema in ("public", "inventory"):
        metadata = sa.MetaData()
        metadata.reflect(connection, schema=schema, views=True)
        for table in metadata.tables.values():
            columns = [(c.name, repr(c.type), c.nullable, c.primary_key, c.comment) for c in table.columns]
            keys = sorted(key.target_fullname for key in table.foreign_keys)
            found[table.fullname] = (columns, keys, sorted(str(index.name) for index in table.indexes), table.comment)
        options: Any = {"schema": schema, "kind": ObjectKind.ANY}
        for listed in (
            inspector.get_multi_columns, inspector.get_multi_indexes, inspector.get_multi_foreign_keys,
            inspector.get_multi_pk_constraint, inspector.get_multi_unique_constraints,
            inspector.get_multi_check_constraints, inspector.get_multi_table_comment,
        ):  # fmt: skip
            rows = sorted(listed(**options).items(), key=str)
            found[f"{schema} {listed.__name__}"] = re.sub(r" at 0x[0-9a-f]+", "", repr(rows))
        for name in inspector.get_view_names(schema) + inspector.get_materialized_view_names(schema):
            found[f"view {name}"] = inspector.get_view_definition(name, schema)
    return found


@pytest.mark.filterwarnings("ignore:Did not recognize type")  # of composite types SQLAlchemy knows nothing
@pytest.mark.parametrize("driver", ["psycopg", pytest.param("asyncpg", marks=CAMPAIGN)])
def test_sqlalchemy_reflects_what_it_reflects_directly(place: Place, driver: str) -> None:
    """Tables, views, keys, constraints, comments and enumerations of both schemas."""
    seen = []
    for direct in (True, False):
        found = place.environment(direct=direct)
        url = sa.URL.create(
            f"postgresql+{driver}", found["PGUSER"], found["PGPASSWORD"], "localhost", int(found["PGPORT"]), found["PGDATABASE"]
        )
        if driver == "psycopg":
            tls = {"sslmode": found["PGSSLMODE"], "sslrootcert": found.get("PGSSLROOTCERT", "")}
            engine = sa.create_engine(url, connect_args=tls)
            with engine.connect() as connection:
                seen.append(_reflected(connection))
            engine.dispose()
        else:
            seen.append(asyncio.run(_reflected_by_asyncpg(url, found)))
    assert difference(pprint.pformat(seen[0]), pprint.pformat(seen[1])) == []


async def _reflected_by_asyncpg(url: sa.URL, found: dict[str, str]) -> dict[str, object]:
    secure = "require" if found["PGSSLMODE"] != "disable" else "disable"
    engine = create_async_engine(url, connect_args={"ssl": secure})
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_reflected)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("binding", ["client", pytest.param("server", marks=CAMPAIGN)])
def test_django_works_as_it_does_directly(place: Place, binding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its migrations run; introspection, inspectdb and the ORM say the same, but for labelled columns, which are masked."""
    monkeypatch.setenv("BINDING", binding)
    django = (sys.executable, ALARMS / "django_shop.py")
    done = place.run(*django, "migrate", direct=False, groups=["migrations"])
    assert done[0] == 0, done
    direct, through = (place.run(*django, "look", direct=way, groups=["clerks"]) for way in (True, False))
    assert (direct[0], through[0]) == (0, 0), through[2][-2000:]
    wrong = []
    for expected, line in zip(direct[1].splitlines(), through[1].splitlines(), strict=True):
        name = expected.partition(",")[0]
        if name.endswith('*"'):
            assert "@example.org" in expected
            assert "@example.org" not in line
            assert line.count("[email]") == 40
        elif line != expected:
            wrong.append((expected[:300], line[:300]))
    assert wrong == []


@pytest.mark.parametrize("tool", ["metabase", "dbeaver"])
def test_queries_of_a_tool_are_answered_as_directly(place: Place, tool: str) -> None:
    """Every query, in the simple and in the extended protocol, in text and in binary: the same cells."""
    text = "\n".join(line for line in (ALARMS / f"{tool}.sql").read_text().splitlines() if not line.startswith("--"))
    statements = [statement.strip() for statement in text.split(";\n") if statement.strip()]
    wrong = []
    found = place.environment(direct=False)
    through = psycopg.conninfo.make_conninfo(
        host=found["PGHOST"], port=found["PGPORT"], user=found["PGUSER"], password=found["PGPASSWORD"],
        dbname=found["PGDATABASE"], sslmode="disable",
    )  # fmt: skip
    with place.server.connect() as direct, psycopg.connect(through, autocommit=True) as door:
        for number, statement in enumerate(statements):
            case = benign.Case(tool, number, (), (), frozenset(), (), statement.rstrip(";"), (), "", 15)
            for way in case.ways:
                if (told := _answer(door, case, way)) != (expected := _answer(direct, case, way)):
                    wrong.append((statement[:300], way, difference(pprint.pformat(expected), pprint.pformat(told))[:9]))
    assert len(statements) >= 15
    assert wrong == []


def _answer(connection: psycopg.Connection, case: benign.Case, way: str) -> object:
    """What came of it, or the error (some types have no binary form). Where a setting comes from is the gateway's own doing."""
    try:
        answer = benign.run(connection, case, way)
    except benign.UnexpectedError as why:
        return str(why)
    return [[(name, cell) for name, cell in zip(answer.names, row, strict=True) if name != "source"] for row in answer.cells]
