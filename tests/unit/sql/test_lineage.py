"""Which labelled columns an output column may depend on; held against what a real server answers."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from doorward.model import Effect
from doorward.sql.classify import Facts, classify
from tests.unit.sql.conftest import LABELS, load

# (query, the labels of each output column). "" no label, "s" the social security number, "c" the card.
LINEAGE = [
    ("select id, name, ssn from customers", "_ _ s"),
    ("select ssn as a, id b from customers c", "s _"),
    ("select * from customers", "_ _ s _ _ _ _ _ _ s"),  # full_name is generated from ssn
    ("select c.*, o.id from customers c join orders o on o.customer_id = c.id", "_ _ s _ _ _ _ _ _ s _"),
    ("select o.*, c.name from customers c, orders o", "_ _ _ _ _ _"),
    ("table secrets", "_ c"),
    ("select a, b from (select id, ssn from customers) x (a, b)", "_ s"),
    ("with x as (select ssn, id from customers) select id, ssn from x", "_ s"),
    ("with x as materialized (select * from customers) select x.ssn, x.name from x", "s _"),
    ("with x (p, q) as (select name, ssn from customers) select q, p from x", "s _"),
    (
        "with recursive r (a, b) as (select id, name from customers union all select a + 10, ssn "
        "from r join customers on id = a) "
        "select * from r",
        "_ s",
    ),
    (
        "with recursive r (n, a, b) as (select 1, ''::text, ssn from customers union all select n + "
        "1, b, '' from r where n < 3) "
        "select a, n from r",
        "s _",
    ),
    ("select ssn || 'x', upper(name) from customers", "s _"),
    ("select coalesce(null, ssn), nullif(name, ''), greatest(name, ssn) from customers", "s _ s"),
    (
        "select case when name = 'Ann' then ssn else '' end, case when ssn like '0%' then 1 end, "
        "case id when 1 then 2 end from customers",
        "s s _",
    ),
    ('select ssn::varchar, ssn::text::bytea, ssn collate "C", id::text from customers', "s s s _"),
    (
        "select substr(ssn, 1, 1), length(ssn), md5(ssn), ascii(ssn), reverse(ssn), encode(ssn::bytea, 'hex') from customers",
        "s s s s s s",
    ),
    ("select ssn like '0%', ssn = 'x', ssn is null, ssn in ('a'), ssn between 'a' and 'b' from customers", "s s s s s"),
    (
        "select max(ssn), count(*), string_agg(ssn, ','), array_agg(name order by name), count(ssn) from customers",
        "s _ s _ s",
    ),
    (
        "select mode() within group (order by ssn), percentile_disc(0.5) within group (order by name) from customers",
        "s _",
    ),
    (
        "select lag(ssn) over (order by id), row_number() over (order by id), first_value(name) "
        "over w from customers window w as (order by id)",
        "s _ _",
    ),
    ("select c from customers c", "s"),
    ("select customers from customers", "s"),
    ("select (c).ssn, (c).name from customers c", "s _"),
    ("select (c).* from customers c", "_ _ s _ _ _ _ _ _ s"),
    ("select row_to_json(c), to_jsonb(c), c::text, row(c.id, c.ssn) from customers c", "s s s s"),
    (
        "select json_build_object('a', ssn), jsonb_agg(c), array[ssn], (array[name, ssn])[1] from customers c group by id",
        "s s s s",
    ),
    (
        "select (select ssn from customers limit 1), (select name from customers limit 1), array(select ssn from customers)",
        "s _ s",
    ),
    ("select exists (select 1 from customers where ssn like '0%'), 1 in (select id from customers)", "s _"),
    ("select name from customers union all select ssn from customers", "s"),
    ("select id, name from customers union select id, note from orders order by 1", "_ _"),
    ("(select ssn, name from customers limit 1) union all (select name, name from customers limit 1)", "s _"),
    ("select name from customers intersect select ssn from customers", "s"),
    ("values ((select max(ssn) from customers), 1), ('a', 2)", "s _"),
    ("select * from (values (1, (select max(ssn) from customers))) v (a, b)", "_ s"),
    ("select * from customers join sales.customers s using (ssn) where false", "s _ _ _ _ _ _ _ _ s _ _"),
    (
        "select ssn, region from (select ssn from customers) a natural full join (select ssn, region from sales.customers) b",
        "s _",
    ),
    (
        "select j.* from (customers c join orders o on o.customer_id = c.id) j (a1, a2, a3)",
        "_ _ s _ _ _ _ _ _ s _ _ _ _ _",
    ),
    ("select x.* from customers c cross join lateral (select c.ssn, c.name) x", "s _"),
    ("select x.* from customers c, lateral (select max(d.ssn) from customers d where d.id = c.id) x", "s"),
    ("select o.id, (select c.ssn from customers c where c.id = o.customer_id) from orders o", "_ s"),
    ("select u from customers, unnest(array[ssn, name]) u", "s"),
    ("select u from customers, unnest(tags) u", "_"),
    ("select g, name from customers, generate_series(1, 2) g", "_ _"),
    ("select key, value from customers c, jsonb_each_text(to_jsonb(c))", "s s"),
    ("select w.* from customers, string_to_table(ssn, '-') with ordinality as w (a, b)", "s s"),
    ("select regexp_split_to_table(ssn, ''), name from customers", "s _"),
    ("select * from v", "_ s"),
    ("select code, id from v", "s _"),
    ("select * from api.v2", "_ s _"),
    ("select * from mv", "_ s"),
    ("select * from part", "_ _ s"),
    ("select * from part1", "_ _ s"),
    ("select * from cards", "_ c"),
    ("select data ->> 'a', home, (home).city, m, born from customers", "_ _ _ _ _"),
    ("select full_name, name from customers", "s _"),
    ("select id from customers group by id having max(ssn) > ''", "_"),
    ("select distinct on (name) name, ssn from customers order by name", "_ s"),
    ("select tableoid, ctid, xmin from customers", "_ _ _"),
    ("select current_user, now() is null, 1 + 1, '{}'::jsonb", "_ _ _ _"),
    (
        "select format('%s', ssn), concat(name, 'x'), quote_literal(ssn), to_json(ssn), overlay(ssn "
        "placing 'x' from 1) from customers",
        "s _ s s s",
    ),
    ("select xmlelement(name a, ssn), xmlforest(name), extract(year from born), trim(ssn) from customers", "s _ _ s"),
    ("select most_common_vals, tablename from pg_stats where false", "sc _"),
    ("select query, pid from pg_stat_activity where false", "sc _"),
    ("select rows1()", "sc"),
    ("insert into orders (note) values ('x') returning id, note", "_ _"),
    ("update customers set name = 'x' returning ssn, name, *", "s _ _ _ s _ _ _ _ _ _ s"),
    ("delete from orders o using customers c where c.id = o.customer_id returning o.id, c.ssn", "_ s"),
    ("delete from orders o using secrets s where false returning *", "_ _ _ _ _ _ c"),
]
LINEAGE_18 = [
    ("update customers set name = 'x' returning old.ssn, new.name, old", "s _ s"),
    ("update customers set name = 'x' returning with (old as o, new as n) o.ssn, n.id", "s _"),
    (
        "merge into orders o using customers c on c.id = o.customer_id when matched then update set note = 'z' "
        "returning merge_action(), c.ssn, o.note",
        "_ s _",
    ),
    ("merge into orders o using secrets s on s.id = o.id when matched then do nothing returning *", "_ c _ _ _ _ _"),
    ("select json_value(to_json(c)::jsonb, '$.ssn'), json_exists('{}', '$.a') from customers c", "s _"),
    (
        "select jt.* from customers c, json_table(to_jsonb(c), '$' columns (a text path '$.ssn', b int path '$.id')) jt",
        "s s",
    ),
]
_LABELS = {"_": frozenset[str](), "s": frozenset({"ssn"}), "c": frozenset({"card"}), "sc": frozenset({"ssn", "card"})}


def _outputs(text: str, facts: Facts) -> list[frozenset[str]]:
    statement = classify(text, facts).statements[0]
    assert statement.outputs is not None, statement.reason
    return [output.sources for output in statement.outputs]


@pytest.mark.parametrize(("text", "expected"), LINEAGE + LINEAGE_18)
def test_lineage(text: str, expected: str, facts: Facts) -> None:
    """Each output column has the labels of every column it may depend on, and no others."""
    assert _outputs(text, facts) == [_LABELS[each] for each in expected.split()]


def _rows(connection: psycopg.Connection, text: str, ssn: str) -> tuple[list[str], list[tuple[object, ...]]]:
    with connection.transaction(force_rollback=True):
        connection.execute(b"UPDATE customers SET ssn = id::text || %s", (ssn,))
        connection.execute(b"UPDATE part SET ssn = %s", (ssn,))
        connection.execute(b"UPDATE secrets SET card = %s", (ssn,))
        connection.execute(b"REFRESH MATERIALIZED VIEW mv")
        connection.execute(b"ALTER SEQUENCE orders_id_seq RESTART 100")
        cursor = connection.execute(text.encode())
        return [column.name for column in cursor.description or ()], cursor.fetchall()


@pytest.mark.parametrize(("text", "expected"), LINEAGE)
def test_the_server_agrees(text: str, expected: str, shop15: psycopg.Connection, facts: Facts) -> None:
    """Other values in the labelled columns change no cell of an unlabelled output; names and number of columns fit."""
    statement = classify(text, facts).statements[0]
    outputs = statement.outputs
    assert outputs is not None
    names, before = _rows(shop15, text, "-07-8051120")
    _, after = _rows(shop15, text, "~99-9999999")
    assert len(outputs) == len(names)
    assert [output.name for output in outputs if output.name != "?column?"] == [
        name for name, output in zip(names, outputs, strict=True) if output.name != "?column?"
    ]
    if statement.inferred:  # a condition on a labelled column may change which rows there are
        return
    for i, output in enumerate(outputs):
        if not output.sources and names[i] not in ("xmin", "ctid", "tableoid"):
            assert sorted(str(row[i]) for row in before) == sorted(str(row[i]) for row in after), names[i]


@pytest.mark.parametrize(
    ("text", "inferred", "stored"),
    [
        ("select id from customers where ssn = 'x'", {"ssn"}, set()),
        ("select id from customers order by ssn", {"ssn"}, set()),
        ("select ssn as a from customers order by a", {"ssn"}, set()),
        ("select name, count(*) as n from customers group by name order by n desc", set(), set()),
        ("select upper(name) as n, count(*) from customers group by n", set(), set()),
        ("select name as ssn from customers group by ssn, name", {"ssn"}, set()),
        ("select name from customers order by customers", {"ssn"}, set()),
        ("select id as n, ssn from customers order by n + 1", {"ssn"}, set()),
        ("select ssn from customers order by 1", {"ssn"}, set()),
        ("select count(*) from customers group by ssn", {"ssn"}, set()),
        ("select 1 from customers a join part b using (ssn)", {"ssn"}, set()),
        ("select count(*) filter (where ssn > '5') from customers", {"ssn"}, set()),
        ("select rank() over (partition by ssn order by id) from customers", {"ssn"}, set()),
        ("select id from orders where exists (select 1 from customers where ssn = 'x')", {"ssn"}, set()),
        ("select ssn from customers where id = 1", set(), set()),
        ("create table t as select ssn from customers", set(), {"ssn"}),
        ("create materialized view t as select ssn from customers", set(), {"ssn"}),
        ("select card into t from secrets", set(), {"card"}),
        ("insert into orders (note) select ssn from customers", set(), {"ssn"}),
        ("update orders o set note = c.ssn from customers c where c.id = o.customer_id", set(), {"ssn"}),
        ("update orders set (note, id) = (select ssn, 1 from customers limit 1)", set(), {"ssn"}),
        ("select setval('seq1', (select max(id) from customers where ssn > ''))", {"ssn"}, set()),
        ("select setval('seq1', length(ssn)) from customers", {"ssn"}, {"ssn"}),
        (
            "merge into orders o using customers c on c.id = o.id when not matched then insert (note) values (c.ssn)",
            set(),
            {"ssn"},
        ),
        ("insert into orders (note) values ('x')", set(), set()),
        ("explain select id from customers where ssn = 'x'", {"ssn"}, set()),
    ],
)
def test_inference_and_laundering(text: str, inferred: set[str], stored: set[str], facts: Facts) -> None:
    """What a labelled column decides, and where it is copied to, is told apart from what is shown."""
    told = classify(text, facts)
    assert told.effect is not Effect.UNKNOWN, told.reason
    statement = told.statements[0]
    assert (set(statement.inferred), set(statement.stored)) == (inferred, stored)


INFERS = [
    # what decides which rows there are, or their order
    "select distinct ssn from customers",
    "select count(distinct ssn) filter (where ssn > '5') from customers",
    "select ssn from customers union select ''",
    "select ssn from customers intersect all select '078-05-1120'",
    "select '078-05-1120' except select ssn from customers",
    "(select ssn from customers union all select '') union select 'x'",
    "with recursive r (a) as (select ssn from customers union select a from r) select a from r",
    "select name from customers limit (select length(max(ssn)) from customers)",
    "select name from customers where exists (select 1 from secrets where customers.ssn = card)",
    "select name from customers c where c = row(1, 'x')",
    "select name, regexp_split_to_table(ssn, '') from customers",
    "select 1 from customers, string_to_table(ssn, '-')",
    "select 1 from customers c, json_table(to_jsonb(c), '$' columns (a text path '$.ssn')) jt",
    "select string_agg(name, ',' order by ssn) from customers",
    "select id from customers group by grouping sets ((id), (id, ssn))",
    "select count(*) from customers group by rollup (ssn)",
    "select row_number() over w from customers window w as (order by ssn)",
    "select name from customers where ssn = 'x' for update nowait",
    "select code from v order by code",
    "select 1 from customers tablesample system (1) where full_name > 'x'",
    "select k from part1 where ssn is null",
    "delete from customers where ssn = 'x'",
    "update orders o set note = 'x' from customers c where c.ssn = o.note",
    "update customers set name = 'x' where ssn like '1%' returning id",
    "merge into orders o using customers c on c.ssn = o.note when matched then delete",
    "merge into orders o using customers c on c.id = o.id when matched and c.ssn > '5' then delete",
    "insert into customers (ssn) values ('x') on conflict (ssn) do nothing",
    "insert into customers (ssn) values ('x') on conflict do nothing",
    "copy (select id from customers where ssn = 'x') to stdout",
    "explain analyze select ssn from customers",
    "explain select id from customers order by ssn",
    "declare c cursor for select id from customers where ssn = 'x'",
    "create view w as select id from customers where ssn = 'x'",
    "create materialized view w as select id from customers where ssn = 'x'",
    "create table w as select id from customers where ssn = 'x'",
    # what fails, or takes its time, because of a value
    "select 1 / (length(ssn) - 11) from customers",
    "select case when ssn like '0%' then 1 / 0 else 1 end from customers",
    "select case ssn when 'x' then 1 end from customers",
    "select coalesce(nullif(ssn, 'x'), (1 / 0)::text) from customers",
    "select ssn like '0%' and 1 / 0 > 0 from customers",
    "select ssn::int from customers",
    "select cast(ssn as date) from customers",
    "select ssn::json from customers",
    "select ssn::bytea from customers",
    "select full_name::int from customers",
    "select xmlparse(document ssn) from customers",
    "select repeat('x', length(ssn)) from customers",
    "select substr('abc', 1, length(ssn) - 5) from customers",
    "select name ~ ssn, ssn ~ '^(a+)+$' from customers",
    "select name like ssn from customers",
    "select to_date(ssn, 'YYYY') from customers",
    "select f1(length(ssn)) from customers",
    "select (array[1,2])[length(ssn) / 0] from customers",
    "select x from (select id as x, ssn::int from customers offset 0) q",
    "select id from customers where id in (select y from (select id as y, ssn::int from customers offset 0) q)",
    "update orders set note = (select ssn::int::text from customers limit 1)",
    "insert into orders (customer_id) select ssn::int from customers",
    "alter table customers add constraint k check (ssn like '0%')",
    "alter table customers alter column ssn set not null",
    "alter table customers alter column ssn type int using ssn::int",
    "create unique index on customers (ssn)",
    "create index on customers ((ssn::int))",
    "create index on customers (id) where ssn = 'x'",
]
CALM = [
    "select name from customers for update skip locked",  # who holds a lock is not what a column holds
    "select * from customers where id = 1 order by name limit 5",
    "select ssn, upper(ssn), substr(ssn, 1, 3), ssn || '', ssn::text, md5(ssn), coalesce(ssn, '-') from customers",
    "select count(ssn), max(ssn), array_agg(ssn), string_agg(ssn, ',' order by id) from customers group by name",
    "select c, row_to_json(c), (c).ssn from customers c",
    "select ssn = 'x', ssn in ('x', 'y'), ssn between 'a' and 'b', ssn like '0%', ssn is null from customers",
    "select ssn from customers union all select card from secrets",
    "with x as (select * from customers) select name, ssn from x",
    "select (select ssn from customers limit 1), array(select ssn from customers)",
    "select 1 / id, id::text::int, case when name = 'x' then 1 / 0 end from customers",
    "select distinct name from customers",
    "select name from customers union select note from orders",
    "insert into customers (name, ssn) values ('x', 'y') on conflict (id) do update set ssn = excluded.ssn",
    "update customers set ssn = 'x' where id = 1 returning *",
    "explain select * from customers",
    "alter table customers add column more text",
    "create index on customers (id)",
    "select * from v",
    "table customers",
]


@pytest.mark.parametrize("text", INFERS)
def test_what_a_labelled_column_decides_is_inferred(text: str, facts: Facts) -> None:
    """Which rows there are, how many, in what order, and whether there is an error: by each way to ask."""
    told = classify(text, facts)
    assert told.effect is not Effect.UNKNOWN, told.reason
    assert "ssn" in told.inferred


@pytest.mark.parametrize("text", CALM)
def test_what_a_labelled_column_does_not_decide_is_not(text: str, facts: Facts) -> None:
    """Showing a column, in whatever disguise, is masking's business; nothing is refused for it."""
    told = classify(text, facts)
    assert told.effect is not Effect.UNKNOWN, told.reason
    assert told.inferred == frozenset()


