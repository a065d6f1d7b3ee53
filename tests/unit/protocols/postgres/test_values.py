"""Binary results as PostgreSQL prints them, compared with PostgreSQL itself; no failure for any bytes."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.protocols.postgres.values import shown
from tests.rig.postgres import PostgresServer

EXPRESSIONS = [
    "true", "7::int2", "-7::int4", "7000000000::int8", "'x'::name", "'ä'::text", "'b'::varchar", "'c'::bpchar", "1.5::float8",
    "0::numeric", "-12345.678900::numeric", "0.00012::numeric", "1e20::numeric", "'NaN'::numeric", "100000000::numeric(20,4)",
    "date '2026-02-03'", "date '1999-12-31'", "timestamp '2026-02-03 04:05:06.5'",
    "uuid '01a20748-05e8-707b-b5cd-49c85c9097bf'",
    "'{\"a\": 1}'::jsonb", "'{\"a\":1}'::json", "'{1,NULL,3}'::int4[]", "array['a','b c','','null','q\"']", "'{}'::text[]",
    "'\\xdeadbeef'::bytea", "time '04:05:06'", "'infinity'::date",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_as_postgresql_prints_it(postgres: PostgresServer, expression: str) -> None:
    """The binary value reads like the server's own text of it."""
    with postgres.connect() as connection:
        read: list[str | None] = []
        for binary in (False, True):
            cursor = psycopg.RawCursor(connection)
            cursor.execute(f"SELECT {expression}".encode(), binary=binary)
            result = cursor.pgresult
            assert result is not None
            read.append(shown(result.get_value(0, 0), result.ftype(0), int(binary)))
    assert read[0] is not None
    assert read[1] == read[0]


OIDS = [16, 20, 21, 23, 25, 700, 701, 1007, 1009, 1082, 1083, 1114, 1184, 1700, 2950, 3802]


@given(st.binary(max_size=60), st.sampled_from(OIDS))
def test_any_bytes_are_shown_somehow(value: bytes, oid: int) -> None:
    """Never an exception: what cannot be read is shown as bytes."""
    assert isinstance(shown(value, oid, 1), str)
