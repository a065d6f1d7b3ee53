"""Statements that differ only in their numbers, under one key.

A client that writes values into its text (`... WHERE id = 4711`) sends a new text each time, and judging is dear. For a small,
closed class of texts no number can influence the verdict: SELECT, INSERT, UPDATE and DELETE made of plain ASCII names,
operators, brackets and plain strings, calling nothing but what `CALLS` names, without casts, comments, quoted names or
positional ORDER BY and GROUP BY. For these the key is the text with `$1`, `$2`, ... in place of its numbers, and the numbers
go where parameters go: into digest and record. Key and numbers give back the exact text.

Whether a text is of the class depends on its key alone, so texts whose key is known need not be looked at again.

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
# What a byte may do to the reading of numbers: nothing, be a digit, begin a string, or have no place in the class.
_PLAIN: Final = 0
_DIGIT: Final = 1
_QUOTE: Final = 2
_KINDS: Final = bytes(_DIGIT if 48 <= byte <= 57 else _QUOTE if byte == 39 else _PLAIN for byte in range(256))
# Bytes that make a digit beside them a part of something else, before it and behind it.
_JOINED: Final = bytes(chr(byte).isalnum() or byte in b"_.$'" for byte in range(128)) + bytes(128)
_ENDED: Final = bytes(chr(byte).isalnum() or byte in b"_.'" for byte in range(128)) + bytes(128)
_MARKS: Final = tuple(b"$%d" % number for number in range(1, MOST + 1))


def numbered(text: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """The key of a text and the numbers that were taken out of it; None: no text of the class has this form."""
    size = len(text)
    if size > LONGEST or b"$" in text:
        return None
    parts: list[bytes] = []
    numbers: list[bytes] = []
    copied = at = 0
    while at < size:
        kind = _KINDS[text[at]]
        if kind == _PLAIN:
            at += 1
        elif kind == _QUOTE:
            close = text.find(b"'", at + 1)
            if close < 0:
                return None
            at = close + 1
        else:
            start = at
            while at < size and _KINDS[text[at]] == _DIGIT:
                at += 1
            if start and _JOINED[text[start - 1]]:
                continue
            if at + 1 < size and text[at] == 46 and _KINDS[text[at + 1]] == _DIGIT:
                at += 1
                while at < size and _KINDS[text[at]] == _DIGIT:
                    at += 1
            if at < size and _ENDED[text[at]]:
                continue
            if len(numbers) == MOST:
                return None
            parts.append(text[copied:start])
            parts.append(_MARKS[len(numbers)])
            numbers.append(text[start:at])
            copied = at
    if not numbers:
        return None
    parts.append(text[copied:])
    return b"".join(parts), tuple(numbers)


def is_normal(text: bytes) -> bool:
    """Whether a text is of the class. The answer is the same for every text of its key."""
    if _TEXT.fullmatch(text) is None:
        return False
    if b"'" in text and (text.count(b"'") % 2 or _odd_string(text)):
        return False
    if _POSITION.search(text) is not None:
        return False
    if b"(" in text:
        named = _TABLE.sub(b"into (", text)
        for call in _CALL.findall(named):
            if call.lower() not in CALLS:
                return False
    return True


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
