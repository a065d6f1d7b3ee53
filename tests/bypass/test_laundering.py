"""Getting a labelled value into a place without its label, and reading it there. MK-10, MK-11 and MK-26 in docs/bypasses.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from doorward.protocols.postgres.conversation import LARGE
from tests.bypass.conftest import LABELS, POLICY
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient, Reply

COPIES = {
    "create table as": ["create table mk10.{t} as select id, ssn as a from customers", "select a from mk10.{t}"],
    "select into": ["select id, ssn || '' as a into mk10.{t} from customers", "select a from mk10.{t}"],
    "insert select": ["create table mk10.{t} (id int, a text)", "insert into mk10.{t} select id, ssn from customers",
                      "select a from mk10.{t}"],
    "values": ["create table mk10.{t} (a text)", "insert into mk10.{t} values ((select max(ssn) from customers))",
               "select reverse(a) from mk10.{t}"],
    "update": ["create table mk10.{t} (a text)", "insert into mk10.{t} values ('x')",
               "update mk10.{t} set a = (select max(ssn) from customers)", "select a || '' from mk10.{t}"],
    "merge": ["create table mk10.{t} (id int, a text)",
              "merge into mk10.{t} t using customers c on t.id = c.id when not matched then insert values (c.id, c.ssn)",
              "select a from mk10.{t}"],
    "materialized view": ["create materialized view mk10.{t} as select ssn as a from customers", "select a from mk10.{t}"],
    "cte": ["create table mk10.{t} (a text)", "with x as (insert into mk10.{t} select ssn from customers returning 1) table x",
            "select a from mk10.{t}"],
    "two steps": ["create table mk10.{t} as select ssn as b from customers",
                  "create table mk10.{t}2 as select b as a from mk10.{t}", "select a from mk10.{t}2"],
}
REFUSED = {
    "sequence": "select setval('mk10.s', ascii(ssn)) from customers",
    "large object": "select lo_from_bytea(0, convert_to(ssn, 'UTF8')) from customers",
    "notification": "select pg_notify('c', ssn) from customers",
    "advisory lock": "select pg_advisory_lock(ascii(ssn)) from customers",
    "file": "copy (select ssn from customers) to '/tmp/mk10'",
    "program": "copy customers (ssn) to program 'cat'",
    "setting": "select set_config('application_name', ssn, false) from customers",
    "rule": "create rule r as on update to customers do also insert into mk10.plain values (new.ssn)",
    "trigger": "create trigger r after insert on customers for each row execute function mk10.f()",
    "triggers that are there": "insert into mk10.fires select ssn from customers",
    "view": "insert into mk10.seen (v) select ssn from customers",
}
LEAK = (b"-38-", b"-83-")


@pytest.fixture(scope="module", autouse=True)
def schema(door: Gateway, server: object) -> Iterator[None]:
    with server.connect() as direct:  # type: ignore[attr-defined]
        direct.execute(
            "drop schema if exists mk10 cascade; create schema mk10; create sequence mk10.s; create table mk10.plain (v text);"
            "create table mk10.fires (v text); create view mk10.seen as select v from mk10.plain;"
            "create function mk10.f() returns trigger language plpgsql as $$ begin return new; end $$;"
            "create trigger f before insert on mk10.fires for each row execute function mk10.f();"
            "create table mk10.whole (id int, ssn text) partition by list (id);"
            "create table mk10.part1 partition of mk10.whole for values in (1)"
        )
        yield
        direct.execute("drop schema mk10 cascade")


def ask(client: RawClient, text: str, way: str) -> Reply:
    return client.query(text) if way == "simple" else client.run(text)


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_10_a_label_follows_its_data(door: Gateway, way: str) -> None:
    """MK-10: what labelled data is copied into is masked for everybody, in this session and in another."""
    with RawClient.to(door, groups=["writers"]) as client, RawClient.to(door, groups=["readers"]) as other:
        for name, steps in COPIES.items():
            table = f"{name.replace(' ', '_')}_{way}"
            *before, look = [step.format(t=table) for step in steps]
            for text in before:
                assert not ask(client, text, way).errors, (name, text)
            for reader in (client, other):
                values = set(ask(reader, look, way).values)
                assert values == {"[ssn]"}, (name, look)
        assert not any(leak in client.received or leak in other.received for leak in LEAK)


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_26_a_long_text_is_judged_by_the_same_facts(door: Gateway, way: str) -> None:
    """MK-26: texts over 16 KiB are judged in another process: it knows where labelled data was copied to, and that code has
    run which may have put some into a setting; what it says of a catalogue that is old by now is not waited for."""
    long = f" -- {'x' * LARGE}"
    table = f"mk10.long_{way}"
    with RawClient.to(door, groups=["writers"]) as client:
        assert not ask(client, f"create table {table} as select ssn as a from customers", way).errors
        assert set(ask(client, f"select reverse(a) from {table}{long}", way).values) == {"[ssn]"}
        assert not client.query(f"copy (select reverse(a) from {table}) to stdout{long}").errors
        assert not any(leak in client.received for leak in LEAK)
    with RawClient.to(door, groups=["anyone"]) as client:
        put = "do $$ begin perform set_config('app.x', (select min(ssn) from customers), false); end $$"
        assert not ask(client, put, way).errors
        for what in ("current_setting('app.x')", "setting) from pg_settings where (name = 'app.x'"):
            look = f"select reverse({what})"
            assert ask(client, look, way).values == ask(client, look + long, way).values
        assert not any(leak in client.received for leak in LEAK)


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_10_what_no_label_can_follow_is_refused(door: Gateway, seen: Callable[[], str], way: str) -> None:
    """MK-10: where no label can follow, whatever policy allows: nothing has run, the reason is said, the session goes on."""
    with RawClient.to(door, groups=["anyone"]) as client:
        for name, text in REFUSED.items():
            reply = ask(client, text, way)
            assert (name, reply.sqlstate, reply.status) == (name, "42501", "I")
            assert "where its label cannot follow it" in reply.errors[0]["M"], name
        assert ask(client, "select 1", way).values == ["1"]
    assert "pg_notify" not in seen()


def test_mk_10_a_label_is_kept_when_the_gateway_restarts(
    gateway: Callable[..., Gateway], direct: psycopg.Connection, server: object
) -> None:
    """MK-10: stopped or killed, it knows where labelled data is when it comes back."""
    door = gateway(server, policy=POLICY, target={"labels": LABELS})
    with RawClient.to(door, groups=["writers"]) as client:
        assert not client.query("create table mk10.stays as select ssn as a from customers").errors
    door.kill()
    door.start()
    with RawClient.to(door, groups=["readers"]) as client:
        assert set(client.query("select a from mk10.stays").values) == {"[ssn]"}
        direct.execute("alter table mk10.stays rename a to b; alter table mk10.stays rename to went")
        client.query("select * from mk10.nobody")  # makes the gateway look
        assert set(client.query("select b from mk10.went").values) == {"[ssn]"}


def test_mk_11_a_label_follows_what_is_moved(door: Gateway, direct: psycopg.Connection) -> None:
    """MK-11: renamed, detached or turned plain past the gateway: masked still."""
    with RawClient.to(door, groups=["writers"]) as client:
        assert not client.query("insert into mk10.whole select 1, ssn from customers").errors
        assert not client.query(
            "create table mk10.g (a text, b text generated always as (a) stored)"
        ).errors
        assert not client.query("insert into mk10.g select ssn from customers").errors
        client.query("select * from mk10.nobody")  # makes the gateway look
        direct.execute("alter table mk10.whole detach partition mk10.part1; alter table mk10.part1 rename ssn to a")
        direct.execute("alter table mk10.g alter b drop expression, drop a; alter table mk10.g set schema public")
        try:
            client.query("select * from mk10.nobody")
            assert set(client.query("select a from mk10.part1").values) == {"[ssn]"}
            assert set(client.query("select b from public.g").values) == {"[ssn]"}
        finally:
            direct.execute("drop table public.g")
