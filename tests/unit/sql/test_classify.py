"""What statements do, and what they touch."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.model import Effect, Resource
from doorward.sql.catalogue import Catalogue
from doorward.sql.classify import Classification, Facts, classify
from doorward.sql.parse import Unparsable, parse
from tests.unit.sql.conftest import LABELS

EFFECTS = {
    Effect.READ: [
        "select 1",
        "table customers",
        "values (1), (2)",
        "explain delete from customers",
        "explain (analyze off) delete from orders",
        "select 'DROP TABLE x'",
        "select 1 as delete",
        "select has_table_privilege('orders', 'DELETE') as delete",
        "select 1 -- ; drop table customers",
        "select /* delete /* from */ orders */ 1",
        "show work_mem",
        "show all",
        "begin",
        "commit",
        "rollback",
        "savepoint a",
        "start transaction isolation level serializable read only",
        "reset all",
        "discard all",
        "discard plans",
        "reset role",
        "set application_name = 'x'",
        "set search_path to public, sales",
        "set time zone 'UTC'",
        "set local statement_timeout = 0",
        "set standard_conforming_strings = on",
        "set names 'UTF8'",
        "set client_encoding to unicode",
        "listen c",
        "unlisten *",
        "close all",
        "deallocate all",
        "prepare p as delete from customers",
        "declare c cursor for select * from orders",
        "copy orders to stdout csv header",
        "copy (select 1) to stdout",
        "lock table orders in access share mode",
        "select currval('seq1')",
        "select count(*) from sales.customers",
        "select pg_catalog.set_config('search_path', '', false)",
        "select set_config('jit', $1, false)",
        "select * from generate_series(1, 3) g",
        "select now(), random(), version()",
        "select * from pg_catalog.pg_class",
        "select * from information_schema.tables",
        "set constraints all deferred",
        "",
        "select set_config(name, 'view, foreign-table', false) from pg_settings where name = "
        "'restrict_nonsystem_relation_kind'",
        "select id from customers where name operator(pg_catalog.~) '^a'",
        "select (array[1,2])[1], row(1, 2), '{}'::jsonb -> 'a'",
    ],
    Effect.WRITE: [
        "insert into orders (note) values ('x')",
        "update orders set note = 'x'",
        "delete from orders",
        "truncate orders",
        "merge into orders o using customers c on c.id = o.customer_id when matched then delete",
        "with d as (delete from orders returning *) select * from d",
        "explain analyze delete from orders",
        "explain (analyze, verbose) update orders set note = ''",
        "copy (delete from orders returning *) to stdout",
        "copy orders from stdin",
        "select * from orders for update",
        "select * from orders for key share",
        "select 1 from (select * from orders) o for share",
        "select nextval('seq1')",
        "select setval('seq1', 5)",
        "notify c, 'x'",
        "lock orders",
        "vacuum orders",
        "analyze",
        "refresh materialized view mv",
        "create temp table t (a int)",
        "select 1 into temp t",
        "with a as (with b as (insert into orders (note) values ('x') returning 1) select * from b) select 1",
        "prepare p as delete from orders; execute p",
        "declare c cursor for select * from orders for update",
    ],
    Effect.DEFINE: [
        "create table t (a int)",
        "create table t as select 1",
        "select 1 into t",
        "drop table orders",
        "alter table orders add a int",
        "create view w as select * from customers",
        "create index on orders (note)",
        "create function f() returns int language sql as 'delete from orders'",
        "drop function f1(int)",
        "create schema s",
        "drop schema sales cascade",
        "comment on table orders is ''",
        "create trigger t before insert on orders for each row execute function "
        "pg_catalog.suppress_redundant_updates_trigger()",
        "alter table orders rename to o2",
        "create type x as enum ('a')",
        "vacuum full orders",
        "reindex table orders",
        "create materialized view m2 as select 1",
        "explain analyze create table t as select 1",
        "drop index customers_lower_idx",
        "create rule r as on insert to orders do instead nothing",
        "alter sequence seq1 restart",
    ],
    Effect.EXECUTE: [
        "select f1(1)",
        "select public.f1(1)",
        "call proc1()",
        "select pg_sleep(1)",
        "select pg_read_file('/etc/passwd')",
        "select lo_unlink(lo_create(0))",
        "select lo_import('/etc/passwd')",
        "select pg_notify('a', 'b')",
        "select pg_reload_conf()",
        "select query_to_xml('select 1', true, true, '')",
        "select pg_terminate_backend(1)",
        "select dblink.dblink_exec('', '')",
        "select table_to_xml('customers', true, true, '')",
        "select pg_advisory_lock(1)",
        "select * from rows1()",
        "select lower(m) from customers",
        "select txid_current()",
        "select ts_stat('select 1')",
        "select id from orders order by f1(id::int)",
        "select 1 where exists (select f1(1))",
        "select (1).f1",
        "select o.pg_sleep from orders o",
        "select pg_ls_dir('.')",
        "select schema_to_xml('public', true, true, '')",
        "insert into orders (note) values (f1(1)::text)",
        "explain select * from orders where id = f1(1)",
        "select pg_stat_file('x')",
        "select pg_advisory_xact_lock(1)",
    ],
    Effect.CONTROL: [
        "grant select on orders to public",
        "delete from pg_proc",
        "insert into pg_catalog.pg_authid select * from pg_authid",
        "create or replace function pg_catalog.upper(text) returns text language sql as ''",
        "create or replace function information_schema._pg_truetypid(int) returns text language sql as ''",
        "revoke all on orders from public",
        "alter system set work_mem = '1GB'",
        "create role r",
        "alter role postgres password 'x'",
        "copy orders to program 'sh'",
        "copy orders from '/etc/passwd'",
        "load 'x'",
        "create extension dblink",
        "create server s foreign data wrapper w",
        "create subscription s connection '' publication p",
        "create function f() returns int language c as 'x'",
        "set work_mem = '100GB'",
        "set app.tenant = 'x'",
        "alter table orders owner to x",
        "alter table orders disable row level security",
        "alter table orders disable trigger all",
        "drop policy p1 on customers",
        "create policy p2 on orders using (true)",
        "alter database shop set work_mem = '1'",
        "checkpoint",
        "prepare transaction 'x'",
        "drop owned by x",
        "create cast (text as int) with function f1(int)",
        "select * from pg_authid",
        "set client_min_messages = debug5",
        "create operator public.= (leftarg = text, rightarg = text, function = texteq)",
    ],
    Effect.UNKNOWN: [
        "do $$ begin end $$",
        "execute nobody",
        "fetch nobody",
        "select * from nowhere",
        "select nofunction(1)",
        "select from where",
        "select 1; select from where",
        "select set_config($1, 'x', false)",
        "select set_config('jit', 'o' || 'n', false)",
        "select 1 operator(public.===) 2",
        "create schema s create table t (a int)",
        "select 1\0; drop table orders",
        "set search_path = sales; select * from customers",
        "select set_config('search_path', 'sales', false); delete from customers",
        "select * from pg_temp_3.t",
        "select set_config(name, 'x', false) from pg_settings where name = 'a' or true",
        "select set_config('role'::char(4), 'x', false)",
        "select \ud800",
    ],
}
FORBIDDEN = [
    "set role x",
    "set local role x",
    "set session role 'x'",
    'SET "Role" = x',
    "set role none",
    "set session authorization x",
    "set session_authorization to 'x'",
    "set session_replication_role = replica",
    "set standard_conforming_strings = off",
    "set standard_conforming_strings to 'OFF'",
    "set client_encoding = latin1",
    "set names 'SQL_ASCII'",
    "set backslash_quote = on",
    "select set_config('role', 'x', false)",
    "select pg_catalog.set_config(E'r\\x6fle', 'x', false)",
    "select set_config('session_replication_role', 'replica', true)",
    "select set_config('standard_conforming_strings', 'off', false)",
    "alter role postgres set role = x",
    "alter database shop set session_replication_role = replica",
    "alter system set standard_conforming_strings = off",
    "create function f() returns int language sql set role = x as 'select 1'",
    "alter function f1(int) set session_replication_role = 'replica'",
    "begin; set role x; commit",
    "set role from current",
    "prepare p as select set_config('role', 'x', false)",
    "declare c cursor for select set_config('role', 'x', false)",
    "select * from orders where set_config('role', 'x', false) = ''",
    'set u&"r\\006fle" = x',
]


@pytest.mark.parametrize(("effect", "text"), [(effect, text) for effect, texts in EFFECTS.items() for text in texts])
def test_effect(effect: Effect, text: str, facts: Facts) -> None:
    """A statement's effect is what happens, not what words it uses."""
    told = classify(text, facts)
    assert told.effect is effect, (told.reason, told.resources)
    assert bool(told.reason) is (effect is Effect.UNKNOWN)
    assert told.resources
    assert told.forbidden == ""


