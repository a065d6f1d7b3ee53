"""A CancelRequest for what waits in the gateway: it never runs, the record says so, and 57014 comes as from a server."""

from __future__ import annotations

import time

import pytest

from doorward.protocols.postgres import wire
from tests.rig.faults import Stage, fresh, until
from tests.rig.rawclient import RawClient, cancel, extended

STATEMENTS = {
    "read": "select '{0}', count(*) from customers",
    "write": "insert into marks (what) values ('{0}')",
    "define": "create table {0} (id integer)",
}


def ready(stage: Stage, **claims: object) -> RawClient:
    """A client whose first statement is behind it."""
    client = RawClient.to(stage.door, **claims)  # type: ignore[arg-type]
    client.query("select 1")
    return client


def cancels(stage: Stage, client: RawClient) -> None:
    time.sleep(0.3)  # until the gateway has what was sent
    cancel(stage.door, client.pid, client.secret)


@pytest.mark.parametrize("whole", [True, False], ids=["simple", "extended"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_waits_for_its_record_can_be_cancelled(stage: Stage, statement: str, *, whole: bool) -> None:
    """The client has its answer while the record still stalls; the target never sees the statement, which is on record as
    permitted, cancelled and not run; the connection goes on."""
    since, word = stage.database.position(), fresh()
    text = STATEMENTS[statement].format(word)
    with ready(stage, sub=word) as client:
        stage.faults.set("wal", "stall")
        client.send(wire.query(text.encode()) if whole else extended(text) + wire.SYNC)
        cancels(stage, client)
        answer = client.until("Z", seconds=5)
        assert (answer.kinds, answer.sqlstate, answer.status) == ("EZ", "57014", "I")
        stage.faults.clear()
        assert client.query("select 41 + 1").values == ["42"]
        assert client.run("select 42 + 1").values == ["43"]
    assert stage.seen(word, since) == []
    until(lambda: len(stage.events("operation.cancelled", subject=word)) == 1)
    [event] = stage.events("operation.cancelled", subject=word)
    assert event.body["reason"] == "its client asked, before it was sent"
    if statement != "read":
        until(lambda: len(stage.events("operation.settled", subject=word)) == 1)
        [permitted] = stage.events("operation.permitted", subject=word)
        [settled] = stage.events("operation.settled", subject=word)
        assert event.body["operation"] == permitted.body["operation"] == settled.body["operation"]
        assert settled.body["outcome"] == "not_run"


@pytest.mark.parametrize("whole", [True, False], ids=["simple", "extended"])
def test_in_a_transaction_it_aborts_the_transaction(stage: Stage, *, whole: bool) -> None:
    """As a server's own cancellation would: nothing of the transaction can be committed any more."""
    since, word = stage.database.position(), fresh()
    text = STATEMENTS["write"].format(word)
    with ready(stage, sub=word) as client:
        assert client.query("begin").status == "T"
        assert client.query(STATEMENTS["write"].format(word + "before")).tags == ["INSERT 0 1"]
        stage.faults.set("wal", "stall")
        client.send(wire.query(text.encode()) if whole else extended(text) + wire.SYNC)
        cancels(stage, client)
        client.quiet(0.5)
        stage.faults.clear()
        answer = client.until("Z")
        assert (answer.sqlstate, answer.status) == ("57014", "E")
        assert answer.tags == []
        assert client.query("commit").tags == ["ROLLBACK"]
        assert client.query(f"select count(*) from marks where what like '{word}%'").values == ["0"]
    assert [s for s in stage.seen(word, since) if s.startswith(text)] == []
    until(lambda: [e.body["why"] for e in stage.events("transaction.aborted", subject=word)] == ["a cancellation"])
    until(lambda: "not_run" in (e.body["outcome"] for e in stage.events("operation.settled", subject=word)))
    outcomes = [e.body["outcome"] for e in stage.events("operation.settled", subject=word)]
    assert outcomes.count("not_run") == 1


@pytest.mark.parametrize("whole", [True, False], ids=["simple", "extended"])
def test_what_was_sent_behind_it_runs(stage: Stage, *, whole: bool) -> None:
    """A cancellation takes one statement (one batch up to its Sync) and no other, and answers keep their order."""
    since, words = stage.database.position(), [fresh(), fresh(), fresh()]
    texts = [STATEMENTS["write"].format(word) for word in words]
    with ready(stage) as client:
        stage.faults.set("wal", "stall")
        client.send(*[wire.query(t.encode()) if whole else extended(t, name=b"same") + wire.SYNC for t in texts])
        cancels(stage, client)
        assert client.until("Z", seconds=5).sqlstate == "57014"
        stage.faults.clear()
        answer = client.ready(2)
        # The second batch may use the name again, because the first one never made it; the third may not.
        assert answer.tags == (["INSERT 0 1"] * 2 if whole else ["INSERT 0 1"])
        assert answer.sqlstate == ("" if whole else "42P05")
    assert [bool(stage.seen(word, since)) for word in words[:2]] == [False, True]


def test_a_batch_that_is_not_over_is_void_up_to_its_sync(stage: Stage) -> None:
    """The error comes without a ReadyForQuery, what is sent before the Sync is skipped, and names it made are unknown."""
    since, word = stage.database.position(), fresh()
    with ready(stage) as client:
        stage.faults.set("wal", "stall")
        client.send(extended(STATEMENTS["write"].format(word), name=b"mine"), wire.FLUSH)
        cancels(stage, client)
        assert client.until("E", "Z", seconds=5).sqlstate == "57014"
        client.send(extended(STATEMENTS["write"].format(word + "more")))
        assert client.quiet(0.3).kinds == ""
        stage.faults.clear()
        assert client.send(wire.SYNC).ready().status == "I"
        client.send(wire.bind(b"", b"mine", (), (), ()), wire.SYNC)
        assert client.ready().sqlstate == "26000"
    assert stage.seen(word, since) == []


def test_behind_a_batch_that_is_open_at_the_target_it_is_aborted_there(stage: Stage) -> None:
    """What ran before it in the same implicit transaction is rolled back, as after any error."""
    since, word = stage.database.position(), fresh()
    with ready(stage, sub=word) as client:
        client.send(extended(STATEMENTS["write"].format(word + "before")), wire.FLUSH)
        assert client.until("C", "E").tags == ["INSERT 0 1"]
        stage.faults.set("wal", "stall")
        client.send(extended(STATEMENTS["write"].format(word)), wire.SYNC)
        cancels(stage, client)
        client.quiet(0.3)
        stage.faults.clear()
        answer = client.ready()
        assert (answer.sqlstate, answer.status, answer.tags) == ("57014", "I", [])
        assert client.query(f"select count(*) from marks where what like '{word}%'").values == ["0"]
    assert [s for s in stage.seen(word, since) if f"'{word}'" in s] == []
    until(lambda: len(stage.events("operation.settled", subject=word)) == 2)
    assert [e.body["outcome"] for e in stage.events("operation.settled", subject=word)] == ["rolled_back", "not_run"]


def test_what_waits_behind_the_gateways_own_question_can_be_cancelled(stage: Stage) -> None:
    """The first statement of a session waits until the gateway has looked at it: cancelled then, it is refused unsent, and
    the next one is not."""
    since, word = stage.database.position(), fresh()
    with RawClient.to(stage.door, sub=word) as client:
        stage.faults.set("wal", "stall")
        client.send(wire.query(STATEMENTS["write"].format(word).encode()))
        cancels(stage, client)
        stage.faults.clear()
        answer = client.until("Z")
        assert (answer.sqlstate, answer.status) == ("57014", "I")
        assert client.query(STATEMENTS["write"].format(word + "next")).tags == ["INSERT 0 1"]
    assert [s for s in stage.seen(word, since) if f"'{word}'" in s] == []
    until(lambda: [e.body["code"] for e in stage.events("operation.refused", subject=word)] == ["cancelled"])


def test_a_held_statement_can_be_cancelled(stage: Stage) -> None:
    """57014 at once; its request is parked on record, a later approval runs nothing by itself, and the connection goes on."""
    since, word = stage.database.position(), fresh()
    with ready(stage, sub=word, groups=["asking"]) as client:
        client.send(wire.query(STATEMENTS["write"].format(word).encode()))
        approval = client.held().held
        cancel(stage.door, client.pid, client.secret)
        answer = client.until("Z", seconds=5)
        assert (answer.sqlstate, answer.status) == ("57014", "I")
        assert approval in answer.errors[0]["M"]
        until(lambda: approval in [e.body["approval"] for e in stage.events("approval.parked")])
        stage.approve(approval)
        assert client.query("select 41 + 1").values == ["42"]
    assert stage.seen(word, since) == []


def test_a_cancellation_that_comes_when_nothing_waits_cancels_nothing(stage: Stage) -> None:
    """Nor does it take what is sent after it."""
    with ready(stage) as client:
        cancel(stage.door, client.pid, client.secret)
        assert client.query("select 41 + 1").values == ["42"]
        cancel(stage.door, client.pid, bytes(len(client.secret)))
        assert client.query("select 42 + 1").values == ["43"]
