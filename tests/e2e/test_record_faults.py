"""A record that fails or stalls: nothing runs that it would not hold, everybody is told, and it heals by itself."""

from __future__ import annotations

import time

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.rig.faults import Stage, fresh, until
from tests.rig.rawclient import RawClient, extended

STATEMENTS = {
    "read": "select '{0}', count(*) from customers",
    "write": "insert into marks (what) values ('{0}')",
    "define": "create table {0} (id integer)",
}


def message(text: str, *, whole: bool = True) -> bytes:
    return wire.query(text.encode()) if whole else extended(text) + wire.SYNC


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("enospc", "read"),
        ("enospc", "write"),
        ("enospc", "define"),
        ("eio", "write"),
        ("short", "read"),
        ("short", "write"),
    ],
)
def test_nothing_runs_while_the_log_cannot_be_written(stage: Stage, kind: str, statement: str) -> None:
    """The target receives nothing of the statement, the client an error that says why, `/readyz` says no; when there is
    room again everything works, and the failure is an event."""
    since, word = stage.database.position(), fresh()
    text = STATEMENTS[statement].format(word)
    begun = int(time.time() * 1000)
    with RawClient.to(stage.door) as client, RawClient.to(stage.door) as other:
        client.query("select 1")
        other.query("select 1")
        stage.faults.set("wal", kind)
        for each in (client, other):
            each.send(message(text))
            answer = each.until("Z", "E")
            assert answer.sqlstate == "58030"
            assert "record" in answer.errors[0]["M"]
            assert answer.tags == []
    assert not stage.ready()
    assert not stage.works()
    assert stage.seen(word, since) == []
    stage.faults.clear()
    until(stage.works)
    until(stage.ready)
    assert stage.seen(word, since) == []
    until(lambda: "record.restored" in [e.type for e in stage.events() if e.at >= begun])


@pytest.mark.parametrize(
    ("statement", "whole"), [("read", True), ("write", True), ("read", False), ("write", False), ("define", False)]
)
def test_a_log_that_stalls_holds_back_every_byte(stage: Stage, statement: str, *, whole: bool) -> None:
    """While the disk does not answer no byte of the operation goes to the target; when it does, the operation runs once."""
    since, word = stage.database.position(), fresh()
    with RawClient.to(stage.door) as client:
        client.query("select 1")
        stage.faults.set("wal", "stall")
        client.send(message(STATEMENTS[statement].format(word), whole=whole))
        assert not client.until("Z", "E", "C", seconds=1.0).messages
        assert stage.seen(word, since) == []
        stage.faults.clear()
        assert client.until("Z").status == "I"
        assert len(stage.seen(word, since)) == 1


def test_a_client_that_leaves_a_stalled_log_leaves_nothing_behind(stage: Stage) -> None:
    """What waited for the record when its client went is never sent, and the record says that it did not run."""
    since, word = stage.database.position(), fresh()
    client = RawClient.to(stage.door, sub=word)
    client.query("select 1")
    stage.faults.set("wal", "stall")
    client.send(message(STATEMENTS["write"].format(word)))
    time.sleep(0.3)
    client.vanish()
    time.sleep(0.3)
    stage.faults.clear()
    until(stage.works)
    assert stage.seen(word, since) == []
    until(lambda: [e.body["outcome"] for e in stage.events("operation.settled", subject=word)] == ["not_run"])


@pytest.mark.parametrize("kind", ["enospc", "stall"])
def test_batched_reads_run_ahead_of_the_log_only_so_far(stage: Stage, kind: str) -> None:
    """With `durability = "batched"` allowed reads may run before their record is durable, but a log that fails stops them
    within its bound, and a write is never ahead of it."""
    since, word = stage.database.position(), fresh()
    with RawClient.to(stage.door, "batched") as client, RawClient.to(stage.door, "batched") as writer:
        client.query("select 1")
        writer.query("select 1")
        stage.faults.set("wal", kind)
        writer.send(message(STATEMENTS["write"].format(word)))
        assert not writer.until("Z", "C", seconds=0.5).tags
        for ran in range(200):  # noqa: B007
            client.send(extended("select $1::text", [b"y" * 60_000]) + wire.SYNC)
            if client.until("Z", "E", seconds=1.0).status != "I":
                break
        assert ran == 0  # the write's record is late by more than 20 ms
        assert stage.seen(word, since) == []


