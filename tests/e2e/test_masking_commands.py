"""`doorward masking prove`, `classify` and `scan` against a real gateway and database.

What holds is shown, what leaks is seen, nothing is left; what is in a target is proposed as labels, and no value of it said.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from doorward.cli.main import run
from doorward.cli.masking.channels import CHANNELS
from doorward.masking.canary import SCHEMA, Canaries, marks
from tests.rig.approvers import call
from tests.rig.faults import copy_of_shop
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient
from tests.rig.records import events, sessions

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("all") permit (principal in Group::"testers", action in [Action::"define", Action::"execute", Action::"control"], resource);
@id("infer") permit (principal in Group::"testers", action == Action::"infer", resource);
@id("write") permit (principal in Group::"writers", action == Action::"write", resource);
@id("unknown") permit (principal in Group::"testers", action == Action::"unknown", resource);
@id("ask") @quorum("1") permit (principal in Group::"agents", action in [Action::"write", Action::"define"], resource)
    when { context.approved };
@id("unmask") permit (principal in Group::"fraud", action == Action::"unmask", resource);
@id("look") permit (principal in Group::"auditors", action == Action::"replay", resource);
@id("rule") permit (principal in Group::"admins", action == Action::"administer", resource);
@id("blind") forbid (principal in Group::"blind", action == Action::"read", resource);
"""
LABELS = {
    "public.customers.ssn": "ssn", "public.customers.country": "secret", "public.customers.gone": "card",
    "sampled.empty.whatever": "email",
}  # fmt: skip
ADMIN: dict[str, Any] = {"sub": "adam", "groups": ["admins"]}


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> PostgresServer:
    """A database of this file's own: proofs make a schema in it."""
    return copy_of_shop(postgres, "prove")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, shop: PostgresServer) -> Iterator[Gateway]:
    """Targets: `shop`; `labelled`, the same with labels, right and wrong; `followed`, with one; `watched` in observe mode;
    `poor`, whose role may make no schema."""
    issuer = LocalIssuer()
    folder = tmp_path_factory.mktemp("prove") / "gateway"
    folder.mkdir(mode=0o700)
    secret = folder / "poor"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("scram-Passw0rd")
    targets = [
        target_of(shop, folder, name="labelled", labels=LABELS),
        target_of(shop, folder, name="followed", labels={"public.customers.ssn": "ssn"}),
        target_of(shop, folder), target_of(shop, folder, name="watched", mode="observe"),
        target_of(shop, folder, name="poor", user="app_scram", secret=f"file:{secret}"),
    ]  # fmt: skip
    with launch(folder, issuer, shop, targets=targets, policy=POLICY) as door:
        yield door
    issuer.down()


def arguments(door: Gateway, tmp_path: Path, target: str, **claims: Any) -> list[str]:
    """The command's arguments, for somebody with these claims to try."""
    token = tmp_path / "token"
    token.write_text(door.token(**claims))
    return ["masking", "prove", target, "--gateway", f"http://127.0.0.1:{door.http_port}", "--door", f"localhost:{door.port}",
            "--ca", str(door.ca), "--as-token-file", str(token)]  # fmt: skip


