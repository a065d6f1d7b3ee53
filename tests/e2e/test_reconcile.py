"""Who did not come through the gateway: what a real server says of its connections, against the record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest

from doorward.ledger.verify import Status
from tests.rig import record, shared
from tests.rig.faults import until
from tests.rig.gateway import Gateway, target_of
from tests.rig.postgres import PostgresServer, embedded_binaries, start

ADMINISTRATOR = {"sub": "adam", "groups": ["admins"]}
CARD = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    """One of this module's own: it writes its log in both formats, and nobody else is connected."""
    settings = {
        "logging_collector": "on", "log_destination": "jsonlog,csvlog", "log_connections": "on", "log_directory": "log",
        "log_filename": "server.log", "log_file_mode": "0644",
    }  # fmt: skip
    name = f"postgres-log-{os.getpid()}"
    made = shared.once(name, lambda own: asdict(start(name, embedded_binaries(), own, tls=False, settings=settings)))
    return PostgresServer(**made)  # type: ignore[arg-type]  # it came from asdict


def at(door: Gateway) -> tuple[str, str]:
    return "--gateway", f"http://127.0.0.1:{door.http_port}"


def found(door: Gateway, *arguments: str | Path) -> dict[str, Any]:
    done = door.cli("reconcile", "shop", *arguments, "--json", *at(door), token=door.token(**ADMINISTRATOR))
    assert done.stdout, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1 if said["findings"] else 0, "")
    return said


def closed(door: Gateway) -> bool:
    """Whether the sessions of clients are over, on record."""
    listed = door.cli("sessions", "list", "--json", *at(door), token=door.token(**ADMINISTRATOR))
    return all(session["state"] != "open" or session["kind"] == "service" for session in json.loads(listed.stdout))


def test_who_came_another_way(server: PostgresServer, gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    """Sessions of ours are told from others, however they call themselves: in pg_stat_activity, and in the server's log in
    either format. Who came another way is on record, once, and masked; an expected role is not; who merely bears a session's
    name is found out."""
    with server.connect() as direct:
        direct.execute("create role backup login password 'backup-Passw0rd'")
    target = target_of(server, tmp_path, reconcile="0s", expected_roles=["backup"])
    siem = tmp_path / "siem.jsonl"
    door = gateway(targets=[target], export=[{"name": "siem", "kind": "file", "path": str(siem)}])
    with psycopg.connect(door.dsn(), application_name="report", autocommit=True) as ours:
        ours.execute("select 1")
        with server.connect() as direct:
            named = "select pid, application_name from pg_stat_activity where application_name like 'doorward % %'"
            backend, name = direct.execute(named).fetchone() or (0, "")
        ours.execute("set application_name = 'somebody else'")
        with (
            server.connect(application_name=f"sync {CARD}") as other,
            server.connect(application_name=name) as impostor,
            server.connect(user="backup", password="backup-Passw0rd"),
        ):
            pids = {"bypass": other.info.backend_pid, "impostor": impostor.info.backend_pid}
            started = time.monotonic()
            until(lambda: time.monotonic() > started + 6)  # the youngest are left for the next time
            now = found(door)
            again = found(door)
    assert {f["verdict"]: f["pid"] for f in now["findings"]} == pids
    assert (now["seen"], now["ours"], now["expected"], now["new"]) == (5, 2, 1, 2)  # ours: the client's, and the gateway's own
    assert (again["new"], len(again["findings"])) == (0, 2)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.dsn(user="backup", password="wrong"))  # who is turned away has no session
    until(lambda: closed(door))
    for name in ("server.json", "server.csv"):
        log = Path(server.log).parent / "cluster" / "log" / name
        said = found(door, "--log", log)
        bypassed = {f["pid"]: f for f in said["findings"]}
        assert set(pids.values()) <= set(bypassed)
        assert bypassed[pids["impostor"]]["verdict"] == "impostor"
        assert backend not in bypassed
        assert said["expected"] == 1
        assert said["unread"] == 0
    listed = json.loads(door.cli("exports", "--json", *at(door), token=door.token(**ADMINISTRATOR)).stdout)
    assert (listed[0]["name"], listed[0]["error"], listed[0]["sent"] > 0) == ("siem", "", True)
    until(lambda: '"bypass.found"' in siem.read_text())
    sent = [json.loads(line) for line in siem.read_text().splitlines()]
    assert [event["metadata"]["sequence"] for event in sent] == list(range(len(sent)))
    assert {event["class_uid"] for event in sent} >= {2004, 3002, 6003}
    assert CARD not in siem.read_text()
    assert door.stop() == 0
    events = [e.body for e in record.events(door.data, "bypass.found")]
    assert len({e["finding"] for e in events}) == len(events)
    assert {e["pid"] for e in events} >= set(pids.values())
    assert not any(CARD in json.dumps(e) for e in events)
    assert len(record.events(door.data, "target.reconciled")) >= 4
    assert record.verdict(door.data).status is Status.SOUND


def test_the_schedule_finds_them_too(server: PostgresServer, gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    """Nobody has to ask: a connection past the gateway is in its log and on record."""
    door = gateway(targets=[target_of(server, tmp_path, reconcile="1s")])
    with server.connect() as direct:
        pid = direct.info.backend_pid
        until(lambda: any(e["event"] == "bypass.found" for e in door.events()), seconds=25)
    door.stop()
    assert pid in {e.body["pid"] for e in record.events(door.data, "bypass.found")}
    assert {e.actor for e in record.events(door.data, "target.reconciled")} == {""}


@pytest.mark.parametrize("kind", ["nothing", "text", "missing"])
def test_what_is_no_log_is_said(kind: str, server: PostgresServer, gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    """A file that is no csvlog or jsonlog is an error that says what to set; so is one that is not there."""
    del server
    path = tmp_path / "log"
    if kind != "missing":
        path.write_text("" if kind == "nothing" else "2026-11-23 LOG:  database system is ready\n" * 3)
    door = gateway()
    done = door.cli("reconcile", "shop", "--log", path, *at(door), token=door.token(**ADMINISTRATOR))
    assert done.returncode == (0 if kind == "nothing" else 3)
    words = {"nothing": "log_connections", "text": "jsonlog", "missing": "No such file"}
    assert words[kind] in done.stderr
