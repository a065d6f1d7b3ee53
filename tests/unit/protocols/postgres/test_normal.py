"""Statements that share a verdict although their numbers differ."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.protocols.postgres.normal import MOST, is_normal, numbered
from doorward.sql.catalogue import Catalogue, Column, Relation
from doorward.sql.classification import Classification, Facts
from doorward.sql.classify import classify

FACTS = Facts(
    catalogue=Catalogue(
        (
            Relation(1, "public", "customers", "r", (Column("id", 1, 23), Column("ssn", 2, 25), Column("name", 3, 25))),
            Relation(2, "public", "orders", "r", (Column("id", 1, 23), Column("customer_id", 2, 23), Column("n", 3, 23))),
        ),
        {"shout": frozenset({"public"})}, {}, frozenset({"public", "pg_catalog"}),
    ),
    labels={"public.customers.ssn": "ssn"},
)  # fmt: skip

WORDS = st.sampled_from([
    "select", "insert into", "update", "delete from", "from", "where", "set", "values", "and", "or", "in", "limit", "offset",
    "order by", "group by", "having", "union", "with x as", "returning", "as", "join", "on", "not", "between", "case when",
    "then", "else", "end", "for update", "customers", "orders", "id", "ssn", "name", "n", "*", "(", ")", ",", "=", "<", ";",
    "'x'", "'1'", "count(*)", "shout", "coalesce", "1", "2", "33", "4.5", "-", "+", "1e3", "$1", "--", "/*", "'", "::int",
    "E'1'", "nextval('s')", "extract", "tablesample system", "fetch first", "rows only", "interval '1 day'", "distinct",
])  # fmt: skip


def normal(text: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """As the judge does, for a key that it does not know."""
    found = numbered(text)
    return found if found is not None and is_normal(text) else None


def with_numbers(key: bytes, numbers: list[bytes]) -> bytes:
    """A text of the class of `key`."""
    text = key
    for index in range(len(numbers), 0, -1):
        text = text.replace(b"$%d" % index, numbers[index - 1])
    return text


def comparable(found: Classification) -> Classification:
    """Less where in the text things stand, which other numbers move."""
    return replace(
        found, position=min(found.position, 0), statements=tuple(replace(s, offset=0, length=0) for s in found.statements)
    )


@given(st.lists(WORDS, min_size=2, max_size=14), st.lists(st.integers(0, 10**9), min_size=MOST, max_size=MOST))
def test_no_number_influences_the_verdict(words: list[str], others: list[int]) -> None:
    """What shares a key has the same classification and lineage, whatever the numbers; the key gives the text back."""
    text = "select " + " ".join(words)
    found = normal(text.encode())
    if found is None:
        return
    key, numbers = found
    assert with_numbers(key, list(numbers)) == text.encode()
    one = classify(text, FACTS)
    if one.misses or one.reason or one.forbidden or one.fixed:
        return  # these are judged one by one
    other = classify(with_numbers(key, [b"%d" % n for n in others[: len(numbers)]]).decode(), FACTS)
    assert comparable(other) == comparable(one)


NUMBER = re.compile(rb"'[^'\\\\]*'|(?<![A-Za-z0-9_.$'])(\d+(?:\.\d+)?)(?![A-Za-z0-9_.'])")
PIECES = st.sampled_from([*"0123456789", *"  .,'-()=ab_", "select ", "by ", "into ", "max", "é", "\\", "--", "/*", "E'"])


@given(st.lists(PIECES, max_size=40), st.lists(st.integers(0, 10**6), min_size=MOST, max_size=MOST))
def test_a_key_says_whether_its_texts_are_normal(pieces: list[str], others: list[int]) -> None:
    """A known key is trusted for every text that has it; and numbers are where a slower, plainer reading finds them."""
    text = ("select " + "".join(pieces)).encode()
    found = numbered(text)
    if found is None:
        return
    key, numbers = found
    assert with_numbers(key, list(numbers)) == text
    for fill in (b"7", b"12.5", b"%d" % others[0]):
        other = with_numbers(key, [fill] * len(numbers))
        assert numbered(other) == (key, (fill,) * len(numbers))
        assert is_normal(other) == is_normal(text)
    if is_normal(text):
        assert [match[1] for match in NUMBER.finditer(text) if match[1] is not None] == list(numbers)


@pytest.mark.parametrize(
    "text",
    [
        "select id, ssn from customers where id = 7",
        "select name from customers where id in (1, 2, 3) and name = 'x' limit 5",
        "update orders set n = n - 1 where id = 3",
        "insert into orders (id, n) values (1, 2.5)",
        "delete from orders where n < 10;",
    ],
)
def test_these_share(text: str) -> None:
    """The kinds that are meant to."""
    assert normal(text.encode()) is not None


@pytest.mark.parametrize(
    "text",
    [
        "select id from customers order by 2", "select id, n from orders group by 1, 2", "select nextval('s'), 1",
        "select shout(1)", "select 1::text", "select E'\\' 1", "select 1 -- 2", "select /* 1 */ 2", "select 'it''s', 1",
        "select x'1f', 1", "select U&'1', 1", "select 1 + $1", 'select "a1", 1', "set work_mem = 1", "select 0x1f",
        "select 1e5",
        "select 1_000", "copy t to stdout", "select $$1$$", "select 'a\\' , 1",
    ],
)  # fmt: skip
def test_these_do_not(text: str) -> None:
    """Where a number, or what looks like one, may mean something, the text is judged as it is."""
    assert normal(text.encode()) is None