@pytest.fixture
def prove(
    door: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Runs the command as an administrator; its exit code and report."""

    def proved(target: str = "shop", *more: str, by: dict[str, Any] = ADMIN, **claims: Any) -> tuple[int, dict[str, Any]]:
        monkeypatch.setenv("DOORWARD_TOKEN", door.token(**by))
        code = run([*arguments(door, tmp_path, target, **claims), "--json", *more])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else {"error": shown.err}

    return proved


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some channels only, where it is not about them."""
    monkeypatch.setattr("doorward.cli.masking.CHANNELS", CHANNELS[:8])


def left(shop: PostgresServer) -> bool:
    with shop.connect() as connection:
        return bool(connection.execute("select 1 from pg_namespace where nspname = %s", (SCHEMA,)).fetchall())


def test_every_channel_holds_and_the_record_says_so(door: Gateway, shop: PostgresServer, prove: Any, tmp_path: Path) -> None:
    """A tester who may do all but write and unmask gets nothing out of any channel, and what is not confidential comes;
    the report is on record with its digest, its file is what the digest is of, and the scratch schema is gone."""
    code, report = prove("shop", "--out", str(tmp_path / "report.json"), sub="tess", groups=["testers"])
    assert "error" not in report, report
    leaks = [(each["channel"], each["observed"]) for each in report["channels"] if not each["pass"]]
    assert leaks == []
    assert code == 0
    assert [each["channel"] for each in report["channels"]] == [channel.name for channel in CHANNELS]
    delivered = {each["channel"] for each in report["channels"] if each["delivered"]}
    assert delivered >= {"rows/simple", "rows/text", "rows/binary", "rows/named", "rows/portions", "copy-query/text",
                         "copy-query/csv", "cursor/fetched", "cursor/binary", "naming/view"}  # fmt: skip
    exact = (tmp_path / "report.json").read_bytes().rstrip(b"\n")
    assert hashlib.sha256(exact).hexdigest() == report["digest"]
    assert not left(shop)
    [event] = [json.loads(record) for kind, record in _folded(door, "masking.proved", report["proof"])]
    assert (event["body"]["digest"], event["body"]["leaks"]) == (report["digest"], 0)
    assert event["body"]["report"] == json.loads(exact)
    assert event["actor"].endswith("|adam")
    # nothing of it is kept, in any spelling, in anything that is on record
    canaries = Canaries(marks(report["proof"]))
    for kind, record in events(door):
        assert not list(canaries.find(record)), kind


def _folded(door: Gateway, kind: str, proof: str) -> list[tuple[str, bytes]]:
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        if found := [each for each in events(door) if each[0] == kind and proof.encode() in each[1]]:
            return found
        time.sleep(0.2)
    raise AssertionError(kind)


def test_a_leak_is_seen(prove: Any, shop: PostgresServer) -> None:
    """Somebody who may see everything unmasked gets the values: exit code 1, by column and spelling, the value not shown."""
    code, report = prove(sub="frida", groups=["testers", "fraud"])
    assert code == 1
    lost = {each["channel"]: each["observed"] for each in report["channels"] if not each["pass"]}
    assert {"rows/simple", "rows/binary", "copy-query/csv", "error/integer", "expression/encoded", "expression/turned",
            "expression/pieces", "statistics/pg-stats", "function/notice-and-error"} <= set(lost)  # fmt: skip
    assert "amount raw" in lost["rows/simple"]
    assert "number binary" in lost["rows/binary"]
    assert "cardlike raw" in lost["rows/simple"]
    assert not list(Canaries(marks(report["proof"])).find(json.dumps(report).encode()))
    assert not left(shop)


def test_writes_are_tried(prove: Any) -> None:
    """Who may write gets nothing out of what a write returns or complains of, nor out of a column that nobody labelled and that
    labelled data was copied to; and the next proof is none the worse."""
    _, report = prove(sub="will", groups=["testers", "writers"])
    tried = [each for each in report["channels"] if each["effect"] == "write"]
    assert not [each for each in tried if each["observed"].startswith("not tried")]
    assert {each["channel"] for each in report["channels"] if not each["pass"]} == set()
    assert prove(sub="tess", groups=["testers"])[0] == 0


def test_what_policy_refuses_or_holds_is_no_leak(prove: Any, door: Gateway) -> None:
    """An agent whose writes need approval: asked for once, the request is withdrawn, and reads are tried all the same."""
    code, report = prove(sub="bot", groups=["agents"])
    assert code == 0
    writes = [each["observed"] for each in report["channels"] if each["effect"] == "write"]
    assert writes[0].startswith("held")
    assert all(observed.startswith("not tried") for observed in writes[1:])
    _, waiting = call(door, "/api/approvals", sub="bot", groups=["agents"])
    assert {each["state"] for each in waiting} == {"withdrawn"}


@pytest.mark.usefixtures("few")
def test_a_proof_of_nothing_is_none(prove: Any) -> None:
    """Who may read nothing proves nothing: exit code 2. In observe mode everything leaks."""
    code, report = prove(sub="bill", groups=["blind"])
    assert (code, report["delivered"], report["leaks"]) == (2, 0, 0)
    code, report = prove("watched", sub="tess", groups=["testers"])
    assert (code, report["mode"]) == (1, "observe")


@pytest.mark.usefixtures("few")
def test_who_may_and_where(prove: Any, shop: PostgresServer) -> None:
    """It needs `administer`, a target that is there, a role that may make a schema; each lack is said, and nothing is left."""
    assert prove(by={"sub": "eve"}, sub="eve")[0] == 1
    assert prove("nowhere", sub="tess")[0] == 1
    code, said = prove("poor", sub="tess", groups=["testers"])
    assert (code, left(shop)) == (6, False)
    assert "CREATE SCHEMA doorward_canary AUTHORIZATION" in said["error"]
    with shop.connect() as connection:
        connection.execute(f"create schema {SCHEMA} authorization app_scram")
        try:
            assert prove("poor", sub="tess", groups=["testers"])[0] == 0
            assert connection.execute(f"select count(*) from pg_class where relnamespace = '{SCHEMA}'::regnamespace"
                                      ).fetchall() == [(0,)]  # fmt: skip
            connection.execute(f"create table {SCHEMA}.mine (a int)")
            code, said = prove("poor", sub="tess", groups=["testers"])
            assert code == 6
            assert "not a proof's" in said["error"]
            assert connection.execute(f"select count(*) from {SCHEMA}.mine").fetchall() == [(0,)]
        finally:
            connection.execute(f"drop schema {SCHEMA} cascade")


def test_labels_that_were_copied_are_listed_and_lifted(
    door: Gateway, shop: PostgresServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where statements have copied labelled data is listed, by present names; lifting it is on record, and then it is shown."""

    def told(*words: str, by: dict[str, Any] = ADMIN) -> tuple[int, Any]:
        monkeypatch.setenv("DOORWARD_TOKEN", door.token(**by))
        code = run(["masking", *words, "--json", "--gateway", f"http://127.0.0.1:{door.http_port}"])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else shown.err

    with RawClient.to(door, "followed", sub="tess", groups=["testers", "writers"]) as client:

        def seen() -> set[str | None]:
            return set(client.query("select other from lifted_now").values)

        try:
            assert not client.query("create table lifted (id int, owner text)").errors
            assert client.query("insert into lifted select id, ssn from customers").tags
            assert not client.query("alter table lifted rename owner to other").errors
            assert not client.query("alter table lifted rename to lifted_now").errors
            assert seen() == {"[ssn]"}
            code, found = told("copied", "followed")
            assert code == 0
            assert {"column": "public.lifted_now.other", "labels": ["ssn"]} in found
            assert told("copied", "followed", by={"sub": "eve"})[0] == 1
            assert told("lift", "followed", "public.lifted_now.other", by={"sub": "eve"})[0] == 1
            assert told("lift", "followed", "public.customers.ssn")[0] == 1  # that is the configuration's
            assert told("lift", "followed")[0] != 0
            assert seen() == {"[ssn]"}
            with shop.connect() as direct:
                direct.execute("update lifted_now set other = 'x'")
            code, found = told("lift", "followed", "public.lifted_now.other")
            assert (code, found) == (0, [{"column": "public.lifted_now.other", "label": "ssn"}])
            assert seen() == {"x"}
            assert {"column": "public.lifted_now.other", "labels": ["ssn"]} not in told("copied", "followed")[1]
            limit = time.monotonic() + 20  # until it is in the store
            while not (lifted := [json.loads(body) for kind, body in events(door) if kind == "label.lifted"]):
                assert time.monotonic() < limit
                time.sleep(0.05)
            assert [event["body"]["columns"] for event in lifted] == [[["public.lifted_now.other", "ssn"]]]
            assert not client.query("insert into lifted_now select id, ssn from customers").errors
            assert seen() == {"[ssn]"}
        finally:
            with shop.connect() as direct:
                direct.execute("drop table if exists lifted, lifted_now")


@pytest.mark.usefixtures("few")
def test_one_at_a_time(prove: Any, door: Gateway, shop: PostgresServer) -> None:
    """While somebody else's proof runs there is no other; one's own takes its place, and cleans up what it left."""
    ada: dict[str, Any] = {"sub": "ada", "groups": ["admins"]}
    _, begun = call(door, "/api/targets/shop/proofs", {"identity": "a|b"}, **ada)
    assert call(door, f"/api/targets/shop/proofs/{begun['proof']}/plant", {}, **ada)[0] == 200
    assert left(shop)
    code, said = prove(sub="tess", groups=["testers"])
    assert code == 1
    assert "a proof of" in said["error"]
    assert prove(by=ada, sub="tess", groups=["testers"])[0] == 0
    assert not left(shop)
    for path, body in (("", {"report": None}), ("/plant", {})):  # its place is taken
        assert call(door, f"/api/targets/shop/proofs/{begun['proof']}{path}", body, **ada)[0] == 404


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(door: Gateway, shop: PostgresServer, prove: Any, tmp_path: Path, number: int) -> None:
    """Ctrl-C and SIGTERM clean up; after kill -9 the next proof does."""
    with subprocess.Popen(
        [sys.executable, "-m", "doorward", *arguments(door, tmp_path, "shop", sub="tess", groups=["testers"])],
        env={**door.environment, "DOORWARD_TOKEN": door.token(**ADMIN)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        limit = time.monotonic() + 20
        while not left(shop):
            assert time.monotonic() < limit
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait(20)
    if number == signal.SIGKILL:
        assert left(shop)
        assert prove(sub="tess", groups=["testers"])[0] == 0
    else:
        assert code == 130
    assert not left(shop)


@pytest.mark.usefixtures("few")
def test_for_people(door: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json it is a listing with a verdict below it."""
    monkeypatch.setenv("DOORWARD_TOKEN", door.token(**ADMIN))
    assert run(arguments(door, tmp_path, "shop", sub="tess", groups=["testers"])) == 0
    out = capsys.readouterr().out
    for part in ("PASS", "rows/binary", "ok", "digest", "HOLDS"):
        assert part in out


def test_scan_finds_no_value_that_a_proof_planted(door: Gateway, prove: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """After all of these proofs, leaks to those who may see them included, `doorward scan` knows what they planted from the
    record; what an identity with `unmask` saw, or laundered, is on record, and nothing else is."""
    limit = time.monotonic() + 20
    while any(not row["closed_at"] for sub in ("tess", "frida", "bot", "will") for row in sessions(door, sub)):
        assert time.monotonic() < limit
        time.sleep(0.1)
    code = run(["scan", str(door.data), str(door.log), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert len(report["proofs"]) >= 1
    seen = {entry["file"] for entry in report["found"]}
    allowed = {f"{row['id']}.dwr" for who in ("frida", "will") for row in sessions(door, who)}
    watched = {f"{row['id']}.dwr" for row in sessions(door, "tess") if row["target"] == "watched"}
    assert {name.rpartition("/")[2] for name in seen if name.startswith("recordings")} <= allowed | watched
    assert code == (1 if seen else 0), report["unread"]


SAMPLED = """
create schema sampled;
create table sampled.people ("E-Mail" text, c1 text, c2 bigint, c3 jsonb, "od""d" text, remark varchar(80), n int);
insert into sampled.people select 'person' || i || '@example.org', '4111 1111 1111 1111', 4111111111111111,
    jsonb_build_object('iban', 'DE89370400440532013000'), 'GB82WEST12345698765432', 'nothing', i
    from generate_series(1, 300) i;
create table sampled.empty (surname text, whatever text);
create table sampled.large (v text, filler text);
insert into sampled.large select 'a' || i || '@example.net', repeat('x', 300) from generate_series(1, 40000) i;
analyze sampled.large;
create table sampled.parted (k int, phone text) partition by list (k);
create table sampled.part1 partition of sampled.parted for values in (1);
insert into sampled.parted values (1, '+44 20 7946 0958');
create view sampled.seen as select * from sampled.people;
create function sampled.trap(text) returns text language plpgsql as
    $$ begin insert into sampled.empty values ($1, $1); return $1; end $$;
create table sampled.closed (email text);
insert into sampled.closed values ('hidden@example.org');
alter table sampled.closed enable row level security, force row level security;
create policy p on sampled.closed using (sampled.trap(email) is not null);
"""


@pytest.fixture(scope="module")
def sampled(shop: PostgresServer) -> None:
    with shop.connect() as connection:
        connection.execute(SAMPLED)


@pytest.fixture
def classify(
    door: Gateway, sampled: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Runs the command as an administrator; its exit code and what it printed."""

    def classified(*more: str, by: dict[str, Any] = ADMIN) -> tuple[int, str, str]:
        monkeypatch.setenv("DOORWARD_TOKEN", door.token(**by))
        code = run(["classify", *more, "--gateway", f"http://127.0.0.1:{door.http_port}"])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return classified


def test_labels_are_proposed(classify: Any, shop: PostgresServer, door: Gateway) -> None:
    """By content and by name, in tables large and small, as configuration that can be read; what is doubtful as comments;
    no value is in it, on record, or in the target's log of what it was asked, and who looked where is on record."""
    begun = shop.position()
    code, out, _ = classify("labelled", "--sample", "100")
    assert code == 0
    proposed = tomllib.loads(out)["targets"]["labels"]
    assert {
        "sampled.people.E-Mail": "email", "sampled.people.c1": "card", "sampled.people.c2": "card", "sampled.people.c3": "iban",
        'sampled.people.od"d': "iban", "sampled.empty.surname": "name",
        "sampled.large.v": "email", "sampled.parted.phone": "phone", "public.customers.email": "email",
    }.items() <= proposed.items()  # fmt: skip
    assert not [name for name in proposed if name.endswith((".n", ".remark", ".filler")) or "seen." in name or "part1." in name]
    assert "public.customers.ssn" not in proposed
    assert '"public.customers.country" = "secret"' in out
    assert "# there is no column public.customers.gone, which has the label card" in out
    assert "100 of 100 values, and its name" in out
    for value in ("person1@", "@example", "4111", "DE89", "hidden"):
        assert value not in out
    asked = [text for text in shop.statements(since=begun) if "sampled" in text and "large" in text]
    assert "TABLESAMPLE SYSTEM" in asked[-1]
    assert "LIMIT 100" in asked[-1]
    found = [json.loads(record) for _, record in _folded(door, "target.sampled", "sampled.people")]
    assert (found[0]["actor"].endswith("|adam"), found[0]["body"]["rows"]) == (True, 100)
    canaries = Canaries({"mail": "person17@example.org", "iban": "DE89370400440532013000", "hidden": "hidden@example.org"})
    assert not [kind for kind, record in events(door) if list(canaries.find(record))]


def test_a_sample_changes_nothing(classify: Any, shop: PostgresServer) -> None:
    """Nothing that runs behind a table can write: a policy with a function that inserts finds a transaction that only reads."""
    with shop.connect() as connection:
        connection.execute("alter role app_scram set row_security = on")
        before = connection.execute("select count(*) from sampled.empty").fetchall()
        connection.execute("grant usage on schema sampled to app_scram")
        code, out, _ = classify("poor", "--schema", "sampled", "--json")
        report = json.loads(out)
        assert code == 0
        [closed] = [entry for entry in report["relations"] if entry["relation"] == "sampled.closed"]
        assert (closed["rows"], closed["unread"][:5]) == (0, "25006")
        assert connection.execute("select count(*) from sampled.empty").fetchall() == before
        assert {entry["relation"].partition(".")[0] for entry in report["relations"]} == {"sampled"}


def test_who_may_classify(classify: Any) -> None:
    """It needs `administer` on a target that is there, and a number of rows that makes sense."""
    assert classify("shop", by={"sub": "eve"})[0] == 1
    assert classify("nowhere")[0] == 1
    assert classify("shop", "--sample", "0")[0] == 3
    code, out, _ = classify("shop", "--schema", "none")
    assert (code, tomllib.loads(out)) == (0, {"targets": {"labels": {}}})