def test_pipelined_statements_behind_a_stalled_log_are_bounded(stage: Stage) -> None:
    """A client cannot fill the gateway's memory with statements that wait for the record: it is read no further."""
    with RawClient.to(stage.door) as client:
        client.query("select 1")
        before = stage.rss()
        stage.faults.set("wal", "stall")
        statement = wire.query(b"select 1 /* " + b"x" * 500_000 + b" */")
        client.sock.settimeout(1.0)
        sent = 0
        try:
            for _ in range(200):
                client.sock.sendall(statement)
                sent += len(statement)
        except TimeoutError:
            pass
        assert sent < 60 << 20
        assert stage.rss() - before < 64 << 20


@pytest.mark.parametrize("kind", ["enospc", "short"])
def test_a_recording_that_cannot_be_written_stops_everything(stage: Stage, kind: str) -> None:
    """A segment that cannot be stored refuses new operations until it can; nothing of it is lost."""
    with RawClient.to(stage.door) as client:
        stage.faults.set("recording", kind)
        for _ in range(200):
            client.send(message("select repeat(md5(random()::text), 20000)"))
            answer = client.until("Z", "E")
            if answer.errors or answer.closed:
                break
            time.sleep(0.02)
        assert answer.sqlstate == "58030"
    assert not stage.works()


def test_a_recording_that_stalls_bounds_the_memory_it_costs(stage: Stage) -> None:
    """While segments cannot be written the gateway stops reading the target; it does not collect the answer in memory."""
    with RawClient.to(stage.door) as client:
        client.query("select 1")
        before = stage.rss()
        stage.faults.set("recording", "stall")
        client.send(message("select repeat('x', 100000) from generate_series(1, 2000)"))
        client.until("Z", "E", seconds=2.0)
        assert stage.rss() - before < 100 << 20
        stage.faults.clear()
        assert client.until("Z", seconds=30.0).status == "I"


def test_a_store_that_fails_lets_work_go_on_and_folds_later(stage: Stage) -> None:
    """The log holds what is durable already: statements run, `/readyz` says what is wrong, and nothing is lost."""
    word = fresh()
    with stage.door.connect(sub=word) as connection:
        stage.faults.set("store", "eio")
        connection.execute(STATEMENTS["write"].format(word))
        until(lambda: not stage.ready())
        assert connection.execute("select 41 + 1").fetchall() == [(42,)]
        stage.faults.clear()
        until(stage.ready)
    until(lambda: len(stage.events("operation.permitted", subject=word)) == 1)


def test_a_store_that_fails_under_a_held_statement_ends_its_session_and_no_other(stage: Stage) -> None:
    """Nothing can be approved then, so nothing runs; other sessions and the gateway go on."""
    since, word = stage.database.position(), fresh()
    with stage.door.connect() as other, RawClient.to(stage.door, groups=["asking"]) as held:
        held.send(message(STATEMENTS["write"].format(word)))
        assert held.held().held
        stage.faults.set("store", "eio")
        answer = held.until("Z", "E")
        assert answer.sqlstate == "58030"
        assert other.execute("select 41 + 1").fetchall() == [(42,)]
    assert stage.seen(word, since) == []


def test_a_token_is_refused_while_nothing_can_be_recorded(stage: Stage) -> None:
    """Nobody gets in unrecorded, and who tries is told why."""
    stage.faults.set("wal", "enospc")
    with pytest.raises(psycopg.OperationalError, match="record"):
        stage.door.connect()
