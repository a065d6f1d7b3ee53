"""The approver's side, from the command line, against a running gateway."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.signers import ssh

POLICY = """
@id("connect") permit (principal, action == Action::"connect", resource);
@id("agents-read") permit (principal in Group::"agents", action == Action::"read", resource);
@id("agents-write") @quorum("1") @expires("10m")
permit (principal in Group::"agents", action == Action::"write", resource) when { context.approved };
@id("dbas") permit (principal in Group::"dba", action in [Action::"approve", Action::"administer", Action::"replay"], resource);
"""


class Held:
    """A statement that waits in a thread of its own."""

    def __init__(self, door: Gateway, statement: str, params: tuple[object, ...] = ()) -> None:
        self.notices: list[str] = []
        self.error: Exception | None = None
        self.rows = -1
        self._thread = threading.Thread(target=self._run, args=(door, statement, params), daemon=True)
        self._thread.start()
        limit = time.monotonic() + 20
        while not self.notices and self._thread.is_alive() and time.monotonic() < limit:
            time.sleep(0.02)

    def _run(self, door: Gateway, statement: str, params: tuple[object, ...]) -> None:
        try:
            with door.connect(sub="bot", groups=["agents"]) as connection:
                connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
                self.rows = connection.execute(statement, params).rowcount
        except psycopg.Error as error:
            self.error = error

    @property
    def request(self) -> str:
        """The id in the notice."""
        return self.notices[-1].split("request ")[1].split()[0]

    def over(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """One gateway for all of these tests: each ends the requests that it makes."""
    issuer = LocalIssuer()
    with launch(tmp_path_factory.mktemp("door") / "gateway", issuer, postgres, policy=POLICY) as door:
        added = run(door, "keys", "add", key_of(door, "dana"), "--name", "laptop", "--json")
        assert added.returncode == 0, added.stderr
        yield door
    issuer.down()


def address(door: Gateway) -> str:
    """Where the gateway's API is; it opens a moment after the door for databases."""
    limit = time.monotonic() + 20
    while not door.http_port and time.monotonic() < limit:
        time.sleep(0.02)
    return f"http://127.0.0.1:{door.http_port}"


def run(door: Gateway, *arguments: str, **claims: Any) -> subprocess.CompletedProcess[str]:
    """`doorward ARGUMENTS` as somebody, a dba unless `claims` say otherwise, with an SSH key of their own in a file."""
    said = {"sub": "dana", "groups": ["dba"], **claims}
    door.environment["DOORWARD_KEY"] = key_of(door, said["sub"].replace("/", "-"))
    return door.cli(*arguments, "--gateway", address(door), token=door.token(**said))


def key_of(door: Gateway, who: str) -> str:
    """The file of somebody's public key."""
    if not (door.folder / "ssh" / f"{who}.pub").exists():
        ssh(who).write(door.folder / "ssh", who)
    return str(door.folder / "ssh" / f"{who}.pub")


def test_a_person_looks_approves_and_the_statement_runs(door: Gateway) -> None:
    """list, show, approve and wait say what they should, and the held statement runs once."""
    held = Held(door, "DELETE FROM customers WHERE id = %s /* \u202e 123-45-6789 */", (-1,))
    listed = json.loads(run(door, "approvals", "list", "--json", "--state", "waiting").stdout)
    assert [(entry["id"], entry["state"]) for entry in listed] == [(held.request, "waiting")]
    assert run(door, "approvals", "wait", held.request, "--timeout", "0.2").returncode == 2
    shown = run(door, "approvals", "show", held.request).stdout
    for fact in ("\\u202e [ssn]", "$1 = -1", "write Table public.customers", "agents-write", "dba", "left", "bytes"):
        assert fact in shown
    assert "123-45-6789" not in shown
    assert "\u202e" not in shown
    unregistered = run(door, "approvals", "approve", held.request, sub="nell")
    assert (unregistered.returncode, "doorward keys add" in unregistered.stderr) == (3, True)
    [key] = json.loads(run(door, "keys", "list", "--json").stdout)
    voted = run(door, "approvals", "approve", held.request, "--comment", "as agreed")
    assert (voted.returncode, voted.stderr) == (0, "")
    assert re.search(r"you sign +[a-z]{5}( [a-z]{5}){5}", voted.stdout)
    held.over()
    assert (held.error, held.rows) == (None, 0)
    assert run(door, "approvals", "wait", held.request).returncode == 0
    found = json.loads(run(door, "approvals", "show", held.request, "--json").stdout)
    assert found["state"] == "spent"
    assert [(vote["voter"].partition("|")[2], vote["comment"], vote["method"], vote["key"]) for vote in found["votes"]] == [
        ("dana", "as agreed", "sshsig", key["id"])
    ]


