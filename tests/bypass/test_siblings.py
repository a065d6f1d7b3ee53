"""Requests for approval, and agents that act for the same person. DW-08 in docs/bypasses.md."""

from __future__ import annotations

from typing import Any

from doorward.protocols.postgres import wire
from tests.rig.approvers import call, show
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient


def test_dw_08_an_agent_has_no_part_in_requests_of_its_principals_other_agents(door: Gateway, table: str) -> None:
    """DW-08: who asked, the person it was asked for and an administrator may withdraw a request, and see it; an agent that acts
    for the same person may not, nor for another one, nor may an agent do it to what its person asked for."""
    groups = ["agents"]
    asker: dict[str, Any] = {"sub": "dw08", "groups": groups, "act": {"sub": "asker"}}
    sibling: dict[str, Any] = {"sub": "dw08", "groups": groups, "act": {"sub": "sibling"}}
    elsewhere: dict[str, Any] = {"sub": "dw08other", "groups": groups, "act": {"sub": "asker"}}

    def withdraw(request: str, **claims: Any) -> int:
        status: int = call(door, f"/api/approvals/{request}/withdraw", {}, **claims)[0]
        return status

    may: list[dict[str, Any]] = [asker, {"sub": "dw08", "groups": groups}, {"sub": "ada", "groups": ["auditors"]}]
    for number, chosen in enumerate(may):
        with RawClient.to(door, **asker) as client:
            client.send(wire.query(f"delete from {table} where id = {number}".encode()))
            held = client.held()
            request = held.held
            assert request, held.errors
            for claims in (sibling, elsewhere, {"sub": "asker"}, {"sub": "dw08other"}):
                assert withdraw(request, **claims) == 404, claims
                assert call(door, f"/api/approvals/{request}", **claims)[0] == 404
                assert request not in str(call(door, "/api/approvals", **claims)[1])
            assert withdraw(request, sub="dora", groups=["dba"]) == 403  # who may decide may see, and says no instead
            assert show(door, request)["state"] == "waiting"
            assert withdraw(request, **chosen) == 200
            assert client.ready().sqlstate == "57014"
    with RawClient.to(door, sub="dw08", groups=["agents"]) as person:
        person.send(wire.query(f"delete from {table} where id = 1".encode()))
        request = person.held().held
        assert withdraw(request, **sibling) == 404
        assert show(door, request)["state"] == "waiting"
