"""The leaf's grammar: what is built is read back, and nothing else is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger import leaf
from doorward.ledger.encoding import canonical, parse

SID = "0194f0e0-0000-7000-8000-00000000000a"
WHOLE: dict[str, Any] = {
    "gateway": "gw-1", "boot": "00000000000000a1", "seq": 7, "prev": bytes(range(32)), "at": 1_800_000_000_000,
    "commitment": b"c" * 32, "segment_hash": b"s" * 32, "session": SID, "number": 3, "retention": "std-13m",
}  # fmt: skip
ENTRY = leaf.build("session.sealed", **WHOLE)


@pytest.mark.parametrize("without", [(), ("commitment",), ("segment_hash", "number"), ("session",), ("retention",)])
def test_round_trip(without: tuple[str, ...]) -> None:
    """A leaf is canonical JSON, small, and says what it was built from."""
    fields = {name: value for name, value in WHOLE.items() if name not in without}
    entry = leaf.build("session.sealed", **fields)
    found = leaf.parse(entry)._asdict()
    expected = {"commitment": None, "segment_hash": None, "session": None, "number": None, "retention": "std"} | fields
    assert found == {"type": "session.sealed", **expected}
    assert canonical(parse(entry)) == entry
    assert len(entry) < 512


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway", ""), ("gateway", 'gw"1'), ("gateway", "gw 1"), ("gateway", "g" * 64), ("gateway", "gẃ"),
        ("boot", "xyz"), ("boot", "A" * 16), ("seq", -1), ("seq", 2**53), ("prev", b"short"), ("at", -1), ("at", 2**53),
        ("commitment", b""), ("segment_hash", b"x" * 33), ("session", SID.upper()), ("session", "../../etc/passwd"),
        ("session", SID + "\n"), ("number", 2**53), ("number", -1), ("retention", "a b"), ("retention", ""),
    ],
)  # fmt: skip
def test_unbuildable(name: str, value: Any) -> None:
    """Values outside the grammar are a ValueError."""
    with pytest.raises(ValueError):
        leaf.build("session.sealed", **{**WHOLE, name: value})


@pytest.mark.parametrize("kind", ["", "session", "Session.opened", "a.b.c", "session.opened\n", ".", "a." + "b" * 40])
def test_types(kind: str) -> None:
    """A type is noun.past_verb."""
    with pytest.raises(ValueError):
        leaf.build(kind, **WHOLE)


@pytest.mark.parametrize(
    "entry",
    [
        b"", b"{}", ENTRY + b"\n", b" " + ENTRY, ENTRY.replace(b'"n":3', b'"n":03'),
        ENTRY.replace(b'"n":3', b'"n":3.0'),
        ENTRY.replace(b'"n":3', b'"n":3,"n":3'), ENTRY.replace(b'"v":1', b'"v":2'),
        ENTRY.replace(b'"v":1', b'"v":1,"w":1'),
        ENTRY.replace(b'"t":"session', b'"t":"\\u0073ession'), ENTRY.replace(b'"n":3', b'"n":9999999999999999'),
        ENTRY.replace(b'"c":', b'"c": '), ENTRY.replace(b"c3M=", b"c3N="), ENTRY * 3,
        ENTRY.replace(b'"n":3,', b'"n":null,'),
        "{\"at\":١}".encode(),
    ],
)  # fmt: skip
def test_unread(entry: bytes) -> None:
    """Any other spelling of a leaf is an IntegrityError: duplicates, spaces, escapes, loose base64, other versions."""
    with pytest.raises(IntegrityError):
        leaf.parse(entry)


@settings(max_examples=200)
@given(st.integers(0, len(ENTRY) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_total(at: int, garbage: bytes, cut: int) -> None:
    """An altered leaf is refused, or is exactly what the altered values build."""
    entry = ENTRY[:at] + garbage + ENTRY[at + cut :]
    try:
        found = leaf.parse(entry)._asdict()
    except IntegrityError:
        return
    assert leaf.build(found.pop("type"), **found) == entry
