"""The binding of libpg_query: what a statement has in common with others of its form."""

from __future__ import annotations

import pytest

from doorward.sql.parse import fingerprint


def test_a_fingerprint_is_of_the_form() -> None:
    """The same for other values; another for another table."""
    one = fingerprint("delete from t where id = 1")
    assert len(one) == 16
    assert fingerprint("DELETE FROM t WHERE id = '123-45-6789'") == one
    assert fingerprint("delete from u where id = 1") != one


@pytest.mark.parametrize("text", ["delete from", "\0", "\ud800", "(" * 100_000])
def test_what_is_no_statement_has_none(text: str) -> None:
    """Nor has what the library may not be handed."""
    assert fingerprint(text) == ""
