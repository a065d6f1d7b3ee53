"""`doorward policy check` and `doorward policy explain`, as somebody types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from doorward.cli.policy import app
from doorward.errors import ConfigError
from doorward.policy.policies import load
from doorward.policy.starter import starter

CONFIG = """
[gateway]
data = "data"
[listen.postgres]
plaintext = true
[listen.http]
plaintext = true
[[issuers]]
url = "https://id.example"
audience = "doorward"
[policy]
files = ["*.cedar"]
[[targets]]
name = "shop"
host = "127.0.0.1"
user = "app"
[targets.labels]
"public.customers.ssn" = "ssn"
"""
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "policy.md"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "starter.cedar").write_text(starter())
    path = tmp_path / "doorward.toml"
    path.write_text(CONFIG)
    return path


def run(*arguments: object) -> int:
    result = app([str(argument) for argument in arguments], result_action="return_value", exit_on_error=False)
    assert isinstance(result, int)
    return result


def explained(config: Path, *arguments: str) -> int:
    return run(
        "explain", "--config", config, "--identity", "bot", "--group", "agents", "--target", "shop",
        *([] if "--assurance" in arguments else ["--assurance", "V2"]), *arguments,
    )


def test_check_says_that_policies_are_sound(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their number and hash, which a gateway shows too; as JSON with their ids."""
    assert run("check", "--config", config) == 0
    assert capsys.readouterr().out.startswith("ok: 14 policies in 1 file, ")
    assert run("check", "--config", config, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    assert "agents-read" in said["policies"]
    assert said["hash"] == load({"x": starter()}).hash


def test_check_names_file_and_line(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the files named, or for those configured."""
    bad = tmp_path / "bad.cedar"
    bad.write_text('@id("x")\n@quorom("2")\npermit (principal, action, resource);\n')
    with pytest.raises(ConfigError, match=re.escape(f"{bad}:2: unknown annotation @quorom")):
        run("check", bad, "--config", config)
    with pytest.raises(ConfigError, match=r"^bad\.cedar:2: "):
        run("check", "--config", config)
    assert run("check", bad, "--json", "--config", config) == 3
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["file"], error["line"]) == (str(bad), 2)


def test_check_warns_of_names_that_nothing_has(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy about a misspelt target is sound, and does nothing."""
    (tmp_path / "more.cedar").write_text(
        '@id("x") permit (principal, action, resource in Target::"shpo");\n'
        '@id("y") permit (principal, action == Action::"unmask", resource == Label::"snn");\n'
        '@id("z") permit (principal, action, resource in Schema::"shpo.public");\n'
    )
    assert run("check", "--config", config) == 0
    warned = capsys.readouterr().err.splitlines()
    assert [line.split(" is ")[0] for line in warned] == [
        'warning: Target::"shpo"', 'warning: Label::"snn"', 'warning: Schema::"shpo.public"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "decision"),
    [
        ("select 1", "allow"),
        ("select name from customers", "allow"),
        ("select name from customers where ssn like '0%'", "deny"),
        ("select * from warehouse.stock s join customers c on c.id = s.owner", "allow"),
        ("delete from orders where id = 4", "hold"),
        ("create table t (a int)", "hold"),
        ("select refund(3)", "deny"),
        ("do $$ begin end $$", "deny"),
        ("set role postgres", "deny"),
        ("selec 1", "deny"),
        ("select 1; drop table orders", "hold"),
    ],
)
def test_explain_decides_as_the_gateway_would(config: Path, statement: str, decision: str) -> None:
    """Without a catalogue: what a statement names is assumed to exist. --expect makes a test of it."""
    assert explained(config, "--statement", statement, "--expect", decision) == 0
    assert explained(config, "--statement", statement) == (0 if decision == "allow" else 1)


@pytest.mark.parametrize(
    ("assurance", "read", "write"),
    [("V0", "deny", "deny"), ("V1", "allow", "deny"), ("V2", "allow", "hold"), ("V3", "allow", "hold")],
)
def test_explain_asks_with_the_assurance_given(config: Path, assurance: str, read: str, write: str) -> None:
    """By the first policy, a bearer token reads, and one that is bound may ask for a change."""
    for statement, decision in (("select name from customers", read), ("delete from orders where id = 4", write)):
        assert explained(config, "--assurance", assurance, "--statement", statement, "--expect", decision) == 0


def test_explain_says_why(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people: who may approve, what is masked, which policy in which line, and what was assumed."""
    assert explained(config, "--statement", "update customers set name = 'x' where id = 1", "--expect", "hold") == 0
    said = capsys.readouterr().out
    assert "HOLD: agent bot needs approval to write table public.customers on shop" in said
    assert "1 person of approvers, within 15m" in said
    assert "ssn: masked" in said
    assert "agents-change-approved  starter.cedar:" in said
    assert "assumed to exist: customers" in said
    assert "\x1b" not in said


def test_explain_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs; a law that no policy lifts is a denial with its reason."""
    explained(config, "--json", "--statement", "set role postgres")
    said = json.loads(capsys.readouterr().out)
    assert said["decision"] == "deny"
    assert said["forbidden"]
    explained(config, "--json", "--statement", "select ssn from customers")
    said = json.loads(capsys.readouterr().out)
    assert (said["decision"], said["labels"], said["unmask"]) == ("allow", ["ssn"], [])


def test_explain_knows_the_person_behind_an_agent(config: Path) -> None:
    """What neither or only one of them may do is denied."""
    read = ("--statement", "select 1", "--on-behalf-of", "bob")
    assert explained(config, *read, "--expect", "deny") == 0
    assert explained(config, *read, "--on-behalf-of-group", "people", "--expect", "allow") == 0


def test_explain_answers_about_connecting(config: Path) -> None:
    """Without a statement, or about another action."""
    assert explained(config, "--expect", "allow") == 0
    assert explained(config, "--action", "administer", "--expect", "deny") == 0


def test_explain_takes_a_catalogue_and_then_assumes_nothing(config: Path, tmp_path: Path) -> None:
    """A table that is not in it is unknown."""
    known = tmp_path / "catalogue.json"
    known.write_text('{"public.orders": ["id"]}')
    some = ("--catalogue", str(known), "--statement")
    assert explained(config, *some, "select id from orders", "--expect", "allow") == 0
    assert explained(config, *some, "select id from customers", "--expect", "deny") == 0
    known.write_text("[]")
    with pytest.raises(ConfigError, match="not a catalogue"):
        explained(config, *some, "select 1")


@pytest.mark.parametrize(
    "wrong",
    [("--at", "noon"), ("--client", "here"), ("--claim", "x"), ("--expect", "yes"), ("--on-behalf-of-group", "x")],
)
def test_explain_refuses_what_it_does_not_understand(config: Path, wrong: tuple[str, str]) -> None:
    """Rather than answer another question than was asked."""
    with pytest.raises(ConfigError):
        explained(config, *wrong)
    with pytest.raises(ConfigError, match="there is no target 'shpo'"):
        run("explain", "--config", config, "--identity", "bot", "--target", "shpo")


def test_every_policy_in_the_guide_is_sound() -> None:
    """Each example loads, all of them together too: no id is used for two things."""
    examples = re.findall(r"```cedar\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 6
    assert load({f"example-{n}": text for n, text in enumerate(examples)}).ids
