"""kill -9 at marked points, and SIGTERM: the next start says what it recovered, nothing ran twice or unrecorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from doorward.ledger.segment import REQUEST_DATA
from doorward.ledger.verify import Status
from doorward.protocols.postgres import wire
from tests.rig import record
from tests.rig.faults import POLICY, Faults, Stage, copy_of_shop, fresh, until
from tests.rig.faulty import FAULTY
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient

INSERT = "insert into marks (what) values ('{0}')"


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Stage]:
    """One data directory that lives through all of these deaths."""
    folder = tmp_path_factory.mktemp("mortal")
    database = copy_of_shop(postgres, "mortal")
    faults, issuer = Faults(folder / "faults"), LocalIssuer()
    with launch(
        folder / "door", issuer, database, policy=POLICY, program=FAULTY, environment={"FAULTS": str(faults.folder)}
    ) as door:
        stage = Stage(door, faults, database)
        yield stage
        faults.clear()
        assert door.stop() == 0
        report = record.verdict(door.data)
        assert report.status is Status.SOUND, (report.faults[:3], report.gaps[:3])
        assert report.open_sessions == 0
        assert balanced(record.events(door.data))
    issuer.down()


def rises(stage: Stage) -> dict[str, Any]:
    """Start again; what the gateway says that it recovered."""
    stage.door.kill()
    stage.faults.clear()
    stage.door.start()
    assert stage.works()
    return [line for line in stage.door.events() if line["event"] == "gateway.started"][-1]


def died(stage: Stage) -> None:
    process = stage.door._process
    assert process is not None
    assert process.wait(20) == -9


def rows(stage: Stage, word: str) -> int:
    with stage.database.connect() as connection:
        found = connection.execute("select count(*) from marks where what = %s", (word,)).fetchone()
        assert found is not None
        return int(found[0])


def balanced(events: list[Any]) -> bool:
    """Every permit settled, once."""
    permitted = Counter(e.body["operation"] for e in events if e.type == "operation.permitted")
    settled = Counter(e.body["operation"] for e in events if e.type == "operation.settled")
    return permitted == settled and set(permitted.values()) <= {1}


def sound(stage: Stage) -> list[Any]:
    """What is in the log when all of it is folded; the end of these tests verifies it."""
    until(lambda: balanced(stage.events()))
    return stage.events()


def of(events: list[Any], word: str, kind: str) -> list[Any]:
    sessions = {e.session_id for e in events if e.type == "session.opened" and e.body["subject"] == word}
    return [e for e in events if e.session_id in sessions and e.type == kind]


@pytest.mark.parametrize(
    ("when", "permits"),
    [("die-before", 0), ("die-after", 1)],
    ids=["before the record is durable", "after the record, before the statement is sent"],
)
def test_killed_around_the_record_of_a_write(mortal: Stage, when: str, permits: int) -> None:
    """Nothing reached the target; what is on record is settled as unknown by the next start, which says so."""
    since, word = mortal.database.position(), fresh()
    with RawClient.to(mortal.door, sub=word) as client:
        client.query("select 1")
        mortal.faults.set(when, "operation.permitted")
        client.send(wire.query(INSERT.format(word).encode()))
        assert client.until("Z", "E").closed
    died(mortal)
    recovered = rises(mortal)["recovered"]
    assert mortal.seen(word, since) == []
    assert rows(mortal, word) == 0
    assert recovered["crashed"] is True
    assert recovered["operations"] == permits
    events = sound(mortal)
    assert len(of(events, word, "operation.permitted")) == permits
    assert [e.body["outcome"] for e in of(events, word, "operation.settled")] == ["unknown"] * permits


def ask(stage: Stage, word: str) -> tuple[RawClient, str]:
    client = RawClient.to(stage.door, sub=word, groups=["asking"])
    client.send(wire.query(INSERT.format(word).encode()))
    approval = client.held().held
    assert approval
    return client, approval


def test_killed_during_a_hold(mortal: Stage) -> None:
    """The request is parked, survives, and runs the statement once: for its requester, who submits it again, approved."""
    since, word = mortal.database.position(), fresh()
    client, approval = ask(mortal, word)
    mortal.door.kill()
    client.close()
    assert rises(mortal)["recovered"]["approvals"] == 1
    assert mortal.seen(word, since) == []
    mortal.approve(approval)
    with RawClient.to(mortal.door, sub=word, groups=["asking"]) as again:
        assert again.query(INSERT.format(word)).tags == ["INSERT 0 1"]
    assert rows(mortal, word) == 1
    with RawClient.to(mortal.door, sub=word, groups=["asking"]) as third:
        third.send(wire.query(INSERT.format(word).encode()))
        assert third.held().held not in ("", approval)
    assert rows(mortal, word) == 1
    sound(mortal)


@pytest.mark.parametrize(
    ("when", "words"),
    [("die-spent", "on"), ("die-before", "approval.spent"), ("die-after", "approval.spent")],
    ids=["in the store only", "before it is durable", "after it is durable"],
)
def test_killed_between_spending_an_approval_and_running(mortal: Stage, when: str, words: str) -> None:
    """The statement did not run, the approval is spent for good, and running it takes a new one."""
    since, word = mortal.database.position(), fresh()
    client, approval = ask(mortal, word)
    mortal.faults.set(when, words)
    mortal.approve(approval)
    died(mortal)
    client.close()
    rises(mortal)
    assert mortal.seen(word, since) == []
    again, second = ask(mortal, word)
    with again:
        assert second != approval
        mortal.approve(second)
        assert again.until("Z").tags == ["INSERT 0 1"]
    assert rows(mortal, word) == 1
    sound(mortal)


@pytest.mark.parametrize(
    ("when", "words"), [("die-voted", "on"), ("die-after", "approval.voted")], ids=["in the store", "on record only"]
)
def test_killed_between_a_vote_and_its_count(mortal: Stage, when: str, words: str) -> None:
    """The vote is counted by the next start: nobody has to be asked twice."""
    word = fresh()
    client, approval = ask(mortal, word)
    mortal.faults.set(when, words)
    with pytest.raises(OSError):
        mortal.approve(approval)
    died(mortal)
    client.close()
    rises(mortal)
    with RawClient.to(mortal.door, sub=word, groups=["asking"]) as again:
        assert again.query(INSERT.format(word)).tags == ["INSERT 0 1"]
    assert rows(mortal, word) == 1
    sound(mortal)


def test_killed_in_the_middle_of_a_write(mortal: Stage) -> None:
    """What ran when the gateway died ran once: its record says that nobody knows how it ended."""
    word = fresh()
    with RawClient.to(mortal.door, sub=word) as client:
        client.query("select 1")
        client.send(wire.query(f"insert into marks (what) select '{word}' from (select pg_sleep(1)) s".encode()))
        until(lambda: bool(mortal.seen(word, 0)))
        mortal.door.kill()
    assert rises(mortal)["recovered"]["operations"] == 1
    time.sleep(1.0)
    assert len(mortal.seen(word, 0)) == 1
    events = sound(mortal)
    assert [e.body["outcome"] for e in of(events, word, "operation.settled")] == ["unknown"]


@pytest.mark.parametrize("rows", [1, 400], ids=["after one row", "after several segments of it"])
def test_killed_during_a_copy_in(mortal: Stage, rows: int) -> None:
    """What the target had taken of it is rolled back, the outcome is on record as unknown, as much of the data as was
    sealed is in the recording, and the next start sends nothing again."""
    since, word = mortal.database.position(), fresh()
    line = f"{word}\t{'x' * 2000}\n".encode()
    with mortal.database.connect() as connection:
        connection.execute("create table if not exists copied (what text, filler text)")

        def taken() -> int:
            found = connection.execute(
                "select coalesce(sum(tuples_processed), 0) from pg_stat_progress_copy where datname = current_database()"
            ).fetchone()
            assert found is not None
            return int(found[0])

        with RawClient.to(mortal.door, sub=word) as client:
            client.query("select 1")
            client.send(wire.query(b"copy copied (what, filler) from stdin"))
            assert client.until("G", "E").kinds == "G"
            for _ in range(rows):
                client.send(wire.copy_data(line))
            until(lambda: taken() > (rows - 1) // 2)
            if rows > 1:
                until(lambda: len(of(mortal.events(), word, "session.sealed")) > 1)
            mortal.door.kill()
        recovered = rises(mortal)["recovered"]
        assert (recovered["crashed"], recovered["operations"]) == (True, 1)
        until(lambda: taken() == 0)
        assert connection.execute("select count(*) from copied where what = %s", (word,)).fetchall() == [(0,)]
    assert len([s for s in mortal.database.statements(since=since) if s.startswith("copy copied")]) == 1
    events = sound(mortal)
    assert len(of(events, word, "operation.permitted")) == 1
    assert [e.body["outcome"] for e in of(events, word, "operation.settled")] == ["unknown"]
    session = of(events, word, "session.opened")[0].session_id
    kept = b"".join(body for kind, _, body in record.recording(mortal.door.data, session) if kind == REQUEST_DATA)
    assert kept == line * kept.count(b"\n")
    assert kept or rows == 1


def test_killed_during_a_bulk_result(mortal: Stage) -> None:
    """What was recorded of the answer can be read, the session is closed as recovered, and the log verifies."""
    word = fresh()
    with RawClient.to(mortal.door, sub=word) as client:
        client.send(wire.query(b"select repeat('x', 1000) from generate_series(1, 300000)"))
        for _ in range(3000):
            assert client.until("D").messages
        mortal.door.kill()
    assert rises(mortal)["recovered"]["crashed"] is True
    events = sound(mortal)
    session = of(events, word, "session.opened")[0].session_id
    assert of(events, word, "session.recovered") or of(events, word, "session.closed")
    assert list(record.recording(mortal.door.data, session))


def test_killed_while_it_drains(mortal: Stage) -> None:
    """SIGTERM and then kill -9: recovered like any other death."""
    word = fresh()
    with RawClient.to(mortal.door, sub=word) as client:
        client.query("select 1")
        client.send(wire.query(f"insert into marks (what) select '{word}' from (select pg_sleep(3)) s".encode()))
        until(lambda: bool(mortal.seen(word, 0)))
        assert mortal.door._process is not None
        mortal.door._process.terminate()
        until(lambda: any(line["event"] == "gateway.draining" for line in mortal.door.events()))
        mortal.door.kill()
    assert rises(mortal)["recovered"]["operations"] == 1
    assert [e.body["outcome"] for e in of(sound(mortal), word, "operation.settled")] == ["unknown"]


def test_sigterm_lets_statements_finish_and_takes_nobody_new(
    gateway: Callable[..., Gateway], database: PostgresServer, tmp_path: Path
) -> None:
    """Idle sessions end at once with 57P01, running statements finish, held ones are parked; then it exits with 0."""
    with database.connect() as connection:
        connection.execute("create table marks (id integer generated always as identity, what text)")
    door = gateway(database, policy=POLICY, gateway={"drain": "10s"})
    stage = Stage(door, Faults(tmp_path / "none"), database)
    idle, busy = RawClient.to(door), RawClient.to(door)
    held, approval = ask(stage, "harry")
    busy.send(wire.query(b"insert into marks (what) select 'busy' from (select pg_sleep(2)) s"))
    until(lambda: bool(stage.seen("busy", 0)))
    assert door._process is not None
    door._process.terminate()
    ended = idle.until("E")
    assert ended.sqlstate == "57P01"
    parked = held.until("E")
    assert parked.sqlstate == "57014"
    assert approval in parked.errors[0]["M"]
    with pytest.raises((psycopg.OperationalError, OSError, RuntimeError)):
        RawClient.to(door)
    assert busy.until("Z").tags == ["INSERT 0 1"]
    assert door._process.wait(20) == 0
    for client in (idle, busy, held):
        client.close()
    events = record.events(door.data)
    assert [e.body["outcome"] for e in events if e.type == "operation.settled"] == ["completed"]
    assert [e.body["approval"] for e in events if e.type == "approval.parked"] == [approval]
    assert record.verdict(door.data).status is Status.SOUND
    assert events[-1].type == "gateway.stopped"


def test_a_statement_that_outlives_the_drain_is_cancelled_and_unknown(
    gateway: Callable[..., Gateway], database: PostgresServer
) -> None:
    """After `drain` the session ends, the target is told to stop, and the record does not claim to know the outcome."""
    door = gateway(database, gateway={"drain": "1s"})
    with RawClient.to(door) as client:
        client.send(wire.query(b"create table outlived as select pg_sleep(60)::text as slept"))
        until(lambda: any("outlived" in s for s in database.statements()))
        begun = time.monotonic()
        assert door.stop() == 0
        assert time.monotonic() - begun < 15
    with database.connect() as connection:
        until(
            lambda: connection.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and query like 'create table%'"
                " and state = 'active'"
            ).fetchall()
            == [(0,)],
            5.0,
        )
    assert [e.body["outcome"] for e in record.events(door.data, "operation.settled")] == ["unknown"]
    assert record.verdict(door.data).status is Status.SOUND
