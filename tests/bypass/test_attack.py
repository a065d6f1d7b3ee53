"""Ways in that an attacker found by reading the code, each over the wire against a real server. Each is closed, or says why
it is not. IDs AT-nn."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.bypass.conftest import LABELS, POLICY
from tests.rig.approvers import call
from tests.rig.gateway import Gateway, target_of
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient
from tests.rig.records import TEMPLATE, newest

SECRET = "the vicar's quiet garden"  # a labelled value that no detector knows
LONG = b"n" * 63  # the server compares names of statements and portals up to here


@pytest.fixture
def secret(direct: psycopg.Connection) -> Iterator[None]:
    direct.execute("insert into customers (id, name, email, ssn, country, notes) values"
                   " (900, 'x', 'x@x', '', 'DE', %s), (901, 'y', 'y@x', '', 'DE', %s) on conflict do nothing", [SECRET] * 2)
    yield
    direct.execute("delete from customers where id >= 900")


@pytest.fixture
def count(direct: psycopg.Connection, table: str) -> Callable[[], int]:
    return lambda: number(direct, table)


def number(direct: psycopg.Connection, table: str) -> int:
    row = direct.execute(f"select count(*) from {table}").fetchone()
    assert row is not None
    return int(row[0])


def test_names_that_the_server_cuts_are_one_name(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-01: the server knows statements and portals by the first 63 bytes of their names. Two longer names, each judged
    on its own, would be one there: close the first under a third, define it anew, run it by its first name."""
    with RawClient.to(door, sub="cutter", groups=["agents"]) as client:
        client.send(
            wire.parse(LONG + b"x", b"select 1"), wire.close("S", LONG + b"z"),
            wire.parse(LONG + b"y", f"delete from {table}".encode()), wire.SYNC,
        ).ready()
        client.send(wire.bind(b"", LONG + b"x", (), (), ()), wire.execute(b"", 0), wire.SYNC).held(seconds=3)
        assert count() == 2


def test_portal_names_that_the_server_cuts(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-01: the same for portals."""
    with RawClient.to(door, sub="cutter2", groups=["agents"]) as client:
        client.send(
            wire.parse(b"a", b"select 1"), wire.parse(b"b", f"delete from {table}".encode()), wire.SYNC).ready()
        client.send(
            wire.bind(LONG + b"x", b"a", (), (), ()), wire.close("P", LONG + b"z"),
            wire.bind(LONG + b"y", b"b", (), (), ()), wire.FLUSH).quiet(0.5)
        client.send(wire.execute(LONG + b"x", 0), wire.SYNC).held(seconds=3)
        assert count() == 2


def test_a_bind_that_was_kept_back_does_not_come_after_a_later_one(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-02: the Bind of a statement that needs approval is kept back; a later Bind of the same portal must not overtake it,
    or the Execute that was judged as the later one runs the earlier."""
    with RawClient.to(door, sub="overtaker", groups=["agents"]) as client:
        client.send(
            wire.parse(b"a", f"delete from {table}".encode()), wire.parse(b"b", b"select 1"), wire.SYNC).ready()
        client.send(
            wire.bind(b"", b"a", (), (), ()), wire.bind(b"", b"b", (), (), ()), wire.execute(b"", 0), wire.SYNC
        ).held(seconds=3)
        assert count() == 2


def test_a_parse_that_was_never_sent_defines_nothing(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-03: what stands behind a Bind that was kept back, and is dropped with it, did not happen at the server."""
    with RawClient.to(door, sub="dropper", groups=["agents"]) as client:
        client.send(wire.parse(b"a", f"delete from {table}".encode()), wire.SYNC).ready()
        client.send(wire.parse(b"s", f"delete from {table}".encode()), wire.SYNC).ready()
        client.send(
            wire.bind(b"p", b"a", (), (), ()), wire.parse(b"s", b"select 1"), wire.query(b"select 2")).quiet(0.5)
        client.send(wire.SYNC).quiet(0.3)
        client.send(wire.bind(b"", b"s", (), (), ()), wire.execute(b"", 0), wire.SYNC).held(seconds=3)
        assert count() == 2


def test_an_error_takes_back_what_waits_before_what_was_sent(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-04: an error undoes names newest first, also those of messages that were kept back."""
    with RawClient.to(door, sub="undoer", groups=["agents"]) as client:
        client.send(wire.parse(b"a", f"delete from {table}".encode()), wire.SYNC).ready()
        client.send(wire.parse(b"s", f"delete from {table}".encode()), wire.SYNC).ready()
        client.send(
            wire.parse(b"s", b"select 1"), wire.bind(b"p", b"a", (), (), ()), wire.close("S", b"s")).quiet(0.6)
        client.send(wire.SYNC).ready(seconds=3)
        client.send(wire.bind(b"", b"s", (), (), ()), wire.execute(b"", 0), wire.SYNC).held(seconds=3)
        assert count() == 2


@pytest.fixture
def paths(direct: psycopg.Connection) -> Callable[[], int]:
    direct.execute("create schema if not exists a1; create schema if not exists b1;"
                   "drop table if exists a1.tt, b1.tt; create table a1.tt (x int); create table b1.tt (x int);"
                   "insert into a1.tt values (1); insert into b1.tt values (1)")
    return lambda: number(direct, "b1.tt")


def test_set_local_ends_at_sync(door: Gateway, paths: Callable[[], int]) -> None:
    """AT-05: SET LOCAL in an implicit transaction ends with its Sync; what is pipelined behind that is judged by what
    holds then."""
    with RawClient.to(door, sub="local", groups=["walkers"]) as client:
        client.query("set search_path = b1")
        client.send(
            wire.parse(b"", b"set local search_path = a1"), wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0), wire.SYNC,
            wire.parse(b"", b"delete from tt"), wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0), wire.SYNC,
        ).ready(2, seconds=4)
        assert paths() == 1


