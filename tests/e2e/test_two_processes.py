"""Two gateways that share a data directory: one record, one set of requests, identities and labels; one of them is killed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from doorward.ledger.verify import Status
from doorward.protocols.postgres import wire
from tests.rig import record
from tests.rig.approvers import call, register, vote
from tests.rig.faults import until
from tests.rig.faulty import FAULTY
from tests.rig.gateway import Gateway, launch, prepare, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer, copied
from tests.rig.rawclient import RawClient, cancel

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("rebuild") permit (principal in Group::"builders", action in [Action::"define", Action::"write"], resource);
@id("held") @quorum("1") @approvers("dba") permit (principal in Group::"agents", action == Action::"write", resource)
    when { context.approved };
@id("few") @budget("5") permit (principal, action == Action::"infer", resource);
@id("dba") permit (principal in Group::"dba", action in [Action::"approve", Action::"administer", Action::"replay"], resource);
"""
MOST = {"labels": {"public.customers.ssn": "ssn"}, "detect": False}


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> PostgresServer:
    own = copied(postgres, "pair")
    with own.connect() as direct:
        direct.execute("create table marks (id integer generated always as identity, what text)")
    return own


@contextlib.contextmanager
def two(
    folder: Path, issuer: LocalIssuer, server: PostgresServer, *, policy: str = POLICY, faults: Path | None = None,
    **sections: Any,
) -> Iterator[tuple[Gateway, Gateway]]:  # fmt: skip
    """Two that run, on one data directory `folder / "data"`; the first of them with `faults`, if there are."""
    gateway = {"data": str(folder / "data"), "drain": "5s", "processes": 2}
    first: dict[str, Any] = {"program": FAULTY, "environment": {"FAULTS": str(faults)}} if faults is not None else {}
    with launch(folder / "one", issuer, server, target=MOST, policy=policy, gateway=gateway, **sections, **first) as one:
        targets = [target_of(server, folder / "one", **MOST)]
        other = prepare(folder / "two", issuer, targets, policy=policy, gateway=gateway, **sections)
        try:
            yield one, other.start()
        finally:
            other.kill()


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, server: PostgresServer
) -> Iterator[tuple[Gateway, Gateway]]:
    issuer = LocalIssuer()
    with two(tmp_path_factory.mktemp("pair"), issuer, server) as both:
        yield both
    issuer.down()


class Asked(threading.Thread):
    """A write that is held, at one gateway."""

    def __init__(self, door: Gateway, what: str, sub: str = "bot") -> None:
        super().__init__(daemon=True)
        self.door, self.what, self.sub = door, what, sub
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.door.connect(sub=self.sub, groups=["agents"]) as connection:
                connection.execute(f"insert into marks (what) values ('{self.what}')")
        except psycopg.Error as error:
            self.error = error

    def done(self) -> Exception | None:
        self.join(30)
        assert not self.is_alive()
        return self.error


def request_of(door: Gateway, who: str) -> str:
    """The request of somebody that waits, as this gateway sees it."""
    found: list[str] = []

    def there() -> bool:
        status, listed = call(door, "/api/approvals?state=waiting", sub="dora", groups=["dba"])
        found[:] = [each["id"] for each in listed if status == 200 and each["requested_by"].endswith(f"|{who}")]
        return bool(found)

    until(there)
    return found[0]


def marks(server: PostgresServer, what: str) -> int:
    with server.connect() as direct:
        row = direct.execute("select count(*) from marks where what = %s", (what,)).fetchone()
    assert row is not None
    return int(row[0])


def test_what_is_asked_at_one_is_approved_at_the_other(pair: tuple[Gateway, Gateway], server: PostgresServer) -> None:
    """Also with a key that was registered at the first a moment ago; the one that waits hears of it at once."""
    one, two_ = pair
    register(one, sub="dora", groups=["dba"])
    asked = Asked(one, "across", "bot-across")
    request = request_of(two_, "bot-across")
    begun = time.monotonic()
    assert vote(two_, request)[0] == 200
    assert asked.done() is None
    assert time.monotonic() - begun < 20
    assert marks(server, "across") == 1


def test_a_key_that_is_revoked_at_one_votes_at_neither(pair: tuple[Gateway, Gateway], server: PostgresServer) -> None:
    """A vote by it does not count any more, wherever the statement waits."""
    one, two_ = pair
    asked = Asked(one, "revoked", "bot-revoked")
    request = request_of(two_, "bot-revoked")
    register(two_, sub="eve", groups=["dba"])
    [key] = call(one, "/api/keys", sub="eve", groups=["dba"])[1]
    assert call(one, f"/api/keys/{key['id']}", sub="eve", groups=["dba"], method="DELETE")[0] == 200
    status, said = vote(two_, request, sub="eve")
    assert (status, "revoked" in str(said)) == (403, True), said
    assert vote(two_, request, approve=False)[0] == 200
    assert asked.done() is not None
    assert marks(server, "revoked") == 0