@pytest.mark.parametrize("text", FORBIDDEN)
def test_identity_and_lexing_settings_are_never_changed(text: str, facts: Facts) -> None:
    """However it is spelt, a change of who runs or of how text is read is refused by law."""
    assert classify(text, facts).forbidden


def _touched(text: str, facts: Facts) -> set[tuple[str, str, str]]:
    return {(resource.kind, resource.name, resource.access.value) for resource in classify(text, facts).resources}


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("select 1", {("Target", "", "read")}),
        (
            "select * from customers, sales.customers s",
            {("Table", "public.customers", "read"), ("Table", "sales.customers", "read")},
        ),
        ("select * from v", {("Table", "public.v", "read")}),
        ("select relname from pg_class", {("Table", "pg_catalog.pg_class", "read")}),
        ("with orders as (select 1) select * from orders", {("Target", "", "read")}),
        (
            "with recursive a as (select 1 union all select * from b), b as (select id from orders) select * from a",
            {("Table", "public.orders", "read")},
        ),
        (
            "insert into orders (note) select ssn from customers",
            {("Table", "public.orders", "write"), ("Table", "public.customers", "read")},
        ),
        (
            "select nextval('public.seq1')",
            {("Function", "pg_catalog.nextval", "write"), ("Table", "public.seq1", "write")},
        ),
        ("set work_mem = 1", {("Setting", "work_mem", "control")}),
        (
            "create table sales.t (a int references public.orders (id))",
            {("Table", "sales.t", "define"), ("Table", "public.orders", "read")},
        ),
        (
            "select * from customers c join orders o on o.customer_id = c.id for update of o",
            {("Table", "public.customers", "read"), ("Table", "public.orders", "write")},
        ),
        ("select lower('x')", {("Function", "public.lower", "execute")}),
        ("select pg_catalog.lower('x')", {("Target", "", "read")}),
        ('create table "a.b"."say ""x""" ()', {("Table", '"a.b"."say ""x"""', "define")}),
        ('create schema "a.b"', {("Schema", '"a.b"', "define")}),
    ],
)
def test_resources(text: str, resources: set[tuple[str, str, str]], facts: Facts) -> None:
    """Every relation, function and setting is named in full, with what is done to it."""
    assert _touched(text, facts) == resources


