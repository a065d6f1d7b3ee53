"""What a refusal and a hold leave behind, over the wire: "A refusal leaves the server where its own error would" and "A
hold is waiting, parked or void". HD-nn in docs/bypasses.md."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.rig.approvers import call, show, vote
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient, cancel, extended

Seen = Callable[[], str]


def ids(direct: psycopg.Connection, table: str) -> set[int]:
    return {row[0] for row in direct.execute(f"select id from {table}")}


def state(door: Gateway, request: str) -> str:
    return str(show(door, request)["state"])


def reaches(door: Gateway, request: str, wanted: str, *, seconds: float = 10.0) -> None:
    """The request comes into that state, and soon."""
    limit = time.monotonic() + seconds
    while (found := state(door, request)) != wanted:
        assert time.monotonic() < limit, f"{found}, not {wanted}"
        time.sleep(0.05)


# -- refusals --------------------------------------------------------------------------------------------------------

REFUSED = "do $$ begin end $$"  # nobody here but `anyone` may


def test_hd_01_a_refusal_in_a_pipeline_rolls_its_prefix_back(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """HD-01: units forwarded before a refused one, in the same implicit transaction, do not commit; the client skips to
    Sync, and the status is the server's own."""
    with RawClient.to(door, groups=["writers"]) as client:
        client.send(
            extended(f"insert into {table} values (3)"),
            extended(REFUSED),
            extended(f"insert into {table} values (4)"),
            wire.SYNC,
        )
        reply = client.ready()
        assert reply.tags == ["INSERT 0 1"]
        assert (reply.sqlstate, reply.status) == ("42501", "I")
        assert client.query("select 1").values == ["1"]
    assert ids(direct, table) == {1, 2}


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_hd_02_a_refusal_in_a_transaction_aborts_it(
    door: Gateway, direct: psycopg.Connection, table: str, protocol: str
) -> None:
    """HD-02: the transaction is failed until it is rolled back, as after an error of the server's; COMMIT is a ROLLBACK."""
    with RawClient.to(door, groups=["writers"]) as client:
        ask = client.query if protocol == "simple" else client.run
        assert ask("begin").status == "T"
        assert ask(f"insert into {table} values (3)").tags == ["INSERT 0 1"]
        reply = ask(REFUSED)
        assert (reply.sqlstate, reply.status) == ("42501", "E")
        assert ask("select 1").sqlstate == "25P02"
        assert ask("commit").tags == ["ROLLBACK"]
        assert ask("select 1").status == "I"
    assert ids(direct, table) == {1, 2}


