"""Section 1.2 of the catalogue (docs/bypasses.md): what a text does, told from the text, against a real server.

A refused text must not have reached the server; an allowed one must have run. Both are asked of the server itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from doorward.protocols.postgres import wire
from doorward.sql.parse import Unparsable, parse
from tests.rig.approvers import vote
from tests.rig.gateway import Gateway
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, extended

Seen = Callable[[], str]
SSN = b"603-38-1615"


def refused(client: RawClient, text: str, *states: str) -> None:
    """Both protocols refuse it, and the connection works on."""
    for reply in (client.query(text), client.run(text)):
        assert reply.errors, f"{text}: {reply.kinds} {reply.tags}"
        assert reply.sqlstate in (states or ("42501",)), f"{text}: {reply.errors}"
    assert client.query("select 41 + 1").values == ["42"]


# -- PG-40, PG-41 ----------------------------------------------------------------------------------------------------

WRITES = [
    "with gone as (delete from {t} returning *) select * from gone",
    "with a as (select 1), b as (update {t} set v = 'x' returning id) select * from a",
    "explain analyze delete from {t}",
    "explain (analyze true, costs off) delete from {t}",
    "explain (analyze on) with gone as (delete from {t} returning *) select 1",
    "copy (delete from {t} returning *) to stdout",
    "copy (with gone as (delete from {t} returning *) select * from gone) to stdout",
    "merge into {t} using (select 1 as id) s on {t}.id = s.id when matched then delete",
    "select * into {t}_copy from {t}",
    "create table {t}_copy as select * from {t}",
    "create table {t}_copy as table {t}",
    "explain analyze create table {t}_copy as select 1",
    "create materialized view {t}_mat as select 1",
    "create temp table {t}_temp as select * from {t}",
    "select id from {t} for update",
    "insert into {t} values (9) on conflict (id) do update set v = 'x'",
    "truncate {t}",
    "lock table {t} in access exclusive mode",
    "declare c cursor for select * from {t} for update",
    "prepare x as delete from {t}",
    "vacuum {t}",
    "refresh materialized view revenue",
    "comment on table {t} is 'x'",
    "grant select on {t} to public",
    "alter table {t} add column w int",
    "drop table {t}",
    "reindex table {t}",
    "cluster {t}",
    "create index on {t} (v)",
    "notify corpus, 'x'",
]


@pytest.mark.parametrize("text", WRITES)
def test_pg_40_effects_are_found_wherever_they_hide(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen, text: str
) -> None:
    """PG-40: a text is classed by what it does; who may only read cannot have it run."""
    text = text.format(t=table)
    with RawClient.to(door, groups=["readers"]) as client:
        if text.startswith("prepare"):  # harmless until executed; refusing early is fine too
            client.query(text)
            assert client.query("execute x").errors
        else:
            refused(client, text)
            assert text not in seen()
    assert direct.execute(f"select count(*), count(v) from {table}").fetchone() == (2, 2)


@pytest.mark.parametrize(
    "text", ["table customers", "values ((select max(ssn) from customers))", "select (table customers limit 1).ssn"]
)
def test_pg_40_a_read_by_another_name_is_masked_like_any(door: Gateway, text: str) -> None:
    """PG-40: TABLE and VALUES read; what they show is masked."""
    with RawClient.to(door, groups=["readers"]) as client:
        client.query(text)
        assert SSN not in client.received
        assert b"-38-" not in client.received


READS = [
    "explain delete from {t}",
    "explain (costs off, verbose) update {t} set v = 'x'",
    "explain analyze select * from {t}",
    "select 'DROP TABLE x'",
    "select 'a;delete from {t};'",
    "select 1 as delete",
    'select id as "delete from {t}" from {t}',
    "select /* outer /* delete from {t}; */ still */ 1",
    "select 1 -- ; delete from {t}",
    "select $$ delete from {t}; $$",
    "select $delete$ drop table {t} $delete$",
    "select E'it\\'s; delete from {t}'",
    "select U&'\\0064\\0065lete'",
    "with deleted as (select 1 as update) select update from deleted",
    "select v from {t} where v = 'insert into {t} values (3)'",
    "select count(*) filter (where v like 'drop%') from {t}",
    "show search_path",
    "begin",
]


@pytest.mark.parametrize("text", READS)
def test_pg_41_no_false_alarms(door: Gateway, table: str, text: str) -> None:
    """PG-41: what only looks dangerous runs for who may read, in both protocols."""
    with RawClient.to(door, groups=["readers"]) as client:
        for reply in (client.query(text.format(t=table)), client.run(text.format(t=table))):
            assert not reply.errors, reply.errors


def test_pg_41_the_body_of_a_function_is_not_what_creating_it_does(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-41: CREATE FUNCTION defines; the delete in its body happens when somebody calls it, which is another right."""
    with RawClient.to(door, groups=["writers"]) as client:
        text = f"create function f_{table}() returns void language sql as $$ delete from {table} $$"
        assert client.query(text).tags == ["CREATE FUNCTION"]
        refused(client, f"select f_{table}()")
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)


