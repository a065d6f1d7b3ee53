"""Limits of connections and of time, over the wire: PostgreSQL's own errors, and what is on record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from doorward.ledger.verify import Status
from doorward.protocols.postgres import wire
from tests.rig import record
from tests.rig.faults import Faults, until
from tests.rig.faulty import FAULTY
from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient, encrypted


def turned_away(door: Gateway, **claims: object) -> dict[str, str]:
    """The error that a client gets in place of its login."""
    with encrypted(door) as sock:
        client = RawClient(sock)
        client.send(wire.startup({"user": "whoever", "database": "shop"}))
        assert client.until("R", "E").kinds == "R"
        client.send(wire.password_message(door.token(**claims).encode()))
        answer = client.until("Z", "E")
        assert (answer.kinds, client.until("Z").closed) == ("E", True)
        return answer.errors[0]


@pytest.mark.parametrize(
    ("limits", "others"),
    [
        ({"connections": 2}, "bob"),
        ({"connections_per_target": 2}, "bob"),
        ({"connections_per_identity": 2}, "alice"),
    ],
    ids=["all together", "to one target", "of one identity"],
)
def test_one_connection_too_many_is_refused_and_a_place_can_be_had_again(
    gateway: Callable[..., Gateway], limits: dict[str, int], others: str
) -> None:
    """FATAL 53300 as PostgreSQL says it, with what to do; those who are in go on, and who leaves makes room."""
    door = gateway(limits=limits)
    with RawClient.to(door, sub="alice") as first, RawClient.to(door, sub="alice") as second:
        error = turned_away(door, sub=others)
        assert (error["S"], error["V"], error["C"]) == ("FATAL", "FATAL", "53300")
        assert "2 connections" in error["M"]
        assert error["H"]
        with pytest.raises(psycopg.OperationalError, match="2 connections"):
            door.connect(sub=others)
        assert [each.query("select 41 + 1").values for each in (first, second)] == [["42"], ["42"]]
        if others == "alice":  # the limit is hers alone
            with door.connect(sub="bob") as connection:
                assert connection.execute("select 41 + 1").fetchall() == [(42,)]
        second.send(wire.TERMINATE).until("Z")

        def room() -> bool:
            try:
                door.connect(sub=others).close()
            except psycopg.OperationalError:
                return False
            return True

        until(room)


def test_a_session_ends_at_its_longest_duration(gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    """However busy it is: FATAL 57P01 with the reason, which its record holds too; who came later stays."""
    faults = Faults(tmp_path / "faults")
    door = gateway(program=FAULTY, environment={"FAULTS": str(faults.folder)}, limits={"session": "1h"})
    with RawClient.to(door, sub="early") as early:
        assert early.query("select 1").values == ["1"]
        faults.set("later", "3500")
        with RawClient.to(door, sub="late") as late:
            assert early.query("select 2").values == ["2"]
            early.send(wire.query(b"select pg_sleep(30)"))
            faults.set("later", "3700")
            begun = time.monotonic()
            ended = early.until("E")
            error = ended.errors[0]
            assert (error["S"], error["C"]) == ("FATAL", "57P01")
            assert "longest duration" in error["M"]
            assert early.until("Z").closed
            assert time.monotonic() - begun < 10
            assert late.query("select 3").values == ["3"]
    assert door.stop() == 0
    sessions = {e.session_id: e.body["subject"] for e in record.events(door.data, "session.opened")}
    reasons = {sessions[e.session_id]: e.body["reason"] for e in record.events(door.data, "session.closed")}
    assert "longest duration" in reasons["early"]
    assert "longest duration" not in reasons["late"]
    assert record.verdict(door.data).status is Status.SOUND
