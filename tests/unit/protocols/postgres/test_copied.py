"""COPY data as the record keeps it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.masking.detect import Detectors
from doorward.protocols.postgres.copied import LONGEST, CopiedIn
from doorward.sql.classification import Copy

LINES = b"1\tAda\tone\n2\tBoris\ttwo\n3\tlast line without end"
TEXT, CSV = Copy("in", "text"), Copy("in", "csv")
DETECTORS = Detectors()


@given(st.lists(st.integers(0, len(LINES)), max_size=6))
def test_any_cutting_gives_whole_lines(cuts: list[int]) -> None:
    """Nothing is lost, and every piece but the last ends where a line ends, so no value is cut in two."""
    copied = CopiedIn(TEXT, DETECTORS)
    edges = [0, *sorted(cuts), len(LINES)]
    pieces = [copied.feed(LINES[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) + copied.finish() == LINES
    assert all(piece.endswith(b"\n") for piece in pieces if piece)


def test_a_line_that_cannot_be_held_is_its_length() -> None:
    """No part of it is recorded, neither its beginning nor its end; the next line is."""
    copied = CopiedIn(TEXT, DETECTORS)
    said = copied.feed(b"x" * (LONGEST + 1)) + copied.feed(b"603-38-") + copied.feed(b"1615\nnext\n") + copied.finish()
    assert said == b"[a line of %d bytes]\nnext\n" % (LONGEST + 1 + 11)


def test_binary_data_is_its_length() -> None:
    """Values in it cannot be told apart, so none is recorded."""
    copied = CopiedIn(Copy("in", "binary"), DETECTORS)
    assert copied.feed(b"PGCOPY\n603-38-1615") == b""
    assert copied.finish() == b"[18 bytes of binary COPY data]"


CARD = "4111111111111111"
OCTAL = "".join(f"\\{ord(digit):03o}" for digit in CARD)


@pytest.mark.parametrize(
    ("copy", "line"),
    [
        (TEXT, f"31\t{OCTAL}"),
        (TEXT, f"31\t{CARD[:-1]}\\061"),
        (TEXT, "".join(f"\\x{ord(digit):02x}" for digit in CARD)),
        (TEXT, "457\\-55\\-5462"),
        (TEXT, "457\\x2d55\\x2d5462"),
        (TEXT, "alice.smith\\@example.com"),
        (TEXT, f"ada@example.org\t{OCTAL}"),
        (CSV, '1,4"111"1111"11111111"'),
        (CSV, '"457""-55-5462"'),
        (CSV, 'alice.smith"@"example.com'),
        (Copy("in", "csv", quote="~"), "457~-~55-5462"),
        (Copy("in", "csv", quote="~", escape="+"), "~457+~-55-5462~"),
    ],
)  # fmt: skip
def test_what_a_line_says_is_looked_at(copy: Copy, line: str) -> None:
    """MK-27: a value that only the server would put together, from escapes or around quotes, is in no record. The lines
    beside it are there."""
    copied = CopiedIn(copy, DETECTORS)
    said = copied.feed(f"before\n{line}\nbehind\n".encode()) + copied.finish()
    assert line.encode() not in said
    assert DETECTORS.mask_bytes(copied._says(said)) is None
    assert said.endswith(b"behind\n") or said == b"[card]"  # what is in JSON's escapes is masked with all that is around it


def test_what_hides_nothing_is_kept() -> None:
    """A NULL, a line's end in a value, quotes around a field: the record has them, with what is confidential masked."""
    copied = CopiedIn(TEXT, DETECTORS)
    assert copied.feed(b"1\t\\N\tada@example.com\ta\\nb\n") == b"1\t\\N\t[email]\ta\\nb\n"
    copied = CopiedIn(CSV, DETECTORS)
    assert copied.feed(b'1,"Ada, ""the"" first",457-55-5462\n') == b'1,"Ada, ""the"" first",[ssn]\n'