@pytest.mark.parametrize("named", ["", "psql", "é" * 40])
def test_the_target_sees_the_session_in_whatever_the_client_calls_itself(
    door: Gateway, postgres: PostgresServer, named: str
) -> None:
    """In pg_stat_activity; the client is told its own name."""
    options: dict[str, Any] = {"application_name": named} if named else {}
    with (
        psycopg.connect(door.dsn(sub="bot", groups=["agents"]), autocommit=True, **options) as connection,
        psycopg.connect(postgres.dsn(), autocommit=True) as direct,
    ):
        found = direct.execute("select application_name from pg_stat_activity where application_name like 'doorward %-%'")
        wanted = rf"doorward [0-9a-f-]{{36}}{' psql' if named == 'psql' else ' .+' if named else ''}"
        assert any(re.fullmatch(wanted, name) for (name,) in found.fetchall())
        assert connection.info.parameter_status("application_name") == named


def test_deny_is_final(door: Gateway) -> None:
    """A denied request's statement does not run; wait says 1; another vote is refused with 1."""
    held = Held(door, "DELETE FROM customers")
    assert run(door, "approvals", "deny", held.request, "--comment", "all of them?").returncode == 0
    held.over()
    assert isinstance(held.error, psycopg.Error)
    assert run(door, "approvals", "wait", held.request).returncode == 1
    again = run(door, "approvals", "approve", held.request)
    assert again.returncode == 1
    assert "denied already" in again.stderr
    with door.connect(sub="bot", groups=["agents"]) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() != (0,)


def test_who_asked_withdraws_and_cannot_approve(door: Gateway) -> None:
    """The requester's own vote is refused; withdrawing ends the request, and a second time is refused."""
    held = Held(door, "DELETE FROM customers")
    mine = {"sub": "bot", "groups": ["agents", "dba"]}
    refused = run(door, "approvals", "approve", held.request, **mine)
    assert (refused.returncode, refused.stdout) == (1, "")
    other = run(door, "approvals", "withdraw", held.request, sub="other", groups=["agents"])
    assert other.returncode == 1, "somebody else's"
    assert run(door, "approvals", "withdraw", held.request, **mine).returncode == 0
    held.over()
    assert isinstance(held.error, psycopg.Error)
    assert run(door, "approvals", "withdraw", held.request, **mine).returncode == 1


def test_a_stranger_sees_no_request(door: Gateway) -> None:
    """Who neither asked nor may vote sees nothing, and cannot tell a request from none."""
    held = Held(door, "DELETE FROM customers")
    stranger = {"sub": "eve", "groups": ["agents"]}
    assert json.loads(run(door, "approvals", "list", "--json", **stranger).stdout) == []
    real = run(door, "approvals", "show", held.request, **stranger)
    made_up = run(door, "approvals", "show", held.request[:-1] + "x", **stranger)
    assert (real.returncode, made_up.returncode) == (1, 1)
    assert real.stderr.replace(held.request, "") == made_up.stderr.replace(held.request[:-1] + "x", "")
    run(door, "approvals", "deny", held.request)
    held.over()


def test_inside_a_transaction_the_approver_is_told_of_its_locks(door: Gateway) -> None:
    """`show` says that a request inside a transaction keeps its locks."""
    held = Held(door, "BEGIN; SELECT 1; DELETE FROM customers")
    with door.connect(sub="cat", groups=["agents"]) as connection:
        connection.execute("BEGIN")
        other: list[str] = []
        connection.add_notice_handler(lambda notice: other.append(notice.message_primary or ""))
        thread = threading.Thread(target=lambda: _quietly(connection, "DELETE FROM customers"), daemon=True)
        thread.start()
        limit = time.monotonic() + 20
        while not other and time.monotonic() < limit:
            time.sleep(0.02)
        request = other[-1].split("request ")[1].split()[0]
        assert "keeps its locks" in run(door, "approvals", "show", request).stdout
        run(door, "approvals", "deny", request)
        thread.join(20)
    run(door, "approvals", "deny", held.request)
    held.over()


