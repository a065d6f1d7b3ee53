"""Telephone numbers: international with a plus sign (E.164), and North American ones in their usual writing.

The shape only makes a candidate; `phonenumbers` then says whether such a number can exist. Bare digits are too often
something else and are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers

from doorward.masking.detectors import WORD, Detector, Place

_INTERNATIONAL = rb"\+[1-9](?:[ ./()-]{0,2}[0-9]){6,14}"
_NATIONAL = rb"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
_CANDIDATE = re.compile(_INTERNATIONAL + b"|" + _NATIONAL)


def _find(value: bytes) -> Iterator[Place]:
    for match in _CANDIDATE.finditer(value):
        start, end = match.span()
        if start > 0 and value[start - 1] in WORD:
            continue
        if start > 1 and value[start - 1] in b".-" and value[start - 2] in WORD:
            continue
        if end < len(value) and value[end] in WORD:
            continue
        if end + 1 < len(value) and value[end] in b".-" and value[end + 1] in WORD:
            continue
        try:
            number = phonenumbers.parse(match.group().decode("ascii"), "US")
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            yield start, end


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("+442079460958", "+442079460958"),
    ("call +44 20 7946 0958 today", "+44 20 7946 0958"),
    ("+49 (0)30 901820", "+49 (0)30 901820"),
    ("tel:+1-202-456-1111", "+1-202-456-1111"),
    ("(202) 456-1111", "(202) 456-1111"),
    ("202-456-1111", "202-456-1111"),
    ("212.736.5000, please", "212.736.5000"),
    ("{+33142685300,x}", "+33142685300"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "2024-11-23 06:30:00+00",
    "2024-11-23T06:30:00.123+05:30",
    "2079460958",
    "1.5e+100",
    "+1",
    "+99999999999",
    "192.168.100.1000",
    "000-000-0000",
    "a+442079460958x",
    "3 + 4207946095",
)
DETECTOR = Detector(
    "phone",
    "phone",
    (r"\+[1-9](?:[ ./()-]{0,2}[0-9]){6}", r"[0-9]{3}[ .)-] ?[0-9]{3}[ .-][0-9]{4}"),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    8,
)
