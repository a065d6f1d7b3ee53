"""The target sees whose session it is, whatever the client calls itself. PG-55 and PG-56 in docs/bypasses.md."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.rig.approvers import call
from tests.rig.faults import until
from tests.rig.gateway import Gateway
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, Reply, extended

HIDDEN = "[card,notes,ssn]"  # a setting, once an earlier test has made a trigger that changes settings: it may hold anything
MARKED = re.compile(r"doorward [0-9a-f]{8}-[0-9a-f-]{27}( .*)?")


@pytest.fixture(params=["shop", "shop18"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def administrator(target: str, server: PostgresServer, postgres18: PostgresServer) -> Iterator[psycopg.Connection]:
    """Who looks at the target itself."""
    with (server if target == "shop" else postgres18).connect(application_name="rig") as connection:
        yield connection


def marked(administrator: psycopg.Connection, backend: int) -> str:
    """What the target calls a session, once it is at rest: the part that the client chose. AssertionError without a mark."""
    limit = time.monotonic() + 5
    while True:
        found = administrator.execute(
            "select application_name, state from pg_stat_activity where pid = %s", (backend,)
        ).fetchone()
        assert found is not None
        if (match := MARKED.fullmatch(found[0])) is not None:
            return (match[1] or "").strip()
        assert time.monotonic() < limit, found
        time.sleep(0.01)


def backend(client: RawClient) -> int:
    return int(client.query("select pg_backend_pid()").values[0] or 0)


def reported(reply: Reply) -> list[str]:
    """What the client was told of its name."""
    pairs = [wire.parse_parameter_status(payload) for kind, payload in reply.messages if kind == "S"]
    return [value for name, value in pairs if name == "application_name"]


ANOTHER = "doorward 00000000-0000-0000-0000-000000000000"
LONG = "a name of more than seventeen letters"
RENAMES: list[tuple[list[str], str]] = [
    (["set application_name = 'dba'"], "dba"),
    (["set session application_name to dba"], "dba"),
    (["set application_name = ''"], ""),
    (["set application_name = 'doorward'"], "doorward"),
    ([f"set application_name = '{ANOTHER}'"], ANOTHER),
    ([f"set application_name = '{LONG}'"], LONG),
    (["select set_config('application_name', 'dba', false)"], "dba"),
    (["set application_name = 'dba'", "reset application_name"], "first"),
    (["set application_name = 'dba'", "reset all"], "first"),
    (["set application_name = 'dba'", "discard all"], "first"),
    (["set application_name to default"], "first"),
    (["begin", "set application_name = 'dba'", "commit"], "dba"),
    (["begin", "set application_name = 'dba'", "rollback"], "first"),
    (["begin", "set local application_name = 'dba'", "commit"], "first"),
    (["begin", "set application_name = 'one'", "set local application_name = 'two'", "commit"], "one"),
    (["begin", "set application_name = 'one'", "savepoint a", "set application_name = 'two'", "rollback to a", "end"], "one"),
    (["begin", "savepoint a", "set application_name = 'two'", "release a", "commit"], "two"),
    (["begin", "set application_name = 'dba'", "select 1/0", "rollback"], "first"),
    (["begin; set application_name = 'dba'; commit"], "dba"),
    (["set application_name = 'one'; set application_name = 'two'"], "two"),
    (["prepare p as select set_config('application_name', 'dba', false)", "execute p"], "dba"),
    (["do $$ begin perform set_config('application_name', 'dba', false); end $$"], "dba"),
    (["do $$ begin perform set_config('application_name', 'x', true); perform 1/0; end $$"], "first"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "simple"),
    [
        ("shop", True), ("shop18", False),
        pytest.param("shop", False, marks=pytest.mark.campaign), pytest.param("shop18", True, marks=pytest.mark.campaign),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("texts", "name"), RENAMES, ids=["; ".join(texts)[:60] for texts, _ in RENAMES])
def test_pg_55_a_session_keeps_its_mark_at_the_target(
    door: Gateway, target: str, administrator: psycopg.Connection, texts: list[str], name: str, simple: bool
) -> None:
    """PG-55: after each statement pg_stat_activity has the session's mark, and in the end the client has the name that a
    server would have given it, in full. (What code has made of it, it is not told: that could be any value.)"""
    simple = simple or any(";" in text and "$$" not in text for text in texts)  # extended, it is one statement at a time
    with RawClient.to(door, target, sub="namer", groups=["anyone"], parameters={"application_name": "first"}) as client:
        pid = backend(client)
        told = ["first"]
        for text in texts:
            reply = client.query(text) if simple else client.run(text)
            told += reported(reply)
            if reply.status != "E":
                marked(administrator, pid)
        told += reported(client.quiet(0.02))
        last = client.query("show application_name")
        assert marked(administrator, pid) == name[: 63 - len("doorward ") - 37]
        assert reported(last) == []
        assert told[-1] == ("first" if texts[0].startswith("do ") else name)
        assert not any(MARKED.fullmatch(each) for each in told if each != name)
        shown = last.values[0] or ""
        assert shown == HIDDEN or MARKED.fullmatch(shown)  # by SQL one reads what there is


def test_pg_55_nothing_of_a_pipeline_runs_under_another_name(door: Gateway, table: str, direct: psycopg.Connection) -> None:
    """PG-55: what stands behind a change of the name, in one batch, in the next one, in the same transaction or not, is run
    under the mark."""
    steal = f"insert into {table} values ({{}}, current_setting('application_name'))"
    with RawClient.to(door, sub="piper", groups=["anyone"]) as client:
        rename = extended("set application_name = 'dba'")
        client.send(rename, extended(steal.format(11)), wire.SYNC, extended(steal.format(12)), wire.SYNC)
        client.send(wire.query(b"begin"), rename, extended(steal.format(13)), wire.SYNC, wire.query(steal.format(14).encode()))
        client.send(wire.query(b"commit"), wire.query(b"set application_name = 'dba'"), wire.query(steal.format(15).encode()))
        assert client.ready(8).errors == []
    found = direct.execute(f"select id, v from {table} where id > 10 order by id").fetchall()
    assert [number for number, _ in found] == [11, 12, 13, 14, 15]
    assert all(MARKED.fullmatch(value) for _, value in found), found


@pytest.mark.parametrize(
    "text",
    [
        "set application_name = 'dba'; delete from {0}",
        "delete from {0}; set application_name = 'dba'",
        "begin; set local application_name = 'dba'; delete from {0}; commit",
        "select set_config('application_name', 'dba', false); update {0} set v = 'x'",
        "with gone as (delete from {0} returning id) select set_config('application_name', 'dba', false), id from gone",
        "insert into {0} select 77, set_config('application_name', 'dba', false)",
        "set application_name = 'dba'; create table made_by_nobody ()",
        "create table made_by_nobody as select set_config('application_name', 'dba', false)",
        "set application_name = 'dba'; select pg_terminate_backend(1)",
        "set application_name = 'dba'; do $$ begin end $$",
    ],
)
def test_pg_56_a_name_is_not_changed_and_used_in_one_text(
    door: Gateway, table: str, direct: psycopg.Connection, text: str
) -> None:
    """PG-56: what would change the name and act before the mark can be put back is refused, whatever policy says."""
    with RawClient.to(door, sub="namer", groups=["anyone"]) as client:
        assert client.query(text.format(table)).sqlstate == "55P02"
        if not text.startswith(("begin", "set", "select", "delete")):
            assert client.run(text.format(table)).sqlstate == "55P02"
        assert client.query("select 1").values == ["1"]
    assert direct.execute(f"select * from {table} order by id").fetchall() == [(1, "one"), (2, "two")]


@pytest.mark.parametrize(
    "texts",
    [
        ["begin", "set application_name = 'dba'", "commit; {}"],
        ["begin; set application_name = 'dba'", "commit; begin; {}; commit"],
        ["begin; set application_name = 'dba'; savepoint a", "rollback to a; {}", "commit"],
        ["begin; set application_name = 'dba'; savepoint a", "set local application_name = 'x'", "rollback to a; {}"],
        ["begin; set application_name = 'dba'; savepoint a; savepoint b", "release b; rollback to a; {}", "end"],
    ],
    ids="; ".join,
)
def test_pg_57_a_mark_that_goes_with_its_transaction_does_not_uncover_what_follows(
    door: Gateway, table: str, direct: psycopg.Connection, texts: list[str]
) -> None:
    """PG-57: within a transaction the mark is put back for that transaction only: what ends it, or goes back to a savepoint
    from before, and then acts in the same text is refused. On its own it runs, and what follows is marked."""
    steal = f"insert into {table} values ({{}}, current_setting('application_name'))"
    with RawClient.to(door, sub="namer", groups=["anyone"]) as client:
        for text in texts[:-1] if texts[-1] in ("commit", "end") else texts:
            reply = client.query(text.format(steal.format(11)))
        assert reply.sqlstate == "55P02"
        client.query("rollback")
        for text in ("begin", "set application_name = 'dba'", "commit", steal.format(12)):
            assert client.query(text).errors == []
        assert client.query(f"commit; {steal.format(13)}").errors == []  # nothing was changed in this one
    found = direct.execute(f"select id, v from {table} where id > 10 order by id").fetchall()
    assert [number for number, _ in found] == [12, 13]
    assert all(MARKED.fullmatch(value) for _, value in found), found


@pytest.mark.parametrize("target", ["shop"])
def test_pg_55_code_that_changes_the_name_is_followed(
    door: Gateway, table: str, administrator: psycopg.Connection
) -> None:
    """PG-55: a trigger and a function of the database's own change the name where no text says so; the mark comes back."""
    administrator.execute(
        "create or replace function rename_quietly() returns trigger language plpgsql as "
        "$$ begin perform set_config('application_name', 'dba', false); return new; end $$"
    )
    administrator.execute(f"create trigger quietly before insert on {table} for each row execute function rename_quietly()")
    try:
        with RawClient.to(door, sub="namer", groups=["anyone"]) as client:
            pid = backend(client)
            for text in (f"insert into {table} values (5, 'x')", "begin", f"insert into {table} values (6, 'x')", "commit"):
                assert client.query(text).errors == []
                marked(administrator, pid)
    finally:
        administrator.execute("drop function rename_quietly() cascade")


