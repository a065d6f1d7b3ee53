"""A gateway whose faults a test may switch on, shared by the tests of a worker, and how to see what it makes of them.

Fixture `stage`: the real program under `tests.rig.faulty`, before a database of its own. Who may do what, by group:
everyone reads; `asking` needs an approval (of `dba`) for anything else, and everyone else does not. Targets: `shop`; the
same as `batched`; as `watched`, in observe mode; as `sampled` and `shaped`, which are recorded so; and `nowhere`, where
nobody listens. After each test all faults are off and the gateway works; at the end its whole record must be sound.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from doorward.ledger.verify import Status
from doorward.model import Event
from tests.rig import record, shared
from tests.rig.approvers import vote
from tests.rig.faulty import FAULTY
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer, copied

ACTIONS = '[Action::"write", Action::"define", Action::"execute", Action::"control"]'
POLICY = f"""
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("all") permit (principal, action in {ACTIONS}, resource) unless {{ principal in Group::"asking" }};
@id("ask") @quorum("1") @approvers("dba") permit (principal in Group::"asking", action in {ACTIONS}, resource)
    when {{ context.approved }};
@id("dba") permit (principal in Group::"dba", action == Action::"approve", resource);
@id("masked") forbid (principal, action == Action::"unmask", resource);
"""


class Faults:
    """The switches of one gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def set(self, name: str, kind: str = "on") -> None:
        beside = self.folder / f".{name}"
        beside.write_text(kind)
        beside.rename(self.folder / name)

    def clear(self) -> None:
        for each in self.folder.iterdir():
            each.unlink()


@dataclasses.dataclass
class Stage:
    """The gateway, its switches, and the database behind it."""

    door: Gateway
    faults: Faults
    database: PostgresServer

    def ready(self) -> bool:
        """What `/readyz` says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.door.http_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # HTTPError, and a gateway that is not there
            return False

    def works(self) -> bool:
        """Whether a statement goes through."""
        try:
            with self.door.connect() as connection:
                return connection.execute("select 41 + 1").fetchall() == [(42,)]
        except psycopg.Error:
            return False

    def rss(self) -> int:
        """Resident bytes of the gateway."""
        for line in Path(f"/proc/{self.door.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError

    def seen(self, word: str, since: int) -> list[str]:
        """The statements that reached the target and hold `word`, but for the gateway's own plans and counts."""
        return [
            text for text in self.database.statements(since=since)
            if word in text and not text.startswith("EXPLAIN") and " AS doorward" not in text
        ]  # fmt: skip

    def events(self, kind: str = "", *, subject: str = "") -> list[Event]:
        """The events that are in the log by now; of one identity's sessions, when `subject` is given."""
        found = record.events(self.door.data)
        if subject:
            sessions = {e.session_id for e in found if e.type == "session.opened" and e.body["subject"] == subject}
            found = [e for e in found if e.session_id in sessions]
        return [e for e in found if kind in ("", e.type)]

    def approve(self, approval_id: str, *, approve: bool = True) -> None:
        """Vote, as somebody of `dba`."""
        status, answer = vote(self.door, approval_id, approve=approve)
        assert status == 200, answer


def fresh() -> str:
    """A word that no other test uses."""
    return "mark" + secrets.token_hex(6)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until it is so."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def copy_of_shop(server: PostgresServer, name: str) -> PostgresServer:
    """A database of one's own, made of `shop`, with an empty table `marks`."""
    database = copied(server, name)
    with database.connect() as connection:
        connection.execute("create table marks (id integer generated always as identity, what text)")
    return database


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Stage]:
    """The stage itself; tests ask for `stage`."""
    folder = tmp_path_factory.mktemp("stage")
    database = copy_of_shop(postgres, "stage")
    faults = Faults(folder / "faults")
    issuer = LocalIssuer()
    door_folder = folder / "door"
    door_folder.mkdir(mode=0o700)
    targets = [
        target_of(database, door_folder, name="shop"),
        target_of(database, door_folder, name="batched", durability="batched"),
        target_of(database, door_folder, name="watched", mode="observe"),
        target_of(database, door_folder, name="sampled", record="sample"),
        target_of(database, door_folder, name="shaped", record="shape"),
        target_of(database, door_folder, name="nowhere", port=shared.free_port()),
    ]
    with launch(
        door_folder, issuer, database, targets=targets, policy=POLICY, program=FAULTY,
        environment={"FAULTS": str(faults.folder)}, limits={"pre_auth": "5s"},
    ) as door:  # fmt: skip
        yield Stage(door, faults, database)
        faults.clear()
        assert door.stop() == 0
        report = record.verdict(door.data)
        assert report.status is Status.SOUND, (report.faults[:3], report.gaps[:3])
    issuer.down()


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """The worker's gateway, in good order before and after."""
    yield shared_stage
    shared_stage.faults.clear()
    until(lambda: shared_stage.ready() and shared_stage.works())
