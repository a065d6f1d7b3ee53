"""Sessions from the command line: listed, shown, replayed and ended, against a running gateway and without one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.e2e.test_cli_approvals import run
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

POLICY = """
@id("connect") permit (principal, action == Action::"connect", resource);
@id("agents") permit (principal in Group::"agents", action in [Action::"read", Action::"write"], resource);
@id("dbas") permit (principal in Group::"dba", action in [Action::"administer", Action::"replay"], resource);
"""
AGENTS = ["agents"]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """One gateway, and a target for each kind of record; every test is an agent of its own."""
    folder = tmp_path_factory.mktemp("door") / "gateway"
    folder.mkdir(mode=0o700)
    targets = [
        target_of(postgres, folder),
        target_of(postgres, folder, name="sample", record="sample"),
        target_of(postgres, folder, name="shape", record="shape"),
    ]
    issuer = LocalIssuer()
    with launch(folder, issuer, postgres, targets=targets, policy=POLICY) as door:
        yield door
    issuer.down()


def sessions(door: Gateway, agent: str, state: str = "closed") -> list[dict[str, Any]]:
    """The agent's sessions in a state; waits until the index has one."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        found = json.loads(run(door, "sessions", "list", "--json", "--state", state).stdout)
        if mine := [entry for entry in found if entry["identity"].endswith(f"|{agent}")]:
            return mine
        time.sleep(0.2)
    raise AssertionError("the session never came into the index")


def replayed(door: Gateway, session: str, *more: str) -> list[dict[str, Any]]:
    """What `replay --json` says of each statement."""
    done = run(door, "sessions", "replay", session, "--json", *more)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def pipelined(pgconn: psycopg.pq.abc.PGconn, texts: Sequence[bytes]) -> None:
    """Send all before anything is read. (A pipeline of psycopg's sends no more once it has heard of an error.)"""
    pgconn.enter_pipeline_mode()
    for text in texts:
        pgconn.send_query_params(text, None)
    pgconn.pipeline_sync()
    while (result := pgconn.get_result()) is None or result.status != psycopg.pq.ExecStatus.PIPELINE_SYNC:
        pass
    pgconn.exit_pipeline_mode()


def test_replay_shows_every_statement_its_answer_and_its_outcome(gateway: Callable[..., Gateway]) -> None:
    """Simple and extended protocol, several statements in one, errors, refusals, pipelines and COPY are each found again,
    with their own rows."""
    door = gateway(policy=POLICY)
    with door.connect(sub="bot", groups=AGENTS) as connection:
        connection.execute("SELECT id, email FROM customers WHERE id = %s", (1,))
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'a' AS one; SELECT 'b' AS two, 'c' AS three")
        for statement in ("SELECT %s::int", "DROP TABLE customers"):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, ("abc",) if "%" in statement else None)
        pipelined(connection.pgconn, (b"SELECT 'first'", b"SELECT 1 / 0", b"SELECT 'never'"))
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT 'copied') TO STDOUT") as copy:
            assert list(copy)
        connection.execute("SELECT 'last'")
    session = sessions(door, "bot")[0]["id"]
    everything = replayed(door, session)
    found = [entry for entry in everything if not entry.get("by") and entry["text"] not in ("BEGIN", "COMMIT")]
    outcomes = [(entry["verdict"], entry["outcome"], [answer["tag"] for answer in entry["answers"]]) for entry in found]
    assert outcomes == [
        ("allowed", "completed", ["SELECT 1"]),
        ("allowed", "completed", ["SELECT 1", "SELECT 1"]),
        ("allowed", "failed", [""]),
        ("refused", "", [""]),
        ("allowed", "rolled_back", ["SELECT 1"]),
        ("allowed", "failed", [""]),
        ("allowed", "not_run", []),
        ("allowed", "completed", ["COPY 1"]),
        ("allowed", "completed", ["SELECT 1"]),
    ]
    first, second, *_ = found
    assert first["params"] == ["1"]
    assert first["answers"][0]["rows"] == [["1", "[email]"]]
    assert first["masked"] == {"email": 1}
    assert [answer["rows"] for answer in second["answers"]] == [[["a"]], [["b", "c"]]]
    assert [column["name"] for column in second["answers"][1]["columns"]] == ["two", "three"]
    assert found[2]["sqlstate"] == "22P02"
    assert found[3]["answers"][0]["error"]["C"] == "42501"
    assert found[7]["answers"][0]["copy"]["text"] == "copied\n"
    assert found[8]["answers"][0]["rows"] == [["last"]]
    text = run(door, "sessions", "replay", session).stdout
    for part in ("allowed by agents", "refused", "SELECT 1", "masked: email 1", "did not run", "(1 row)", " one", "-----"):
        assert part in text
    # Without a gateway, from its files and keys, the same.
    door.stop()
    offline = door.cli("sessions", "replay", session, "--data", door.data, "--json")
    assert [json.loads(line) for line in offline.stdout.splitlines()] == everything