# -- PG-42, PG-43, PG-44 ---------------------------------------------------------------------------------------------

UNCLASSIFIABLE = [
    "do $$ begin delete from {t}; end $$",
    "do language plpgsql $$ begin execute 'delete from {t}'; end $$",
    "call restock(1, 5)",
    "select forget_customer(1)",
    "select order_total(1)",
    "select * from order_total(1)",
    "select 1 from {t} where order_total(id) > 0",
    "select 1 order by order_total(1)",
    "select count(*) filter (where forget_customer(id) > 0) from {t}",
    "select (select forget_customer(1))",
    "explain analyze select forget_customer(1)",
    "copy (select forget_customer(1)) to stdout",
    "values (forget_customer(1))",
    "declare c cursor with hold for select forget_customer(1)",
    "create table {t}_f as select forget_customer(1)",
    "insert into {t} select forget_customer(1)",
    "select 1 limit forget_customer(1)",
    "select * from {t} tablesample system (forget_customer(1))",
    "select public.forget_customer(wanted => 1)",
    'select "forget_customer"(1)',
    'select U&"forget\\005Fcustomer"(1)',
    "select f.* from lateral forget_customer(1) f",
    "select * from rows from (forget_customer(1), forget_customer(2))",
    "select array(select forget_customer(1))",
    "select case when true then forget_customer(1) end",
]


@pytest.mark.parametrize("group", ["readers", "writers"])
@pytest.mark.parametrize("text", UNCLASSIFIABLE)
def test_pg_42_code_that_cannot_be_seen_into_is_refused(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen, text: str, group: str
) -> None:
    """PG-42: DO, CALL, dynamic EXECUTE and functions of the database's own need `execute` or `unknown`."""
    text = text.format(t=table)
    with RawClient.to(door, groups=[group]) as client:
        refused(client, text)
    assert text not in seen()
    assert direct.execute("select count(*) from customers").fetchone() == (26,)


