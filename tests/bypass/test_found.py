"""Ways around that were found while this corpus was written, and closed. IDs DW-nn in docs/bypasses.md."""

from __future__ import annotations

import psycopg

from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient


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