def test_rows_of_a_prepared_statement_keep_their_names(door: Gateway) -> None:
    """asyncpg describes a statement once and asks for binary: rows are named and readable all the same."""

    async def ask() -> None:
        words = door.keywords(sub="reader", groups=AGENTS)
        connection = await asyncpg.connect(
            host="127.0.0.1", port=door.port, user="reader", password=words["password"], database="shop", ssl="require"
        )
        prepared = await connection.prepare("SELECT $1::int AS n, true AS b, 1.50::numeric AS d, 'x'::text AS t")
        for number in (7, 8):
            await prepared.fetch(number)
        await connection.close()

    asyncio.run(ask())
    found = [e for e in replayed(door, sessions(door, "reader")[0]["id"]) if " AS n" in e["text"]]
    assert [entry["answers"][0]["rows"] for entry in found] == [[["7", "t", "1.50", "x"]], [["8", "t", "1.50", "x"]]]
    assert [column["name"] for column in found[1]["answers"][0]["columns"]] == ["n", "b", "d", "t"]


@pytest.mark.parametrize(("record", "kept"), [("sample", True), ("shape", False)])
def test_a_partial_record_says_so(door: Gateway, record: str, kept: bool) -> None:
    """A record of `sample` or `shape` is replayed as what it is, with the true number of rows."""
    with door.connect(record, sub=record, groups=AGENTS) as connection:
        connection.execute("SELECT n FROM generate_series(1, 500) AS n")
    session = sessions(door, record)[0]["id"]
    [entry] = [e for e in replayed(door, session, "--limit", "500") if "generate_series" in e["text"]]
    assert (entry["record"], entry["rows"]) == (record, 500)
    assert bool(entry["answers"][0].get("rows")) is kept
    assert entry["answers"][0]["rows_recorded"] < 500
    done = run(door, "sessions", "replay", session)
    assert f"record = {record}" in done.stdout
    assert f"record = {record}" in done.stderr


def test_show_end_and_who_may(door: Gateway) -> None:
    """An administrator ends a live session; its owner sees it and may not; a stranger sees nothing."""
    owner: dict[str, Any] = {"sub": "owner", "groups": AGENTS}
    with door.connect(**owner) as connection:
        connection.execute("SELECT 1")
        session = sessions(door, "owner", "open")[0]["id"]
        assert "owner" in run(door, "sessions", "show", session, **owner).stdout
        assert run(door, "sessions", "replay", session, **owner).returncode == 1
        stranger = {"sub": "eve", "groups": AGENTS}
        assert run(door, "sessions", "show", session, **stranger).returncode == 1
        assert json.loads(run(door, "sessions", "list", "--json", **stranger).stdout) == []
        assert run(door, "sessions", "end", session, **owner).returncode == 1
        assert run(door, "sessions", "end", session).returncode == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert sessions(door, "owner")[0]["id"] == session  # over, on record
    assert run(door, "sessions", "end", session).returncode == 1