def test_a_view_infers_what_its_query_does(shop15: psycopg.Connection) -> None:
    """A condition stays one behind a view, and behind a view of a view; a materialised view was decided when it was filled."""
    with shop15.transaction(force_rollback=True):
        shop15.execute("create view few as select id from customers where ssn like '0%'")
        shop15.execute("create view fewer as select id from few")
        shop15.execute("create materialized view still as select id from customers where ssn like '0%'")
        seen = Facts(load(shop15), labels=LABELS)
    assert classify("select * from few", seen).inferred == {"ssn"}
    assert classify("select 1 from fewer", seen).inferred == {"ssn"}
    assert classify("drop view fewer", seen).inferred == frozenset()
    assert classify("select * from still", seen).inferred == frozenset()


@pytest.mark.parametrize(
    "text",
    ["copy customers to stdout", "copy customers (name, ssn) to stdout", "copy (select ssn from customers) to stdout"],
)
def test_copy_has_lineage(text: str, facts: Facts) -> None:
    """COPY OUT carries no names or oids, so its columns' labels come from here."""
    statement = classify(text, facts).statements[0]
    assert statement.outputs is not None
    assert any(output.sources == {"ssn"} for output in statement.outputs)


COPIES = [
    ("create table public.t as select name, ssn from customers", {"public.t.ssn ssn"}),
    ("create table t (a, b) as select name, ssn from customers", {"public.t.b ssn"}),
    ("create table t as select * from customers, secrets",
     {"public.t.ssn ssn", "public.t.full_name ssn", "public.t.card card"}),
    ("create table t as table customers", {"public.t.ssn ssn", "public.t.full_name ssn"}),
    ("create table t as select md5(ssn || card) as x from customers, secrets", {"public.t.x ssn", "public.t.x card"}),
    ("create table api.t as select ssn from customers with no data", {"api.t.ssn ssn"}),
    ("create materialized view t (a) as select ssn from customers", {"public.t.a ssn"}),
    ("select ssn as x, id into t from customers", {"public.t.x ssn"}),
    ("select name into t from customers union select ssn from customers", {"public.t.name ssn"}),
    ("with x as (select ssn from customers) select ssn into t from x", {"public.t.ssn ssn"}),
    ("insert into orders (note) select ssn from customers", {"public.orders.note ssn"}),
    ("insert into orders (id, note) select id, ssn from customers", {"public.orders.note ssn"}),
    ("insert into orders select id, id, ssn from customers", {"public.orders.note ssn"}),
    ("insert into orders (note) values ('x'), ((select ssn from customers limit 1))", {"public.orders.note ssn"}),
    ("insert into orders (note) select note from orders on conflict (id) do update set note = (select max(ssn) from customers)",
     {"public.orders.note ssn"}),
    ("with x as (insert into orders (note) select ssn from customers) select 1", {"public.orders.note ssn"}),
    ("insert into customers (ssn) select ssn from customers", set()),
    ("insert into customers (name) select ssn from customers", "what the triggers or rules of public.customers write"),
    ("insert into sales.customers select id, name, ssn from public.customers",
     {"sales.customers.region ssn"}),
    ("update orders o set note = c.ssn from customers c where c.id = o.customer_id", {"public.orders.note ssn"}),
    ("update orders set note = (select ssn from customers limit 1), amount = 1", {"public.orders.note ssn"}),
    ("update orders set (note, amount) = (select ssn, 1 from customers limit 1)",
     {"public.orders.note ssn", "public.orders.amount ssn"}),
    ("update part set k = ssn", {"public.part.k ssn"}),
    ("update part1 set k = ssn", {"public.part1.k ssn"}),
    ("update part set ssn = ssn || ''", set()),
    ("merge into orders o using customers c on c.id = o.id when matched then update set note = c.ssn"
     " when not matched then insert (note) values (c.full_name)", {"public.orders.note ssn"}),
    ("alter table part alter column k type text using ssn", {"public.part.k ssn"}),
    ("alter table customers add column x text generated always as (ssn) stored", {"public.customers.x ssn"}),
    ("alter table customers alter column full_name drop expression", {"public.customers.full_name ssn"}),
    ("explain analyze create table t as select ssn from customers", {"public.t.ssn ssn"}),
    ("explain create table t as select ssn from customers", set()),
    ("create temp table t as select ssn from customers", set()),
    ("select ssn into temp t from customers", set()),
    ("create table t as select name, id from customers", set()),
    ("create view w as select ssn from customers", set()),
    ("insert into v (code) select ssn from customers", set()),
    ("insert into v (id) select length(ssn) from customers", "what stands behind view public.v"),
    ("select setval('seq1', length(ssn)) from customers", "what setval() leaves behind"),
    ("select set_config('application_name', ssn, false) from customers", "a setting"),
    ("select lo_from_bytea(0, convert_to(ssn, 'UTF8')) from customers", "what lo_from_bytea() leaves behind"),
    ("select pg_notify('c', ssn) from customers", "what pg_notify() leaves behind"),
    ("select pg_advisory_lock(length(ssn)) from customers", "what pg_advisory_lock() leaves behind"),
    ("select pg_logical_emit_message(false, 'x', ssn) from customers", "what pg_logical_emit_message() leaves behind"),
    ("copy (select ssn from customers) to '/tmp/x'", "a file or a program of the server"),
    ("copy customers to program 'cat'", "a file or a program of the server"),
    ("create rule r as on update to customers do also insert into orders (note) values (new.ssn)",
     "what a trigger or rule does with it"),
    ("create rule r as on insert to orders do also insert into orders (note) select ssn from customers",
     "what a rule writes"),
    ("create trigger t2 after insert on customers for each row execute function suppress_redundant_updates_trigger()",
     "what a trigger or rule does with it"),
    ("create trigger t2 after insert on orders for each row execute function suppress_redundant_updates_trigger()", set()),
    ("notify c, 'x'", set()),
    ("comment on column customers.ssn is 'x'", set()),
    ("select setval('seq1', max(id)) from customers", set()),
    ("copy customers from stdin", set()),
    ("alter table customers alter column name set default 'x'", set()),
]


