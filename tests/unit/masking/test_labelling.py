"""Labels come from configuration and from names; what cannot hold is said, column by column."""

from __future__ import annotations

import pytest

from doorward.masking.labelling import labelling
from doorward.masking.plan import BOOL, DATE, INT4, INT8, NUMERIC, TEXT, VARCHAR
from doorward.masking.transforms import Transforms
from doorward.sql.catalogue import Catalogue, Column, Relation

PEOPLE = Relation(
    20000, "public", "people", "r",
    (
        Column("id", 1, INT4), Column("first_name", 2, TEXT), Column("dob", 3, DATE), Column("address", 4, INT8),
        Column("email", 5, BOOL), Column("phone", 6, NUMERIC), Column("kind", 7, 20001), Column("since", 8, VARCHAR),
    ),
)  # fmt: skip
SYSTEM = Relation(1260, "pg_catalog", "pg_authid", "r", (Column("password", 1, TEXT),))
CATALOGUE = Catalogue((PEOPLE, SYSTEM, Relation(20002, "public", "seq", "S", (Column("surname", 1, TEXT),))))
NAMED = {"public.people.first_name": "name", "public.people.dob": "date_of_birth", "public.people.phone": "phone"}


@pytest.mark.parametrize(
    ("configured", "by_name", "labels", "named"),
    [
        ({}, "mask", NAMED, NAMED),
        ({}, "propose", {}, NAMED),
        ({}, "off", {}, {}),
        ({"public.people.id": "key"}, "mask", {"public.people.id": "key", **NAMED}, NAMED),
        (dict.fromkeys(NAMED, "none"), "mask", {}, {}),
        (dict.fromkeys(NAMED, "secret"), "mask", dict.fromkeys(NAMED, "secret"), {}),
    ],
)
def test_what_is_said_of_a_column_wins_over_its_name(
    configured: dict[str, str], by_name: str, labels: dict[str, str], named: dict[str, str]
) -> None:
    """`none` shows a column whatever it is called; flags, keys of addresses, sequences and the system's own are not people."""
    found = labelling(CATALOGUE, configured, Transforms(), by_name=by_name)
    assert (dict(found.labels), dict(found.named), found.faults) == (labels, named, ())


@pytest.mark.parametrize(
    ("column", "transform", "fault"),
    [
        ("public.people.name", "redact", "there is no column"),
        ("public.peoples.dob", "redact", "there is no column"),
        ("public.people.dob", "date_shift", ""),
        ("public.people.since", "date_shift", ""),
        ("public.people.phone", "date_shift", "is of a type"),
        ("public.people.phone", "token", "is of a type"),
        ("public.people.phone", "null", ""),
        ("public.people.phone", "redact", ""),
        ("public.people.dob", "partial", "is of a type"),
        ("public.people.kind", "token", ""),
        ("public.people.first_name", "token", ""),
    ],
)
def test_what_cannot_hold_is_a_fault(column: str, transform: str, fault: str) -> None:
    """A column that is not there; a transform that would make NULL of every value. Of types that the database defines
    itself nobody knows before a result describes them."""
    found = labelling(CATALOGUE, {column: "x"}, Transforms({"x": transform}, bytes(32)), by_name="off")
    assert [fault in said for said in found.faults] == ([True] if fault else [])


@pytest.mark.parametrize(
    ("subject", "fault"), [("id", ""), ("since", ""), ("phone", "names nobody"), ("who", "is not there"), ("first_name", "")]
)
def test_a_subject_that_cannot_be_told_is_a_fault(subject: str, fault: str) -> None:
    """A column that the table does not have, or whose text and binary forms nobody compares."""
    transforms = Transforms({"x": "date_shift"}, bytes(32), subjects={"x": subject})
    found = labelling(CATALOGUE, {"public.people.dob": "x"}, transforms, by_name="off")
    assert [fault in said for said in found.faults] == ([True] if fault else [])