def test_a_label_that_a_statement_carried_at_one_masks_at_the_other(pair: tuple[Gateway, Gateway]) -> None:
    """MK-10, across processes: into a table that both knew, and into one that is new."""
    one, two_ = pair
    with (
        one.connect(sub="builder", groups=["builders"]) as writes, two_.connect(sub="reader", groups=["people"]) as reads,
    ):  # fmt: skip
        writes.execute("create table carried (id int, a text)")
        writes.execute("insert into carried values (0, 'plain')")
        assert reads.execute("select a from carried").fetchall() == [("plain",)]
        for number in range(1, 4):
            writes.execute(f"create table carried{number} (id int, a text)")
            assert reads.execute(f"select a from carried{number}").fetchall() == []
            writes.execute(f"insert into carried{number} select id, ssn from customers")
            seen = {a for (a,) in reads.execute(f"select a from carried{number}").fetchall()}
            assert seen
            assert not any(a and any(c.isdigit() for c in a) for a in seen), seen


def test_a_budget_is_one_for_both(pair: tuple[Gateway, Gateway]) -> None:
    """MK-12, across processes."""
    doors = [*pair, *pair, *pair, *pair]
    had = []
    for door in doors:
        with door.connect(sub="guesser", groups=["people"]) as connection:
            try:
                connection.execute("select count(*) from customers where ssn < '5'")
                had.append("")
            except psycopg.Error as error:
                had.append(error.sqlstate or "")
        time.sleep(1.1)  # what is left of a reservation is given back a second later
    assert had == [""] * 5 + ["53400"] * 3


def test_who_is_revoked_at_one_is_put_out_at_the_other(pair: tuple[Gateway, Gateway]) -> None:
    """At once: the answer to the administrator says that it is so."""
    one, two_ = pair
    with two_.connect(sub="mallory", groups=["people"]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        who = f"{one.issuer.url}|mallory"
        status, said = call(one, "/api/revocations", {"kind": "subject", "value": who, "reason": "gone"},
                            sub="dora", groups=["dba"])  # fmt: skip
        assert status in (200, 201), said
        with pytest.raises(psycopg.Error):
            connection.execute("select 1")


def test_a_session_is_ended_from_whichever_process(pair: tuple[Gateway, Gateway]) -> None:
    """The other one lists it, and ends it for who may; when the answer is there, it is over. Who may not cannot tell it from
    none."""
    one, two_ = pair
    with two_.connect(sub="ended-there", groups=["people"]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        who = f"{one.issuer.url}|ended-there"

        def listed() -> list[Any]:
            found = call(one, f"/api/sessions?state=open&identity={who}", sub="dora", groups=["dba"])[1]
            return list(found)

        until(lambda: len(listed()) == 1)
        [session] = listed()
        place = f"/api/sessions/{session['id']}/end"
        assert call(one, place, {}, sub="mallet", groups=["people"])[0] == 404
        assert connection.execute("select 2").fetchone() == (2,)
        assert call(one, place, {}, sub="dora", groups=["dba"]) == (200, {"session": session["id"], "ended": True})
        with pytest.raises(psycopg.Error, match="an administrator ended this session"):
            connection.execute("select 1")
        until(lambda: listed() == [])
        assert call(one, place, {}, sub="dora", groups=["dba"])[0] == 404


def test_a_cancel_request_finds_its_session_in_whichever_process(pair: tuple[Gateway, Gateway]) -> None:
    """Sent to the other one: a long statement ends, and nothing else; with a wrong key nothing happens at either."""
    one, two_ = pair
    slow = "select count(*) from generate_series(1, 2000000000)"
    with RawClient.to(two_, sub="slow", groups=["people"]) as client, RawClient.to(two_, sub="too", groups=["people"]) as other:
        client.send(wire.query(slow.encode()))
        time.sleep(0.3)
        cancel(one, client.pid, bytes(len(client.secret)))
        cancel(one, client.pid + 1, client.secret)
        assert client.quiet(0.5).messages == []
        cancel(one, client.pid, client.secret)
        assert client.until("Z", seconds=10).sqlstate == "57014"
        assert client.query("select 1").values == ["1"]
        assert other.query("select 1").values == ["1"]


def test_one_is_killed_and_the_other_goes_on(tmp_path: Path, server: PostgresServer, local_issuer: LocalIssuer) -> None:
    """Held at the one that dies, resumed at the other, run once; started again, it takes up what it left. One sound record of
    two gateways."""
    with two(tmp_path, local_issuer, server) as (one, two_):
        asked = Asked(one, "survives")
        request = request_of(two_, "bot")
        one.kill()
        assert asked.done() is not None
        again = Asked(two_, "survives")
        until(lambda: call(two_, f"/api/approvals/{request}", sub="dora", groups=["dba"])[1]["state"] == "waiting")
        assert vote(two_, request)[0] == 200
        assert again.done() is None
        assert marks(server, "survives") == 1
        one.start()
        [started] = [event for event in one.events()[-50:] if event["event"] == "gateway.started"][-1:]
        assert started["recovered"]["crashed"]
        two_.stop()
        one.stop()
        report = record.verdict(tmp_path / "data")
        assert (report.status, report.gateways) == (Status.SOUND, 2)
