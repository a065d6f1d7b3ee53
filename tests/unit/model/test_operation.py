"""Names of resources: what policies are written about must have one name, and no two things the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.model import dotted, identifiers

IDENTIFIER = st.text(st.sampled_from('ab."é '), min_size=1, max_size=6)


@given(st.lists(IDENTIFIER, min_size=1, max_size=3))
def test_a_dotted_name_says_which_identifiers_it_is_made_of(path: list[str]) -> None:
    """So no two paths have one name, whatever dots and quotes the identifiers hold."""
    assert identifiers(dotted(*path)) == tuple(path)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", 'a."b', 'a"b', '"a"b', 'a.""', "a..b"])
def test_what_is_no_dotted_name_is_not_taken_for_one(name: str) -> None:
    """A name that cannot be placed for certain is an error, which a decision turns into a denial."""
    with pytest.raises(ValueError, match="not a dotted name"):
        identifiers(name)
