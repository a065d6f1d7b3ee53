"""Errors and notices as the client may see them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.masking.detect import Detectors
from doorward.protocols.postgres.redact import redact_fields
from doorward.protocols.postgres.redact_fields import STANDARD, standard_sqlstate

ALL = Detectors()
SSN = "123-45-6789"


@given(st.dictionaries(st.sampled_from("SVCMDHPpqWstcdnFLR"), st.text(max_size=20)))
def test_stripped_fields_hold_nothing_of_the_target(fields: dict[str, str]) -> None:
    """Whatever the target says, what remains comes from fixed sets."""
    shown = redact_fields(fields, ALL, strip=True)
    assert set(shown) == {"S", "V", "C", "M"}
    assert shown["S"] in {"ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"}
    assert shown["C"] in STANDARD
    assert shown["M"].endswith("(details are withheld: the statement touches masked columns)")


@pytest.mark.parametrize(
    ("state", "shown"),
    [("23505", "23505"), ("22P02", "22P02"), ("12345", "P0001"), ("AB123", "P0001"), ("22999", "22000"),
     ("", "XX000"), ("é", "XX000"), ("P0001", "P0001"), ("42703", "42703")],
)  # fmt: skip
def test_sqlstates_are_postgresqls_own(state: str, shown: str) -> None:
    """A SQLSTATE that a function made up says nothing."""
    assert standard_sqlstate(state) == shown


def test_unstripped_fields_go_through_detectors() -> None:
    """Message, detail, hint and all the rest are looked at; severity and SQLSTATE stay."""
    fields = {"S": "ERROR", "V": "ERROR", "C": "23505", "M": "duplicate key", "D": f"Key (ssn)=({SSN}) exists.", "c": SSN}
    assert redact_fields(fields, ALL, strip=False) == fields | {"D": "Key (ssn)=([ssn]) exists.", "c": "[ssn]"}
    assert redact_fields({"C": SSN, "S": "bob@example.org"}, ALL, strip=False) == {"C": "[ssn]", "S": "[email]"}