SIDE_EFFECTS = [
    "select nextval('orders_id_seq')",
    "select setval('orders_id_seq', 1)",
    "select lo_unlink(lo_create(0))",
    "select lo_import('/etc/passwd')",
    "select lo_from_bytea(0, 'x')",
    "select lo_export(1, '/tmp/x')",
    "select pg_read_file('/etc/passwd')",
    "select pg_read_binary_file('PG_VERSION')",
    "select pg_ls_dir('.')",
    "select * from pg_ls_waldir()",
    "select pg_stat_file('PG_VERSION')",
    "select pg_notify('corpus', 'x')",
    "select pg_reload_conf()",
    "select pg_rotate_logfile()",
    "select pg_switch_wal()",
    "select pg_create_restore_point('x')",
    "select set_config('role', 'app_md5', false)",
    "select set_config('session_replication_role', 'replica', false)",
    "select set_config('standard_conforming_strings', 'off', false)",
    "select set_config(lower('ROLE'), 'app_md5', true)",
    "select set_config(v, 'off', false) from {t}",
    "select query_to_xml('delete from {t}', true, true, '')",
    "select query_to_xml('select ssn from customers', true, true, '')",
    "select query_to_xml_and_xmlschema('select ssn from customers', true, true, '')",
    "select cursor_to_xml('c', 1, true, true, '')",
    "select table_to_xml('customers', true, true, '')",
    "select schema_to_xml('public', true, true, '')",
    "select database_to_xml(true, true, '')",
    "select ts_stat('select to_tsvector(ssn) from customers')",
    "select * from ts_stat('select to_tsvector(ssn) from customers')",
    "select ts_rewrite('a'::tsquery, 'select ssn::tsquery, ssn::tsquery from customers')",
    "select pg_terminate_backend(pid) from pg_stat_activity",
    "select pg_cancel_backend(1)",
    "select dblink_exec('x', 'y')",
    "select pg_advisory_lock(1)",
    "select pg_sleep(1000000000)",
    "select pg_export_snapshot()",
    "select pg_logical_slot_get_changes('x', null, null)",
    "select pg_create_physical_replication_slot('x')",
    "select pg_stat_reset()",
    "select pg_promote()",
    "select txid_current()",
    "select has_no_such_function(1)",
    "select pg_catalog.pg_read_file('x')",
    'select "pg_catalog"."lo_creat"(-1)',
    "select 1 from {t} where pg_read_file('/etc/passwd') is not null",
    "select xpath('/', pg_read_file('x')::xml)",
    "select (pg_stat_file('PG_VERSION')).size",
]


@pytest.mark.parametrize("text", SIDE_EFFECTS)
def test_pg_43_built_in_functions_that_act_are_refused_to_who_may_read(
    door: Gateway, table: str, seen: Seen, text: str
) -> None:
    """PG-43: a SELECT is judged by the functions it calls: what is not on the list of harmless ones is no read."""
    text = text.format(t=table)
    with RawClient.to(door, groups=["readers"]) as client:
        refused(client, text, "42501", "55P02", "42883")
    assert text not in seen()


NEVER = [
    "copy {t} to program 'cat > /tmp/x'",
    "copy {t} from program 'id'",
    "copy (select 1) to program 'id'",
    "copy {t} to '/tmp/x'",
    "copy {t} from '/etc/passwd'",
    "load 'auto_explain'",
    "create extension dblink",
    "alter extension plpgsql update",
    "create function f() returns int language c as 'libc', 'getpid'",
    "create function f() returns int language plpythonu as 'pass'",
    "alter system set log_statement = 'none'",
    "create server s foreign data wrapper postgres_fdw",
    "create foreign data wrapper w",
    "create user mapping for public server s",
    "create subscription s connection 'host=evil' publication p",
    "create publication p for all tables",
    "create role evil superuser",
    "alter role postgres password 'x'",
    "alter database shop set log_statement = 'none'",
    "create database evil",
    "drop database shop",
    "create tablespace evil location '/tmp'",
    "create event trigger e on ddl_command_start execute function f()",
    "create trusted language evil handler h",
    "checkpoint",
    "reassign owned by postgres to app_md5",
    "security label on table {t} is 'x'",
    "import foreign schema x from server s into public",
]


@pytest.mark.parametrize("group", ["readers", "agents"])
@pytest.mark.parametrize("text", NEVER)
def test_pg_44_what_reaches_out_of_the_database_needs_an_explicit_grant(
    door: Gateway, table: str, seen: Seen, text: str, group: str
) -> None:
    """PG-44: programs, files, libraries, extensions, servers, roles: never run for who may read; held or refused for
    agents, and never forwarded before somebody said yes."""
    text = text.format(t=table)
    with RawClient.to(door, groups=[group]) as client:
        client.send(wire.query(text.encode()))
        reply = client.until("E", "N", "G", seconds=5)
        assert reply.errors or reply.held or "G" in reply.kinds, reply.kinds
        if group == "readers":
            assert not reply.held
    assert text not in seen()


# -- PG-45, PG-46 ----------------------------------------------------------------------------------------------------

