"""Canonical JSON: one spelling, and no other is read."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger.encoding import MAX_DEPTH, MAX_INT, canonical, parse


class Shade(StrEnum):
    DARK = "dark"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, None, -5]}, b'{"a":[true,null,-5],"b":1}'),
        ("\u20ac$\x0f\nA'B\"\\\\\"/", '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()),  # RFC 8785, section 3.2.2
        ("\x7f\u2028\b\t\f\r", '"\x7f\u2028\\b\\t\\f\\r"'.encode()),
        # RFC 8785, section 3.2.3: by UTF-16 code units, so the emoji sorts before U+FB33
        ({"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "1": 4}, '{"1":4,"\u20ac":3,"\U0001f600":2,"\ufb33":1}'.encode()),
        (Shade.DARK, b'"dark"'),
        ((1, 2), b"[1,2]"),
    ],
)
def test_written(value: Any, expected: bytes) -> None:
    """Values are written as RFC 8785 says."""
    assert canonical(value) == expected


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, -(2**53), "\ud800", {1: 2}, b"x", {"a": object()}])
def test_unwritable(value: Any) -> None:
    """What has no one spelling is a ValueError."""
    with pytest.raises(ValueError):
        canonical(value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" 1", b"1 ", b"1.0", b"1e3", b"-0", b"01", b"NaN", b"Infinity", b"9007199254740992", b"9" * 5000,
        b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"b":1,"a":2}', b'{"a": 1}', b'"\\u0041"', b'"\\/"', b'"\\ud800"',
        b'"\xff"', b'\xef\xbb\xbf1', '"x"'.encode("utf-16"), b"[" * 100_000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), b'"\x00"', b"{'a':1}", b"[1,]", b"nul",
    ],
)  # fmt: skip
def test_unread(text: bytes) -> None:
    """Every other spelling is an IntegrityError."""
    with pytest.raises(IntegrityError):
        parse(text)


def test_limit() -> None:
    """A text over the limit is not looked at."""
    assert parse(b'"abc"', limit=5) == "abc"
    with pytest.raises(IntegrityError):
        parse(b'"abcd"', limit=5)


@given(values)
def test_round_trip(value: Any) -> None:
    """What is written is read back as the same value."""
    assert parse(canonical(value)) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0aA1-.e ', max_size=30).map(str.encode))
def test_total(text: bytes) -> None:
    """Any bytes are either the one spelling of a value or an IntegrityError."""
    try:
        value = parse(text)
    except IntegrityError:
        return
    assert canonical(value) == text
