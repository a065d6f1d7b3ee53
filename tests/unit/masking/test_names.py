"""What column names say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.masking.names import COUNTEREXAMPLES, EXAMPLES, MEANINGS, suggest, suggested, words


@pytest.mark.parametrize(("name", "label"), EXAMPLES)
def test_examples(name: str, label: str) -> None:
    """Each example is understood, however its words are joined."""
    said = words(name).split(" ")
    for written in (name, "_".join(said), "-".join(said), " ".join(said).upper(), said[0] + "".join(map(str.title, said[1:]))):
        assert suggest(written) == label, written


@pytest.mark.parametrize("name", COUNTEREXAMPLES)
def test_counterexamples(name: str) -> None:
    """What is about a value, or says nothing, has no label."""
    assert suggest(name) is None


def test_every_meaning_is_tried() -> None:
    """No form is there that another label takes first."""
    for label, forms in MEANINGS:
        for form in forms.split(", "):
            assert suggest(form.strip("*+")) == label, form


@given(st.text(max_size=200))
def test_any_name_can_be_asked(name: str) -> None:
    """A column may be called anything."""
    suggest(name)


def test_labels_that_are_given_stay() -> None:
    """A suggestion never takes the place of what somebody wrote."""
    columns = [("public", "people", name, True) for name in ("id", "dob", "first_name", "note")]
    assert suggested(columns, {"public.people.dob": "secret", "x.y.z": "ssn"}) == {"public.people.first_name": "name"}


def test_what_can_hold_no_words_holds_no_name() -> None:
    """A number that is called address says where one is kept; a number that is called phone may be one."""
    columns = [("public", "people", name, False) for name in ("address", "email", "phone", "dob")]
    assert set(suggested(columns, {})) == {"public.people.phone", "public.people.dob"}
