"""Races for approvals at two gateways that share a data directory, of which now and then one is killed: nothing runs twice,
nothing after a no, nothing without a yes, and the record of it all is sound and proves each vote.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psycopg
import pytest

from doorward.cli.verify_votes import check_votes
from doorward.ledger.verify import Status
from tests.e2e.test_two_processes import server, two
from tests.rig import record
from tests.rig.approvers import call, register, vote
from tests.rig.gateway import Gateway
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

__all__ = ["server"]

WIDE = {"connections_per_identity": 100, "approvals_per_identity": 1000, "hold": "20s"}


class Races:
    """Some requests at once, each with its own dice. `outcomes` says what became of them, for people who read a failure."""

    def __init__(self, doors: tuple[Gateway, Gateway], seed: int) -> None:
        self.doors = doors
        self.seed = seed
        self.outcomes: Counter[str] = Counter()
        self.turn = threading.Lock()

    def submit(self, door: Gateway, number: int, seconds: float, told: Queue[str]) -> str:
        """The statement, by a client that is gone after some time; "done" or why not. `told` gets its request."""
        try:
            with door.connect(sub=f"bot{self.seed}-{number}", groups=["agents"]) as connection:
                connection.add_notice_handler(lambda said: told.put((said.message_primary or "").split()[2]))
                over = threading.Event()
                threading.Thread(target=self.cancel, args=(connection, seconds, over), daemon=True).start()
                try:
                    connection.execute(f"insert into marks (what) values ('race {self.seed} {number}')")
                finally:
                    over.set()
            return "done"
        except psycopg.Error as error:
            return error.sqlstate or "broken"

    @staticmethod
    def cancel(connection: psycopg.Connection, seconds: float, over: threading.Event) -> None:
        """After that long, and again: what comes before its statement, or does not come through, cancels nothing."""
        while not over.wait(seconds):
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=2)
            seconds = 1.0

    def one(self, number: int) -> tuple[str, ...]:
        dice = random.Random(f"{self.seed} {number}")  # noqa: S311 - so that it can be run again
        said: list[str] = []
        told: Queue[str] = Queue()

        def client() -> None:
            for _ in range(dice.choice((1, 1, 2, 3))):
                said.append(self.submit(dice.choice(self.doors), number, dice.choice((0.3, 3.0, 6.0)), told))

        clients = [threading.Thread(target=client, daemon=True) for _ in range(dice.choice((1, 1, 2)))]
        for each in clients:
            each.start()
        with contextlib.suppress(Empty):
            request = told.get(timeout=10)
            for _ in range(dice.choice((1, 1, 2))):
                time.sleep(dice.choice((0, 0.05, 0.3)))
                with contextlib.suppress(OSError, HTTPException):  # whoever was asked has died
                    self.decide(dice, request, number)
        for each in clients:
            each.join(60)
            assert not each.is_alive()
        with self.turn:
            self.outcomes.update(said)
        return tuple(said)

    def decide(self, dice: random.Random, request: str, number: int) -> None:
        door, what = dice.choice(self.doors), dice.choice(("yes", "yes", "yes", "no", "withdraw", "nothing"))
        if what in ("yes", "no"):
            vote(door, request, approve=what == "yes", sub=dice.choice(("dora", "dean")))
        elif what == "withdraw":
            call(door, f"/api/approvals/{request}/withdraw", {}, sub=f"bot{self.seed}-{number}", groups=["agents"])


def campaign(doors: tuple[Gateway, Gateway], seed: int, count: int, kills: int) -> Races:
    """`count` races, ten at once; meanwhile one of the gateways dies so often, and starts again."""
    races = Races(doors, seed)
    dice = random.Random(seed)  # noqa: S311
    for who in ("dora", "dean"):
        register(doors[0], sub=who, groups=["dba"])
    with ThreadPoolExecutor(10) as pool:
        running = [pool.submit(races.one, number) for number in range(count)]
        for each in range(kills):
            while sum(race.done() for race in running) < (each + 1) * count // (kills + 1):
                time.sleep(0.05)
            victim = dice.choice(doors)
            victim.kill()
            time.sleep(dice.choice((0, 0.5)))
            victim.start()
        for race in running:
            race.result()
    return races


def judged(data: Path, server: PostgresServer, seed: int) -> Counter[str]:
    """Hold what ran against the record."""
    with server.connect() as direct:
        ran = Counter(what for (what,) in direct.execute("select what from marks where what like %s", (f"race {seed} %",)))
    assert not [what for what, times in ran.items() if times > 1], "it ran twice"
    events = record.events(data)
    asked = {e.body["approval"]: e for e in events if e.type == "approval.requested"}
    votes: dict[str, list[tuple[int, bool]]] = {}
    spent: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for index, event in enumerate(events):
        if event.type == "approval.voted":
            votes.setdefault(event.body["approval"], []).append((index, event.body["approve"]))
        elif event.type == "approval.spent":
            spent[event.body["approval"]] += 1
        elif event.type == "operation.permitted" and event.body.get("approval"):
            runs[event.body["approval"]] += 1
    assert all(times == 1 for times in spent.values()), "spent twice"
    assert all(times == 1 for times in runs.values()), "permitted twice"
    assert set(runs) <= set(spent) <= set(asked)
    assert all(any(yes for _, yes in votes.get(request, [])) for request in spent), "nobody said yes"
    assert sum(ran.values()) <= len(runs)
    report = record.verdict(data)
    proved = check_votes(data, report)
    assert (proved.unread, proved.spent) == ("", len(spent))
    assert report.status is Status.SOUND, (report.faults[:3], report.gaps[:3])
    return Counter(ran=len(ran), permitted=len(runs), spent=len(spent), asked=len(asked), voted=sum(map(len, votes.values())))


def raced(folder: Path, issuer: LocalIssuer, server: PostgresServer, seed: int, count: int, kills: int) -> dict[str, Any]:
    with two(folder, issuer, server, limits=WIDE) as doors:
        races = campaign(doors, seed, count, kills)
        for door in doors:
            door.stop()
        return {**judged(folder / "data", server, seed), "answers": races.outcomes}


def test_races_at_two_gateways(tmp_path: Path, local_issuer: LocalIssuer, server: PostgresServer) -> None:
    """A few, and one death."""
    found = raced(tmp_path, local_issuer, server, 7, 10, 1)
    assert found["ran"], found


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_races_at_two_gateways(
    seed: int, tmp_path: Path, local_issuer: LocalIssuer, server: PostgresServer
) -> None:
    """A hundred each, and six deaths."""
    found = raced(tmp_path, local_issuer, server, 100 + seed, int(os.environ.get("DOORWARD_RACES", "100")), 6)
    print(found)
    assert found["ran"] > 10, found
