"""What is said of a column follows from its values and its name, with counts and a confidence, and never a value."""

from __future__ import annotations

import dataclasses
import json

import pytest

from doorward.masking.classify import LIKELY, NAME, examine
from doorward.masking.detect import Detectors

DETECTORS = Detectors()
MAIL = [f"person{n}@example.org" for n in range(50)]
CARDS = ["4111111111111111", "5500005555555559", "340000000000009"] * 10


@pytest.mark.parametrize(
    ("column", "values", "label", "by", "least", "most"),
    [
        ("contact", MAIL, "email", "content", 0.9, 0.97),
        ("email", MAIL, "email", "both", 0.97, 1.0),
        ("email", [], "email", "name", NAME, NAME),
        ("first_name", ["Ada", "Grace"], "name", "name", NAME, NAME),
        ("c17", CARDS, "card", "content", 0.9, 1.0),
        ("c17", ["4111111111111111"], "card", "content", 0.3, LIKELY - 0.01),  # one value says little
        ("notes", ["ok"] * 90 + ["write to bob@example.org"] * 10, "email", "content", 0.05, 0.15),
        ("notes", ["ok"] * 999 + ["bob@example.org"], "", "", 0.0, 0.0),  # by chance
        ("last_name", ["Miller"] * 30 + ["bob@example.org"], "name", "name", NAME, NAME),
        ("first_name", MAIL, "email", "content", 0.9, 1.0),  # what is there weighs more than what it is called
        ("quantity", ["1", "2", None], "", "", 0.0, 0.0),
        ("id", [None, ""], "", "", 0.0, 0.0),
    ],
)
def test_what_is_proposed(column: str, values: list[str | None], label: str, by: str, least: float, most: float) -> None:
    """By content, by name, by both, or not at all."""
    found = examine(column, values, DETECTORS)
    assert (found.label, found.by) == (label, by)
    assert least <= found.confidence <= most
    assert found.values == len([value for value in values if value])


def test_digits_are_read_behind_their_name() -> None:
    """Identity numbers that are digits alone are nobody's in a column c1, and somebody's in one that says so."""
    numbers = ["86095742719", "47036892816", "65929970489"] * 10  # published examples of Germany's tax number
    assert examine("c1", numbers, DETECTORS).hits == {}
    found = examine("steuer_id", numbers, DETECTORS)
    assert (found.label, found.hits["national_id"] > 0) == ("national_id", True)


@pytest.mark.parametrize(
    ("existing", "column", "values", "confirmed"),
    [
        ("email", "contact", MAIL, True), ("name", "first_name", [], True), ("secret", "c1", MAIL, False),
        ("card", "c1", [], False),
    ],
)
def test_what_speaks_for_a_label_that_is_there(existing: str, column: str, values: list[str], confirmed: bool) -> None:
    """A label is confirmed where its detector found something, or the name says the same."""
    assert examine(column, values, DETECTORS, existing).confirmed is confirmed


def test_no_value_is_in_what_is_said() -> None:
    """Neither whole nor in part."""
    said = json.dumps(dataclasses.asdict(examine("contact", MAIL + CARDS, DETECTORS)))
    assert not [value for value in MAIL + CARDS if value in said or value.partition("@")[0] in said]
