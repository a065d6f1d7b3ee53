"""Statements that differ only in their numbers, under one key.

A client that writes values into its text (`... WHERE id = 4711`) sends a new text each time, and judging is dear. For a small,
closed class of texts no number can influence the verdict: SELECT, INSERT, UPDATE and DELETE made of plain ASCII names,
operators, brackets and plain strings, calling nothing but what `CALLS` names, without casts, comments, quoted names or
positional ORDER BY and GROUP BY. For these the key is the text with `$1`, `$2`, ... in place of its numbers, and the numbers
go where parameters go: into digest and record. Key and numbers give back the exact text.

Everything else is judged by its exact bytes. libpg_query's fingerprint is no substitute: it is the same for statements
that do different things.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 4096  # bytes; longer texts are judged as they are
MOST: Final = 64  # numbers

# Functions and keywords that may stand before a bracket; none of them takes a number that changes what is touched.
CALLS: Final = frozenset(
    b"and as avg between by coalesce count exists from in into join lower max min not on or select sum upper using values "
    b"when where with".split()
)

_TEXT: Final = re.compile(
    rb"\s*(?:select|insert|update|delete)\b(?:[A-Za-z0-9_ \t\r\n,.=<>*+;()]|-(?!-)|/(?!\*)|'[^'\\]*'(?!'))*", re.IGNORECASE
)
_CALL: Final = re.compile(rb"([A-Za-z0-9_.]+)[ \t\r\n]*\(")
_TABLE: Final = re.compile(rb"\binto[ \t\r\n]+[A-Za-z0-9_.]+[ \t\r\n]*\(", re.IGNORECASE)
_POSITION: Final = re.compile(rb"\bby\b[^()]*?[ \t\r\n,]\d", re.IGNORECASE)
_TOKEN: Final = re.compile(rb"'[^'\\]*'|(?<![A-Za-z0-9_.$'])(\d+(?:\.\d+)?)(?![A-Za-z0-9_.'])")


def normal(text: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """The key of a text and the numbers that were taken out of it; None: judge it as it is."""
    if len(text) > LONGEST or _TEXT.fullmatch(text) is None or b"$" in text:
        return None
    numbers: list[bytes] = []

    def mark(match: re.Match[bytes]) -> bytes:
        number = match[1]
        if number is None:
            return match[0]
        numbers.append(number)
        return b"$%d" % len(numbers)

    key = _TOKEN.sub(mark, text)
    if not numbers or len(numbers) > MOST:
        return None
    if b"'" in text and (text.count(b"'") % 2 or _odd_string(text)):
        return None
    if _POSITION.search(text) is not None:
        return None
    if b"(" in text:
        named = _TABLE.sub(b"into (", text)
        for call in _CALL.findall(named):
            if call.lower() not in CALLS:
                return None
    return key, tuple(numbers)


def _odd_string(text: bytes) -> bool:
    """Whether some string begins right behind a letter: E'..', B'..', X'..', U&'..' read their content differently."""
    inside = False
    before = b" "
    for index in range(len(text)):
        byte = text[index : index + 1]
        if byte == b"'":
            if not inside and (before.isalnum() or before in (b"_", b"&", b"'")):
                return True
            inside = not inside
        before = byte
    return False
