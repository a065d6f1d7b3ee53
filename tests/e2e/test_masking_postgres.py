"""Masking's reading of literals, COPY data and binary values, held against a real PostgreSQL's own."""

from __future__ import annotations

import struct

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doorward.masking.detect import Detectors
from doorward.masking.plan import Plan, ResultColumn, plan
from doorward.masking.statement import mask_params, scan_literals
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres.redact import CopyRedactor, RowRedactor
from tests.rig.postgres import PostgresServer

ALL = Detectors()
PIECES = st.sampled_from(["a", "'", "''", "\\", "\\\\", "\\x41", "\\101", "\\u0041", "\\0041", "\n", "$", "$$", '"', "é", "1", "-", "--", "/*", "*/", "!0041", "\\+000041"])  # fmt: skip  # noqa: E501


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(PIECES, max_size=6).map("".join), form=st.integers(0, 7))
def test_literals_say_what_postgresql_reads(postgres: PostgresServer, body: str, form: int) -> None:
    """Whatever PostgreSQL accepts as one string constant, the scanner reads as the same string."""
    text = [
        f"'{body}'", f"E'{body}'", f"U&'{body}'", f"U&'{body}' UESCAPE '!'", f"$${body}$$", f"$a1${body}$a1$",
        f"'{body}'\n  'x'", f"E'{body}' -- c\n '{body}'",
    ][form]  # fmt: skip
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        try:
            rows = connection.execute(f"SELECT {text}::text".encode()).fetchall()
        except psycopg.Error:
            return  # not a constant: whatever we read in it is stored as refused text
    literals = scan_literals(f"SELECT {text}::text")
    assert [said for _, _, said in literals] == [rows[0][0]]
    assert literals[0][:2] == (7, 7 + len(text))


def planned(*columns: tuple[str, int, int]) -> Plan:
    return plan(
        [frozenset({label}) if label else frozenset() for label, _, _ in columns],
        [ResultColumn("", 0, 0, oid, form) for _, oid, form in columns],
        lambda oid, number: None,
        frozenset(label for label, _, _ in columns if label),
        frozenset(),
        Transforms(),
        ALL,
        bare=True,
    )


ROWS = [
    (1, "123-45-6789", "plain"),
    (2, None, None),
    (3, "", ""),
    (4, "\\N", "\\."),
    (5, "a\tb|c,d", "tab\there | pipe, comma \"quote\" 'single' \\ back\nnew\rline"),
    (6, "x", "call bob@example.org"),
    (7, "[ssn]", "NULL"),
]


@pytest.mark.parametrize(
    ("style", "options"),
    [
        ("text", {}),
        ("text", {"delimiter": "|"}),
        ("text", {"delimiter": "@"}),
        ("text", {"delimiter": "-", "null": "NULL"}),
        ("text", {"delimiter": "[", "header": True}),
        ("csv", {}),
        ("csv", {"header": True}),
        ("csv", {"delimiter": ";", "quote": "'"}),
        ("csv", {"quote": "@"}),
        ("csv", {"quote": "'", "escape": "\\"}),
        ("csv", {"quote": '"', "escape": "@", "null": "NULL"}),
        ("csv", {"delimiter": "-", "quote": "[", "null": "\\N"}),
    ],
)
def test_copy_comes_back_masked(postgres: PostgresServer, style: str, options: dict[str, object]) -> None:
    """What PostgreSQL copies out, masked, PostgreSQL copies in again: labels masked, mail masked, the rest unchanged."""
    words = [f"FORMAT {style}"]
    for name, value in options.items():
        words.append(f"{name} true" if value is True else name + " '" + str(value).replace("'", "''") + "'")
    clause = f"WITH ({', '.join(words)})"
    with psycopg.connect(postgres.dsn()) as connection:
        connection.execute("CREATE TEMP TABLE before (id int, ssn text, note text)")
        connection.execute("CREATE TEMP TABLE after (LIKE before)")
        connection.cursor().executemany("INSERT INTO before VALUES (%s, %s, %s)", ROWS)
        redactor = CopyRedactor(planned(("", 0, 0), ("ssn", 0, 0), ("", 0, 0)), style, **options)  # type: ignore[arg-type]
        with connection.cursor().copy(f"COPY before TO STDOUT {clause}".encode()) as out:
            payloads = [redactor.feed(bytes(payload)) for payload in out]
        payloads.append(redactor.finish())
        with connection.cursor().copy(f"COPY after FROM STDIN {clause}".encode()) as back:
            for payload in payloads:
                back.write(payload)
        masked = connection.execute("SELECT * FROM after ORDER BY id").fetchall()
        connection.rollback()
    assert redactor.rows == len(ROWS)
    # In text format a null string without a backslash cannot be told from a value that reads the same.
    ambiguous = style == "text" and "null" in options
    shown = {"call bob@example.org": "call [email]", **({"NULL": None} if ambiguous else {})}
    assert masked == [
        (number, None if ssn is None and not ambiguous else "[ssn]", shown.get(note or "-", note))
        for number, ssn, note in ROWS
    ]