def test_hd_03_a_savepoint_is_worth_what_it_is_worth_after_an_error(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """HD-03: ROLLBACK TO brings a transaction back that a refusal failed."""
    with RawClient.to(door, groups=["writers"]) as client:
        for text in ("begin", f"insert into {table} values (3)", "savepoint s", f"insert into {table} values (4)"):
            assert not client.query(text).errors
        assert client.query(REFUSED).status == "E"
        assert client.query("rollback to s").status == "T"
        assert client.query("commit").tags == ["COMMIT"]
    assert ids(direct, table) == {1, 2, 3}


def test_hd_04_what_the_server_had_committed_stays(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """HD-04: a Sync before the refusal ended that transaction: it stands."""
    with RawClient.to(door, groups=["writers"]) as client:
        client.send(extended(f"insert into {table} values (3)"), wire.SYNC, extended(REFUSED), wire.SYNC)
        reply = client.ready(2)
        assert reply.tags == ["INSERT 0 1"]
        assert reply.sqlstate == "42501"
    assert ids(direct, table) == {1, 2, 3}


@pytest.mark.parametrize("end", ["denied", "expired"])
def test_hd_05_a_hold_that_ends_badly_rolls_its_prefix_back(
    door: Gateway, direct: psycopg.Connection, table: str, end: str
) -> None:
    """HD-05: the same when the unit was held first, and then denied, or nobody answered."""
    with RawClient.to(door, sub=f"hd05{end}", groups=["hasty", "readers"], kind="agent") as client:
        client.query("select 1")
        client.send(
            extended("select set_config('application_name', 'prefix', false)"),
            extended(f"insert into {table} values (5)"),
            extended("select 'after'"),
            wire.SYNC,
        )
        first = client.held()
        assert first.held
        if end == "denied":
            vote(door, first.held, approve=False)
        reply = client.ready(seconds=20)
        assert (reply.kinds[-2:], reply.status) == ("EZ", "I")
        assert "after" not in reply.values
        assert client.query("show application_name").values != ["prefix"]
    assert ids(direct, table) == {1, 2}


# -- holds -----------------------------------------------------------------------------------------------------------


def hold(client: RawClient, text: str) -> str:
    client.send(wire.query(text.encode()))
    request = client.held().held
    assert request
    return request


def test_hd_10_an_approved_statement_runs_once_and_nothing_overtook_it(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen
) -> None:
    """HD-10: while it waits nothing after it goes to the server; after a yes it runs, and what waited behind it too."""
    with RawClient.to(door, sub="hd10", groups=["agents"]) as client:
        client.send(wire.query(f"delete from {table} where id = 1".encode()), wire.query(b"select 'behind'"))
        request = client.held().held
        assert client.quiet(0.3).kinds == ""
        assert "behind" not in seen()
        shown = show(door, request)
        assert shown["state"] == "waiting"
        assert vote(door, request)[0] == 200
        reply = client.ready(2)
        assert reply.tags == ["DELETE 1", "SELECT 1"]
        assert state(door, request) == "spent"
        # the same text again asks anew: an approval is spent once
        again = hold(client, f"delete from {table} where id = 1")
        assert again != request
    assert ids(direct, table) == {2}


@pytest.mark.parametrize("how", ["cancel", "vanish", "terminate"])
def test_hd_11_nothing_runs_for_a_client_that_is_gone(
    door: Gateway, direct: psycopg.Connection, table: str, how: str
) -> None:
    """HD-11: CancelRequest, a lost connection, Terminate: the request is parked, and a yes that comes later runs nothing."""
    text = f"delete from {table} where id = 1"
    with RawClient.to(door, sub=f"hd11{how}", groups=["agents"]) as client:
        request = hold(client, text)
        if how == "cancel":
            cancel(door, client.pid, client.secret)
            reply = client.ready()
            assert (reply.sqlstate, reply.status) == ("57014", "I")
            assert client.query("select 1").values == ["1"]
        elif how == "vanish":
            client.vanish()
        elif how == "terminate":
            client.send(wire.TERMINATE)
        reaches(door, request, "parked")
        vote(door, request)
        time.sleep(0.3)
        assert state(door, request) == "approved"
    assert ids(direct, table) == {1, 2}


def test_hd_11_terminate_behind_the_statement_is_a_departure(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """HD-11: Terminate in the same packet as what would be held: nobody waits, and what was asked for, if it was, is
    parked; an earlier yes is not spent on it."""
    text = f"delete from {table} where id = 1"
    with RawClient.to(door, sub="hd11b", groups=["agents"]) as client:
        request = hold(client, text)
        client.vanish()
    reaches(door, request, "parked")
    assert vote(door, request)[0] == 200
    with RawClient.to(door, sub="hd11b", groups=["agents"]) as client:
        client.send(wire.query(text.encode()), wire.TERMINATE)
        assert client.ready(seconds=5).closed
    time.sleep(0.3)
    assert state(door, request) == "approved"
    assert ids(direct, table) == {1, 2}


@pytest.mark.parametrize("how", ["set", "set_config", "start-up"])
def test_hd_19_a_client_says_how_long_it_waits(door: Gateway, direct: psycopg.Connection, table: str, how: str) -> None:
    """HD-19: then it gets an error that names the request, the session goes on, nothing runs; the same statement later, on a
    new connection, goes on with that request."""
    text = f"delete from {table} where id = 1"
    parameters = {"doorward.wait": "300ms"} if how == "start-up" else {}
    with RawClient.to(door, sub=f"hd19{how}", groups=["agents"], parameters=parameters) as client:
        if how == "set":
            assert client.query("set doorward.wait = '300ms'").sqlstate == ""
        elif how == "set_config":
            assert client.query("select set_config('doorward.wait', '300ms', false)").sqlstate == ""
        begun = time.monotonic()
        client.send(wire.query(text.encode()))
        reply = client.ready()
        assert time.monotonic() - begun < 8
        assert (reply.sqlstate, reply.status) == ("57014", "I")
        request = reply.errors[0]["M"].partition("request ")[2].split()[0]
        assert client.query("select 1").values == ["1"]
        assert client.query("set doorward.wait = 'soon'").sqlstate == "55P02"
    reaches(door, request, "parked")
    assert vote(door, request)[0] == 200
    with RawClient.to(door, sub=f"hd19{how}", groups=["agents"]) as client:
        client.send(wire.query(text.encode()))
        assert client.ready().tags == ["DELETE 1"]
    assert state(door, request) == "spent"
    assert ids(direct, table) == {2}


def test_hd_12_a_parked_request_is_taken_up_in_a_new_session_once(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """HD-12: the same identity submits the same thing in another session and spends the yes, once."""
    text = f"delete from {table} where id = 1"
    with RawClient.to(door, sub="hd12", groups=["agents"]) as client:
        request = hold(client, text)
        client.vanish()
    reaches(door, request, "parked")
    assert vote(door, request)[0] == 200
    with RawClient.to(door, sub="hd12", groups=["agents"]) as client:
        client.send(wire.query(text.encode()))
        reply = client.ready()
        assert reply.tags == ["DELETE 1"]
    assert state(door, request) == "spent"
    with RawClient.to(door, sub="hd12", groups=["agents"]) as client:
        assert hold(client, text) != request
    assert ids(direct, table) == {2}


def test_hd_12_two_sessions_race_for_one_yes(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """HD-12: two sessions wait for one request; one of them gets it."""
    direct.execute(f"create table {table}_log (x int)")
    text = f"insert into {table}_log values (1)"
    with (
        RawClient.to(door, sub="hd12r", groups=["agents"]) as one,
        RawClient.to(door, sub="hd12r", groups=["agents"]) as two,
    ):
        request = hold(one, text)
        assert hold(two, text) == request
        vote(door, request)
        replies = [one.ready(), two.ready()]
        assert sorted(reply.tags for reply in replies) == [[], ["INSERT 0 1"]]
    assert direct.execute(f"select count(*) from {table}_log").fetchone() == (1,)
    direct.execute(f"drop table {table}_log")


def test_hd_13_an_approval_fits_nothing_else(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """HD-13: another text, parameter, parameter type, identity or kind of protocol value asks anew."""
    text = f"delete from {table} where id = $1"
    with RawClient.to(door, sub="hd13", groups=["agents"]) as client:
        client.send(extended(text, [b"1"]), wire.SYNC)
        request = client.held().held
        client.vanish()
    reaches(door, request, "parked")
    vote(door, request)
    tries: list[tuple[str, list[bytes]]] = [
        (text, [b"2"]),
        (text, [b"01"]),
        (text + " ", [b"1"]),
        (text + " -- x", [b"1"]),
        (text.replace("= $1", "= $1 + 0"), [b"1"]),
    ]
    for other, params in tries:
        with RawClient.to(door, sub="hd13", groups=["agents"]) as client:
            client.send(extended(other, list(params)), wire.SYNC)
            assert client.held().held not in ("", request)
    for claims in ({"sub": "somebody"}, {"sub": "hd13", "act": {"sub": "robot"}}):
        with RawClient.to(door, groups=["agents"], **claims) as client:
            client.send(extended(text, [b"1"]), wire.SYNC)
            assert client.held().held not in ("", request)
    assert state(door, request) == "approved"
    assert ids(direct, table) == {1, 2}


def test_hd_14_who_may_vote(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """HD-14: not who asked, in whatever session; not the person an agent acts for; not an agent; not somebody without the
    right; and nobody twice."""
    with RawClient.to(door, sub="hd14", groups=["dba"], act={"sub": "robot"}) as client:
        client.send(wire.query(f"delete from {table} where id = 1".encode()))
        reply = client.held()
        if not reply.held:  # what an agent may is also bounded by what its person may: then nothing is held at all
            assert reply.errors
    with RawClient.to(door, sub="hd14", groups=["agents", "dba"]) as client:
        request = hold(client, f"delete from {table} where id = 1")
        for claims in (
            {"sub": "hd14", "groups": ["dba", "agents"]},
            {"sub": "hd14", "groups": ["dba"]},
            {"sub": "x", "groups": ["readers"]},
            {"sub": "x", "groups": []},
            {"sub": "bot", "groups": ["dba"], "kind": "agent"},
            {"sub": "x", "groups": ["dba"], "act": {"sub": "bot", "groups": ["dba"]}},
        ):
            status, _ = vote(door, request, **claims)
            assert status in (403, 404), claims
        assert state(door, request) == "waiting"
        assert ids(direct, table) == {1, 2}


def test_hd_14_the_person_behind_an_agent_cannot_approve_what_it_asks(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """HD-14: the agent asks on a person's behalf; that person's yes does not count, another's does."""
    with RawClient.to(
        door, sub="hd14p", groups=["agents", "dba"], act={"sub": "robot", "groups": ["agents"]}
    ) as client:
        request = hold(client, f"delete from {table} where id = 1")
        assert vote(door, request, sub="hd14p", groups=["agents", "dba"])[0] in (403, 404)
        assert state(door, request) == "waiting"
        assert vote(door, request)[0] == 200
        assert client.ready().tags == ["DELETE 1"]


def test_hd_15_a_hold_in_a_transaction_is_short_and_the_approver_is_told(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """HD-15: it holds locks: after limits.hold_in_transaction (2 s here) it is parked and the transaction failed."""
    with RawClient.to(door, sub="hd15", groups=["agents"]) as client:
        client.query("begin")
        begun = time.monotonic()
        request = hold(client, f"delete from {table} where id = 1")
        assert show(door, request).get("in_transaction") is True or "in_transaction" in str(show(door, request))
        reply = client.ready()
        assert 1 < time.monotonic() - begun < 8
        assert (reply.sqlstate, reply.status) == ("57014", "E")
        reaches(door, request, "parked")
        assert client.query("rollback").status == "I"
    assert ids(direct, table) == {1, 2}


def test_hd_16_denial_withdrawal_and_expiry_are_final(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """HD-16: after each of them the same statement asks anew, and a yes to the old request is refused."""
    text = f"delete from {table} where id = 1"
    for end in ("denied", "withdrawn", "expired"):
        group = "hasty" if end == "expired" else "agents"
        claims: dict[str, Any] = {"sub": f"hd16{end}", "groups": [group, "readers"]}
        with RawClient.to(door, **claims) as client:
            request = hold(client, text)
            if end == "denied":
                vote(door, request, approve=False)
            elif end == "withdrawn":
                assert call(door, f"/api/approvals/{request}/withdraw", {}, **claims)[0] == 200
            reply = client.ready(seconds=20)
            assert reply.errors
            assert vote(door, request)[0] == 403 or end == "expired"
            reaches(door, request, end)
            assert vote(door, request)[0] == 403
            assert hold(client, text) != request
    assert ids(direct, table) == {1, 2}


def test_hd_17_a_changed_policy_takes_a_waiting_yes_away(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """HD-17: policy is part of what was approved: after a change the request no longer fits."""
    policy = door.folder / "policy.cedar"
    before = policy.read_text()
    with RawClient.to(door, sub="hd17", groups=["agents"]) as client:
        request = hold(client, f"delete from {table} where id = 1")
        try:
            policy.write_text(before + '\n@id("other") permit (principal in Group::"nobody", action, resource);\n')
            door.reload()
            limit = time.monotonic() + 10
            while not any(line.get("event") == "policy.changed" for line in door.events()):
                assert time.monotonic() < limit
                time.sleep(0.05)
            vote(door, request)
            assert client.ready().errors
        finally:
            policy.write_text(before)
            door.reload()
            time.sleep(0.5)
    assert ids(direct, table) == {1, 2}


def test_hd_18_what_is_sent_behind_a_hold_is_bounded(door: Gateway, table: str, direct: psycopg.Connection) -> None:
    """HD-18: a client cannot fill memory behind a statement that waits."""
    with RawClient.to(door, sub="hd18", groups=["agents"]) as client:
        hold(client, f"delete from {table} where id = 1")
        for _ in range(40):
            client.send(wire.query(b"select '" + b"x" * 60_000 + b"'"))
        reply = client.ready(seconds=10)
        assert reply.closed
    assert ids(direct, table) == {1, 2}