def test_a_set_that_an_error_undoes(door: Gateway, paths: Callable[[], int]) -> None:
    """AT-05: the same where an error takes the SET back."""
    with RawClient.to(door, sub="undone", groups=["walkers"]) as client:
        client.query("set search_path = b1")
        client.send(
            wire.parse(b"", b"set search_path = a1"), wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0),
            wire.parse(b"", b"select 1/x from (values (0)) v(x)"), wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0),
            wire.SYNC,
            wire.parse(b"", b"delete from tt"), wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0), wire.SYNC,
        ).ready(2, seconds=4)
        assert paths() == 1


def test_a_temporary_table_hides_a_permanent_one(door: Gateway, secret: None, table: str) -> None:
    """AT-06: from the moment a temporary relation exists, its name means it."""
    for close in ("", "begin; "):
        with RawClient.to(door, sub="temp", groups=["writers"]) as client:
            if close:
                client.query("begin")
            client.query(f"create temp table {table} as select id, notes as v from customers")
            reply = client.query(f"select v from {table} where v is not null")
            assert SECRET.encode() not in bytes(client.received), reply.values
            client.send(wire.parse(b"", f"create temp table {table}2 as select id, notes as v from customers".encode()),
                        wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0),
                        wire.parse(b"", f"select v||'' from {table}2".encode()),
                        wire.bind(b"", b"", (), (), ()), wire.execute(b"", 0), wire.SYNC).ready()
            assert SECRET.encode() not in bytes(client.received)