IDENTITY = [
    "set role app_md5",
    "set local role app_md5",
    "set session role app_md5",
    "SET ROLE 'app_md5'",
    "set role to app_md5",
    "set session authorization app_md5",
    "set local session authorization 'app_md5'",
    "set session_replication_role = replica",
    "set role = app_md5",
    "select set_config('role', 'app_md5', false)",
    "select set_config('ROLE', 'app_md5', false)",
    "select set_config('r' || 'ole', 'app_md5', false)",
    "select set_config($${}$$, 'app_md5', false)".format("role"),
    "update pg_settings set setting = 'app_md5' where name = 'role'",
    "create function f() returns int language sql set role = 'app_md5' as 'select 1'",
]


@pytest.mark.parametrize("text", IDENTITY)
def test_pg_45_who_statements_run_as_cannot_be_changed(door: Gateway, seen: Seen, text: str) -> None:
    """PG-45: SET ROLE and its kin are refused, however spelled, whatever policy says."""
    with RawClient.to(door, groups=["writers"]) as client:
        refused(client, text, "42501", "55P02")
        assert client.query("select current_user, session_user").rows == [(b"postgres", b"postgres")]
    assert text not in seen()


@pytest.mark.parametrize(
    "text",
    ["reset all", "discard all", "reset role", "set role to default", "set role none", "reset session authorization"],
)
def test_pg_45_a_return_to_the_defaults_is_a_return_to_the_gateways_own(door: Gateway, text: str) -> None:
    """PG-45: RESET ALL, DISCARD ALL: connection pools send them; they bring back what the gateway logged in with."""
    with RawClient.to(door, groups=["writers"]) as client:
        assert not client.query("set search_path = pg_catalog").errors
        reply = client.query(text)
        if text == "set role none":
            assert reply.sqlstate in ("", "55P02", "42501")
        else:
            assert not reply.errors, reply.errors
        assert client.query("show standard_conforming_strings").values == ["on"]
        assert client.query("select current_user").values == ["postgres"]
        if "all" in text:
            assert client.query("show search_path").values == ['"$user", public']
            assert client.query("select count(*) from customers").values == ["26"]


def test_pg_45_set_local_ends_with_its_transaction(door: Gateway, direct: psycopg.Connection) -> None:
    """PG-45: what SET LOCAL and a rolled back SET meant for names is over when the transaction is."""
    direct.execute("create schema if not exists pg45")
    direct.execute("create table if not exists pg45.customers (ssn text)")
    with RawClient.to(door, groups=["readers"]) as client:
        for end in ("commit", "rollback"):
            client.query("begin")
            assert not client.query("set local search_path = pg45").errors
            assert client.query("select count(*) from customers").values == ["0"]
            client.query(end)
            assert client.query("select ssn from customers where id = 1").values == ["[ssn]"]
        client.query("begin")
        client.query("set search_path = pg45")
        client.query("savepoint a")
        client.query("set search_path = public")
        client.query("rollback to a")
        assert client.query("select count(*) from customers").values == ["0"]
        client.query("rollback")
        assert client.query("select ssn from customers where id = 1").values == ["[ssn]"]


LEXING = [
    "set standard_conforming_strings = off",
    "set local standard_conforming_strings to false",
    "SET STANDARD_CONFORMING_STRINGS = 'of'",
    'set "standard_conforming_strings" = 0',
    "select set_config('standard_conforming_strings', 'off', false)",
    "set backslash_quote = on",
    "set client_encoding = 'SJIS'",
    "set names 'big5'",
    "set client_encoding to latin1",
    "create function f() returns int language sql set standard_conforming_strings = off as 'select 1'",
    "alter role postgres set standard_conforming_strings = off",
    "alter database shop set client_encoding = 'latin1'",
]


@pytest.mark.parametrize("group", ["writers", "anyone"])
@pytest.mark.parametrize("text", LEXING)
def test_pg_46_how_the_server_reads_text_cannot_be_changed(door: Gateway, seen: Seen, text: str, group: str) -> None:
    """PG-46: with standard_conforming_strings off one SELECT is a SELECT and a DROP. However it is spelled, it is
    refused, also to who may do anything."""
    with RawClient.to(door, groups=[group]) as client:
        reply = client.query(text)
        assert reply.errors, text
        assert client.query("show standard_conforming_strings").values == ["on"]
    assert text not in seen()


