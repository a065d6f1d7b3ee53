"""Detectors: one file each, and what they have in common.

A detector is a name, the label that it gives, a prefilter and an exact search. The prefilter is a tuple of RE2 patterns
that must match somewhere in any bytes that hold a value; it may match more, never less, and has no anchors, because it
runs over raw protocol bytes, where the byte next to a value is part of a length. The exact search runs over one value
and says where in it the confidential part is. Both take linear time whatever the input: RE2 does not backtrack, and
`re` is used only where every repetition is bounded or can match in one way only.

Each file holds `EXAMPLES` (text, what is found in it) and `COUNTEREXAMPLES` (text in which nothing is found) as data;
`tests/suites` holds every detector to them. All values in them are made up or published as test values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Place = tuple[int, int]  # start and end, in bytes


@dataclass(frozen=True, slots=True)
class Detector:
    """`find` yields the places of confidential parts in one value, in order of their start. A value shorter than
    `least` bytes, or without `needs` in it, cannot hold one: that is asked first, because it costs next to nothing.
    `confirms` says of what has the form of one whether it is one, where the form alone does not tell."""

    name: str
    label: str
    prefilter: tuple[str, ...]
    find: Callable[[bytes], Iterator[Place]]
    examples: tuple[tuple[str, str], ...]
    counterexamples: tuple[str, ...]
    least: int = 1
    needs: bytes = b""
    confirms: Callable[[bytes], bool] | None = None


# Thirteen or more digits, together or in groups. Any first digit: with fewer, every position of a run would be a start
# of its own to the automaton. Shared, because equal prefilters cost once.
LONG_NUMBER = r"[0-9](?:[ ._/-]?[0-9]){12}"
GROUPED_NINE = r"[0-9]{3}[ .-][0-9]{2}[ .-][0-9]{4}"


def redaction(label: str) -> str:
    """What stands where a confidential value was."""
    return f"[{label}]"


WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
DIGITS = frozenset(b"0123456789")


def stands_alone(value: bytes, start: int, end: int) -> bool:
    """Whether value[start:end] is not a part of a longer word or number."""
    if start > 0 and value[start - 1] in WORD:
        return False
    return not (end < len(value) and value[end] in WORD)


def continues_number(value: bytes, start: int, end: int) -> bool:
    """Whether the digits of value[start:end] go on, behind a point or hyphen, on either side: a decimal number, a
    version, a longer hyphenated identifier."""
    if start > 1 and value[start - 1] in b".-" and value[start - 2] in WORD:
        return True
    if start > 0 and value[start - 1] in b".":
        return True
    return end + 1 < len(value) and value[end] in b".-" and value[end + 1] in WORD