def _quietly(connection: psycopg.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except psycopg.Error:
        pass


@pytest.mark.parametrize(
    ("arguments", "token", "code"),
    [
        pytest.param(("whoami",), "", 4, id="no token"),
        pytest.param(("whoami",), "a.b.c", 4, id="no real token"),
        pytest.param(("approvals", "list", "--state", "odd"), None, 3, id="no such state"),
        pytest.param(("approvals", "nothing"), None, 2, id="no such command"),
        pytest.param(("whoami", "--gateway", "http://127.0.0.1:1"), None, 6, id="nobody there"),
        pytest.param(("whoami", "--gateway", "http://192.0.2.1:7480"), None, 3, id="in clear to another machine"),
    ],
)
def test_exit_codes(door: Gateway, arguments: tuple[str, ...], token: str | None, code: int) -> None:
    """Each kind of failure has the exit code that the reference gives, an error on stderr and nothing on stdout."""
    where = () if "--gateway" in arguments or "nothing" in arguments else ("--gateway", address(door))
    done = door.cli(*arguments, *where, token=door.token(sub="dana", groups=["dba"]) if token is None else token)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr


def test_whoami_and_reload(door: Gateway) -> None:
    """whoami says who; reload puts changed files in force, keeps the old ones if they are broken, and needs the right."""
    assert json.loads(run(door, "whoami", "--json").stdout)["subject"] == "dana"
    policy = door.folder / "policy.cedar"
    before = run(door, "policy", "reload", "--json").stdout
    policy.write_text(POLICY + '\n@id("more") permit (principal in Group::"new", action == Action::"read", resource);')
    assert json.loads(run(door, "policy", "reload", "--json").stdout) != json.loads(before)
    policy.write_text("permit (")
    assert run(door, "policy", "reload").returncode == 3
    policy.write_text(POLICY)
    assert run(door, "policy", "reload", sub="bot", groups=["agents"]).returncode == 1
    assert json.loads(run(door, "policy", "reload", "--json").stdout) == json.loads(before)


def test_a_key_is_added_listed_and_revoked(door: Gateway) -> None:
    """Without ssh-keygen too; a revoked key approves nothing and does not come back; only its owner may revoke it."""
    pub = key_of(door, "kim")
    (door.folder / "empty").mkdir(exist_ok=True)
    path, door.environment["PATH"] = door.environment["PATH"], str(door.folder / "empty")
    try:
        added = run(door, "keys", "add", pub, "--json", sub="kim")
    finally:
        door.environment["PATH"] = path
    assert added.returncode == 0, added.stderr
    key = json.loads(added.stdout)["id"]
    assert key in run(door, "keys", "list", sub="kim").stdout
    assert run(door, "keys", "revoke", key, sub="lee", groups=["agents"]).returncode == 1
    assert run(door, "keys", "revoke", key, sub="kim").returncode == 0
    assert run(door, "keys", "add", pub, sub="kim").returncode == 1
    held = Held(door, "DELETE FROM customers")
    assert run(door, "approvals", "approve", held.request, sub="kim").returncode == 3
    run(door, "approvals", "deny", held.request)
    held.over()


def test_an_agent_adds_no_key(door: Gateway) -> None:
    """Keys to approve with are people's."""
    assert run(door, "keys", "add", key_of(door, "bot"), sub="repo:acme/shop").returncode == 1


def test_the_record_proves_the_votes(door: Gateway, tmp_path: Path) -> None:
    """`verify` checks every signature where it may open records, beside the running gateway too; a record that is gone or
    changed is a fault, and where records may not be opened it says so."""
    held = Held(door, "DELETE FROM customers WHERE id = -2")
    assert run(door, "approvals", "approve", held.request).returncode == 0
    held.over()
    copy = tmp_path / "copy"
    limit = time.monotonic() + 20
    while True:  # an event is in the log up to a second later
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(door.data, copy, ignore=shutil.ignore_patterns("store.sqlite*", "wal"))
        with sqlite3.connect(door.data / "store.sqlite") as live, sqlite3.connect(copy / "store.sqlite") as kept:
            live.backup(kept)
            kept.execute("pragma journal_mode = delete")
        live.close()
        kept.close()
        said = json.loads(door.cli("verify", copy, "--json").stdout)
        if said["votes"]["spent"] and said["types"].get("operation.permitted"):
            break
        assert time.monotonic() < limit, said
        time.sleep(0.3)
    assert said["faults"] == []
    assert (said["votes"]["signatures"] >= 1, said["votes"]["keys"] >= 1, said["votes"]["unread"]) == (True, True, "")
    assert "every signature holds" in door.cli("verify", door.data).stdout
    (copy / "keys").rename(tmp_path / "keys")
    assert "not looked at: keys/kek.key is not here" in door.cli("verify", copy).stdout
    (tmp_path / "keys").rename(copy / "keys")
    for change in (
        "delete from events where type = 'approver_key.registered'", "delete from events where type = 'approval.voted'",
        "update events set sealed = cast(substr(sealed, 1, 40) || x'00' || substr(sealed, 42) as blob) "
        "where type = 'approval.spent'",
    ):  # fmt: skip
        shutil.copy(copy / "store.sqlite", tmp_path / "kept")
        with sqlite3.connect(copy / "store.sqlite") as store:
            store.execute(change)
        store.close()
        broken = door.cli("verify", copy)
        assert (broken.returncode, "store.sqlite" in broken.stdout) == (1, True), change
        shutil.copy(tmp_path / "kept", copy / "store.sqlite")
