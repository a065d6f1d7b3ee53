"""Portals outlive the facts they were bound under; verdicts must not be taken from other facts."""

from __future__ import annotations

import json

import psycopg

from doorward.protocols.postgres import wire
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient
from tests.rig.records import TEMPLATE, newest

SETUP = (
    "create schema if not exists bound_a; create schema if not exists bound_b; "
    "create table if not exists bound_a.t (x text); create table if not exists bound_b.t (x text); "
    "truncate bound_a.t, bound_b.t; insert into bound_a.t values ('A'); insert into bound_b.t values ('B')"
)


def test_a_portal_is_judged_by_what_it_was_bound_to(door: Gateway, direct: psycopg.Connection) -> None:
    """PG-51, turned round: Bind under one search_path, change it, Execute: the server runs what was bound, and the
    record names that table, not the one that the name would mean now."""
    direct.execute(SETUP)
    with RawClient.to(door, sub="portals", groups=["anyone"]) as client:
        client.query("set search_path = bound_a")
        client.query("begin")
        client.send(wire.parse(b"s", b"select x from t"), wire.bind(b"p", b"s", (), (), ()), wire.FLUSH).until("2")
        client.query("set search_path = bound_b")
        reply = client.send(wire.describe("P", b"p"), wire.execute(b"p", 0), wire.SYNC).ready()
        assert reply.values == ["A"]
        client.query("rollback")
    templates = [json.loads(body[4:]) for body in newest(door, "portals").bodies(TEMPLATE)]
    read = {
        name for template in templates if template["text"] == "select x from t" for _, name, _ in template["resources"]
    }
    assert read == {"bound_a.t"}