def test_pg_46_a_block_that_does_it_all_the_same_ends_the_session(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-46: somebody who may run DO blocks turns it off inside one: the server reports it, and the session is over
    before anything else is read by the new rules."""
    with RawClient.to(door, groups=["anyone"]) as client:
        client.send(
            wire.query(b"do $$ begin set standard_conforming_strings = off; end $$"),
            wire.query(b"select 'a\\', 'b; drop table " + table.encode() + b"; --'"),
        )
        reply = client.ready(2, seconds=5)
        assert reply.closed
        assert reply.sqlstate == "08P01"
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)


def test_pg_45_a_block_that_changes_the_role_ends_the_session(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-45: the same for the role: nothing runs under another one than it was judged for."""
    with RawClient.to(door, groups=["anyone"]) as client:
        client.send(
            wire.query(b"do $$ begin set role app_md5; end $$"),
            wire.query(f"delete from {table}".encode()),
        )
        reply = client.ready(2, seconds=5)
        assert reply.closed
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)


# -- PG-48, PG-49 ----------------------------------------------------------------------------------------------------

# Texts at the edge of the grammar. The server's own word (how many statements, or none) is asked, version by version.
EDGES = [
    "select 1\v",
    "select\v1",
    "select 1\f; select 2",
    "select\xa01",
    "select\u20281; select 2",
    "select 'a' 'b'",
    "select 'a'\n'b'; select 2",
    "select 'a' -- x\n 'b'",
    "select 'a' /* x */ 'b'",
    "select E'a\\'; select 2; --'",
    "select 'a\\'; select 2; --'",
    "select N'a'; select 2",
    "select B'1'; select 2",
    "select X'1F'; select 2",
    "select U&'d\\0061t\\+000061'; select 2",
    "select U&'d!0061t' uescape '!'; select 2",
    'select U&"d\\0061t" from (select 1 as dat) q; select 2',
    "select U&'\\D83D'",
    "select $a$; select 2; $a$",
    "select $é$; select 2; $é$",
    "select $1$; select 2; $1$",
    "select $$; select 2",
    "select a$$ from (select 1 as a$$) q; select 2",
    "select /* /* ; */ ; */ 1; select 2",
    "select /* ; select 2",
    "select 1 -- ;\r; select 2",
    "select 1 --\n; select 2",
    "select 1 /*! ; */; select 2",
    "select 1 # 2; select 2",
    "select '\u2019; select 2; --'",
    'select "a;b" from (select 1 as "a;b") q; select 2',
    "select '''; select 2; --'",
    "select '''';select 2",
    "select 1;;;; select 2",
    ";",
    "",
    "select 0x1F; select 2",
    "select 1_000; select 2",
    "select 1a; select 2",
    "select @-1; select 2",
    "select 1 +-- x\n1; select 2",
    "begin atomic select 1; end",
    "create function pg_temp.f() returns int language sql begin atomic select 1; select 2; end; select 3",
    "merge into products p using products q on p.id = q.id when not matched by source then delete",
    "select json('1'); select 2",
    "select * from json_table('[]', '$[*]' columns (a int)) t; select 2",
    "select any_value(1); select 2",
    "select 1 as user; select 2",
    "select 1 " + "*/" * 600,
    "select system_user; select 2",
    "\ufeffselect 1; select 2",
]


@pytest.mark.parametrize("target", ["shop", "shop18"])
def test_pg_48_49_the_parser_and_each_server_agree_or_the_text_is_refused(door: Gateway, target: str) -> None:
    """PG-48, PG-49: for texts at the edge of the grammar the gateway counts as many statements as the server runs, or
    refuses the text; what the server cannot parse it may forward, for then nothing runs."""
    with RawClient.to(door, target, groups=["readers"]) as client:
        wrong = []
        for text in EDGES:
            reply = client.query(text)
            if reply.closed:
                pytest.fail(f"{text!r} ended the session: {reply.errors}")
            answers = len(reply.tags) + reply.kinds.count("I")
            said = judged_statements(text)
            if not reply.errors and answers != max(said, 1):
                wrong.append((text, said, answers))
        assert wrong == []


