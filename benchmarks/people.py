"""A million rows of six text columns, in a given share of whose cells detectors find something.

Contract: `plant` makes a table for each share; `query` reads one whole. Every run of every machine has the same cells.
What is found is of the kinds that tables of customers hold, half of it alone in its cell and half in a sentence; what is
not found has digits and punctuation, too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import psycopg

from doorward.masking.detectors.card import luhn

_FOUND = 20_000  # different cells
# Column by column, of row n: a cell in which nothing is found.
_QUIET = (
    ("name", "'Customer ' || n"),
    ("street", "n % 997 || ' Station Road'"),
    ("city", "'Springfield ' || n % 89"),
    ("goods", "'order of ' || n % 31 || ' items, sent by post'"),
    ("state", "'paid on 2026-0' || n % 9 + 1 || '-1' || n % 10"),
    ("note", "'note ' || n::bigint * 7919 % 100000 || ': nothing to say about this'"),
)


def case(share: int) -> str:
    """What a measurement over such a table is called."""
    return f"1,000,000 rows of text, {share} % of cells hit"


def query(share: int) -> str:
    """Reads the whole table."""
    return f"select * from people_{share}"


def plant(connection: psycopg.Connection[tuple[object, ...]], rows: int, shares: Sequence[int]) -> None:
    """Make the tables."""
    connection.execute("create table found (k int primary key, v text)")
    with connection.cursor() as cursor, cursor.copy("copy found from stdin") as copy:
        for number, value in enumerate(found(_FOUND)):
            copy.write_row((number, value))
    columns = ", ".join(
        f"case when (n * 6 + {place}) * 48271::bigint % 2147483647 % 100 < {{share}} then f{place}.v else {quiet} end as {name}"
        for place, (name, quiet) in enumerate(_QUIET)
    )
    joins = " ".join(f"join found f{place} on f{place}.k = (n * 6 + {place}) % {_FOUND}" for place in range(len(_QUIET)))
    for share in shares:
        connection.execute(
            f"create table people_{share} as select {columns.format(share=share)}"
            f" from generate_series(1, {rows}) as n {joins} order by n"
        )
        connection.execute(f"vacuum analyze people_{share}")


def found(count: int) -> list[str]:
    """Cells in which the default detectors find exactly one thing."""
    chosen = random.Random(20261123)  # noqa: S311  a sample, not a secret
    cells = []
    for number in range(count):
        kinds = (_card, _email, _ssn, _phone, _email, _iban)
        value = kinds[number % len(kinds)](chosen)
        sentence = chosen.choice(("paid with {} on Monday", "{}, as of last week", "please note {}", "({})"))
        cells.append(value if number // len(kinds) % 2 else sentence.format(value))
    return cells


def _digits(chosen: random.Random, count: int) -> str:
    return "".join(chosen.choice("0123456789") for _ in range(count))


def _card(chosen: random.Random) -> str:
    front = chosen.choice(("400012", "510510", "222300", "601111")) + _digits(chosen, 9)
    card = next(front + last for last in "0123456789" if luhn(front + last))
    return card if chosen.random() < 0.5 else " ".join(card[place : place + 4] for place in range(0, 16, 4))


def _email(chosen: random.Random) -> str:
    name = chosen.choice(("anna", "bob.smith", "carla_w", "d.miller", "eve+shop"))
    return f"{name}{_digits(chosen, chosen.randrange(4))}@{chosen.choice(('example.org', 'mail.example.com', 'example.co.uk'))}"


def _ssn(chosen: random.Random) -> str:
    return f"{chosen.randint(1, 665):03}-{chosen.randint(1, 99):02}-{chosen.randint(1, 9999):04}"


def _phone(chosen: random.Random) -> str:
    area = chosen.choice(("202", "212", "305", "415", "617"))
    return chosen.choice(("+1 {} {}-{}", "({}) {}-{}", "{}-{}-{}", "+1{}{}{}")).format(
        area, f"{chosen.randint(2, 9)}{chosen.randint(20, 99)}", _digits(chosen, 4)
    )


def _iban(chosen: random.Random) -> str:
    account = _digits(chosen, 18)
    written = f"DE{98 - int(account + '131400') % 97:02}{account}"
    return written if chosen.random() < 0.5 else " ".join(written[place : place + 4] for place in range(0, 22, 4))