def test_search_path_decides_what_a_name_means(facts: Facts) -> None:
    """The same text under another search_path touches another table."""
    other = Facts(facts.catalogue, ("pg_catalog", "sales", "public"), LABELS)
    assert classify("delete from customers", other).resources == (Resource("Table", "sales.customers", Effect.WRITE),)


def test_unknown_relation_is_a_miss(facts: Facts) -> None:
    """A relation that the catalogue does not have is told to the caller, who may look again."""
    told = classify("select * from sales.new_one", facts)
    assert (told.effect, told.misses) == (Effect.UNKNOWN, ("sales.new_one",))


def test_what_a_text_creates_it_can_use(facts: Facts) -> None:
    """A relation created earlier in the same text is no miss, and its columns are unknown."""
    told = classify("create temp table x as select ssn from customers; select * from x", facts)
    assert told.misses == ()
    assert told.statements[1].outputs is None
    assert "ssn" in told.statements[1].labels
    assert told.statements[0].stored == {"ssn"}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("begin", "transaction", "begin"),
        ("rollback to a", "transaction", "rollback_to"),
        ("release a", "transaction", "release"),
        ("prepare p as select 1", "prepares", "p"),
        ("execute p", "executes", "p"),
        ("deallocate p", "deallocates", "p"),
        ("deallocate all", "deallocates", ""),
        ("declare c cursor for select 1", "declares", "c"),
        ("fetch 1 from c", "fetches", "c"),
        ("close all", "closes", ""),
        ("set x.y = 1", "setting", "x.y"),
        ("explain select 1", "explain", True),
        ("explain analyze select 1", "analyze", True),
        ("delete from orders", "plain", True),
        ("select f1(1)", "plain", False),
        ("delete from orders", "returns_rows", False),
        ("delete from orders returning 1", "returns_rows", True),
        ("set local search_path = a", "local", True),
        ("set search_path = a", "changes_session", True),
        ("select set_config('search_path', 'a', false)", "changes_session", True),
        ("select 1", "changes_session", False),
    ],
)
def test_statement_fields(text: str, field: str, value: object, facts: Facts) -> None:
    """What a caller must keep track of is a field of its own."""
    assert getattr(classify(text, facts).statements[0], field) == value