@pytest.mark.parametrize(("text", "expected"), COPIES)
def test_where_labelled_data_gets_is_known_or_refused(text: str, expected: set[str] | str, facts: Facts) -> None:
    """Into a column, which is named with the label; or to where no label can follow, which is named as well."""
    told = classify(text, facts)
    found = {f"{schema}.{name}.{column} {label}" for s in told.statements for schema, name, column, label in s.copies}
    escapes = {where for s in told.statements for _, where in s.escapes}
    if isinstance(expected, str):
        assert expected in escapes
    else:
        assert (found, escapes) == (expected, set())


def test_what_was_copied_is_labelled(facts: Facts) -> None:
    """A label that followed its data is like one of the configuration, also through views, and in what is inferred."""
    copied = {"public.orders.note": frozenset({"ssn"}), "public.secrets.*": frozenset({"ssn"})}
    now = Facts(facts.catalogue, labels=facts.labels, copied=copied)
    assert _outputs("select note, id from orders", now) == [_LABELS["s"], _LABELS["_"]]
    assert _outputs("select note from api.v2", now) == [_LABELS["s"]]
    assert _outputs("select * from secrets", now) == [_LABELS["s"], _LABELS["sc"]]
    assert classify("select id from orders where note = 'x'", now).inferred == {"ssn"}
    assert _outputs("select note, id from orders", facts) == [_LABELS["_"], _LABELS["_"]]


