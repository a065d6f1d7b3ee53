"""The canary test (invariant 6): planted values, in any reversible spelling, reach neither a client without the right nor
anything that is kept or shown. CN-01 in docs/bypasses.md."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from doorward.protocols.postgres import wire
from tests.bypass.conftest import POLICY
from tests.rig.approvers import call
from tests.rig.canaries import leaks
from tests.rig.faults import copy_of_shop
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, encrypted, extended
from tests.rig.records import events, everything, sessions

# In labelled columns: no detector knows them, only their place gives them away.
PLANTED = {
    column: f"CANARY-{number}-078051120-{column}x" for number, column in enumerate(("ssn", "card", "iban", "notes"))
}
# In what clients write: these have a form that detectors know, by default, by choice, or because the operator says.
WRITTEN = {
    "ssn": "457-55-5462", "card": "4539578763621486", "email": "canary.bird@example.org", "ip": "82.165.8.211",
    "badge": "EMP-4711471",
}  # fmt: skip
MASKING = {
    "detectors": ["private_key", "jwt", "secret_key", "url_password", "password", "card", "ssn", "email", "ip"],
    "patterns": [{"name": "badge", "label": "badge", "pattern": "EMP-[0-9]{7}", "examples": ["EMP-1234567"]}],
}
LABELS = {f"public.customers.{column}": column for column in PLANTED}


READS = [
    "select * from customers",
    "select c from customers c",
    "select ssn, card, iban, notes from customers where id = 1",
    "select ssn || '' from customers",
    "select reverse(ssn), upper(card), left(iban, 8), substr(notes, 2) from customers",
    "select encode(ssn::bytea, 'hex'), encode(ssn::bytea, 'base64'), ssn::bytea from customers",
    "select md5(ssn), length(ssn), ascii(ssn) from customers",
    "select row_to_json(c), to_jsonb(c), array_agg(ssn) from customers c group by c.id",
    "select string_agg(ssn, ',') from customers",
    "select (select max(ssn) from customers)",
    "select ssn from customers union select card from customers",
    "with x as (select ssn as harmless from customers) select harmless from x",
    "with recursive r(a, n) as (select ssn, 1 from customers union all select a, n + 1 from r where n < 2) select a from r",
    "select unnest(array[ssn, card]) from customers",
    "select unnest(string_to_array(ssn, '-')) from customers",
    "select a from customer_orders, lateral (select ssn as a) x limit 3",
    "select * from customer_orders limit 3",
    "select coalesce(ssn, 'x'), nullif(ssn, 'y'), case when true then ssn end, greatest(ssn, card) from customers",
    "select format('%s', ssn), quote_literal(ssn), concat(ssn, card), translate(ssn, '-', '+') from customers",
    "select ssn::varchar, ssn collate \"C\", cast(card as char(30)) from customers",
    "select first_value(ssn) over (order by id), lag(card) over (order by id) from customers",
    "select regexp_replace(ssn, 'C', 'c'), regexp_matches(ssn, '(.*)'), regexp_split_to_table(ssn, '-') from customers",
    "select convert_to(ssn, 'UTF8'), to_json(ssn), xmlelement(name a, ssn) from customers",
    "select * from json_each_text((select row_to_json(c) from customers c limit 1))",
    "select x.ssn from customers x natural join customers y",
    "table customers",
    "values ((select ssn from customers limit 1))",
    "explain (analyze, verbose) select ssn from customers",
    "select most_common_vals, histogram_bounds from pg_stats where tablename = 'customers'",
    "select query from pg_stat_activity",
    "select stavalues1 from pg_statistic",
    "select set_config('application_name', ssn, false) from customers",
]  # fmt: skip

ERRORS = [
    "select ssn::int from customers",
    "select ssn::date from customers",
    "select ssn::json from customers",
    "select card::numeric, ssn::inet from customers",
    "select xmlparse(document ssn) from customers",
    "select 1 / (length(ssn) - length(ssn)) from customers",
    "select ssn::uuid from customers where id = 1",
    "select to_date(ssn, 'YYYY') from customers",
    "select cast(notes as timestamptz) from customers",
    "update customers set name = null",
    "update customers set email = ssn where id > 0; update customers set email = 'same'",
    "insert into customers (id, name, email, ssn, country) select id, name, email, ssn, country from customers",
    "create unique index on customers ((1), (length(ssn)))",
    "alter table customers add constraint never check (ssn = 'x')",
    "insert into customers (id, ssn) values (1, '457-55-5462')",
]

WRITES = [
    "insert into products (name, price) values ('457-55-5462', 1), ('card 4539578763621486', 2)",
    "select * from products where name = 'canary.bird@example.org' or name = E'4539578763621486'",
    "update products set name = 'from canary.bird@example.org' where name = '457-55-5462'",
    "select '457-55-5462' as said, $$4539578763621486$$",
    "prepare p as select '457-55-5462'::text",
    "execute p",
    "select 457555462 /* canary.bird@example.org */ -- 4539578763621486",
    "do $$ begin raise notice '457-55-5462'; end $$",
    "selec '4539578763621486'",
    "select * from products where name = 'EMP-4711471' or name like '82.165.8.211/32' limit 5",
    "select EMP-4711471 from products",
    'select 1 as "EMP-4711471"',
    "selec 82.165.8.211 where badge is EMP-4711471",
    "select 1 from customers where id = 4539578763621486",
    "select id from customers where ssn = 457555463",
    "select 'padding', " + "1, " * 6000 + "'EMP-4711471 82.165.8.211'",
]


@pytest.fixture(scope="module")
def aviary(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, corpus_issuer: LocalIssuer
) -> Iterator[tuple[Gateway, PostgresServer]]:
    """A gateway of its own, before a database in which every labelled column holds a canary."""
    folder = tmp_path_factory.mktemp("aviary")
    server = copy_of_shop(postgres, "aviary")
    with server.connect() as connection:
        sets = ", ".join(f"{column} = '{value}' || lpad(id::text, 2, '0')" for column, value in PLANTED.items())
        connection.execute(f"update customers set {sets}")
        connection.execute("analyze")
    with launch(
        folder / "gateway", corpus_issuer, server, policy=POLICY, target={"labels": LABELS}, masking=MASKING
    ) as running:
        yield running, server


def sing(client: RawClient, text: str) -> bytes:
    """One text in every form of the protocol; everything that came back."""
    client.query(text)
    if "$1" not in text:
        client.run(text)
        client.run(text, results=[1])
        client.send(extended(text, describe=False, rows=2), wire.SYNC).ready()
    if text.split()[0] in ("select", "with", "table", "values"):
        for form in ("", " with (format csv, header)", " with (delimiter '|', null 'x')", " with (format binary)"):
            client.send(wire.query(f"copy ({text}) to stdout{form}".encode()))
            client.ready()
        client.query("begin")
        client.query(f"declare c cursor for {text}")
        client.query("fetch 3 from c")
        client.run("fetch all from c", results=[1])
        client.query("rollback")
    return bytes(client.received)


def knock(door: Gateway, parameters: dict[str, str], password: bytes) -> None:
    """Try to sign in with these start-up parameters, and say something if that works."""
    with encrypted(door) as sock:
        client = RawClient(sock)
        client.send(wire.startup({"user": "whoever", "database": "shop", **parameters}))
        if client.until("R", "E").kinds == "R" and client.send(wire.password_message(password)).until("Z", "E").status:
            client.query("select 1")
            client.send(wire.TERMINATE).until("Z")


def test_cn_03_what_a_client_says_when_it_signs_in_is_masked_wherever_it_is_kept(
    aviary: tuple[Gateway, PostgresServer],
) -> None:
    """CN-03: what looks confidential in start-up values (application_name, the database's and user's name, settings,
    parameters that are refused) and in a token that is not accepted is in no event, recording, log line, file or answer."""
    door, _server = aviary
    good = door.token(sub="canary-login", groups=["readers"]).encode()
    for value in WRITTEN.values():
        for said in (value, f"the tool of {value}", f"x'{value}", f"'{value}'"):
            for name in ("application_name", "user", "database", "search_path", "TimeZone", "options", "nothing.such"):
                knock(door, {name: said}, good)
            knock(door, {said: "on"}, good)
            knock(door, {}, said.encode())
            knock(door, {}, door.token(iss=said, aud=said, sub=said).encode())
            knock(door, {}, door.token(aud=said).encode())
        with RawClient.to(door, sub="canary-login", groups=["anyone"], parameters={"application_name": value}) as client:
            client.query(f"set application_name = 'now {value}'")
            client.query("select 1")
    written = {f"written {name}": value for name, value in WRITTEN.items()}
    limit = time.monotonic() + 15
    while len(rows := sessions(door, "canary-login")) < 15 or any(not row["closed_at"] for row in rows):
        assert time.monotonic() < limit, len(rows)
        time.sleep(0.1)
    assert leaks(str(rows).encode(), written) == []
    for recorded in everything(door, [row["id"] for row in rows]):
        for kind, _, body in recorded.records:
            assert leaks(body, written) == [], (kind, body[:300])
    found = events(door)
    for kind_, record in found:
        assert leaks(record, written) == [], (kind_, record[:300])
    opened = [json.loads(record)["body"] for kind_, record in found if kind_ == "session.opened"]
    assert {body["application"] for body in opened} >= {"[ssn]", "the tool of [ssn]", "[card]", "[email]"}
    assert any(kind_ == "login.refused" for kind_, _ in found)
    log = door.log.read_bytes()
    assert b"login.failed" in log
    assert leaks(log, written) == []


def test_cn_01_no_canary_gets_out_or_is_kept(aviary: tuple[Gateway, PostgresServer]) -> None:
    """CN-01: planted in every labelled column, in literals and in parameters; told to the gateway in every form; then looked
    for in what clients got, in every file of the data directory, in the opened records and events, in the log, the metrics
    and the API."""
    door, _server = aviary
    for group, texts in (("readers", READS), ("anyone", [*READS, *ERRORS])):
        for text in texts:
            with RawClient.to(door, sub=f"canary-{group}", groups=[group]) as client:
                assert leaks(sing(client, text), PLANTED) == [], text
    # Values that the client itself writes come back to it (masked where they are data), but are kept nowhere.
    with RawClient.to(door, sub="canary-writer", groups=["anyone"]) as client:
        for text in WRITES:
            client.query(text)
            client.run(text)
        for value in WRITTEN.values():
            client.run("select $1::text", [value.encode()])
            client.run("select $1::text", [value.encode()], formats=[1], results=[1])
            client.run("select length($1)", [b"prefix " + value.encode() + b" suffix"])
            client.run("insert into products (name, price) values ($1, $2)", [value.encode(), b"1"])
        client.send(wire.query(b"copy products (name, price) from stdin"))
        if client.until("G", "Z").kinds.endswith("G"):
            for value in WRITTEN.values():
                client.send(wire.copy_data(value.encode() + b"\t1\n"))
            client.send(wire.COPY_DONE).ready()
        assert leaks(bytes(client.received), {"ssn": WRITTEN["ssn"]}) == []
    # Held: the request for approval is stored, shown and listed.
    with RawClient.to(door, sub="canary-agent", groups=["agents"]) as client:
        client.send(
            extended("delete from products where name in ($1, '4539578763621486')", [WRITTEN["ssn"].encode()]),
            wire.SYNC,
        )
        request = client.held().held
        assert request
    every = {**PLANTED, **{f"written {name}": value for name, value in WRITTEN.items()}, "a bare number": "457555463"}
    api = b"".join(
        str(call(door, path, sub="dora", groups=["dba", "auditors"])).encode()
        for path in (f"/api/approvals/{request}", "/api/approvals", "/api/sessions?limit=500", "/metrics")
    )
    assert leaks(api, every) == []
    ids = [
        row["id"]
        for sub in ("canary-readers", "canary-anyone", "canary-writer", "canary-agent")
        for row in sessions(door, sub)
    ]
    for one in ids[:8]:
        assert (
            leaks(str(call(door, f"/api/sessions/{one}/records", sub="x", groups=["auditors"])).encode(), every) == []
        )
    assert door.stop() == 0
    for recorded in everything(door, ids):
        for kind, _, body in recorded.records:
            assert leaks(body, every) == [], (kind, body[:300])
    found = events(door)
    assert len(found) > 200
    for kind_, record in found:
        assert leaks(record, every) == [], (kind_, record[:300])
    for path in sorted(door.folder.rglob("*")):
        if path.is_file() and path.suffix not in (".cedar", ".toml", ".key", ".crt"):
            assert leaks(_contents(path), every) == [], path


def _contents(path: Path) -> bytes:
    data = path.read_bytes()
    return data + gzip.decompress(data) if path.suffix == ".gz" else data


def test_cn_02_the_canaries_are_there_and_would_be_seen(aviary: tuple[Gateway, PostgresServer]) -> None:
    """CN-02: the search itself works: past the gateway every canary is found, in several spellings."""
    _, server = aviary
    with server.connect() as connection:
        seen = str(connection.execute("select ssn, card, iban, notes, reverse(ssn) from customers").fetchall()).encode()
        seen += str(
            connection.execute("select encode(convert_to(ssn, 'UTF8'), 'base64') from customers").fetchall()
        ).encode()
    found = leaks(seen, PLANTED)
    assert {f"{column} as raw" for column in PLANTED} <= set(found)
    assert {"ssn as reversed", "ssn as base64+0"} <= set(found)
