"""Ways around that were found while this corpus was written, and closed. IDs DW-nn in docs/bypasses.md."""

from __future__ import annotations

import re

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient, extended


def test_dw_01_a_new_definition_is_read_before_anything_is_judged_by_the_old_one(
    door: Gateway, direct: psycopg.Connection
) -> None:
    """DW-01: a view that is replaced right after the catalogue was read is not judged by what it was."""
    direct.execute("drop view if exists dw01")
    with RawClient.to(door, groups=["anyone"]) as client:
        assert not client.query("create view dw01 as select 'x'::text as a from customers").errors
        assert client.query("select a from dw01 limit 1").values == ["x"]
        assert client.query("select * from dw01_nobody").sqlstate == "42P01"  # makes the gateway look just now
        assert not client.query("create or replace view dw01 as select ssn || '' as a from customers").errors
        assert client.query("select a from dw01 limit 1").values == ["[ssn]"]
        assert b"-38-" not in client.received


def test_dw_02_rows_that_a_rule_adds_are_masked(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """DW-02: in the simple protocol a rule's SELECT answers an INSERT with rows of its own, which no text announced."""
    direct.execute(
        f"create rule peek as on insert to {table} do also select '' || ssn as a, reverse(ssn) as b from customers"
    )
    with RawClient.to(door, groups=["writers"]) as client:
        for text in (f"insert into {table} values (5, 'x')", f"insert into {table} values (6, 'x') returning id"):
            reply = client.query(text)
            assert reply.status == "I"
        assert b"-38-" not in client.received
        assert b"-83-" not in client.received


@pytest.mark.parametrize(
    "way",
    [
        [wire.query(b"begin"), wire.query(b"select dw04.there()"), wire.query(b"commit")],
        [wire.query(b"begin"), wire.query(b"select dw04.there()"), wire.query(b"rollback")],
        [wire.query(b"select dw04.there()")],
        [extended("select dw04.there()") + wire.SYNC],
        [wire.query(b"begin; select dw04.there(); end")],
    ],
    ids=["commit", "rollback", "implicit", "sync", "one text"],
)
def test_dw_04_what_a_function_set_for_its_transaction_goes_back_with_it(
    door: Gateway, direct: psycopg.Connection, way: list[bytes]
) -> None:
    """DW-04: a search_path that a function set until the end of its transaction is not taken for the one that holds later."""
    direct.execute(
        "drop schema if exists dw04 cascade; create schema dw04; create table dw04.customers (ssn text);"
        "create function dw04.there() returns text language sql as $$ select set_config('search_path', 'dw04', true) $$"
    )
    try:
        with RawClient.to(door, groups=["anyone"]) as client:
            for message in way:
                client.send(message)
                assert not client.ready().errors
            assert set(client.query("select reverse(ssn) from customers").values) == {"[ssn]"}
            assert b"-83-" not in client.received
    finally:
        direct.execute("drop schema dw04 cascade")


PREPARED = (
    "create schema dw05",
    "create table dw05.customers (ssn text)",
    "insert into dw05.customers values ('x')",
    "create function dw05.back() returns text language sql as $$ select set_config('search_path', 'public', false) $$",
    "set search_path = dw05",
)
HIDDEN = {
    "view": "create view dw05.v as select dw05.back() as x; select * from dw05.v",
    "view of a view": "create view dw05.v as select dw05.back() as x; create view dw05.w as select * from dw05.v; table dw05.w",
    "view of a built-in": "create view dw05.v as select set_config('search_path', 'public', false); table dw05.v",
    "default": "create table dw05.t (a int, b text default dw05.back()); insert into dw05.t (a) values (1)",
    "check": "create table dw05.t (a int check (dw05.back() > '')); insert into dw05.t values (1)",
    "rule": "create table dw05.t (a int); create rule r as on insert to dw05.t do also select dw05.back();"
    " insert into dw05.t values (1)",
    "trigger": "create table dw05.t (a int); create function dw05.f() returns trigger language plpgsql as"
    " $$ begin perform dw05.back(); return new; end $$; create trigger r before insert on dw05.t for each row"
    " execute function dw05.f(); insert into dw05.t values (1)",
    "deferred trigger": "create table dw05.t (a int); create function dw05.f() returns trigger language plpgsql as"
    " $$ begin perform dw05.back(); return new; end $$; create constraint trigger r after insert on dw05.t deferrable"
    " initially deferred for each row execute function dw05.f(); begin; insert into dw05.t values (1); commit",
    "cursor": "create view dw05.v as select dw05.back() as x; begin; declare c cursor for select * from dw05.v; fetch c",
    "domain": "create domain dw05.d as text check (dw05.back() > ''); select 'x'::dw05.d from dw05.customers",
    "dynamic": "create function dw05.f() returns text language plpgsql as $$ begin execute 'set sea' || 'rch_path = public';"
    " return 1; end $$; create view dw05.v as select dw05.f() as x; table dw05.v",
}


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "one text"])
@pytest.mark.parametrize("way", HIDDEN)
def test_dw_05_code_that_nobody_called_by_name_cannot_change_what_names_mean(
    door: Gateway, direct: psycopg.Connection, way: str, at_once: bool
) -> None:
    """DW-05: search_path changed by what a view, default, check, rule, trigger or domain runs is noticed before more is
    judged; in one text, what follows and rests on it is refused."""
    direct.execute("drop schema if exists dw05 cascade")
    with RawClient.to(door, groups=["anyone"]) as client:
        for text in PREPARED:
            assert not client.query(text).errors
        *steps, last = [step.strip() for step in re.split(r"; (?!return|end)", HIDDEN[way])]
        for text in steps:
            assert not client.query(text).errors
        if at_once:
            client.query(f"{last}; select reverse(ssn) from customers")
        else:
            assert not client.query(last).errors
            assert set(client.query("select reverse(ssn) from customers").values) == {"[ssn]"}
        assert b"-83-" not in client.received
        client.query("rollback")
        assert not client.query("drop schema dw05 cascade").errors


