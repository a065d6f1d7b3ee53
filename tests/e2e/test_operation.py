"""A running gateway in operation: policy reloads, observe mode, what is recorded of results, and its limits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import psycopg
import pytest

from doorward.ledger.segment import RESPONSE, SETTLED
from doorward.protocols.postgres import wire
from tests.rig import record
from tests.rig.approvers import call
from tests.rig.faults import POLICY, Stage, fresh, until
from tests.rig.gateway import Gateway
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, encrypted


def reloaded(door: Gateway, policy: str) -> None:
    (door.folder / "policy.cedar").write_text(policy)
    door.reload()


def test_policies_are_replaced_whole_or_not_at_all(gateway: Callable[..., Gateway], postgres: PostgresServer) -> None:
    """A broken file keeps the old policy and says so; a sound one holds for live sessions at once, is an event with both
    hashes, and ends the sessions whose right to connect it takes away, running statements included."""
    admin = '@id("admin") permit (principal in Group::"admins", action == Action::"administer", resource);'
    door = gateway(policy=POLICY + admin)
    with RawClient.to(door, sub="stays") as stays, RawClient.to(door, sub="goes", groups=["banned"]) as goes:
        assert stays.query("select 41 + 1").values == ["42"]
        reloaded(door, POLICY + '@id("broken") permit (principal, action == Action::"raed", resource);')
        until(lambda: any(line["event"] == "policy.kept" for line in door.events()))
        said = next(line for line in door.events() if line["event"] == "policy.kept")
        assert "policy.cedar" in said["reason"]
        assert call(door, "/api/policy/reload", {}, sub="ada", groups=["admins"])[0] == 422
        door.reload()
        time.sleep(2.5)  # the signals, and the look at the files that is taken every second
        assert stays.query("select 41 + 1").values == ["42"]
        goes.send(wire.query(b"select pg_sleep(60), 'going'"))
        time.sleep(0.5)
        reloaded(
            door,
            POLICY
            + '@id("ban") forbid (principal in Group::"banned", action == Action::"connect", resource);'
            + '@id("blind") forbid (principal, action == Action::"read", resource) when { resource is Table };',
        )
        ended = goes.until("Z")
        assert ended.closed
        assert ended.sqlstate == "57P01"
        assert "policy" in ended.errors[0]["M"]
        refused = stays.query("select count(*) from customers")
        assert (refused.sqlstate, refused.status) == ("42501", "I")
    with pytest.raises(psycopg.OperationalError, match=r"ban|policy|connect"):
        door.connect(groups=["banned"])
    with postgres.connect() as connection:
        until(
            lambda: connection.execute(
                "select count(*) from pg_stat_activity where state = 'active' and query like '%going%'"
                " and pid <> pg_backend_pid()"
            ).fetchall()
            == [(0,)],
            5.0,
        )
    assert door.stop() == 0
    changed = record.events(door.data, "policy.changed")
    assert len(changed) == 1
    assert changed[0].body["old"] != changed[0].body["new"]
    kept = record.events(door.data, "policy.kept")
    assert {e.body["policy"] for e in kept} == {changed[0].body["old"]}
    # Once for the broken file, whoever noticed it, and once for the person who asked for it again.
    assert [e.actor.rpartition("|")[2] for e in kept] == ["", "ada"]


def test_listings_count_what_observe_mode_let_run_and_fit_a_terminal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would have been refused or held is counted by session; 80 columns hold all of it, ids whole."""
    word = fresh()
    with RawClient.to(stage.door, "watched", sub=word, groups=["asking"]) as client:
        for _ in range(3):
            assert client.query(f"insert into marks (what) values ('{word}')").tags == ["INSERT 0 1"]
        assert client.query("select 1").values == ["1"]
    token = stage.door.token(sub=word, groups=["asking"])

    def listed(*arguments: str) -> str:
        address = f"http://127.0.0.1:{stage.door.http_port}"
        return stage.door.cli("sessions", *arguments, "--gateway", address, token=token).stdout

    until(lambda: [s["closed_at"] > 0 for s in json.loads(listed("list", "--json"))] == [True])
    [session] = json.loads(listed("list", "--json"))
    assert {name: session[name] for name in ("statements", "observed", "refused", "held")} == {
        "statements": 4, "observed": 3, "refused": 0, "held": 0,
    }  # fmt: skip
    monkeypatch.setitem(stage.door.environment, "COLUMNS", "80")
    lines = listed("list").splitlines()
    assert (len(lines), max(map(len, lines)) <= 80) == (4, True)
    assert session["id"] in lines[2].split()
    assert dict(zip(lines[1].split(), lines[3].split(), strict=False))["OBSERVED"] == "3"
    assert len(listed("list", "--wide").splitlines()) == 2
    assert "3 ran that would have been" in listed("show", session["id"])


