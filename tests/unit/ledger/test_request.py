"""The canonical request: one form, every member counts, and seats are taken by people."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger import request as requests
from doorward.ledger.encoding import canonical

SALT = bytes(32)
TERMS: dict[str, Any] = {
    "act": ["https://idp|ada"], "display_commit": "1" * 64, "exp": 2000, "limits": {},
    "log": {"origin": "doorward/doorward", "root": "x", "size": 5}, "nbf": 1000, "nonce": "2" * 64,
    "operation_commit": "3" * 64, "params_commit": "4" * 64, "policy": {"rules": ["ask"], "sha256": "5" * 64},
    "preview": "", "quorum": {"k": 1, "of": ["dba"], "seats": {}}, "requester": "https://idp|bot", "rid": "r1", "role": "app",
    "search_path": "public", "stmt_commit": "6" * 64, "target": "shop", "typ": "doorward.approval", "uses": 1, "v": 1,
}  # fmt: skip
OURS = requests.request(TERMS, "https://idp|dora", approve=True)


def changed(value: Any) -> Any:
    """The same kind of value, another one."""
    match value:
        case int():
            return value + 1
        case str():
            return value[:-1] + ("7" if not value.endswith("7") else "8") if value else "x"
        case list():
            return [*value, "x"]
        case None:
            return {"k": 1, "of": [], "seats": {}}
    return {**value, "x": 1}


@pytest.mark.parametrize("name", sorted(requests.parse(OURS)))
def test_any_changed_member_is_another_request_and_is_named(name: str) -> None:
    """The challenge differs, and the difference says which member."""
    found = requests.parse(OURS)
    theirs = canonical({**found, name: changed(found[name])})
    assert requests.difference(OURS, theirs) == name
    assert requests.challenge(theirs) != requests.challenge(OURS)
    missing = canonical({key: value for key, value in found.items() if key != name})
    assert requests.difference(OURS, missing) == name
    with pytest.raises(IntegrityError):
        requests.parse(missing)


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"typ": "x"}, {"decision": "yes"}, {"uses": True}, {"exp": -1}, {"nonce": "G" * 64}, {"act": "x"}, {"more": 1},
     {"quorum": {"k": 0, "of": [], "seats": {}}}, {"quorum": {"k": 1}}, {"log": {}}, {"limits": {"rows": 0}}, {"rid": 5}],
)  # fmt: skip
def test_what_is_no_request_is_refused(change: dict[str, Any]) -> None:
    """Another version, kind or number."""
    with pytest.raises(IntegrityError):
        requests.parse(canonical({**requests.parse(OURS), **change}))


def test_another_spelling_is_another_form() -> None:
    """The same value with a space in it is not what was asked."""
    assert requests.difference(OURS, OURS.replace(b":", b": ", 1)) == "form"
    assert requests.difference(OURS, b"") == "form"
    assert requests.difference(OURS, OURS) == ""


@given(st.binary(max_size=100))
def test_hostile_bytes_are_an_integrity_error(octets: bytes) -> None:
    """Nothing else is raised, and nothing is taken for a request."""
    with pytest.raises(IntegrityError):
        requests.parse(octets)
    assert requests.difference(OURS, octets)


def test_six_words() -> None:
    """Of the first 96 bits; one bit changes a word."""
    assert requests.words(bytes(32)) == "babab babab babab babab babab babab"
    assert requests.words(bytes.fromhex("7f000001") + bytes(28)).startswith("lusab babad ")  # the example of the paper
    assert requests.words(bytes(11) + b"\1" + bytes(20)).endswith("babad")


def test_parameters_are_bound_with_their_types_and_nulls() -> None:
    """No two ways to pass parameters share a commitment."""
    ways: list[tuple[list[bytes | None], list[int], list[int]]] = [
        ([], [], []), ([None], [], []), ([b""], [], []), ([b"1"], [], []), ([b"1"], [1], []), ([b"1"], [], [23]),
        ([b"1", b""], [], []), ([b"11"], [], []),
    ]  # fmt: skip
    made = [requests.parameters_commitment(SALT, *way) for way in ways]
    assert len(set(made)) == len(made)


SECURITY_AND_DBA, DBA, SECURITY, NOBODY = (frozenset(groups) for groups in (("dba", "security"), ("dba",), ("security",), ()))


@pytest.mark.parametrize(
    ("people", "needed", "seats", "enough"),
    [
        ([], 1, {}, False), ([NOBODY], 1, {}, True), ([DBA], 2, {}, False), ([DBA, DBA], 2, {}, True),
        ([SECURITY_AND_DBA], 2, {"dba": 1, "security": 1}, False),  # one person is one person
        ([SECURITY_AND_DBA, DBA], 2, {"dba": 1, "security": 1}, True),  # whoever comes first
        ([DBA, SECURITY_AND_DBA], 2, {"dba": 1, "security": 1}, True),
        ([SECURITY_AND_DBA, SECURITY], 2, {"dba": 1, "security": 1}, True),
        ([DBA, DBA], 2, {"dba": 1, "security": 1}, False), ([DBA, SECURITY], 3, {"dba": 1, "security": 1}, False),
        ([DBA, SECURITY, NOBODY], 3, {"dba": 1, "security": 1}, True), ([DBA, DBA], 2, {"dba": 2}, True),
    ],
)  # fmt: skip
def test_seats_are_taken_by_people(people: list[frozenset[str]], needed: int, seats: dict[str, int], *, enough: bool) -> None:
    """A quorum of named groups counts people, not groups, in any order."""
    for order in itertools.permutations(people):
        assert requests.seats_met(order, needed, seats) is enough


@given(
    st.lists(st.frozensets(st.sampled_from("abc")), max_size=5),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 2), max_size=3),
)
def test_the_matching_is_the_best_there_is(people: list[frozenset[str]], seats: dict[str, int]) -> None:
    """The same answer as trying every assignment."""
    places = [group for group, count in seats.items() for _ in range(count)]
    best = any(
        all(place in groups for place, groups in zip(places, order, strict=False))
        for order in itertools.permutations(people, len(places))
    )
    assert requests.seats_met(people, 0, seats) is (best if len(places) <= len(people) else False)
