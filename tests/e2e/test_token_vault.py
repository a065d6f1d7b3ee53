"""Tokens that lead back, over the wire: shown to agents, kept before they are, revealed to people who may know, and erased."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from doorward.cli.main import run
from tests.rig.approvers import call
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.records import events, newest

TABLE = f"vaulted_{os.getpid()}"
SSN, LONG = "219-09-9999", "x" * 5000
ROWS = 5000
POLICY = """
@id("all") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("masked") @transform("plain=vault") permit (principal in Group::"some", action == Action::"read", resource);
@id("look") permit (principal in Group::"auditors", action == Action::"replay", resource);
@id("fraud") permit (principal in Group::"fraud", action == Action::"unmask", resource == Label::"ssn")
  when { context.purpose like "chargeback*" };
@id("rule") permit (principal in Group::"admins", action == Action::"administer", resource);
"""
FRAUD: dict[str, Any] = {"sub": "ann", "groups": ["fraud"]}  # somebody else in each test: what each may ask for is counted
ADMIN: dict[str, Any] = {"sub": "adam", "groups": ["admins"]}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """A table of its own, with a vault for two of its labels."""
    with postgres.connect() as direct:
        direct.execute(
            f"create table {TABLE} (id integer primary key, ssn text, doc jsonb, name text, big text);"
            f"insert into {TABLE} select n, case n when 1 then '{SSN}' else 'ssn of ' || n end,"
            f" jsonb_build_object('of', 'doc-secret-' || n), 'name-secret-' || n, '{LONG}' from generate_series(1, {ROWS}) n"
        )
    issuer = LocalIssuer()
    folder = tmp_path_factory.mktemp("vault") / "gateway"
    folder.mkdir(mode=0o700)
    labels = {f"public.{TABLE}.{column}": label for column, label in
              {"ssn": "ssn", "doc": "doc", "name": "plain", "big": "ssn"}.items()}  # fmt: skip
    with launch(
        folder, issuer, postgres, policy=POLICY,
        targets=[target_of(postgres, folder, labels=labels), target_of(postgres, folder, name="twin", labels=labels)],
        masking={
            "token_key": "env:KEY", "transforms": {"ssn": "vault", "doc": "vault"},
            "vault": {"keys": ["env:VAULT"], "reveals_per_hour": 12},
        },
        environment={"KEY": "k" * 32, "VAULT": "v" * 32},
    ) as running:  # fmt: skip
        yield running
    issuer.down()
    with postgres.connect() as direct:
        direct.execute(f"drop table {TABLE}")


@pytest.fixture
def cli(door: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `doorward masking ...` as somebody; exit code and what it printed."""

    def ran(*arguments: str, by: dict[str, Any]) -> tuple[int, str]:
        monkeypatch.setenv("DOORWARD_TOKEN", door.token(**by))
        code = run(["masking", *arguments, "--gateway", f"http://127.0.0.1:{door.http_port}"])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return ran


def fraud(name: str) -> dict[str, Any]:
    return {**FRAUD, "sub": name}


def recorded(door: Gateway, kind: str, count: int) -> list[dict[str, Any]]:
    """The events of that type, once there are so many."""
    limit = time.monotonic() + 15
    while len(found := [json.loads(body) for type_, body in events(door) if type_ == kind]) < count:
        assert time.monotonic() < limit
        time.sleep(0.2)
    return found


