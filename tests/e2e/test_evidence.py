"""What people and agents really do at a gateway is in the tables of its evidence, and a stranger finds the pack sound.

One gateway, one story, one pack; each test looks for one table's rows. Violations have their own tests, each over the table's
own history (`tests/unit/evidence/test_controls.py`); here are those that really happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from doorward.cli.main import run
from tests.e2e.test_cli_approvals import Held
from tests.rig.approvers import call, vote
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.packs import Pack, check
from tests.rig.postgres import PostgresServer
from tests.rig.records import newest
from tests.rig.verifier import VERIFIER

POLICY = """
@id("connect") permit (principal, action == Action::"connect", resource) unless { principal in Group::"nobody" };
@id("agents-read") permit (principal in Group::"agents", action == Action::"read", resource);
@id("agents-write") @quorum("1") @expires("10m")
permit (principal in Group::"agents", action == Action::"write", resource) when { context.approved };
@id("dbas") permit (principal in Group::"dba", action, resource);
@id("fraud") permit (principal in Group::"fraud", action in [Action::"read", Action::"write", Action::"unmask"], resource);
@id("auditors") permit (principal in Group::"auditors", action == Action::"replay", resource);
@id("support") permit (principal in Group::"support", action in [Action::"read", Action::"write"], resource);
"""
LABELS = {"detect": False, "labels": {"public.people.ssn": "ssn"}}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Pack]:
    """The story, and what is made of it while the gateway still runs."""
    folder, issuer = tmp_path_factory.mktemp("evidence"), LocalIssuer()
    with postgres.connect() as direct:
        direct.execute("create table if not exists people (id integer, ssn text)")
        direct.execute("insert into people values (1, '123-45-6789')")
    try:
        with launch(folder / "gateway", issuer, postgres, policy=POLICY, target=LABELS) as door:
            _story(door)
            said = ["--config", str(door.config), "--out", str(folder), "--auditor", "E2E", "--recordings"]
            assert run(["evidence", "pack", *said]) == 0
            made = next(each for each in folder.iterdir() if each.name.endswith(".zip"))
            (folder / "kept").write_bytes((door.data / "log/checkpoint").read_bytes())
            (folder / "vkey").write_bytes((door.data / "log/vkey").read_bytes())
        yield check(folder / made.name.removesuffix(".zip"), (folder / "vkey").read_text().strip())
    finally:
        issuer.down()
        with postgres.connect() as direct:
            direct.execute("drop table if exists people")


def _story(door: Gateway) -> None:
    held = Held(door, "DELETE FROM customers WHERE id = -1")
    assert vote(door, held.request, sub="bot", groups=["agents", "dba"])[0] != 200  # their own request
    forged = {"approve": True, "request": "{}", "signature": {"method": "sshsig", "signature": "x"}}
    assert call(door, f"/api/approvals/{held.request}/votes", forged, sub="dana", groups=["dba"])[0] != 200
    assert vote(door, held.request, sub="dana", groups=["dba"])[0] == 200
    held.over()
    assert (held.error, held.rows) == (None, 0)
    with door.connect(sub="bot", groups=["agents"]) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("drop table people")
        connection.execute("select g from generate_series(1, 1500) g").fetchall()
    with door.connect(sub="sue", groups=["support"]) as connection:
        connection.execute("update people set id = 2 returning ssn").fetchall()
    with door.connect(sub="fred", groups=["fraud"]) as connection:
        connection.execute("update people set id = 1 returning ssn").fetchall()
    keywords = door.keywords(sub="dana", groups=["dba"])
    with psycopg.connect(**keywords, application_name="psql", autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute("alter table people add column note text")
        connection.execute("checkpoint")
    with pytest.raises(psycopg.Error):
        door.connect(sub="eve", groups=["nobody"])
    with pytest.raises(psycopg.Error):
        door.connect(token="not.a.token")
    recorded = newest(door, "bot")
    assert call(door, f"/api/sessions/{recorded.id}/records", sub="dana", groups=["dba"])[0] == 200
    (door.folder / "policy.cedar").write_text(POLICY + '@id("more") permit (principal in Group::"new", action, resource);\n')
    assert call(door, "/api/policy/reload", {}, sub="dana", groups=["dba"])[0] == 200
    who = f"{door.issuer.url}|mallory"
    left = {"kind": "subject", "value": who, "reason": "left"}
    assert call(door, "/api/revocations", left, sub="dana", groups=["dba"])[0] == 201
    dba: dict[str, Any] = {"groups": ["dba"]}
    hold = {"case": "CASE-7", "reason": "a dispute", "sessions": [recorded.id]}
    assert call(door, "/api/holds", hold, sub="dana", **dba)[0] == 200
    assert call(door, "/api/holds/CASE-7/release", {}, sub="dana", **dba)[0] == 200
    assert call(door, "/api/holds/CASE-7/release", {}, sub="dora", **dba)[0] == 200
    agent = {"name": "cleaner", "owner": f"{door.issuer.url}|dana", "issuer": door.issuer.url, "bound": {"sub": "cleaner"}}
    assert call(door, "/api/agents", agent, sub="dana", **dba)[0] == 201
    assert call(door, "/api/agents/cleaner/disable", {}, sub="dana", **dba)[0] == 200
    with door.connect(sub="ann", groups=["agents"], act={"sub": "robot"}) as connection, pytest.raises(psycopg.Error):
        connection.execute("select 1")  # no policy is about robot
    newest(door, "robot")  # its session is closed and in the log, and with it all that was before


def rows(pack: Pack, table: str, **wanted: Any) -> list[dict[str, Any]]:
    """Rows of a table with these cells; of a list, what is in it."""

    def fits(row: dict[str, Any]) -> bool:
        return all(value in row[name] if isinstance(row[name], list) else row[name] == value for name, value in wanted.items())

    return [row for row in pack.tables[table] if fits(row)]


def test_the_pack_holds(pack: Pack) -> None:
    """For a reader of the specification, and for the independent verifier with a checkpoint kept elsewhere."""
    assert pack.faults == []
    kept = (pack.folder.parent / "kept").read_bytes()
    archive = pack.folder.with_name(pack.folder.name + ".zip")
    report = VERIFIER.check(str(archive), (pack.folder.parent / "vkey").read_text(), [("kept", kept)], b"")
    assert (report.faults, report.gaps) == ([], [])


@pytest.mark.parametrize(
    ("table", "cells"),
    [
        ("sessions", {"kind": "agent", "state": "closed", "protocol": "postgres"}),
        ("operations", {"action": "DELETE", "outcome": "completed", "rules": "agents-write", "resource": "shop"}),
        ("approvals", {"final": "used", "sod_ok": True, "order_ok": True, "in_time": True}),
        ("votes", {"decision": "approve", "method": "sshsig"}),
        ("votes_refused", {}),
        ("denials", {"kind": "operation", "action": "DROP TABLE"}),
        ("denials", {"kind": "session", "action": "connect"}),
        ("auth_events", {"kind": "token", "result": "refused"}),
        ("auth_events", {"kind": "session", "result": "let in", "assurance": "V1"}),
        ("identities", {"kind": "agent", "name": "robot"}),
        ("credentials", {"event": "registered"}),
        ("keys", {"use": "record key", "event": "created"}),
        ("retention", {"event": "created"}),
        ("policy_changes", {"kind": "changed", "changed": "more"}),
        ("decisions", {"outcome": "deny"}),
        ("decisions", {"outcome": "hold", "event": "operation.held"}),
        ("revocations", {"kind": "subject", "reason": "left", "sessions_after": 0}),
        ("unmask", {"labels": "ssn", "kind": "operation"}),
        ("mask_effect", {"label": "ssn", "cells_masked": 1, "resource": "shop"}),
        ("exports", {"rows": 1500}),
        ("utilities", {"kind": "program", "program": "psql"}),
        ("utilities", {"kind": "statement", "program": "CHECKPOINT"}),
        ("changes", {"action": "ALTER TABLE", "outcome": "completed"}),
        ("log_access", {}),
        ("legal_holds", {"event": "applied", "case": "CASE-7"}),
        ("legal_holds", {"event": "released", "case": "CASE-7"}),
        ("agents", {"event": "registered", "agent": "cleaner"}),
        ("agents", {"event": "disabled", "agent": "cleaner"}),
        ("identities", {"kind": "agent", "status": "disabled"}),
        ("log_integrity", {"seq_gaps": 0, "starts": 1}),
        ("clock", {}),
    ],
    ids=str,
)
def test_what_was_done_has_its_row(pack: Pack, table: str, cells: dict[str, Any]) -> None:
    """A real action created the row."""
    assert rows(pack, table, **cells), pack.tables[table]


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("identities.owner", "no person answers"),
        ("unmask.purpose", "no purpose"),
        ("utilities.approved", "CHECKPOINT"),
        ("changes.tied", "no ticket"),
        ("exports.purpose", "1500 rows"),
        ("votes.verified", "software"),
    ],
)
def test_what_was_wrong_is_an_exception(pack: Pack, test: str, words: str) -> None:
    """Of something that really happened, with the leaf that it rests on."""
    found = pack.exceptions(test)
    assert any(words in row["actual"] for row in found), pack.exceptions()
    assert all(row["leaf_index"] in pack.openings for row in found)


def test_what_did_not_happen_is_not_evidenced(pack: Pack) -> None:
    """No glass was broken and no target was reconciled: their tables are empty, and nothing is claimed of them."""
    assert pack.tables["breakglass"] == pack.tables["reconciliations"] == []
    tests = {each["test"]: each["status"] for each in pack.json("tests.json")["tests"]}
    assert tests["breakglass.review"] == tests["bypass.none"] == "no population"
    assert tests["approvals.sod"] == "passed"


def test_no_secret_and_no_masked_value_is_in_it(pack: Pack) -> None:
    """The planted number, the target's password and the tokens are in no file of the pack."""
    for path in pack.folder.rglob("*"):
        if path.is_file():
            octets = path.read_bytes()
            assert b"123-45-6789" not in octets, path