def test_copy_binary_comes_back(postgres: PostgresServer) -> None:
    """Binary COPY without labels: framing kept, mail masked, numbers unchanged."""
    with psycopg.connect(postgres.dsn()) as connection:
        connection.execute(
            "CREATE TEMP TABLE before AS"
            " SELECT i, 1.5::numeric n, 'bob@example.org' || i m FROM generate_series(1, 500) i"
        )
        connection.execute("CREATE TEMP TABLE after (LIKE before)")
        redactor = CopyRedactor(planned(("", 0, 1), ("", 0, 1), ("", 0, 1)), "binary")
        with connection.cursor().copy("COPY before TO STDOUT (FORMAT binary)") as out:
            payloads = [redactor.feed(bytes(payload)) for payload in out]
        payloads.append(redactor.finish())
        with connection.cursor().copy("COPY after FROM STDIN (FORMAT binary)") as back:
            for payload in payloads:
                back.write(payload)
        sums = connection.execute("SELECT count(*), sum(i), sum(n), min(left(m, 7)), max(left(m, 7)) FROM after")
        assert sums.fetchone() == (500, 125250, 750, "[email]", "[email]")
        connection.rollback()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ARRAY['a','123-45-6789',NULL,'']", "ARRAY['a','[ssn]',NULL,'']"),
        ("ARRAY[['bob@example.org','x'],['y','z']]", "ARRAY[['[email]','x'],['y','z']]"),
        ("ARRAY['x','y']", "ARRAY['x','y']"),
        ("ARRAY[]::text[]", "ARRAY[]::text[]"),
        ("""'{"a":["123-45-6789"]}'::jsonb""", """'{"a":["[ssn]"]}'::jsonb"""),
        ("""'{"a":4111111111111111}'::jsonb""", """'"[card]"'::jsonb"""),
        ("""'{"a":"bob\\u0040example.org"}'::json""", """'"[email]"'::json"""),
        ("ARRAY['[\"123-45-6789\"]'::jsonb, NULL]", "ARRAY['[\"[ssn]\"]'::jsonb, NULL]"),
        ("'to bob@example.org'::varchar(40)", "'to [email]'::varchar(40)"),
        ("'123-45-6789'::name", "'[ssn]'::name"),
        ("xmlparse(content '<a>123-45-6789</a>')", "xmlparse(content '<a>[ssn]</a>')"),
        ("1234567890123", "1234567890123"),
        ("'4111111111111111'::numeric", "'4111111111111111'::numeric"),
        ("now()::date - now()::date", "0"),
        ("'\\xff00'::bytea", "'\\xff00'::bytea"),
        ("ROW(1,2.5)", "ROW(1,2.5)"),
        ("int4range(1,5)", "int4range(1,5)"),
    ],
)
def test_values_are_rewritten_as_postgresql_would(
    postgres: PostgresServer, before: str, after: str, binary: bool
) -> None:
    """A redacted value is, byte for byte, what PostgreSQL sends for the redacted value."""
    values = []
    oids = []
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for expression in (before, after):
            result = connection.execute(f"SELECT {expression}".encode(), binary=binary).pgresult
            assert result is not None
            values.append(result.get_value(0, 0) or b"")
            oids.append(result.ftype(0))
    body = struct.pack("!i", len(values[0])) + values[0]
    message = b"D" + struct.pack("!iH", 6 + len(body), 1) + body
    redacted = RowRedactor(planned(("", oids[0], int(binary)))).redact(message, 0, len(message))
    assert redacted[11:] == values[1]


@pytest.mark.parametrize(
    "expression",
    ["true", "7::int2", "-7", "(2^40)::int8", "16385::oid", "1.5::float8", "'x'::text", "gen_random_uuid()", "current_date",
     "'2024-02-29 23:59:59.123456'::timestamp", "'0001-01-01'::date", "'[1, 2]'::jsonb", "'1999-12-31 00:00+00'::timestamptz"],
)  # fmt: skip
def test_parameters_read_as_postgresql_writes_them(postgres: PostgresServer, expression: str) -> None:
    """A binary parameter of a known type is shown as PostgreSQL would show it (booleans as words, UTC)."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute("SET timezone TO 'UTC'")
        query = f"WITH v AS MATERIALIZED (SELECT {expression} AS x) SELECT x, x::text FROM v"
        result = connection.execute(query.encode(), binary=True).pgresult
        assert result is not None
        shown = mask_params([result.get_value(0, 0)], [1], [result.ftype(0)], detectors=ALL)
        assert shown == ((result.get_value(0, 1) or b"").decode(),)