def test_changed_and_temporary_relations_are_opaque(facts: Facts) -> None:
    """What this transaction changed, and what is temporary, may hold anything."""
    session = Facts(
        facts.catalogue, labels=facts.labels, temporary=frozenset({"t"}), changed=frozenset({("public", "orders")})
    )
    for text in ("select * from t", "select note from orders"):
        statement = classify(text, session).statements[0]
        assert statement.outputs is None or statement.outputs[0].sources == {"ssn", "card"}
        assert statement.labels == {"ssn", "card"}


@pytest.mark.parametrize(
    "text",
    [
        "show my.secret", "show application_name", "show work_mem", "show timezone", "show all",
        "select current_setting('my.secret')", "select current_setting('my.' || 'secret', true)", "explain select 1",
        "select setting from pg_settings", "select s from pg_settings s", "select setting from pg_show_all_settings()",
        "select upper(current_setting($1)) from orders", "select pg_listening_channels()",
        "select name from pg_prepared_statements",
    ],
)  # fmt: skip
def test_what_settings_hold_may_be_anything_once_code_has_run(text: str, facts: Facts) -> None:
    """Code that nobody follows may have put any value into a setting. Until then, a setting holds what the client said."""
    facts = Facts(replace(facts.catalogue, setters=frozenset()), labels=facts.labels)  # no code that could set anything
    told = classify(text, facts).statements[0]
    assert told.reads
    assert told.outputs is not None
    assert frozenset().union(*(output.sources for output in told.outputs)) == told.inferred == set()
    told = classify(text, replace(facts, opaque=True)).statements[0]
    assert told.outputs is not None
    assert frozenset().union(*(output.sources for output in told.outputs)) == told.labels == {"ssn", "card"}
    told = classify(f"do 'x'; {text}", facts).statements[1]  # its outputs are not told: times may look otherwise, too
    assert told.outputs is None
    assert told.labels == {"ssn", "card"}