def test_copy_says_how_its_data_look(facts: Facts) -> None:
    """COPY's format is told, so that its data can be masked."""
    copy = (
        classify(
            "copy orders (note) to stdout with (format csv, delimiter ';', header, quote '''', encoding 'UTF8')", facts
        )
        .statements[0]
        .copy
    )
    assert copy is not None
    assert (copy.direction, copy.format, copy.delimiter, copy.header, copy.quote, copy.encoding) == (
        "out",
        "csv",
        ";",
        True,
        "'",
        "UTF8",
    )


HOSTILE = {
    "10k parentheses": "select " + "(" * 10_000 + "1" + ")" * 10_000,
    "500k operators": "select 1" + "+1" * 500_000,
    "200k casts": "select 1" + "::int" * 200_000,
    "a million numbers": "select 1 where 1 in (" + ",".join(["1"] * 1_000_000) + ")",
    "100k statements": "select 1;" * 100_000,
    "50k joins": "select 1 from orders" + " join orders on true" * 50_000,
    "2000 sub-selects": "select " + "(select " * 2000 + "1" + ")" * 2000,
    "9000 nots": "select " + "not " * 9000 + "true",
    "collations": "select a" + " collate x" * 90_000,
    "recursion in recursion": "with recursive a as (" * 25
    + "select 1 union select ssn::int from customers"
    + ") select * from a" * 25,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_are_refused(text: str, facts: Facts) -> None:
    """Deep or large texts are UNKNOWN; without the bound on nesting several of these end the process."""
    assert classify(text, facts).effect is Effect.UNKNOWN


def test_columns_do_not_explode(facts: Facts) -> None:
    """`*` over itself thirty times would have 2^30 columns; they are unknown instead, and the labels are kept."""
    ctes = ", ".join(
        ["a0 as (select * from customers)"] + [f"a{i} as (select * from a{i - 1} x, a{i - 1} y)" for i in range(1, 30)]
    )
    told = classify(f"with {ctes} select * from a29", facts)
    assert told.statements[0].outputs is None
    assert told.labels >= {"ssn"}


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "select",
                "(",
                ")",
                "from",
                "customers",
                "with",
                "a",
                "as",
                ",",
                "*",
                "union",
                "1",
                "'x'",
                ";",
                "set",
                "role",
                "=",
                "delete",
                ".",
            ]
        ),
        max_size=14,
    ).map(" ".join)
)
def test_total(text: str) -> None:
    """No text makes it raise; an unparsable one is UNKNOWN."""
    told = classify(text, Facts(Catalogue()))
    assert isinstance(told, Classification)
    try:
        parse(text)
    except Unparsable:
        assert told.effect is Effect.UNKNOWN


