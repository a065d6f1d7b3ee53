"""United States social security numbers (Social Security Administration, numbers issued since 2011 included).

Area 001 to 899 without 666, group 01 to 99, serial 0001 to 9999. Written 3-2-4 with one kind of separator, or as nine
digits right after words that say what they are: nine bare digits alone are too often something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from doorward.masking.detectors import GROUPED_NINE, WORD, Detector, Place, stands_alone

_WRITTEN = re.compile(rb"[0-8][0-9]{2}(?:-[0-9]{2}-|\.[0-9]{2}\.| [0-9]{2} )[0-9]{4}")
_NAMED = re.compile(rb"(?i)(?:\bssn|_ssn|social[ _-]?security)[^0-9]{0,20}([0-9]{9})")


def is_ssn(digits: str) -> bool:
    """Whether nine ASCII digits can have been issued."""
    return (
        len(digits) == 9
        and digits[:3] not in {"000", "666"}
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
    )


def _find(value: bytes) -> Iterator[Place]:
    for match in _WRITTEN.finditer(value):
        start, end = match.span()
        digits = value[start : start + 3] + value[start + 4 : start + 6] + value[end - 4 : end]
        if not is_ssn(digits.decode("ascii")):
            continue
        if not stands_alone(value, start, end) or _linked(value, start, end):
            continue
        yield start, end
    for match in _NAMED.finditer(value):
        start, end = match.span(1)
        if is_ssn(value[start:end].decode()) and stands_alone(value, start, end):
            yield start, end


def _linked(value: bytes, start: int, end: int) -> bool:
    """The separator goes on: a longer number, not this one."""
    separator = value[start + 3]
    if start > 1 and value[start - 1] == separator and value[start - 2] in WORD and separator != 0x20:
        return True
    return end + 1 < len(value) and value[end] == separator and value[end + 1] in WORD and separator != 0x20


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("123-45-6789", "123-45-6789"),
    ("ssn: 219-09-9999.", "219-09-9999"),
    ("Bob,536 22 8726,x", "536 22 8726"),
    ("899.45.6789", "899.45.6789"),
    ("{123-45-6789}", "123-45-6789"),
    ('{"ssn":"123456789"}', "123456789"),
    ("where ssn = '123456789'", "123456789"),
    ("Social Security number 123456789", "123456789"),
    ("ref -123-45-6789", "123-45-6789"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "000-12-3456",
    "666-12-3456",
    "900-12-3456",
    "123-00-6789",
    "123-45-0000",
    "123456789",
    "123-45-67890",
    "1123-45-6789",
    "123-45 6789",
    "2024-11-23",
    "1-123-45-6789",
    "123-45-6789-1",
    "a0ee-123-45-6789",
    "2024-11-23 06:30:00",
    "12:34:56.123456",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
)
DETECTOR = Detector(
    "ssn",
    "ssn",
    (GROUPED_NINE, r"(?i)(?:ssn|social.?security)[^0-9]{0,20}[0-9]{9}"),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    9,
)