@pytest.mark.parametrize(
    "text",
    ["show transaction isolation level", "show standard_conforming_strings", "show server_version", "show enable_seqscan",
     "select current_setting('server_version_num')::int", "select name, short_desc from pg_settings", "select now()"],
)  # fmt: skip
def test_settings_of_few_values_are_shown_whatever_has_run(text: str, facts: Facts) -> None:
    """A switch, and what no session can change, holds nobody's data."""
    told = classify(text, replace(facts, opaque=True)).statements[0]
    assert told.outputs is not None
    assert frozenset().union(*(output.sources for output in told.outputs)) == set()


def test_a_setting_that_may_hold_anything_is_followed_like_a_column(facts: Facts) -> None:
    """Where it decides it infers, where it is copied its label follows, and where none can follow it does not go."""
    facts = Facts(replace(facts.catalogue, setters=frozenset()), labels=facts.labels)  # no code that could set anything
    run = replace(facts, opaque=True)
    where = "select id from orders where note = current_setting('my.secret')"
    assert classify(where, run).inferred == {"ssn", "card"}
    assert classify(where, facts).inferred == set()
    assert classify("select current_setting('my.secret'), id from orders", run).inferred == set()  # to show it is none
    insert = "insert into orders (note) select current_setting('my.secret')"
    assert {copy[2:] for copy in classify(insert, run).statements[0].copies} == {("note", "ssn"), ("note", "card")}
    assert classify(insert, facts).statements[0].copies == set()
    define = "create function f() returns int language sql set my.secret from current as 'select 1'"
    assert classify(define, run).statements[0].escapes
    assert not classify(define, facts).statements[0].escapes
    view = classify("create view v as select current_setting('my.secret') as a; select a from v", run)
    assert view.statements[1].labels == {"ssn", "card"}
    nothing = Facts(facts.catalogue, opaque=True)
    assert not any(output.sources for output in classify("show my.secret", nothing).statements[0].outputs or ())


def test_a_function_made_in_this_transaction_is_no_built_in(facts: Facts) -> None:
    """A function that shadows a built-in counts from the statement that defines it."""
    told = classify("create function public.upper(text) returns text language sql as ''; select upper('x')", facts)
    assert told.statements[1].effect is Effect.EXECUTE


def test_a_view_over_what_changed_may_show_anything(facts: Facts) -> None:
    """A view that is made of a view which this transaction replaced keeps its columns, and loses its certainty."""
    told = classify("create or replace view v as select id, card as code from secrets; select code from api.v2", facts)
    assert told.statements[1].outputs is not None
    assert told.statements[1].outputs[0].sources == {"ssn", "card"}


def test_into_of_a_set_operation_stores_all_of_it(facts: Facts) -> None:
    """INTO stands in the first query, and takes the rows of each."""
    statement = classify("select name into t from customers union select ssn from customers", facts).statements[0]
    assert (statement.tag, set(statement.stored), statement.returns_rows) == ("SELECT INTO", {"ssn"}, False)