def test_pg_55_the_mark_leads_to_who_acts_and_on_whose_behalf(door: Gateway, server: PostgresServer) -> None:
    """PG-55: what an administrator of the target reads names the session, and the session names the whole chain."""
    with RawClient.to(door, sub="principal", groups=["anyone"], act={"sub": "agent-of-theirs"}) as client:
        pid = backend(client)
        client.query("set application_name = 'dba'")
        with server.connect(application_name="rig") as connection:
            row = connection.execute("select application_name from pg_stat_activity where pid = %s", (pid,)).fetchone()
        assert row is not None
        session = row[0].split()[1]
        until(lambda: call(door, f"/api/sessions/{session}", sub="ada", groups=["auditors"])[0] == 200)
        found = call(door, f"/api/sessions/{session}", sub="ada", groups=["auditors"])[1]
        assert (found["identity"], found["on_behalf_of"]) == (
            f"{door.issuer.url}|agent-of-theirs", [f"{door.issuer.url}|principal"]
        )
        shown = door.cli("sessions", "show", session, "--gateway", f"http://127.0.0.1:{door.http_port}",
                         token=door.token(sub="ada", groups=["auditors"]))  # fmt: skip
        assert "agent-of-theirs" in shown.stdout
        assert "principal" in shown.stdout


