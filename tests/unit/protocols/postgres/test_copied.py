"""COPY data as the record keeps it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from doorward.protocols.postgres.copied import LONGEST, CopiedIn

LINES = b"1\tAda\t603-38-1615\n2\tBoris\t457-64-3364\n3\tlast line without end 401-34-5000"


@given(st.lists(st.integers(0, len(LINES)), max_size=6))
def test_any_cutting_gives_whole_lines(cuts: list[int]) -> None:
    """Nothing is lost, and every piece but the last ends where a line ends, so no value is cut in two."""
    copied = CopiedIn(binary=False)
    edges = [0, *sorted(cuts), len(LINES)]
    pieces = [copied.feed(LINES[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) + copied.finish() == LINES
    assert all(piece.endswith(b"\n") for piece in pieces if piece)


def test_a_line_that_cannot_be_held_is_its_length() -> None:
    """No part of it is recorded, neither its beginning nor its end; the next line is."""
    copied = CopiedIn(binary=False)
    said = copied.feed(b"x" * (LONGEST + 1)) + copied.feed(b"603-38-") + copied.feed(b"1615\nnext\n") + copied.finish()
    assert said == b"[a line of %d bytes]\nnext\n" % (LONGEST + 1 + 11)


def test_binary_data_is_its_length() -> None:
    """Values in it cannot be told apart, so none is recorded."""
    copied = CopiedIn(binary=True)
    assert copied.feed(b"PGCOPY\n603-38-1615") == b""
    assert copied.finish() == b"[18 bytes of binary COPY data]"
