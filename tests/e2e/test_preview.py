"""What an approver sees of a statement's consequences, on a real target."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from doorward.protocols.postgres import wire
from tests.rig import record
from tests.rig.approvers import call
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("ask") @quorum("1") permit (principal in Group::"agents", action in [Action::"write", Action::"define", Action::"execute"],
    resource) when { context.approved };
@id("dba") permit (principal in Group::"dba", action == Action::"approve", resource);
@id("law") permit (principal in Group::"agents", action == Action::"infer", resource);
"""
SCHEMA = """
create schema preview;
create table preview.people (id int primary key, name text, ssn text, note text);
create table preview.orders (id int primary key, person int references preview.people on delete cascade, total int);
create table preview.lines (id int primary key, "order" int references preview.orders on delete cascade);
create table preview.badges (id int primary key, person int references preview.people on delete set null);
create table preview.plain (id int primary key, name text, amount int, ssn text, note text);
create table preview.keyless (a int);
create table preview.watched (id int primary key, a int);
create table preview.parts (id int, a int, primary key (id)) partition by range (id);
create table preview.parts_1 partition of preview.parts for values from (0) to (1000);
create function preview.log() returns trigger language plpgsql as 'begin return new; end';
create function preview.spill() returns int immutable language plpgsql as 'begin raise exception ''ran''; end';
create trigger tells before update on preview.watched for each row execute function preview.log();
create trigger tells_part after update on preview.parts_1 for each statement execute function preview.log();
insert into preview.people select n, 'person ' || n, '457-55-5462', 'x' from generate_series(1, 30) n;
insert into preview.plain
    select n, 'person ' || n, n, '457-55-5462', 'mail me: p' || n || '@example.com' from generate_series(1, 200) n;
insert into preview.orders select n, n % 30 + 1, n from generate_series(1, 90) n;
insert into preview.watched select n, n from generate_series(1, 12) n;
insert into preview.parts select n, n from generate_series(1, 12) n;
insert into preview.keyless select n from generate_series(1, 20000) n;
analyze preview.people, preview.plain, preview.orders, preview.watched, preview.keyless;
"""


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A database that only these tests change."""
    name = f"preview_{secrets.token_hex(4)}"
    with postgres.connect() as connection:
        connection.execute(f"create database {name}".encode())
    with postgres.connect(dbname=name) as connection:
        connection.execute(SCHEMA.encode())
    yield dataclasses.replace(postgres, database=name)
    with postgres.connect() as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, database: PostgresServer) -> Iterator[Gateway]:
    """One gateway before a database of its own: `shop`, and `tried`, where changes may be tried."""
    issuer = LocalIssuer()
    folder = tmp_path_factory.mktemp("preview")
    labels = {"preview.people.ssn": "ssn", "preview.plain.ssn": "ssn"}
    targets = [
        target_of(database, folder, labels=labels),
        target_of(database, folder, name="tried", labels=labels, dry_run=True),
    ]
    with launch(folder / "gateway", issuer, database, targets=targets, policy=POLICY) as door:
        yield door
    issuer.down()


def preview(door: Gateway, text: str, *params: bytes | None, target: str = "shop", **how: Any) -> dict[str, Any]:
    """What dora, who may approve it, sees of a held statement's consequences. It is then withdrawn."""
    with RawClient.to(door, target, sub="bot", groups=["agents"]) as client:
        client.query("select 1")
        for setting in how.get("settings", ()):
            client.query(setting)
        if params:
            formats = how.get("formats", ())
            client.send(
                wire.parse(b"", text.encode(), how.get("oids", ())), wire.bind(b"", b"", formats, params, ()),
                wire.execute(b"", 0), wire.SYNC,
            )  # fmt: skip
        else:
            client.send(wire.query(text.encode()))
        reply = client.held()
        assert reply.held, reply.errors
        status, shown = call(door, f"/api/approvals/{reply.held}", sub="dora", groups=["dba"])
        assert status == 200
        assert call(door, f"/api/approvals/{reply.held}/withdraw", {}, sub="bot", groups=["agents"])[0] == 200
        found = shown["preview"]
        assert isinstance(found, dict)
        return found


def test_rows_are_counted_and_estimated(door: Gateway) -> None:
    """The planner's number and the true one."""
    found = preview(door, "update preview.plain set amount = 0 where id <= 7")
    assert found["rows"] == 7
    assert found["estimated_rows"] > 0
    [table] = found["tables"]
    assert (table["name"], table["rows_about"]) == ("preview.plain", 200)
    assert table["bytes"] > 8192
    assert found["lock"] == {"mode": "ROW EXCLUSIVE", "blocks": "changes of the same rows"}
    assert "dry_run" not in found


@pytest.mark.parametrize(("oids", "formats", "value"), [((), (), b"7"), ((23,), (1,), b"\0\0\0\x07"), ((0,), (0,), b"7")])
def test_bound_values_count(door: Gateway, oids: tuple[int, ...], formats: tuple[int, ...], value: bytes) -> None:
    """A parameter is the one that the client bound, as text or in binary."""
    found = preview(door, "delete from preview.plain where id <= $1", value, oids=oids, formats=formats)
    assert found["rows"] == 7


def test_many_rows_are_not_counted_to_the_end(door: Gateway) -> None:
    """Counting stops."""
    found = preview(door, "delete from preview.keyless")
    assert found["rows_at_least"] == 10_000
    assert "rows" not in found


def test_settings_decide_what_a_literal_means(door: Gateway) -> None:
    """The count is made under the search_path of the session."""
    found = preview(door, "delete from plain where id < 4", settings=["set search_path = preview"])
    assert found["rows"] == 3