@pytest.mark.parametrize("way", HIDDEN)
def test_dw_06_nor_can_what_the_open_transaction_defined(door: Gateway, direct: psycopg.Connection, way: str) -> None:
    """DW-06: the same, with everything defined in the transaction that uses it, where the catalogue cannot be asked. What
    would run beside statements (rules, triggers) cannot be given to a table that nobody knows yet."""
    direct.execute("drop schema if exists dw05 cascade")
    with RawClient.to(door, groups=["anyone"]) as client:
        for text in (
            "begin",
            *PREPARED,
            *(step.strip() for step in re.split(r"; (?!return|end)", HIDDEN[way]) if step.strip() != "begin"),
        ):
            answer = client.query(text)
            if answer.errors:
                assert (answer.sqlstate, way in ("rule", "trigger", "deferred trigger")) == ("42501", True)
                break
        client.query("select reverse(ssn) from customers")
        assert b"-83-" not in client.received


@pytest.mark.parametrize("begun", [False, True], ids=["by itself", "in a transaction"])
@pytest.mark.parametrize("synced", [False, True], ids=["one batch", "two"])
@pytest.mark.parametrize("how", ["bind", "part"])
def test_dw_07_what_was_only_planned_or_begun_may_have_run_too(
    door: Gateway, direct: psycopg.Connection, how: str, synced: bool, begun: bool
) -> None:
    """DW-07: a function that is called while its statement is planned, or for the first row of many, is noticed as well."""
    direct.execute(
        "drop schema if exists dw07 cascade; create schema dw07; create table dw07.customers (ssn text);"
        "create function dw07.back() returns text immutable language plpgsql as"
        " $$ begin return set_config('search_path', 'public', false); end $$"
    )
    text = {"bind": b"select dw07.back()", "part": b"select dw07.back() from generate_series(1, 3)"}[how]
    try:
        with RawClient.to(door, groups=["anyone"]) as client:
            assert not client.query("set search_path = dw07").errors
            assert not client.query("select ssn from customers").errors
            if begun:
                assert not client.query("begin").errors
            messages = wire.parse(b"", text) + wire.bind(b"", b"", (), (), ())
            messages += wire.execute(b"", 1) if how == "part" else b""
            client.send(
                messages + (wire.SYNC if synced else b"") + extended("select reverse(ssn) from customers") + wire.SYNC
            )
            for _ in range(1 + synced):
                assert not client.ready().errors
            if begun:
                client.query("select reverse(ssn) from customers")
            assert b"-83-" not in client.received
    finally:
        direct.execute("drop schema dw07 cascade")


@pytest.mark.parametrize("named", [True, False])
def test_dw_10_planning_runs_nothing_that_needs_approval(door: Gateway, direct: psycopg.Connection, named: bool) -> None:
    """DW-10: a statement that needs approval is bound and not executed: what planning it would run, a function in its text
    or behind a default, does not run."""
    direct.execute(
        "drop schema if exists dw10 cascade; create schema dw10; create sequence dw10.ran; create function dw10.f() returns int"
        " immutable language plpgsql as $$ begin return nextval('dw10.ran'); end $$;"
        "create table dw10.t (a int, b int default dw10.f())"
    )
    text = b"insert into dw10.t values (1, dw10.f())" if named else b"insert into dw10.t (a) values (1)"
    try:
        with RawClient.to(door, groups=["agents"]) as client:
            reply = client.send(wire.parse(b"", text) + wire.bind(b"", b"", (), (), ()) + wire.SYNC).ready()
            assert (reply.sqlstate, reply.status) == ("57014", "I")
        assert direct.execute("select is_called from dw10.ran").fetchone() == (False,)
    finally:
        direct.execute("drop schema dw10 cascade")


UNNAMED = {
    "aggregate": (
        "create aggregate dw09.agg(text, boolean) (sfunc = pg_catalog.set_config, stype = text, initcond = 'search_path')",
        "create table dw09.t (q text, b boolean)",
        "insert into dw09.t values ('public', false)",
        "create view dw09.v as select dw09.agg(q, b) as x from dw09.t",
    ),
    "text in a DO": (
        "create function dw09.f() returns int language plpgsql as $$ begin"
        " do E'begin perform set\\x5fconfig(\\'search\\x5fpath\\', \\'public\\', false); end'; return 1; end $$",
        "create view dw09.v as select dw09.f() as x",
    ),
}


@pytest.mark.parametrize("way", UNNAMED)
def test_dw_09_a_setter_may_be_part_of_something_else_or_spelt_otherwise(
    door: Gateway, direct: psycopg.Connection, way: str
) -> None:
    """DW-09: an aggregate over set_config, and a DO whose text is escaped, change search_path behind a view: noticed."""
    direct.execute("drop schema if exists dw09 cascade")
    with RawClient.to(door, groups=["anyone"]) as client:
        for text in (
            "create schema dw09",
            "create table dw09.customers (ssn text)",
            "insert into dw09.customers values ('x')",
            *UNNAMED[way],
            "set search_path = dw09",
        ):
            assert not client.query(text).errors
        assert not client.query("table dw09.v").errors
        assert set(client.query("select reverse(ssn) from customers").values) == {"[ssn]"}
        assert b"-83-" not in client.received
        assert not client.query("drop schema dw09 cascade").errors
