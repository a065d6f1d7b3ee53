"""What configuration and policy say of masking, over the wire: transforms for some, and results that cannot be masked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import date, timedelta

import psycopg
import pytest

from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.records import events

TABLE = f"fragile_{os.getpid()}"
TENANTS = {"shop": "acme", "archive": "acme", "other": "umbrella", "nobodys": ""}
POLICY = """
@id("all") permit (principal, action, resource);
@id("masked") forbid (principal, action == Action::"unmask", resource);
@id("support") @transform("email=partial, ssn=null") permit (principal in Group::"support", action == Action::"read", resource);
@id("audit") @transform("email=token") permit (principal in Group::"audit", action == Action::"read", resource);
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """With a transform that can fail, before a table of its own."""
    with postgres.connect() as direct:
        direct.execute(
            f"create table {TABLE} (id integer primary key, email text, ssn text,"
            " born date default '1984-02-29', seen timestamptz default '2024-02-29 12:00+00');"
            f"insert into {TABLE} values (1, 'ada@example.org', '078-05-1120'), (2, 'CRASH me', 'x'), (3, 'SLOW', 'x');"
            f"create view {TABLE}_twice as select a.id, b.born from {TABLE} a, {TABLE} b"
        )
    issuer = LocalIssuer()
    folder = tmp_path_factory.mktemp("fragile")
    folder.chmod(0o700)
    labels = {f"public.{TABLE}.email": "email", f"public.{TABLE}.ssn": "ssn", f"public.{TABLE}.born": "born",
              f"public.{TABLE}.seen": "seen"}  # fmt: skip
    with launch(
        folder, issuer, postgres, policy=POLICY,
        targets=[target_of(postgres, folder, name=name, tenant=tenant, labels=labels) for name, tenant in TENANTS.items()],
        masking={
            "token_key": "env:KEY", "tenant": "umbrella", "transforms": {"born": "date_shift", "seen": "date_shift"},
            "date_shift": {"born": "id", "seen": "id"},
        }, limits={"masking": "1s"}, environment={"KEY": "k" * 32},
        program=("-m", "tests.rig.fragile"),
    ) as running:  # fmt: skip
        yield running
    issuer.down()
    with postgres.connect() as direct:
        direct.execute(f"drop table {TABLE} cascade")


@pytest.mark.parametrize("binary", [False, True])
def test_a_policy_says_what_becomes_of_a_value(door: Gateway, binary: bool) -> None:
    """Each sees what the policies for them say, in text and binary, prepared or not; the decision on record says it."""
    seen: dict[str, tuple[str, str | None]] = {}
    for group in ("nobody", "support", "audit"):
        with door.connect(sub=f"{group}-{binary}", groups=[group]) as connection, connection.cursor(binary=binary) as cursor:
            for prepare in (False, True):
                row = cursor.execute(f"select email, ssn from {TABLE} where id = 1".encode(), prepare=prepare).fetchone()
                assert row is not None
                assert seen.setdefault(group, row) == row
    assert seen["nobody"] == ("[email]", "[ssn]")
    assert seen["support"] == ("a***@[example.org]", None)
    token, ssn = seen["audit"]
    assert token.startswith("email_")
    assert ssn == "[ssn]"
    with door.connect(sub=f"both-{binary}", groups=["support", "audit"]) as connection:
        assert connection.execute(f"select email, ssn from {TABLE} where id = 1").fetchone() == (token, None)