def judged_statements(text: str) -> int:
    """How many statements the gateway's parser finds; -1: it does not take the text."""
    try:
        return len(list(parse(text, max_bytes=1 << 20, max_statements=100)))
    except Unparsable:
        return -1


# -- PG-51, PG-52 ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schemas(server: PostgresServer) -> str:
    """Schemas a1 and b1, each with a table `t51`."""
    with server.connect() as connection:
        for schema in ("a1", "b1"):
            connection.execute(f"create schema if not exists {schema}")
            connection.execute(f"create table if not exists {schema}.t51 (id int)")
            connection.execute(f"insert into {schema}.t51 values (1), (2)")
    time.sleep(0.3)
    return "t51"


def test_pg_51_a_verdict_is_bound_to_search_path(door: Gateway, server: PostgresServer, schemas: str) -> None:
    """PG-51: what was parsed under one search_path and executed under another is judged again, by where its names lead
    when it runs."""
    with RawClient.to(door, groups=["walkers"]) as client:
        assert not client.query("set search_path = a1").errors
        assert client.send(wire.parse(b"s", b"delete from t51 where id = 1"), wire.SYNC).ready().kinds == "1Z"
        bound = wire.bind(b"", b"s", (), (), ())
        assert not client.query("set search_path = b1").errors
        assert client.send(bound, wire.execute(b""), wire.SYNC).ready().sqlstate == "42501"
        # and in one pipeline, the SET in the middle
        assert not client.query("set search_path = a1").errors
        client.send(
            wire.parse(b"s2", b"delete from t51 where id = 2"),
            extended("set search_path = b1"),
            wire.bind(b"", b"s2", (), (), ()),
            wire.execute(b""),
            wire.SYNC,
        )
        assert client.ready().sqlstate == "42501"
        assert client.query("set search_path = b1; delete from t51").errors
        client.query("begin")
        client.query("set search_path = b1")
        assert client.query("delete from t51").sqlstate == "42501"
        client.query("rollback")
        client.query("select set_config('search_path', 'b1', false)")
        assert client.query("delete from t51 where id = 3 and current_schema() = 'b1'").sqlstate in ("42501", "")
    with server.connect() as connection:
        assert connection.execute("select count(*) from b1.t51").fetchone() == (2,)


def test_pg_51_an_approval_is_bound_to_search_path(door: Gateway, direct: psycopg.Connection, schemas: str) -> None:
    """PG-51: a yes to `delete from t51` under a1 is no yes to the same text under b1."""
    with RawClient.to(door, sub="pg51", groups=["agents", "movers"]) as client:
        client.query("set search_path = a1")
        client.send(wire.query(b"delete from t51 where id = 99"))
        first = client.held().held
        assert first
        client.close()
    with RawClient.to(door, sub="pg51", groups=["agents"]) as client:
        vote(door, first)
        client.query("set search_path = b1")
        client.send(wire.query(b"delete from t51 where id = 99"))
        other = client.held()
        assert other.held
        assert other.held != first
        client.close()


