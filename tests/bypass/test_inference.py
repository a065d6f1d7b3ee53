"""Guessing what is masked by what it decides. IDs MK-03 and MK-12 in docs/bypasses.md."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.bypass.conftest import LABELS, POLICY
from tests.rig.gateway import Gateway
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, Reply, extended

GUESSES = {
    "where": "select name from customers where ssn like '0%'",
    "count": "select count(*) from customers where ssn < '5'",
    "filter": "select count(*) filter (where ssn < '5') from customers",
    "order": "select id from customers order by ssn",
    "group": "select count(*) from customers group by ssn",
    "having": "select name from customers group by name having max(ssn) > '5'",
    "distinct": "select distinct ssn from customers",
    "intersect": "select ssn from customers intersect select '078-05-1120'",
    "join": "select a.id from customers a join customers b using (ssn)",
    "exists": "select 1 where exists (select from customers where ssn like '0%')",
    "window": "select rank() over (order by ssn) from customers",
    "limit": "select name from customers limit (select ascii(max(ssn)) from customers)",
    "division": "select 1 / (ascii(ssn) - 48) from customers",
    "case": "select case when ssn like '0%' then 1 / 0 end from customers",
    "cast": "select ssn::int from customers",
    "regular expression": "select ssn ~ '^(0+)+$' from customers",
    "lateral": "select x from customers, lateral (select 1 as x where ssn like '0%') y",
    "cte": "with x as (select ssn as a, id from customers) select id from x where a like '0%'",
    "copy": "copy (select id from customers where ssn like '0%') to stdout",
    "explain": "explain select * from customers where ssn < '5'",
    "explain analyze": "explain analyze select ssn from customers",
    "update": "update customers set name = name where ssn like '0%'",
    "conflict": "insert into customers (id, ssn) values (1, 'x') on conflict do nothing",
    "constraint": "alter table customers add constraint mk12 check (ssn > '0')",
    "index": "create unique index on customers (ssn)",
    "view": "create view mk12 as select id from customers where ssn like '0%'",
    "cursor": "declare c cursor with hold for select id from customers where ssn like '0%'",
    "prepare": "prepare mk12 as select id from customers where ssn like '0%'; execute mk12",
}
FREE = [
    "select count(*) from customers",
    "select upper(ssn), ssn || '', max(card) over (order by id) from customers where id < 3 order by id",
    "select * from customers order by id limit 2",
    "explain select ssn from customers",
]


def ask(client: RawClient, text: str, way: str) -> Reply:
    return client.query(text) if way == "simple" else client.run(text)


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_03_12_who_may_not_infer_is_refused_before_anything_runs(
    door: Gateway, seen: Callable[[], str], way: str
) -> None:
    """MK-03, MK-12: each way to ask is refused as insufficient privilege, in words that say what it is about and what to do;
    nothing of it has reached the target, and the session goes on."""
    with RawClient.to(door, groups=["guarded"]) as client:
        for name, text in GUESSES.items():
            if way == "extended" and name == "prepare":
                continue
            reply = ask(client, text, way)
            assert (name, reply.sqlstate, reply.status) == (name, "42501", "I")
            (error,) = reply.errors
            assert "data labelled ssn on shop: no policy allows it" in error["M"], name
            assert "come back masked" in error["H"], name
            assert not reply.rows, name
        assert ask(client, "select 1", way).values == ["1"]
    assert "mk12" not in seen()
    assert "like '0%'" not in seen()


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_12_what_infers_nothing_is_not_counted(door: Gateway, way: str) -> None:
    """MK-12: reading a masked column, and conditions on others, need no permit and cost no budget."""
    for group, times in (("guarded", 1), ("thrifty", 3)):
        with RawClient.to(door, sub=f"free-{way}", groups=[group]) as client:
            for text in FREE * times:
                assert not ask(client, text, way).errors, text


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_12_who_may_see_may_search(door: Gateway, way: str) -> None:
    """MK-12: whoever sees a label in the clear has nothing to infer from it."""
    with RawClient.to(door, groups=["guarded", "fraud"]) as client:
        assert ask(client, "select count(*) from customers where ssn > ''", way).values != ["0"]


_names = itertools.count(1)


def thrifty(door: Gateway, name: str = "") -> RawClient:
    """A session of somebody with five answers an hour."""
    return RawClient.to(door, sub=name or f"thrifty-{next(_names)}", groups=["thrifty"])


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_mk_12_a_budget_is_for_all_sessions_and_for_its_hour(door: Gateway, way: str) -> None:
    """MK-12: five answers an hour, whichever session asks; the sixth is refused with when there is more, and the session goes
    on; another identity has its own; another label has its own."""
    name = f"all-{way}"
    with thrifty(door, name) as one, thrifty(door, name) as two, thrifty(door) as other:
        for client in (one, two, one, two, one):
            assert len(ask(client, "select count(*) from customers where ssn < '5'", way).values) == 1
        for client in (one, two):
            reply = ask(client, "select count(*) from customers where ssn < '5'", way)
            assert (reply.sqlstate, reply.status, reply.rows) == ("53400", "I", [])
            assert "all 5 answers an hour that may be inferred from data labelled ssn (thrifty-infer)" in reply.errors[0]["M"]
            assert "come back in 6" in reply.errors[0]["H"]
            assert len(ask(client, "select ssn from customers where id = 1", way).values) == 1
        assert not ask(other, "select count(*) from customers where ssn < '5'", way).errors
        assert not ask(one, "select count(*) from customers where card < '5'", way).errors


@pytest.mark.parametrize("way", ["simple", "extended", "copy", "cursor"])
def test_mk_12_rows_count(door: Gateway, way: str) -> None:
    """MK-12: each row is an answer; a statement with none is one; a result that passes what is left ends there, with none
    of the rows that are too many."""
    four, six = (f"select id from customers where ssn is not null order by id limit {n}" for n in (4, 6))
    with thrifty(door) as client:
        if way == "copy":
            assert not client.query(f"copy ({four}) to stdout").errors
        elif way == "cursor":
            # DECLARE is the first answer, the three rows are the rest but one.
            assert not client.query("begin").errors
            assert not client.query(f"declare c cursor for {four}").errors
            assert len(client.query("fetch 3 from c").rows) == 3
            assert not client.query("commit").errors
        elif way == "extended":
            client.send(extended(four, rows=3), wire.execute(b"", 3), wire.SYNC)  # in two goes
            assert len(client.ready().rows) == 4
        else:
            assert len(ask(client, four, way).rows) == 4
        assert not client.query("select id from customers where ssn = 'nobody'").errors
        assert client.query("select id from customers where ssn = 'nobody'").sqlstate == "53400"
    with thrifty(door) as client:
        text = f"copy ({six}) to stdout" if way == "copy" else six
        client.send(extended(text) + wire.SYNC if way == "extended" else wire.query(text.encode()))
        reply = client.ready()
        assert reply.closed
        assert (reply.errors[0]["S"], reply.errors[0]["C"]) == ("FATAL", "53400")
        assert reply.rows == []
        assert "d" not in reply.kinds


def test_mk_12_sessions_that_race_for_a_budget_get_it_once(door: Gateway) -> None:
    """MK-12: twelve sessions that ask at the same moment have five answers between them."""

    async def race() -> list[int]:
        async def one(n: int) -> int:
            connection = await psycopg.AsyncConnection.connect(door.dsn(sub="racer", groups=["thrifty"]), autocommit=True)
            async with connection:
                await ready.wait()
                try:
                    rows = await (await connection.execute("select count(*) from customers where ssn < '5'")).fetchall()
                except psycopg.errors.ConfigurationLimitExceeded:
                    return 0
                return len(rows)

        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n)) for n in range(12)]
            await asyncio.sleep(0.5)
            ready.set()
        return [task.result() for task in tasks]

    assert sorted(asyncio.run(race())) == [0] * 7 + [1] * 5


def test_mk_12_a_budget_outlives_the_gateway(gateway: Callable[..., Gateway], database: PostgresServer) -> None:
    """MK-12: stopping it, or killing it, gives nobody a new hour; killed while an inference runs, the rest of that budget
    counts as spent."""
    door = gateway(server=database, policy=POLICY, target={"labels": LABELS})  # dropped at the end, with what still runs there
    guess = "select count(*) from customers where ssn < '5'"
    with RawClient.to(door, sub="early", groups=["thrifty"]) as client:
        assert [client.query(guess).sqlstate for _ in range(4)] == [""] * 4
    door.stop()
    door.start()
    with RawClient.to(door, sub="early", groups=["thrifty"]) as client:
        assert [client.query(guess).sqlstate for _ in range(2)] == ["", "53400"]
    with RawClient.to(door, sub="late", groups=["thrifty"]) as client:
        slow = "select count(*) from customers a, generate_series(1, 1000000000) where a.ssn > ''"
        client.send(wire.query(slow.encode()))
        assert client.quiet(1.0).kinds == ""
        door.kill()
    door.start()
    with RawClient.to(door, sub="late", groups=["thrifty"]) as client:
        assert client.query(guess).sqlstate == "53400"