def test_foreign_keys_are_followed(door: Gateway) -> None:
    """A delete reaches what cascades, and what that cascades to; an update only if it sets the key."""
    found = preview(door, "delete from preview.people where id = 1")
    assert {(c["from"], c["to"], c["action"]) for c in found["cascades"]} == {
        ("preview.people", "preview.orders", "CASCADE"), ("preview.orders", "preview.lines", "CASCADE"),
        ("preview.people", "preview.badges", "SET NULL"),
    }  # fmt: skip
    assert found["cascades"][0]["rows_about"] in (90, -1)
    assert "cascades" not in preview(door, "update preview.people set note = '' where id = 1")


def test_triggers_are_named(door: Gateway) -> None:
    """Those that the change fires, on the table and on its partitions; no others."""
    found = preview(door, "update preview.watched set a = 1")
    assert found["triggers"] == [
        {"table": "preview.watched", "name": "tells", "runs": "preview.log", "when": "before each row"}
    ]
    assert "triggers" not in preview(door, "delete from preview.watched")
    assert [t["table"] for t in preview(door, "update preview.parts set a = 1")["triggers"]] == ["preview.parts_1"]


def test_definitions_say_what_they_lock(door: Gateway) -> None:
    """Nothing is counted, and the table's size and the lock are there."""
    found = preview(door, "alter table preview.people add column more int")
    assert found["lock"] == {"mode": "ACCESS EXCLUSIVE", "blocks": "all reading and writing"}
    assert found["tables"][0]["rows_about"] == 30
    assert "rows" not in found


def test_nothing_of_ones_own_runs_to_be_looked_at(door: Gateway, database: PostgresServer) -> None:
    """A function of the database's own is neither planned nor counted."""
    since = database.position()
    found = preview(door, "delete from preview.plain where id = preview.spill()")
    assert found["not_counted"] == "it calls functions that are not PostgreSQL's own"
    assert [text for text in database.statements(since=since) if "spill()" in text] == []


def test_a_dry_run_shows_rows_before_and_after_and_leaves_nothing(door: Gateway, database: PostgresServer) -> None:
    """Masked: a labelled value, one that is copied into another column, and one that only detectors know."""
    found = preview(
        door, "update preview.plain set note = note || ' or call', name = name || '!' where id in (3, 5)", target="tried"
    )
    assert found["dry_run"] == {
        "rows": 2, "columns": ["id", "name", "note"],
        "before": [["3", "person 3", "mail me: [email]"], ["5", "person 5", "mail me: [email]"]],
        "after": [["3", "person 3!", "mail me: [email] or call"], ["5", "person 5!", "mail me: [email] or call"]],
    }  # fmt: skip
    with database.connect() as connection:
        assert connection.execute(b"select count(*) from preview.plain where note like '%or call'").fetchone() == (0,)


def test_a_dry_run_of_a_delete(door: Gateway, database: PostgresServer) -> None:
    """All columns, and nothing after it."""
    found = preview(door, "delete from preview.plain where id = 9", target="tried")["dry_run"]
    assert (found["rows"], found["columns"]) == (1, ["id", "name", "amount", "ssn", "note"])
    assert found["before"][0][3] == "[ssn]"
    assert "after" not in found
    with database.connect() as connection:
        assert connection.execute(b"select count(*) from preview.plain").fetchone() == (200,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("delete from preview.people where id = 1", "triggers, rules or foreign keys would run"),
        ("update preview.watched set a = 0", "triggers, rules or foreign keys would run"),
        ("insert into preview.plain (id) values (1000)", "use up sequences"),
    ],
)
def test_what_cannot_be_taken_back_is_not_tried(door: Gateway, text: str, why: str) -> None:
    """A dry run says why there is none."""
    assert why in preview(door, text, target="tried")["dry_run"]["not_run"]


def test_a_dry_run_that_fails_says_how(door: Gateway) -> None:
    """By SQLSTATE: the message could hold a value."""
    found = preview(door, "update preview.plain set amount = 1 / (id - id) where id = 1", target="tried")
    assert found["dry_run"] == {"failed": "SQLSTATE 22012"}


def test_a_dry_run_waits_for_no_lock(door: Gateway, database: PostgresServer) -> None:
    """Somebody has the row: two seconds later the approver is asked all the same."""
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(b"update preview.plain set amount = 1 where id = 4")
        found = preview(door, "update preview.plain set amount = 2 where id = 4", target="tried")
    assert found["rows"] == 1
    assert found["dry_run"] == {"failed": "SQLSTATE 55P03"} or found["dry_run"] == {"failed": "SQLSTATE 57014"}


def test_nobody_who_only_asked_sees_it(door: Gateway) -> None:
    """Counting tells about data: who may not vote learns nothing from it."""
    with RawClient.to(door, sub="bot", groups=["agents"]) as client:
        client.query("select 1")
        client.send(wire.query(b"delete from preview.people where ssn = '457-55-5462'"))
        request = client.held().held
        status, shown = call(door, f"/api/approvals/{request}", sub="bot", groups=["agents"])
    assert status == 200
    assert "preview" not in shown


def test_all_of_it_is_on_record(door: Gateway) -> None:
    """Each question is an operation of the gateway's own, and the rendering that was shown is in the log."""
    found = preview(door, "delete from preview.plain where id in (77, 78, 79)")
    shown = [event.body["preview"] for event in record.events(door.data, "approval.requested")]
    assert found["rows"] == 3
    assert found in shown