# -- clients as they are ---------------------------------------------------------------------------------------------


def test_pg_55_psql(door: Gateway, target: str, administrator: psycopg.Connection) -> None:
    """PG-55: psql renames itself, also between BEGIN and COMMIT, and by RESET."""
    keywords = door.keywords(target, sub="psql", groups=["anyone"])
    environment = {**os.environ, **{f"PG{name.upper()}": value for name, value in keywords.items() if name != "dbname"},
                   "PGDATABASE": target, "PGAPPNAME": "mine"}  # fmt: skip
    environment.pop("PGSSLROOTCERT", None)
    environment["PGSSLMODE"] = "require"
    script = "\n".join(
        [
            "select pg_backend_pid() as pid \\gset",
            "\\echo :pid",
            "set application_name = 'renamed';",
            "select current_setting('application_name');",
            "begin; ", "set local application_name = 'inside';", "select current_setting('application_name');", "commit;",
            "reset application_name;", "select current_setting('application_name');",
            "discard all;", "select current_setting('application_name');",
        ]
    )  # fmt: skip
    done = subprocess.run(
        ["psql", "-XAtq"], input=script, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.split("|")[-1] for line in done.stdout.splitlines()[1:]]
    for line, name in zip(said, ("renamed", "inside", "mine", "mine"), strict=True):
        assert line == HIDDEN or ((match := MARKED.fullmatch(line)) and match[1] == f" {name}"), said


