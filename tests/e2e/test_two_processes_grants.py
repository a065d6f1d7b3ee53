"""Grants at two gateways that share a data directory: one is killed between the counting of a use and its statement; two want
the last use at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from doorward.cli.verify_votes import check_votes
from doorward.ledger.verify import Status
from tests.e2e.test_two_processes import server, two
from tests.rig import record
from tests.rig.approvers import call, vote
from tests.rig.faults import Faults, fresh, until
from tests.rig.gateway import Gateway
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

__all__ = ["server"]

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("held") @quorum("1") @approvers("dba") @grantable("1h")
permit (principal in Group::"agents", action == Action::"write", resource) when { context.approved };
@id("dba") permit (principal in Group::"dba", action in [Action::"approve", Action::"administer", Action::"replay"], resource);
"""


class Place:
    """Both, the switches of the first, and the database."""

    def __init__(self, doors: tuple[Gateway, Gateway], faults: Faults, database: PostgresServer) -> None:
        self.one, self.two = doors
        self.faults, self.database = faults, database

    def granted(self, sub: str, statements: int) -> str:
        """A grant of so many statements, that dora has agreed to."""
        wanted = {"target": "shop", "actions": ["write"], "minutes": 10, "statements": statements, "rows": 100, "reason": "e2e"}
        status, grant = call(self.two, "/api/approvals", wanted, sub=sub, groups=["agents"])
        assert status == 200, grant
        status, answer = vote(self.two, grant["id"])
        assert status == 200, answer
        return str(grant["id"])

    def state(self, grant: str) -> str:
        return str(call(self.two, f"/api/approvals/{grant}", sub="dora", groups=["dba"])[1]["state"])

    def run(self, door: Gateway, sub: str, word: str) -> str:
        """One statement, by a client that does not wait for people; "" or the error's code."""
        try:
            with door.connect(sub=sub, groups=["agents"]) as connection:
                connection.execute("set doorward.wait = '100ms'")
                connection.execute(f"insert into marks (what) values ('{word}')")
            return ""
        except psycopg.Error as error:
            return error.sqlstate or "broken"

    def marks(self, word: str) -> int:
        with self.database.connect() as direct:
            row = direct.execute("select count(*) from marks where what = %s", (word,)).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, server: PostgresServer) -> Iterator[Place]:
    """The first signature is recorded by the second process. At the end their record must be sound, and prove every use."""
    folder = tmp_path_factory.mktemp("grants")
    faults, issuer = Faults(folder / "faults"), LocalIssuer()
    with two(
        folder, issuer, server, policy=POLICY, faults=faults.folder, limits={"connections_per_identity": 50}
    ) as doors:
        yield Place(doors, faults, server)
        for door in doors:
            assert door.stop() == 0
        report = record.verdict(folder / "data")
        proved = check_votes(folder / "data", report)
        assert (report.status, proved.unread) == (Status.SOUND, ""), (report.faults[:3], report.gaps[:3], proved)
    issuer.down()


@pytest.mark.parametrize("moment", ["die-before", pytest.param("die-after", marks=pytest.mark.campaign)])
def test_who_dies_with_a_use_counted_has_lost_it_and_ran_nothing(place: Place, moment: str) -> None:
    """kill -9 with the use in the store and before, or after, it is on record: the statement never runs; the use is gone for
    the other gateway, too; and with the dead one's return the grant is over, for nobody knows what ran."""
    sub, word = f"bot-{moment}", fresh()
    grant = place.granted(sub, 3)
    place.faults.set(moment, "grant.used")
    assert place.run(place.one, sub, word) in ("broken", "57P01", "08006")
    place.faults.clear()
    assert place.marks(word) == 0
    assert place.state(grant) == "approved"
    assert place.run(place.two, sub, word) == ""
    until(lambda: call(place.two, f"/api/approvals/{grant}", sub="dora", groups=["dba"])[1]["left"]["statements"] == 1)
    place.one.kill()  # it is dead; the rig has to know
    place.one.start()
    until(lambda: place.state(grant) == "withdrawn")
    for door in (place.one, place.two):
        assert place.run(door, sub, word) == "57014"
    assert place.marks(word) == 1


def test_of_two_gateways_that_want_the_last_use_one_gets_it(place: Place) -> None:
    """At the same moment, three times: one statement runs, the other is held."""
    for number in range(3):
        word = fresh()
        sub = f"racer-{number}-{word}"
        grant = place.granted(sub, 1)
        said: list[str] = []
        gate = threading.Barrier(2)

        def wants(door: Gateway, who: str = sub, what: str = word, gate: threading.Barrier = gate, to: Any = said) -> None:
            gate.wait()
            to.append(place.run(door, who, what))

        both = [threading.Thread(target=wants, args=(door,)) for door in (place.one, place.two)]
        for each in both:
            each.start()
        for each in both:
            each.join(60)
        assert sorted(said) == ["", "57014"], number
        assert place.marks(word) == 1
        assert place.state(grant) == "spent"


@pytest.mark.campaign
def test_a_hundred_last_uses(place: Place) -> None:
    """The same, often."""
    for _ in range(34):
        test_of_two_gateways_that_want_the_last_use_one_gets_it(place)