def test_tokens_are_the_same_however_they_are_read(door: Gateway, cli: Any) -> None:
    """In text and in binary, JSON included, by cursor, at another target of the same tenant: one token; what is computed from
    the column, copied, or too long to be kept, is redacted; whom a policy gives another transform sees that."""
    seen: set[tuple[str, ...]] = set()
    for target in ("shop", "twin"):
        for binary in (False, True):
            with door.connect(target) as connection, connection.cursor(binary=binary) as cursor:
                row = cursor.execute(f"select ssn, doc, name, big from {TABLE} where id = 1").fetchone()
                assert row is not None
                seen.add(row)
    with door.connect() as connection:
        connection.execute("begin")
        connection.execute(f"declare c cursor for select ssn, doc, name, big from {TABLE} where id = 1")
        row = connection.execute("fetch c").fetchone()
        assert row is not None
        seen.add(row)
        connection.execute("commit")
        assert connection.execute(f"select upper(ssn) from {TABLE} where id = 1").fetchone() == ("[ssn]",)
        with connection.cursor().copy(f"copy (select ssn from {TABLE} where id = 1) to stdout") as copy:
            assert b"".join(copy) == b"[ssn]\n"
    ((ssn, doc, name, big),) = seen
    assert ssn.startswith("ssn_")
    assert doc.startswith("doc_")
    assert (name, big) == ("[plain]", "[ssn]")
    with door.connect(groups=["some"]) as connection:
        (name,) = connection.execute(f"select name from {TABLE} where id = 1").fetchone() or ("",)
    assert name.startswith("plain_")
    assert cli("reveal", ssn, "--target", "shop", "--reason", "chargeback 17", by=fraud("ada")) == (0, f"{SSN}\n")
    _, said = cli("reveal", doc, "--target", "twin", "--reason", "chargeback 17", "--json", by={**FRAUD, "sub": "doc"})
    assert "no policy lets you unmask doc" in said
    _, said = cli("reveal", ssn, "--target", "twin", "--reason", "chargeback 17", "--json", by=fraud("ada"))
    assert json.loads(said)["value"] == SSN


def test_who_may_not_does_not_learn_what_a_token_stands_for(door: Gateway, cli: Any) -> None:
    """Neither without a policy, nor for another reason, nor as an agent for somebody who may; each try is on record, and so is
    each that succeeds. No event, and no byte of the store, has the value."""
    with door.connect() as connection:
        (token,) = connection.execute(f"select ssn from {TABLE} where id = 1").fetchone() or ("",)
    ask = ["reveal", token, "--target", "shop", "--reason"]
    code, said = cli(*ask, "curious", by=FRAUD)
    assert (code, "no policy lets you unmask ssn" in said) == (1, True)
    assert cli(*ask, "chargeback 1", by={"sub": "bob"})[0] == 1
    agent = {"sub": "ann", "groups": ["fraud"], "act": {"sub": "bot"}}
    code, said = cli(*ask, "chargeback 1", by=agent)
    assert (code, "only people reveal tokens" in said) == (1, True)
    assert cli(*ask, "chargeback 2", by=FRAUD) == (0, f"{SSN}\n")
    assert call(door, "/api/targets/shop/reveals", {"token": token, "reason": " "}, **FRAUD)[0] == 400
    assert call(door, "/api/targets/shop/reveals", {"token": "x" * 99, "reason": "chargeback"}, **FRAUD)[0] == 400
    withheld = recorded(door, "token.withheld", 3)
    assert {event["body"]["why"] for event in withheld} >= {"no policy lets you unmask ssn for this reason"}
    limit = time.monotonic() + 15
    revealed = recorded(door, "token.revealed", 1)
    while not any(event["actor"].endswith("|ann") for event in revealed):
        assert time.monotonic() < limit
        revealed = recorded(door, "token.revealed", 1)
    assert all(event["body"]["reason"].startswith("chargeback") for event in revealed)
    everything = b"".join(body for _, body in events(door))
    assert SSN.encode() not in everything
    with door.connect(sub="read") as connection:
        connection.execute(f"select ssn from {TABLE} where id = 1").fetchone()
    assert token.encode() in newest(door, "read").response
    for path in door.data.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert SSN.encode() not in held
            assert b"doc-secret-" not in held