def test_pg_55_psycopg(door: Gateway, target: str, administrator: psycopg.Connection) -> None:
    """PG-55: psycopg knows itself by its own name, in a transaction and out of it, and in a pipeline."""
    with psycopg.connect(door.dsn(target, sub="py", groups=["anyone"]), application_name="mine") as connection:
        pid = connection.execute("select pg_backend_pid()").fetchone()
        assert pid is not None
        assert (connection.info.parameter_status("application_name"), marked(administrator, pid[0])) == ("mine", "mine")
        connection.execute("set application_name = 'renamed'")
        assert (connection.info.parameter_status("application_name"), marked(administrator, pid[0])) == ("renamed", "renamed")
        connection.rollback()
        connection.execute("select 1")
        assert (connection.info.parameter_status("application_name"), marked(administrator, pid[0])) == ("mine", "mine")
        connection.commit()
        with connection.pipeline():
            connection.execute("set application_name = 'piped'")
            found = connection.execute("select current_setting('application_name')").fetchone()
        assert found is not None
        assert found[0] == HIDDEN or MARKED.fullmatch(found[0])
        connection.commit()
        assert (connection.info.parameter_status("application_name"), marked(administrator, pid[0])) == ("piped", "piped")


def test_pg_55_asyncpg(door: Gateway, target: str, administrator: psycopg.Connection) -> None:
    """PG-55: asyncpg as well, whose pool says RESET ALL."""

    async def lead() -> None:
        pool = await asyncpg.create_pool(
            host="127.0.0.1", port=door.port, user="whoever", password=door.token(sub="apg", groups=["anyone"]),
            database=target, ssl="require", server_settings={"application_name": "mine"}, min_size=1, max_size=1,
        )  # fmt: skip
        async with pool:
            async with pool.acquire() as connection:
                pid = await connection.fetchval("select pg_backend_pid()")
                await connection.execute("set application_name = 'renamed'")
                assert connection.get_settings().application_name == "renamed"
                assert marked(administrator, pid) == "renamed"
                async with connection.transaction():
                    await connection.execute("set local application_name = 'inside'")
                    found = await connection.fetchval("select current_setting('application_name')")
                    assert found == HIDDEN or MARKED.fullmatch(found)
            async with pool.acquire() as connection:
                assert await connection.fetchval("select pg_backend_pid()") == pid
                assert connection.get_settings().application_name == "mine"
                assert marked(administrator, pid) == "mine"

    asyncio.run(lead())