def test_pg_52_a_function_that_changed_after_its_approval_does_not_run(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-52: `select f()` was approved; then somebody replaced f. The approval was of what f was."""
    direct.execute(f"create or replace function swap_{table}() returns int language sql as 'select 1'")
    with RawClient.to(door, sub="pg52", groups=["agents"]) as client:
        client.send(wire.query(f"select swap_{table}()".encode()))
        request = client.held().held
        assert request
        with RawClient.to(door, sub="definer", groups=["writers"]) as definer:
            body = (
                f"create or replace function swap_{table}() returns int language sql as 'delete from {table}; select 1'"
            )
            assert not definer.query(body).errors
        vote(door, request)
        reply = client.ready()
        assert reply.errors, reply.kinds
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)


def test_pg_52_a_view_that_changed_after_its_approval_does_not_run(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-52: the same for a view that a held statement reads."""
    direct.execute(f"create view v_{table} as select id from {table} where id = 1")
    with RawClient.to(door, sub="pg52v", groups=["agents"]) as client:
        client.send(wire.query(f"delete from {table} where id in (select id from v_{table})".encode()))
        request = client.held().held
        assert request
        with RawClient.to(door, sub="definer", groups=["writers"]) as definer:
            assert not definer.query(f"create or replace view v_{table} as select id from {table}").errors
        vote(door, request)
        reply = client.ready()
        assert reply.errors, reply.kinds
    assert direct.execute(f"select count(*) from {table}").fetchone() == (2,)


# -- PG-53, PG-54 ----------------------------------------------------------------------------------------------------


def test_pg_53_the_gateways_timeout_cannot_be_lifted(door: Gateway) -> None:
    """PG-53: a target's statement_timeout ends what runs too long; no client can change it, however it tries."""
    name = "statement_timeout"
    with RawClient.to(door, "timed", groups=["anyone"]) as client:
        for text in (
            f"set {name} = 0",
            f"set local {name} = '1h'",
            f"select set_config('{name}', '0', false)",
            f'SET "{name}" TO 0',
        ):
            assert client.query(text).errors, text
        for text in ("reset all", "discard all", f"reset {name}", f"set {name} to default"):
            client.query(text)
            assert client.query(f"show {name}").values == ["1s"], text
        for text in ("select pg_sleep(1000000000)", "select count(*) from generate_series(1, 10000000000) g"):
            assert client.query(text).sqlstate == "57014"
        with RawClient.to(door, "timed", parameters={name: "0"}, groups=["anyone"]) as other:
            assert other.query(f"show {name}").values == ["1s"]


HUGE: dict[str, Callable[[], bytes]] = {
    "long": lambda: b"select '" + b"x" * (8 << 20) + b"'",
    "deep": lambda: b"select " + b"(" * 10_000 + b"1" + b")" * 10_000,
    "deeper": lambda: b"select " + b"(select " * 3_000 + b"1" + b")" * 3_000,
    "unary": lambda: b"select " + b"- " * 100_000 + b"1",
    "not": lambda: b"select " + b"not " * 100_000 + b"true",
    "list": lambda: b"select 1 where 1 in (" + b"1," * 400_000 + b"1)",
    "many": lambda: b"select 1;" * 100_000,
    "union": lambda: b"select 1" + b" union select 1" * 20_000,
    "and": lambda: b"select true" + b" and true" * 60_000,
    "concat": lambda: b"select ''" + b"||''" * 60_000,
    "casts": lambda: b"select 1" + b"::int" * 100_000,
    "case": lambda: b"select " + b"case when true then " * 3_000 + b"1" + b" end" * 3_000,
    "arrays": lambda: b"select " + b"array[" * 5_000 + b"1" + b"]" * 5_000,
    "joins": lambda: b"select 1 from customers" + b" natural join customers" * 3_000,
    "names": lambda: b"select " + b",".join(b"c%d" % n for n in range(50_000)) + b" from customers",
    "quotes": lambda: b"select " + b"'' " * 100_000,
    "dollars": lambda: b"select " + b"$a" * 200_000,
    "comments": lambda: b"/*" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_pg_54_a_monstrous_statement_delays_nobody_else(door: Gateway, name: str) -> None:
    """PG-54: length, depth, lists and numbers of statements are bounded; while one client sends a monster, another is
    answered (generous bound: this machine has other work)."""
    text = HUGE[name]()
    worst = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal worst
        with RawClient.to(door, sub="bystander", groups=["readers"]) as bystander:
            ready.set()
            while not done.is_set():
                begun = time.monotonic()
                assert bystander.query("select 1").values == ["1"]
                worst = max(worst, time.monotonic() - begun)

    ready = threading.Event()
    with RawClient.to(door, groups=["readers"]) as client:
        watcher = threading.Thread(target=watch)
        watcher.start()
        assert ready.wait(10)
        try:
            begun = time.monotonic()
            reply = client.query(text, seconds=30)
            assert not reply.silent
            assert time.monotonic() - begun < 20
        finally:
            done.set()
            watcher.join(20)
        if not reply.closed:
            assert client.query("select 41 + 1").values == ["42"]
    assert worst < 1.5, f"a bystander waited {worst:.2f} s"