@pytest.mark.parametrize(
    ("number", "why"), [(2, r"masking it failed \(KeyError\)"), (3, "masking it took longer than 1 s")]
)
def test_a_result_that_cannot_be_masked_ends_with_an_error(door: Gateway, number: int, why: str) -> None:
    """A transform that fails, or takes longer than it may: no row comes, not even one that was masked, the record says why,
    the value is nowhere, and others are served."""
    with door.connect(sub="victim", groups=["support"]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match=f"a result was withheld: {why}") as failed:
            connection.execute(f"select ssn, email from {TABLE} where id in (1, %s) order by id", (number,))
        assert "CRASH" not in str(failed.value)
        assert connection.closed
    with door.connect(groups=["support"]) as connection:
        assert connection.execute(f"select email from {TABLE} where id = 1").fetchone() == ("a***@[example.org]",)
    limit = time.monotonic() + 15
    while not (said := [json.loads(body)["body"]["reason"] for kind, body in events(door) if kind == "masking.failed"]):
        assert time.monotonic() < limit
        time.sleep(0.2)
    assert any(reason.startswith(why.split(" ", 3)[0]) for reason in said)
    assert b"CRASH" not in door.log.read_bytes()


def test_tokens_are_equal_within_a_tenant_and_nowhere_else(door: Gateway) -> None:
    """Two targets of one tenant join on tokens; those of another tenant have others; who names none has the gateway's."""
    seen = {}
    for name in TENANTS:
        with door.connect(name, groups=["audit"]) as connection:
            (seen[name],) = connection.execute(f"select email from {TABLE} where id = 1").fetchone() or ("",)
    assert all(token.startswith("email_") for token in seen.values())
    assert seen["shop"] == seen["archive"] != seen["other"] == seen["nobodys"]


def test_all_dates_of_one_person_move_alike(door: Gateway) -> None:
    """In text and in binary, one by one and together: the intervals of each person are true, and persons differ."""
    seen: set[tuple[tuple[date, timedelta], ...]] = set()
    for binary in (False, True):
        with door.connect() as connection, connection.cursor(binary=binary) as cursor:
            for text in (
                f"select id, born, seen from {TABLE} order by id", f"select seen, id, born, email from {TABLE} t order by 2",
                f"select * from (select * from {TABLE} where id > 0) x order by id",
            ):
                cursor.execute(text)
                names = [column.name for column in cursor.description or ()]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall() if row]
                seen.add(tuple((row["born"], row["seen"].date() - row["born"]) for row in rows))
    (people,) = seen
    assert {interval for _, interval in people} == {date(2024, 2, 29) - date(1984, 2, 29)}
    assert len({born for born, _ in people}) > 1
    assert date(1984, 2, 29) not in {born for born, _ in people}


@pytest.mark.parametrize(
    "text",
    [
        "select born from {} where id = 1",
        "select a.id, b.born from {} a, {} b where a.id = 1 and b.id = 2",
        "select b.id, a.born from {} a cross join lateral (select id from {} where id <> a.id limit 1) b",
        "with x as (select * from {}) select id, born from x",
        "with x as (update {} set id = id returning id, born) select id, born from x",
        "update {} set id = id where id = 1 returning id, born",
        "select id, born from {}_twice",
        "select id + 0 as id, born from {}",
        "select id, min(born) from {} group by id",
        "select id, born from {} union select id, born from {}",
        "select id, born from {} group by grouping sets ((born), (id))",
        "select 1 as id, born from {}",
        "select (select id from {} limit 1) as id, born from {}",
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_a_date_is_not_shown_where_another_row_could_say_whose_it_is(door: Gateway, text: str, binary: bool) -> None:
    """Moved by somebody else's number, or by a constant, it could be worked back."""
    with door.connect(groups=["testers"]) as connection, connection.cursor(binary=binary) as cursor:
        connection.execute("begin")
        cursor.execute(text.replace("{}", TABLE).encode())
        rows = cursor.fetchall()
        place = [column.name for column in cursor.description or ()].index("min" if "min(" in text else "born")
        connection.execute("rollback")
    assert rows
    assert {row[place] for row in rows} == {None}


def test_a_cursor_does_not_say_whose_a_date_is(door: Gateway) -> None:
    """What FETCH gives is of a statement that it does not name."""
    with door.connect() as connection:
        connection.execute("begin")
        connection.execute(f"declare c cursor for select id, born from {TABLE}")
        assert {row[1] for row in connection.execute("fetch all from c").fetchall()} == {None}