TRICKY = [
    "select 'a\\'; select 2",
    "select E'a\\'b'; select 2",
    "select U&'\\0061'; select 2",
    "select U&'!0061' uescape '!'",
    "select $$;$$; select 2",
    "select $é$;$é$",
    "select $a$ $b$ ; $a$",
    "select 'a'\n'b'; select 1",
    "select 'a' 'b'",
    "select 1 /* /* ; */ ; */; select 2",
    "select 1 --\r; select 2",
    "select 1 -- x\n; select 2",
    "select\x0b1",
    "select\x0c1; select 2",
    "select\u20281",
    "select 1;;; select 2;",
    'select "a;b" from (select 1 as "a;b") x',
    'select 1 as "x""y"; select 2',
    "select '\u00a0;'",
    "select\u00a01",
    "select e'\\\\'; select 2",
    "select b'01'; select x'ff'",
    "select n'a;'; select 2",
    "select 'a' -- c\n 'b'; select 2",
    "select $1$;",
    "select 1_000; select 2",
    "select 0x1f; select 2",
    "select 'x;",
    "select /* 1",
    "select :a",
    "select '\\'; select '",
    "select 1 where 'a' like 'b' escape '\\'; select 2",
    "begin; select 1; commit",
    "select 1\x00; select 2",
]


def _count(connection: psycopg.Connection, text: str) -> int | None:
    """How many statements the server saw in one simple query; None if it refused."""
    result = connection.pgconn.exec_(text.encode())
    if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        connection.pgconn.exec_(b"rollback")
        return None
    connection.pgconn.send_query(text.encode())
    count = 0
    while (each := connection.pgconn.get_result()) is not None:
        count += each.status != psycopg.pq.ExecStatus.EMPTY_QUERY
    connection.pgconn.exec_(b"rollback")
    return count


@pytest.mark.parametrize("text", TRICKY)
@pytest.mark.parametrize("server", ["shop15", "shop18"])
def test_statements_counted_as_the_server_does(text: str, server: str, request: pytest.FixtureRequest) -> None:
    """The parser and the server see the same number of statements, or one of them refuses the text."""
    connection: psycopg.Connection = request.getfixturevalue(server)
    try:
        ours = len(parse(text))
    except Unparsable:
        return
    theirs = _count(connection, text)
    assert theirs is None or ours == theirs


def test_a_users_operator_is_a_users_function(facts: Facts) -> None:
    """An operator on search_path, written or implied, is judged by the function behind it."""
    built = Catalogue(
        facts.catalogue.relations,
        operators={sign: frozenset({("public", "public", "evil")}) for sign in ("=", ">=", "%")},
    )
    evil = Resource("Function", "public.evil", Effect.EXECUTE)
    for text in (
        "select 1 = 2",
        "select 1 % 2",
        "select 1 between 0 and 2",
        "select case 1 when 2 then 3 end",
        "select 1 in (select 2)",
        "select 1 from customers join orders using (id)",
        'select 1 operator("=".=) 2',
    ):
        told = classify(text, Facts(built))
        assert evil in told.resources or told.effect is Effect.UNKNOWN, text
    assert classify("select 1 operator(pg_catalog.=) 2", Facts(built)).effect is Effect.READ


def test_attaching_a_partition_defines_both(facts: Facts) -> None:
    """The table that becomes a partition changes too."""
    touched = _touched("alter table part attach partition orders for values in (2)", facts)
    assert touched == {("Table", "public.part", "define"), ("Table", "public.orders", "define")}


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("select * from orders where id = 5 and note = 'x'", False),
        ("select ssn from customers order by 1", True),
        ("select ssn from customers order by ssn limit 3", False),
        ("select name, count(*) from customers group by 1", True),
        ("set standard_conforming_strings = 1", True),
        ("select set_config('jit', 'off', false)", True),
        ("select nextval('seq1')", True),
        ("update orders set note = 'x' where id = 3", False),
    ],
)
def test_whether_a_constant_mattered(text: str, fixed: bool, facts: Facts) -> None:
    """A classification says whether it holds for the same text with other constants."""
    assert classify(text, facts).fixed is fixed
