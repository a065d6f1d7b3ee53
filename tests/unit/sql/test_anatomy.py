"""A change taken apart says what it would touch, or nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.sql.anatomy import dissect, locks, quoted
from doorward.sql.parse import parse
from tests.rig.postgres import PostgresServer

COUNTED = (
    "update t set a = 1",
    "update t set a = 1 where b > 2 -- a comment",
    "update only t as x set a = x.b, flag = x.a is distinct from x.b where x.b in (2, 3) returning x.a",
    "update t set a = u.b from u where u.id = t.id and u.b is not null",
    "update t set (a, b) = (select 1, 2) where id in (select id from u where b = 3);",
    "with w as (select id from u) update t set a = 0 from w where w.id = t.id",
    "delete from t",
    "delete from t where a = (select max(a) from t) /* again */",
    "delete from t as x using u, (select 1 as one) y where u.id = x.id and y.one = 1 returning *",
    "insert into t (id, a) select b + 100, b from u join (select 1 as one) y on y.one < u.id on conflict do nothing",
    "insert into t table only_rows returning id",
)


@pytest.fixture(scope="module")
def tables(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    """Two small tables in a transaction that is never committed."""
    connection = psycopg.connect(
        host=postgres.host, port=postgres.port, user=postgres.user, password=postgres.password, dbname=postgres.database
    )
    connection.execute(
        "create temporary table t (id int primary key, a int, b int, flag bool); create temporary table u (id int, b int);"
        "insert into t select n, n % 3, n % 5 from generate_series(1, 40) n;"
        "insert into u select n % 7, n from generate_series(1, 9) n;"
        "create temporary table only_rows (id int, a int, b int, flag bool); insert into only_rows values (500), (501)"
    )
    yield connection
    connection.close()


@pytest.mark.parametrize("text", COUNTED)
def test_what_is_counted_is_what_is_touched(tables: psycopg.Connection, text: str) -> None:
    """The count of a change is the number of rows that the server then says it changed."""
    change = dissect(text)
    assert change is not None
    assert change.count is not None
    tables.execute("savepoint here")
    counted = tables.execute(change.count.text.encode()).fetchone()
    touched = tables.execute(text.encode()).rowcount
    tables.execute("rollback to here")
    assert counted == (touched,)
    assert touched > 0


@pytest.mark.parametrize("text", [text for text in COUNTED if not text.startswith("insert")])
def test_the_first_rows_before_and_after(tables: psycopg.Connection, text: str) -> None:
    """The rows shown before are those shown after, and the number beside them is of all."""
    change = dissect(text)
    assert change is not None
    before, after = change.before(["id"]), change.after(["id"])
    assert before is not None
    assert after is not None
    tables.execute("savepoint here")
    earlier = tables.execute(before.text.encode()).fetchall()
    later = tables.execute(after.text.encode()).fetchall()
    tables.execute("rollback to here")
    touched = tables.execute(text.encode()).rowcount
    tables.execute("rollback to here")
    assert later[0][0] == touched
    assert [row[0] for row in earlier] == [row[1] for row in later]
    assert 0 < len(earlier) <= 5


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "delete from t; delete from u",
        "update t set a = 1 where current of c",
        "with gone as (delete from u returning id) update t set a = 1 from gone where gone.id = t.id",
        "with t as (select 1 as id) update t set a = 1 where id = 1",
        "insert into t (select 1)",
        "merge into t using u on t.id = u.id when matched then delete",
        "delete from",
        "delete from t where a = 1" + " or a = 1" * 5000,
    ],
)
def test_what_cannot_be_taken_apart_is_left_whole(text: str) -> None:
    """Nothing is counted rather than something else."""
    assert dissect(text) is None


@pytest.mark.parametrize(
    ("text", "rows"), [("insert into t values (1), (2), (3)", 3), ("insert into t default values", 1)]
)
def test_rows_in_the_text_are_counted_there(text: str, rows: int) -> None:
    """VALUES need no server."""
    change = dissect(text)
    assert change is not None
    assert (change.literal, change.count) == (rows, None)


def test_parameters_are_those_that_a_query_uses() -> None:
    """A server wants a type for each parameter up to the highest: a query has its own numbers, without a gap."""
    change = dissect("update t set a = $1, b = $2 where a = $4 and b = $3 and id <> $4")
    assert change is not None
    assert change.count is not None
    assert change.count.parameters == (4, 3)
    assert "a = $1 and b = $2 and id <> $1" in change.count.text
    after = change.after(["id"])
    assert after is not None
    assert after.parameters == (1, 2, 4, 3)


SHAPES = ("update t set a=1 {} where {}", "delete from t {} {}", "insert into t select {} {}", "{} {}")


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(SHAPES))
def test_hostile_texts(one: str, other: str, shape: str) -> None:
    """Whatever the text is, there is a count that parses, or none."""
    change = dissect(shape.format(one, other))
    if change is not None and change.count is not None:
        assert [raw.tag for raw in parse(change.count.text)] == ["SelectStmt"]
    locks(shape.format(one, other))


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("select 1", ""),
        ("select * from t for update", "ROW SHARE"),
        ("update t set a = 1", "ROW EXCLUSIVE"),
        ("copy t from stdin", "ROW EXCLUSIVE"),
        ("copy t to stdout", ""),
        ("create index i on t (a)", "SHARE"),
        ("create index concurrently i on t (a)", "SHARE UPDATE EXCLUSIVE"),
        ("alter table t add column x int", "ACCESS EXCLUSIVE"),
        ("alter table t validate constraint c", "SHARE UPDATE EXCLUSIVE"),
        ("alter table t validate constraint c, add column x int", "ACCESS EXCLUSIVE"),
        ("alter table t add constraint f foreign key (a) references u", "SHARE ROW EXCLUSIVE"),
        ("lock table t", "ACCESS EXCLUSIVE"),
        ("lock table t in share mode", "SHARE"),
        ("truncate t", "ACCESS EXCLUSIVE"),
        ("delete from t; drop table t", "ACCESS EXCLUSIVE"),
        ("refresh materialized view concurrently m", "EXCLUSIVE"),
        ("vacuum (full) t", "ACCESS EXCLUSIVE"),
        ("vacuum t", "SHARE UPDATE EXCLUSIVE"),
    ],
)
def test_locks(text: str, mode: str) -> None:
    """The mode is the documented one."""
    assert locks(text) == mode


def test_identifiers_are_quoted_whatever_is_in_them() -> None:
    """A name cannot end its quotes."""
    assert quoted('a"b') == '"a""b"'