def test_a_token_that_was_seen_is_kept_whatever_happens(door: Gateway, cli: Any) -> None:
    """kill -9 while rows come: every token that a client had by then is in the vault at the next start."""
    seen: list[str] = []
    with door.connect() as connection, connection.cursor(binary=True) as cursor:
        for (token,) in cursor.stream(f"select ssn from {TABLE} order by id", size=50):
            seen.append(token)
            if len(seen) == 2500:
                door.kill()
                break
        connection.close()
    store = sqlite3.connect(door.data / "store.sqlite")
    kept = {token for (token,) in store.execute("select token from vault where target = 'shop'")}
    store.close()
    assert len(set(seen)) == 2500
    assert set(seen) <= kept
    door.start()
    assert cli("reveal", seen[0], "--target", "shop", "--reason", "chargeback 3", by=fraud("amy")) == (0, f"{SSN}\n")


def test_where_nothing_can_be_kept_nothing_is_shown(door: Gateway, cli: Any) -> None:
    """The store fails: the result ends with an error and no row, on record; what needs no vault is served; then all is."""
    store = sqlite3.connect(door.data / "store.sqlite", timeout=10)
    store.execute("delete from vault")
    store.execute("alter table vault rename to elsewhere")
    store.commit()
    try:
        with door.connect(sub="victim") as connection:
            connection.execute("select 1")
            assert connection.execute(f"select name from {TABLE} where id = 7").fetchone() == ("[plain]",)
            with pytest.raises(psycopg.OperationalError, match="a result was withheld: the token vault could not keep"):
                connection.execute(f"select ssn from {TABLE} where id = 4999")
    finally:
        store.execute("alter table elsewhere rename to vault")
        store.commit()
        store.close()
    assert "token vault" in recorded(door, "masking.failed", 1)[0]["body"]["reason"]
    assert b"ssn_" not in newest(door, "victim").response
    with door.connect() as connection:
        (token,) = connection.execute(f"select ssn from {TABLE} where id = 4999").fetchone() or ("",)
    assert cli("reveal", token, "--target", "shop", "--reason", "chargeback 4", by=fraud("abe")) == (0, "ssn of 4999\n")


def test_tokens_are_counted_and_erased(door: Gateway, cli: Any) -> None:
    """By an administrator, on record; then nobody can have them back, until they are shown again."""
    with door.connect() as connection:
        found = connection.execute(f"select ssn, doc from {TABLE} where id in (11, 12) order by id").fetchall()
    code, said = cli("vault", "shop", "--json", by=ADMIN)
    assert code == 0
    counted = {each["label"]: each["tokens"] for each in json.loads(said)["kept"]}
    assert counted["doc"] >= 2
    assert cli("vault", "shop", by=fraud("ava"))[0] == 1
    assert cli("forget", found[0][0], "--target", "shop", "--reason", "asked to be forgotten", by=fraud("ava"))[0] == 1
    assert cli("forget", found[0][0], "--target", "shop", "--reason", "asked to be forgotten", by=ADMIN) == (0, "1 erased\n")
    said = f"{counted['doc']} erased\n"
    assert cli("forget", "--label", "doc", "--target", "shop", "--reason", "gone", by=ADMIN) == (0, said)
    code, said = cli("reveal", found[0][0], "--target", "shop", "--reason", "chargeback 5", by=fraud("ava"))
    assert (code, "is not in the vault of shop" in said) == (1, True)
    assert [event["body"]["label"] for event in recorded(door, "token.forgotten", 2)] == ["", "doc"]
    assert "key" in cli("vault", "shop", by=ADMIN)[1]
    with door.connect() as connection:
        assert connection.execute(f"select ssn from {TABLE} where id = 11").fetchone() == (found[0][0],)
    assert cli("reveal", found[0][0], "--target", "shop", "--reason", "chargeback 6", by=fraud("ava")) == (0, "ssn of 11\n")


def test_nobody_asks_for_more_than_so_many(door: Gateway, cli: Any) -> None:
    """Whatever came of each."""
    for _ in range(14):
        code, said = cli("reveal", "ssn_aaaaaaaaaaaaaaaa", "--target", "shop", "--reason", "chargeback 7",
                         by={"sub": "eve", "groups": ["fraud"]})  # fmt: skip
        assert code == 1
    assert "as many as one may" in said
