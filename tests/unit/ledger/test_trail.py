"""What leaves must say together: gateways' chains and sessions' grammar, each violation in words."""

from __future__ import annotations

from typing import Any

import pytest

from doorward.errors import IntegrityError
from doorward.ledger import leaf
from doorward.ledger.trail import Trail
from doorward.ledger.tree import leaf_hash

SID = "0194f0e0-0000-7000-8000-00000000000a"
H0, H1 = b"0" * 32, b"1" * 32
OPENED: tuple[str, dict[str, Any]] = ("session.opened", {"session": SID, "segment_hash": H0})
SEALED0: tuple[str, dict[str, Any]] = ("session.sealed", {"session": SID, "number": 0, "segment_hash": H0})
SEALED1: tuple[str, dict[str, Any]] = ("session.sealed", {"session": SID, "number": 1, "segment_hash": H1})
CLOSED2: tuple[str, dict[str, Any]] = ("session.closed", {"session": SID, "number": 2, "segment_hash": H1})


def follow(steps: list[tuple[str, dict[str, Any]]]) -> Trail:
    """One gateway says all of this, rightly chained."""
    trail, last = Trail(), leaf.FIRST
    for seq, (kind, fields) in enumerate(steps):
        entry = leaf.build(kind, gateway="gw-1", boot="0" * 16, seq=seq, prev=last, at=seq, **fields)
        last = leaf_hash(entry)
        trail.add(seq, entry, last)
    return trail


def test_whole_session() -> None:
    """A session from its opening to its close, with other leaves between and after."""
    refused: tuple[str, dict[str, Any]] = ("operation.refused", {"session": SID})
    trail = follow([OPENED, refused, SEALED0, SEALED1, CLOSED2, refused])
    session = trail.sessions[SID]
    assert (session.segments, session.root, session.ended, session.leaves) == (2, H1, "session.closed", [2, 3])
    assert (session.hash(0), session.hash(1), session.header) == (H0, H1, H0)
    assert trail.types["operation.refused"] == 2


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([SEALED0], "session.sealed without it"),
        ([OPENED, OPENED], "session.opened again"),
        ([OPENED, SEALED1], "expected segment 0 .*, found segment 1"),
        ([OPENED, SEALED0, SEALED0], "expected segment 1 .*, found segment 0"),
        ([OPENED, SEALED0, CLOSED2], "expected segment count 1 .*, found segment count 2"),
        ([OPENED, SEALED0, SEALED1, (CLOSED2[0], {**CLOSED2[1], "segment_hash": H0})], "to name the last segment"),
        ([OPENED, SEALED0, SEALED1, CLOSED2, CLOSED2], "nothing after session.closed"),
        ([OPENED, SEALED0, SEALED1, CLOSED2, ("session.recovered", CLOSED2[1])], "nothing after session.closed"),
        ([("session.opened", {})], "a session id in session.opened, found none"),
        ([OPENED, ("session.sealed", {"session": SID, "number": 0})], "a number and a segment hash"),
        ([OPENED, ("session.closed", {"session": SID, "segment_hash": H0})], "a number and a segment hash"),
    ],
)
def test_ungrammatical(steps: list[tuple[str, dict[str, Any]]], words: str) -> None:
    """Each way in which a session's leaves can be wrong."""
    with pytest.raises(IntegrityError, match=words):
        follow(steps)


BOOT1, BOOT2 = "0" * 16, "1" * 16


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([(BOOT1, 1, None)], "expected leaf 0 .*, found its leaf 1"),
        ([(BOOT1, 0, H0)], "to follow 0000"),
        ([(BOOT1, 0, None), (BOOT1, 2, None)], "expected leaf 1 .*, found its leaf 2"),
        ([(BOOT1, 0, None), (BOOT1, 1, H0)], "one that follows 3030"),
        ([(BOOT1, 0, None), (BOOT2, 1, None)], "expected leaf 0 .*, found its leaf 1"),
        ([(BOOT1, 0, None), (BOOT2, 0, leaf.FIRST)], "one that follows 0000"),
        ([(BOOT1, 0, None), (BOOT2, 0, None), (BOOT1, 0, None)], "expected a new boot of gateway gw-1"),
    ],
)
def test_chain(links: list[tuple[str, int, bytes | None]], words: str) -> None:
    """Holes, wrong predecessors and boots that come back. None stands for the right predecessor."""
    trail, last = Trail(), leaf.FIRST
    for index, (boot, seq, prev) in enumerate(links):
        previous = last if prev is None else prev
        entry = leaf.build("log.beat", gateway="gw-1", boot=boot, seq=seq, prev=previous, at=1)
        last = leaf_hash(entry)
        if index < len(links) - 1:
            trail.add(index, entry, last)
    with pytest.raises(IntegrityError, match=words):
        trail.add(len(links) - 1, entry, last)


def test_two_gateways() -> None:
    """Gateways have chains of their own, and a boot of the same name is not the same boot."""
    trail = Trail()
    for index, gateway in enumerate(("gw-1", "gw-2")):
        entry = leaf.build("log.beat", gateway=gateway, boot=BOOT1, seq=0, prev=leaf.FIRST, at=1)
        trail.add(index, entry, leaf_hash(entry))
    assert (trail.gateways, len(trail.boots)) == (2, 2)