def test_a_later_batch_is_not_undone_with_an_earlier_one(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-07: an error takes back the names of its own batch, and not those of the batches pipelined behind it."""
    with RawClient.to(door, sub="rebase", groups=["agents"]) as client:
        client.send(wire.parse(b"s", b"select 1"), wire.SYNC).ready()
        client.send(
            wire.parse(b"s", b"select 9"), wire.SYNC,
            wire.close("S", b"s"), wire.parse(b"s", f"delete from {table}".encode()), wire.SYNC).ready(2)
        client.send(wire.bind(b"", b"s", (), (), ()), wire.execute(b"", 0), wire.SYNC).held(seconds=3)
        assert count() == 2


@pytest.mark.parametrize("name", [b"s", b""])
def test_a_name_is_in_doubt_until_its_batch_is_answered(
    door: Gateway, table: str, count: Callable[[], int], name: bytes
) -> None:
    """AT-08: a Parse that the server skips or refuses leaves the old statement; what is pipelined behind its Sync is
    judged by that."""
    with RawClient.to(door, sub="doubt", groups=["agents"]) as client:
        client.send(wire.parse(name, f"delete from {table}".encode()), wire.SYNC).ready()
        client.send(
            wire.parse(b"bad", b"select 1/x from (values (0)) v(x)"), wire.bind(b"", b"bad", (), (), ()), wire.execute(b"", 0),
            wire.parse(name, b"select 9"), wire.SYNC,
            wire.bind(b"", name, (), (), ()), wire.execute(b"", 0), wire.SYNC).held(seconds=3)
        assert count() == 2


def test_a_portal_is_in_doubt_until_its_batch_is_answered(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-08: the same for a portal of an open transaction."""
    with RawClient.to(door, sub="doubt2", groups=["agents"]) as client:
        client.query("begin")
        delete = f"delete from {table}".encode()
        client.send(wire.parse(b"d", delete), wire.parse(b"r", b"select 1"), wire.SYNC).ready()
        client.send(wire.bind(b"p", b"d", (), (), ()), wire.FLUSH).quiet(0.3)
        client.send(wire.SYNC).ready()
        client.send(wire.bind(b"p", b"r", (), (), ()), wire.SYNC, wire.execute(b"p", 0), wire.SYNC).held(seconds=3)
        client.query("commit", seconds=3)
        assert count() == 2


@pytest.mark.parametrize("text", ["explain analyze execute s", "create temp table made as execute s"])
def test_what_executes_a_name_within_another_statement(door: Gateway, table: str, count: Callable[[], int], text: str) -> None:
    """AT-09: EXPLAIN ANALYZE EXECUTE is judged by what the name means now, not by what it meant the last time."""
    with RawClient.to(door, sub="within", groups=["agents" if "explain" in text else "walkers"]) as client:
        client.query("prepare s as select 1")
        client.query(text, seconds=2)
        if "table" in text:
            client.query("drop table made")
        client.query("deallocate s")
        client.query(f"prepare s as delete from {table} returning id")
        client.send(wire.query(text.encode())).held(seconds=3)
        assert count() == 2


def kept(door: Gateway, sub: str) -> bytes:
    recorded = newest(door, sub)
    return recorded.response + repr(recorded.events).encode() + b"".join(recorded.bodies(TEMPLATE))


@pytest.mark.parametrize(
    "text",
    ["select * from orders where x = '457-55-5462", "select 1 \"457-55-5462\" 'x' y", 'select * from "457-55-5462"',
     'select 1 as "457-55-5462"', "execute \"457-55-5462\"", "alter role postgres password 'hunter2secret"],
)
def test_what_is_confidential_in_a_text_is_nowhere_in_its_record(door: Gateway, text: str) -> None:
    """AT-10: neither as what a parser could not read, nor as a name that it could."""
    with RawClient.to(door, sub="typo", groups=["readers"]) as client:
        client.query(text)
        client.run(text)
    recorded = kept(door, "typo")
    for value in ("457-55-5462", "hunter2"):
        assert value.encode() not in recorded
        assert value not in door.log.read_text()


@pytest.mark.parametrize(
    "text",
    ["alter table customers alter notes type int using notes::int", "create unique index on customers (notes)",
     "create index on customers ((notes::int))", "alter table customers add made int generated always as (notes::int) stored",
     "alter table customers add constraint made unique (notes)",
     "alter table customers add check (notes::int > 0)",
     "create temp view made as select notes::int from customers; select * from made",
     "create materialized view made as select notes::int as v from customers",
     "update customers set notes = notes || notes::int", "copy (select notes::int from customers) to stdout",
     "begin; declare made cursor for select notes::int from customers where id >= 900; fetch all from made"],
)
def test_an_error_of_a_definition_quotes_nothing(door: Gateway, secret: None, text: str) -> None:
    """AT-11: what a definition does to a table's rows can fail over their values, too."""
    with RawClient.to(door, sub="definer", groups=["writers"]) as client:
        for part in text.split(";"):
            client.query(part)
        assert b"vicar" not in bytes(client.received)
    assert b"vicar" not in kept(door, "definer")


def test_a_notification_is_no_way_past_a_label(door: Gateway, direct: psycopg.Connection, secret: None) -> None:
    """AT-12: a trigger may notify with a row's values; who listens sees no more of them than a query would show."""
    with RawClient.to(door, sub="listener", groups=["readers"]) as client:
        client.query("listen changes")
        direct.execute("select pg_notify('changes', notes) from customers where id = 900")
        client.until("A", seconds=3)
        client.query("select 1")
        assert b"vicar" not in bytes(client.received)
    assert b"vicar" not in kept(door, "listener")


def test_who_may_see_leaves_no_clear_error_in_the_record(door: Gateway, secret: None) -> None:
    """AT-13: the record of an error is masked for everybody."""
    with RawClient.to(door, sub="seer", groups=["fraud", "readers"]) as client:
        reply = client.run("select notes::int from customers where id >= 900")
        assert reply.errors
    assert b"vicar" not in kept(door, "seer")


def test_a_constraint_that_is_checked_late_quotes_nothing(door: Gateway, direct: psycopg.Connection, secret: None) -> None:
    """AT-14: a deferred constraint fails at COMMIT or Sync, which touch no label themselves."""
    direct.execute("drop table if exists late; create table late (v text unique deferrable initially deferred)")
    with RawClient.to(door, sub="late", groups=["writers"]) as client:
        text = "insert into late select notes from customers where id >= 900"
        client.query("begin")
        client.query(text)
        client.query("commit")
        client.run(text)
        client.query(text)
        client.query("begin")
        client.query(text)
        client.query("set constraints all immediate")
        client.query("rollback")
        assert b"vicar" not in bytes(client.received)
    direct.execute("drop table late")


def test_tables_that_hold_passwords_show_none(door: Gateway, direct: psycopg.Connection) -> None:
    """AT-15: user mappings hold passwords of other systems."""
    direct.execute(
        "drop foreign data wrapper if exists made cascade; create foreign data wrapper made; create server made foreign data"
        " wrapper made; create user mapping for current_user server made options (password 'xyzzy-plugh')")
    with RawClient.to(door, sub="mapper", groups=["readers"]) as client:
        for name in ("pg_user_mappings", "information_schema.user_mapping_options", "information_schema._pg_user_mappings"):
            client.query(f"select * from {name}")
            client.query(f"select t::text from {name} t")
        assert b"plugh" not in bytes(client.received)
    direct.execute("drop foreign data wrapper made cascade")


def test_an_estimate_is_recorded_masked(door: Gateway, table: str) -> None:
    """AT-16: the gateway's own EXPLAIN of a held statement is recorded, too, and no less masked."""
    with RawClient.to(door, sub="estimated", groups=["agents"]) as client:
        client.send(wire.query(f"delete from {table} where v = '457-55-5462'".encode())).held()
        client.send(wire.parse(b"", f"delete from {table} where v = '457-55-5462'".encode()))
    _, found = call(door, "/api/sessions?limit=500", sub="auditor", groups=["auditors"])
    own = [row["id"] for row in found if row["identity"].startswith("doorward")]
    assert own
    for session in own:
        skip = 0
        while True:
            _, page = call(door, f"/api/sessions/{session}/records?skip={skip}", sub="auditor", groups=["auditors"])
            for record in page["records"]:
                assert b"457-55-5462" not in base64.b64decode(record["body"])
            if not page["more"]:
                break
            skip = page["next"]


@pytest.mark.parametrize("bound", ["truncate tt", "copy tt from stdin", "lock table tt", "explain analyze delete from tt"])
def test_a_bound_utility_statement_resolves_names_when_it_runs(
    door: Gateway, direct: psycopg.Connection, paths: Callable[[], int], bound: str
) -> None:
    """AT-17: Bind fixes what the names in a query stand for; in TRUNCATE, COPY and their kin they are looked up at Execute."""
    with RawClient.to(door, sub="utility", groups=["walkers"]) as client:
        client.query("set search_path = a1")
        client.query("begin")
        client.send(wire.parse(b"", bound.encode()), wire.bind(b"p", b"", (), (), ()), wire.SYNC).ready()
        client.query("set search_path = b1")
        client.send(wire.execute(b"p", 0), wire.SYNC)
        reply = client.until("Z", "G", seconds=4)
        if "copy" in bound:
            assert "G" not in reply.kinds
        locks = "select 1 from pg_locks where relation = 'b1.tt'::regclass and mode like '%Exclusive%'"
        assert direct.execute(locks).fetchone() is None
        client.query("commit", seconds=4)
        assert paths() == 1


def test_a_bound_execute_runs_what_its_name_means_then(door: Gateway, table: str, count: Callable[[], int]) -> None:
    """AT-17: the same for EXECUTE: the name is looked up when the portal runs."""
    with RawClient.to(door, sub="utility2", groups=["agents"]) as client:
        client.query("prepare s as select 1")
        client.query("begin")
        client.send(wire.parse(b"", b"execute s"), wire.bind(b"p", b"", (), (), ()), wire.SYNC).ready()
        client.query("deallocate s")
        client.query(f"prepare s as delete from {table} returning id")
        client.send(wire.execute(b"p", 0), wire.SYNC).held(seconds=3)
        client.query("commit", seconds=3)
        assert count() == 2


@pytest.mark.parametrize("sql_level", [False, True])
def test_a_plan_does_not_see_what_was_made_before_its_table(
    door: Gateway, direct: psycopg.Connection, paths: Callable[[], int], sql_level: bool
) -> None:
    """AT-18: the server goes on using what a prepared statement's names meant, when something of the name appears earlier on
    search_path; judged by the new meaning, the old would run."""
    direct.execute("alter table a1.tt rename to later")
    with RawClient.to(door, sub="planner", groups=["sandboxed"], parameters={"search_path": "a1, b1"}) as client:
        client.query("select count(*) from unheard_of_before")  # so the catalogue is read again
        if sql_level:
            client.query("prepare s as delete from tt")
        else:
            client.send(wire.parse(b"s", b"delete from tt"), wire.SYNC).ready()
        direct.execute("alter table a1.later rename to tt")
        assert client.query("select count(*) from unheard_of").sqlstate == "42P01"  # so the catalogue is read again
        if sql_level:
            client.send(wire.query(b"execute s")).held(seconds=3)
        else:
            client.send(wire.bind(b"", b"s", (), (), ()), wire.execute(b"", 0), wire.SYNC).held(seconds=3)
        assert paths() == 1


def test_what_a_session_prepares_is_bounded(door: Gateway) -> None:
    """AT-19: a session may hold many prepared statements, or long ones, not many long ones."""
    with RawClient.to(door, sub="hoarder", groups=["readers"]) as client:
        pad = b" " * 900_000
        for index in range(90):
            reply = client.send(wire.parse(b"s%d" % index, b"select 1" + pad), wire.SYNC).until("Z", "E", seconds=20)
            if reply.errors or reply.closed:
                assert 60 < index < 80
                return
        pytest.fail("nothing stopped it")


def test_a_cursor_that_died_is_not_what_a_function_opens_later(
    door: Gateway, direct: psycopg.Connection, secret: None
) -> None:
    """AT-20: a cursor ends with its transaction; a function that opens one of the same name opens another."""
    direct.execute(
        "create or replace function opens(c refcursor) returns refcursor language plpgsql as"
        " $$ begin open c for select reverse(notes) from customers where id = 900; return c; end $$")
    with RawClient.to(door, sub="cursors", groups=["callers"]) as client:
        client.query("begin")
        client.query("declare made cursor for select 'x'::text")
        client.query("rollback")
        client.query("begin")
        client.query("select opens('made')")
        client.query("fetch all from made")
        assert SECRET[::-1].encode() not in bytes(client.received)
        client.query("rollback")
    direct.execute("drop function opens(refcursor)")


def test_observing_records_no_clear_error_and_stops_nothing(
    gateway: Callable[..., Gateway], postgres: PostgresServer, tmp_path: Path
) -> None:
    """AT-21: in observe mode the client sees what it saw before, and the record is masked all the same."""
    door = gateway(target=target_of(postgres, tmp_path, labels=LABELS, mode="observe"), policy=POLICY)
    with RawClient.to(door, sub="observed", groups=["readers"]) as client:
        for reply in (client.query("select notes::int from customers"), client.run("select notes::int from customers")):
            assert "prefers e-mail" in reply.errors[0]["M"]
        assert not client.query("copy (select notes from customers) to stdout (format binary)").errors
        assert client.query("select 1").values == ["1"]
    assert b"prefers e-mail" not in kept(door, "observed")


def test_who_may_see_may_copy_in_binary(door: Gateway, secret: None) -> None:
    """AT-21: what cannot be masked for the record is left out of it, and not out of the hands of who may see it."""
    with RawClient.to(door, sub="binary", groups=["fraud", "readers"]) as client:
        assert not client.query("copy (select notes from customers) to stdout (format binary)").errors
        assert SECRET.encode() in bytes(client.received)
    assert SECRET.encode() not in kept(door, "binary")


def test_a_copy_that_cannot_be_masked_is_refused_and_the_session_lives(door: Gateway) -> None:
    """AT-22: a binary COPY of a labelled column is refused before it runs, and the connection works on."""
    with RawClient.to(door, sub="binary2", groups=["readers"]) as client:
        assert client.query("copy (select notes from customers) to stdout (format binary)").errors
        assert client.query("select 1").values == ["1"]


def test_long_values_made_to_be_looked_at_for_seconds(door: Gateway) -> None:
    """AT-25: 300 KB of what detectors take longest over is masked, in text and in binary; of a long message in which anything
    may be, nothing is shown; and the session goes on."""
    units = ("4111 1111 1111 1112 ", "bob@example.org ", "+442079460958 ", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.xx ")
    with RawClient.to(door, sub="long", groups=["readers", "callers"]) as client:
        for unit in units:
            text = f"select repeat('{unit}', {300_000 // len(unit)}) || 'carol@example.net' as x, 7"
            for reply in (client.query(text), client.run(text, results=[1])):
                assert not reply.errors
            assert client.query("select 1").values == ["1"]
        notice = client.query("do $$ begin raise notice '%', repeat('x', 9000) || ' carol@example.net'; end $$")
        assert notice.messages
        assert b"carol@example.net" not in bytes(client.received)
        assert b"bob@example.org" not in bytes(client.received)
        assert b"+442079460958" not in bytes(client.received)
    assert b"carol@example.net" not in kept(door, "long")


def test_what_was_copied_out_comes_back_masked(door: Gateway, direct: psycopg.Connection) -> None:
    """AT-26: COPY FROM of what COPY TO gave puts no labelled value into another column: what the client has is masked."""
    direct.execute("drop table if exists came_back; create table came_back (id int, notes text)")
    direct.execute("grant all on came_back to public")
    with RawClient.to(door, sub="copier", groups=["readers", "writers"]) as client:
        for form in ("", " with (format csv)"):
            out = client.query(f"copy (select id, notes from customers order by id) to stdout{form}")
            assert not out.errors
            lines = b"".join(payload for kind, payload in out.messages if kind == "d")
            assert lines.count(b"[notes]") > 0
            client.send(wire.query(f"copy came_back from stdin{form}".encode()))
            client.send(wire.message(0x64, lines), wire.message(0x63, b""))
            assert not client.ready().errors
    rows = direct.execute("select distinct notes from came_back").fetchall()
    direct.execute("drop table came_back")
    assert rows == [("[notes]",)]