def test_observe_mode_records_what_it_would_have_done_and_says_so_loudly(stage: Stage) -> None:
    """Nothing is refused, held or masked; what would have been is on record, where it stays masked; the client is warned."""
    word = fresh()
    with encrypted_session(stage, "watched", sub=word, groups=["asking"]) as (client, greeting):
        assert any("observe mode" in notice.get("M", "") for notice in greeting)
        assert client.query(f"insert into marks (what) values ('{word}')").tags == ["INSERT 0 1"]
        shown = client.query("select ssn from customers where id = 1").values
        assert shown == ["603-38-1615"]
    until(lambda: bool(stage.events("operation.observed", subject=word)))
    observed = stage.events("operation.observed", subject=word)[0]
    assert observed.body["decision"]["outcome"] == "hold"
    until(lambda: bool(stage.events("session.closed", subject=word)))
    session = stage.events("session.opened", subject=word)[0].session_id
    kept = b"".join(body for kind, _, body in record.recording(stage.door.data, session) if kind == RESPONSE)
    assert b"603-38-1615" not in kept
    settled = [json.loads(body) for kind, _, body in record.recording(stage.door.data, session) if kind == SETTLED]
    assert sum(each.get("masked", {}).get("ssn", 0) for each in settled) == 1  # cells that would have been masked are counted


class encrypted_session:  # noqa: N801 - it is used like a function
    """A RawClient and the notices of its login."""

    def __init__(self, stage: Stage, target: str, **claims: object) -> None:
        self.client = RawClient(encrypted(stage.door))
        self.client.send(wire.startup({"user": "whoever", "database": target}))
        self.client.until("R", "E")
        self.client.send(wire.password_message(stage.door.token(**claims).encode()))
        self.greeting = self.client.until("Z", "E").notices

    def __enter__(self) -> tuple[RawClient, list[dict[str, str]]]:
        return self.client, self.greeting

    def __exit__(self, *_: object) -> None:
        self.client.close()


@pytest.mark.parametrize(("target", "rows"), [("shop", 500), ("sampled", 20), ("shaped", 0)])
def test_how_much_of_a_result_is_recorded(stage: Stage, target: str, rows: int) -> None:
    """Everything, a sample, or the shape alone; the client gets all of it in each case, and the counts are whole."""
    word = fresh()
    with RawClient.to(stage.door, target, sub=word) as client:
        assert len(client.query("select 'row' || n from generate_series(1, 500) n").rows) == 500
    until(lambda: bool(stage.events("session.closed", subject=word)))
    session = stage.events("session.opened", subject=word)[0].session_id
    records = record.recording(stage.door.data, session)
    kept = b"".join(body for kind, _, body in records if kind == RESPONSE)
    frames = wire.Frames(1 << 20)
    assert sum(1 for type_, _ in frames.feed(kept) if type_ == wire.Backend.DATA_ROW) == rows
    assert any(b'"rows":500' in body for kind, _, body in records if kind == SETTLED)


def test_limits_of_sessions_connections_and_time(gateway: Callable[..., Gateway]) -> None:
    """One identity has so many connections, one target so many, an idle session so long: 53300 and 57P01."""
    door = gateway(
        limits={"connections_per_identity": 2, "connections": 4, "connections_per_target": 3, "idle": "2s"}
    )
    with RawClient.to(door, sub="alice") as first, RawClient.to(door, sub="alice"):
        with pytest.raises(RuntimeError, match="you have 2 connections"):
            RawClient.to(door, sub="alice")
        with RawClient.to(door, sub="bob"), pytest.raises(RuntimeError, match='"shop" has 3 connections'):
            RawClient.to(door, sub="carol")
        ended = first.until("E", seconds=10)
        assert ended.sqlstate == "57P01"
        assert "idle" in ended.errors[0]["M"]
    with RawClient.to(door, sub="alice") as again:
        assert again.query("select pg_sleep(4), 1", seconds=15).status == "I"  # what works is not idle
